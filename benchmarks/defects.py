"""Single dopants: are they found, is nothing else found, is a real atom smoothed away? One JSON object.

The map is the counts of Gd M, 1183 to 1240 eV, less a power law fitted below it. Receiver operating characteristic of
single dopants, false positives on blank scans, bias at the atoms in sigma of the raw map, and a single atom on a blank
scan, at the dose where the raw map shows it at 5 sigma: how much of its contrast is kept.
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
from scans import SPREADING, Scan, buffer_of, guide_of, run_session, settle, with_threads

from udvd_core.axes import Axis
from udvd_core.detector import Detector
from udvd_core.maps.core_loss import core_loss
from udvd_core.noise import NoiseModel
from udvd_core.pca import weighted_pca
from udvd_core.settings import MapWindow
from udvd_core.simulate import Sample, simulate_blank, simulate_dopants

Array = numpy.typing.NDArray[numpy.floating[typing.Any]]
Facts = dict[str, typing.Any]

SIGNAL = (1183.0, 1240.0)
WINDOWS = {"fitted": MapWindow("Gd M", SIGNAL, (1080.0, 1172.0)), "plain": MapWindow("Gd M", SIGNAL)}
CHANNELS, STRENGTHS, DOSES = 512, (0.02, 0.05), (5000.0, 20000.0, 80000.0)
FALSE_RATE, THRESHOLD, SIGNIFICANCE = 1e-3, 4.0, 5.0
FLOOR = 0.01  # of the raw map's noise: fluctuations below are none
NEAR, FAR = 0.5, 0.05  # parts of an atom that the probe sees: on it, beside all atoms


def scan_of(sample: Sample, seed: int) -> Scan:
    """What the detector records of a sample."""
    recording = Detector(SPREADING, seed=seed).record(sample)
    return Scan("", sample, recording.spectra(), recording.truth(), numpy.zeros((0, sample.energy.size)), {})


def pca(scan: Scan, window: slice = slice(None)) -> Array:
    """Weighted PCA at the rank that is best for the truth in a window of channels."""
    data, truth = (values.reshape(scan.sample.count, -1).astype(float) for values in (scan.counts, scan.truth))
    estimates = (weighted_pca(data, rank) for rank in range(1, 13))
    return min(estimates, key=lambda e: ((e - truth)[:, window] ** 2).mean()).reshape(scan.counts.shape)


def pca_window(scan: Scan) -> Array:
    """The same for the window of the map: brings out what few positions have."""
    return pca(scan, scan.sample.energy.window(*SIGNAL))


def guide(scan: Scan) -> Array:
    """The guide, learned until it settles."""
    model = guide_of(scan.sample, buffer_of(scan), scan.sample.scan_shape)
    settle(model)
    return model.denoise(numpy.arange(scan.sample.count)).reshape(scan.counts.shape)


def guided(scan: Scan) -> Array:
    """The guide with its correction network, defaults."""
    return typing.cast(tuple[Array, Facts], run_session(scan, model="guided", device="cpu"))[0]


METHODS: dict[str, typing.Callable[[Scan], Array]] = {
    "raw": lambda scan: scan.counts,
    **{f.__name__: f for f in (pca, pca_window, guide, guided)},
}


def map_of(spectra: Array, energy: Axis, window: MapWindow, method: str = "") -> Array:
    """Map of spectra (y, x, E), shape (y, x); the noise of raw counts shifts the background, which is taken off."""
    noise = NoiseModel() if method == "raw" else None
    values, _ = core_loss(spectra.reshape(-1, spectra.shape[-1]), energy, [window], noise)
    return values.reshape(spectra.shape[:-1])


def single_atom(dose: float, strength: float, size: tuple[int, int], seed: int) -> Sample:
    """One atom, under a position of the probe, on the same spectrum everywhere."""
    sample = simulate_dopants(size, CHANNELS, counts=dose, q_rows=1, seed=seed)
    at = numpy.random.default_rng([seed, 5]).uniform(6, numpy.array(size) - 7)
    y, x = numpy.mgrid[: size[0], : size[1]]
    sites = numpy.exp(-((y - at[0].round()) ** 2 + (x - at[1].round()) ** 2) / (2 * 0.7**2))
    weights = [numpy.full(size, part.weight.mean()) for part in sample.parts[:2]]
    weights.append(strength * sites * (weights[0] + weights[1]))
    parts = tuple(dataclasses.replace(p, weight=w) for p, w in zip(sample.parts, weights, strict=True))
    spectra = sum(part.weight[..., None] * part.spectrum for part in parts)
    return dataclasses.replace(sample, name="one atom", spectra=numpy.asarray(spectra), parts=parts)


def seen(sample: Sample, strength: float) -> Array:
    """Share of an atom under the probe, shape (y, x); 1 where it stands on one atom."""
    weights = {part.name: part.weight for part in sample.parts}
    return numpy.asarray(weights["Gd M"] / (strength * (weights["background"] + weights["Ce M"]).mean()))


def roc(values: Array, atom: Array, none: Array) -> Facts:
    """Area under the curve, and the share of atoms' positions found at a fixed rate of false ones."""
    positive, negative = values[atom], numpy.sort(values[none])
    below, upto = (numpy.searchsorted(negative, positive, side) for side in ("left", "right"))
    threshold = numpy.quantile(negative, 1 - FALSE_RATE)
    return {"auc": float((below + upto).mean() / 2 / negative.size), "found": float((positive > threshold).mean())}


