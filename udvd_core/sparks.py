"""Single counts that no electron beam made: X-rays and cosmic rays that light one pixel of one frame."""

from __future__ import annotations

import numpy
import numpy.typing
import scipy.ndimage

Array = numpy.typing.NDArray[numpy.float32]
Bool = numpy.typing.NDArray[numpy.bool_]

LEAST, TIMES = 20.0, 4.0
"""A spark has more counts than this, and than so many times the largest around."""
NEAR = 5
"""Channels, its own in the middle, among which it stands alone."""


def find_sparks(frames: Array, before: Array | None = None, after: Array | None = None) -> Bool:
    """Pixels far above their neighbours in the frame and above the same place in the frames before and after.

    Parameters
    ----------
    frames : array, shape (n, q, E), counts
        Successive frames; values that are not finite are no sparks.
    before, after : array, shape (q, E), or None
        The frames around them, where they are there.

    Returns
    -------
    bool array, shape (n, q, E)
        All False where a frame has no other to compare with: a peak one channel wide may be real.
    """
    values = numpy.nan_to_num(frames, nan=0.0, posinf=0.0, neginf=0.0)
    others = [x[None] for x in (before, after) if x is not None]
    if len(frames) + len(others) < 2 or values.max(initial=0.0) <= LEAST:
        return numpy.zeros(frames.shape, numpy.bool_)
    footprint = numpy.ones((1, 3, NEAR), numpy.bool_)
    footprint[0, 1, NEAR // 2] = False
    around = scipy.ndimage.maximum_filter(values, footprint=footprint, mode="constant")
    wide = numpy.concatenate([before[None] if before is not None else values[1:2], values])
    wide = numpy.concatenate([wide, after[None] if after is not None else wide[-2:-1]])
    wide = scipy.ndimage.maximum_filter1d(numpy.nan_to_num(wide, nan=0.0, posinf=0.0, neginf=0.0), 3, axis=2)
    around = numpy.maximum(around, numpy.maximum(wide[:-2], wide[2:]))
    found: Bool = values / TIMES > LEAST / TIMES + around
    return found
