"""Sigma of what is fitted to denoised spectra, and of references that are means of the scan's own spectra."""

import dataclasses
import json

import numpy
import pytest
import scipy.ndimage
import scipy.special
from test_map_command import refused, run

from udvd_core import cli
from udvd_core.axes import Axis
from udvd_core.commands.error_files import read_uncertainty
from udvd_core.errors import InputError
from udvd_core.files import Scan, read_scan, write_scan
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.covariance import DenoisedCovariance, cut
from udvd_core.maps.line_maps import line_maps, ratio_map, surroundings
from udvd_core.maps.presets import Preset, save_preset
from udvd_core.maps.references import Reference, reference_of_region
from udvd_core.maps.unmix import unmix
from udvd_core.noise import NoiseModel
from udvd_core.settings import MapWindow

ENERGY = Axis(80, 170.0, 0.5, "eV", "E")
VALUES = ENERGY.values()
NUMBER = 2000


def line(place, fwhm=4.0):
    """A Gaussian of unit area, integrated over channels."""
    scale = fwhm / (2 * numpy.sqrt(2 * numpy.log(2)))
    away = VALUES - numpy.asarray(place)[..., None]
    return scipy.special.ndtr((away + 0.25) / scale) - scipy.special.ndtr((away - 0.25) / scale)


def left_over(expected, rng, smoothed=False):
    """Denoised spectra that are off as a low-rank model is, with maps smoothed or not, and what is known of that."""
    number = len(expected)
    intensity = rng.uniform(0.5, 1.5, number)
    spectra = scipy.ndimage.gaussian_filter1d(rng.normal(size=(12, 80)), 1.0, axis=1)
    widths = rng.integers(6, 30, 12)  # of the smoothing, positions
    risk = 1 / widths
    scale = numpy.full(80, 4.0, numpy.float32)
    noise = rng.normal(size=(12, number))
    if smoothed:
        loadings = [scipy.ndimage.uniform_filter1d(*each, mode="wrap") for each in zip(noise, widths, strict=True)]
    else:
        loadings = numpy.sqrt(risk)[:, None] * noise
    wrong = numpy.transpose(loadings) @ spectra
    empty = numpy.zeros((number, 0)), numpy.zeros(0)
    known = Uncertainty(numpy.arange(number), intensity, scale, spectra, numpy.tile(risk, (number, 1)), *empty)
    return expected + wrong * scale * numpy.sqrt(intensity)[:, None], DenoisedCovariance(known, numpy.arange(number))


def holds(found, truth, sigma):
    """Whether sigma does."""
    z = (found - truth) / sigma
    assert numpy.isfinite(sigma).mean() > 0.99
    assert abs(z.mean()) < 0.25 and 0.64 < (abs(z) < 1).mean() < 0.73, (z.mean(), (abs(z) < 1).mean())


def test_position_and_width_of_a_line_hold_what_denoising_left(rng):
    shift = rng.normal(0.0, 0.5, NUMBER)
    denoised, errors = left_over(40 + 400 * line(190.0 + shift), rng)
    part, near = surroundings(ENERGY, (183.0, 198.0))
    position, width = line_maps(denoised[:, part], near, (183.0, 198.0), cut(errors, part.start))
    holds(position.values, 190.0 + shift, position.sigma)
    holds(width.values, 4.0, width.sigma)
    whole = line_maps(denoised, ENERGY, (183.0, 198.0), errors)[0]
    numpy.testing.assert_allclose(whole.sigma, position.sigma, rtol=0.05)
    half = dataclasses.replace(errors.uncertainty, risk=errors.uncertainty.risk / 4)
    smaller = line_maps(denoised, ENERGY, (183.0, 198.0), DenoisedCovariance(half, errors.numbers))[0]
    assert numpy.median(smaller.sigma / whole.sigma) == pytest.approx(0.5, abs=0.01)


def test_ratio_of_two_lines_holds_what_denoising_left(rng):
    shift = rng.normal(0.0, 0.3, NUMBER)
    denoised, errors = left_over(40 + 600 * line(183.0 + shift) + 400 * line(195.0 + shift), rng)
    found = ratio_map(denoised, ENERGY, (174.0, 204.0), (183.0, 195.0), errors)
    holds(found.values, 1.5, found.sigma)


def test_faint_lines_of_denoised_spectra_have_no_place(rng):
    strength = numpy.where(numpy.arange(NUMBER) < 100, 0.0, 400.0)
    denoised, errors = left_over(40 + strength[:, None] * line(numpy.full(NUMBER, 190.0)), rng)
    position, _ = line_maps(denoised, ENERGY, (183.0, 198.0), errors)
    assert numpy.isinf(position.sigma[:100]).mean() > 0.9 and numpy.isfinite(position.sigma[100:]).all()