def dopants(options: argparse.Namespace, dose: float, strength: float, window: MapWindow) -> Facts:
    """ROC and bias of every method on scans of many dopants, positions of all seeds together."""
    make = {"counts": dose, "q_rows": 1, "strength": strength}
    scans = [scan_of(simulate_dopants(options.size, CHANNELS, seed=s, **make), s) for s in options.seeds]
    share = numpy.stack([seen(scan.sample, strength) for scan in scans])
    truth = numpy.stack([map_of(scan.truth, scan.sample.energy, window) for scan in scans])
    peaks, result, sigma = share > NEAR, Facts(), numpy.nan
    for name in options.methods:
        maps = numpy.stack([map_of(METHODS[name](scan), scan.sample.energy, window, name) for scan in scans])
        error = maps - truth
        sigma = float(error.std()) if name == "raw" else sigma
        bias = error[peaks] / sigma
        kept = float(numpy.polyfit(truth[share > FAR], maps[share > FAR], 1)[0])
        facts = {"bias_mean": bias.mean(), "bias_worst": bias[numpy.argmax(abs(bias))], "slope": kept}
        facts["error"] = numpy.sqrt((error**2).mean()) / sigma
        result[name] = rounded(roc(maps, peaks, share < FAR) | facts)
    return {"atom_in_sigma": round(float((truth[peaks] - truth[share < FAR].mean()).mean() / sigma), 2), **result}


def blanks(options: argparse.Namespace, dose: float, window: MapWindow) -> Facts:
    """False positives per blank map above 4 sigma of its own noise; noise and highest value in sigma of raw."""
    axis, result, sigma = Axis(CHANNELS, 806.0, 1.0, "eV", "E"), Facts(), numpy.nan
    make = {"energy": axis, "counts": dose, "q_rows": 1}
    scans = [scan_of(simulate_blank(options.size, seed=seed, **make), seed) for seed in options.seeds]
    for name in options.methods:
        maps = numpy.stack([map_of(METHODS[name](scan), axis, window, name) for scan in scans])
        maps -= maps.mean((1, 2), keepdims=True)
        own = maps.std((1, 2), keepdims=True)
        sigma = float(own.mean()) if name == "raw" else sigma
        false = (maps > THRESHOLD * numpy.maximum(own, FLOOR * sigma)).sum() / len(maps)
        result[name] = rounded({"false": false, "noise": own.mean() / sigma, "highest": maps.max() / sigma})
    return result


def dose_of(strength: float, size: tuple[int, int], window: MapWindow, seed: int) -> float:
    """Counts per spectrum where the raw map shows an atom at 5 sigma."""
    dose = 20000.0
    for _ in range(3):
        scan = scan_of(single_atom(dose, strength, size, seed), seed)
        truth = map_of(scan.truth, scan.sample.energy, window)
        sigma = (map_of(scan.counts, scan.sample.energy, window, "raw") - truth).std()
        dose *= float((SIGNIFICANCE * sigma / (truth.max() - numpy.median(truth))) ** 2)
    return dose


def alone(options: argparse.Namespace, strength: float, window: MapWindow) -> Facts:
    """Contrast kept of one atom alone, per cent of the true one, and how often it is the highest point of the map."""
    dose = dose_of(strength, options.size, window, 0)
    scans = [scan_of(single_atom(dose, strength, options.size, s), s) for s in options.atom_seeds]
    result: Facts = {"dose": round(dose)}
    for name in options.methods:
        kept, highest = [], []
        for scan in scans:
            share, energy = seen(scan.sample, strength), scan.sample.energy
            values = map_of(METHODS[name](scan), energy, window, name)
            truth = map_of(scan.truth, energy, window)
            at, around = numpy.unravel_index(int(share.argmax()), share.shape), share < 1e-3
            kept.append(100 * (values[at] - values[around].mean()) / (truth[at] - truth[around].mean()))
            highest.append(bool(values[at] > values[around].max()))
        facts = {"kept_mean": numpy.mean(kept), "kept_least": min(kept), "highest": numpy.mean(highest)}
        result[name] = {**rounded(facts), "kept": [round(value) for value in kept]}
    return result


def rounded(facts: Facts) -> Facts:
    """Four digits after the point."""
    return {name: round(float(value), 4) for name, value in facts.items()}


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--atom-seeds", nargs="+", type=int, default=list(range(6)), help="for the atom alone")
    parser.add_argument("--doses", nargs="+", type=float, default=list(DOSES), help="mean counts per spectrum")
    parser.add_argument("--strengths", nargs="+", type=float, default=list(STRENGTHS), help="share of the electrons")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--map", choices=WINDOWS, default="fitted", help="counts less a fitted background, or plain")
    parser.add_argument("--size", nargs=2, type=int, default=(32, 32), metavar=("Y", "X"))
    options = parser.parse_args()
    with_threads(1)
    options.size, begin, window, result = tuple(options.size), time.perf_counter(), WINDOWS[options.map], Facts()
    options.methods = ["raw", *(name for name in options.methods if name != "raw")]  # raw noise is the unit
    pairs = [(dose, strength) for strength in options.strengths for dose in options.doses]
    result["dopants"] = {f"{s:g} at {d:g}": dopants(options, d, s, window) for d, s in pairs}
    result["blank"] = {f"{dose:g}": blanks(options, dose, window) for dose in options.doses}
    result["alone"] = {f"{strength:g}": alone(options, strength, window) for strength in options.strengths}
    facts: Facts = {"map": options.map, "size": options.size, "seeds": options.seeds}
    json.dump({**facts, "seconds": round(time.perf_counter() - begin), **result}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
