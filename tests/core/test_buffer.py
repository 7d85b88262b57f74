"""Frames as they arrive and their mean; the noise fit and the standardisation."""

import pathlib

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udvd_core import buffer as buffer_module
from udvd_core.buffer import FrameBuffer
from udvd_core.errors import InputError
from udvd_core.noise import NoiseModel, fit_noise
from udvd_core.normalise import Standard, plain_scale, standard_from


def poisson_frames(rng, count=400, shape=(2, 200), gain=1.0, read=0.0):
    mean = numpy.linspace(0.5, 60, shape[0] * shape[1]).reshape(shape)
    frames = gain * rng.poisson(mean / gain, (count, *shape)) + rng.normal(0, max(read, 1e-9), (count, *shape))
    return mean, frames.astype(numpy.float32)


def test_order_and_duplicates_do_not_matter(rng):
    _, frames = poisson_frames(rng, 30, (2, 5))
    frames[3, 1, 2] = numpy.nan
    plain = FrameBuffer(30, (2, 5))
    assert plain.put(0, frames) == 30
    mixed = FrameBuffer(30, (2, 5))
    new = [
        mixed.put(start, frames[start:stop]) for start, stop in [(20, 30), (0, 4), (2, 9), (9, 10), (2, 24), (0, 30)]
    ]
    assert new == [10, 4, 5, 1, 10, 0]
    assert mixed.received.all()
    numpy.testing.assert_array_equal(mixed.frames(numpy.arange(30)), frames)
    numpy.testing.assert_allclose(mixed.mean(), plain.mean())


def test_a_second_copy_changes_nothing_even_if_it_differs():
    buffer = FrameBuffer(3, (1, 2))
    buffer.put(1, numpy.ones((1, 1, 2), numpy.float32))
    assert buffer.put(1, numpy.full((1, 1, 2), 9, numpy.float32)) == 0
    assert buffer.frames(numpy.array([1])).tolist() == [[[1, 1]]]
    assert buffer.mean().tolist() == [[1, 1]]


def noise_of(frames):
    """Fit to the mean, and the variance from differences of frames that follow each other."""
    values = frames.astype(numpy.float64)
    return fit_noise(values.mean(0), (numpy.diff(values, axis=0) ** 2).mean(0) / 2)


def test_frames_may_come_one_by_one(rng):
    """A slow camera gives one frame at a time."""
    _, frames = poisson_frames(rng, gain=3.0, read=2.0)
    buffer = FrameBuffer(len(frames), frames.shape[1:])
    for number, frame in enumerate(frames):
        buffer.put(number, frame[None])
    numpy.testing.assert_allclose(buffer.mean(), frames.mean(0, dtype=numpy.float64))


def test_saturated_pixels_are_kept_and_not_learned_from():
    buffer = FrameBuffer(2, (1, 3))
    buffer.put(0, numpy.array([[[1, 9, 2]], [[9, 3, 9]]], numpy.float32))
    buffer.ceiling = 9.0
    numbers = numpy.arange(2)
    assert numpy.isnan(buffer.frames(numbers)).tolist() == [[[False, True, False]], [[True, False, True]]]
    assert buffer.recorded(numbers).tolist() == [[[1, 9, 2]], [[9, 3, 9]]]


@pytest.mark.parametrize(("gain", "read"), [(1.0, 0.0), (2.5, 0.0), (1.0, 4.0), (0.2, 1.0)])
def test_mean_and_noise_are_measured(rng, gain, read):
    mean, frames = poisson_frames(rng, gain=gain, read=read)
    buffer = FrameBuffer(len(frames), frames.shape[1:])
    buffer.put(0, frames)
    numpy.testing.assert_allclose(buffer.mean(), frames.mean(0, dtype=numpy.float64))
    assert abs(buffer.mean() - mean).max() < 6 * numpy.sqrt((gain * 60 + read**2) / 400)
    noise = noise_of(frames)
    assert noise.gain == pytest.approx(gain, rel=0.1)
    assert noise.read_variance == pytest.approx(read**2, rel=0.15, abs=0.1 * gain)


@pytest.mark.parametrize("level", [0.5, 5.0, 500.0])
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_few_frames_measure_the_gain_without_bias(rng, level, gain):
    """Early in a scan every pixel's variance is known badly, and what is low by chance must not count for more."""
    gains = []
    for _ in range(40):
        noise = noise_of(gain * rng.poisson(numpy.linspace(0.3, 1.7, 60) * level, (20, 1, 60)))
        gains.append(noise.gain + noise.read_variance / (gain * level))
    assert numpy.mean(gains) == pytest.approx(gain, rel=0.1)


