"""How often the truth lies within one sigma of a map, raw and denoised; one JSON line per kind of scan and dose.

Charge spreads. The noise is measured on each scan. The truth of a map is the map of the noise-free spectra. Shares
within 1 and 2 sigma, mean and spread of z, by the strength of the signal and, for single atoms, near and far from
them. Positions of a scan share errors, seeds do not: the standard error of the share within 1 sigma is told from seed
to seed. ``gd_corrected`` has the minor lines of Ce taken off by a ratio of 1/10.3 +- 1 %, and is compared with the
truth treated alike at that ratio.

With ``--lines`` the same of the position and width of a line that is fitted to every denoised spectrum.
"""

from __future__ import annotations

import argparse
import json
import statistics
import typing

import numpy
import numpy.typing
from scans import Scan, buffer_of, record, with_threads

from udvd_core.axes import Axis
from udvd_core.camera import measure_camera
from udvd_core.corrected import GuidedModel
from udvd_core.guided import GuideModel
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.covariance import DenoisedCovariance
from udvd_core.maps.line_maps import line_maps
from udvd_core.maps.overlap import Ratio, subtract_lines
from udvd_core.maps.preset_maps import preset_maps
from udvd_core.maps.presets import BUILT_IN, Preset
from udvd_core.settings import MapWindow, ScanSpec, Training

Array = numpy.typing.NDArray[typing.Any]
Maps = dict[str, tuple[Array, Array]]
Cases = dict[str, tuple[Array, typing.Any]]

PRESETS = {
    "hbn": Preset(
        "hbn",
        (
            MapWindow("B K", (190.0, 210.0), ((160.0, 187.0),)),
            MapWindow("N K", (400.0, 420.0), ((360.0, 395.0),)),
        ),
    ),
    "dopants": Preset(
        "dopants",
        (
            MapWindow("Ce M45", (875.0, 960.0), ((806.0, 870.0),)),
            MapWindow("Gd M45", (1175.0, 1285.0), ((1065.0, 1170.0),)),
        ),
    ),
    "phonon": next(preset for preset in BUILT_IN if preset.tail),
}
DOSES = {
    "hbn": (312.0, 1250.0, 5000.0, 20000.0, 80000.0),
    "dopants": (1250.0, 5000.0, 20000.0, 80000.0, 320000.0),
    "phonon": (1000.0, 3000.0, 10000.0, 30000.0, 100000.0),
}
LINES: dict[str, tuple[float, tuple[float, float], bool]] = {
    "hbn": (20000.0, (186.0, 200.0), False),
    "dopants": (80000.0, (892.0, 915.0), True),
    "domains": (20000.0, (186.0, 200.0), False),
    "plasmon": (5000.0, (10.0, 26.0), False),
}
"""Counts per spectrum, window of the line, eV, and whether it stands on a step, as a white line does."""
RATIO = Ratio(10.3, 0.1).inverse()
NEAR = 0.2
"""Share of the strongest position of the last part, from which on a position is near an atom."""


def with_correction(maps: Maps) -> Maps:
    """The maps, and that of Gd with the minor lines of Ce taken off."""
    if "Gd M45" in maps:
        gadolinium, cerium = ((values, numpy.nan_to_num(sigma)) for values, sigma in (maps["Gd M45"], maps["Ce M45"]))
        corrected = subtract_lines(*gadolinium, *cerium, RATIO)
        maps = {**maps, "gd_corrected": (corrected.values, corrected.sigma)}
    return maps


MODELS = {"guide": GuideModel, "guided": GuidedModel}


def cases_of(scan: Scan, name: str) -> tuple[Axis, Cases]:
    """Energy axis; spectra and what is known of their errors: the noise-free ones, recorded and denoised ones."""
    flat = scan.counts.reshape(scan.sample.count, -1)
    buffer = buffer_of(scan)
    energy, noise = scan.sample.energy, measure_camera(buffer).noise
    spec = ScanSpec("coverage", scan.sample.scan_shape, (1, energy.size), energy, training=Training(device="cpu"))
    model = MODELS[name](spec, buffer)
    while not model.settled:
        model.learn()
    numbers = numpy.arange(scan.sample.count)
    denoised = model.denoise(numbers)[:, 0]
    doubt = typing.cast(Uncertainty, model.uncertainty)
    return energy, {
        "truth": (scan.truth.reshape(flat.shape), None),
        "raw": (flat, noise),
        "denoised": (denoised, DenoisedCovariance(doubt, numbers)),
    }


def maps_of(scan: Scan, preset: Preset, name: str) -> dict[str, Maps]:
    """Values and sigma of every map by method; the noise-free map is called ``truth``."""
    names = [window.name for window in preset.maps]
    energy, cases = cases_of(scan, name)
    found = {}
    for case, (spectra, errors) in cases.items():
        values, sigma = preset_maps(spectra, energy, preset, errors)
        found[case] = with_correction(dict(zip(names, zip(values, sigma, strict=True), strict=True)))
    return found


