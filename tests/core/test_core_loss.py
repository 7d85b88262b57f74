"""Core-loss maps with sigma: bias and coverage against the truth, and input that cannot be used."""

import os
import pathlib

import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.core_loss import EdgeMap, core_loss, in_ev, shared_error
from udvd_core.maps.covariance import CountingCovariance, DenoisedCovariance
from udvd_core.noise import NoiseModel, measure_noise
from udvd_core.settings import MapWindow
from udvd_core.simulate import simulate_hbn
from udvd_core.simulate.sample import from_spectra

ENERGY = Axis(160, 140.0, 0.8, "eV", "E")
VALUES = ENERGY.values()
BORON = MapWindow("B K", (190.0, 230.0), ((150.0, 186.0),))
SIGNAL = ENERGY.window(*BORON.signal)
POISSON = NoiseModel()
EDGE = numpy.where(VALUES >= 188.0, (VALUES / 188.0) ** -4, 0.0)
EDGE /= EDGE[SIGNAL].sum()


def background(level):
    return level * (VALUES / 168.0) ** -3.2


@pytest.mark.parametrize(
    ("level", "tolerance"), [(5.6, 0.01), (1.2, 0.03)], ids=["5.6 counts per channel", "30 % zero channels"]
)
def test_poisson_counts_give_no_bias(level, tolerance):
    expected = background(level) + 25 * level * EDGE  # as many counts as the background
    counts = numpy.random.default_rng(0).poisson(expected, (40_000, 160))
    truth = (expected - background(level))[SIGNAL].sum()
    values, _ = core_loss(counts, ENERGY, [BORON], POISSON)
    assert values.mean() == pytest.approx(truth, rel=tolerance)


@pytest.mark.parametrize("spreading", [0.0, 0.25])
@pytest.mark.parametrize("level", [1.2, 5.6, 50.0])
def test_one_sigma_holds_the_truth_in_two_of_three_maps(spreading, level):
    levels, seeds = numpy.array([2.0, 20.0, 200.0, 2000.0]), 2000
    spectra = numpy.broadcast_to((background(level) + levels[:, None] * EDGE)[:, None], (4, seeds, 160))
    sample = from_spectra("levels", spectra, ENERGY, spectra.sum(-1).mean(), 1, 0.1)
    bare = from_spectra("bare", background(level)[None, None], ENERGY, background(level).sum(), 1, 0.1)
    detector = Detector(spreading, seed=int(10 * level))
    recording = detector.record(sample)
    counts = recording.spectra().reshape(-1, 160)
    noise = POISSON
    if spreading:
        first = numpy.arange(0, 2 * seeds, 2)  # neighbours of the two faint levels
        noise = measure_noise(counts[: 2 * seeds, None], numpy.stack((first, first + 1), 1))
        assert noise.gain > 1.15
        assert noise.correlation
    values, sigma = (a.reshape(4, seeds) for a in core_loss(counts, ENERGY, [BORON], noise))
    lit = recording.truth()[:, :1, SIGNAL].sum(-1) - detector.record(bare).truth()[0, :, SIGNAL].sum()
    z = (values - lit) / sigma
    one, two = (numpy.abs(z) < 1).mean(1), (numpy.abs(z) < 2).mean(1)
    assert ((one > 0.64) & (one < 0.72)).all(), one
    assert ((two > 0.89) & (two < 0.97)).all(), two
    bias = (values.mean(1) - lit[:, 0]) / sigma.mean(1)
    assert (numpy.abs(bias) < 0.1).all(), bias


@pytest.mark.parametrize("model", ["power_law", "exponential"])
def test_a_handful_of_counts_tells_how_wrong_it_may_be(model):
    """5.6 counts in the fit window: a quarter of the slopes are at their bound, a tangent there is far too steep."""
    edge = MapWindow("B K", (190.0, 230.0), ((150.0, 186.0),), model)
    shape = background(1.0) if model == "power_law" else numpy.exp((168.0 - VALUES) / 60.0)
    counts = numpy.random.default_rng(5).poisson(0.12 * shape + 5.0 * EDGE, (20_000, 160))
    values, sigma = core_loss(counts, ENERGY, [edge], POISSON)
    wrong = values - 5.0 * EDGE[SIGNAL].sum()
    assert (wrong**2).mean() == pytest.approx((sigma**2).mean(), rel=0.25)
    assert 0.64 < (abs(wrong) < sigma).mean() < 0.72
    assert 0.94 < (abs(wrong) < 2 * sigma).mean() < 0.98


