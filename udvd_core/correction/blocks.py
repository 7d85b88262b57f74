"""Blocks of neighbouring positions, cut from a scan that may have gaps, as the correction network wants them."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing

from udvd_core.correction.inputs import HALO, residual, surroundings
from udvd_core.lowrank.place import Place
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]
Frames = typing.Callable[[Index, slice], tuple[Array, Array, Array]]
"""Counts, guide and noise of frames of some numbers, in some detector rows, each (n, rows, E)."""

CHUNK_PIXELS = 1 << 21


@dataclasses.dataclass(frozen=True)
class Piece:
    """Inputs of the detector rows `rows` of the frames at `chosen` in the wanted numbers.

    Attributes
    ----------
    own : array, shape (n x rows, 1, E)
    around : array, shape (n x rows, CHANNELS, E)
    """

    chosen: Index
    rows: slice
    own: Array
    around: Array


def pieces(
    numbers: Index, known: Index, grid: tuple[int, int], frames: Frames, left: Array, noise: NoiseModel
) -> typing.Iterator[Piece]:
    """Inputs for all wanted frames.

    Parameters
    ----------
    numbers, known : array of int
        Wanted frames, and all that are there; both increasing.
    grid : (int, int)
        Rows and columns of the scan; frames of further pages follow.
    frames : callable
        See `Frames`.
    left : array, shape (4, q, E)
        What the guide leaves, `udvd_core.correction.inputs.left_over`.
    noise : NoiseModel
        Of the counts.
    """
    page_size = math.prod(grid)
    for page in numpy.unique(numbers // page_size):
        chosen = numpy.flatnonzero(numbers // page_size == page)
        here = numbers[chosen] - page * page_size
        there = known[known // page_size == page] - page * page_size
        box = _box(here, there, grid)
        position = numpy.unravel_index(here, grid)
        y, x = position[0] - box.top, position[1] - box.left
        inner = (slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1))
        at = (y - inner[0].start, x - inner[1].start)
        step = max(1, CHUNK_PIXELS // (math.prod(box.place.shape) * left.shape[2]))
        for start in range(0, left.shape[1], step):
            rows = slice(start, min(start + step, left.shape[1]))
            counts, guide, sigma = _cut(box, page * page_size, rows, frames)
            z = residual(counts, guide, sigma)
            around = surroundings(z, guide, sigma, left[:, rows], noise, inner)[at]
            own = z[inner][at]
            channels = own.shape[-1]
            yield Piece(chosen, rows, own.reshape(-1, 1, channels), around.reshape(-1, around.shape[-2], channels))


@dataclasses.dataclass(frozen=True)
class _Box:
    """A rectangle of positions of one page, and the known frames in it."""

    top: int
    left: int
    place: Place
    frames: Index


def _box(here: Index, there: Index, grid: tuple[int, int]) -> _Box:
    """Rectangle around some positions with the halo that the scan has."""
    y, x = numpy.unravel_index(here, grid)
    top, bottom = max(0, int(y.min()) - HALO), min(grid[0], int(y.max()) + HALO + 1)
    left, right = max(0, int(x.min()) - HALO), min(grid[1], int(x.max()) + HALO + 1)
    row, column = numpy.unravel_index(there, grid)
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    row, column = row[inside] - top, column[inside] - left
    shape = (int(row.max()) + 1, right - left)
    return _Box(top, left, Place(shape, row * (right - left) + column), there[inside])


def _cut(box: _Box, first: int, rows: slice, frames: Frames) -> tuple[Array, Array, Array]:
    """Counts, guide and noise of a rectangle, each (y, x, rows, E); counts of positions that are missing are NaN."""
    counts, guide, sigma = frames(first + box.frames, rows)
    size = math.prod(box.place.shape)
    if box.frames.size < size:
        whole = numpy.full((size, *counts.shape[1:]), numpy.nan, numpy.float32)
        whole[box.place.numbers] = counts
        counts = whole
        guide, sigma = box.place.spread(guide), box.place.spread(sigma)
    shape = (*box.place.shape, *counts.shape[1:])
    return counts.reshape(shape), guide.reshape(shape), sigma.reshape(shape)