@pytest.mark.parametrize("kind", ["raw", "denoised"])
def test_the_error_of_references_from_regions_is_in_sigma(rng, kind):
    lines = rng.uniform(0.5, 2.0, NUMBER)
    amounts = numpy.stack((lines + 0.5, lines))
    amounts[:, :30] = numpy.repeat([[1.0, 1.0], [0.0, 1.0]], 15, 1)  # two regions of 15 positions
    basis = numpy.stack((60 * numpy.exp(-(VALUES - 170) / 30), 1200 * line(190.0)))
    z, without = [], []
    for _ in range(12):
        expected = amounts.T @ basis
        if kind == "raw":
            spectra, errors = rng.poisson(expected).astype(numpy.float32), NoiseModel()
        else:
            spectra, errors = left_over(expected, rng, smoothed=True)
        masks = [numpy.arange(NUMBER) // 15 == number for number in (0, 1)]
        given = [reference_of_region(str(k), spectra, ENERGY, mask) for k, mask in enumerate(masks)]
        found = unmix(spectra, ENERGY, given, errors, negative=True)
        wanted = numpy.stack((amounts[0] - amounts[1], amounts[1]))  # the second region holds both
        z.append((found.amplitudes[1] - wanted[1]) / found.sigma[1])
        exact = [Reference(each.name, each.spectrum) for each in given]
        alone = unmix(spectra, ENERGY, exact, errors, negative=True)
        without.append((alone.amplitudes[1] - wanted[1]) / alone.sigma[1])
    z, without = numpy.array(z), numpy.array(without)
    assert 0.9 < z.std() < 1.1, z.std()
    assert without.std() > z.std() + 0.02
    if kind == "raw":
        assert abs(z[:, 15:30].std() - 1) < 0.15, "a position within its own region shares that region's error"


def test_errors_that_all_positions_share_fall_out_where_a_reference_shares_them(rng):
    denoised, errors = left_over(numpy.full((40, 80), 50.0), rng)
    shared = dataclasses.replace(
        errors.uncertainty, risk=0 * errors.uncertainty.risk, weights=numpy.full((40, 1), 40**-0.5),
        spectrum_risk=numpy.array([0.3]), intensity=numpy.ones(40),
    )  # fmt: skip
    known = DenoisedCovariance(shared, errors.numbers)
    weights, channels, mask = numpy.ones((40, 80)), numpy.arange(80), numpy.arange(40) < 20
    alone = known.variance(weights, channels, slice(0, 40))
    assert (alone > 0).all()
    for amount, left in ((1.0, 0.0), (0.0, 1.0), (3.0, 4.0)):
        found = known.compared(weights, channels, slice(0, 40), numpy.full((40, 1), amount), [mask])
        numpy.testing.assert_allclose(found, left * alone, atol=1e-9)


def test_a_region_of_another_scan_is_refused():
    spectra = numpy.full((30, 80), 5.0) + line(190.0)
    given = reference_of_region("a", spectra, ENERGY, numpy.arange(30) < 9)
    with pytest.raises(InputError, match="some of 30 positions and 20 are taken apart"):
        unmix(spectra[:20], ENERGY, [given])


def test_the_command_takes_the_uncertainty_of_a_denoised_scan(tmp_path, capsys, rng):
    shift = numpy.where(numpy.arange(14) < 7, -0.8, 0.8) * numpy.ones((12, 1))
    counts = rng.poisson(20 + 600 * line(190.0 + shift)).astype(numpy.float32)
    write_scan(tmp_path / "raw.h5", Scan(counts, (Axis(12), Axis(14), ENERGY)), {"simulated": "line"})
    files = ("--output", tmp_path / "d.h5", "--uncertainty", tmp_path / "u.npz", "--model", "guide")
    assert cli.main([str(each) for each in ("denoise", tmp_path / "raw.h5", *files)]) == 0
    given = (tmp_path / "d.h5", "--output", tmp_path / "m.npy", "--uncertainty", tmp_path / "u.npz", "--json")
    code, text, err = run(capsys, *given, "--line", "180:200")
    assert code == 0, err
    position, sigma = numpy.load(tmp_path / "m_position.npy")
    scan = read_scan(tmp_path / "d.h5")
    errors = DenoisedCovariance(read_uncertainty(tmp_path / "u.npz", scan), numpy.arange(168))
    expected = line_maps(scan.data.reshape(168, 80), ENERGY, (180.0, 200.0), errors)[0]
    numpy.testing.assert_allclose(sigma.ravel(), expected.sigma, rtol=0.05)
    assert 0.4 < ((position - 190 - shift) / sigma).std() < 2 and sigma.max() < 0.15
    said = json.loads(text.splitlines()[-1])
    assert "a percent or two" in said["warning"]
    assert said["maps"][0]["sigma"] > 0 and said["provenance"]["uncertainty"] == str(tmp_path / "u.npz")
    code, text, err = run(capsys, *given, "--references", "a=0:12,0:7", "b=0:12,7:14")
    amount, sigma = numpy.load(tmp_path / "m_a.npy")
    assert code == 0 and numpy.isfinite(sigma).all() and abs(amount[:, :7].mean() - 1) < 0.02


def test_the_operators_own_presets(tmp_path, capsys, rng):
    numpy.save(tmp_path / "scan.npy", rng.poisson(9.0, (3, 4, 200)))
    save_preset(tmp_path / "swift", Preset("My edges", (MapWindow("Mine", (150.0, 180.0)),)))
    given = (tmp_path / "scan.npy", "--energy", "100:1", "--output", tmp_path / "m.npy", "--preset")
    assert run(capsys, *given, "My edges", "--presets", tmp_path / "swift")[0] == 0
    assert numpy.load(tmp_path / "m_Mine.npy").shape == (2, 3, 4)
    error = refused(capsys, *given, "Other", "--presets", tmp_path / "swift")
    assert "'h-BN phonons', 'My edges'" in error
    assert "or give --presets FOLDER" in refused(capsys, *given, "My edges")
    assert "holds no presets" in refused(capsys, *given, "My edges", "--presets", tmp_path)
    (tmp_path / "swift" / "presets.json").write_text("{")
    assert "cannot be read" in refused(capsys, *given, "My edges", "--presets", tmp_path / "swift")
    windows = (tmp_path / "scan.npy", "--energy", "100:1", "--output", tmp_path / "m.npy", "--signal", "150:180")
    assert "--presets goes with --preset" in refused(capsys, *windows, "--presets", tmp_path / "swift")