def test_pixels_that_are_not_finite_are_missing(rng):
    _, frames = poisson_frames(rng)
    holes = rng.random(frames.shape) < 0.2
    frames[holes] = rng.choice([numpy.nan, numpy.inf, -numpy.inf], holes.sum())
    frames[:, 0, 0] = numpy.nan
    buffer = FrameBuffer(len(frames), frames.shape[1:])
    buffer.put(0, frames)
    expected = numpy.where(holes, 0, numpy.nan_to_num(frames, posinf=0, neginf=0)).sum(0, dtype=numpy.float64)
    expected /= numpy.maximum((~holes).sum(0), 1)
    expected[0, 0] = 0
    numpy.testing.assert_allclose(buffer.mean(), expected, rtol=1e-5)
    kept = buffer.frames(numpy.arange(len(frames)))
    numpy.testing.assert_array_equal(kept, frames)


@pytest.mark.parametrize("chunk_bytes", [1, 100_000])
def test_on_disk_is_the_same_and_ends_with_the_buffer(rng, monkeypatch, chunk_bytes):
    _, frames = poisson_frames(rng, 60)
    memory, disk = FrameBuffer(60, (2, 200)), FrameBuffer(60, (2, 200), memory_bytes=1000)
    assert disk.on_disk and not memory.on_disk
    folder = pathlib.Path(disk._folder.name)
    assert list(folder.iterdir())
    memory.put(0, frames)
    monkeypatch.setattr(buffer_module, "CHUNK_BYTES", chunk_bytes)
    for start in (40, 0, 20):
        disk.put(start, frames[start : start + 20])
    numbers = numpy.array([[5, 59], [0, 5]])
    numpy.testing.assert_array_equal(disk.frames(numbers), frames[numbers])
    numpy.testing.assert_allclose(disk.mean(), memory.mean())
    disk.close()
    assert not folder.exists()
    disk.close()
    memory.close()


@pytest.mark.parametrize(
    ("start", "shape"), [(0, (1, 3, 4)), (0, (1, 2, 5)), (0, (2, 4)), (-1, (1, 2, 4)), (4, (2, 2, 4)), (9, (1, 2, 4))]
)
def test_what_does_not_fit_is_refused(start, shape):
    buffer = FrameBuffer(5, (2, 4))
    with pytest.raises(InputError, match="scan"):
        buffer.put(start, numpy.zeros(shape, numpy.float32))
    assert not buffer.received.any()


def test_no_frames_are_no_frames():
    buffer = FrameBuffer(5, (2, 4))
    assert buffer.put(2, numpy.zeros((0, 2, 4), numpy.float32)) == 0
    assert not buffer.received.any()
    assert not buffer.mean().any()


def test_floor_is_the_lowest_finite_value_below_zero():
    buffer = FrameBuffer(3, (1, 3))
    assert buffer.floor == 0
    buffer.put(0, numpy.array([[[5, numpy.nan, 1]]], numpy.float32))
    assert buffer.floor == 0
    buffer.put(2, numpy.array([[[-2.5, -numpy.inf, 1]]], numpy.float32))
    assert buffer.floor == -2.5


def test_noise_of_nothing_is_poisson():
    zeros = numpy.zeros((3, 8))
    assert fit_noise(zeros, zeros) == NoiseModel(1.0, 0.0)
    assert (NoiseModel().variance(zeros) > 0).all()
    assert (NoiseModel().variance(numpy.linspace(-5, 5, 9)) > 0).all()


counts = st.floats(-1e6, 1e6, width=32)


@given(st.lists(counts, min_size=6, max_size=6), st.floats(0.05, 50), st.floats(0, 1e4))
@settings(deadline=None)
def test_standardised_and_back(values, gain, read):
    frames = numpy.array(values, numpy.float32).reshape(2, 1, 3)
    standard = standard_from(frames.mean(0, dtype=numpy.float64), NoiseModel(gain, read))
    assert (standard.scale > 0).all()
    back = standard.inverse(standard.forward(frames))
    assert back.dtype == numpy.float32
    numpy.testing.assert_allclose(back, frames, rtol=1e-5, atol=1e-6 * abs(frames).max() + 1e-6)


def test_standardised_noise_is_one(rng):
    mean, frames = poisson_frames(rng, gain=2.0, read=1.0)
    x = standard_from(mean, NoiseModel(2.0, 1.0)).forward(frames)
    numpy.testing.assert_allclose(x.mean(0), 0, atol=0.25)
    assert x.std() == pytest.approx(1.0, rel=0.02)


def test_missing_pixels_become_the_mean_frame():
    standard = Standard(numpy.full((1, 3), 7, numpy.float32), numpy.full((1, 3), 2, numpy.float32))
    frames = numpy.array([[[numpy.nan, numpy.inf, 11]]], numpy.float32)
    assert standard.forward(frames).tolist() == [[[0, 0, 2]]]
    assert numpy.isnan(frames[0, 0, 0])


def test_plain_scale_is_one_factor():
    standard = plain_scale(numpy.array([[1.0, 3.0]]))
    assert standard.forward(numpy.array([[4.0, 0.0]], numpy.float32)).tolist() == [[2.0, 0.0]]
    assert (plain_scale(numpy.zeros((1, 2))).scale == 1).all()
