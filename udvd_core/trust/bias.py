"""Where a denoised scan differs from the raw one by more than noise: signal smoothed away, or made up."""

from __future__ import annotations

import dataclasses
import itertools
import math
import typing

import numpy
import numpy.typing
import scipy.special

from udvd_core.errors import InputError
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Index = numpy.typing.NDArray[numpy.int64]
Values = numpy.typing.NDArray[numpy.floating]

POSITIONS = (1, 4, 0)  # side of a block; 0 is the whole scan
CHANNELS = (4, 16, 64)
SIGMAS = 4.0
FALSE = 0.01  # share of the regions named that may be named wrongly
RELEVANT = 0.003  # of the counts of a region
KEPT = 4096  # regions
FEWEST = 0.05  # electrons: no smaller sum of a denoised region is believed


@dataclasses.dataclass(frozen=True)
class Region:
    """A block of positions times a window of channels.

    Attributes
    ----------
    positions : tuple of slice
        One per scan axis.
    channels : slice
    sigma : float
        Raw minus denoised sum, in units of the noise of the sum.
    share : float
        The same as a share of the raw sum (of the denoised where that is larger).
    scale : (int, int)
        Side of the blocks, 0 for the whole scan, and width of the windows that this is one of; those at the border may
        be smaller or larger.
    """

    positions: tuple[slice, ...]
    channels: slice
    sigma: float
    share: float
    scale: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Bias:
    """Sums over regions, raw minus denoised.

    Attributes
    ----------
    scan_shape : tuple of int
    tests : int
        Number of regions, overlapping ones of several sizes included.
    worst : float
        Largest deviation of either sign, sigma.
    rms : dict
        ``"1 x 16"`` (positions along a side, or ``"all"``, times channels) to the root mean square over these
        regions, sigma: 1 for noise alone, below 1 where the denoised scan has followed the raw one.
    found : tuple of Region
        Those beyond 4 sigma that multiple tests do not explain, worst first; at most 4096. One in a hundred may be
        chance.
    certain : float
        Deviation that chance reaches anywhere in one of a hundred scans, sigma.
    """

    scan_shape: tuple[int, ...]
    tests: int
    worst: float
    rms: dict[str, float]
    found: tuple[Region, ...]
    certain: float


def bias(raw: Values, denoised: Values, scan_shape: tuple[int, ...], noise: NoiseModel) -> Bias:
    """Compare sums over regions of several sizes.

    Parameters
    ----------
    raw, denoised : array, shape (n, E), counts
        Spectra in scan order.
    scan_shape : tuple of int
        Positions along every scan axis.
    noise : NoiseModel
        With ``window_factor`` where the noise is correlated along E.

    Notes
    -----
    The deviation of a sum is the signed root of its quasi-Poisson deviance, nearly normal even for few counts where
    ``(raw - denoised) / sqrt(denoised)`` is not (McCullagh and Nelder 1989). Multiple tests: Benjamini and
    Hochberg (1995) at 1 % for `found`, Bonferroni for `certain`. A deviation below 0.3 % of the counts is not named.
    """
    if raw.shape != denoised.shape or raw.ndim != 2 or raw.shape[0] != math.prod(scan_shape):
        raise InputError(
            f"raw spectra have shape {raw.shape}, denoised {denoised.shape}, the scan {scan_shape};"
            " want (n, E) of one scan"
        )
    grids = [numpy.asarray(values, numpy.float64).reshape(*scan_shape, -1) for values in (raw, denoised)]
    found: list[Region] = []
    scales, rms = [], {}
    for block, window in _scales(scan_shape, raw.shape[1]):
        starts = _starts((*scan_shape, raw.shape[1]), block, window)
        sums = [_sums(grid, starts) for grid in grids]
        sigma, share = _deviation(sums[0], sums[1], _sums(numpy.ones(grids[0].shape), starts), window, noise)
        rms[f"{block or 'all'} x {window}"] = float(numpy.sqrt((sigma**2).mean()))
        scales.append(((block, window), starts, sigma, share))
    every = numpy.abs(numpy.concatenate([sigma.ravel() for _, _, sigma, _ in scales]))
    least = max(SIGMAS, _benjamini_hochberg(every))
    for scale, starts, sigma, share in scales:
        where = numpy.flatnonzero((numpy.abs(sigma) >= least) & (numpy.abs(share) >= RELEVANT))
        where = where[numpy.argsort(-numpy.abs(sigma.ravel()[where]), kind="stable")][:KEPT]
        found += _regions(where, starts, (*scan_shape, raw.shape[1]), sigma, share, scale)
    found.sort(key=lambda region: -abs(region.sigma))
    certain = math.sqrt(2.0) * float(scipy.special.erfcinv(FALSE / every.size))
    return Bias(scan_shape, every.size, float(every.max()), rms, tuple(found[:KEPT]), certain)