def test_without_the_correlation_sigma_would_be_too_small():
    noise = NoiseModel(1.2, 0.0, (0.083,))
    counts = numpy.random.default_rng(1).poisson(background(50.0), (10, 160))
    plain = MapWindow("plain", BORON.signal)
    right, white = (core_loss(counts, ENERGY, [plain], n)[1] for n in (noise, NoiseModel(1.2)))
    numpy.testing.assert_allclose(right / white, noise.window_factor(50) ** 0.5, rtol=0.01)


def test_counting_covariance_is_that_of_the_channels_used():
    rng = numpy.random.default_rng(2)
    noise = NoiseModel(1.3, 2.0, (0.3, -0.1))
    expected = rng.uniform(5.0, 9.0, (4, 30))
    channels = numpy.array([12, 13, 14, 20, 5, 6, 8, 15])  # windows in any order, gaps, neighbours across windows
    weights = rng.normal(size=(3, channels.size))
    found = CountingCovariance(noise, expected).variance(weights, channels, slice(1, 4))
    each = noise.gain * expected + noise.read_variance
    for w, v, variance in zip(weights, each[1:, channels], found, strict=True):
        lag = numpy.abs(channels[:, None] - channels)
        correlation = numpy.select([lag == 0, lag == 1, lag == 2], [1.0, 0.3, -0.1])
        assert variance == pytest.approx(w @ (correlation * (v[:, None] + v) / 2) @ w)


def test_read_noise_counts_too():
    rng = numpy.random.default_rng(3)
    counts = rng.poisson(background(5.6), (4000, 160)) + rng.normal(0, 3.0, (4000, 160))
    values, sigma = core_loss(counts.astype(numpy.float32), ENERGY, [BORON], NoiseModel(1.0, 9.0))
    assert values.std() == pytest.approx(sigma.mean(), rel=0.05)
    assert abs(values.mean()) < 0.1 * sigma.mean()


@pytest.mark.parametrize("model", ["power_law", "exponential", "linear", "log_polynomial"])
def test_the_gradient_is_that_of_finite_differences(model):
    edge = MapWindow("B K", (190.0, 230.0), ((150.0, 170.0), (172.0, 186.0)), model)
    shape = 1 - (VALUES - 168.0) / 200.0 if model == "linear" else numpy.exp((168.0 - VALUES) / 60.0)
    if model in ("power_law", "log_polynomial"):
        shape = background(1.0)
    spectra = 1e4 * shape + numpy.concatenate((numpy.zeros((1, 160)), numpy.eye(160), -numpy.eye(160)))
    each = EdgeMap(edge, ENERGY)
    values, weights = each.linearise(spectra, CountingCovariance(POISSON, spectra), slice(0, len(spectra)))
    gradient = numpy.zeros(160)
    gradient[each.channels] = weights[0]
    numpy.testing.assert_allclose(gradient, (values[1:161] - values[161:]) / 2, rtol=2e-3, atol=1e-3)
    assert (gradient[SIGNAL] == 1).all()
    assert not gradient[ENERGY.window(170.0, 172.0)].any()


def test_several_edges_are_those_of_one_at_a_time():
    rng = numpy.random.default_rng(4)
    counts = rng.poisson(background(5.6), (3000, 160)).astype(numpy.float32)
    edges = [
        BORON,
        MapWindow("double", (190.0, 210.0), ((150.0, 186.0), (212.0, 240.0)), "power_law_double"),
        MapWindow("wide", (141.0, 240.0)),
    ]
    together = core_loss(counts, ENERGY, edges, POISSON)
    assert [a.shape for a in together] == [(3, 3000)] * 2
    for row, edge in enumerate(edges):
        alone = core_loss(counts[2000:], ENERGY, [edge], POISSON)
        for all_of_them, one in zip(together, alone, strict=True):
            numpy.testing.assert_allclose(all_of_them[row, 2000:], one[0], rtol=1e-9)


def test_a_plain_window_is_a_sum_with_counting_errors():
    counts = numpy.random.default_rng(5).poisson(3.0, (20, 160))
    values, sigma = core_loss(counts, ENERGY, [MapWindow("a", (190.0, 230.0))], POISSON)
    numpy.testing.assert_array_equal(values[0], counts[:, SIGNAL].sum(1))
    numpy.testing.assert_allclose(sigma[0] ** 2, values[0])


def test_empty_windows_give_zero_and_the_sigma_of_one_electron():
    spectra = numpy.zeros((3, 160), dtype=numpy.float32)
    spectra[1, SIGNAL] = 1.0
    spectra[2, : SIGNAL.start] = 1.0
    values, sigma = core_loss(spectra, ENERGY, [BORON], POISSON)
    assert values[0, 0] == 0
    assert 0.5 < sigma[0, 0] <= 1
    assert values[0, 1] == 50  # no counts where the background is fitted: nothing is taken off
    assert values[0, 2] < -30
    assert (sigma[0, 1:] > 5).all()


