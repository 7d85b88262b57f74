"""What a perfect detector would see on average: the sample of a simulated scan."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.errors import InputError

Array = numpy.typing.NDArray[numpy.float64]

ELECTRON_CHARGE = 1.602176634e-19  # coulomb
FAINT = 1e-3  # sum of a spectrum that lies outside of the energy range


@dataclasses.dataclass(frozen=True)
class Part:
    """One map times one spectrum.

    Attributes
    ----------
    name : str
        For example ``"B K"``.
    weight : array, shape (y, x)
        Expected electrons of this part at every position.
    spectrum : array, shape (E,)
        Share of them per channel; at most 1 in sum.
    """

    name: str
    weight: Array
    spectrum: Array


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a perfect detector would see on average.

    Attributes
    ----------
    name : str
        What was simulated.
    spectra : array, shape (y, x, E)
        Expected electrons per position and channel, summed over q.
    profile : array, shape (q,)
        Share of the electrons per detector row; sums to 1.
    energy : Axis
        Energy loss, eV.
    scan_axes : tuple of Axis
        Scan axes y and x, nm.
    parts : tuple of Part
        What `spectra` is the sum of; empty where it is not a sum of few.
    frames : array, shape (parts, q, E), or None
        Where q is not separable from E: share of every part per pixel; summed over q they are the
        spectra of the parts.
    """

    name: str
    spectra: Array
    profile: Array
    energy: Axis
    scan_axes: tuple[Axis, ...]
    parts: tuple[Part, ...] = ()
    frames: Array | None = None

    @property
    def scan_shape(self) -> tuple[int, ...]:
        """Number of positions along every scan axis."""
        return self.spectra.shape[:-1]

    @property
    def count(self) -> int:
        """Number of positions of the scan."""
        return math.prod(self.scan_shape)

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Detector rows and channels ``(q, E)``."""
        return (self.profile.size, self.energy.size)

    def rate(self, index: int) -> Array:
        """Expected electrons per pixel at flat position `index`, shape (q, E)."""
        if not 0 <= index < self.count:
            raise InputError(f"position {index} is outside the scan; want 0 to {self.count - 1}")
        if self.frames is None:
            return typing.cast(Array, self.profile[:, None] * self.spectra.reshape(self.count, -1)[index])
        weights = numpy.array([part.weight.reshape(-1)[index] for part in self.parts])
        return typing.cast(Array, numpy.tensordot(weights, self.frames, 1))


def electrons(current_pa: float, dwell_ms: float) -> float:
    """Electrons that arrive per position, for a current in pA and a dwell time in ms."""
    if not (current_pa > 0 and dwell_ms > 0):
        raise InputError(f"current is {current_pa:g} pA and dwell time {dwell_ms:g} ms; want both above 0")
    return current_pa * 1e-12 * dwell_ms * 1e-3 / ELECTRON_CHARGE


def q_profile(rows: int) -> Array:
    """Share of the light per detector row, shape (rows,): ``2 sqrt(qmax^2 - q^2)``, sums to 1.

    The disc is as wide as nine tenths of the rows; a single row holds all.
    """
    if rows < 1:
        raise InputError(f"the detector has {rows} rows along q; want at least 1")
    q = numpy.arange(rows) - (rows - 1) / 2
    profile = numpy.sqrt(numpy.maximum((0.45 * rows) ** 2 - q**2, 0.0))
    return typing.cast(Array, profile / profile.sum())


def from_parts(
    name: str,
    parts: typing.Iterable[tuple[str, Array, Array]],
    energy: Axis,
    size: tuple[int, int],
    counts: float,
    q_rows: int,
    step: float = 0.025,
) -> Sample:
    """Sum parts ``(name, weight (y, x), spectrum (E,))``, scaled to a mean of `counts` electrons per spectrum."""
    if not (math.isfinite(counts) and counts > 0):
        raise InputError(f"mean electrons per spectrum is {counts:g}; want a number above 0")
    normed = [(label, weight, spectrum / max(spectrum.sum(), FAINT)) for label, weight, spectrum in parts]
    scale = counts / sum(float((weight.mean() * spectrum).sum()) for _, weight, spectrum in normed)
    scaled = tuple(Part(label, scale * weight, spectrum) for label, weight, spectrum in normed)
    spectra = sum(part.weight[..., None] * part.spectrum for part in scaled)
    scan_axes = tuple(Axis(n, 0.0, step, "nm", label) for n, label in zip(size, "yx", strict=True))
    return Sample(name, numpy.asarray(spectra), q_profile(q_rows), energy, scan_axes, scaled)


def from_spectra(name: str, spectra: Array, energy: Axis, counts: float, q_rows: int, step: float) -> Sample:
    """Sample of these spectra ``(y, x, E)``, scaled to a mean of `counts` electrons; `step` in nm."""
    if not (math.isfinite(counts) and counts > 0):
        raise InputError(f"mean electrons per spectrum is {counts:g}; want a number above 0")
    scale = counts / spectra.sum(axis=-1).mean()
    scan_axes = tuple(Axis(n, 0.0, step, "nm", label) for n, label in zip(spectra.shape, "yx", strict=False))
    return Sample(name, spectra * scale, q_profile(q_rows), energy, scan_axes)
