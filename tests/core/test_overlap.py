"""Minor lines taken off by a ratio, and spectra taken apart into references."""

import numpy
import pytest
import scipy.optimize

from udvd_core.axes import Axis
from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.maps.overlap import Ratio, measure_ratio, subtract_lines
from udvd_core.maps.references import Reference, reference_of_region
from udvd_core.maps.unmix import unmix
from udvd_core.noise import NoiseModel
from udvd_core.simulate import simulate_dopants

SAMPLE = simulate_dopants((32, 32), counts=2000.0)
ENERGY = SAMPLE.energy
REFERENCES = [Reference(part.name, part.spectrum) for part in SAMPLE.parts]
BASIS = numpy.stack([part.spectrum for part in SAMPLE.parts])


def maps(rng, cerium: float, gadolinium: numpy.ndarray, ratio: float = 10.3):
    """Counts of Ce M45 and of the window with Gd M45 and Ce M23; their errors, and Gd."""
    major = rng.normal(cerium, 40.0, gadolinium.shape)
    overlap = rng.normal(gadolinium + cerium / ratio, 30.0)
    return overlap, numpy.full(major.shape, 30.0), major, numpy.full(major.shape, 40.0)


def covered(found, truth, sigma) -> float:
    return float((abs(found - truth) < sigma).mean())


def test_ratio_and_its_inverse():
    found = Ratio(10.3, 0.1).inverse()
    assert (found.value, found.sigma) == pytest.approx((0.09709, 0.00094), abs=1e-5)


def test_own_error_of_positions_and_common_error_of_the_ratio():
    rng = numpy.random.default_rng(0)
    truth = numpy.full((100, 100), 50.0)
    right = subtract_lines(*maps(rng, 5000.0, truth), Ratio(1 / 10.3, 0.0))
    assert 0.67 < covered(right.values, truth, right.sigma) < 0.70
    assert (right.common == 0).all()
    # the ratio is off, by another amount in every scan: positions agree with each other, and all are off
    means, singles = [], []
    for _ in range(1000):
        ratio = Ratio(rng.normal(1 / 10.3, 0.005), 0.005)
        found = subtract_lines(*maps(rng, 5000.0, truth[:5, :10]), ratio)
        mean, sigma = found.mean(numpy.ones((5, 10), bool))
        means.append(abs(mean - 50.0) < sigma)
        singles.append(covered(found.values, 50.0, found.total()))
    assert 0.64 < numpy.mean(means) < 0.72
    assert 0.64 < numpy.mean(singles) < 0.72
    assert sigma == pytest.approx(numpy.hypot(30.25 / 50**0.5, 25.0), rel=0.02)


def test_covariance_of_the_two_maps_counts():
    rng = numpy.random.default_rng(1)
    shared = rng.normal(0.0, 20.0, 10_000)
    major = 5000.0 + shared + rng.normal(0.0, 30.0, 10_000)
    overlap = 500.0 + shared + rng.normal(0.0, 10.0, 10_000)
    sigmas = numpy.full(10_000, 500**0.5), numpy.full(10_000, 1300**0.5)
    found = subtract_lines(overlap, sigmas[0], major, sigmas[1], Ratio(0.1, 0.0), 400.0)
    assert 0.67 < covered(found.values, 0.0, found.sigma) < 0.70


@pytest.mark.parametrize("noise", [40.0, 600.0])
def test_measured_ratio_and_its_error(noise):
    rng = numpy.random.default_rng(2)
    mask = numpy.zeros((8, 8), bool)
    mask[:4] = True
    found = []
    for _ in range(3000):
        shared = rng.normal(0.0, 5.0, (8, 8))
        major = 1500.0 + rng.normal(0.0, noise, (8, 8)) + shared
        minor = 150.0 + rng.normal(0.0, 8.0, (8, 8)) + 500.0 * ~mask + shared
        sigmas = numpy.full((8, 8), 89**0.5), numpy.full((8, 8), (noise**2 + 25) ** 0.5)
        found.append(measure_ratio(minor, sigmas[0], major, sigmas[1], mask, 25.0))
    values, errors = numpy.array([(ratio.value, ratio.sigma) for ratio in found]).T
    assert abs(values.mean() - 0.1) < 0.05 * errors.mean()
    assert 0.64 < covered(values, 0.1, errors) < 0.72


@pytest.mark.parametrize("counts", [200.0, 2000.0])
@pytest.mark.parametrize("negative", [False, True])
def test_amplitudes_and_their_errors(counts, negative):
    truth = counts * numpy.array([0.7, 0.2, 0.2])
    spectra = numpy.random.default_rng(3).poisson(numpy.broadcast_to(truth @ BASIS, (4000, 512)))
    found = unmix(spectra, ENERGY, REFERENCES, negative=negative)
    for values, sigma, expected in zip(found.amplitudes, found.sigma, truth, strict=True):
        assert abs(((values - expected) / sigma).mean()) < 0.1
        assert 0.64 < covered(values, expected, sigma) < 0.72


def test_nothing_is_less_than_nothing_unless_asked_for():
    truth = numpy.array([1600.0, 400.0, 0.0])
    spectra = numpy.random.default_rng(4).poisson(numpy.broadcast_to(truth @ BASIS, (4000, 512)))
    bounded, free = (unmix(spectra, ENERGY, REFERENCES, negative=negative) for negative in (False, True))
    assert bounded.amplitudes.min() == 0
    assert bounded.amplitudes[2].mean() > 0.2 * bounded.sigma[2].mean()  # what is cut at 0 is too high on average
    assert abs((free.amplitudes[2] / free.sigma[2]).mean()) < 0.05
    assert 0.64 < covered(free.amplitudes[2], 0.0, free.sigma[2]) < 0.72
    assert 0.80 < covered(bounded.amplitudes[2], 0.0, bounded.sigma[2]) < 0.88