def summary(z: Array, wrong: Array, sigma: Array) -> dict[str, float]:
    """Shares within 1 and 2 sigma, mean and spread of z, and bias by the mean sigma."""
    return {
        "positions": int(z.size),
        "within_1": round(float((abs(z) < 1).mean()), 3),
        "within_2": round(float((abs(z) < 2).mean()), 3),
        "mean_z": round(float(z.mean()), 3),
        "spread_z": round(float(z.std()), 3),
        "bias": round(float(wrong.mean() / sigma.mean()), 3),
    }


def run(kind: str, dose: float, seeds: list[int], size: tuple[int, int], model: str) -> dict[str, typing.Any]:
    """Coverage of all maps of a kind of scan at one dose."""
    gathered: dict[tuple[str, str], list[Array]] = {}
    for seed in seeds:
        scan = record(kind, dose, seed, size, 512)
        found = maps_of(scan, PRESETS[kind], model)
        weight = scan.sample.parts[-1].weight.reshape(-1)
        for method in ("raw", "denoised"):
            for name, (values, sigma) in found[method].items():
                truth = found["truth"][name][0]
                rank = numpy.argsort(numpy.argsort(truth)) * 4 // truth.size
                row = numpy.stack((values - truth, sigma, rank, weight > NEAR * weight.max()))
                gathered.setdefault((method, name), []).append(row)
    result: dict[str, typing.Any] = {"kind": kind, "dose": dose, "model": model, "seeds": len(seeds), "maps": {}}
    for (method, name), rows in gathered.items():
        wrong, sigma, quarter, near = numpy.concatenate(rows, 1)
        z = wrong / sigma
        told: dict[str, typing.Any] = {**summary(z, wrong, sigma), "mean_sigma": round(float(sigma.mean()), 3)}
        if len(rows) > 1:
            shares = [(abs(row[0]) < row[1]).mean() for row in rows]
            told["within_1_error"] = round(statistics.stdev(shares) / len(rows) ** 0.5, 3)
        told["quarters"] = [summary(z[quarter == k], wrong[quarter == k], sigma[quarter == k]) for k in range(4)]
        if kind == "dopants":
            for label, part in (("near", near > 0), ("far", near == 0)):
                told[label] = summary(z[part], wrong[part], sigma[part])
        result["maps"].setdefault(name, {})[method] = told
    return result


def run_lines(kind: str, seeds: list[int], size: tuple[int, int], model: str) -> dict[str, typing.Any]:
    """Coverage of the position and width of the line of a kind of scan."""
    dose, window, step = LINES[kind]
    gathered: dict[str, list[Array]] = {}
    for seed in seeds:
        energy, cases = cases_of(record(kind, dose, seed, size, 512), model)
        truth, found = (
            line_maps(cases[case][0], energy, window, cases[case][1], step=step) for case in ("truth", "denoised")
        )
        for expected, line in zip(truth, found, strict=True):
            row = numpy.stack((line.values - expected.values, line.sigma))
            gathered.setdefault(line.name, []).append(row[:, numpy.isfinite(row).all(0)])
    result: dict[str, typing.Any] = {"kind": kind, "dose": dose, "model": model, "seeds": len(seeds), "lines": {}}
    for name, rows in gathered.items():
        wrong, sigma = numpy.concatenate(rows, 1)
        shares = [(abs(row[0]) < row[1]).mean() for row in rows]
        error = statistics.stdev(shares) / len(rows) ** 0.5 if len(rows) > 1 else None
        result["lines"][name] = {**summary(wrong / sigma, wrong, sigma), "within_1_error": error}
    return result


def main() -> None:
    """Print one JSON line per kind and dose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices={**PRESETS, **LINES}, help="default: all")
    parser.add_argument("--lines", action="store_true", help="position and width of a line instead of maps")
    parser.add_argument("--doses", nargs="+", type=float, help="counts per spectrum; default: five of each kind")
    parser.add_argument("--seeds", type=int, default=20, help="so many noise seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--size", nargs=2, type=int, default=(32, 32), metavar=("Y", "X"))
    parser.add_argument("--model", choices=MODELS, default="guided")
    options = parser.parse_args()
    known: typing.Iterable[str] = LINES if options.lines else PRESETS
    if others := [kind for kind in options.kinds or () if kind not in known]:
        told = "with" if options.lines else "without"
        parser.error(f"{', '.join(others)} not measured {told} --lines; choose of {', '.join(known)}")
    with_threads(1)
    seeds = list(range(options.first, options.first + options.seeds))
    size, model = tuple(options.size), options.model
    for kind in options.kinds or known:
        if options.lines:
            print(json.dumps(run_lines(kind, seeds, size, model)), flush=True)
            continue
        for dose in options.doses or DOSES[kind]:
            print(json.dumps(run(kind, dose, seeds, size, model)), flush=True)


if __name__ == "__main__":
    main()
