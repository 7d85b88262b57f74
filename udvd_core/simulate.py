"""Simulated EELS scans of hexagonal boron nitride with known truth: core losses and phonons.

The core-loss scan follows supplement S3 of the paper: maps of the atoms, blurred by the probe,
weight one spectrum per kind of atom. `udvd_core.detector` turns a sample into counts.
"""

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
BOND = 1.446  # B to N, angstrom
FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


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
        What `spectra` is the sum of; empty where it is not known.
    """

    name: str
    spectra: Array
    profile: Array
    energy: Axis
    scan_axes: tuple[Axis, ...]
    parts: tuple[Part, ...] = ()

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


def simulate_hbn(
    size: tuple[int, int] = (32, 32),
    channels: int = 512,
    *,
    energy: Axis | None = None,
    counts: float = 5000.0,
    q_rows: int = 16,
    seed: int = 0,
    defects: bool = True,
    layers: int = 5,
) -> Sample:
    """Core losses of multilayer h-BN seen along [0001], with B and N vacancies and adatoms.

    Parameters
    ----------
    size : (int, int)
        Positions along y and x, 0.25 angstrom apart, as 32 x 32 over 8 x 8 square angstrom.
    channels : int
        Channels of the default energy axis, 100 eV on in steps of 0.8 eV.
    energy : Axis or None
        Another energy axis, eV.
    counts : float
        Mean electrons per spectrum.
    q_rows : int
        Detector rows along q.
    seed : int
        Places the defects.
    defects : bool
        Whether there are any: two vacancies and two adatoms per 8 x 8 square angstrom.
    layers : int
        Atomic layers, AA' stacked; an odd number lets B and N columns differ.
    """
    axis = energy or Axis(channels, 100.0, 0.8, "eV", "E")
    y, x = _scan_positions(size)
    atoms = _lattice(y[-1], x[-1], layers)
    if defects:
        atoms = _with_defects(atoms, y[-1], x[-1], numpy.random.default_rng(seed))
    boron, nitrogen = (_probe_map(atoms, atoms[:, column], y, x, 1.5) for column in (2, 3))
    values = axis.values()
    spectra = (_power_law(values, 3.0), _boron_k(values), _nitrogen_k(values))
    weights = (0.80 * (boron + nitrogen) / 2, 0.165 * boron, 0.035 * nitrogen)
    parts = zip(("background", "B K", "N K"), weights, spectra, strict=True)
    return _sample("h-BN core loss", parts, axis, size, counts, q_rows)


def simulate_phonon(
    size: tuple[int, int] = (32, 32),
    channels: int = 512,
    *,
    energy: Axis | None = None,
    counts: float = 3000.0,
    q_rows: int = 16,
    seed: int = 0,
    defects: bool = False,
) -> Sample:
    """Off-axis phonons of h-BN beside a zero-loss peak of 17 meV, 1 meV per channel.

    The bands lie in the paper's windows: TA 50 to 90 meV, strongest on the atomic columns, LA 120
    to 140 meV, TO-LO 140 to 200 meV. Arguments as for `simulate_hbn`; the default dose is the
    paper's 4.5 fA times 100 ms, and the default energy axis starts at -100 meV.
    """
    axis = energy or Axis(channels, -0.1, 0.001, "eV", "E")
    y, x = _scan_positions(size)
    atoms = _lattice(y[-1], x[-1], 5)
    if defects:
        atoms = _with_defects(atoms, y[-1], x[-1], numpy.random.default_rng(seed))
    boron, nitrogen = (_probe_map(atoms, atoms[:, column], y, x, 0.9) for column in (2, 3))
    columns = boron + nitrogen
    columns = columns / columns.max()
    boron, nitrogen = boron / boron.max(), nitrogen / nitrogen.max()
    values, width = axis.values(), 0.017
    spectra = (
        0.9 * _peak(values, 0.0, width) + 0.1 * _tail(values, width),
        _peak(values, 0.070, 0.030),
        _peak(values, 0.130, 0.022),
        0.6 * _peak(values, 0.165, 0.025) + 0.4 * _peak(values, 0.188, 0.022),
    )
    weights = (
        0.92 * (1.0 - 0.25 * columns),
        0.035 * (0.3 + 0.7 * columns),
        0.015 * (0.6 + 0.4 * boron),
        0.030 * (0.7 + 0.3 * nitrogen),
    )
    parts = zip(("zero loss", "TA", "LA", "TO-LO"), weights, spectra, strict=True)
    return _sample("h-BN off-axis phonons", parts, axis, size, counts, q_rows)


def _sample(
    name: str,
    parts: typing.Iterable[tuple[str, Array, Array]],
    energy: Axis,
    size: tuple[int, int],
    counts: float,
    q_rows: int,
) -> Sample:
    """Sum the parts and scale them to a mean of `counts` electrons per spectrum."""
    if not (math.isfinite(counts) and counts > 0):
        raise InputError(f"mean electrons per spectrum is {counts:g}; want a number above 0")
    normed = [(label, weight, spectrum / max(spectrum.sum(), 1e-300)) for label, weight, spectrum in parts]
    scale = counts / sum(float((weight.mean() * spectrum).sum()) for _, weight, spectrum in normed)
    scaled = tuple(Part(label, scale * weight, spectrum) for label, weight, spectrum in normed)
    spectra = sum(part.weight[..., None] * part.spectrum for part in scaled)
    scan_axes = tuple(Axis(n, 0.0, 0.025, "nm", label) for n, label in zip(size, "yx", strict=True))
    return Sample(name, numpy.asarray(spectra), q_profile(q_rows), energy, scan_axes, scaled)


def _scan_positions(size: tuple[int, int]) -> tuple[Array, Array]:
    """Positions along y and along x, angstrom."""
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"scan size is {size}; want (y, x), both at least 1")
    y, x = (0.25 * numpy.arange(n, dtype=numpy.float64) for n in size)
    return y, x


def _lattice(height: float, width: float, layers: int, margin: float = 4.0) -> Array:
    """Columns of the lattice around the scanned area, shape (n, 4): y, x in angstrom, B atoms, N atoms."""
    first, second = (layers + 1) // 2, layers // 2
    step_x, step_y = math.sqrt(3.0) * BOND, 3.0 * BOND
    cell = ((0.0, 0.0, first, second), (BOND, 0.0, second, first))
    columns = [
        (y + row * step_y / 2, x + (column + 0.5 * (row % 2)) * step_x, boron, nitrogen)
        for row in range(-math.ceil(2 * margin / step_y) - 1, math.ceil(2 * (height + margin) / step_y) + 1)
        for column in range(-math.ceil(margin / step_x) - 1, math.ceil((width + margin) / step_x) + 1)
        for y, x, boron, nitrogen in cell
    ]
    return numpy.array(columns, dtype=numpy.float64)


def _with_defects(atoms: Array, height: float, width: float, rng: numpy.random.Generator) -> Array:
    """Remove one atom from some columns and add some atoms at hollow sites inside the scanned area."""
    atoms = atoms.copy()
    inside = (atoms[:, 0] >= 0) & (atoms[:, 0] <= height) & (atoms[:, 1] >= 0) & (atoms[:, 1] <= width)
    number = max(1, round(height * width / 64.0))
    added = []
    for species in (2, 3):
        candidates = numpy.flatnonzero(inside & (atoms[:, species] > 0))
        chosen = rng.permutation(candidates)[: 2 * number]
        atoms[chosen[:number], species] -= 1
        for y, x in atoms[chosen[number:], :2]:
            adatom = [y + BOND * rng.uniform(0.3, 0.7), x, 0.0, 0.0]
            adatom[species] = 1.0
            added.append(adatom)
    return numpy.vstack([atoms, added]) if added else atoms


def _probe_map(atoms: Array, number: Array, y: Array, x: Array, fwhm: float) -> Array:
    """Atoms under a Gaussian probe at every position, shape (y, x); `fwhm` in angstrom."""
    sigma = fwhm / FWHM_PER_SIGMA
    along_y = numpy.exp(-0.5 * ((y[:, None] - atoms[:, 0]) / sigma) ** 2)
    along_x = numpy.exp(-0.5 * ((x[:, None] - atoms[:, 1]) / sigma) ** 2)
    return (along_y * number) @ along_x.T


def _power_law(energy: Array, exponent: float) -> Array:
    return (numpy.maximum(energy, 1.0) / 100.0) ** -exponent


def _peak(energy: Array, centre: float, fwhm: float) -> Array:
    """Gaussian of unit area; `centre` and `fwhm` in eV."""
    sigma = fwhm / FWHM_PER_SIGMA
    height = 1.0 / (sigma * math.sqrt(2.0 * math.pi))
    return height * numpy.exp(-0.5 * ((energy - centre) / sigma) ** 2)


def _tail(energy: Array, fwhm: float) -> Array:
    """Lorentzian of unit area around 0 eV; `fwhm` in eV."""
    return (fwhm / 2 / math.pi) / (energy**2 + (fwhm / 2) ** 2)


def _edge(energy: Array, onset: float, width: float) -> Array:
    """Ionisation edge: a step of `width` eV at `onset` eV, then a power law."""
    step = 0.5 + numpy.arctan((energy - onset) / width) / math.pi
    step *= 0.5 * (1.0 + numpy.tanh((energy - onset + 3.0) / 1.0))
    return step * (numpy.maximum(energy, onset) / onset) ** -4.0


def _boron_k(energy: Array) -> Array:
    """B K edge at 188 eV with pi* at 192 eV and sigma* at 199 and 204 eV."""
    fine = 4.0 * _peak(energy, 192.0, 1.6) + 4.5 * _peak(energy, 199.0, 3.2) + 3.5 * _peak(energy, 204.0, 5.0)
    return _edge(energy, 196.0, 2.0) + fine


def _nitrogen_k(energy: Array) -> Array:
    """N K edge at 401 eV with pi* at 402 eV and sigma* at 408 and 415 eV."""
    fine = 3.0 * _peak(energy, 402.0, 2.0) + 4.5 * _peak(energy, 408.0, 3.5) + 4.0 * _peak(energy, 415.0, 6.0)
    return _edge(energy, 405.0, 2.5) + fine
