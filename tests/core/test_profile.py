"""How light is spread over the detector rows: one profile unless the counts say otherwise."""

import numpy
import pytest

from udvd_core.lowrank.profile import profile
from udvd_core.noise import NoiseModel
from udvd_core.simulate import q_profile

POISSON = NoiseModel()
ROWS, CHANNELS = 48, 192
LEVEL = numpy.linspace(2.0, 0.5, CHANNELS)


def halves(rng, share, counts):
    return rng.poisson(0.5 * counts * share * LEVEL, (2, *share.shape)).astype(float)


def moving(shift):
    """A profile whose centre moves by so many rows from the first channel to the last, (q, E)."""
    centre = 23.0 + shift * numpy.linspace(-0.5, 0.5, CHANNELS)
    share = numpy.exp(-0.5 * ((numpy.arange(ROWS)[:, None] - centre) / 6.0) ** 2)
    return share / share.sum(0)


def error(found, share):
    return float(numpy.sqrt(numpy.mean((found - share) ** 2)))


@pytest.mark.parametrize("counts", [50.0, 1e3, 1e5])
def test_a_profile_that_all_channels_share_gets_no_noise_of_theirs(rng, counts):
    share = numpy.repeat(q_profile(ROWS)[:, None], CHANNELS, 1)
    sums = halves(rng, share, counts)
    found = profile(sums, POISSON)
    numpy.testing.assert_allclose(found, numpy.repeat(found[:, :1], CHANNELS, 1), atol=1e-7)
    even = sums.sum((0, 2)) / sums.sum()
    assert error(found, share) < error(even[:, None], share)


@pytest.mark.parametrize(("counts", "better"), [(1e3, 2), (1e5, 10)])
def test_a_profile_that_moves_along_energy_is_followed(rng, counts, better):
    share = moving(4.0)
    sums = halves(rng, share, counts)
    found = profile(sums, POISSON)
    numpy.testing.assert_allclose(found.sum(0), 1.0, rtol=1e-5)
    even = sums.sum((0, 2)) / sums.sum()
    assert error(found, share) < error(even[:, None], share) / better
    assert error(found, share) < error(sums.sum(0) / sums.sum((0, 1)), share)


def test_charge_that_spreads_along_q_is_no_structure(rng):
    share = numpy.repeat(q_profile(ROWS)[:, None], CHANNELS, 1)
    sums = halves(rng, share, 1e5)
    sums = 0.8 * sums + 0.1 * (numpy.roll(sums, 1, 1) + numpy.roll(sums, -1, 1))
    found = profile(sums, NoiseModel(0.66, 0.0, (), (0.24, 0.015)))
    numpy.testing.assert_allclose(found, numpy.repeat(found[:, :1], CHANNELS, 1), atol=1e-7)


@pytest.mark.parametrize("sums", [numpy.zeros((2, 6, 9)), numpy.ones((2, 1, 9)), numpy.eye(9)[None, :6].repeat(2, 0)])
def test_dark_and_single_rows_end_in_finite_shares(sums):
    found = profile(sums, POISSON)
    assert numpy.isfinite(found).all() and (found >= 0).all()
