"""Simulated EELS scans of hexagonal boron nitride with known truth: core losses and phonons.

The core-loss scan follows supplement S3 of the paper: maps of the atoms, blurred by the probe,
weight one spectrum per kind of atom. `udvd_core.detector` turns a sample into counts.
"""

from __future__ import annotations

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.simulate.lattice import lattice, probe_map, scan_positions, with_defects
from udvd_core.simulate.sample import Sample, from_parts
from udvd_core.simulate.shapes import edge, peak, power_law, tail

Array = numpy.typing.NDArray[numpy.float64]


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
    y, x = scan_positions(size)
    atoms = lattice(y[-1], x[-1], layers)
    if defects:
        atoms = with_defects(atoms, y[-1], x[-1], numpy.random.default_rng(seed))
    boron, nitrogen = (probe_map(atoms, atoms[:, column], y, x, 1.5) for column in (2, 3))
    values = axis.values()
    spectra = (power_law(values, 3.0), boron_k(values), nitrogen_k(values))
    weights = (0.80 * (boron + nitrogen) / 2, 0.165 * boron, 0.035 * nitrogen)
    parts = zip(("background", "B K", "N K"), weights, spectra, strict=True)
    return from_parts("h-BN core loss", parts, axis, size, counts, q_rows)


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
    y, x = scan_positions(size)
    atoms = lattice(y[-1], x[-1], 5)
    if defects:
        atoms = with_defects(atoms, y[-1], x[-1], numpy.random.default_rng(seed))
    boron, nitrogen = (probe_map(atoms, atoms[:, column], y, x, 0.9) for column in (2, 3))
    columns = boron + nitrogen
    columns = columns / columns.max()
    boron, nitrogen = boron / boron.max(), nitrogen / nitrogen.max()
    values, width = axis.values(), 0.017
    spectra = (
        0.9 * peak(values, 0.0, width) + 0.1 * tail(values, width),
        peak(values, 0.070, 0.030),
        peak(values, 0.130, 0.022),
        0.6 * peak(values, 0.165, 0.025) + 0.4 * peak(values, 0.188, 0.022),
    )
    weights = (
        0.92 * (1.0 - 0.25 * columns),
        0.035 * (0.3 + 0.7 * columns),
        0.015 * (0.6 + 0.4 * boron),
        0.030 * (0.7 + 0.3 * nitrogen),
    )
    parts = zip(("zero loss", "TA", "LA", "TO-LO"), weights, spectra, strict=True)
    return from_parts("h-BN off-axis phonons", parts, axis, size, counts, q_rows)


def boron_k(energy: Array) -> Array:
    """B K edge at 188 eV with pi* at 192 eV and sigma* at 199 and 204 eV."""
    fine = 4.0 * peak(energy, 192.0, 1.6) + 4.5 * peak(energy, 199.0, 3.2) + 3.5 * peak(energy, 204.0, 5.0)
    return edge(energy, 196.0, 2.0) + fine


def nitrogen_k(energy: Array) -> Array:
    """N K edge at 401 eV with pi* at 402 eV and sigma* at 408 and 415 eV."""
    fine = 3.0 * peak(energy, 402.0, 2.0) + 4.5 * peak(energy, 408.0, 3.5) + 4.0 * peak(energy, 415.0, 6.0)
    return edge(energy, 405.0, 2.5) + fine
