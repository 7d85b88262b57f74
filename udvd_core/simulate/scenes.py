"""Simulated core-loss scans that are harder than a lattice: domains, flakes, particles, single dopants, nothing.

The arguments are those of `udvd_core.simulate.simulate_hbn`.
"""

from __future__ import annotations

import dataclasses

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.simulate.hbn import boron_k, nitrogen_k, simulate_hbn
from udvd_core.simulate.sample import FAINT, Sample, from_parts, from_spectra
from udvd_core.simulate.shapes import edge, peak, power_law
from udvd_core.simulate.textures import blurred, discs, domains

Array = numpy.typing.NDArray[numpy.float64]


def simulate_domains(
    size: tuple[int, int] = (32, 32),
    channels: int = 512,
    *,
    energy: Axis | None = None,
    counts: float = 5000.0,
    q_rows: int = 16,
    seed: int = 0,
) -> Sample:
    """h-BN whose B K edge is shifted by up to 2 eV from domain to domain, while the energy axis drifts by 1 eV."""
    rng = numpy.random.default_rng(seed)
    lattice = simulate_hbn(size, channels, energy=energy, counts=counts, q_rows=q_rows, seed=seed)
    number = domains(size, 6, rng)
    shift = rng.uniform(-2.0, 2.0, 6)[number]
    drift = numpy.linspace(-0.5, 0.5, size[0])[:, None] + numpy.zeros(size)
    values = lattice.energy.values()[None, None] - drift[..., None]
    background, boron, nitrogen = (part.weight[..., None] for part in lattice.parts)
    sums = [
        max(float(shape(lattice.energy.values()).sum()), FAINT)
        for shape in (lambda e: power_law(e, 3.0), boron_k, nitrogen_k)
    ]
    spectra = background / sums[0] * power_law(values, 3.0)
    spectra += boron / sums[1] * boron_k(values - shift[..., None]) + nitrogen / sums[2] * nitrogen_k(values)
    return from_spectra("shifted domains", spectra, lattice.energy, counts, q_rows, 0.025)


def simulate_flake(
    size: tuple[int, int] = (32, 32),
    channels: int = 512,
    *,
    energy: Axis | None = None,
    counts: float = 20000.0,
    q_rows: int = 16,
    seed: int = 0,
) -> Sample:
    """An h-BN flake on carbon beside vacuum: three decades of intensity in one scan."""
    rng = numpy.random.default_rng(seed)
    axis = energy or Axis(channels, 100.0, 0.8, "eV", "E")
    y, x = numpy.mgrid[: size[0], : size[1]] / numpy.array(size)[:, None, None]
    angle = rng.uniform(-0.3, 0.3)
    edge_of_carbon = 1 / (1 + numpy.exp(-((x - 0.3) + angle * (y - 0.5)) * size[1] / 1.5))
    flake = (
        1 / (1 + numpy.exp(-((x - 0.55) + 0.8 * angle * (0.5 - y)) * size[1] / 1.0)) * (1 - 0.2 * blurred(size, 4, rng))
    )
    carbon = edge_of_carbon * (1 + 0.2 * blurred(size, 3, rng))
    values = axis.values()
    carbon_k = edge(values, 291.0, 2.0) + 3.0 * peak(values, 285.5, 1.8)
    parts = (
        ("vacuum", numpy.full(size, 0.001), power_law(values, 1.5)),
        ("carbon", 0.02 * carbon, power_law(values, 3.2)),
        ("C K", 0.004 * carbon, carbon_k),
        ("background", 0.75 * flake, power_law(values, 3.0)),
        ("B K", 0.17 * flake, boron_k(values)),
        ("N K", 0.04 * flake, nitrogen_k(values)),
    )
    return from_parts("flake on carbon", parts, axis, size, counts, q_rows, 0.5)


def simulate_particles(
    size: tuple[int, int] = (32, 32),
    channels: int = 512,
    *,
    energy: Axis | None = None,
    counts: float = 5000.0,
    q_rows: int = 16,
    seed: int = 0,
) -> Sample:
    """Two kinds of oxide particles on a support, a scan step as wide as the probe: nothing repeats."""
    rng = numpy.random.default_rng(seed)
    axis = energy or Axis(channels, 420.0, 1.0, "eV", "E")
    first, second = (discs(size, max(3, size[0] * size[1] // 90), 1.0, 3.5, rng) for _ in range(2))
    support = 1.0 + 0.15 * blurred(size, 6, rng)
    values = axis.values()
    oxygen = edge(values, 536.0, 2.5) + 5.0 * peak(values, 532.0, 3.0)
    titanium = edge(values, 465.0, 4.0) + 6.0 * peak(values, 459.0, 2.0) + 6.0 * peak(values, 464.5, 2.5)
    iron = edge(values, 715.0, 4.0) + 9.0 * peak(values, 709.0, 3.0) + 5.0 * peak(values, 722.0, 3.5)
    parts = (
        ("background", 0.7 * support + 0.25 * first + 0.3 * second, power_law(values, 2.8)),
        ("Ti L", 0.08 * first, titanium),
        ("O K", 0.06 * first + 0.07 * second, oxygen),
        ("Fe L", 0.06 * second, iron),
    )
    return from_parts("particles", parts, axis, size, counts, q_rows, 0.1)


def simulate_dopants(
    size: tuple[int, int] = (32, 32),
    channels: int = 512,
    *,
    energy: Axis | None = None,
    counts: float = 20000.0,
    q_rows: int = 16,
    seed: int = 0,
    strength: float = 0.02,
) -> Sample:
    """Single heavy atoms on an oxide: each gives an edge of its own within one or two positions.

    `strength` is the share of a spectrum's electrons that the edge of one atom adds under the probe.
    """
    rng = numpy.random.default_rng(seed)
    axis = energy or Axis(channels, 806.0, 1.0, "eV", "E")
    y, x = numpy.mgrid[: size[0], : size[1]]
    sites = numpy.zeros(size)
    for _ in range(max(1, size[0] * size[1] // 128)):
        at = rng.uniform(numpy.minimum(1, numpy.array(size) - 1), numpy.array(size) - 1)
        sites += numpy.exp(-0.5 * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / 0.7**2)
    base = 1.0 + 0.1 * numpy.cos(2 * numpy.pi * y / 5.3) * numpy.cos(2 * numpy.pi * x / 5.3)
    values = axis.values()
    cerium = edge(values, 890.0, 5.0) + 15.0 * peak(values, 883.0, 4.0) + 12.0 * peak(values, 901.0, 4.0)
    gadolinium = edge(values, 1195.0, 6.0) + 18.0 * peak(values, 1187.0, 5.0) + 10.0 * peak(values, 1218.0, 6.0)
    parts = (
        ("background", 0.85 * base, power_law(values, 2.5)),
        ("Ce M", 0.15 * base, cerium),
        ("Gd M", strength * sites, gadolinium),
    )
    return from_parts("single dopants", parts, axis, size, counts, q_rows, 0.1)


def simulate_blank(
    size: tuple[int, int] = (32, 32),
    channels: int = 512,
    *,
    energy: Axis | None = None,
    counts: float = 5000.0,
    q_rows: int = 16,
    seed: int = 0,
) -> Sample:
    """The same spectrum everywhere: whatever a denoiser finds here, it made up. `seed` changes nothing."""
    lattice = simulate_hbn(size, channels, energy=energy, counts=counts, q_rows=q_rows, seed=seed)
    spectra = numpy.broadcast_to(lattice.spectra.mean((0, 1)), lattice.spectra.shape)
    return dataclasses.replace(lattice, name="blank", spectra=spectra, parts=())
