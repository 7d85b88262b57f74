"""Quasi-Poisson likelihood: how well an estimate predicts counts it has not seen."""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing
import scipy.special

from udvd_core.errors import InputError
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Values = numpy.typing.NDArray[numpy.floating]
Bool = numpy.typing.NDArray[numpy.bool_]

LEAST = 1e-3  # times the mean of its channel: no smaller expectation is believed


def floor(counts: Values, visible: Bool | None = None) -> Array:
    """Smallest expected counts per channel that are told from zero, shape (E,), of counts (n, E)."""
    mean = numpy.mean(counts, 0, dtype=numpy.float64, where=True if visible is None else visible | ~visible.any(0))
    overall = max(float(mean.mean()), 1e-9)
    return typing.cast(Array, LEAST * numpy.maximum(mean, LEAST * overall))


def likelihoods(counts: Values, estimate: Values, noise: NoiseModel, least: Values | float = 1e-9) -> Array:
    """Log quasi-likelihood of counts relative to a perfect prediction, same shape; 0 at best.

    Parameters
    ----------
    counts : array, counts
        Fractional and slightly negative ones are welcome.
    estimate : array, same shape, counts
        Expected counts.
    noise : NoiseModel
        Variance ``g m + r`` at mean m.
    least : float or array that fits the shape
        Expectations below it, 0 and below included, are taken as this.

    Notes
    -----
    Minus half the quasi-deviance divided by the gain (Wedderburn 1974; McCullagh and Nelder 1989):
    ``(y' ln m' - m' - y' ln y' + y') / g`` with ``y' = y + r/g, m' = m + r/g``. It is linear in the counts up to a
    term of the counts alone, so that the true mean scores best whatever the distribution of the counts.
    """
    gain, shift = max(noise.gain, 1e-9), noise.read_variance / max(noise.gain, 1e-9)
    y = numpy.asarray(counts, numpy.float64) + shift
    m = numpy.maximum(numpy.asarray(estimate, numpy.float64), least) + shift
    positive = numpy.maximum(y, 0.0)
    return typing.cast(Array, (y * numpy.log(m) - m - scipy.special.xlogy(positive, positive) + y) / gain)


def quasi_likelihood(counts: Values, estimate: Values, noise: NoiseModel, held: Bool) -> float:
    """Mean held-out log quasi-likelihood per pixel, see `likelihoods`; all arrays (n, E).

    Raises
    ------
    InputError
        When the shapes differ or nothing is held out.
    """
    if not counts.shape == estimate.shape == held.shape or not held.any():
        raise InputError(
            f"counts {counts.shape}, estimate {estimate.shape} and held-out pixels {held.shape}"
            f" ({int(held.sum())} of them) do not go together; want equal shapes (n, E) and some pixels"
        )
    least = numpy.broadcast_to(floor(counts, ~held), counts.shape)[held]
    return float(likelihoods(counts[held], estimate[held], noise, least).mean())


def paired_difference(one: Array, two: Array, pixels: Array) -> tuple[float, float]:
    """Difference of two models per pixel, and its standard error.

    Parameters
    ----------
    one, two : array, shape (n,)
        Likelihoods of each model, summed over the held-out pixels of every position.
    pixels : array, shape (n,)
        How many these are.

    Notes
    -----
    The pixels are the same, so what they have in common cancels. Errors come from the scatter between
    positions, within which the noise may be correlated (ratio estimate; Cochran 1977). Infinite for one position.
    """
    total = max(float(pixels.sum()), 1.0)
    each = one - two
    mean = float(each.sum()) / total
    scatter = float(((each - mean * pixels) ** 2).sum())
    return mean, math.sqrt(scatter * len(each) / (len(each) - 1)) / total if len(each) > 1 else math.inf
