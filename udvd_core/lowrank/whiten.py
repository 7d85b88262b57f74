"""How large the noise is at every position and in every channel, found from the counts themselves."""

from __future__ import annotations

import typing

import numpy
import numpy.typing

from udvd_core.lowrank.light import smooth_light
from udvd_core.lowrank.place import Place
from udvd_core.lowrank.scaled import BLOCK_BYTES, Read, Scaled
from udvd_core.lowrank.shrink import smooth_counts
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]

ROUNDS = 2
FAINTEST = 1e-4
"""Positions and channels fainter than this part of the mean count as that bright."""
SPARSE, COLUMNS = 0.05, 2048
"""Expected electrons in a channel below which noise is no longer like that of many; of so many channels at most."""
FEWEST = 3.0
"""Electrons in a channel of the whole scan below which noise of their sum is no longer like that of many."""
LEAST = 1e-4
"""Noise variance of a scaled pixel is taken to be no less."""
CHANNEL_SIZES = (8, 16, 32)
DOUBT, LIT = 4.0, 2.0
"""Of the brightness of channels so many times as much variance is taken for noise, and so many times it is added, as
in light (`udvd_core.lowrank.light`)."""


def whiten(read: Read, place: Place, noise: NoiseModel, frame_shape: tuple[int, int]) -> Scaled:
    """Scale a scan so that its noise has unit variance in every row and column.

    Parameters
    ----------
    read : callable
        Frames of some numbers, shape (n, q, E), counts; NaN is missing.
    place : Place
        The frames that are there.
    noise : NoiseModel
        Gain, read variance and correlation.
    frame_shape : (int, int)
        ``(q, E)``.

    Notes
    -----
    The variance of each count is estimated by ``gain x count + read^2``, without bias; rows and columns are
    divided in turn by their mean variance (biwhitening, Landa, Zhang and Kluger 2022), which makes the largest
    singular value of noise known however uneven the light is. Both means are smoothed more than their known noise
    asks for, because what noise they hold comes back (docs/decisions/0011).
    """
    powers = _Powers(read, place, noise, frame_shape)
    columns, _ = powers.column_means(numpy.ones(place.numbers.size))
    pixels = columns.size
    sparse = SPARSE * noise.gain**2 * min(1.0, COLUMNS / pixels)
    columns = _floored(columns, sparse)
    for _ in range(ROUNDS):
        rows, unit = powers.row_sums(columns)
        intensity = smooth_light(rows, unit, place)
        intensity = _floored(intensity, min(sparse / max(float(columns.mean()), 1e-30), 1.0))
        intensity /= intensity.mean()
        columns, unit = powers.column_means(intensity)
        smoothed = smooth_counts(columns, DOUBT * unit, CHANNEL_SIZES)
        lit = smoothed + LIT * unit
        columns = _floored(lit, sparse)
    spread = numpy.sqrt(numpy.clip(numpy.maximum(lit, FEWEST * unit) / columns, LEAST, 1.0))
    mean = numpy.maximum(smoothed - noise.read_variance, 0.0) / noise.gain if noise.gain else 0.0 * columns
    return Scaled(read, place, intensity, columns, mean, spread)


class _Powers:
    """Sums over ``gain x count + read^2``, the estimated noise variance of every count that is not missing."""

    def __init__(self, read: Read, place: Place, noise: NoiseModel, frame_shape: tuple[int, int]) -> None:
        self._read, self._place, self._noise, self._shape = read, place, noise, frame_shape

    def _blocks(self) -> typing.Iterator[tuple[slice, Singles, Singles | None]]:
        """Places, power, and where there is any (1) or none (0); the last is None where nothing is missing."""
        pixels = self._shape[0] * self._shape[1]
        step = max(1, BLOCK_BYTES // (4 * pixels))
        for start in range(0, self._place.numbers.size, step):
            part = slice(start, start + step)
            counts = self._read(self._place.numbers[part]).reshape(-1, pixels)
            power = counts * numpy.float32(self._noise.gain) + numpy.float32(self._noise.read_variance)
            there = numpy.isfinite(power)
            if there.all():
                yield part, power, None
            else:
                yield part, numpy.where(there, power, numpy.float32(0.0)), there.astype(numpy.float32)

    def row_sums(self, columns: Array) -> tuple[Array, float]:
        """Sum over pixels of power over `columns`, shape (known,), and its variance per unit of itself."""
        inverse = 1.0 / columns.reshape(-1)
        result, variance = numpy.empty(self._place.numbers.size), 0.0
        for part, power, there in self._blocks():
            result[part] = power @ inverse
            if there is not None:
                result[part] *= there.shape[1] / numpy.maximum(there.sum(1), 1.0)
            variance += float(numpy.maximum(power.sum(0), 0.0) @ inverse**2)
        unit = self._noise.gain**2 * self._noise.window_factor(inverse.size)
        return result, unit * variance / max(float(result.sum()), 1e-30)

    def column_means(self, intensity: Array) -> tuple[Array, float]:
        """Mean over positions of power over `intensity`, shape (q, E), and its variance per unit of itself."""
        total, variance = numpy.zeros(self._shape[0] * self._shape[1]), 0.0
        used = numpy.zeros(total.size)
        for part, power, there in self._blocks():
            total += (1.0 / intensity[part]) @ power
            used += len(power) if there is None else there.sum(0)
            variance += float((1.0 / intensity[part] ** 2) @ power.sum(1))
        count = self._place.numbers.size
        unit = self._noise.gain**2 * variance / max(float(total.sum()), 1e-30)
        return (total / numpy.maximum(used, 1.0)).reshape(self._shape), unit / count


def _floored(values: Array, lowest: float) -> Array:
    """Values not below `lowest` nor a small part of their mean."""
    mean = float(numpy.maximum(values, 0.0).mean())
    return numpy.maximum(values, max(lowest, FAINTEST * mean) if mean > 0 else 1.0)
