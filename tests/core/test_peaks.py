"""Positions, widths and counts of lines; white-line ratios and edge shifts."""

import numpy
import pytest
import scipy.special

from udvd_core.axes import Axis
from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.maps.peaks import fit_lines
from udvd_core.noise import NoiseModel
from udvd_core.simulate import simulate_domains, simulate_dopants
from udvd_core.simulate.shapes import FWHM_PER_SIGMA
from udvd_core.simulate.textures import domains

ENERGY = Axis(60, 170.0, 0.5, "eV", "E")
WINDOW = (170.0, 200.0)
CLOUD = NoiseModel(1.2, 0.0, (0.0833,))


def line(energy: numpy.ndarray, place: float, fwhm: float) -> numpy.ndarray:
    """A Gaussian of unit area, integrated over channels of 0.5 eV."""
    sigma = fwhm / FWHM_PER_SIGMA
    high, low = (scipy.special.ndtr((energy - place + e) / sigma) for e in (0.25, -0.25))
    return high - low


def scan(area: float, two: bool = False, step: float = 0.0, number: int = 3000, seed: int = 0):
    """Counts of lines 3 eV wide that shift by 0.5 eV over 10 counts per channel, and the shifts."""
    rng = numpy.random.default_rng(seed)
    shift = rng.normal(0.0, 0.5, number)
    energy = ENERGY.values() - shift[:, None]
    expected = 10 * numpy.exp(-(ENERGY.values() - 185) / 30) + area * line(energy, 183.0, 3.0)
    rise = scipy.special.ndtr((energy - 183.0) * FWHM_PER_SIGMA / 3.0)
    if two:
        expected = expected + 0.5 * area * line(energy, 191.0, 3.0)
        rise = (2 * rise + scipy.special.ndtr((energy - 191.0) * FWHM_PER_SIGMA / 3.0)) / 3
    return rng.poisson(expected + step * rise).astype(numpy.float32), shift


def check(found, truth, sigma, mean: float = 0.2) -> None:
    known = numpy.isfinite(sigma)
    z = ((found - truth) / numpy.where(known, sigma, 1.0))[known]
    assert known.mean() > 0.98
    assert abs(z.mean()) < mean
    assert 0.64 < (abs(z) < 1).mean() < 0.72


@pytest.mark.parametrize("area", [150.0, 1000.0])
@pytest.mark.parametrize("step", [0.0, 5.0])
@pytest.mark.parametrize("two", [False, True])
def test_lines_and_their_errors(area, step, two):
    spectra, shift = scan(area, two, step)
    found = fit_lines(spectra, ENERGY, WINDOW, [183.0, 191.0][: 1 + two], 3.3, step=step > 0)
    check(found.counts[0], area, found.counts_sigma[0])
    check(found.position[0], 183.0 + shift, found.shift_sigma)
    check(numpy.log(found.fwhm[0]), numpy.log(3.0), found.broadening_sigma)
    assert found.counts.shape == found.position.shape == (1 + two, 3000)


def test_ratio_of_two_lines_and_its_error():
    spectra, _ = scan(400.0, two=True, step=5.0)
    found = fit_lines(spectra, ENERGY, WINDOW, [183.0, 191.0], 3.3, step=True)
    check(*(found.ratio(0, 1)[0], 2.0, found.ratio(0, 1)[1]))
    assert numpy.mean(found.ratio(0, 1)[0]) == pytest.approx(2.0, rel=0.02)


def test_faint_lines_keep_the_place_of_the_scan_and_unbiased_counts():
    spectra, _ = scan(15.0)
    found = fit_lines(spectra, ENERGY, WINDOW, [183.0], 3.0)
    faint = ~found.found
    assert faint.mean() > 0.9
    assert numpy.isinf(found.shift_sigma[faint]).all()
    assert (found.shift[faint] == 0).all()
    assert abs(found.counts[0].mean() - 15.0) < 1.5
    assert numpy.isfinite(found.counts_sigma).all()
    assert numpy.isinf(found.ratio(0, 0)[1]).any()