def _scales(scan_shape: tuple[int, ...], channels: int) -> list[tuple[int, int]]:
    """Block sides and window widths that differ on this scan."""
    blocks = [b for b in POSITIONS if b < max(scan_shape) and (b or max(scan_shape) > 1)] or [0]
    windows = [w for w in CHANNELS if w <= channels] or [channels]
    return list(itertools.product(blocks, windows))


def _starts(shape: tuple[int, ...], block: int, window: int) -> list[Index]:
    """First index of every block along every axis; the axis t of a scan (t, y, x) is not divided."""
    *scan, channels = shape
    divided = [numpy.arange(0, size, block if block and k >= len(scan) - 2 else size) for k, size in enumerate(scan)]
    # a last window of a few channels would be no window: it joins the one before
    return [*divided, numpy.arange(0, max(channels - window // 2, 1), window)]


def _sums(values: Array, starts: list[Index]) -> Array:
    for axis, first in enumerate(starts):
        values = numpy.add.reduceat(values, first, axis)
    return values


def _deviation(raw: Array, denoised: Array, pixels: Array, window: int, noise: NoiseModel) -> tuple[Array, Array]:
    """Deviation of sums in sigma, and as a share of the larger of the two."""
    gain = max(noise.gain, 1e-9)
    factor = getattr(noise, "window_factor", lambda channels: 1.0)(window)
    shift = pixels * noise.read_variance / gain
    least = FEWEST * gain
    y, m = numpy.maximum(raw, 0.0) + shift, numpy.maximum(denoised, least) + shift
    deviance = 2.0 * (scipy.special.xlogy(y, y / m) - (y - m)) / (gain * max(factor, 1e-3))
    larger = numpy.maximum(numpy.maximum(numpy.abs(raw), numpy.abs(denoised)), least)
    sigma = numpy.sign(y - m) * numpy.sqrt(numpy.maximum(deviance, 0.0))
    return sigma, (raw - denoised) / larger


def _benjamini_hochberg(sigma: Array) -> float:
    """Smallest deviation of a list that is not explained by the number of tests; infinite if all are."""
    ordered = numpy.sort(sigma)[::-1]
    chance = scipy.special.erfc(ordered / math.sqrt(2.0))
    passed = numpy.flatnonzero(chance <= FALSE * numpy.arange(1, ordered.size + 1) / ordered.size)
    return float(ordered[passed[-1]]) if passed.size else math.inf


def _regions(
    where: Index, starts: list[Index], shape: tuple[int, ...], sigma: Array, share: Array, scale: tuple[int, int]
) -> typing.Iterator[Region]:
    for flat in where.tolist():
        index = numpy.unravel_index(flat, sigma.shape)
        edges = [
            slice(int(first[i]), int(first[i + 1]) if i + 1 < first.size else size)
            for first, i, size in zip(starts, index, shape, strict=True)
        ]
        yield Region(tuple(edges[:-1]), edges[-1], float(sigma[index]), float(share[index]), scale)
