"""Simulated EELS scans with known truth, for tests, benchmarks and pretraining."""

from udvd_core.simulate.dispersive import simulate_dispersive
from udvd_core.simulate.hbn import simulate_hbn, simulate_phonon
from udvd_core.simulate.lowloss import simulate_plasmon, simulate_wedge
from udvd_core.simulate.sample import Part, Sample, electrons, q_profile
from udvd_core.simulate.scenes import (
    simulate_blank,
    simulate_domains,
    simulate_dopants,
    simulate_flake,
    simulate_particles,
)

__all__ = [
    "Part",
    "Sample",
    "electrons",
    "q_profile",
    "simulate_blank",
    "simulate_dispersive",
    "simulate_domains",
    "simulate_dopants",
    "simulate_flake",
    "simulate_hbn",
    "simulate_particles",
    "simulate_phonon",
    "simulate_plasmon",
    "simulate_wedge",
]
