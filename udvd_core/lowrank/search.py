"""Structure below the edge of noise, found where a scan is smooth, periodic or broad in energy.

A weak component hides in the noise of all positions and channels together. Restricted to the spatial
frequencies and to the width along E where it lives, there is less noise: the same test finds it there.
"""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing
import scipy.fft
import scipy.linalg

from udvd_core.lowrank.coarse import Coarse
from udvd_core.lowrank.edge import noise_edge, noise_powers
from udvd_core.lowrank.factors import Factors
from udvd_core.lowrank.place import Place
from udvd_core.lowrank.scaled import Scaled
from udvd_core.noise import window_factor

Array = numpy.typing.NDArray[numpy.float64]
Reals = numpy.typing.NDArray[numpy.floating]
Index = numpy.typing.NDArray[numpy.int64]

FOUND, FOUND_IN_FRAMES = 2.5, 4.0
"""Spreads beyond the edge of noise, of some twenty tests that share their noise; where nothing is left the largest is
0.3 +- 0.8, beyond 2.5 in 7 of 540 scans; maps that are barely found gain 0.1 to 0.4 dB over waiting for 4. Whole
frames, whose profile is taken off before, lose 0.8 dB at high dose."""
WIDTHS = (1, 4, 16)
"""Channels taken together."""
PARTS = (4, 16, 64)
"""One in so many spatial frequencies is looked at: the lowest, or those where the maps so far are strong."""
FEWEST = 8
LARGEST_GRID = 64


def find_component(scaled: Scaled, factors: Factors, coarse: Coarse) -> Array | None:
    """Raw loadings (known,) of the strongest component that `factors` leaves in the noise; None if there is none.

    Parameters
    ----------
    scaled : Scaled
        The scan.
    factors : Factors
        What was found so far.
    coarse : Coarse
        Columns to search in.
    """
    grid, unit = _residual(scaled, factors, coarse)
    axes = tuple(range(grid.ndim - 1))
    waves = scipy.fft.dctn(grid, axes=axes, norm="ortho").reshape(-1, grid.shape[-1])
    maps = scipy.fft.dctn(_binned(factors.maps, scaled.place), axes=axes, norm="ortho").reshape(len(waves), -1)
    best, found = FOUND if coarse.shape[0] == 1 else FOUND_IN_FRAMES, None
    for chosen in _frequencies(grid.shape[:-1], maps):
        for width in WIDTHS:
            if min(len(chosen), coarse.shape[0] * (coarse.shape[1] // width)) < FEWEST:
                continue
            narrow, powers = _widened(waves[chosen], coarse, width)
            singular, direction = _strongest(narrow)
            edge, spread = noise_edge(len(narrow), powers)
            strength = ((singular / unit) ** 2 - edge) / spread
            if strength > best:
                best, found = (
                    strength,
                    numpy.repeat(direction.reshape(coarse.shape[0], -1) / numpy.sqrt(width), width, axis=1),
                )
    if found is None:
        return None
    full = numpy.zeros(coarse.shape)
    full[:, : found.shape[1]] = found[:, : coarse.shape[1]]
    turned = full.reshape(-1).astype(numpy.float32)
    result = numpy.empty(scaled.place.numbers.size)
    for part, rows in scaled.blocks():
        result[part] = coarse.rows(rows - factors.raw_rows(part)) @ turned
    return result


def _residual(scaled: Scaled, factors: Factors, coarse: Coarse) -> tuple[Reals, float]:
    """What the raw loadings leave, on a grid of limited size, ``(*grid, columns)``; also its spread by the expected."""
    flat = numpy.empty((scaled.place.numbers.size, coarse.shape[0] * coarse.shape[1]), numpy.float32)
    for part, rows in scaled.blocks():
        flat[part] = coarse.rows(rows - factors.raw_rows(part))
    unit = float(numpy.sqrt(numpy.mean(flat**2)))
    return _binned(flat, scaled.place), max(unit / math.sqrt(coarse.variances.mean()), 1.0)


def _binned(values: Reals, place: Place) -> Reals:
    """Values (known, k) on a grid of at most `LARGEST_GRID` bins along every axis; unit noise stays unit noise."""
    position = numpy.unravel_index(place.numbers, place.shape)
    widths = [-(-n // LARGEST_GRID) for n in place.shape]
    grid = tuple(-(-n // w) for n, w in zip(place.shape, widths, strict=True))
    at = numpy.ravel_multi_index([p // w for p, w in zip(position, widths, strict=True)], grid)
    if at.size == numpy.prod(grid):
        return numpy.asarray(values[numpy.argsort(at)]).reshape(*grid, -1)
    total = numpy.zeros((int(numpy.prod(grid)), values.shape[1]), numpy.float32)
    numpy.add.at(total, at, values)
    times = numpy.bincount(at, minlength=len(total))
    total /= numpy.sqrt(numpy.maximum(times, 1))[:, None]
    return total.reshape(*grid, -1)


def _frequencies(grid: tuple[int, ...], maps: Reals) -> typing.Iterator[Index]:
    """All spatial frequencies, then the lowest few, then those where the maps are strong."""
    axes = numpy.meshgrid(*(numpy.arange(n) / n for n in grid), indexing="ij")
    lowest = numpy.argsort(numpy.sum(numpy.square(axes), 0).reshape(-1), kind="stable")
    power = maps**2
    power[0] = 0.0
    strongest = numpy.argsort(-(power / numpy.maximum(power.sum(0), 1e-12)).sum(1), kind="stable")
    yield lowest
    for part in PARTS:
        if lowest.size // part >= FEWEST:
            yield lowest[: lowest.size // part]
            yield strongest[: lowest.size // part]


def _widened(waves: Reals, coarse: Coarse, width: int) -> tuple[Reals, Array]:
    """Columns taken together `width` at a time, and the noise power of independent directions among them."""
    if width == 1:
        return waves, coarse.powers
    bands, bins = coarse.shape[0], coarse.shape[1] // width
    frames: Reals = waves.reshape(-1, *coarse.shape)[:, :, : bins * width].reshape(-1, bands, bins, width)
    factor = width * window_factor(coarse.correlation, width)
    summed: Reals = frames.sum(3) / math.sqrt(factor)
    variances = coarse.variances[:, : bins * width].reshape(bands, bins, width).mean(2)
    return summed.reshape(len(waves), -1), noise_powers(variances.reshape(-1))


def _strongest(matrix: Reals) -> tuple[float, Array]:
    """Largest singular value and its right singular vector."""
    wide = matrix.shape[0] < matrix.shape[1]
    gram = (matrix @ matrix.T if wide else matrix.T @ matrix).astype(numpy.float64)
    last = len(gram) - 1
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=(last, last))
    singular = float(numpy.sqrt(max(values[0], 1e-30)))
    right = matrix.T @ vectors[:, 0] / singular if wide else vectors[:, 0]
    return singular, numpy.asarray(right)
