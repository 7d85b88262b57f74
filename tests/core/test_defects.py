"""Faulty pixels are found, spectra are not; filling and flat fields."""

import os
import pathlib

import numpy
import pytest

from udvd_core.defects import fill, find_defects, flat_field
from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.noise import NoiseModel
from udvd_core.simulate import simulate_dispersive, simulate_domains, simulate_hbn, simulate_phonon


def mean_frame(simulate, counts=50_000, size=10, rows=16, seed=0, **detector):
    sample = simulate((size, size), 512, counts=counts, q_rows=rows, seed=seed)
    recording = Detector(seed=seed, **detector).record(sample)
    frames = recording.frames().reshape(size * size, rows, -1)
    return recording, frames.mean(0, dtype=numpy.float64), size * size


def peak(fwhm, centre, height=1e5, floor=2.0):
    return height * numpy.exp(-4 * numpy.log(2) * ((numpy.arange(256) - centre) / fwhm) ** 2) + floor


@pytest.mark.parametrize("simulate", [simulate_hbn, simulate_phonon])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("counts", [500, 50_000])
def test_a_good_camera_has_no_defects(simulate, seed, counts):
    _, mean, frames = mean_frame(simulate, counts, seed=seed)
    few = mean.reshape(4, 4, -1).sum(1)
    for each, gain in ((mean, 1.0), (few, 1.1), (mean.sum(0)[None], 1.2)):
        found = find_defects(each, NoiseModel(gain), frames)
        assert (found.summary, found.usable.all(), found.pattern) == ("no defects", True, 0)


@pytest.mark.parametrize(
    ("simulate", "seed", "rows"),
    [(simulate_dispersive, 0, 16), (simulate_dispersive, 1, 16), (simulate_hbn, 2, 4), (simulate_domains, 0, 4)],
)
def test_dark_rows_and_narrow_edges_are_no_defects(simulate, seed, rows):
    """Scans of which a laxer rule masks one or two pixels."""
    _, mean, frames = mean_frame(simulate, 5000, 16, seed=seed)
    assert find_defects(mean.reshape(rows, -1, 512).sum(1), NoiseModel(), frames).summary == "no defects"


def test_a_narrow_beam_on_a_wide_one_is_no_defect():
    """Elastic light in three rows and three channels, inelastic light everywhere; then with a gap beside it."""
    spot = numpy.exp(-4 * numpy.log(2) * ((numpy.arange(24) - 12) / 3) ** 2)[:, None] * peak(3, 100, 4000, 0)
    mean = spot + 1000 * (1 + numpy.arange(256) / 50.0) ** -1
    assert find_defects(mean, NoiseModel(), 1000).summary == "no defects"
    line = numpy.where(numpy.arange(24) == 12, 6.0, 0.0)[:, None] * peak(40, 60, 1000, 0)
    assert find_defects(mean + line, NoiseModel(), 1000).summary == "no defects"
    mean[11] = 0
    assert find_defects(mean, NoiseModel(), 1000).summary == "1 gap row masked"


@pytest.mark.parametrize("simulate", [simulate_hbn, simulate_phonon, simulate_dispersive])
def test_faulty_pixels_of_frames_are_found(simulate):
    faults = {"dead_pixels": 20, "gap_columns": (200, 201), "gap_rows": (9,)}
    recording, mean, frames = mean_frame(simulate, 200_000, **faults)
    mean[7, 250] = 10 * mean[7, 250] + 3
    found = find_defects(mean, NoiseModel(), frames)
    bright = recording.sample.rate(0) > 1
    missed = bright & ~recording.alive & found.usable
    false = recording.alive & ~found.usable
    assert missed.sum() <= 1
    assert numpy.argwhere(false).tolist() == [[7, 250]]
    assert "1 hot pixel, 2 gap columns, 1 gap row masked" in found.summary


@pytest.mark.parametrize("fwhm", [3, 4, 6, 17])
@pytest.mark.parametrize("offset", [0, 0.3, 0.5])
def test_a_peak_of_three_channels_is_no_defect(fwhm, offset):
    spectrum = peak(fwhm, 100 + offset) + 0.03 * peak(fwhm, 120)
    spot = numpy.exp(-4 * numpy.log(2) * ((numpy.arange(24) - 12.3) / fwhm) ** 2)[:, None] * spectrum + 1
    for mean in (spectrum[None], spot, numpy.ones((24, 1)) * spectrum):
        assert find_defects(mean, NoiseModel(), 1000).summary == "no defects"


@pytest.mark.parametrize("at", [0, 20, 130, 255])
def test_hot_and_dead_channels_of_a_spectrum_are_found(at):
    spectrum = peak(5, 60) + 200
    for factor, summary in ((10, "1 hot pixel masked"), (0.02, "1 dead pixel masked")):
        mean = spectrum.copy()
        mean[at] *= factor
        found = find_defects(mean[None], NoiseModel(), 100)
        assert numpy.flatnonzero(~found.usable[0]).tolist() == [at]
        assert found.summary == summary
    mean = spectrum.copy()
    mean[200:205] = 0
    assert numpy.flatnonzero(~find_defects(mean[None], NoiseModel(), 100).usable[0]).tolist() == [*range(200, 205)]


