"""``udvd map``: maps of a scan in a file, each with its standard error."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import numpy

from udvd_core.commands import map_elements, map_lines, map_references
from udvd_core.commands.map_errors import Doubles, Errors, errors_of, known_at, spectra_of, summed
from udvd_core.commands.map_files import Made, parse_window, targets_of, write_maps
from udvd_core.commands.outcome import Outcome, Progress
from udvd_core.commands.scans import blocks
from udvd_core.defects import Defects
from udvd_core.errors import InputError
from udvd_core.files import Scan, read_scan
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.core_loss import EdgeMap
from udvd_core.maps.covariance import cut
from udvd_core.maps.line_maps import DENOISED, surroundings
from udvd_core.maps.preset_maps import preset_maps
from udvd_core.maps.presets import BUILT_IN, FILE, Preset, read_presets
from udvd_core.noise import NoiseModel
from udvd_core.settings import BACKGROUNDS, MapWindow

TOGETHER = {
    "line": ("ratio", "step", "relative_to"),
    "references": ("within",),
    "preset": ("presets", "k", "measure_overlap"),
}
"""Options that go with another one only."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd map``."""
    parser.add_argument(
        "input", metavar="IN", help="scan, raw or denoised: .npy .npz .nhdf .h5 .ndata .hspy .zspy .dm3 .dm4"
    )
    parser.add_argument(
        "--output",
        metavar="OUT",
        required=True,
        help="map and its sigma, an array (2, y, x), of counts unless it says otherwise: .npy .npz .nhdf .h5 .ndata"
        " .hspy .zspy; several maps are one file each, OUT with the map's name before its suffix, as maps_B_K.npy",
    )
    windows = parser.add_mutually_exclusive_group(required=True)
    windows.add_argument("--signal", metavar="A:B", help="window that is summed, eV; below zero --signal=-2:2")
    windows.add_argument("--preset", metavar="NAME", help=f"maps by name: {', '.join(each.name for each in BUILT_IN)}")
    map_lines.add_window(windows)
    map_references.add_window(windows)
    parser.add_argument(
        "--background",
        action="extend",
        nargs="+",
        default=[],
        metavar="C:D",
        help="windows that the background is fitted in, jointly, eV; without any the signal is summed plainly",
    )
    parser.add_argument(
        "--presets",
        metavar="FOLDER",
        help=f"with --preset: folder with {FILE}, which holds the presets that were saved in Swift: its configuration"
        " folder, or one that the file was copied to",
    )
    parser.add_argument("--method", choices=BACKGROUNDS, help="background model (default: power_law)")
    parser.add_argument(
        "--uncertainty",
        metavar="FILE",
        help="for a denoised scan, what udvd denoise --uncertainty FILE wrote; without it sigma is NaN",
    )
    parser.add_argument("--energy", metavar="OFFSET:STEP", help="energy axis in eV, for files without one")
    for part in (map_lines, map_references, map_elements):
        part.add_arguments(parser)


def run(args: argparse.Namespace) -> Outcome:
    """Map a scan."""
    for option, others in TOGETHER.items():
        for other in others:
            if getattr(args, other) and not getattr(args, option):
                raise InputError(f"--{other.replace('_', '-')} goes with --{option}: leave it out, or give both")
    return _run_preset(args) if args.signal is not None or args.preset is not None else _run_fits(args)


def _run_preset(args: argparse.Namespace) -> Outcome:
    """Map the windows of a preset, or one window."""
    preset = _preset(args)
    names = [window.name for window in preset.maps] + map_elements.names_of(args, preset)
    targets = targets_of(args, None if args.preset is None else names)
    scan = _read(args)
    for window in () if preset.tail else preset.maps:
        EdgeMap(window, scan.energy)  # refuses what cannot be mapped before anything is read
    with Progress(f"mapping {pathlib.Path(args.input).name}") as progress:
        errors, defects, warning = errors_of(args, scan, progress)
        preset, ratios, sentences = map_elements.measured(args, scan, preset, errors, defects)
        values, sigma = map_scan(scan, preset, errors, progress, defects)
    made = [
        Made(window.name, "counts", value, error, dataclasses.asdict(window))
        for window, value, error in zip(preset.maps, values, sigma, strict=True)
    ]
    made += map_elements.in_percent(args, preset, values, sigma)
    facts = {"preset": preset.to_dict(), **_origin(args, errors, defects)}
    outcome = write_maps(args, scan, made, targets, facts, warning)
    return Outcome("\n".join([outcome.text, *sentences]), {**outcome.values, "ratios": ratios}, outcome.warning)


