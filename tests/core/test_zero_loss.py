"""Zero-loss positions, windows that follow them, and phonon maps without the zero-loss tail."""

import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.maps.phonon import aligned_counts, phonon_maps
from udvd_core.maps.scoring import fit
from udvd_core.maps.zero_loss import zero_loss
from udvd_core.noise import NoiseModel
from udvd_core.simulate import simulate_phonon
from udvd_core.simulate.shapes import peak, tail

ENERGY = Axis(512, -0.1, 0.001, "eV", "E")
WINDOWS = [(0.050, 0.090), (0.120, 0.140), (0.140, 0.200)]
TAIL = [(0.028, 0.036), (0.225, 0.400)]
CLOUD = NoiseModel(1.2, 0.0, (0.0833,))  # a quarter of the electrons count twice, summed over q


def phonons(energy: numpy.ndarray) -> numpy.ndarray:
    """TA, LA and TO-LO per electron and eV."""
    upper = 0.6 * peak(energy, 0.165, 0.025) + 0.4 * peak(energy, 0.188, 0.022)
    return 0.035 * peak(energy, 0.070, 0.030) + 0.015 * peak(energy, 0.130, 0.022) + 0.030 * upper


def elastic(energy: numpy.ndarray) -> numpy.ndarray:
    return 0.92 * (0.9 * peak(energy, 0.0, 0.017) + 0.1 * tail(energy, 0.017))


