"""How the light of every channel is spread over the detector rows."""

from __future__ import annotations

import numpy
import numpy.typing

from udvd_core.lowrank.shrink import smooth
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]

SIZES = (4, 8, 16)
FEWEST = 0.5
"""Counts in the sum of all frames that a pixel is expected to have at least."""


def profile(total: Array, noise: NoiseModel) -> Singles:
    """Share of each channel's counts per detector row, shape (q, E); every column sums to 1.

    Parameters
    ----------
    total : array, shape (q, E)
        Sum of all frames, counts.
    noise : NoiseModel
        Of a pixel.

    Notes
    -----
    One profile for all channels, and what differs from it (the spectrometer's focus and position change along E)
    denoised in units of its noise: a profile per channel would bring the noise of every pixel into every frame.
    """
    whole = max(float(total.sum()), 1e-30)
    expected = numpy.outer(total.sum(1), total.sum(0)) / whole
    spread = numpy.sqrt(noise.gain * numpy.maximum(expected, FEWEST) + 1e-30)
    differs = smooth((total - expected) / spread, SIZES, noise.correlation).estimate
    found = numpy.maximum(expected + differs * spread, 0.0)
    column = found.sum(0)
    even = total.sum(1, keepdims=True) / whole
    share = numpy.where(column > 0, found / numpy.where(column > 0, column, 1.0), even)
    return share.astype(numpy.float32)
