"""How much of a correction held-out counts support, region by region."""

from __future__ import annotations

import dataclasses
import math

import numpy
import numpy.typing

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]

ENERGY_PARTS, SCAN_PARTS = 8, 4
"""Regions along E, and along each scan axis."""
CAUTION = 1.0
"""Standard errors by which the share that passes stays below the one that held-out counts ask for."""
TRUST = 50.0
"""Weight of the whole scan in the share of a region: the expected gain in log-likelihood, doubled, that equals it."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """Share of a correction that passes.

    Attributes
    ----------
    share : array, shape (parts along y, parts along x, parts along E)
        From 0, the guide stands, to 1.
    gain : float
        Expected gain of log-likelihood per thousand pixels.
    """

    share: Array
    gain: float

    def of(self, place: tuple[Index, Index], shape: tuple[int, int], channels: int) -> Singles:
        """Share at positions (y, x) of a scan of this shape, shape (n, 1, channels)."""
        rows = [p * n // size for p, n, size in zip(place, self.share.shape, shape, strict=False)]
        columns = numpy.arange(channels) * self.share.shape[2] // channels
        result: Singles = self.share[rows[0], rows[1]][:, columns].astype(numpy.float32)[:, None]
        return result


CLOSED = Gate(numpy.zeros((1, 1, 1)), 0.0)


def judge(
    missing: Singles,
    correction: Singles,
    held: numpy.typing.NDArray[numpy.bool_],
    place: tuple[Index, Index],
    shape: tuple[int, int],
) -> Gate:
    """Gate from held-out pixels.

    Parameters
    ----------
    missing, correction : array, shape (n, q, E)
        Counts less guide, and what the network would add, in units of the noise; both made without the
        held-out pixels.
    held : bool array, shape (n, q, E)
        The held-out pixels.
    place : (array, array)
        Row and column of the n positions.
    shape : (int, int)
        Rows and columns of the scan.

    Notes
    -----
    For each region the share that is most likely given the held-out counts, a normal likelihood, drawn towards
    what its energies and its positions say alone, and those towards the whole, which stays `CAUTION` standard
    errors on the safe side. Regions thus need no allowance for multiple tests: one that says little follows.
    """
    product = numpy.where(held, missing * correction, 0.0).sum(1, dtype=numpy.float64)
    power = numpy.where(held, correction**2, 0.0).sum(1, dtype=numpy.float64)
    noise = max(float((missing[held] ** 2).mean(dtype=numpy.float64)) if held.any() else 1.0, 1e-12)
    product, power = product / noise, power / noise
    if power.sum() <= 0 or not math.isfinite(float(product.sum())):
        return CLOSED
    total = float(power.sum())
    whole = min(max((float(product.sum()) - CAUTION * math.sqrt(total)) / total, 0.0), 1.0)
    if whole == 0:
        return CLOSED
    parts = (min(SCAN_PARTS, shape[0]), min(SCAN_PARTS, shape[1]), min(ENERGY_PARTS, missing.shape[2]))
    rows = [p * n // size for p, n, size in zip(place, parts, shape, strict=False)]
    columns = numpy.arange(missing.shape[2]) * parts[2] // missing.shape[2]
    sums = numpy.zeros((2, *parts))
    for k, values in enumerate((product, power)):
        numpy.add.at(sums[k], (rows[0][:, None], rows[1][:, None], columns[None]), values)
    by_energy = _drawn(sums.sum((1, 2), keepdims=True), whole)
    by_place = _drawn(sums.sum(3, keepdims=True), whole)
    share = _drawn(sums, numpy.minimum(by_energy * by_place / whole, 1.0))
    gain = float((share * sums[0] - 0.5 * share**2 * sums[1]).sum()) / max(int(held.sum()), 1)
    return Gate(share, 1000.0 * gain)


def _drawn(sums: Array, prior: Array | float) -> Array:
    """Most likely share from sums of product and power (2, ...), drawn towards a prior of weight `TRUST`."""
    share: Array = (sums[0] + TRUST * prior) / (sums[1] + TRUST)
    return share.clip(0.0, 1.0)
