"""Standard errors of a guide: of sums over channels as well as of voxels, and the same after a journey."""

import dataclasses

import numpy
import pytest
from recorded import recorded

from udvd_core.guide import Guide
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.noise import NoiseModel
from udvd_core.simulate import simulate_domains, simulate_hbn, simulate_particles

NOISE = NoiseModel(1.2, 0.0, (0.09,))
WINDOWS = {"narrow": (60, 62), "edge": (90, 120), "wide": (20, 180)}


def guide_of(counts, shape):
    guide = Guide(lambda n: counts[n], shape, counts.shape[1:])
    guide.start(numpy.arange(len(counts)), NOISE)
    while not guide.settled:
        guide.step()
    return guide


@pytest.mark.parametrize(
    ("simulate", "dose"),
    [(simulate_hbn, 1250), (simulate_hbn, 20000), (simulate_domains, 5000), (simulate_particles, 5000)],
)
def test_errors_of_sums_over_channels_are_calibrated(simulate, dose):
    z = {name: [] for name in WINDOWS}
    for seed in range(3):
        counts, truth = recorded(simulate, counts=dose, seed=seed)
        guide, numbers = guide_of(counts, (24, 24)), numpy.arange(576)
        wrong = (guide.frames(numbers) - truth)[:, 0]
        for name, (start, stop) in WINDOWS.items():
            channels = numpy.arange(start, stop)
            variance = guide.uncertainty.variance(numpy.ones((576, channels.size)), channels, numbers)
            z[name].append(wrong[:, channels].sum(1) / numpy.sqrt(variance))
    for name, values in z.items():
        spread, inside = numpy.sqrt(numpy.mean(numpy.square(values))), numpy.mean(numpy.abs(values) < 1)
        # two channels are smoothed as little as lines only where there is a line: elsewhere sigma is too large
        cautious = 0.2 if name == "narrow" else 0.0
        assert 0.7 - cautious < spread < 1.5 and 0.5 < inside < 0.86 + cautious / 2, (name, spread, inside)


@pytest.fixture(scope="module")
def uncertainty():
    counts, _ = recorded(simulate_hbn, (12, 12), 64, 3000, seed=2)
    return guide_of(counts, (12, 12)).uncertainty


def test_one_channel_is_a_voxel_up_to_what_smoothing_makes_of_it(uncertainty):
    numbers, channels = numpy.arange(144), numpy.array([30])
    one = numpy.sqrt(uncertainty.variance(numpy.ones((144, 1)), channels, numbers))
    assert numpy.median(one / uncertainty.sigma(numbers)[:, 30]) == pytest.approx(1, abs=0.35)


def test_variance_goes_with_the_square_of_weights(uncertainty, rng):
    numbers, channels = numpy.array([3, 70]), numpy.arange(5, 40)
    weights = rng.normal(size=(2, 35))
    once, twice = (uncertainty.variance(factor * weights, channels, numbers) for factor in (1.0, 2.0))
    numpy.testing.assert_allclose(twice, 4 * once)
    assert (once > 0).all()


def test_it_survives_a_journey(uncertainty):
    again = Uncertainty.unpacked(uncertainty.packed())
    numbers, channels = numpy.arange(144), numpy.arange(10, 30)
    weights = numpy.ones((144, 20))
    numpy.testing.assert_allclose(again.sigma(numbers), uncertainty.sigma(numbers), rtol=1e-4)
    numpy.testing.assert_allclose(
        again.variance(weights, channels, numbers), uncertainty.variance(weights, channels, numbers), rtol=1e-4
    )
    assert again.packed().dtype == numpy.float32


def two_components(second, **more):
    """What is known of 100 spectra of 50 channels, the second component having the same in each."""
    numbers, light, scale = numpy.arange(100), numpy.ones(100), numpy.ones(50, numpy.float32)
    spectra, risk = numpy.stack((numpy.ones(50), numpy.full(50, second))), numpy.full((100, 2), (0.1, 0.2))
    doubt = Uncertainty(numbers, light, scale, spectra, risk, numpy.full((100, 2), 0.1), numpy.full(2, 0.1))
    return dataclasses.replace(doubt, **{"share": numpy.eye(2), **more})


def variance_of(doubt):
    return doubt.variance(numpy.ones((100, 20)), numpy.arange(20, 40), numpy.arange(100))


def by_risk(doubt):
    """How the variance of a sum changes with the risk of the second loading."""
    more = dataclasses.replace(doubt, risk=doubt.risk + [0.0, 1.0])
    return (variance_of(more) - variance_of(doubt))[0]


def test_a_sum_that_answers_to_a_resolved_spectrum_by_its_error_only_does_not_depend_on_its_loading():
    assert by_risk(two_components(0.01, resolved=True)) == 0
    strong = by_risk(two_components(1.0, resolved=True))
    assert 0.9 * 20**2 < strong < 20**2, "the error of the spectrum is told already, but is small beside its answer"
    assert by_risk(two_components(1.0, share=numpy.zeros((0, 0)))) == pytest.approx(20**2)


def test_what_smoothing_took_off_an_unresolved_spectrum_is_in_the_answer_to_its_loading():
    taken = numpy.stack((numpy.zeros(50), numpy.full(50, -0.5)))  # smoothed once more, it would lose half
    before, after = (by_risk(two_components(1.0, bent=bent)) for bent in (0 * taken, taken))
    assert after - before == pytest.approx((1.5**2 - 1.0) * 20**2)
    known = by_risk(two_components(1.0, bent=taken, resolved=True))
    assert known == pytest.approx(by_risk(two_components(1.0, bent=0 * taken, resolved=True)))


@pytest.mark.parametrize(("beyond", "counts"), [(1.5, False), (4.0, True)])
def test_what_a_sum_lacks_counts_from_more_errors_on_where_a_resolved_spectrum_is_not_in_it(beyond, counts):
    waves = 32
    noise = 20.0 - 20.0**2 * (1.0 + 0.01**2)  # left by the two loadings: the least that is left of noise
    known = max(noise, 0.05 * 20.0)
    amplitude = numpy.sqrt(known * (1 + beyond * numpy.sqrt(2 / waves))) / 20
    left = numpy.full((waves, 50), amplitude)
    for second, expected in ((0.01, counts), (1.0, True)):
        with_it, without = (
            variance_of(two_components(second, resolved=True, seen=0.5, left=each)) for each in (left, left[:0])
        )
        assert ((with_it > without) == expected).all(), f"second {second}"


@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, 12)])
def test_numbers_of_another_version_are_refused(uncertainty, cut):
    with pytest.raises(ValueError, match="of another version"):
        Uncertainty.unpacked(uncertainty.packed()[cut])
