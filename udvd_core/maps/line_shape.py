"""Gaussian lines with steps over an exponential background, as a model for `udvd_core.maps.scoring.fit`."""

from __future__ import annotations

import dataclasses
import math

import numpy
import scipy.special

from udvd_core.maps.scoring import Doubles

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
FREE = 3  # parameters before those of the lines: log background, its slope, and the step


@dataclasses.dataclass(frozen=True)
class LineShape:
    """Expected counts per channel.

    Parameters of a spectrum: log background at `origin` and its slope (1/eV), height of the step in
    counts per channel, then counts, place (eV) and log sigma (eV) of every line.

    Attributes
    ----------
    half : float
        Half a channel, eV; lines are integrated over channels.
    origin : float
        Energy loss of the first parameter, eV.
    shares : tuple of float
        Share of the step at every line.
    """

    half: float
    origin: float
    shares: tuple[float, ...]

    def __call__(self, energy: Doubles, parameters: Doubles) -> tuple[Doubles, Doubles]:
        """Expected counts (n, E) and derivatives (n, P, E)."""
        away = energy - self.origin
        bare = numpy.exp(numpy.clip(parameters[:, :1] + parameters[:, 1:2] * away, -60.0, 60.0))
        slopes = numpy.empty((*parameters.shape, energy.shape[1]))
        slopes[:, 0], slopes[:, 1], slopes[:, 2] = bare, bare * away, 0.0
        mean, height = bare.copy(), parameters[:, 2:3]
        for k, share in enumerate(self.shares):
            at = FREE + 3 * k
            counts, place, width = (parameters[:, i : i + 1] for i in (at, at + 1, at + 2))
            sigma = numpy.exp(numpy.clip(width, -30.0, 30.0))
            low, middle, high = ((energy + e - place) / sigma for e in (-self.half, 0.0, self.half))
            line = scipy.special.ndtr(high) - scipy.special.ndtr(low)
            at_low, at_middle, at_high = (numpy.exp(-0.5 * u**2) / math.sqrt(2 * math.pi) for u in (low, middle, high))
            rise = scipy.special.ndtr(middle)
            mean += counts * line + height * share * rise
            slopes[:, 2] += share * rise
            slopes[:, at] = line
            slopes[:, at + 1] = (counts * (at_low - at_high) - height * share * at_middle) / sigma
            slopes[:, at + 2] = counts * (low * at_low - high * at_high) - height * share * middle * at_middle
        return mean, slopes


@dataclasses.dataclass(frozen=True)
class Tied:
    """A shape whose parameters are ``base + matrix @ fewer``.

    Attributes
    ----------
    shape : LineShape
        Of P parameters.
    base, matrix : array, shapes (P,) and (P, fewer)
        From few parameters to all.
    """

    shape: LineShape
    base: Doubles
    matrix: Doubles

    def __call__(self, energy: Doubles, parameters: Doubles) -> tuple[Doubles, Doubles]:
        """Expected counts (n, E) and derivatives (n, fewer, E)."""
        mean, slopes = self.shape(energy, self.base + parameters @ self.matrix.T)
        return mean, self.matrix.T @ slopes


def tie(number: int, step: bool) -> Doubles:
    """All parameters by those of a position: log background, its slope, shift, broadening, step, counts."""
    matrix = numpy.zeros((FREE + 3 * number, 4 + step + number))
    matrix[0, 0] = matrix[1, 1] = 1.0
    matrix[FREE + 1 :: 3, 2] = matrix[FREE + 2 :: 3, 3] = 1.0
    if step:
        matrix[2, 4] = 1.0
    matrix[FREE::3, 4 + step :] = numpy.eye(number)
    return matrix