def test_empty_spectra_are_safe():
    spectra, _ = scan(1000.0, number=200)
    spectra[3] = 0.0
    found = fit_lines(spectra, ENERGY, WINDOW, [183.0], 3.0)
    assert not found.found[3]
    assert numpy.isfinite(found.counts).all()
    assert numpy.delete(found.found, 3).all()


def test_a_window_as_wide_as_the_axis_where_every_line_has_moved():
    shift = numpy.repeat([-1.5, 1.5], 200)
    expected = 10 + 2000 * line(ENERGY.values() - shift[:, None], 183.0, 3.0)
    found = fit_lines(numpy.random.default_rng(2).poisson(expected), ENERGY, WINDOW, [183.0], 4.0)
    check(found.position[0], 183.0 + shift, found.shift_sigma)


def test_read_noise_and_gain():
    spectra, shift = scan(500.0)
    read = 3.0 * spectra + numpy.random.default_rng(1).normal(0.0, 5.0, spectra.shape)
    found = fit_lines(read, ENERGY, WINDOW, [183.0], 3.0, errors=NoiseModel(3.0, 25.0))
    check(found.counts[0], 1500.0, found.counts_sigma[0])
    check(found.position[0], 183.0 + shift, found.shift_sigma)


def test_edge_shift_map_of_domains():
    sample = simulate_domains((32, 32), counts=50_000.0)
    spectra = Detector(spreading=0.25).record(sample).spectra().reshape(1024, -1)
    found = fit_lines(spectra, sample.energy, (170.0, 215.0), [192.0, 199.0, 204.0], 3.0, errors=CLOUD)
    rng = numpy.random.default_rng(0)
    number = domains((32, 32), 6, rng)
    truth = (rng.uniform(-2, 2, 6)[number] + numpy.linspace(-0.5, 0.5, 32)[:, None]).ravel()
    assert found.found.mean() > 0.98
    assert numpy.polyfit(truth, found.shift, 1)[0] == pytest.approx(1.0, abs=0.02)
    error = found.shift - truth
    z = (error - error.mean()) / found.shift_sigma
    assert error.std() < 0.08
    assert 0.64 < (abs(z) < 1).mean() < 0.80  # the lines are not Gaussian: a little too careful


def test_white_line_ratio_of_cerium():
    sample = simulate_dopants((32, 32), counts=100_000.0)
    spectra = Detector(spreading=0.25).record(sample).spectra().reshape(1024, -1)
    arguments = sample.energy, (850.0, 930.0), [883.0, 901.0], 4.5
    found = fit_lines(spectra, *arguments, step=True, errors=CLOUD)
    clean = fit_lines(sample.spectra.reshape(1024, -1), *arguments, step=True)
    check(found.ratio(0, 1)[0], clean.ratio(0, 1)[0], found.ratio(0, 1)[1])
    check(found.position[1], clean.position[1], found.shift_sigma)
    assert found.position.mean(1) == pytest.approx([883.0, 901.0], abs=1.0)


@pytest.mark.parametrize(
    ("window", "lines", "fwhm", "message"),
    [
        ((170.0, 172.0), [171.0], 1.0, "widen it"),
        ((170.0, 200.0), [150.0], 3.0, "all inside"),
        ((170.0, 200.0), [], 3.0, "missing eV"),
        ((170.0, 200.0), [183.0], 0.0, "more than 0"),
        ((300.0, 310.0), [305.0], 3.0, "covers no channel"),
        ((200.0, 170.0), [183.0], 3.0, "covers no channel"),
        ((170.0, 200.0), [178.0], 3.0, "no line near 178 eV"),
    ],
)
def test_bad_windows_and_lines_are_refused(window, lines, fwhm, message):
    flat = numpy.random.default_rng(0).poisson(20.0, (100, 60))
    with pytest.raises(InputError, match=message):
        fit_lines(flat, ENERGY, window, lines, fwhm)


def test_bad_spectra_are_refused():
    with pytest.raises(InputError, match="holds no counts"):
        fit_lines(numpy.zeros((2, 60)), ENERGY, WINDOW, [183.0], 3.0)
    with pytest.raises(InputError, match="calibrate"):
        fit_lines(numpy.ones((2, 60)), Axis(60), WINDOW, [183.0], 3.0)
