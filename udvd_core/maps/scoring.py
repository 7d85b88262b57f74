"""Many spectra fitted at once by Poisson likelihood: Fisher scoring with a damped step for every spectrum.

Counts with gain ``g`` and read variance ``r`` have variance ``g (mean + r / g)``. Their quasi-likelihood
is that of Poisson counts with ``r / g`` added to counts and mean alike, and its curvature is divided by
``g``; so one likelihood serves counting and integrating cameras.
"""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[typing.Any]
Doubles = numpy.typing.NDArray[numpy.float64]
Bools = numpy.typing.NDArray[numpy.bool_]

Shape = typing.Callable[[Doubles, Doubles], tuple[Doubles, Doubles]]
"""Expected counts (n, E) and their derivatives (n, P, E) at energies (n, E) for parameters (n, P)."""

Propagation = typing.Callable[[Doubles, slice], Doubles]
"""Covariance (m, P, P) of what was fitted to some spectra from its derivatives (m, P, E) by their counts."""

ROUNDS = 40
CLOSE = 1e-4  # of a squared standard error, left to the maximum
FAINTEST = 1e-3  # of the mean counts; a smaller expectation counts as this much
VALUES = 1 << 21  # derivatives in one chunk


@dataclasses.dataclass(frozen=True)
class Fit:
    """What was fitted to n spectra.

    Attributes
    ----------
    parameters : array, shape (n, P)
        Where the likelihood is highest.
    covariance : array, shape (n, P, P)
        Covariance of their errors, with the correlation of the noise between channels.
    converged : bool array, shape (n,)
        Whether the maximum was reached and the spectrum determines every parameter.
    """

    parameters: Doubles
    covariance: Doubles
    converged: Bools


def check_spectra(spectra: Array, energy: Axis) -> None:
    """Refuse spectra that do not fit an energy axis in eV.

    Raises
    ------
    InputError
        When the shape is not (n, E), the axis is not in eV and rising, or a value is not finite.
    """
    if spectra.ndim != 2 or spectra.shape[1] != energy.size or not spectra.shape[0]:
        raise InputError(f"spectra have shape {spectra.shape}; want (n, {energy.size}), as the energy axis")
    if energy.units != "eV" or energy.scale <= 0:
        raise InputError(
            f"the energy axis has steps of {energy.scale:g} {energy.units or 'without a unit'};"
            " want rising energies in eV: calibrate it"
        )
    if not numpy.isfinite(spectra).all():
        raise InputError("spectra hold values that are not finite; want counts: repair dead pixels first")


def shifted(noise: NoiseModel) -> tuple[float, float]:
    """Gain, and the counts to add so that counts over gain are as Poisson counts are."""
    gain = max(noise.gain, 1e-6)
    return gain, noise.read_variance / gain


def sandwich(derivatives: Doubles, mean: Doubles, information: Doubles, noise: NoiseModel) -> tuple[Doubles, Bools]:
    """Covariance of parameters whose estimate has this information, shape (n, P, P), and where it exists.

    Parameters
    ----------
    derivatives : array, shape (n, P, E)
        Of the expected counts by every parameter.
    mean : array, shape (n, E)
        Expected counts with the shift of `shifted`.
    information : array, shape (n, P, P)
        Of Poisson counts.
    noise : NoiseModel
        Gain and correlation along E.

    Notes
    -----
    White (1982): the inverse information on either side of the covariance of the score.
    """
    score = derivatives / numpy.sqrt(mean)[:, None]
    middle = information.copy()
    for lag, share in enumerate(noise.correlation, 1):
        if lag < mean.shape[1]:
            half = share * (score[..., lag:] @ score[..., :-lag].swapaxes(1, 2))
            middle += half + half.swapaxes(1, 2)
    inverse, regular = inverted(information)
    return shifted(noise)[0] * (inverse @ middle @ inverse), regular


def inverted(information: Doubles) -> tuple[Doubles, Bools]:
    """Inverse of information, shape (n, P, P), and where it exists."""
    scale = numpy.sqrt(numpy.maximum(numpy.einsum("npp->np", information), 1e-300))
    scaled = information / scale[:, :, None] / scale[:, None, :]
    regular = numpy.linalg.eigvalsh(scaled)[:, 0] > 1e-9
    scaled[~regular] = numpy.eye(scale.shape[1])
    return numpy.linalg.inv(scaled) / scale[:, :, None] / scale[:, None, :], regular


