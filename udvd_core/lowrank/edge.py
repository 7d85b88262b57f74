"""Where noise ends: the largest singular value that a matrix of nothing but noise would have."""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing
import scipy.optimize

Array = numpy.typing.NDArray[numpy.float64]


def noise_powers(channels: int, correlation: typing.Sequence[float] = ()) -> Array:
    """Noise power at frequencies along E, shape (channels,), 1 on average.

    Parameters
    ----------
    correlation : sequence of float
        Correlation between channels at lags 1, 2, ...
    """
    angle = math.pi * (numpy.arange(channels) + 0.5) / channels
    power = numpy.ones(channels)
    for lag, value in enumerate(correlation, 1):
        power += 2.0 * value * numpy.cos(lag * angle)
    return numpy.maximum(power, 1e-3)


def noise_edge(rows: int, channels: int, correlation: typing.Sequence[float] = ()) -> float:
    """Largest singular value of noise of unit variance, shape (rows, channels).

    Notes
    -----
    ``sqrt(rows) + sqrt(channels)`` for white noise (Marchenko and Pastur 1967); for noise that is
    correlated along E the right edge of Silverstein and Choi (1995).
    """
    if not any(correlation):
        return math.sqrt(rows) + math.sqrt(channels)
    powers, ratio = noise_powers(channels, correlation), channels / rows

    def value(m: float) -> float:
        return float(-1.0 / m + ratio * numpy.mean(powers / (1.0 + powers * m)))

    lowest = -1.0 / float(powers.max())
    best = scipy.optimize.minimize_scalar(value, bounds=(lowest * (1 - 1e-6), lowest * 1e-6), method="bounded")
    return math.sqrt(rows * float(best.fun))


def excess(singular: float, rows: int, channels: int, correlation: typing.Sequence[float] = ()) -> float:
    """How far a singular value lies beyond the edge of noise, in units of its spread.

    Noise alone exceeds 2 in one of a hundred cases (Tracy and Widom 1996; Johnstone 2001).
    """
    edge = noise_edge(rows, channels, correlation)
    spread = edge * (1.0 / math.sqrt(rows) + 1.0 / math.sqrt(channels)) ** (1.0 / 3.0)
    return float((singular**2 - edge**2) / spread)
