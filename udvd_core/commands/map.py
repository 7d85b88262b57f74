"""``udvd map``: maps of a scan in a file, each with its standard error."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import re
import time
import typing

import numpy
import numpy.typing

import udvd_core
from udvd_core.axes import Axis
from udvd_core.commands.error_files import read_uncertainty
from udvd_core.commands.outcome import Outcome, Progress
from udvd_core.commands.scans import blocks, camera_of, sha256
from udvd_core.errors import InputError
from udvd_core.files import Scan, check_output, read_scan, write_scan
from udvd_core.files.scan import MAP
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.core_loss import EdgeMap
from udvd_core.maps.covariance import DenoisedCovariance
from udvd_core.maps.preset_maps import preset_maps
from udvd_core.maps.presets import BUILT_IN, Preset
from udvd_core.noise import NoiseModel
from udvd_core.settings import BACKGROUNDS, MapWindow, Window

Array = numpy.typing.NDArray[typing.Any]
Doubles = numpy.typing.NDArray[numpy.float64]
Errors = NoiseModel | Uncertainty | None

PRESETS = {preset.name: preset for preset in BUILT_IN}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd map``."""
    parser.add_argument(
        "input", metavar="IN", help="scan, raw or denoised: .npy .npz .nhdf .h5 .ndata .hspy .zspy .dm3 .dm4"
    )
    parser.add_argument(
        "--output",
        metavar="OUT",
        required=True,
        help="map and its sigma, an array (2, y, x) in counts: .npy .npz .nhdf .h5 .ndata .hspy .zspy; a preset"
        " gives one file per map, OUT with the map's name before its suffix, as maps_B_K.npy",
    )
    windows = parser.add_mutually_exclusive_group(required=True)
    windows.add_argument("--signal", metavar="A:B", help="window that is summed, eV; below zero --signal=-2:2")
    windows.add_argument("--preset", metavar="NAME", help=f"maps by name: {', '.join(PRESETS)}")
    parser.add_argument(
        "--background",
        action="extend",
        nargs="+",
        default=[],
        metavar="C:D",
        help="windows that the background is fitted in, jointly, eV; without any the signal is summed plainly",
    )
    parser.add_argument("--method", choices=BACKGROUNDS, help="background model (default: power_law)")
    parser.add_argument(
        "--uncertainty",
        metavar="FILE",
        help="for a denoised scan, what udvd denoise --uncertainty FILE wrote; without it sigma is NaN",
    )
    parser.add_argument("--energy", metavar="OFFSET:STEP", help="energy axis in eV, for files without one")


def run(args: argparse.Namespace) -> Outcome:
    """Map a scan."""
    source = pathlib.Path(args.input)
    preset = _preset(args)
    targets = _targets(args, source, preset)
    scan = read_scan(source, args.energy)
    if scan.energy.units != "eV":
        raise InputError(f"the energy axis of {source} is not calibrated: give --energy OFFSET:STEP in eV")
    for window in () if preset.tail else preset.maps:
        EdgeMap(window, scan.energy)  # refuses what cannot be mapped before anything is read
    with Progress(f"mapping {source.name}") as progress:
        errors, warning = _errors(args, scan, preset, progress)
        values, sigma = map_scan(scan, preset, errors, progress)
    provenance = {
        "program": f"nionswift-udvd {udvd_core.__version__}",
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "input": {"path": str(source.absolute()), "sha256": sha256(source), "udvd": scan.metadata.get("udvd")},
        "kind": "map",
        "preset": preset.to_dict(),
        "noise": dataclasses.asdict(errors) if isinstance(errors, NoiseModel) else None,
        "uncertainty": args.uncertainty,
    }
    for window, target, value, error in zip(preset.maps, targets, values, sigma, strict=True):
        write_scan(target, _map(scan, window, value, error), {**provenance, "map": dataclasses.asdict(window)})
    return _outcome(preset, targets, values, sigma, provenance, warning)


def map_scan(scan: Scan, preset: Preset, errors: Errors, progress: Progress) -> tuple[Doubles, Doubles]:
    """Map a scan in blocks, frames summed over q.

    Parameters
    ----------
    scan : Scan
        Its energy axis is in eV.
    preset : Preset
        The maps.
    errors : NoiseModel or Uncertainty or None
        The camera's noise for a raw scan, what a denoised one may be off, or None where nothing is known.

    Returns
    -------
    values, sigma : array, shape (maps, n), float64
        Counts and their standard error, in scan order.

    Raises
    ------
    InputError
        When windows cannot be used, or hold no counts at any position.
    """
    if preset.tail:
        noise = errors if isinstance(errors, NoiseModel) else None
        progress.update(0.5, "aligning spectra")
        return preset_maps(_spectra(scan), scan.energy, preset, noise)
    values, sigma = numpy.zeros((2, len(preset.maps), scan.count))
    total = numpy.zeros(scan.energy.size)
    for start, frames in blocks(scan):
        part = slice(start, start + len(frames))
        spectra = frames.sum(axis=1)
        known: NoiseModel | DenoisedCovariance | None = (
            DenoisedCovariance(errors, numpy.arange(part.start, part.stop))
            if isinstance(errors, Uncertainty)
            else errors
        )
        values[:, part], sigma[:, part] = preset_maps(spectra, scan.energy, preset, known)
        total += spectra.sum(axis=0, dtype=numpy.float64)
        progress.update(part.stop / scan.count, f"{part.stop} of {scan.count} positions")
    for window in preset.maps:
        for low, high in (window.signal, *window.background):
            if not total[scan.energy.window(low, high)].any():
                raise InputError(
                    f"no position has any counts from {low:g} to {high:g} eV, a window of {window.name!r}:"
                    " choose another window"
                )
    return values, sigma


