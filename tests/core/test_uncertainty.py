"""Standard errors of a guide: of sums over channels as well as of voxels, and the same after a journey."""

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


@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, 12)])
def test_numbers_of_another_version_are_refused(uncertainty, cut):
    with pytest.raises(ValueError, match="of another version"):
        Uncertainty.unpacked(uncertainty.packed()[cut])
