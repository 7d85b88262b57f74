"""What a fit left over: structure that is too weak to be found makes the sigma of maps larger, noise does not."""

import dataclasses

import numpy
import pytest

from udvd_core.guide import Guide
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.noise import NoiseModel

SHAPE, CHANNELS, LEVEL = (24, 24), 128, 4.0
COUNT = SHAPE[0] * SHAPE[1]
EDGE = numpy.arange(90, 120)
WAVE = numpy.sqrt(2) * numpy.cos(numpy.pi * 3 * (numpy.arange(24) + 0.5) / 24)


def settled(counts, shape=SHAPE, known=None):
    guide = Guide(lambda n: counts[n], shape, counts.shape[1:])
    guide.start(numpy.arange(len(counts)) if known is None else known, NoiseModel())
    while not guide.settled:
        guide.step()
    return guide


def added(uncertainty):
    """Variance that the residual adds to the map of the edge."""
    ones, numbers = numpy.ones((COUNT, EDGE.size)), numpy.arange(COUNT)
    without = dataclasses.replace(uncertainty, left=numpy.zeros((0, 0)))
    whole, known = (each.variance(ones, EDGE, numbers) for each in (uncertainty, without))
    return float((whole - known).mean())


def counts_with(amplitude, seed, second=0.0):
    expected = numpy.full((*SHAPE, CHANNELS), LEVEL) + second
    expected[:, :, EDGE] += (amplitude / EDGE.size * WAVE)[:, None, None]
    return numpy.random.default_rng(seed).poisson(expected).reshape(COUNT, 1, CHANNELS).astype(numpy.float32)


def test_structure_that_is_not_found_is_in_the_sigma_of_a_map():
    amplitude = 2.5  # counts in the map, rms, where a recorded spectrum has a noise of 11 and a denoised one of 0.5
    hidden, blank = [], []
    for seed in range(6):
        guide = settled(counts_with(amplitude, seed))
        assert guide.rank == 1, "it was found: make it weaker"
        hidden.append(added(guide.uncertainty))
        blank.append(added(settled(counts_with(0.0, seed)).uncertainty))
    seen = amplitude * (1 - EDGE.size / CHANNELS)  # the rest is in the loadings of the mean
    assert 0.5 * seen**2 < numpy.mean(hidden) < 2.0 * seen**2
    assert numpy.mean(blank) < 0.5 * numpy.mean(hidden)
    assert min(*hidden, *blank) >= 0


def test_beside_a_second_map_that_stands_clear_only_what_is_plain_to_see_counts():
    second = numpy.cos(numpy.pi * 2 * (numpy.arange(24) + 0.5) / 24)[None, :, None] + numpy.zeros((*SHAPE, CHANNELS))
    second[:, :, :20] += numpy.sign(numpy.sin(numpy.arange(24)))[:, None, None]
    doubts = {}
    for amplitude in (0.0, 2.5):
        guides = [settled(counts_with(amplitude, seed, second)) for seed in range(6)]
        doubts[amplitude] = [guide.uncertainty for guide in guides]
        assert {guide.rank for guide in guides} == {2}, "the edge was found, or the second map was not"
    alone = [settled(counts_with(0.0, seed)).uncertainty for seed in range(6)]
    assert sum(map(added, alone)) > 0 == sum(map(added, doubts[0.0])), "noise alone counts only without one"
    hidden = [added(each) for each in doubts[2.5]]
    careless = [added(dataclasses.replace(each, seen=0.0)) for each in doubts[2.5]]
    assert sum(value > 0 for value in hidden) >= 3, "what is plain to see is left out"
    assert all(value in (0.0, whole) for value, whole in zip(hidden, careless, strict=True))


@pytest.mark.parametrize(
    ("shape", "known"), [((600,), 500), ((24, 24), 576), ((24, 24), 13 * 24 + 5), ((3, 14, 14), 588), ((4, 3), 12)]
)
def test_of_noise_the_residual_has_that_of_one_recorded_frame(rng, shape, known):
    counts = rng.poisson(9.0, (numpy.prod(shape), 1, 100)).astype(numpy.float32)
    uncertainty = settled(counts, shape, numpy.arange(known)).uncertainty
    assert uncertainty.left.shape == (max(min(known // 16, 64) - 1, 0), 100)
    assert numpy.mean(uncertainty.spread**2) == pytest.approx(1.0, abs=0.06)
    if len(uncertainty.left):
        assert numpy.mean(uncertainty.left**2) == pytest.approx(1.0, abs=0.1)


def test_what_smoothing_takes_off_a_weak_line_is_in_the_sigma_of_its_counts():
    energy = numpy.arange(CHANNELS)
    line, channels = 0.3 * numpy.exp(-0.5 * ((energy - 64) / 1.5) ** 2), numpy.arange(63, 66)
    expected = numpy.full((COUNT, 1, CHANNELS), LEVEL) + line
    ones, numbers, wrong, told, without = numpy.ones((COUNT, 3)), numpy.arange(COUNT), 0.0, 0.0, 0.0
    for seed in range(8):
        guide = settled(numpy.random.default_rng(seed).poisson(expected).astype(numpy.float32))
        wrong += float(numpy.mean((guide.frames(numbers) - expected)[:, 0, channels].sum(1) ** 2))
        straight = dataclasses.replace(guide.uncertainty, bent=numpy.zeros((0, 0)))
        told += guide.uncertainty.variance(ones, channels, numbers).mean()
        without += straight.variance(ones, channels, numbers).mean()
    assert without < 0.4 * wrong, "smoothing takes next to nothing: make the line weaker"
    assert 0.5 < told / wrong < 1.5


@pytest.mark.parametrize(("strength", "resolved"), [(0.0, False), (0.7, True)])
def test_a_spectrum_is_resolved_that_is_more_than_its_error(strength, resolved):
    line = strength * numpy.exp(-0.5 * ((numpy.arange(CHANNELS) - 64) / 4.0) ** 2)
    expected = LEVEL + (WAVE[:, None] * WAVE[None]).reshape(COUNT, 1, 1) * line
    for seed in range(4):
        uncertainty = settled(numpy.random.default_rng(seed).poisson(expected).astype(numpy.float32)).uncertainty
        assert uncertainty.resolved == resolved


def test_what_the_residual_tells_travels():
    uncertainty = settled(counts_with(0.0, 1)).uncertainty
    again = Uncertainty.unpacked(uncertainty.packed())
    numpy.testing.assert_allclose(again.left, uncertainty.left, rtol=1e-6)
    numpy.testing.assert_allclose(again.spread, uncertainty.spread, rtol=1e-6)
    numpy.testing.assert_allclose(again.bent, uncertainty.bent, rtol=1e-6, atol=1e-12)
    assert abs(again.bent).max() > 0
    numpy.testing.assert_allclose(again.share, uncertainty.share, rtol=1e-6)
    assert not again.resolved and Uncertainty.unpacked(dataclasses.replace(again, resolved=True).packed()).resolved
    assert again.seen == pytest.approx(uncertainty.seen) and again.seen > 0
    without = dataclasses.replace(uncertainty, left=numpy.zeros((0, 0)), spread=numpy.zeros(0))
    again = Uncertainty.unpacked(without.packed())
    assert again.left.size == again.spread.size == 0 and added(again) == 0
    numpy.testing.assert_allclose(again.sigma(numpy.arange(COUNT)), without.sigma(numpy.arange(COUNT)), rtol=1e-4)