def test_missing_values_spoil_no_other_position():
    spectra = numpy.random.default_rng(6).poisson(background(5.6), (4, 160)).astype(numpy.float32)
    whole = core_loss(spectra, ENERGY, [BORON], POISSON)
    spectra[1, SIGNAL.start] = numpy.nan
    spectra[2, 20] = numpy.inf
    spectra[3, 0] = numpy.nan  # outside of the windows
    values, sigma = core_loss(spectra, ENERGY, [BORON], POISSON)
    assert (values[0, 1:3] == 0).all()
    assert numpy.isinf(sigma[0, 1:3]).all()
    for seen, expected in zip((values, sigma), whole, strict=True):
        numpy.testing.assert_allclose(seen[0, [0, 3]], expected[0, [0, 3]], rtol=1e-12)


def test_descending_axes_and_other_units():
    counts = numpy.random.default_rng(7).poisson(background(5.6), (5, 160))
    expected = core_loss(counts, ENERGY, [BORON], POISSON)
    descending = Axis(160, VALUES[-1], -0.8, "eV", "E")
    for axis, spectra in (
        (descending, counts[:, ::-1]),
        (Axis(160, 140_000.0, 800.0, "meV", "E"), counts),
        (Axis(160, 0.14, 0.0008, "keV", "E"), counts),
    ):
        for found, wanted in zip(core_loss(spectra, axis, [BORON], POISSON), expected, strict=True):
            numpy.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert in_ev(ENERGY) == ENERGY


def test_one_channel_will_do_for_a_signal_and_for_one_of_two_fit_windows():
    edge = MapWindow("narrow", (190.0, 190.8), ((150.0, 150.8), (180.0, 180.8)))
    values, sigma = core_loss(background(1e6)[None], ENERGY, [edge], POISSON)
    assert abs(values[0, 0]) < 10  # of 6.7e5 counts
    assert sigma[0, 0] > 800


SPECTRA = numpy.ones((2, 160))
BELOW = Axis(160, -40.0, 0.8, "eV", "E")


@pytest.mark.parametrize(
    ("spectra", "energy", "edge", "message"),
    [
        (numpy.ones((2, 159)), ENERGY, BORON, r"want \(n, 160\)"),
        (numpy.ones(160), ENERGY, BORON, r"want \(n, 160\)"),
        (SPECTRA, ENERGY, MapWindow("far", (900.0, 950.0)), "leaves the energy axis"),
        (SPECTRA, ENERGY, MapWindow("half", (250.0, 300.0)), "signal window of 'half' is 250 to 300 eV and leaves"),
        (SPECTRA, ENERGY, MapWindow("far", BORON.signal, ((10.0, 20.0),)), "fit window of 'far'"),
        (SPECTRA, ENERGY, MapWindow("gap", (190.1, 190.3)), "covers no channel"),
        (SPECTRA, ENERGY, MapWindow("over", BORON.signal, ((150.0, 195.0),)), "overlaps a fit window"),
        (SPECTRA, ENERGY, MapWindow("one", BORON.signal, ((150.0, 150.5),)), "at least two"),
        (SPECTRA, BELOW, MapWindow("z", (10.0, 20.0), ((-5.0, 5.0),)), "above 0 eV only"),
        (SPECTRA, Axis(160, 140.0, 0.8, "", "E"), BORON, "calibrate the energy axis"),
        (SPECTRA, Axis(160, 140.0, 0.8, "nm", "E"), BORON, "has units 'nm'"),
    ]
    + [
        (SPECTRA, ENERGY, MapWindow("d", BORON.signal, fit, "power_law_double"), "one below the signal")
        for fit in ((), BORON.background, ((150.0, 160.0), (170.0, 180.0)), ((232.0, 240.0), (242.0, 250.0)))
    ],
)
def test_bad_input_is_refused(spectra, energy, edge, message):
    with pytest.raises(InputError, match=message):
        core_loss(spectra, energy, [edge], POISSON)


@pytest.mark.parametrize("exponent", [0.5, 2.0, 3.0, 4.5, 6.0])
def test_any_exponent_is_taken_off(exponent):
    spectrum = 1e6 * (VALUES / 140.0) ** -exponent
    values, _ = core_loss(spectrum[None], ENERGY, [BORON, MapWindow("plain", BORON.signal)], POISSON)
    assert abs(values[0, 0]) < 1e-4 * values[1, 0]


