"""Edges that overlap: one element's minor lines taken off another's map by a fixed ratio.

`udvd_core.maps.unmix` is for overlaps that no ratio tells apart.
"""

from __future__ import annotations

import dataclasses
import math

import numpy

from udvd_core.errors import InputError
from udvd_core.maps.scoring import Array, Bools, Doubles

CLEAR = 5.0  # standard errors of the counts that a ratio is measured by


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Counts of some lines by the counts of others, the same at all positions.

    Attributes
    ----------
    value, sigma : float
        The ratio and its standard error.
    """

    value: float
    sigma: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and 0 <= self.sigma < math.inf):
            raise InputError(
                f"ratio is {self.value:g} with error {self.sigma:g}; want finite numbers, no error below 0"
            )

    def inverse(self) -> Ratio:
        """The others by the one: of Ce M45 by M23, 10.3 with error 0.1, it is 0.0971 with error 0.0009."""
        if self.value == 0:
            raise InputError("ratio is 0, which has no inverse; want the counts of two edges that are both there")
        return Ratio(1 / self.value, self.sigma / self.value**2)


@dataclasses.dataclass(frozen=True)
class Corrected:
    """A map with another edge's lines taken off.

    Attributes
    ----------
    values : array, any shape
        Counts.
    sigma : array, same shape
        Standard error from the noise at that position alone.
    common : array, same shape
        By how much the value falls where the ratio is one standard error higher: this error is shared
        by all positions, so it does not average away.
    """

    values: Doubles
    sigma: Doubles
    common: Doubles

    def total(self) -> Doubles:
        """Standard error of every single value."""
        return numpy.hypot(self.sigma, self.common)

    def mean(self, mask: Bools) -> tuple[float, float]:
        """Mean over marked positions and its standard error, for noise that positions do not share.

        Raises
        ------
        InputError
            When the mask has another shape or marks nothing.
        """
        _check_mask(mask, self.values)
        own = math.sqrt(float((self.sigma[mask] ** 2).sum())) / int(mask.sum())
        return float(self.values[mask].mean()), math.hypot(own, float(self.common[mask].mean()))


def measure_ratio(
    minor: Array, minor_sigma: Array, major: Array, major_sigma: Array, mask: Bools, covariance: Array | float = 0.0
) -> Ratio:
    """Measure a ratio where nothing else is: the counts in `minor`'s window by those in `major`'s.

    Parameters
    ----------
    minor, minor_sigma, major, major_sigma : array, any equal shape
        Two maps of one element and their standard errors, counts.
    mask : bool array, same shape
        Positions without the other element.
    covariance : array or float
        Covariance of the two maps' errors, counts squared.

    Raises
    ------
    InputError
        When shapes differ, or the marked positions together do not hold the major lines clearly.

    Notes
    -----
    Ratio of sums, less its bias to second order (Beale 1962); error by first-order propagation.
    """
    _check_equal(minor, minor_sigma, major, major_sigma)
    _check_mask(mask, minor)
    top, bottom = (float(m[mask].sum(dtype=numpy.float64)) for m in (minor, major))
    v, w = (float((s[mask].astype(numpy.float64) ** 2).sum()) for s in (minor_sigma, major_sigma))
    shared = float(numpy.broadcast_to(covariance, minor.shape)[mask].sum())
    if bottom <= CLEAR * math.sqrt(w):
        raise InputError(
            f"the {int(mask.sum())} marked positions hold {bottom:.4g} counts of the main lines with an error of"
            f" {math.sqrt(w):.2g}; want {CLEAR:g} times the error: mark more positions where the element is"
        )
    ratio = (top + shared / bottom) / bottom / (1 + w / bottom**2)
    return Ratio(ratio, math.sqrt(max(v - 2 * ratio * shared + ratio**2 * w, 0.0)) / bottom)


def subtract_lines(
    overlap: Array,
    overlap_sigma: Array,
    major: Array,
    major_sigma: Array,
    ratio: Ratio,
    covariance: Array | float = 0.0,
) -> Corrected:
    """Take an element's minor lines off a map, as its major lines tell how many counts they have.

    Parameters
    ----------
    overlap, overlap_sigma : array, any shape
        Map of a window that holds both elements, and its standard error, counts.
    major, major_sigma : array, same shape
        Map of the major lines of the element that is taken off, and its standard error, counts.
    ratio : Ratio
        Minor lines by major lines.
    covariance : array or float
        Covariance of the two maps' errors, counts squared.

    Raises
    ------
    InputError
        When shapes differ or a value is not finite.

    Notes
    -----
    Supplement S4 of the paper: Gd M45 from its window 1165 to 1285 eV (background 1065 to 1165 eV)
    less Ce M23, which is Ce M45 (840 to 960 eV, background 800 to 840 eV) divided by 10.3 +- 0.1.
    """
    _check_equal(overlap, overlap_sigma, major, major_sigma)
    top, bottom = (numpy.asarray(m, dtype=numpy.float64) for m in (overlap, major))
    variance = numpy.square(overlap_sigma, dtype=numpy.float64) - 2 * ratio.value * numpy.asarray(covariance)
    variance = variance + ratio.value**2 * numpy.square(major_sigma, dtype=numpy.float64)
    return Corrected(top - ratio.value * bottom, numpy.sqrt(numpy.maximum(variance, 0.0)), ratio.sigma * bottom)


def _check_equal(*maps: Array) -> None:
    if len({m.shape for m in maps}) != 1:
        raise InputError(f"maps and errors have shapes {', '.join(str(m.shape) for m in maps)}; want the same")
    if not all(numpy.isfinite(m).all() for m in maps):
        raise InputError("a map or its error holds values that are not finite; want counts: leave such positions out")


def _check_mask(mask: Bools, values: Array) -> None:
    if mask.shape != values.shape or mask.dtype != numpy.bool_ or not mask.any():
        raise InputError(
            f"region has shape {mask.shape} and marks {int(mask.sum())} positions; want shape {values.shape},"
            " True or False, and at least one True"
        )
