"""Which frames belong together: scan positions, their neighbours and the groups a network sees.

A frame is one detector image ``(q, E)`` at one scan position; a spectrum is a frame with one
detector row. Positions are numbered in scan order.
"""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]


@dataclasses.dataclass(frozen=True)
class Pattern:
    """Neighbours of a position and how the network groups them (paper, figures 1 and S1).

    Attributes
    ----------
    offsets : tuple of (dy, dx)
        The frames that are seen, the centre ``(0, 0)`` among them.
    groups : tuple of tuple of int
        Indices into `offsets` that enter the first U-Net together, equally many in each group.
    """

    offsets: tuple[tuple[int, int], ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def centre(self) -> int:
        """Index of the centre frame in `offsets`."""
        return self.offsets.index((0, 0))


GRID = Pattern(
    tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)),
    ((0, 4, 8), (1, 4, 7), (2, 4, 6), (3, 4, 5)),
)
"""Nine frames around a position of a spectrum image, four groups through the centre."""

LINE = Pattern(tuple((0, dx) for dx in (-2, -1, 0, 1, 2)), ((0, 1, 2), (1, 2, 3), (2, 3, 4)))
"""Five consecutive frames of a movie, time series or line scan, three overlapping triplets."""


GRID_TOGETHER, LINE_TOGETHER = (Pattern(p.offsets, (tuple(range(len(p.offsets))),)) for p in (GRID, LINE))
"""The same neighbours in a single group, for spectra: less than half the work, docs/decisions/0002."""


def pattern_for(scan_shape: tuple[int, ...], spectra: bool = False) -> Pattern:
    """`GRID` for scans with two axes or more, `LINE` for one, a single row or a single column.

    Parameters
    ----------
    spectra : bool
        Whether frames have one detector row; their neighbours enter together.
    """
    if len(scan_shape) > 1 and min(scan_shape[-2:]) > 1:
        return GRID_TOGETHER if spectra else GRID
    return LINE_TOGETHER if spectra else LINE


def neighbour_table(scan_shape: tuple[int, ...], pattern: Pattern) -> Index:
    """Frame number of every neighbour of every position.

    Parameters
    ----------
    scan_shape : tuple of int
        ``(n,)``, ``(y, x)`` or ``(t, y, x)``. Frames of different t are no neighbours in a `GRID`.
    pattern : Pattern
        Which neighbours.

    Returns
    -------
    array, shape (positions, neighbours), int64
        -1 where the neighbour lies outside the scan.
    """
    count = math.prod(scan_shape)
    if pattern.offsets == LINE.offsets:
        line = max(scan_shape[-2:]) if len(scan_shape) > 1 else scan_shape[0]
        rows, columns = count // line, line
    else:
        rows, columns = scan_shape[-2:]
    pages = count // (rows * columns)
    page, y, x = numpy.meshgrid(*(numpy.arange(n) for n in (pages, rows, columns)), indexing="ij")
    table = numpy.empty((count, len(pattern.offsets)), numpy.int64)
    for k, (dy, dx) in enumerate(pattern.offsets):
        inside = (y + dy >= 0) & (y + dy < rows) & (x + dx >= 0) & (x + dx < columns)
        table[:, k] = numpy.where(inside, (page * rows + y + dy) * columns + x + dx, -1).ravel()
    return table


def runs(numbers: Index) -> list[tuple[int, int]]:
    """Split increasing frame numbers into ``(start, stop)`` runs without gaps."""
    if not numbers.size:
        return []
    breaks = numpy.flatnonzero(numpy.diff(numbers) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in numpy.split(numbers, breaks)]


@dataclasses.dataclass(frozen=True)
class Denoised:
    """Frames `start` and following, shape (n, E) or (n, q, E), counts; will they be sent again, their steps."""

    start: int
    data: Array
    final: bool
    step: int


def in_runs(numbers: Index, data: Array, final: bool, step: int) -> list[Denoised]:
    """Denoised frames of increasing numbers, split where numbers are missing; shape of `data` (n, ...)."""
    result, at = [], 0
    for start, stop in runs(numbers):
        result.append(Denoised(start, data[at : at + stop - start], final, step))
        at += stop - start
    return result


def rectangles(start: int, stop: int, shape: tuple[int, ...]) -> list[tuple[int, int, tuple[slice, ...]]]:
    """Split frames `start` to `stop` of a scan into boxes of positions.

    Returns
    -------
    list of (int, int, tuple of slice)
        First and last frame number of each box, in order, and its slices along every scan axis;
        every slice has a start and a stop.
    """
    if len(shape) == 1:
        return [(start, stop, (slice(start, stop),))]
    size = math.prod(shape[1:])
    result: list[tuple[int, int, tuple[slice, ...]]] = []
    while start < stop:
        page, offset = divmod(start, size)
        pages = (stop - start) // size
        if offset == 0 and pages:
            end = start + pages * size
            whole = tuple(slice(0, n) for n in shape[1:])
            result.append((start, end, (slice(page, page + pages), *whole)))
        else:
            end = min(stop, (page + 1) * size)
            inner = rectangles(offset, offset + end - start, shape[1:])
            result += [(page * size + a, page * size + b, (slice(page, page + 1), *s)) for a, b, s in inner]
        start = end
    return result


def merged(blocks: typing.Sequence[tuple[int, Array]]) -> list[tuple[int, Array]]:
    """Blocks (first frame, data) in the order in which they came, put together where they follow one another.

    Those that a later one covers are left out.
    """
    last: list[tuple[int, Array]] = []
    for start, data in reversed(blocks):
        if not any(first <= start and start + len(data) <= first + len(later) for first, later in last):
            last.append((start, data))
    runs: list[tuple[int, list[Array]]] = []
    stop = -1
    for start, data in reversed(last):
        if start == stop:
            runs[-1][1].append(data)
        else:
            runs.append((start, [data]))
        stop = start + len(data)
    return [(start, numpy.concatenate(parts) if len(parts) > 1 else parts[0]) for start, parts in runs]
