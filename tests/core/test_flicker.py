"""Flicker of the beam is told from the sample and from counting noise."""

import numpy
import pytest

from udvd_core.errors import InputError
from udvd_core.flicker import Flicker, measure_flicker, total_variance
from udvd_core.noise import NoiseModel
from udvd_core.simulate import simulate_dopants, simulate_flake, simulate_hbn, simulate_particles, simulate_phonon

SHAPE = (32, 32)
SCENES = [simulate_hbn, simulate_phonon, simulate_flake, simulate_particles, simulate_dopants]


def measured(rng, expected, shape=SHAPE):
    return measure_flicker(rng.poisson(expected), shape, NoiseModel(), (1, 512))


def light(simulate, counts, seed=0):
    return simulate(SHAPE, 512, counts=counts, q_rows=1, seed=seed).spectra.sum(-1)


@pytest.mark.parametrize("simulate", SCENES)
@pytest.mark.parametrize("counts", [3000, 300_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_sample_is_no_flicker(rng, simulate, counts, seed):
    found = measured(rng, light(simulate, counts, seed))
    assert (found.row, found.position, found.sentence) == (0, 0, "")


@pytest.mark.parametrize("simulate", SCENES)
def test_flicker_by_rows_is_found_on_any_sample(rng, simulate):
    factor = 1 + 0.04 * rng.normal(size=(32, 1))
    found = measured(rng, light(simulate, 30_000) * factor)
    assert abs(found.row - 0.04) < 3 * found.row_error < 0.06
    assert found.position == 0
    assert "from row to row: stripes in maps are not the sample" in found.sentence


@pytest.mark.parametrize("simulate", [simulate_hbn, simulate_phonon, simulate_flake, simulate_dopants])
def test_flicker_by_positions_is_found_beside_that_by_rows(rng, simulate):
    factor = (1 + 0.05 * rng.normal(size=(32, 1))) * (1 + 0.03 * rng.normal(size=SHAPE))
    found = measured(rng, light(simulate, 30_000) * factor)
    assert found.position == pytest.approx(0.03, abs=0.01)
    assert 0.02 < found.row < 0.1
    assert " and by " in found.sentence


def test_columns_are_not_rows(rng):
    """Nor are rows flicker of which the columns show as much."""
    for _ in range(10):
        along, across = (1 + 0.04 * rng.normal(size=shape) for shape in ((1, 32), (32, 1)))
        assert measured(rng, 3e4 * along * numpy.ones(SHAPE)).row == 0
        assert measured(rng, 3e4 * along * across).row == 0


def test_flicker_by_positions_alone_is_none_by_rows(rng):
    for _ in range(10):
        found = measured(rng, 1e5 * (1 + 0.1 * rng.normal(size=SHAPE)))
        assert found.position == pytest.approx(0.1, abs=0.03)
        assert found.row == 0


def test_few_bright_grains_are_no_flicker(rng):
    """They hold power at every frequency, but only at a few places."""
    expected = numpy.full(SHAPE, 1e5)
    expected[rng.integers(0, 32, 12), rng.integers(0, 32, 12)] *= 2
    found = measured(rng, expected)
    assert (found.row, found.position) == (0, 0)


def test_counting_noise_is_no_flicker(rng):
    found = [measured(rng, numpy.full((16, 16), 5000.0), (16, 16)) for _ in range(100)]
    assert not any(each.row or each.position for each in found)


def test_known_noise_decides(rng):
    """Three counts per electron on Poisson counts would be flicker; with that gain it is not."""
    totals = 3 * rng.poisson(1e4, SHAPE).ravel()
    assert measure_flicker(totals, SHAPE, NoiseModel(3.0), (1, 512)).position == 0
    assert measure_flicker(totals, SHAPE, NoiseModel(0.3), (1, 512)).position > 0


def test_edges_and_lattices_of_few_positions(rng):
    y, x = numpy.mgrid[:32, :32]
    layers = numpy.select([y < 9, y < 14, y < 20], [1e5, 3e4, 6e4], 2e5)
    lattice = 1e5 * (1 + 0.2 * numpy.cos(2 * numpy.pi * y / 4) * numpy.cos(2 * numpy.pi * x / 4.3))
    fringes = 1e5 * (1 + 0.2 * numpy.cos(2 * numpy.pi * y / 6.1))
    for expected in (layers, lattice, fringes):
        found = measured(rng, expected)
        assert (found.row, found.position) == (0, 0)


def test_lines_small_and_empty_scans(rng):
    factor = 1 + 0.05 * rng.normal(size=100)
    assert measured(rng, 1e4 * factor, (100,)).position == pytest.approx(0.05, abs=0.02)
    assert measured(rng, 1e4 * factor, (100, 1)).position == pytest.approx(0.05, abs=0.02)
    assert measured(rng, numpy.full(100, 1e4), (100,)).position == 0
    assert measured(rng, numpy.full((4, 4), 1e4), (4, 4)) == Flicker()
    assert measured(rng, numpy.zeros(SHAPE)) == Flicker()
    with pytest.raises(InputError, match="do not fill a scan"):
        measured(rng, numpy.ones(12), (3, 5))


def test_sentence_has_the_figures():
    assert (
        Flicker(row=0.031).sentence == "the beam flickers by 3.1 % from row to row: stripes in maps are not the sample"
    )
    assert "by 2 % from position to position: speckle" in Flicker(position=0.02).sentence


def test_variance_of_totals_counts_shared_noise():
    noise = NoiseModel(2.0, 0.5, (0.1,), (0.2,))
    totals = numpy.array([1000.0, 0.0])
    expected = (2 * numpy.array([1000, 1]) + 0.5 * 40) * (1 + 0.2 * 0.9) * (1 + 0.4 * 0.75)
    numpy.testing.assert_allclose(total_variance(totals, noise, (4, 10)), expected)
