"""Fine structure of single denoised spectra: widths of pi* and sigma*, and their ratio, at B K and N K of h-BN.

The paper's simulation: 10 pA, 1 to 32 ms per position, 0.5 eV per channel, spectra summed over q. A power law fitted
below the edge is taken off; a smooth edge and three Gaussian peaks are fitted by weighted least squares, to single
spectra and to the truth alike. One JSON object: median errors in per cent, and the shortest dwell time from which on
all widths of an edge are within 5 %.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import typing

import numpy
import numpy.typing
import scipy.optimize
from defects import METHODS, scan_of
from scans import with_threads

from udvd_core.axes import Axis
from udvd_core.simulate import electrons, simulate_hbn
from udvd_core.simulate.shapes import edge, peak

Array = numpy.typing.NDArray[numpy.float64]
Facts = dict[str, typing.Any]

CURRENT, LIMIT = 10.0, 5.0
DWELLS = (0.015625, 0.0625, 0.25, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Beam current, pA; errors within, per cent; dwell times, ms, from far below the paper's."""
NAMES = ("pi*", "sigma*", "sigma2*")
EXPONENTS = numpy.linspace(8.0, 0.0, 1601)


@dataclasses.dataclass(frozen=True)
class Edge:
    """What is fitted where, eV; the peaks' centres may move by 2 eV, their widths by a factor of 6."""

    before: tuple[float, float]
    window: tuple[float, float]
    step: tuple[float, float]
    centres: tuple[float, ...]
    widths: tuple[float, ...]


EDGES = {
    "B K": Edge((140, 185), (185, 225), (196.0, 2.0), (192.0, 199.0, 204.0), (1.6, 3.2, 5.0)),
    "N K": Edge((330, 392), (392, 440), (405.0, 2.5), (402.0, 408.0, 415.0), (2.0, 3.5, 6.0)),
}


def background(spectra: Array, energy: Array, fit: slice, at: slice) -> Array:
    """Power law of highest likelihood in one window, continued in another; shape (n, channels)."""
    log = numpy.log(energy / energy[fit].mean())
    weight = numpy.exp(-EXPONENTS[:, None] * log[fit])
    total = numpy.maximum(spectra[:, fit].sum(1), 1e-9)
    mean = numpy.asarray(spectra[:, fit] @ log[fit] / total)
    exponent = numpy.interp(mean, (weight @ log[fit]) / weight.sum(1), EXPONENTS)[:, None]
    scale = total / numpy.exp(-exponent * log[fit]).sum(1)
    return numpy.asarray(scale[:, None] * numpy.exp(-exponent * log[at]))


def fit_edge(spectrum: Array, energy: Array, sigma: Array, shape: Edge) -> Array:
    """Widths of the three peaks, eV, and pi*/sigma*; amplitudes are solved for at every step of the search."""
    step = edge(energy, *shape.step)

    def model(values: Array) -> tuple[Array, Array]:
        peaks = (peak(energy, centre, numpy.exp(width)) for centre, width in zip(values[:3], values[3:], strict=True))
        parts = numpy.stack([step, *peaks], 1) / sigma[:, None]
        return parts, numpy.linalg.lstsq(parts, spectrum / sigma, rcond=None)[0]

    def residual(values: Array) -> Array:
        parts, amplitudes = model(values)
        return numpy.asarray(parts @ amplitudes - spectrum / sigma)

    centres, widths = numpy.array(shape.centres), numpy.log(shape.widths)
    low, high = numpy.r_[centres - 2, widths - numpy.log(6)], numpy.r_[centres + 2, widths + numpy.log(6)]
    found = scipy.optimize.least_squares(residual, numpy.r_[centres, widths], bounds=(low, high), max_nfev=60).x
    area = model(found)[1][1:]
    return numpy.r_[numpy.exp(found[3:]), area[0] / (area[1] + area[2])]


def fits(spectra: Array, axis: Axis, sigma: Array) -> dict[str, Array]:
    """What is fitted to every edge of all spectra (n, E): arrays (n, 4)."""
    energy, result = axis.values(), dict[str, Array]()
    for name, shape in EDGES.items():
        before, at = axis.window(*shape.before), axis.window(*shape.window)
        net = spectra[:, at] - background(spectra, energy, before, at)
        result[name] = numpy.stack([fit_edge(one, energy[at], sigma[at], shape) for one in net])
    return result


def errors(dwell: float, seed: int, options: argparse.Namespace) -> dict[str, dict[str, Array]]:
    """Relative errors of one scan, per cent, by method and edge: arrays (positions, 4)."""
    axis = Axis(1024, 100.0, 0.5, "eV", "E")
    counts = electrons(CURRENT, dwell)
    scan = scan_of(simulate_hbn(options.size, energy=axis, counts=counts, q_rows=1, seed=seed), seed)
    chosen = numpy.random.default_rng(seed).permutation(scan.sample.count)[: options.positions]
    sigma = numpy.sqrt(scan.truth.mean((0, 1), dtype=numpy.float64))
    truth = fits(scan.truth.reshape(scan.sample.count, -1)[chosen].astype(numpy.float64), axis, sigma)
    result = {}
    for name in options.methods:
        estimate = METHODS[name](scan).reshape(scan.sample.count, -1)[chosen].astype(numpy.float64)
        found = fits(estimate, axis, sigma)
        result[name] = {where: 100 * (found[where] / truth[where] - 1) for where in EDGES}
    return result


def summary(parts: list[Array]) -> Facts:
    """Median absolute and median signed error of every fitted value."""
    values = numpy.concatenate(parts)
    size, bias = numpy.median(abs(values), 0), numpy.median(values, 0)
    labels = (*NAMES, "pi*/sigma*")
    return {name: {"error": round(s, 2), "bias": round(b, 2)} for name, s, b in zip(labels, size, bias, strict=True)}


def threshold(table: dict[float, Facts], labels: tuple[str, ...]) -> float | None:
    """Shortest dwell time from which on all these errors are within the limit."""
    best = None
    for dwell in sorted(table, reverse=True):
        if any(table[dwell][label]["error"] >= LIMIT for label in labels):
            break
        best = dwell
    return best


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dwells", nargs="+", type=float, default=list(DWELLS), help="ms per position at 10 pA")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["raw", "pca", "guide", "guided"])
    parser.add_argument("--positions", type=int, default=32, help="spectra that are fitted per scan")
    parser.add_argument("--size", nargs=2, type=int, default=(32, 32), metavar=("Y", "X"))
    options = parser.parse_args()
    with_threads(1)
    begin, tables = time.perf_counter(), {(m, e): dict[float, Facts]() for m in options.methods for e in EDGES}
    for dwell in options.dwells:
        runs = [errors(dwell, seed, options) for seed in options.seeds]
        for method, where in tables:
            tables[method, where][dwell] = summary([run[method][where] for run in runs])
    result: Facts = {"electrons": {dwell: round(electrons(CURRENT, dwell)) for dwell in options.dwells}}
    for (method, where), table in tables.items():
        ends = {"threshold_ms": threshold(table, NAMES), "threshold_ms_pi": threshold(table, NAMES[:1])}
        ends["threshold_ms_ratio"] = threshold(table, ("pi*/sigma*",))
        result.setdefault(method, {})[where] = {**ends, "dwell_ms": table}
    json.dump({"seconds": round(time.perf_counter() - begin), **result}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