def test_likelihood_is_highest_as_another_optimiser_finds():
    truth = numpy.array([40.0, 10.0, 1.0])
    spectra = numpy.random.default_rng(5).poisson(numpy.broadcast_to(truth @ BASIS, (12, 512)))
    found = unmix(spectra, ENERGY, REFERENCES)

    def misfit(x, y):
        mean = x @ BASIS + 1e-12
        return mean.sum() - y @ numpy.log(mean)

    for y, mine in zip(spectra, found.amplitudes.T, strict=True):
        best = scipy.optimize.minimize(misfit, truth, (y,), bounds=[(0, None)] * 3, method="L-BFGS-B")
        assert misfit(mine, y) < best.fun + 1e-3


def test_bounds_are_those_of_non_negative_least_squares():
    rng = numpy.random.default_rng(6)
    basis = abs(rng.normal(1.0, 1.0, (6, 30)))
    spectra = 100 + rng.normal(0.0, 60.0, (50, 30))
    energy = Axis(30, 0.0, 1.0, "eV")
    given = [Reference(str(k), row) for k, row in enumerate(basis)]
    found = unmix(spectra, energy, given, NoiseModel(0.0, 3600.0))
    for y, mine in zip(spectra, found.amplitudes.T, strict=True):
        numpy.testing.assert_allclose(mine, scipy.optimize.nnls(basis.T, y)[0], atol=0.02 * found.sigma.min())
    assert (found.amplitudes == 0).any()


@pytest.mark.parametrize("noise", [NoiseModel(20.0, 400.0), NoiseModel(1.0, 4.0)])
def test_gain_and_read_noise(noise):
    rng = numpy.random.default_rng(7)
    truth = numpy.array([1400.0, 400.0, 400.0])
    counts = rng.poisson(numpy.broadcast_to(truth @ BASIS, (3000, 512)))
    spectra = noise.gain * counts + rng.normal(0.0, noise.read_variance**0.5, counts.shape)
    found = unmix(spectra, ENERGY, REFERENCES, noise)
    for values, sigma, expected in zip(found.amplitudes, found.sigma, noise.gain * truth, strict=True):
        assert abs(((values - expected) / sigma).mean()) < 0.1
        assert 0.64 < covered(values, expected, sigma) < 0.72


def test_map_of_single_dopants_with_electrons_that_count_twice():
    spectra = Detector(spreading=0.25).record(SAMPLE).spectra().reshape(1024, -1)
    cloud = NoiseModel(1.2, 0.0, (0.0833,))
    found = unmix(spectra, ENERGY, REFERENCES, cloud, negative=True)
    poisson = unmix(spectra, ENERGY, REFERENCES, negative=True)
    for k, part in enumerate(SAMPLE.parts):
        weight = part.weight.ravel()
        assert abs(((found.amplitudes[k] - weight) / found.sigma[k]).mean()) < 0.15
        assert 0.64 < covered(found.amplitudes[k], weight, found.sigma[k]) < 0.72
        assert (found.sigma[k] > 1.1 * poisson.sigma[k]).all()


def test_references_from_regions_of_the_scan():
    weights = numpy.zeros((900, 3))
    weights[:, 0] = 1500.0
    weights[300:600, 1], weights[600:, 2] = 500.0, 300.0
    spectra = numpy.random.default_rng(8).poisson(weights @ BASIS)
    position = numpy.arange(900)
    given = [
        reference_of_region("support", spectra, ENERGY, position < 300),
        reference_of_region("with Ce", spectra, ENERGY, (position >= 300) & (position < 600)),
    ]
    found = unmix(spectra, ENERGY, given).amplitudes[:, :600]
    assert found[1, :300].mean() < 0.1
    assert found[1, 300:].mean() > 0.9
    assert found.sum(0).mean() == pytest.approx(1.0, abs=0.01)


def test_empty_spectra_are_safe():
    found = unmix(numpy.zeros((2, 512)), ENERGY, REFERENCES)
    assert (found.amplitudes == 0).all()
    assert numpy.isfinite(found.sigma).all()


def test_bad_maps_are_refused():
    one, mask = numpy.ones((4, 4)), numpy.ones((4, 4), bool)
    with pytest.raises(InputError, match="want the same"):
        subtract_lines(one, one, one[0], one[0], Ratio(0.1, 0.0))
    with pytest.raises(InputError, match="not finite"):
        subtract_lines(one, one, one * numpy.nan, one, Ratio(0.1, 0.0))
    with pytest.raises(InputError, match="mark more positions"):
        measure_ratio(one, one, one, 10 * one, mask)
    with pytest.raises(InputError, match="at least one True"):
        measure_ratio(one, one, one, one, ~mask)
    with pytest.raises(InputError, match="at least one True"):
        subtract_lines(one, one, one, one, Ratio(0.1, 0.0)).mean(mask[0])
    with pytest.raises(InputError, match="finite numbers"):
        Ratio(0.1, -1.0)
    with pytest.raises(InputError, match="no inverse"):
        Ratio(0.0, 0.1).inverse()
