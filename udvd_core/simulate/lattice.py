"""Atomic columns of h-BN under a Gaussian probe; lengths in angstrom."""

from __future__ import annotations

import math

import numpy
import numpy.typing

from udvd_core.errors import InputError
from udvd_core.simulate.shapes import FWHM_PER_SIGMA

Array = numpy.typing.NDArray[numpy.float64]

BOND = 1.446  # B to N, angstrom


def scan_positions(size: tuple[int, int]) -> tuple[Array, Array]:
    """Positions along y and along x, angstrom."""
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"scan size is {size}; want (y, x), both at least 1")
    y, x = (0.25 * numpy.arange(n, dtype=numpy.float64) for n in size)
    return y, x


def lattice(height: float, width: float, layers: int, margin: float = 4.0) -> Array:
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


def with_defects(atoms: Array, height: float, width: float, rng: numpy.random.Generator) -> Array:
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


def probe_map(atoms: Array, number: Array, y: Array, x: Array, fwhm: float) -> Array:
    """Atoms under a Gaussian probe at every position, shape (y, x); `fwhm` in angstrom."""
    sigma = fwhm / FWHM_PER_SIGMA
    along_y = numpy.exp(-0.5 * ((y[:, None] - atoms[:, 0]) / sigma) ** 2)
    along_x = numpy.exp(-0.5 * ((x[:, None] - atoms[:, 1]) / sigma) ** 2)
    return (along_y * number) @ along_x.T
