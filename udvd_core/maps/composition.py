"""Atomic percent from maps of several edges and their k-factors."""

from __future__ import annotations

import dataclasses
import math
import re
import typing

import numpy

from udvd_core.errors import InputError
from udvd_core.maps.presets import Lines
from udvd_core.maps.scoring import Array, Doubles

CLEAR = 3.0  # standard errors of the atoms of all elements together that a share is taken by
FORM = re.compile(r"\s*(?P<name>.+?)\s*=\s*(?P<value>[^\s+\u00b1]+?)\s*(?:(?:\+-|\u00b1)\s*(?P<sigma>\S+)\s*)?")


@dataclasses.dataclass(frozen=True)
class Factor:
    """What the counts of one map are multiplied by to be as atoms: one over a partial cross-section.

    Attributes
    ----------
    name : str
        The map, for example ``"N K"``.
    value : float
        Atoms per count, in any unit that all factors share.
    sigma : float
        Its standard error, the same at all positions.
    """

    name: str
    value: float
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.value < math.inf and 0 <= self.sigma < math.inf):
            raise InputError(
                f"k-factor of {self.name!r} is {self.value:g} with error {self.sigma:g};"
                " want a number above 0 and an error of at least 0"
            )


def parse_factor(text: str) -> Factor:
    """A factor from ``N K=2.1`` or ``N K=2.1+-0.1``.

    Raises
    ------
    InputError
        When the text is something else.
    """
    found = FORM.fullmatch(text)
    try:
        numbers = (float(found["value"]), float(found["sigma"] or 0.0)) if found else None
    except ValueError:
        numbers = None
    if found is None or numbers is None:
        raise InputError(
            f"k-factor is {text!r}; want a map's name and a number, for example 'N K=2.1' or 'N K=2.1+-0.1'"
        )
    return Factor(found["name"], *numbers)


@dataclasses.dataclass(frozen=True)
class Composition:
    """Shares of K elements.

    Attributes
    ----------
    values : array, shape (K, ...)
        Atomic percent of the elements that are mapped; noise may leave it below 0 or above 100. It is 0 where
        all elements together are not clear.
    sigma : array, same shape
        Standard error from the noise at that position alone; infinite where the elements are not clear.
    common : array, same shape
        Standard error from the errors of the factors: shared by all positions, it does not average away.
    """

    values: Doubles
    sigma: Doubles
    common: Doubles

    def total(self) -> Doubles:
        """Standard error of every single value."""
        return numpy.hypot(self.sigma, self.common)


def composition(counts: Array, covariance: Array, factors: tuple[Factor, ...]) -> Composition:
    """Atomic percent of elements.

    Parameters
    ----------
    counts : array, shape (K, ...)
        Maps of K edges, background and overlaps taken off.
    covariance : array, shape (K, K, ...)
        Of their errors, counts squared; `covariance_of` makes it of standard errors. NaN where not known.
    factors : tuple of Factor
        One for each map.

    Raises
    ------
    InputError
        When there are fewer than two maps, or shapes or numbers differ.

    Notes
    -----
    ``k_i I_i`` by its sum over all elements (Cliff and Lorimer, J. Microsc. 103 (1975) 203), less what noise adds to
    a ratio to second order; errors by first-order propagation.
    """
    number = len(factors)
    if number < 2 or len(counts) != number or covariance.shape != (number, *counts.shape):
        raise InputError(
            f"{number} k-factors are given for maps of shape {counts.shape} with errors of shape {covariance.shape};"
            " want two maps or more of one scan, and a factor for each"
        )
    shape = (number,) + (1,) * (counts.ndim - 1)
    k = numpy.array([factor.value for factor in factors]).reshape(shape)
    atoms = k * counts
    errors = k[:, None] * k * covariance
    total, variance, shared = atoms.sum(0), errors.sum((0, 1)), errors.sum(1)
    with numpy.errstate(invalid="ignore"):  # infinite errors mark positions without a value
        clear = (total > 0) & ~(total < CLEAR * numpy.sqrt(numpy.maximum(variance, 0.0))) & ~numpy.isinf(variance)
    safe = numpy.where(clear, total, 1.0)
    share = atoms / safe
    with numpy.errstate(invalid="ignore"):
        own = numpy.einsum("ii...->i...", errors) - 2 * share * shared + share**2 * variance
        bias = (share * variance - shared) / safe**2
    values = share - numpy.where(numpy.isnan(bias), 0.0, bias)
    common = numpy.zeros(values.shape)
    for other, factor in enumerate(factors):
        of_it = numpy.zeros(shape)
        of_it[other] = 1.0
        common += (factor.sigma * counts[other] * (of_it - share) / safe) ** 2
    sigma = numpy.where(clear, numpy.sqrt(numpy.maximum(own, 0.0)) / safe, numpy.inf)
    return Composition(
        100 * numpy.where(clear, values, 0.0), 100 * sigma, 100 * numpy.where(clear, numpy.sqrt(common), 0.0)
    )


def covariance_of(sigma: Array, names: typing.Sequence[str], lines: typing.Iterable[Lines] = ()) -> Doubles:
    """Covariance of maps from their standard errors.

    Parameters
    ----------
    sigma : array, shape (K, ...)
        Standard errors, counts.
    names : sequence of str
        What the maps are called.
    lines : iterable of Lines
        What was taken off one by the other: such a map falls where the noise of the other lets that rise.

    Returns
    -------
    array, shape (K, K, ...)
        0 between maps that share nothing.
    """
    covariance = numpy.zeros((len(sigma), *sigma.shape))
    for row, each in enumerate(sigma):
        covariance[row, row] = numpy.square(each, dtype=numpy.float64)
    for each in lines:
        if {each.major, each.overlap} <= set(names):
            major, overlap = names.index(each.major), names.index(each.overlap)
            covariance[major, overlap] = covariance[overlap, major] = -covariance[major, major] / each.ratio
    return covariance
