"""From counts to numbers of unit noise, and exactly back."""

from __future__ import annotations

import dataclasses

import numpy
import numpy.typing

from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float32]


@dataclasses.dataclass(frozen=True)
class Standard:
    """Counts as deviations from the mean frame in units of their noise.

    A network that answers 0 gives the mean frame; a pixel that is missing is 0. Replaced as the
    scan grows, never changed.

    Attributes
    ----------
    mean, scale : array, shape (q, E), float32
        Mean frame in counts; its standard deviation, never zero.
    """

    mean: Array
    scale: Array

    def forward(self, frames: Array) -> Array:
        """Standardise counts of shape (..., q, E); pixels that are not finite become 0."""
        x: Array = (frames - self.mean) / self.scale
        x[~numpy.isfinite(x)] = 0
        return x

    def inverse(self, frames: Array) -> Array:
        """Counts of standardised frames of shape (..., q, E)."""
        return frames * self.scale + self.mean


def standard_from(mean: numpy.typing.NDArray[numpy.float64], noise: NoiseModel) -> Standard:
    """Standard of a scan with this mean frame (q, E), counts, and this noise."""
    scale = numpy.sqrt(noise.variance(mean))
    return Standard(mean.astype(numpy.float32), scale.astype(numpy.float32))


def plain_scale(mean: numpy.typing.NDArray[numpy.float64]) -> Standard:
    """One factor for all pixels, no offset: what weights of the published code expect."""
    level = float(numpy.abs(mean).mean()) or 1.0
    return Standard(numpy.zeros(mean.shape, numpy.float32), numpy.full(mean.shape, level, numpy.float32))
