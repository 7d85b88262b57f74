"""The simulated scans: known truth, detector statistics, speed of one frame."""

import time

import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.simulate import Sample, electrons, q_profile, simulate_hbn, simulate_phonon


def flat_sample(*, size: int = 24, channels: int = 64, rows: int = 8, level: float = 40.0) -> Sample:
    """The same number of electrons everywhere."""
    spectra = numpy.full((size, size, channels), level)
    axes = (Axis(size, name="y"), Axis(size, name="x"))
    return Sample("flat", spectra, q_profile(rows), Axis(channels, 100.0, 1.0, "eV", "E"), axes)


@pytest.mark.parametrize("simulate", [simulate_hbn, simulate_phonon])
def test_mean_of_the_spectra_is_the_dose(simulate):
    sample = simulate((6, 9), 128, counts=750.0, q_rows=4)
    assert sample.spectra.shape == (6, 9, 128)
    assert sample.frame_shape == (4, 128)
    assert sample.spectra.sum(axis=-1).mean() == pytest.approx(750.0)
    assert sample.spectra.min() >= 0
    parts = sum(part.weight[..., None] * part.spectrum for part in sample.parts)
    numpy.testing.assert_allclose(parts, sample.spectra)
    assert [axis.units for axis in (*sample.scan_axes, sample.energy)] == ["nm", "nm", "eV"]


def test_edges_of_boron_nitride_rise_where_they_should():
    sample = simulate_hbn((4, 4), counts=1e6)
    mean = sample.spectra.mean(axis=(0, 1))
    at = {energy: mean[round((energy - 100.0) / 0.8)] for energy in (150, 185, 192, 199, 396, 408)}
    assert at[150] > 1.5 * at[185]
    assert min(at[192], at[199]) > 1.5 * at[185]
    assert at[408] > 1.5 * at[396]


def test_defects_follow_the_seed():
    perfect = simulate_hbn(defects=False)
    one, same, other = (simulate_hbn(seed=seed) for seed in (1, 1, 2))
    numpy.testing.assert_array_equal(one.spectra, same.spectra)
    assert not numpy.allclose(one.spectra, other.spectra)
    assert not numpy.allclose(one.spectra, perfect.spectra)


def test_boron_and_nitrogen_maps_differ():
    sample = simulate_hbn(defects=False)
    weights = {part.name: part.weight.ravel() for part in sample.parts}
    assert numpy.corrcoef(weights["B K"], weights["N K"])[0, 1] < 0.98


def test_phonon_peak_is_as_wide_as_measured():
    sample = simulate_phonon((2, 2), 2048, energy=Axis(2048, -0.1, 0.0002, "eV", "E"))
    peak = sample.spectra[0, 0]
    above = numpy.flatnonzero(peak > peak.max() / 2)
    assert (above[-1] - above[0] + 1) * 0.0002 == pytest.approx(0.017, rel=0.05)


def test_q_profile_is_a_half_circle():
    profile = q_profile(20)
    assert profile.sum() == pytest.approx(1.0)
    assert profile[0] == profile[-1] == 0.0
    numpy.testing.assert_allclose(profile, profile[::-1])
    assert q_profile(1).tolist() == [1.0]


def test_electrons_of_the_paper():
    assert electrons(10, 4) == pytest.approx(2.5e5, rel=0.01)
    assert electrons(4.5e-3, 100) == pytest.approx(2809, rel=0.001)
    with pytest.raises(InputError, match="want both above 0"):
        electrons(0, 4)


def test_a_frame_depends_only_on_seed_and_position():
    sample = simulate_hbn((3, 3), 64, q_rows=4)
    recording = Detector(seed=5).record(sample)
    whole = recording.frames()
    assert whole.shape == (3, 3, 4, 64)
    assert whole.dtype == numpy.float32
    numpy.testing.assert_array_equal(Detector(seed=5).record(sample).frame(7), whole[2, 1])
    numpy.testing.assert_array_equal(recording.spectrum(7), whole[2, 1].sum(axis=0))
    numpy.testing.assert_array_equal(recording.spectra(), whole.sum(axis=2))
    assert not numpy.array_equal(recording.frame(0), Detector(seed=6).record(sample).frame(0))
    assert not numpy.array_equal(recording.frame(0), recording.frame(1))


@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize(("spreading", "channel", "window"), [(0.0, 1.0, 1.0), (0.25, 1.2, 1.4)])
def test_spreading_overdisperses_sums(rows, spreading, channel, window):
    recording = Detector(spreading=spreading).record(flat_sample(rows=rows))
    noise = recording.spectra() - recording.truth()
    inner = noise[..., 8:-8]
    assert (inner**2).mean() / 40.0 == pytest.approx(channel, rel=0.045)
    wide = inner.sum(axis=-1)
    assert (wide**2).mean() / (40.0 * inner.shape[-1]) == pytest.approx(window, rel=0.2)
    neighbour = (inner[..., 1:] * inner[..., :-1]).mean() / (inner**2).mean()
    assert neighbour == pytest.approx(0.125 / 1.5 if spreading else 0.0, abs=0.02)


def test_truth_is_the_expected_recording():
    detector = Detector(spreading=0.3, gain_spread=0.1, dead_pixels=9, gap_columns=(20, 21), gap_rows=(3,))
    sample = flat_sample(size=40, channels=32)
    recording = detector.record(sample)
    mean, truth = recording.frames().mean(axis=(0, 1)), recording.truth_frames()[0, 0]
    expected_noise = numpy.sqrt(1.4 * truth / sample.count)
    assert numpy.abs(mean - truth).max() < 5 * expected_noise.max()
    assert not truth[3].any()
    assert not truth[:, 20:22].any()
    assert not mean[truth == 0].any()
    numpy.testing.assert_allclose(recording.truth(), recording.truth_frames().sum(axis=2), rtol=1e-5)


def test_spreading_keeps_the_mean():
    sample = flat_sample(rows=1)
    numpy.testing.assert_allclose(Detector().record(sample).truth()[..., 1:-1], sample.spectra[..., 1:-1], rtol=1e-6)


def test_a_frame_is_made_in_time_for_a_camera():
    recording = Detector().record(simulate_hbn(q_rows=16))
    recording.frame(0)
    begin = time.perf_counter()
    for index in range(50):
        recording.spectrum(index)
    assert (time.perf_counter() - begin) / 50 < 5e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate_hbn((0, 4)), "want \\(y, x\\)"),
        (lambda: simulate_hbn(counts=-1), "want a number above 0"),
        (lambda: q_profile(0), "want at least 1"),
        (lambda: Detector(spreading=2), "want a probability"),
        (lambda: Detector(gain_spread=1), "want a spread"),
        (lambda: Detector(gap_columns=(64,)).record(flat_sample()), "want indices from 0 to 63"),
        (lambda: Detector(dead_pixels=10_000).record(flat_sample()), "want fewer"),
        (lambda: Detector().record(flat_sample()).frame(576), "want 0 to 575"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
