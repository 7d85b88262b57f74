"""Where noise ends: the largest singular value that a matrix of nothing but noise would have."""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing
import scipy.linalg
import scipy.optimize

Array = numpy.typing.NDArray[numpy.float64]

FAINTEST = 1e-3
"""Noise power of a direction is taken to be no less, by the mean."""


def noise_powers(variances: Array, correlation: typing.Sequence[float] = ()) -> Array:
    """Noise power of independent directions in the space of channels, shape (channels,): eigenvalues of its covariance.

    Parameters
    ----------
    variances : array, shape (channels,)
        Noise variance of each channel.
    correlation : sequence of float
        Correlation between channels at lags 1, 2, ...
    """
    powers = variances
    if any(correlation):
        spread = numpy.sqrt(variances)
        bands = numpy.zeros((1 + len(correlation), variances.size))
        bands[0] = variances
        for lag, value in enumerate(correlation, 1):
            bands[lag, : variances.size - lag] = value * spread[lag:] * spread[: variances.size - lag]
        powers = scipy.linalg.eigvals_banded(bands, lower=True)
    return typing.cast(Array, numpy.maximum(powers, FAINTEST * max(float(variances.mean()), 1e-30)))


def noise_edge(rows: int, powers: Array) -> tuple[float, float]:
    """Square of the largest singular value of noise, and its spread.

    Parameters
    ----------
    rows : int
        Rows of the matrix.
    powers : array, shape (channels,)
        Noise power of independent directions (`noise_powers`).

    Notes
    -----
    ``(sqrt(rows) + sqrt(channels))^2`` where all powers are 1 (Marchenko and Pastur 1967; Johnstone 2001); in
    general El Karoui (2007). In units of the spread noise alone exceeds the edge by 2 in one of a hundred cases
    (Tracy and Widom 1996).
    """
    ratio, largest = powers.size / rows, float(powers.max())

    def moment(at: float, power: int) -> float:
        """Mean of a power of what grows without bound where `at`, from 0 to 1, nears the largest noise."""
        return ratio * float(numpy.mean((powers * at / (largest - powers * at)) ** power))

    at = float(scipy.optimize.brentq(lambda at: moment(at, 2) - 1.0, 1e-9, 1.0 - 1e-9))
    edge = rows * largest / at * (1.0 + moment(at, 1))
    return edge, largest / at * math.cbrt(rows * (1.0 + moment(at, 3)))
