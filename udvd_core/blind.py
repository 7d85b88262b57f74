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


class BlindFit:
    """A guide that is fitted, step by step, without some pixels.

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
    base : Guide or None
        As for `Guide.start`; a single pixel has next to no part in it.

    Attributes
    ----------
    guide : Guide
        The fit so far.
    filled : array, shape (n, q, E)
        Counts with an estimate in place of the pixels that are not visible.

    Notes
    -----
    The mean over neighbouring positions stands in for hidden pixels first, then twice what a regression on visible
    pixels alone predicts there. To put the guide's own estimate there would take hundreds of rounds where
    the zero-loss peak is hidden, which alone tells much of a spectrum.
    """

    def __init__(
        self,
        counts: Array,
        visible: Bool,
        numbers: Index,
        scan_shape: tuple[int, ...],
        noise: NoiseModel,
        base: Guide | None = None,
    ) -> None:
        self._counts, self._visible, self._numbers = counts, visible & numpy.isfinite(counts), numbers
        self._shape, self._noise, self._base = scan_shape, noise, base
        self._rounds = 0
        self._fill(_around(counts, self._visible, numbers, scan_shape))

    @property
    def settled(self) -> bool:
        """Whether nothing is left to fit."""
        return self._rounds == ROUNDS and self.guide.settled

    def step(self) -> None:
        """Fill hidden pixels better, or find one more component."""
        if self._rounds < ROUNDS:
            self._rounds += 1
            self._fill(self.guide.regressed(self._numbers, self.filled, self._visible))
        else:
            self.guide.step()

    def _fill(self, estimate: Array) -> None:
        """Begin a fit with `estimate` in place of hidden pixels."""
        self.filled: Array = numpy.where(self._visible, self._counts, estimate)
        filled, where = self.filled, numpy.searchsorted(self._numbers, numpy.arange(self._numbers[-1] + 1))
        self.guide = Guide(lambda wanted: filled[where[wanted]], self._shape, (filled.shape[1], filled.shape[2]))
        self.guide.start(self._numbers, self._noise, self._base)


def blind_guide(counts: Array, visible: Bool, numbers: Index, scan_shape: tuple[int, ...], noise: NoiseModel) -> Guide:
    """Settled guide that was fitted without some pixels; parameters as for `BlindFit`."""
    fit = BlindFit(counts, visible, numbers, scan_shape, noise)
    while not fit.settled:
        fit.step()
    return fit.guide


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
