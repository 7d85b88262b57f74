"""Noise of pairs of frames: gain, read noise, and what neighbouring pixels share."""

import dataclasses
import os
import pathlib

import numpy
import pytest

from udvd_core.detector import Detector
from udvd_core.noise import NoiseModel, measure_noise
from udvd_core.simulate import simulate_dispersive, simulate_flake, simulate_hbn, simulate_phonon, simulate_plasmon


def along_x(height, width):
    number = numpy.arange(height * width).reshape(height, width)
    return numpy.stack((number[:, :-1].ravel(), number[:, 1:].ravel()), 1)


def ramp(rng, count=400, channels=300, gain=1.0, read=0.0):
    mean = numpy.linspace(2, 60, channels)
    counts = gain * rng.poisson(mean / gain, (count, 1, channels)) + read * rng.normal(size=(count, 1, channels))
    return counts.astype(numpy.float32)


def spectra(simulate, counts, spreading, size=24):
    sample = simulate((size, size), 512, counts=counts, q_rows=8, seed=1)
    frames = Detector(spreading=spreading).record(sample).spectra()
    return frames.reshape(size * size, 1, -1), along_x(size, size)


@pytest.mark.parametrize("simulate", [simulate_hbn, simulate_phonon, simulate_flake, simulate_plasmon])
@pytest.mark.parametrize("counts", [1250, 100_000])
def test_spreading_is_measured_in_spectra_whatever_the_sample_changes(simulate, counts):
    noise = measure_noise(*spectra(simulate, counts, 0.25))
    assert noise.correlation == pytest.approx((0.083,), abs=0.02)
    assert noise.correlation_q == ()
    assert noise.gain == pytest.approx(1.18, abs=0.06)
    assert noise.read_variance < 0.05 * counts / 512
    assert noise.gain * noise.window_factor(1000) == pytest.approx(1.4, abs=0.08)


@pytest.mark.parametrize("simulate", [simulate_hbn, simulate_phonon, simulate_flake, simulate_plasmon])
def test_poisson_counts_share_nothing_however_bright(simulate):
    noise = measure_noise(*spectra(simulate, 100_000, 0.0))
    assert (noise.correlation, noise.correlation_q) == ((), ())
    assert noise.gain == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("simulate", [simulate_hbn, simulate_dispersive])
def test_frames_share_noise_along_both_axes(simulate):
    sample = simulate((12, 12), 256, counts=5000, q_rows=16, seed=1)
    found = [
        measure_noise(Detector(spreading=share).record(sample).frames().reshape(144, 16, 256), along_x(12, 12))
        for share in (0.25, 0.0)
    ]
    assert found[0].correlation == pytest.approx((0.1,), abs=0.02)
    assert found[0].correlation_q == pytest.approx((0.1,), abs=0.025)
    assert (found[1].correlation, found[1].correlation_q) == ((), ())
    assert [noise.gain for noise in found] == pytest.approx([1, 1], abs=0.02)


def test_pure_poisson_is_poisson(rng):
    noise = measure_noise(ramp(rng), along_x(1, 400))
    assert noise == NoiseModel(noise.gain)
    assert noise.gain == pytest.approx(1.0, abs=0.02)
    assert noise.window_factor(50) == 1


def test_corrected_counts_give_read_noise(rng):
    frames = ramp(rng, gain=0.5, read=3.0) - 2.0
    assert frames.min() < 0
    noise = measure_noise(frames, along_x(1, 400))
    assert noise.read_variance + 2 * noise.gain == pytest.approx(9.0 + 2 * 0.5 + 2 * 0.5, rel=0.1)
    assert noise.gain == pytest.approx(0.5, rel=0.08)