def is_denoised(scan: Scan) -> bool:
    """Whether this program made the scan from another one, so that its noise is not that of counting."""
    ours = scan.metadata.get("udvd")
    return isinstance(ours, dict) and ("simulated" not in ours or bool(ours.get("truth")))


def _preset(args: argparse.Namespace) -> Preset:
    """The maps that are asked for."""
    if args.preset is not None:
        if args.background or args.method:
            raise InputError("--background and --method go with --signal; a preset has its own")
        if args.preset not in PRESETS:
            raise InputError(f"preset {args.preset!r} is not known; want one of {', '.join(map(repr, PRESETS))}")
        return PRESETS[args.preset]
    if args.method and not args.background:
        raise InputError(f"--method {args.method} wants the window that it is fitted in: give --background C:D")
    low, high = _window("--signal", args.signal)
    background = tuple(_window("--background", text) for text in args.background)
    name = f"{low:g} to {high:g} eV"
    return Preset(name, (MapWindow(name, (low, high), background, args.method or MapWindow.model),))


def _window(option: str, text: str) -> Window:
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"{option} is {text!r}; want two energies in eV, for example 190:210") from None
    return (low, high)


def _targets(args: argparse.Namespace, source: pathlib.Path, preset: Preset) -> list[pathlib.Path]:
    """One file for each map."""
    target = pathlib.Path(args.output)
    targets = [target]
    if args.preset is not None:
        names = [re.sub(r"[^\w.-]+", "_", window.name) for window in preset.maps]
        targets = [target.with_name(f"{target.stem}_{name}{target.suffix}") for name in names]
    for each in targets:
        check_output(each)
        if each.exists() and source.exists() and each.samefile(source):
            raise InputError(f"{each} is the scan itself; give another --output, the scan stays as it is")
    return targets


def _errors(args: argparse.Namespace, scan: Scan, preset: Preset, progress: Progress) -> tuple[Errors, str]:
    """What is known of the errors of the spectra, and a sentence for the user where that is nothing."""
    if args.uncertainty is not None:
        if preset.tail:
            raise InputError("sigma of phonon maps is known for raw scans only: leave --uncertainty out")
        return read_uncertainty(args.uncertainty, scan), ""
    if is_denoised(scan):
        remedy = "map the raw scan for one" if preset.tail else "give --uncertainty FILE, which udvd denoise writes"
        return None, f"{args.input} is denoised, and its errors are not those of counting: sigma is NaN; {remedy}"
    progress.update(0.0, "measuring the noise")
    return camera_of(scan).summed, ""


def _spectra(scan: Scan) -> Array:
    """All spectra, shape (n, E): those in the file where there are no rows to sum over."""
    if not scan.has_rows:
        return scan.data.reshape(scan.count, scan.energy.size)
    return numpy.concatenate([frames.sum(axis=1) for _, frames in blocks(scan)])


def _map(scan: Scan, window: MapWindow, values: Doubles, sigma: Doubles) -> Scan:
    """Map and sigma, one above the other, as what is written."""
    data = numpy.stack((values, sigma)).astype(numpy.float32).reshape(2, *scan.scan_shape)
    return dataclasses.replace(
        scan, data=data, axes=(Axis(2, name=MAP), *scan.scan_axes), title=f"{scan.title} ({window.name})"
    )


def _outcome(
    preset: Preset,
    targets: list[pathlib.Path],
    values: Doubles,
    sigma: Doubles,
    provenance: dict[str, typing.Any],
    warning: str,
) -> Outcome:
    lines, maps = [], []
    for window, target, value, error in zip(preset.maps, targets, values, sigma, strict=True):
        mean, typical = float(value.mean()), float(numpy.median(error))
        known = "sigma not known" if numpy.isnan(typical) else f"median sigma {typical:.4g}"
        lines.append(f"{target}: {window.name}, {value.size} positions, mean {mean:.4g} counts, {known}")
        maps.append({"name": window.name, "output": str(target), "mean": mean, "sigma": typical})
    return Outcome("\n".join(lines), {"maps": maps, "provenance": provenance}, warning)
