"""Maps and spectra of known noise, denoised by what their own blocks have in common.

Every overlapping block is taken into its cosine transform. How large a coefficient usually is, all blocks
tell together: a mixture of normal distributions per coefficient, fitted by expectation maximisation
(empirical Bayes), whose posterior mean replaces it. Lattices give few strong coefficients, domains and
edges give rare ones, noise gives none. Stein's unbiased estimate of the risk then weighs the block sizes.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import typing

import numpy
import numpy.typing
import scipy.fft
import scipy.linalg

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]
Lags = typing.Sequence[float]

SPREADS = numpy.array([0, 0.2, 0.5, 1, 2, 5, 10, 30, 100, 300, 1e3, 1e4, 1e5, 1e6, 1e8])
"""Signal variances of the mixture, in units of the noise variance."""
FACTORS = SPREADS / (1 + SPREADS)
BIN_RATIO, BIN_START, BINS = 1.18, 0.02, 140
"""Squared coefficients are counted in bins that grow by this ratio, from this value on."""
SPIKE, FLAT = 20.0, 0.05
"""Prior blocks for "no signal", and for each other spread."""
MEMBERS = 5.0
"""Blocks that the mixture of a frequency band weighs in that of its coefficients."""
ROUNDS = 25
SHARPNESS = 20.0
"""How sharply the estimated risk per sample decides between block sizes."""
BLOCKS_AT_MOST = 4096
"""Beyond so many blocks they overlap by three quarters only, not by all but one sample."""

_CENTRES = numpy.concatenate(([BIN_START / 2], BIN_START * BIN_RATIO ** (numpy.arange(BINS) + 0.5)))
_LIKELIHOOD = numpy.exp(
    (lambda log: log - log.max(1, keepdims=True))(
        -0.5 * _CENTRES[:, None] / (1 + SPREADS) - 0.5 * numpy.log(1 + SPREADS)
    )
)


@dataclasses.dataclass(frozen=True)
class Shrunk:
    """A denoised array, its estimated mean squared error, and its answer to its own sample's noise.

    `answer`, in the shape of `estimate`, is the mean answer of the blocks that a sample lies in.
    """

    estimate: Array
    risk: float
    answer: Array


def smooth(x: Array, sizes: typing.Sequence[int], *correlation: Lags) -> Shrunk:
    """Denoise with blocks of several sizes; those of lower estimated risk weigh more.

    Parameters
    ----------
    x : array, one to three axes, noise of unit variance
        A map ``(y, x)``, or a spectrum ``(E,)``.
    sizes : sequence of int
        Samples of a block along every axis; those longer than the array are cut.
    *correlation : sequence of float
        Correlation of the noise at lags 1, 2, ... along the last axis, along the one before it, ...

    Returns
    -------
    Shrunk
        Estimate in the shape of `x`.
    """
    usable = [n for k, n in enumerate(sizes) if k == 0 or n <= max(x.shape)]
    each = [shrink(x, tuple(min(n, size) for size in x.shape), *correlation) for n in usable]
    risk = numpy.array([one.risk for one in each])
    weight = numpy.exp(-numpy.minimum((risk - risk.min()) * SHARPNESS, 50.0))
    weight /= weight.sum()
    estimate = sum(w * one.estimate for w, one in zip(weight, each, strict=True))
    answer = sum(w * one.answer for w, one in zip(weight, each, strict=True))
    return Shrunk(numpy.asarray(estimate), float(weight @ risk), numpy.asarray(answer))


def smooth_counts(values: Array, unit: float, sizes: typing.Sequence[int], *correlation: Lags) -> Array:
    """Denoise values, not negative, whose variance is `unit` times themselves (Anscombe 1948); else as `smooth`."""
    if unit <= 0:
        return values
    root = 2.0 * numpy.sqrt(numpy.maximum(values, 0.0) / unit + 0.375)
    level = float(root.mean())
    smoothed = smooth(root - level, sizes, *correlation).estimate + level
    return unit * (numpy.maximum(smoothed, 0.0) ** 2 / 4.0 - 0.125)


def shrink(x: Array, block: tuple[int, ...], *correlation: Lags) -> Shrunk:
    """Denoise with overlapping blocks of one size; parameters as for `smooth`.

    Notes
    -----
    Cost about ``samples x size of a block x log``, less where blocks are many (`BLOCKS_AT_MOST`).
    Empirical Bayes after Robbins (1956) and Johnstone and Silverman (2005); risk after Stein (1981);
    averaging over shifts after Coifman and Donoho (1995).
    """
    strides, pads = _layout(x.shape, block)
    padded = numpy.pad(x.astype(numpy.float32), pads, mode="symmetric")
    windows = numpy.lib.stride_tricks.sliding_window_view(padded, block)
    windows = windows[tuple(slice(None, None, s) for s in strides)]
    axes = tuple(range(x.ndim, 2 * x.ndim))
    coefficients = scipy.fft.dctn(windows, axes=axes, norm="ortho")
    scale = numpy.sqrt(_noise_variance(block, correlation)).astype(numpy.float32)
    c = coefficients.reshape(-1, scale.size) / scale
    factor, slope = _posterior(c, block, max(1.0, x.size / scale.size))
    slope += factor
    missed = (1.0 - factor) * c
    error = numpy.einsum("bk,bk->k", missed, missed) / len(c) + 2.0 * slope.mean(0, dtype=numpy.float64) - 1.0
    of_block = slope.mean(1).reshape(windows.shape[: x.ndim])
    c *= factor
    c *= scale
    back = scipy.fft.idctn(c.reshape(coefficients.shape), axes=axes, norm="ortho")
    total = numpy.zeros(padded.shape)
    for offset in itertools.product(*(range(n) for n in block)):
        part = tuple(slice(o, o + s * (n - 1) + 1, s) for o, s, n in zip(offset, strides, windows.shape, strict=False))
        total[part] += back[(Ellipsis, *offset)]
    times, answer = (_summed(each, padded.shape, block, strides) for each in (numpy.ones(of_block.shape), of_block))
    inner = tuple(slice(before, before + n) for (before, _), n in zip(pads, x.shape, strict=True))
    return Shrunk((total / times)[inner], float((error * scale**2).mean()), (answer / times)[inner])


def _summed(values: Array, shape: tuple[int, ...], block: tuple[int, ...], strides: list[int]) -> Array:
    """Sum of one value per block over the blocks that each sample lies in, in the padded shape."""
    for axis, (size, length, stride) in enumerate(zip(shape, block, strides, strict=True)):
        along = numpy.moveaxis(values, axis, 0)
        wide = numpy.zeros((size, *along.shape[1:]))
        for offset in range(length):
            wide[offset : offset + stride * (len(along) - 1) + 1 : stride] += along
        values = numpy.moveaxis(wide, 0, axis)
    return values


def _layout(shape: tuple[int, ...], block: tuple[int, ...]) -> tuple[list[int], list[tuple[int, int]]]:
    """Stride of the blocks and padding before and after, along every axis; blocks cover all samples alike."""
    count = math.prod(n + b - 1 if b < n else 1 for n, b in zip(shape, block, strict=True))
    strides = [max(1, b // 4) if count > BLOCKS_AT_MOST else 1 for b in block]
    pads = []
    for n, b, s in zip(shape, block, strides, strict=True):
        before = b - s if b < n else 0
        pads.append((before, before + (-(n + 2 * before - b)) % s if b < n else 0))
    return strides, pads


def _noise_variance(block: tuple[int, ...], correlation: typing.Sequence[Lags]) -> Array:
    """Noise variance of every coefficient of a block, shape (coefficients,); correlation along the last axis first."""
    variance = numpy.ones(())
    for axis, length in enumerate(reversed(block)):
        along = numpy.ones(length)
        if axis < len(correlation) and any(correlation[axis]):
            column = numpy.zeros(length)
            column[0], taken = 1.0, list(correlation[axis])[: length - 1]
            column[1 : 1 + len(taken)] = taken
            basis = scipy.fft.dct(numpy.eye(length), axis=0, norm="ortho")
            along = numpy.maximum(numpy.einsum("ij,jk,ik->i", basis, scipy.linalg.toeplitz(column), basis), 1e-3)
        variance = numpy.multiply.outer(along, variance)
    return variance.reshape(-1)


def _posterior(c: Singles, block: tuple[int, ...], independent: float) -> tuple[Singles, ...]:
    """Posterior mean over value, and ``value x slope`` of it, of every coefficient; shape of `c`.

    `independent` is how many blocks there are that share no sample.
    """
    place = c * c
    with numpy.errstate(divide="ignore"):
        numpy.log(place, out=place)
    place *= 1.0 / math.log(BIN_RATIO)
    place += 1.0 - math.log(BIN_START) / math.log(BIN_RATIO)
    count = c.shape[1]
    at = numpy.clip(place, 0, BINS, out=place).astype(numpy.int64)
    at += numpy.arange(count) * (BINS + 1)
    histogram = numpy.bincount(at.reshape(-1), minlength=count * (BINS + 1)).reshape(count, BINS + 1)
    mixture = _mixtures(histogram * (independent / c.shape[0]), block)
    table = (mixture * FACTORS) @ _LIKELIHOOD.T / numpy.maximum(mixture @ _LIKELIHOOD.T, 1e-300)
    slope = 2 * numpy.gradient(table, numpy.log(_CENTRES), axis=1)
    return tuple(each.astype(numpy.float32).reshape(-1)[at] for each in (table, slope))


def _mixtures(histogram: Array, block: tuple[int, ...]) -> Array:
    """Weights of the spreads for every coefficient; coefficients of like frequency support each other."""
    grid = numpy.meshgrid(*(numpy.arange(n) / n for n in block), indexing="ij")
    frequency = numpy.sqrt(sum(g**2 for g in grid)).reshape(-1)
    band = numpy.where(frequency == 0, 0, 1 + numpy.minimum((8 * frequency).astype(int), 9))
    _, band = numpy.unique(band, return_inverse=True)
    prior = numpy.concatenate(([SPIKE], numpy.full(SPREADS.size - 1, FLAT)))
    sums = (band == numpy.arange(band.max() + 1)[:, None]).astype(numpy.float64) @ histogram
    return _maximise(histogram, MEMBERS * _maximise(sums, prior)[band] + 0.02 * prior)


def _maximise(histogram: Array, prior: Array) -> Array:
    """Weights of the spreads that make the counts likely, shape (..., spreads): expectation maximisation."""
    weights: Array = prior / prior.sum(-1, keepdims=True)
    filled = histogram.any(0)
    histogram, likelihood = histogram[:, filled], _LIKELIHOOD[filled]
    for _ in range(ROUNDS):
        density = numpy.maximum(weights @ likelihood.T, 1e-300)
        weights = weights * ((histogram / density) @ likelihood) + prior
        weights /= weights.sum(-1, keepdims=True)
    return weights
