"""A simulated scan of frames (q, E) where the energy of a loss depends on momentum: q is not separable from E."""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.simulate.sample import Part, Sample, q_profile
from udvd_core.simulate.shapes import peak
from udvd_core.simulate.textures import blurred, domains

Array = numpy.typing.NDArray[numpy.float64]


def simulate_dispersive(
    size: tuple[int, int] = (32, 32),
    channels: int = 512,
    *,
    energy: Axis | None = None,
    counts: float = 20000.0,
    q_rows: int = 32,
    seed: int = 0,
) -> Sample:
    """Acoustic and optical branches along q whose strength changes from domain to domain.

    Arguments as for `udvd_core.simulate.simulate_hbn`; needs at least 8 detector rows.
    """
    if q_rows < 8:
        raise InputError(f"a dispersive scan needs at least 8 detector rows, got {q_rows}")
    rng = numpy.random.default_rng(seed)
    axis = energy or Axis(channels, -0.05, 0.0005, "eV", "E")
    q = numpy.linspace(-1.0, 1.0, q_rows)[:, None]
    values = axis.values()[None]
    branches = {
        "zero loss": (numpy.exp(-((q / 0.25) ** 2)), 0.0 * q, 0.012),
        "acoustic": (0.3 + numpy.abs(q), 0.02 + 0.07 * numpy.abs(numpy.sin(math.pi * q / 2)), 0.012),
        "optical": (1.2 - 0.8 * q**2, 0.16 - 0.03 * q**2, 0.010),
        "polariton": (numpy.exp(-((q / 0.4) ** 2)), 0.10 + 0.05 * numpy.abs(q), 0.010),
    }
    frames = numpy.stack([weight * peak(values - centre, 0.0, width) for weight, centre, width in branches.values()])
    frames += 0.002 * frames[0].max() * q_profile(q_rows)[:, None]
    frames /= frames.sum((1, 2), keepdims=True)
    number = domains(size, 5, rng)
    shares = rng.uniform(0.3, 1.0, (5, 3))[number] * numpy.array([0.12, 0.08, 0.05])
    shares *= 1 + 0.1 * blurred(size, 3, rng)[..., None]
    weights = counts * numpy.concatenate(((1.0 - shares.sum(-1, keepdims=True)), shares), -1)
    parts = tuple(Part(name, weights[..., k], typing.cast(Array, frames[k].sum(0))) for k, name in enumerate(branches))
    spectra = numpy.tensordot(weights, frames.sum(1), 1)
    scan_axes = tuple(Axis(n, 0.0, 0.5, "nm", label) for n, label in zip(size, "yx", strict=True))
    profile = numpy.asarray(frames.sum((0, 2)) / frames.sum())
    return Sample("dispersive", spectra, profile, axis, scan_axes, parts, frames)
