"""Simulated low-loss scans: plural scattering in a wedge, and a plasmon that moves from place to place.

The arguments are those of `udvd_core.simulate.simulate_hbn`.
"""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.simulate.sample import Sample, from_spectra
from udvd_core.simulate.shapes import FWHM_PER_SIGMA
from udvd_core.simulate.textures import blurred

Array = numpy.typing.NDArray[numpy.float64]


def plasmon_loss(energy: Array, position: Array, width: Array) -> Array:
    """Energy-loss function of a Drude metal, unit maximum about 1; arguments broadcast, eV."""
    e = numpy.maximum(energy, 1e-3)
    loss = e * width * position**2 / ((e**2 - position**2) ** 2 + (e * width) ** 2)
    return numpy.where(energy > 0, loss, 0.0) * width / position


def simulate_wedge(
    size: tuple[int, int] = (32, 32),
    channels: int = 512,
    *,
    energy: Axis | None = None,
    counts: float = 5000.0,
    q_rows: int = 16,
    seed: int = 0,
) -> Sample:
    """A wedge from 0.2 to 1.8 mean free paths: plural scattering of a plasmon that moves by 1.5 eV across it."""
    rng = numpy.random.default_rng(seed)
    axis = energy or Axis(channels, -10.0, 0.3, "eV", "E")
    x = numpy.linspace(0, 1, size[1])[None, :] + numpy.zeros(size)
    thickness = 0.2 + 1.6 * x + 0.05 * blurred(size, 2, rng)
    position = 22.0 + 1.5 * x + 0.3 * blurred(size, 4, rng)
    return from_spectra("wedge", _plural(axis, thickness, position, 4.0 + 0.0 * x), axis, counts, q_rows, 1.0)


def simulate_plasmon(
    size: tuple[int, int] = (32, 32),
    channels: int = 512,
    *,
    energy: Axis | None = None,
    counts: float = 5000.0,
    q_rows: int = 16,
    seed: int = 0,
) -> Sample:
    """A film of even thickness whose plasmon shifts smoothly by some eV, as composition or strain would do."""
    rng = numpy.random.default_rng(seed)
    axis = energy or Axis(channels, -10.0, 0.2, "eV", "E")
    position = 18.0 + 1.2 * blurred(size, 4, rng)
    width = 3.5 + 0.3 * blurred(size, 5, rng)
    return from_spectra(
        "plasmon shift", _plural(axis, 0.6 + 0.0 * position, position, width), axis, counts, q_rows, 1.0
    )


def _plural(axis: Axis, thickness: Array, position: Array, width: Array) -> Array:
    """Spectra ``(y, x, E)``: Poisson-distributed orders of scattering, all broadened by the zero-loss peak.

    Fourier-log method (Egerton 2011, section 4.2) backwards.
    """
    length = 2 * axis.size
    losses = axis.scale * numpy.arange(length, dtype=numpy.float64)
    single = plasmon_loss(losses, position[..., None], width[..., None])
    transform = numpy.fft.rfft(single / single.sum(-1, keepdims=True), 2 * length)
    frequency = numpy.fft.rfftfreq(2 * length)
    sigma = max(0.6 / axis.scale, 4.0) / FWHM_PER_SIGMA  # channels; narrower would ring
    zero_loss = numpy.exp(-2 * (math.pi * frequency * sigma) ** 2)
    moved = numpy.exp(2j * math.pi * frequency * axis.offset / axis.scale)
    terms = zero_loss * moved * numpy.exp(thickness[..., None] * (transform - 1.0))
    return typing.cast(Array, numpy.maximum(numpy.fft.irfft(terms, 2 * length)[..., : axis.size], 0.0))
