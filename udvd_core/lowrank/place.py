"""Where the frames that came lie in the scan: maps over positions with some still missing."""

from __future__ import annotations

import dataclasses
import typing

import numpy
import numpy.typing
import scipy.ndimage

Array = numpy.typing.NDArray[numpy.float64]
Index = numpy.typing.NDArray[numpy.int64]
Values = typing.TypeVar("Values", numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float32])

SIZES = (4, 8, 16)
LARGE, LARGE_SIZES = 128, (4, 8, 16, 32)


@dataclasses.dataclass(frozen=True)
class Place:
    """Positions of a scan that are known.

    Attributes
    ----------
    shape : tuple of int
        ``(n,)``, ``(y, x)`` or ``(t, y, x)``, the rows that hold nothing cut off.
    numbers : array of int, shape (known,)
        Frame numbers, increasing, counted from the first one of `shape`.
    """

    shape: tuple[int, ...]
    numbers: Index

    @staticmethod
    def of(scan_shape: tuple[int, ...], numbers: Index) -> Place:
        """Cut away what lies behind the last known row."""
        inner = int(numpy.prod(scan_shape[1:]))
        rows = int(numbers[-1]) // inner + 1
        return Place((rows, *scan_shape[1:]), numbers)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Block sizes for maps of this shape, positions."""
        return LARGE_SIZES if min(self.shape[-2:]) >= LARGE else SIZES

    def spread(self, values: Values) -> Values:
        """Map ``(*shape, ...)`` of values ``(known, ...)``; a missing position takes its nearest neighbour's."""
        count = int(numpy.prod(self.shape))
        if self.numbers.size == count:
            return values.reshape(*self.shape, *values.shape[1:])
        return values[self._nearest()].reshape(*self.shape, *values.shape[1:])

    def gather(self, grid: Array) -> Array:
        """Values of a map at the known positions, shape (known, ...)."""
        flat = grid.reshape(-1, *grid.shape[len(self.shape) :])
        return flat[self.numbers]

    def _nearest(self) -> Index:
        """For every position the index into `numbers` of the nearest known one."""
        index = numpy.full(int(numpy.prod(self.shape)), -1, numpy.int64)
        index[self.numbers] = numpy.arange(self.numbers.size)
        grid = index.reshape(self.shape)
        where = scipy.ndimage.distance_transform_edt(grid < 0, return_distances=False, return_indices=True)
        return typing.cast(Index, grid[tuple(where)].reshape(-1))