def fit(
    counts: Array,
    energy: Doubles,
    shape: Shape,
    start: Doubles,
    noise: NoiseModel,
    *,
    inside: Bools | None = None,
    precision: Doubles | None = None,
    propagation: Propagation | None = None,
) -> Fit:
    """Fit a shape to every spectrum.

    Parameters
    ----------
    counts : array, shape (n, E)
        Counts.
    energy : array, shape (n, E) or (E,)
        Energy loss of every channel, eV.
    shape : Shape
        Model of the expected counts.
    start : array, shape (n, P)
        Parameters to start from.
    noise : NoiseModel
        Noise of the counts.
    inside : bool array, shape (n, E), optional
        Channels that are fitted; all without it.
    precision : array, shape (P,), optional
        How firmly each parameter is held at its start, one over a variance; for those that a few
        counts cannot tell.
    propagation : Propagation, optional
        For denoised spectra: gives the covariance from the errors that these have, through the change of
        the parameters with the counts. Without it that of counts with `noise` is taken.

    Notes
    -----
    Levenberg-Marquardt steps on the Poisson likelihood with the expected information; a step that
    lowers the likelihood is taken back and damped more. Parameters change with the counts by one step
    of Fisher scoring, the inverse information times the score.
    """
    number, size = start.shape
    gain, shift = shifted(noise)
    held = numpy.zeros(size) if precision is None else gain * precision
    parameters, covariance = start.astype(numpy.float64), numpy.empty((number, size, size))
    converged = numpy.zeros(number, dtype=numpy.bool_)
    step = max(1, VALUES // (size * counts.shape[1]))
    for low in range(0, number, step):
        part = slice(low, min(low + step, number))
        y = numpy.asarray(counts[part], dtype=numpy.float64) + shift
        at = numpy.broadcast_to(energy if energy.ndim == 1 else energy[part], y.shape)
        used = numpy.ones(y.shape) if inside is None else inside[part].astype(numpy.float64)
        problem = _Problem(y, at, used, shape, gain, shift, start[part], held)
        parameters[part], done = problem.climb()
        covariance[part], regular = problem.covariance(parameters[part], noise, propagation, part)
        converged[part] = done & regular
    return Fit(parameters, covariance, converged)


@dataclasses.dataclass(frozen=True)
class _Problem:
    """One chunk of spectra, counts already shifted."""

    counts: Doubles
    energy: Doubles
    used: Doubles
    shape: Shape
    gain: float
    shift: float
    start: Doubles
    held: Doubles

    def at(self, parameters: Doubles, which: typing.Any) -> tuple[Doubles, Doubles, Doubles]:
        """Likelihood (m,), expected counts (m, E) and derivatives (m, P, E) of some of the spectra."""
        counts, used = self.counts[which], self.used[which]
        mean, slopes = self.shape(self.energy[which], parameters)
        mean = mean + self.shift
        floor = FAINTEST * abs(counts * used).sum(1) / numpy.maximum(used.sum(1), 1) + 1e-9
        low = mean < floor[:, None]
        mean = numpy.where(low, floor[:, None], mean)
        slopes = slopes * (used * ~low)[:, None]
        away = parameters - self.start[which]
        unit = max(self.shift, 1.0)  # with it, a difference of two values is exact under much read noise too
        value = (used * (counts * numpy.log(mean / unit) - (mean - unit))).sum(1) - 0.5 * (self.held * away**2).sum(1)
        return value, mean, slopes

    def climb(self) -> tuple[Doubles, Bools]:
        """Parameters where the likelihood is highest, and whether that was reached."""
        number, size = self.start.shape
        parameters = self.start.astype(numpy.float64)
        damping, done = numpy.full(number, 1e-2), numpy.zeros(number, dtype=numpy.bool_)
        value, mean, slopes = self.at(parameters, slice(None))
        for _ in range(ROUNDS):
            todo = numpy.flatnonzero(~done)
            if not todo.size:
                break
            slope, expected, now = slopes[todo], mean[todo], parameters[todo]
            score = (slope @ (self.counts[todo] / expected - 1)[..., None])[..., 0]
            score -= self.held * (now - self.start[todo])
            information = (slope / expected[:, None]) @ slope.swapaxes(1, 2) + numpy.diag(self.held)
            diagonal = numpy.einsum("npp->np", information)
            diagonal += damping[todo, None] * diagonal + 1e-12 * diagonal.max(1, keepdims=True) + 1e-12
            move = numpy.linalg.solve(information, score[..., None])[..., 0]
            tried = self.at(now + move, todo)
            better = tried[0] >= value[todo] - 1e-6 * self.gain
            taken = todo[better]
            parameters[taken] += move[better]
            for kept, new in zip((value, mean, slopes), tried, strict=True):
                kept[taken] = new[better]
            gained = (move * score).sum(1)
            damping[todo] = numpy.clip(damping[todo] * numpy.where(better, 0.2, 6.0), 1e-9, 1e9)
            done[todo] = gained < CLOSE * self.gain * numpy.where(better, 1.0, 1e-3)
        return parameters, done

    def covariance(
        self, parameters: Doubles, noise: NoiseModel, propagation: Propagation | None, part: slice
    ) -> tuple[Doubles, Bools]:
        """Covariance (m, P, P) of the errors of parameters, and where it exists; `part` is where the spectra lie."""
        mean, slopes = self.at(parameters, slice(None))[1:]
        information = (slopes / mean[:, None]) @ slopes.swapaxes(1, 2) + numpy.diag(self.held)
        if propagation is None:
            return sandwich(slopes, mean, information, noise)
        inverse, regular = inverted(information)
        return propagation(inverse @ (slopes / mean[:, None]), part), regular


def standard_error(variance: Doubles, known: Bools) -> Doubles:
    """Square root of a variance; infinite where nothing is known."""
    return numpy.where(known, numpy.sqrt(numpy.maximum(variance, 0.0)), math.inf)
