"""Frames with few enough columns for a covariance matrix: detector rows taken together, channels too where many."""

from __future__ import annotations

import dataclasses
import functools
import typing

import numpy
import numpy.typing

from udvd_core.lowrank.edge import noise_powers
from udvd_core.noise import NoiseModel, window_factor

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]

MOST_COLUMNS = 1024
MOST_BANDS = 8


@dataclasses.dataclass(frozen=True)
class Coarse:
    """Bands of detector rows times bins of channels.

    Attributes
    ----------
    row_starts, channel_starts : array of int
        First detector row of each band and first channel of each bin.
    weight : array, shape (q, E)
        Share of each pixel in its bin, so that unit noise, correlated or not, stays unit noise.
    variances : array, shape (bands, bins)
        Noise variance of each bin: below 1 where its pixels count as brighter than they are.
    correlation : tuple of float
        Correlation that is left between bins along E.
    """

    row_starts: numpy.typing.NDArray[numpy.int64]
    channel_starts: numpy.typing.NDArray[numpy.int64]
    weight: Array
    variances: Array
    correlation: tuple[float, ...]

    @staticmethod
    def of(variance: Array, spread: Array, noise: NoiseModel) -> Coarse:
        """Bins for pixels of this noise variance, and this spread once scaled, (q, E); bands hold like many counts."""
        rows, channels = variance.shape
        bands = min(rows, MOST_BANDS)
        cumulative = numpy.cumsum(variance.sum(1)) / variance.sum()
        edges = numpy.searchsorted(cumulative, numpy.arange(1, bands) / bands) + 1
        row_starts = numpy.unique(numpy.concatenate(([0], numpy.minimum(edges, rows - 1))))
        most = 2 * MOST_COLUMNS if rows == 1 else MOST_COLUMNS
        width = -(-channels * row_starts.size // most)
        channel_starts = numpy.arange(0, channels, width)
        heights, widths = numpy.diff(numpy.append(row_starts, rows)), numpy.diff(numpy.append(channel_starts, channels))
        power, of_scaled = (
            numpy.add.reduceat(numpy.add.reduceat(values, row_starts, 0), channel_starts, 1)
            for values in (variance, variance * spread**2)
        )
        variances = of_scaled / power
        along_q = [window_factor(noise.correlation_q, int(n)) for n in heights]
        along_e = [window_factor(noise.correlation, int(n)) for n in widths]
        power *= numpy.maximum(numpy.add.outer(along_q, along_e) - 1.0, 0.1)
        weight = numpy.sqrt(variance / numpy.repeat(numpy.repeat(power, heights, 0), widths, 1))
        lags = noise.correlation if width == 1 and rows == 1 else ()
        return Coarse(row_starts, channel_starts, weight, variances, lags)

    @property
    def shape(self) -> tuple[int, int]:
        """Bands and bins."""
        return self.row_starts.size, self.channel_starts.size

    @functools.cached_property
    def powers(self) -> Array:
        """Noise power of independent directions among all bins."""
        return noise_powers(self.variances.reshape(-1), self.correlation)

    def rows(self, scaled: Singles) -> Singles:
        """Coarse frames (n, bands x bins) of scaled frames (n, pixels)."""
        if self.shape == self.weight.shape:
            return scaled
        frames = scaled.reshape(-1, *self.weight.shape) * self.weight.astype(numpy.float32)
        if self.shape[0] < self.weight.shape[0]:
            frames = numpy.add.reduceat(frames, self.row_starts, 1)
        if self.shape[1] < self.weight.shape[1]:
            frames = numpy.add.reduceat(frames, self.channel_starts, 2)
        return typing.cast(Singles, frames.reshape(len(frames), -1))
