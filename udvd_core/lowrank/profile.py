"""How the light of every channel is spread over the detector rows."""

from __future__ import annotations

import numpy
import numpy.typing

from udvd_core.lowrank.shrink import smooth
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]

SIZES = (4, 8, 16)
DARK = 1e-3
"""Share of all light that rows at either end of the detector may hold and still count as dark."""
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


def lit_rows(mean: Array) -> slice:
    """Detector rows that the beam lights, of a mean frame (q, E), counts; all of them where there is no light."""
    light = mean.sum(1)
    if not light.sum() > 0:
        return slice(0, light.size)
    before, after = (numpy.cumsum(x.clip(0)) / light.clip(0).sum() for x in (light, light[::-1]))
    return slice(int((before <= DARK).sum()), light.size - int((after <= DARK).sum()))
