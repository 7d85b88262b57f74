"""What the correction network sees of every pixel: residuals of its neighbours, and the shape of the guide."""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing
import scipy.ndimage

from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float32]
Inner = tuple[slice, slice]

HALO = 4
"""Positions around its own that the network sees."""
CHANNELS = 14
"""Inputs per pixel besides the own residual."""
WINDOW = 16
"""Channels over which the noise is characterised."""
NEAR = 9
"""Channels taken together in `left_over`."""


def residual(counts: Array, guide: Array, sigma: Array) -> Array:
    """Counts less the guide in units of their noise; 0 where a pixel is missing."""
    with numpy.errstate(invalid="ignore"):
        z = (counts - guide) / sigma
    z[~numpy.isfinite(z)] = 0.0
    return z


def common(values: Array, light: Array) -> Array:
    """What all positions share: the frame (q, E) that, times their light (n, 1, 1), fits values (n, q, E) best."""
    return typing.cast(Array, (light * values).sum(0) / numpy.square(light).sum())


def left_over(z: Array, noise: NoiseModel) -> Array:
    """How much more than noise the residuals of a whole scan hold, channel by channel.

    Parameters
    ----------
    z : array, shape (y, x, q, E)
        Residuals of `residual`; 0 is missing.
    noise : NoiseModel
        Correlation along E.

    Returns
    -------
    array, shape (4, q, E)
        Logarithm of the power of sums over squares of 3, 5 and 9 positions, and of 5 positions and 9 channels,
        over that of noise. What the guide misses can be told from noise only if one knows how much it misses.
    """
    share = max(float(numpy.count_nonzero(z)) / z.size, 1e-3)
    wide = scipy.ndimage.uniform_filter1d(z, NEAR, axis=3, mode="nearest") * numpy.float32(NEAR)
    cases = [(z, 3, 1.0), (z, 5, 1.0), (z, 9, 1.0), (wide, 5, NEAR * noise.window_factor(NEAR))]
    result = numpy.empty((len(cases), *z.shape[2:]), numpy.float32)
    for k, (values, size, factor) in enumerate(cases):
        expected = share * factor * _box(numpy.ones((*z.shape[:2], 1, 1), numpy.float32), size).mean()
        power = (_box(values, size) ** 2).mean((0, 1)) / expected
        result[k] = numpy.log(numpy.maximum(scipy.ndimage.uniform_filter1d(power, WINDOW, axis=1, mode="nearest"), 0.1))
    return result


def surroundings(
    z: Array, guide: Array, sigma: Array, left: Array, noise: NoiseModel, inner: Inner = (slice(None),) * 2
) -> Array:
    """Inputs of a block of positions.

    Parameters
    ----------
    z, guide, sigma : array, shape (y, x, q, E)
        Residuals of `residual`, guide in counts and its noise; the block with `HALO` positions around it
        where the scan has them.
    left : array, shape (4, q, E)
        See `left_over`.
    noise : NoiseModel
        Gain and correlation.
    inner : (slice, slice)
        Positions along y and x of the block that are wanted.

    Returns
    -------
    array, shape (y, x, q, CHANNELS, E) of the inner positions
        Residuals summed over four rings around the position, its own left out; slope and curvature of the
        guide along E; how bright it is; how it differs from the guide around; correlation of the noise; `left`.
    """
    boxes, cross = [_box(z, size)[inner] for size in (3, 5, 9)], _cross(z)[inner]
    near = [scipy.ndimage.uniform_filter(guide, (size, size, 1, 1), mode="nearest")[inner] for size in (3, 5)]
    z, guide, sigma = z[inner], guide[inner], sigma[inner]
    result = numpy.empty((*guide.shape[:3], CHANNELS, guide.shape[3]), numpy.float32)
    result[..., 0, :] = cross / 2.0
    result[..., 1, :] = (boxes[0] - z - cross) / 2.0
    result[..., 2, :] = (boxes[1] - boxes[0]) / 4.0
    result[..., 3, :] = (boxes[2] - boxes[1]) / math.sqrt(56.0)
    slope = numpy.gradient(guide, axis=3) if guide.shape[3] > 1 else numpy.zeros_like(guide)
    result[..., 4, :] = _squashed(slope / sigma)
    slope = numpy.gradient(slope, axis=3) if guide.shape[3] > 1 else slope
    result[..., 5, :] = _squashed(slope / sigma)
    result[..., 6, :] = 0.3 * numpy.log((sigma / noise.gain) ** 2 + 1e-3)
    result[..., 7, :] = _squashed((near[0] - guide) / sigma)
    result[..., 8, :] = _squashed((near[1] - guide) / sigma)
    result[..., 9, :] = math.log2(noise.window_factor(WINDOW))
    result[..., 10:14, :] = 3.0 * left.swapaxes(0, 1)
    return result


def _box(z: Array, size: int) -> Array:
    """Sum over a square of positions, nothing outside the block."""
    mean = scipy.ndimage.uniform_filter1d(z, size, axis=0, mode="constant")
    return numpy.asarray(scipy.ndimage.uniform_filter1d(mean, size, axis=1, mode="constant") * numpy.float32(size**2))


def _cross(z: Array) -> Array:
    """Sum over the four nearest positions."""
    total = numpy.zeros_like(z)
    total[1:] += z[:-1]
    total[:-1] += z[1:]
    total[:, 1:] += z[:, :-1]
    total[:, :-1] += z[:, 1:]
    return total


def _squashed(x: Array) -> Array:
    """Large values grow like their logarithm only."""
    return numpy.sign(x) * numpy.log1p(numpy.abs(x))
