"""Counts in units of their noise, read in blocks: what low-rank algebra needs, without a second copy of the scan."""

from __future__ import annotations

import typing

import numpy
import numpy.typing

from udvd_core.lowrank.light import smooth_light
from udvd_core.lowrank.place import Place
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]
Read = typing.Callable[[Index], Singles]

BLOCK_BYTES = 16 << 20


class Scaled:
    """Frames of a scan divided by ``sqrt(intensity x variance)``: noise of unit variance in every row and column.

    Parameters
    ----------
    read : callable
        Frames of some numbers, shape (n, q, E), counts, float32; NaN is missing.
    place : Place
        The frames that are there.
    intensity : array, shape (known,)
        Noise variance of each position relative to the mean.
    variance : array, shape (q, E)
        Noise variance of each pixel, counts squared.
    mean : array, shape (q, E)
        Expected counts where the intensity is 1; they stand in for a missing pixel.
    spread : array, shape (q, E)
        Noise of a scaled pixel, standard deviation: below 1 where a pixel counts as brighter than it is.
    base : callable or None
        Frames, as `read` gives them, that are taken off: what is known of the scan already.
    """

    def __init__(
        self,
        read: Read,
        place: Place,
        intensity: Array,
        variance: Array,
        mean: Array,
        spread: Array,
        base: Read | None = None,
    ) -> None:
        self._read, self.place, self._base = read, place, base
        self.spread = spread
        self.intensity, self.variance = intensity, variance
        self._mean = mean.astype(numpy.float32).reshape(-1)
        self._row = numpy.sqrt(intensity).astype(numpy.float32)
        self._column = numpy.sqrt(variance).astype(numpy.float32).reshape(-1)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """``(q, E)``."""
        return self.variance.shape

    @property
    def scale(self) -> Singles:
        """Standard deviation of each pixel at intensity 1, counts, shape (pixels,)."""
        return self._column

    def blocks(self) -> typing.Iterator[tuple[slice, Singles]]:
        """Scaled frames, shape (n, pixels), with their places in `place.numbers`."""
        step = max(1, BLOCK_BYTES // (4 * self._column.size))
        for start in range(0, self.place.numbers.size, step):
            part = slice(start, start + step)
            yield part, self.rows(part)

    def rows(self, part: slice | Index) -> Singles:
        """Scaled frames at some places, shape (n, pixels)."""
        numbers = self.place.numbers[part]
        counts = self._read(numbers).reshape(numbers.size, -1)
        missing = ~numpy.isfinite(counts)
        if missing.any():
            counts = numpy.where(missing, self.intensity[part, None].astype(numpy.float32) * self._mean, counts)
        if self._base is not None:
            counts = counts - self._base(numbers).reshape(numbers.size, -1)
        return typing.cast(Singles, counts / (self._row[part, None] * self._column))

    def counts(self, part: slice | Index, rows: Singles) -> Singles:
        """Counts of scaled frames, shape (n, pixels)."""
        return typing.cast(Singles, rows * (self._row[part, None] * self._column))

    def foreign(self, numbers: Index, noise: NoiseModel, place: Place) -> tuple[Singles, Array]:
        """Scaled frames (n, pixels) of other positions of the same scan; also their intensities, (n,).

        `place` holds the same positions, and may count them from another row on.
        """
        counts = self._read(numbers).reshape(numbers.size, -1)
        power = noise.gain * numpy.nan_to_num(counts, posinf=0.0, neginf=0.0) + noise.read_variance
        expected = noise.gain * self._mean + noise.read_variance  # of dark pixels less than they are scaled by
        weight = 1.0 / (self._column**2 * max(float((expected / self._column**2).sum()), 1e-30))
        intensity = (power @ weight).astype(numpy.float64)
        unit = noise.gain**2 * noise.window_factor(weight.size) * float((power @ weight**2).sum())
        intensity = smooth_light(intensity, unit / max(float(intensity.sum()), 1e-30), place)
        intensity = numpy.maximum(intensity, float(self.intensity.min()))
        missing = ~numpy.isfinite(counts)
        if missing.any():
            counts = numpy.where(missing, intensity[:, None].astype(numpy.float32) * self._mean, counts)
        if self._base is not None:
            counts = counts - self._base(numbers).reshape(numbers.size, -1)
        return counts / (numpy.sqrt(intensity)[:, None].astype(numpy.float32) * self._column), intensity

    def half_sums(self) -> Array:
        """Sums of every other frame and of the rest, counts, shape (2, q, E); missing pixels count as expected."""
        total = numpy.zeros((2, self._column.size))
        for part, rows in self.blocks():
            weight = numpy.zeros((2, len(rows)))
            weight[(part.start + numpy.arange(len(rows))) % 2, numpy.arange(len(rows))] = self._row[part]
            total += weight @ rows * self._column
        return total.reshape(2, *self.variance.shape)

    def less(self, base: Read) -> Scaled:
        """The same scan with frames that are known already taken off."""
        mean = self._mean.reshape(self.variance.shape).astype(numpy.float64)
        return Scaled(self._read, self.place, self.intensity, self.variance, mean, self.spread, base)

    def project(self, basis: Array) -> Array:
        """``rows @ basis.T``, shape (known, r), for a basis of shape (r, pixels)."""
        turned = basis.astype(numpy.float32).T
        return numpy.concatenate([(rows @ turned).astype(numpy.float64) for _, rows in self.blocks()])

    def regress(self, maps: Array) -> Array:
        """``maps.T @ rows``, shape (r, pixels), for maps of shape (known, r)."""
        total = numpy.zeros((maps.shape[1], self._column.size))
        for part, rows in self.blocks():
            total += maps[part].astype(numpy.float32).T @ rows
        return total
