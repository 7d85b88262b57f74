"""A background fitted to every spectrum by Poisson likelihood, and what it is expected to be elsewhere.

The level of a fitted background is such that it has as many counts in the fit windows as the spectrum, so only
the slope has to be sought: one number per spectrum, where ``sum (u - mean of u) counts = 0`` with ``u`` the
derivative of log background by the slope. Where log counts are a line, ``u`` does not depend on the slope,
and the slope is looked up and refined by Newton's steps; else the steps are Fisher's. No logarithm of
counts is taken anywhere, so counts of zero, fractions and small negative values are nothing special.
"""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing

from udvd_core.errors import InputError
from udvd_core.maps.families import Family

Array = numpy.typing.NDArray[typing.Any]
Doubles = numpy.typing.NDArray[numpy.float64]
SlopeVariance = typing.Callable[[Doubles], Doubles]

STEEPEST = 5.0  # e-folds over half the fit windows; measured backgrounds have up to 1.5
RISE, FALL = 2.0, 1e3  # extrapolated counts per channel by the largest in the fit windows: up in energy, down in energy
NEARLY_ZERO = 0.98  # slope of a line that is all but zero at one end of the fit windows
LEAST_ERROR = 1e-3  # of a slope, over half the fit windows
LARGEST_SHIFT = 0.5  # e-folds, where the expansion ends: a dozen counts in the fit windows
EMPTY, TINY = 1e-9, 1e-300  # counts in the fit windows; extrapolated
GRID = 513  # slopes that are looked up
STEPS, PRECISE = 25, 1e-9


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Backgrounds of n spectra.

    Attributes
    ----------
    counts : array, shape (n, channels)
        Expected counts in every channel that was asked for; 0 for a spectrum without counts.
    gradient : array, shape (n, fit channels)
        Derivative of their sum by the counts in the fit windows; along the slope what one standard error up and
        down change on average, within the bounds.
    slope : array, shape (n,)
        Slope of the line by `Family.abscissa`: ``-r`` of a power law, ``-1 / tau`` per eV of an exponential;
        of a linear background the slope by its level in the middle of the fit windows, per eV.
    """

    counts: Doubles
    gradient: Doubles
    slope: Doubles


class Background:
    """A background model between given channels.

    Parameters
    ----------
    family : Family
        The model.
    fit_energies : array, shape (fit channels,), eV
        Where it is fitted, in any order; one or several windows.
    energies : array, shape (channels,), eV
        Where it is wanted.

    Raises
    ------
    InputError
        When there are fewer than two channels to fit, or energies that the model is not defined for.
    """

    def __init__(self, family: Family, fit_energies: Array, energies: Array) -> None:
        fit = family.abscissa(numpy.asarray(fit_energies, dtype=numpy.float64))
        wanted = family.abscissa(numpy.asarray(energies, dtype=numpy.float64))
        if numpy.unique(fit).size < 2:
            raise InputError(
                f"the background is fitted to {fit.size} channel; a line needs at least two: widen the fit window"
            )
        centre, self._half = (fit.max() + fit.min()) / 2, (fit.max() - fit.min()) / 2
        self._log = family.log_counts
        self._fit, self._wanted = (fit - centre) / self._half, (wanted - centre) / self._half
        self._low, self._high = self._bounds() if self._log else (-NEARLY_ZERO, NEARLY_ZERO)
        self._grid = numpy.linspace(self._low, self._high, GRID)
        shape = numpy.exp(self._grid[:, None] * self._fit)
        self._means = (shape @ self._fit) / shape.sum(1)

    def fit(self, counts: Array, slope_variance: SlopeVariance | None = None) -> Fitted:
        """Fit to every spectrum.

        Parameters
        ----------
        counts : array, shape (n, fit channels)
            Counts in the fit windows, in the order of `fit_energies`.
        slope_variance : callable or None
            Variance ``(n,)`` of sums over the fit windows with these weights ``(n, fit channels)``; None for
            Poisson counts. The expected shift of the extrapolation follows from it, and how far its gradient reaches.

        Notes
        -----
        An extrapolated exponential is not linear in the counts: noise shifts its mean. The first-order
        shift (Cox and Snell 1968, here with any variance of the slope) is taken off the exponent, where
        normal errors of the slope act. A line in counts has none. Of a dozen counts the slope is so uncertain that the
        tangent is wrong: far too steep near the steepest rise that is believed, too flat where the background falls
        steeply. So the gradient is that of chords (as in Julier and Uhlmann, Proc. IEEE 92 (2004) 401).
        """
        counts = numpy.asarray(counts, dtype=numpy.float64)
        total = counts.sum(axis=1)
        usable = total > EMPTY
        expected, gradient = numpy.zeros((len(counts), self._wanted.size)), numpy.zeros(counts.shape)
        slopes = numpy.zeros(len(counts))
        if not usable.any():
            return Fitted(expected, gradient, slopes)
        level = total[usable, None]
        slope = self._slopes(counts[usable], level)
        size, mean, centred, moments = self._spread(slope)
        spread = moments[0]
        values = self._shape(slope, self._wanted) * (level / size)
        variance = 1 / (level * spread)
        if slope_variance is not None:
            gradient[usable] = centred / (level * spread)  # of the slope
            variance = slope_variance(gradient)[usable, None]
        before = values.sum(axis=1, keepdims=True)
        steep = level * self._chord(slope, numpy.sqrt(variance), before / level)
        if self._log:
            z = self._wanted - mean
            shift = variance / 2 * (z * (z - moments[1] / spread) - spread)
            values *= numpy.exp(-numpy.clip(shift, -LARGEST_SHIFT, LARGEST_SHIFT))
            steep *= values.sum(axis=1, keepdims=True) / numpy.maximum(before, TINY)
        expected[usable] = values
        gradient[usable] = (values.sum(axis=1, keepdims=True) + steep / spread * centred) / level
        slopes[usable] = slope[:, 0] / self._half
        return Fitted(expected, gradient, slopes)

    def _bounds(self) -> tuple[float, float]:
        """Lowest and highest slope, such that nothing extrapolated grows beyond `RISE` and `FALL`."""
        above, below = max(self._wanted.max() - 1, 1e-9), max(-1 - self._wanted.min(), 1e-9)
        return -min(STEEPEST, math.log(FALL) / below), min(STEEPEST, math.log(RISE) / above)

    def _shape(self, slope: Doubles, x: Doubles) -> Doubles:
        """Counts along `x` up to a factor, shape (n, x), for slopes (n, 1)."""
        return typing.cast(Doubles, numpy.exp(slope * x) if self._log else 1 + slope * x)

    def _chord(self, slope: Doubles, error: Doubles, at: Doubles) -> Doubles:
        """Change of the extrapolated sum per count, now `at`, by the slope, one standard error down to up; (n, 1)."""
        error = numpy.maximum(error, LEAST_ERROR)
        below, above = (
            self._shape(each, self._wanted).sum(axis=1, keepdims=True)
            / self._shape(each, self._fit).sum(axis=1, keepdims=True)
            for each in (numpy.clip(slope + step * error, self._low, self._high) for step in (-1, 1))
        )
        change = numpy.sqrt(((above - at) ** 2 + (at - below) ** 2) / 2)
        return typing.cast(Doubles, numpy.copysign(change, above - below) / error)

    def _spread(self, slope: Doubles) -> tuple[Doubles, Doubles, Doubles, tuple[Doubles, Doubles]]:
        """Sum of the counts in the fit windows up to a factor; the mean of `u` over them; `u` less its mean.

        Last its second and third moments. All have shape ``(n, 1)``, but for ``u`` ``(n, fit channels)``.
        """
        shape = self._shape(slope, self._fit)
        size = shape.sum(axis=1, keepdims=True)
        u = self._fit if self._log else self._fit / shape
        mean = (shape * u).sum(axis=1, keepdims=True) / size
        centred = u - mean
        power = shape * centred * centred
        second = power.sum(axis=1, keepdims=True) / size
        return size, mean, centred, (second, (power * centred).sum(axis=1, keepdims=True) / size)

    def _slopes(self, counts: Doubles, level: Doubles) -> Doubles:
        """Slopes of highest likelihood, shape (n, 1), within the bounds."""
        average = counts @ self._fit[:, None] / level
        if self._log:
            slope = numpy.interp(average, self._means, self._grid)
        else:
            slope = numpy.clip((average - self._fit.mean()) / self._fit.var(), self._low, self._high)
        for _ in range(STEPS):
            _, mean, centred, (spread, _) = self._spread(slope)
            seen = average - mean if self._log else (counts * centred).sum(axis=1, keepdims=True) / level
            step = numpy.clip(seen / spread, -1, 1)
            before, slope = slope, numpy.clip(slope + step, self._low, self._high)
            if numpy.abs(slope - before).max() < PRECISE:
                break
        return typing.cast(Doubles, slope)
