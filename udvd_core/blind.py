"""A guide that never saw some pixels: what held-out counts can judge."""

from __future__ import annotations

import numpy
import numpy.typing
import scipy.ndimage

from udvd_core.guide import Guide
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float32]
Bool = numpy.typing.NDArray[numpy.bool_]
Index = numpy.typing.NDArray[numpy.int64]

NEAR = 9
"""Channels around a hidden pixel that first stand in for it."""


def blind_guide(
    counts: Array, visible: Bool, numbers: Index, scan_shape: tuple[int, ...], noise: NoiseModel
) -> tuple[Guide, Array]:
    """Fit a guide without some pixels.

    Parameters
    ----------
    counts : array, shape (n, q, E)
        Frames of these numbers; NaN is missing.
    visible : bool array, shape (n, q, E)
        The others are not used.
    numbers : array of int, shape (n,)
        Increasing.
    scan_shape : tuple of int
        Positions of the scan.
    noise : NoiseModel
        Of the counts.

    Returns
    -------
    guide : Guide
        Settled.
    filled : array, shape (n, q, E)
        Counts with a first guide's estimate in place of the pixels that are not visible.

    Notes
    -----
    What is near along E stands in for hidden pixels in a first fit, whose estimate stands in for them in a second.
    """
    visible = visible & numpy.isfinite(counts)
    seen = numpy.where(visible, counts, numpy.float32(0.0))
    near = [
        scipy.ndimage.uniform_filter1d(x, NEAR, axis=-1, mode="nearest") for x in (seen, visible.astype(numpy.float32))
    ]
    filled = numpy.where(visible, counts, near[0] / numpy.maximum(near[1], 1 / NEAR))
    guide = _fitted(filled, numbers, scan_shape, noise)
    filled = numpy.where(visible, counts, guide.frames(numbers))
    guide = _fitted(filled, numbers, scan_shape, noise)
    while not guide.settled:
        guide.step()
    return guide, filled


def _fitted(frames: Array, numbers: Index, scan_shape: tuple[int, ...], noise: NoiseModel) -> Guide:
    """Guide of some frames, its components beyond the edge of noise only."""
    where = numpy.searchsorted(numbers, numpy.arange(numbers[-1] + 1))
    guide = Guide(lambda wanted: frames[where[wanted]], scan_shape, (frames.shape[1], frames.shape[2]))
    guide.start(numbers, noise)
    return guide
