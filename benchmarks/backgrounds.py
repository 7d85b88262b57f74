"""Bias and speed of background models on counted data: ours, Nion's and eXSpy's in one run; one JSON line.

Bias: the map of an edge as high as its background, mean over many spectra by the truth. Time: a whole scan of
1,024 channels, one edge; ours with sigma, which the others do not give. A package that is not installed is
left out and named.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import typing
import warnings

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.maps.core_loss import core_loss
from udvd_core.noise import NoiseModel
from udvd_core.settings import MapWindow

Array = numpy.typing.NDArray[typing.Any]
Method = typing.Callable[[Array, Axis], Array]

FIT, SIGNAL = (150.0, 186.0), (190.0, 230.0)
LEVELS = {"5.6 counts per channel": 5.6, "30 % zero channels": 1.2}  # in the middle of the fit window
NIONS = {"Power Law": "power_law_background_model", "Power Law Two Area": "power_law_two_area_background_model"}


def scan(axis: Axis, level: float, shape: tuple[int, int], seed: int) -> tuple[Array, float]:
    """Counts ``(y, x, E)`` of a power law with an edge, and the counts of the edge in the signal window."""
    values = axis.values()
    edge = numpy.where(values >= 190.0, level * (values / 190.0) ** -4, 0.0)
    expected = level * (values / 168.0) ** -3.2 + edge
    rng = numpy.random.default_rng(seed)
    counts = numpy.empty((*shape, axis.size), dtype=numpy.float32)
    for row in counts:
        row[:] = rng.poisson(expected, row.shape)
    return counts, float(edge[axis.window(*SIGNAL)].sum())


def ours(model: str) -> Method:
    """Map, with its sigma, as the program makes it."""
    edge = MapWindow("edge", SIGNAL, (FIT,), model)
    return lambda counts, axis: core_loss(counts.reshape(-1, axis.size), axis, [edge], NoiseModel())[0]


def nions(identifier: str) -> Method:
    """The same by a background model of Nion Swift."""
    from nion.data import Calibration, DataAndMetadata
    from nion.eels_analysis import BackgroundModel

    model = BackgroundModel.find_background_model_by_id(identifier)

    def measure(counts: Array, axis: Axis) -> Array:
        fit, signal = axis.window(*FIT), axis.window(*SIGNAL)
        energy = Calibration.Calibration(axis.offset, axis.scale, "eV")
        xdata = DataAndMetadata.new_data_and_metadata(
            counts,
            dimensional_calibrations=[Calibration.Calibration(), Calibration.Calibration(), energy],
            data_descriptor=DataAndMetadata.DataDescriptor(False, 2, 1),
        )
        fitted = model.fit_background(
            spectrum_xdata=xdata,
            fit_intervals=[(fit.start / axis.size, fit.stop / axis.size)],
            background_interval=(signal.start / axis.size, signal.stop / axis.size),
        )["background_model"]
        return numpy.asarray(counts[..., signal].sum(-1) - fitted.data.sum(-1))

    return measure


def exspys() -> Method:
    """The same by eXSpy's fast power law."""
    import exspy
    import hyperspy.api

    hyperspy.api.preferences.General.show_progressbar = False

    def measure(counts: Array, axis: Axis) -> Array:
        signal = exspy.signals.EELSSpectrum(counts)
        energy = signal.axes_manager.signal_axes[0]
        energy.offset, energy.scale, energy.units = axis.offset, axis.scale, "eV"
        rest = signal.remove_background(
            signal_range=FIT, background_type="Power law", fast=True, zero_fill=False, show_progressbar=False
        )
        return numpy.asarray(rest.data[..., axis.window(*SIGNAL)].sum(-1))

    return measure


def methods() -> tuple[dict[str, Method], list[str]]:
    """All that can run here, and the packages that are missing."""
    found = {"ours": ours("power_law")}
    missing = []
    try:
        found |= {f"Nion {title}": nions(identifier) for title, identifier in NIONS.items()}
    except ImportError:
        missing.append("nionswift-eels-analysis")
    try:
        found["eXSpy fast power law"] = exspys()
    except ImportError:
        missing.append("exspy")
    return found, missing


def bias(method: Method, level: float, seeds: int, positions: int) -> dict[str, float]:
    """Mean map by the truth: mean over seeds and its standard error."""
    axis = Axis(512, 100.0, 0.8, "eV", "E")
    found = []
    for seed in range(seeds):
        counts, truth = scan(axis, level, (positions, positions), seed)
        found.append(float(method(counts, axis).mean()) / truth)
    return {"map_by_truth": round(statistics.fmean(found), 4), "standard_error": round(spread(found), 4)}


def spread(values: list[float]) -> float:
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def seconds(method: Method, counts: Array, axis: Axis) -> float:
    start = time.perf_counter()
    method(counts, axis)
    return time.perf_counter() - start


def main() -> None:
    """Measure all in turn, so that a change of the machine's load hits all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--positions", type=int, default=64, help="per side of the scans whose bias is measured")
    parser.add_argument("--size", type=int, default=256, help="positions per side of the scan that is timed")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # theirs, of logarithms and divisions by zero
    found, missing = methods()
    result: dict[str, typing.Any] = {"machine": platform.processor() or platform.machine(), "not_installed": missing}
    result["bias"] = {
        label: {name: bias(method, level, options.seeds, options.positions) for name, method in found.items()}
        for label, level in LEVELS.items()
    }
    axis = Axis(1024, 100.0, 0.5, "eV", "E")
    counts, _ = scan(axis, 5.6, (options.size, options.size), 0)
    runs = [{name: seconds(method, counts, axis) for name, method in found.items()} for _ in range(options.repeats)]
    best = {name: min(run[name] for run in runs) for name in found}
    mine = best["ours"]
    result["time"] = {
        "scan": [options.size, options.size, axis.size],
        "seconds": {name: round(value, 3) for name, value in best.items()},
        "by_ours_with_sigma": {name: round(value / mine, 2) for name, value in best.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
