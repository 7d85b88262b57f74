"""What a denoised scan leaves of the raw one: nothing but noise, if it is right."""

from __future__ import annotations

import dataclasses
import math

import numpy
import numpy.typing

from udvd_core.errors import InputError
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Values = numpy.typing.NDArray[numpy.floating]

LAGS = 3
SIGNIFICANT = 4.0  # standard errors
RELEVANT = 0.02  # smaller deviations are no reason for distrust
AXES = ("t", "y", "x")


@dataclasses.dataclass(frozen=True)
class Check:
    """A measured value beside the one that pure noise would have.

    Attributes
    ----------
    name : str
    value, expected, error : float
        The standard error is that of the difference.
    """

    name: str
    value: float
    expected: float
    error: float

    @property
    def off(self) -> bool:
        """Whether it differs by more than 4 standard errors, and by enough to matter."""
        return abs(self.value - self.expected) > max(SIGNIFICANT * self.error, RELEVANT)


@dataclasses.dataclass(frozen=True)
class Whiteness:
    """Variance of the residual in units of the noise, and its correlations.

    Attributes
    ----------
    variance : Check
        Below 1: noise has come through into the denoised scan. Above 1: signal is missing there.
    energy : tuple of Check
        Correlation along E at lags 1, 2, 3; charge spreading makes some of it.
    scan : tuple of Check
        Correlation between neighbours along each scan axis.
    """

    variance: Check
    energy: tuple[Check, ...]
    scan: tuple[Check, ...]

    @property
    def noise_left(self) -> float:
        """Share of the raw noise that the denoised scan still holds, 0 to 1, if it holds the whole signal."""
        return min(max(1.0 - math.sqrt(max(self.variance.value, 0.0)), 0.0), 1.0)

    @property
    def checks(self) -> tuple[Check, ...]:
        """All of them."""
        return (self.variance, *self.energy, *self.scan)


def difference(raw: Values, denoised: Values, noise: NoiseModel) -> Array:
    """Raw minus denoised in units of the noise that the denoised value lets expect; same shape.

    Raises
    ------
    InputError
        When the shapes differ.
    """
    if raw.shape != denoised.shape:
        raise InputError(f"raw scan has shape {raw.shape} and denoised {denoised.shape}; want the same scan")
    mean = numpy.asarray(denoised, numpy.float64)
    return (raw - mean) / numpy.sqrt(noise.variance(mean))


def whiteness(raw: Values, denoised: Values, scan_shape: tuple[int, ...], noise: NoiseModel) -> Whiteness:
    """Check whether the residual is nothing but noise.

    Parameters
    ----------
    raw, denoised : array, shape (n, E), counts
        Spectra in scan order.
    scan_shape : tuple of int
        Positions along every scan axis.
    noise : NoiseModel

    Notes
    -----
    Errors come from the scatter between positions, so that few counts and correlated noise are allowed for; that
    of the variance is doubled (as a variance), as the noise was measured on the same scan. A denoised scan that has
    seen all counts takes up a few per cent of them (its degrees of freedom) even when it is right.
    """
    rest = difference(raw, denoised, noise)
    each = (rest**2).mean(1)
    variance = float(each.mean())
    scatter = float(each.std(ddof=1)) if len(each) > 1 else math.sqrt(2.0 / rest.shape[1])
    errors = scatter * math.sqrt(2.0 / len(each))
    lags: tuple[float, ...] = getattr(noise, "correlation", ())
    along = []
    for lag in range(1, min(LAGS, rest.shape[1] - 1) + 1):
        expected = lags[lag - 1] if lag <= len(lags) else 0.0
        products = (rest[:, lag:] * rest[:, :-lag]).mean(1)
        along.append(_correlation(f"along E, lag {lag}", products, expected, each))
    grid = rest.reshape(*scan_shape, -1)
    between = []
    for axis, size in enumerate(scan_shape):
        if size > 1:
            moved = numpy.moveaxis(grid, axis, 0)
            products = (moved[1:] * moved[:-1]).mean(-1).ravel()
            name = AXES[len(AXES) - len(scan_shape) + axis]
            between.append(_correlation(f"between neighbours along {name}", products, 0.0, each))
    return Whiteness(Check("variance", variance, 1.0, errors), tuple(along), tuple(between))


def _correlation(name: str, products: Array, expected: float, squares: Array) -> Check:
    variance = max(float(squares.mean()), 1e-12)
    return Check(
        name, float(products.mean()) / variance, expected, float(products.std()) / math.sqrt(len(products)) / variance
    )