def scan(counts: float, number: int = 3000, seed: int = 0) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Poisson counts of spectra that drift by 3 meV, and where their zero is."""
    rng = numpy.random.default_rng(seed)
    drift = rng.normal(0.0, 0.003, number)
    loss = ENERGY.values() - drift[:, None]
    expected = counts * ENERGY.scale * (elastic(loss) + phonons(loss))
    return rng.poisson(expected).astype(numpy.float32), drift


def integral(shape, low: float, high: float) -> float:
    edges = numpy.linspace(low, high, 4001)
    return float(shape((edges[1:] + edges[:-1]) / 2).mean() * (high - low))


def truth_of(sample, windows) -> numpy.ndarray:
    """Counts of the phonons of a sample in windows (windows, n)."""
    values, half = sample.energy.values(), sample.energy.scale / 2
    found = []
    for low, high in windows:
        share = numpy.clip((numpy.minimum(values + half, high) - numpy.maximum(values - half, low)) / 2 / half, 0, 1)
        found.append(sum(part.weight.ravel() * (part.spectrum @ share) for part in sample.parts[1:]))
    return numpy.array(found)


def check(found, truth, sigma, mean: float = 0.1) -> None:
    z = (found - truth) / sigma
    assert abs(z.mean()) < mean
    assert 0.64 < (abs(z) < 1).mean() < 0.72
    assert 0.92 < (abs(z) < 2).mean() < 0.98


@pytest.mark.parametrize("counts", [30.0, 300.0, 3000.0])
def test_position_counts_and_their_errors(counts):
    spectra, drift = scan(counts)
    found = zero_loss(spectra, ENERGY)
    assert numpy.isfinite(found.sigma).all()
    assert found.fwhm == pytest.approx(0.017, rel=0.03)
    check(found.position, drift, found.sigma)
    check(found.counts, 0.92 * counts, found.counts_sigma, mean=0.2)


def test_position_of_coarse_channels_is_finer_than_a_channel():
    energy = Axis(60, -3.0, 0.1, "eV", "E")
    rng = numpy.random.default_rng(1)
    place = rng.uniform(-0.1, 0.1, 4000)
    edges = energy.values()[:, None] + energy.scale * (numpy.arange(8) - 3.5) / 8
    expected = 2000 * 0.1 * peak(edges - place[:, None, None], 0.0, 0.3).mean(-1)
    found = zero_loss(rng.poisson(expected), energy)
    assert numpy.std(found.position - place) < 0.005
    check(found.position, place, found.sigma)


def test_a_noisy_camera_and_one_whose_electrons_count_twice():
    spectra, drift = scan(1000.0)
    rng = numpy.random.default_rng(2)
    read = 50.0 * spectra + rng.normal(0.0, 30.0, spectra.shape)
    found = zero_loss(read, ENERGY, NoiseModel(50.0, 900.0))
    check(found.position, drift, found.sigma)
    sample = simulate_phonon((32, 32), counts=3000.0)
    spread = Detector(spreading=0.25).record(sample).spectra().reshape(1024, -1)
    found = zero_loss(spread, sample.energy, CLOUD)
    check(found.position, 0.0, found.sigma)


def test_spectra_without_counts_get_the_position_of_the_others():
    spectra, _ = scan(300.0, 100)
    spectra[7] = 0.0
    found = zero_loss(spectra, ENERGY)
    assert numpy.isinf(found.sigma[7])
    assert found.counts[7] == 0
    assert found.position[7] == pytest.approx(numpy.median(numpy.delete(found.position, 7)), abs=2e-4)
    assert numpy.isfinite(numpy.delete(found.sigma, 7)).all()


def test_window_edges_cut_channels_and_data_stay():
    spectra = numpy.ones((2, 512))
    kept = spectra.copy()
    found = aligned_counts(spectra, ENERGY, [(0.0102, 0.0155), (-0.0003, 0.0004)], numpy.array([0.0, 0.00025]))
    numpy.testing.assert_allclose(found.values, [[5.3, 5.3], [0.7, 0.7]], atol=1e-9)
    numpy.testing.assert_array_equal(spectra, kept)
    assert found.sigma[0, 0] == pytest.approx((0.3**2 + 5) ** 0.5)  # 10.2 to 10.5 meV, then five channels


def test_zero_loss_map():
    spectra, _ = scan(3000.0)
    found = aligned_counts(spectra, ENERGY, [(-0.017, 0.017)], zero_loss(spectra, ENERGY).position)
    check(found.values[0], 3000 * integral(elastic, -0.017, 0.017), found.sigma[0])


@pytest.mark.parametrize(("counts", "mean"), [(1000.0, 0.2), (3000.0, 0.15), (30000.0, 0.15)])
def test_phonon_maps_and_their_errors(counts, mean):
    spectra, drift = scan(counts)
    found = phonon_maps(spectra, ENERGY, WINDOWS, TAIL, drift)
    for values, sigma, window in zip(found.values, found.sigma, WINDOWS, strict=True):
        truth = counts * integral(phonons, *window)
        assert values.mean() == pytest.approx(truth, rel=0.01)
        check(values, truth, sigma, mean)


def test_lattice_contrast_with_electrons_that_count_twice():
    sample = simulate_phonon((32, 32), counts=3000.0)
    spectra = Detector(spreading=0.25).record(sample).spectra().reshape(1024, -1)
    found = phonon_maps(spectra, sample.energy, WINDOWS, TAIL, zero_loss(spectra, sample.energy, CLOUD).position, CLOUD)
    for values, sigma, truth in zip(found.values, found.sigma, truth_of(sample, WINDOWS), strict=True):
        check(values, truth, sigma, mean=0.25)
    assert numpy.corrcoef(found.values[0], truth_of(sample, WINDOWS)[0])[0, 1] > 0.8


class Noise:
    """Errors of equal variance in all channels, 0.01 counts squared."""

    def variance(self, weights, channels, positions):
        assert weights.shape == (positions.stop - positions.start, channels.size)
        return 0.01 * (weights**2).sum(1)


@pytest.mark.parametrize("order", [1, 2])
def test_errors_of_denoised_spectra_go_through_window_and_tail(order):
    loss = ENERGY.values()
    expected = 30000 * ENERGY.scale * (elastic(loss) + phonons(loss))
    spectra = expected + numpy.random.default_rng(4).normal(0.0, 0.1, (4000, 512))
    windows, place = [*WINDOWS], numpy.zeros(4000)
    found = phonon_maps(spectra, ENERGY, windows, TAIL, place, Noise(), order=order)
    truth = phonon_maps(expected[None], ENERGY, windows, TAIL, place[:1], None, order=order)
    assert numpy.isnan(truth.sigma).all()
    for values, sigma, true in zip(found.values, found.sigma, truth.values, strict=True):
        check(values, true[0], sigma)
    summed = aligned_counts(spectra, ENERGY, windows, place, Noise())
    assert (found.sigma > summed.sigma).all() and summed.sigma[0, 0] == pytest.approx(0.1 * 39.5**0.5)


def test_the_error_of_the_position_is_an_error_of_the_map():
    loss = ENERGY.values()
    expected = 30000 * ENERGY.scale * (elastic(loss) + phonons(loss))
    rng = numpy.random.default_rng(5)
    light = rng.uniform(0.5, 1.5, 3000)
    spectra = rng.poisson(light[:, None] * expected).astype(numpy.float32)
    windows, off = [(0.018, 0.022)], rng.normal(0.0, 0.0005, 3000)  # a narrow window on the steepest flank
    found = aligned_counts(spectra, ENERGY, windows, off, position_sigma=numpy.full(3000, 0.0005))
    right = aligned_counts(spectra, ENERGY, windows, numpy.zeros(3000))
    truth = aligned_counts(expected[None], ENERGY, windows, numpy.zeros(1)).values[0]
    assert (found.sigma > 1.5 * right.sigma).mean() > 0.9
    check(found.values[0], light * truth, found.sigma[0])
    ours = phonon_maps(spectra, ENERGY, WINDOWS, TAIL, off, position_sigma=numpy.full(3000, 0.005))
    assert (ours.sigma > phonon_maps(spectra, ENERGY, WINDOWS, TAIL, off).sigma).all()


def test_tail_of_second_order():
    spectra, drift = scan(30000.0)
    found = phonon_maps(spectra, ENERGY, WINDOWS, TAIL, drift, order=2)
    for values, sigma, window in zip(found.values, found.sigma, WINDOWS, strict=True):
        z = (values - 30000 * integral(phonons, *window)) / sigma
        assert abs(z.mean()) < 0.15
        assert 0.64 < (abs(z) < 1).mean() < 0.75  # careful: the curvature might differ between positions, here not


def test_no_counts_make_no_phonons():
    spectra, drift = scan(3000.0, 50)
    spectra[3] = 0.0
    found = phonon_maps(spectra, ENERGY, WINDOWS, TAIL, drift)
    assert (abs(found.values[:, 3]) < 0.5).all()
    assert (found.sigma[:, 3] >= 1).all()
    assert numpy.isfinite(found.values).all()


def test_a_straight_line_is_fitted_as_least_squares_does():
    rng = numpy.random.default_rng(3)
    x = numpy.linspace(0.0, 1.0, 50)
    counts = 5.0 + 3.0 * x + rng.normal(0.0, 0.1, (20, 50))
    columns = numpy.stack((numpy.ones(50), x))

    def line(energy, parameters):
        return parameters[:, :1] + parameters[:, 1:] * energy, numpy.repeat(columns[None], len(parameters), 0)

    found = fit(counts, x, line, numpy.ones((20, 2)), NoiseModel(0.0, 0.01))
    assert found.converged.all()
    numpy.testing.assert_allclose(found.parameters.T, numpy.linalg.lstsq(columns.T, counts.T)[0], atol=1e-3)
    numpy.testing.assert_allclose(found.covariance[0], 0.01 * numpy.linalg.inv(columns @ columns.T), rtol=1e-3)


@pytest.mark.parametrize(
    ("spectra", "energy", "message"),
    [
        (numpy.ones((2, 511)), ENERGY, "want \\(n, 512\\)"),
        (numpy.ones((2, 512)), Axis(512, -100.0, 1.0, "meV"), "in eV: calibrate"),
        (numpy.ones((2, 512)), Axis(512, -100.0, 1.0), "without a unit"),
        (numpy.full((2, 512), numpy.nan), ENERGY, "not finite"),
        (numpy.ones((2, 512)), ENERGY, "no zero-loss peak"),
        (numpy.zeros((2, 512)), ENERGY, "no zero-loss peak"),
        ((numpy.arange(512.0) + 1)[None] ** -3, ENERGY, "no zero-loss peak"),
    ],
)
def test_bad_spectra_are_refused(spectra, energy, message):
    with pytest.raises(InputError, match=message):
        zero_loss(spectra, energy)


@pytest.mark.parametrize(
    ("windows", "fits", "order", "message"),
    [
        ([(0.09, 0.05)], TAIL, 1, "higher energy loss"),
        ([(0.05, 0.50)], [(0.03, 0.04)], 1, "leaves the energy range"),
        ([(0.05, 0.09)], [(0.08, 0.12)], 1, "80 to 120 meV overlaps"),
        ([(-0.01, 0.09)], TAIL, 1, "above 0 meV only"),
        ([(0.05, 0.09)], [], 1, "no window"),
        ([(0.05, 0.09)], [(0.030, 0.0312)], 1, "widen them"),
        ([(0.05, 0.09)], TAIL, 3, "want 1 or 2"),
    ],
)
def test_bad_windows_are_refused(windows, fits, order, message):
    with pytest.raises(InputError, match=message):
        phonon_maps(numpy.ones((2, 512)), ENERGY, windows, fits, numpy.array([0.0, 0.001]), order=order)


def test_positions_must_be_finite():
    with pytest.raises(InputError, match="position is not finite"):
        aligned_counts(numpy.ones((1, 512)), ENERGY, WINDOWS, numpy.array([numpy.nan]))


def test_windows_without_tail_counts_are_refused():
    with pytest.raises(InputError, match="0 counts"):
        phonon_maps(numpy.zeros((2, 512)), ENERGY, WINDOWS, TAIL, numpy.zeros(2))
