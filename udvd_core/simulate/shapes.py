"""Line shapes of energy-loss spectra, all along an energy axis in eV."""

from __future__ import annotations

import math

import numpy
import numpy.typing

Array = numpy.typing.NDArray[numpy.float64]

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


def power_law(energy: Array, exponent: float) -> Array:
    """Background that falls with this power of the energy loss, 1 at 100 eV."""
    return (numpy.maximum(energy, 1.0) / 100.0) ** -exponent


def peak(energy: Array, centre: float, fwhm: float) -> Array:
    """Gaussian of unit area; `centre` and `fwhm` in eV."""
    sigma = fwhm / FWHM_PER_SIGMA
    height = 1.0 / (sigma * math.sqrt(2.0 * math.pi))
    return height * numpy.exp(-0.5 * ((energy - centre) / sigma) ** 2)


def tail(energy: Array, fwhm: float) -> Array:
    """Lorentzian of unit area around 0 eV; `fwhm` in eV."""
    return (fwhm / 2 / math.pi) / (energy**2 + (fwhm / 2) ** 2)


def edge(energy: Array, onset: float, width: float) -> Array:
    """Ionisation edge: a step of `width` eV at `onset` eV, then a power law."""
    step = 0.5 + numpy.arctan((energy - onset) / width) / math.pi
    step *= 0.5 * (1.0 + numpy.tanh((energy - onset + 3.0) / 1.0))
    return step * (numpy.maximum(energy, onset) / onset) ** -4.0
