"""What a scan's own frames tell about the camera: noise, hidden set, faulty pixels."""

from __future__ import annotations

import dataclasses

import numpy
import numpy.typing

from udvd_core.buffer import FrameBuffer
from udvd_core.defects import Defects, fill, find_defects
from udvd_core.hidden import Hidden, choose_hidden, pair_test, rates
from udvd_core.noise import NoiseModel, measure_noise

Index = numpy.typing.NDArray[numpy.int64]

MOST_FRAMES, MOST_VALUES = 512, 1 << 23
"""So many frames, and pixels, are looked at, spread over the scan in runs."""
RUN = 16


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera as one scan shows it.

    Attributes
    ----------
    noise : NoiseModel
        Gain, read variance, correlation of single pixels.
    summed : NoiseModel
        The same for frames summed over q.
    hidden : Hidden
        Radius that a blindspot network must not see, with the reason.
    defects : Defects
        Pixels that do not count right.
    frames : int
        Frames that this was measured on.
    """

    noise: NoiseModel
    summed: NoiseModel
    hidden: Hidden
    defects: Defects
    frames: int


def measure_camera(buffer: FrameBuffer) -> Camera:
    """Measure a camera on the frames that a buffer holds.

    Frames that follow each other are taken for neighbours in the scan; the few that do not lie beside
    each other, at the ends of rows, do no harm.
    """
    known = numpy.flatnonzero(buffer.received)
    numbers = _runs(known, min(MOST_FRAMES, max(2 * RUN, MOST_VALUES // buffer.mean().size)))
    frames = buffer.frames(numbers)
    pairs = numpy.flatnonzero(numpy.diff(numbers) == 1)[:, None] + numpy.arange(2)
    noise = measure_noise(frames, pairs)
    defects = find_defects(buffer.mean(), noise, known.size)
    if not defects.usable.all():
        frames = fill(frames, defects.usable)
        noise = measure_noise(frames, pairs)
    summed = measure_noise(frames.sum(1, keepdims=True), pairs) if buffer.frame_shape[0] > 1 else noise
    counted = numpy.isfinite(frames).all() and bool((frames == numpy.round(frames)).all())
    test = pair_test(frames, rates(frames)) if counted else None
    return Camera(noise, summed, choose_hidden(noise, test, frame_shape=buffer.frame_shape), defects, known.size)


def _runs(known: Index, most: int) -> Index:
    """At most `most` of the frames, in runs that follow each other, spread over all."""
    if known.size <= most:
        return known
    starts = numpy.linspace(0, known.size - RUN, most // RUN).astype(int)
    return known[numpy.unique(starts[:, None] + numpy.arange(RUN))]
