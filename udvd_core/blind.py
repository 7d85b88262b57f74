"""A guide that never saw some pixels: what held-out counts can judge."""

from __future__ import annotations

import math

import numpy
import numpy.typing
import scipy.ndimage

from udvd_core.guide import Guide
from udvd_core.lowrank.place import Place
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float32]
Bool = numpy.typing.NDArray[numpy.bool_]
Index = numpy.typing.NDArray[numpy.int64]

ROUNDS = 2


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
    The mean over neighbouring positions stands in for hidden pixels first, then twice what a regression on visible
    pixels alone predicts there. To put the guide's own estimate there would take hundreds of rounds where
    the zero-loss peak is hidden, which alone tells much of a spectrum.
    """
    visible = visible & numpy.isfinite(counts)
    estimate = _around(counts, visible, numbers, scan_shape)
    for _ in range(ROUNDS):
        filled: Array = numpy.where(visible, counts, estimate)
        guide = _fitted(filled, numbers, scan_shape, noise)
        estimate = guide.regressed(numbers, filled, visible)
    filled = numpy.where(visible, counts, estimate)
    guide = _fitted(filled, numbers, scan_shape, noise)
    while not guide.settled:
        guide.step()
    return guide, filled


def _around(counts: Array, visible: Bool, numbers: Index, scan_shape: tuple[int, ...]) -> Array:
    """Mean of the visible pixels of neighbouring positions at every pixel, shape (n, q, E)."""
    inner = math.prod(scan_shape[1:])
    first = int(numbers[0]) // inner
    place = Place.of((scan_shape[0] - first, *scan_shape[1:]), numbers - first * inner)
    shown = numpy.where(visible, counts, numpy.float32(0.0))
    mean = shown.sum(0) / numpy.maximum(visible.sum(0), 1)
    size = (*(3,) * len(place.shape), 1, 1)
    sums, times = (
        scipy.ndimage.uniform_filter(place.spread(x), size, mode="nearest")
        for x in (shown, visible.astype(numpy.float32))
    )
    some = times > 0.5 / 3 ** len(place.shape)
    grid: Array = numpy.where(some, sums / numpy.where(some, times, 1), mean).astype(numpy.float32)
    return grid.reshape(-1, *counts.shape[1:])[place.numbers]


def _fitted(frames: Array, numbers: Index, scan_shape: tuple[int, ...], noise: NoiseModel) -> Guide:
    """Guide of some frames, its components beyond the edge of noise only."""
    where = numpy.searchsorted(numbers, numpy.arange(numbers[-1] + 1))
    guide = Guide(lambda wanted: frames[where[wanted]], scan_shape, (frames.shape[1], frames.shape[2]))
    guide.start(numbers, noise)
    return guide
