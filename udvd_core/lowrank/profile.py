"""How the light of every channel is spread over the detector rows."""

from __future__ import annotations

import math

import numpy
import numpy.typing

from udvd_core.lowrank.shrink import smooth, smooth_counts
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]

SIZES = (4, 8, 16)
DARK = 1e-3
"""Share of all light that rows at either end of the detector may hold and still count as dark."""
AGREES = 4.0
"""Standard errors by which the two halves must agree on what differs from one profile."""
FEWEST = 0.5
"""Counts in the sum of all frames that a pixel is expected to have at least."""


def profile(halves: Array, noise: NoiseModel) -> Singles:
    """Share of each channel's counts per detector row, shape (q, E); every column sums to 1.

    Parameters
    ----------
    halves : array, shape (2, q, E)
        Sums of one half of all frames and of the other, counts.
    noise : NoiseModel
        Of a pixel.

    Notes
    -----
    One profile for all channels, and what differs from it (the spectrometer's focus and position change along E)
    denoised in units of its noise: a profile per channel would bring the noise of every pixel into every frame.
    What differs counts only where each half of the frames tells of the other.
    """
    total = halves.sum(0)
    rows = _smooth_rows(total.sum(1), noise, total.shape[1])
    share = rows / max(float(rows.sum()), 1e-30)
    expected = numpy.outer(share, total.sum(0))
    spread = numpy.sqrt(noise.gain * numpy.maximum(expected, FEWEST) + 1e-30)
    differs = (total - expected) / spread
    if _agreement((halves - 0.5 * expected) / (spread * 0.5**0.5), noise) > AGREES:
        expected = numpy.maximum(expected + _denoised(differs, noise) * spread, 0.0)
    column = expected.sum(0)
    found = numpy.where(column > 0, expected / numpy.where(column > 0, column, 1.0), share[:, None])
    return found.astype(numpy.float32)


def _denoised(differs: Array, noise: NoiseModel) -> Array:
    return smooth(differs, SIZES, noise.correlation, noise.correlation_q).estimate


def _agreement(differs: Array, noise: NoiseModel) -> float:
    """How far what one half of the frames tells, denoised, is found in the other, in units of its noise."""
    told = [_denoised(half, noise) for half in differs]
    error = math.sqrt(sum(float((one**2).sum()) for one in told))
    return float(told[0].ravel() @ differs[1].ravel() + told[1].ravel() @ differs[0].ravel()) / max(error, 1e-30)


def _smooth_rows(counts: Array, noise: NoiseModel, channels: int) -> Array:
    """Counts of all channels per detector row, (q,), denoised."""
    unit = noise.gain * noise.window_factor(channels)
    return numpy.maximum(smooth_counts(counts, unit, SIZES, noise.correlation_q), 0.0)


def lit_rows(mean: Array) -> slice:
    """Detector rows that the beam lights, of a mean frame (q, E), counts; all of them where there is no light."""
    light = mean.sum(1)
    if not light.sum() > 0:
        return slice(0, light.size)
    before, after = (numpy.cumsum(x.clip(0)) / light.clip(0).sum() for x in (light, light[::-1]))
    return slice(int((before <= DARK).sum()), light.size - int((after <= DARK).sum()))