def test_blur_over_five_channels_is_measured(rng):
    kernel = numpy.array([1, 2, 3, 2, 1]) / 9
    frames = rng.poisson(100.0, (300, 1, 1024)).astype(float)
    blurred = numpy.apply_along_axis(numpy.convolve, -1, frames, kernel, "same")
    expected = numpy.correlate(kernel, kernel, "full")[5:] / (kernel**2).sum()
    found = measure_noise(blurred.astype(numpy.float32), along_x(1, 300)).correlation
    assert found == pytest.approx(expected, abs=0.02)


def test_wild_frames_and_missing_pixels_change_little(rng):
    frames = ramp(rng)
    frames[rng.random(frames.shape) < 0.1] = numpy.nan
    frames[:, :, 7] = numpy.nan
    frames[:, :, 30] = 0
    frames[50, 0, 100:140] += 2000
    frames[200] *= 3
    noise = measure_noise(frames, along_x(1, 400))
    assert noise.gain == pytest.approx(1.0, abs=0.03)
    assert noise.correlation == ()


def test_pairs_that_share_frames_do_not_look_more_certain(rng):
    """At 4 sigma nothing is found by chance, also where every frame is in four pairs."""
    number = numpy.arange(64).reshape(8, 8)
    pairs = numpy.concatenate([along_x(8, 8), numpy.stack((number[:-1].ravel(), number[1:].ravel()), 1)])
    found = [measure_noise(rng.poisson(5.0, (64, 1, 100)).astype(numpy.float32), pairs) for _ in range(100)]
    assert sum(noise.correlation != () for noise in found) <= 1


def test_few_frames_share_nothing_by_chance(rng):
    found = [measure_noise(rng.poisson(5.0, (4, 1, 200)).astype(numpy.float32), along_x(1, 4)) for _ in range(100)]
    assert sum(noise.correlation != () for noise in found) <= 1


@pytest.mark.parametrize("channels", [1, 2, 20])
def test_few_channels_are_enough_for_the_gain(rng, channels):
    noise = measure_noise(rng.poisson(50.0, (800, 1, channels)).astype(numpy.float32), along_x(1, 800))
    assert noise.gain == pytest.approx(1.0, abs=0.15)
    assert noise.correlation == ()


def test_nothing_is_poisson(rng):
    frames = ramp(rng, 4)
    assert measure_noise(frames, numpy.zeros((0, 2), int)) == NoiseModel()
    assert measure_noise(0 * frames, along_x(1, 4)) == NoiseModel()
    assert measure_noise(numpy.full_like(frames, numpy.nan), along_x(1, 4)) == NoiseModel()


def test_window_factor_counts_the_pairs_in_a_window():
    noise = NoiseModel(correlation=(0.3, 0.1))
    assert [noise.window_factor(n) for n in (1, 2, 4)] == pytest.approx([1, 1.3, 1 + 0.6 * 0.75 + 0.2 * 0.5])
    values = numpy.random.default_rng(0).normal(size=(20_000, 6))
    shared = values[:, 1:] + values[:, :-1]
    noise = dataclasses.replace(noise, correlation=(0.5,))
    assert shared.sum(1).var() / (5 * shared.var()) == pytest.approx(noise.window_factor(5), rel=0.03)


@pytest.mark.skipif("UDVD_MEASURED_DATA" not in os.environ, reason="UDVD_MEASURED_DATA names no folder")
def test_scintillator_camera():
    """Plain differences give 0.47, 0.16, 0.09 and a plateau of 0.06 far away, which is the sample."""
    path = pathlib.Path(os.environ["UDVD_MEASURED_DATA"]) / "oxide_interface_TiOMnLa_si_6x49.npz"
    with numpy.load(path, allow_pickle=False) as file:
        frames = file["data"].reshape(-1, 1, 1024)
    noise = measure_noise(frames, along_x(49, 6))
    assert noise.correlation == pytest.approx((0.42, 0.09), abs=0.03)
    assert float(noise.variance(frames.mean(0)).mean() / frames.mean()) == pytest.approx(17.3, abs=1.0)