def _run_fits(args: argparse.Namespace) -> Outcome:
    """Map a line, or reference spectra."""
    if args.background or args.method:
        raise InputError(
            "--background and --method do not go with --line and --references: these fit the background along with"
            " the rest"
        )
    targets = targets_of(args, (map_lines if args.line else map_references).names_of(args))
    scan = _read(args)
    if args.line:
        part, _ = surroundings(scan.energy, map_lines.window_of(args))
    else:
        part, _ = map_references.window_of(args, scan.energy)
    with Progress(f"mapping {pathlib.Path(args.input).name}") as progress:
        errors, defects, warning = errors_of(args, scan, progress)
        known = cut(known_at(errors, slice(0, scan.count)), part.start)
        progress.update(0.5, "fitting")
        spectra = spectra_of(scan, defects, part)
        made, facts = (map_lines if args.line else map_references).make(args, scan, spectra, known)
    if args.line and isinstance(errors, Uncertainty):
        warning = DENOISED
    return write_maps(args, scan, made, targets, {**facts, **_origin(args, errors, defects)}, warning)


def map_scan(
    scan: Scan, preset: Preset, errors: Errors, progress: Progress, defects: Defects | None = None
) -> tuple[Doubles, Doubles]:
    """Map a scan in blocks, frames summed over q.

    Parameters
    ----------
    scan : Scan
        Its energy axis is in eV.
    preset : Preset
        The maps.
    errors : NoiseModel or Uncertainty or None
        The camera's noise for a raw scan, what a denoised one may be off, or None where nothing is known.
    defects : Defects or None
        Faulty pixels, which are filled from their neighbours along E before rows are summed.

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
        progress.update(0.5, "aligning spectra")
        spectra = spectra_of(scan, defects)
        return preset_maps(spectra, scan.energy, preset, known_at(errors, slice(0, scan.count)))
    values, sigma = numpy.zeros((2, len(preset.maps), scan.count))
    total = numpy.zeros(scan.energy.size)
    for start, frames in blocks(scan):
        part = slice(start, start + len(frames))
        spectra = summed(frames, defects)
        values[:, part], sigma[:, part] = preset_maps(spectra, scan.energy, preset, known_at(errors, part))
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


def _preset(args: argparse.Namespace) -> Preset:
    """The maps that are asked for."""
    if args.preset is not None:
        if args.background or args.method:
            raise InputError("--background and --method go with --signal; a preset has its own")
        return _named(args)
    if args.method and not args.background:
        raise InputError(f"--method {args.method} wants the window that it is fitted in: give --background C:D")
    low, high = parse_window("--signal", args.signal)
    background = tuple(parse_window("--background", text) for text in args.background)
    name = f"{low:g} to {high:g} eV"
    return Preset(name, (MapWindow(name, (low, high), background, args.method or MapWindow.model),))


def _named(args: argparse.Namespace) -> Preset:
    """A preset by its name, those of the operator before built-in ones."""
    presets = {preset.name: preset for preset in BUILT_IN}
    if args.presets is not None:
        folder = pathlib.Path(args.presets)
        if not (folder / FILE).is_file():
            raise InputError(f"{folder} holds no presets; want the folder with {FILE}, where Swift saved them")
        presets, trouble = read_presets(folder)
        if trouble:
            raise InputError(trouble)
    if args.preset not in presets:
        raise InputError(
            f"preset {args.preset!r} is not known; want one of {', '.join(map(repr, presets))}"
            + ("" if args.presets else ", or give --presets FOLDER for those saved in Swift")
        )
    return presets[args.preset]


def _read(args: argparse.Namespace) -> Scan:
    """The scan, with energies in eV."""
    scan = read_scan(args.input, args.energy)
    if scan.energy.units != "eV":
        raise InputError(f"the energy axis of {args.input} is not calibrated: give --energy OFFSET:STEP in eV")
    return scan


def _origin(args: argparse.Namespace, errors: Errors, defects: Defects | None) -> dict[str, object]:
    """Where sigma comes from, for the metadata."""
    return {
        "noise": dataclasses.asdict(errors) if isinstance(errors, NoiseModel) else None,
        "defects": None if defects is None else defects.summary,
        "uncertainty": args.uncertainty,
    }