def test_boron_map_of_a_simulated_scan():
    sample = simulate_hbn((16, 16), counts=50_000.0)
    spectra = Detector().record(sample).spectra().reshape(256, -1)
    values, _ = core_loss(spectra, sample.energy, [BORON], POISSON)
    part = sample.parts[1]
    expected = part.weight.ravel() * part.spectrum[sample.energy.window(*BORON.signal)].sum()
    assert numpy.corrcoef(values[0], expected)[0, 1] > 0.9
    assert values.mean() == pytest.approx(expected.mean(), rel=0.05)


def test_where_errors_are_not_known_sigma_is_none_and_values_are_those_of_many_counts():
    counts = numpy.random.default_rng(8).poisson(background(1e4), (5, 160))
    known, unknown = (core_loss(counts, ENERGY, [BORON], errors) for errors in (POISSON, None))
    assert numpy.isnan(unknown[1]).all() and unknown[1].shape == (1, 5)
    assert (abs(unknown[0] - known[0]) < 0.1 * known[1]).all() and (unknown[0] != known[0]).any()


def denoised(positions, rng):
    """Errors of denoised spectra: of the amounts of two components, along the whole axis."""
    spectra = rng.normal(size=(2, 160))
    return Uncertainty(
        numbers=numpy.arange(positions),
        intensity=rng.uniform(1, 2, positions),
        scale=rng.uniform(1, 2, 160).astype(numpy.float32),
        spectra=spectra,
        risk=rng.uniform(0.5, 2.0, (positions, 2)),
        weights=numpy.full((positions, 1), positions**-0.5),
        spectrum_risk=numpy.array([1e-9]),
    )


def test_denoised_spectra_have_the_errors_that_denoising_left(rng):
    uncertainty = denoised(40, rng)
    numbers = rng.permutation(40)[:12]
    spectra = background(1e4) + rng.normal(size=(12, 160))
    values, sigma = core_loss(spectra, ENERGY, [BORON], DenoisedCovariance(uncertainty, numbers))
    each = EdgeMap(BORON, ENERGY)
    _, weights = each.linearise(spectra, CountingCovariance(POISSON, spectra), slice(0, 12))
    numpy.testing.assert_allclose(sigma[0] ** 2, uncertainty.variance(weights, each.channels, numbers), rtol=1e-2)
    plain, _ = core_loss(spectra, ENERGY, [BORON], None)
    assert (abs(values - plain) < sigma).all()


def test_maps_without_a_common_channel_share_the_errors_of_denoised_spectra_but_not_of_counts(rng):
    one, other = MapWindow("one", (150.0, 160.0)), MapWindow("other", (190.0, 230.0))
    spectra = rng.poisson(background(5.6), (70, 160))
    assert shared_error(spectra, ENERGY, (one, other), POISSON) == pytest.approx(0, abs=1e-9)
    assert not shared_error(spectra, ENERGY, (one, other), None).any()
    own = shared_error(spectra, ENERGY, (one, one), POISSON)
    numpy.testing.assert_allclose(own, spectra[:, ENERGY.window(150.0, 160.0)].sum(1))
    errors = DenoisedCovariance(denoised(70, rng), numpy.arange(70))
    shared = shared_error(spectra, ENERGY, (one, other), errors)
    known = errors.uncertainty
    first, second = ((known.spectra * known.scale)[:, ENERGY.window(*window.signal)].sum(1) for window in (one, other))
    expected = known.intensity * (known.risk * first * second).sum(1)
    numpy.testing.assert_allclose(shared, expected, rtol=1e-6)


@pytest.mark.skipif("UDVD_MEASURED_DATA" not in os.environ, reason="UDVD_MEASURED_DATA names no folder")
def test_measured_oxide_interface():
    path = pathlib.Path(os.environ["UDVD_MEASURED_DATA"]) / "oxide_interface_TiOMnLa_si_6x49.npz"
    with numpy.load(path, allow_pickle=False) as file:
        data, values = file["data"], file["energy_eV"]
    energy = Axis(values.size, float(values[0]), float(values[1] - values[0]), "eV", "E")
    windows = [
        MapWindow("Ti L", (455.0, 475.0), (400.0, 450.0)),
        MapWindow("O K", (530.0, 550.0), (490.0, 525.0)),
        MapWindow("La M", (830.0, 855.0), (760.0, 820.0)),
    ]
    found, _ = core_loss(data.reshape(-1, values.size), energy, windows, POISSON)
    titanium, oxygen, lanthanum = found.reshape(3, 49, 6)
    assert (oxygen > 0).mean() > 0.95
    rows_ti, rows_la = titanium.mean(axis=1), lanthanum.mean(axis=1)
    assert numpy.corrcoef(rows_ti, rows_la)[0, 1] < -0.5