def test_too_few_counts_are_no_defect(rng):
    """A pixel that happens to count nothing, or three, is not faulty."""
    mean = rng.poisson(1.0, (64, 256)) / 50
    assert find_defects(mean, NoiseModel(), 50).usable.all()
    assert find_defects(numpy.zeros((6, 40)), NoiseModel(), 0).usable.all()
    assert find_defects(numpy.ones((2, 3)), NoiseModel(), 9).summary == "no defects"


def test_junction_columns_and_summary():
    mean = numpy.ones((32, 1)) * (peak(30, 60, 500) + 300)
    mean[:, [100, 101, 180]] *= 2.4
    mean[3, 7] = mean[9, 40] = 0
    found = find_defects(mean, NoiseModel(), 100)
    assert found.summary == "2 dead pixels, 3 junction columns masked"
    assert (~found.usable).sum() == 3 * 32 + 2
    mean[20, 30] *= 10
    assert find_defects(mean, NoiseModel(), 100).summary == "2 dead, 1 hot pixel, 3 junction columns masked"


@pytest.mark.parametrize("rows", [1, 3, 32])
def test_pattern_is_measured_beyond_statistics(rng, rows):
    signal = numpy.hanning(rows + 2)[1:-1, None] * (2000 * (1 + numpy.arange(1024) / 100.0) ** -1)
    gain = rng.normal(1, 0.05, signal.shape)
    even, uneven = (rng.poisson(signal * g, (40, *signal.shape)).mean(0) for g in (1.0, gain))
    assert find_defects(even, NoiseModel(), 40).pattern == 0
    assert find_defects(uneven, NoiseModel(), 40).pattern == pytest.approx(0.05, rel=0.15)


def test_fill_is_linear_along_energy_then_q():
    frames = numpy.arange(2 * 4 * 5, dtype=numpy.float32).reshape(2, 4, 5)
    usable = numpy.ones((4, 5), bool)
    usable[0, 2:4] = usable[1] = usable[2, 0] = False
    spoilt = numpy.where(usable, frames, numpy.nan).astype(numpy.float32)
    filled = fill(spoilt, usable)
    assert numpy.isnan(spoilt).any() and filled.dtype == numpy.float32
    expected = frames.copy()
    expected[:, 2, 0] = frames[:, 2, 1]  # the nearest at the end
    expected[:, 1] = (expected[:, 0] + expected[:, 2]) / 2
    numpy.testing.assert_allclose(filled, expected)
    numpy.testing.assert_array_equal(fill(frames, usable | True), frames)
    numpy.testing.assert_array_equal(fill(frames, usable & False), frames)
    with pytest.raises(InputError, match="mask has shape"):
        fill(frames, usable.T)


def test_flat_field_takes_the_pattern_off(rng):
    flat = rng.uniform(0.5, 1.5, (3, 41)) * 700
    flat[1, 5] = 0
    flat[0, 3] = numpy.nan
    frames = (7 * flat / numpy.nanmedian(flat[flat > 0]) * numpy.ones((2, 1, 1))).astype(numpy.float32)
    even = flat_field(frames, flat)
    assert even.dtype == numpy.float32
    assert numpy.argwhere(numpy.isnan(even[1])).tolist() == [[0, 3], [1, 5]]
    numpy.testing.assert_allclose(even[:, flat > 0], 7, rtol=1e-5)
    with pytest.raises(InputError, match="same camera"):
        flat_field(frames, flat[:2])
    with pytest.raises(InputError, match="even light"):
        flat_field(frames, 0 * flat)


@pytest.mark.skipif("UDVD_MEASURED_DATA" not in os.environ, reason="UDVD_MEASURED_DATA names no folder")
@pytest.mark.parametrize("name", ["60kV_thresh30", "200kV_thresh60"])
def test_measured_flat_field(name):
    path = pathlib.Path(os.environ["UDVD_MEASURED_DATA"]) / f"merlin_flat_{name}.npz"
    with numpy.load(path, allow_pickle=False) as file:
        flat = file["data"].astype(numpy.float64)
    found = find_defects(flat, NoiseModel(), 1)
    columns = numpy.flatnonzero((~found.usable).sum(0) > 128)
    assert columns.tolist() == [255, 256, 511, 512, 767, 768]
    assert not found.usable[flat == 0].any()
    assert (~numpy.delete(found.usable, columns, 1)).sum() < 80
    assert 0.035 < found.pattern < 0.07
    corrected = flat_field(flat[None].astype(numpy.float32), flat)[0]
    assert find_defects(corrected.astype(numpy.float64) * 1e5, NoiseModel(), 1).pattern == 0
