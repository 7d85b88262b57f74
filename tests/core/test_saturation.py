"""A camera's ceiling is found where values pile up, and nowhere else."""

import math

import numpy
import pytest
from recorded import recorded

from udvd_core.axes import Axis
from udvd_core.saturation import Ceiling
from udvd_core.session import Session
from udvd_core.settings import ScanSpec, Training
from udvd_core.simulate import simulate_hbn, simulate_phonon


def peak(rng, frames=200, height=5000.0):
    """Frames with a bright peak 6 channels wide on a weak background."""
    channel = numpy.arange(64)
    mean = 20 + height * numpy.exp(-0.5 * ((channel - 30) / 3.0) ** 2)
    return rng.poisson(mean, (frames, 1, 64)).astype(numpy.float32)


def watched(frames, block=16):
    ceiling = Ceiling()
    for start in range(0, len(frames), block):
        ceiling.watch(frames[start : start + block])
    return ceiling


@pytest.mark.parametrize("limit", [1023, 4095, 4800])
def test_a_clipped_peak_gives_the_ceiling(rng, limit):
    frames = numpy.minimum(peak(rng), limit)
    found = watched(frames)
    assert found.value == limit
    assert f"{int((frames >= limit).sum())} pixels saturate at {limit} counts" in found.note


@pytest.mark.parametrize("height", [0.0, 3.0, 50.0, 5000.0, 1e6])
def test_poisson_counts_have_no_ceiling(rng, height):
    found = watched(peak(rng, height=height))
    assert math.isinf(found.value) and not found.note


def test_a_hot_pixel_is_no_ceiling(rng):
    frames = peak(rng, height=300)
    frames[..., 50] = 4095
    assert math.isinf(watched(frames).value)


@pytest.mark.parametrize(
    "frames", [numpy.ones((40, 1, 32)), numpy.zeros((40, 1, 32)), numpy.full((9, 2, 8), numpy.nan)]
)
def test_constant_or_empty_frames_have_no_ceiling(frames):
    assert math.isinf(watched(frames).value)
    assert math.isinf(watched(frames[:0]).value)


def test_values_that_are_not_finite_do_not_hide_a_ceiling(rng):
    frames = numpy.minimum(peak(rng), 4095)
    limit, clipped = watched(frames).value, int((frames == 4095).sum())
    frames[::7, :, 3], frames[3, 0, 50], frames[4, 0, 50] = numpy.nan, numpy.inf, -numpy.inf
    found = watched(frames)
    assert found.value == limit == 4095 and f"{clipped} pixels saturate" in found.note


def test_a_pixel_has_no_neighbours_beyond_its_row():
    frames = numpy.zeros((20, 3, 32), numpy.float32)
    frames[:, :, 31] = 4095
    frames[:, :, 0] = 2000  # of the next row: not beside it
    assert math.isinf(watched(frames).value)
    frames[:, :, 30] = 2000
    assert watched(frames).value == 4095


@pytest.mark.parametrize("simulate", [simulate_hbn, simulate_phonon])
def test_scans_that_nothing_clips_have_no_ceiling(simulate):
    counts, _ = recorded(simulate, (16, 16), 128, 20000, seed=5)
    assert math.isinf(watched(counts).value)


def denoised(counts, shape, model):
    spec = ScanSpec(
        "a", shape, counts.shape[1:], Axis(counts.shape[2], 0, 1, "eV", "E"), (), Training(model, budget_s=9)
    )
    session, result = Session(spec), numpy.zeros((len(counts), counts.shape[2]))
    try:
        session.push(0, counts)
        session.finish()
        while not session.done:
            for block in session.advance(0.5):
                result[block.start : block.start + len(block.data)] = block.data
        return result, session.note
    finally:
        session.close()


@pytest.mark.parametrize("model", ["guide", "pca"])
def test_saturated_pixels_are_not_learned_from_and_never_get_lower(rng, model):
    """A zero-loss peak that clips at some positions: its wings still tell how high it is there."""
    light = 1 + 0.5 * numpy.sin(numpy.arange(400) / 9)
    truth = light[:, None] * (5 + 2000 * numpy.exp(-0.5 * ((numpy.arange(64) - 30) / 3.0) ** 2))
    clipped = numpy.minimum(rng.poisson(truth), 2400).astype(numpy.float32)[:, None]
    found, note = denoised(clipped, (20, 20), model)
    at = clipped[:, 0] >= 2400
    assert at.sum() > 50 and "saturate at 2400 counts" in note
    wanted, got, raw = truth[at].mean(), found[at].mean(), 2400.0
    assert wanted > 2500 and abs(got - wanted) < 0.3 * (wanted - raw)
    assert model != "guide" or (found[at] >= 2400).all()
