"""``udvd map --line``: position, width and shift of a line at every position, or the ratio of two."""

from __future__ import annotations

import argparse
import typing

import numpy

from udvd_core.commands.map_errors import Array
from udvd_core.commands.map_files import REGION, Made, parse_region, parse_window
from udvd_core.errors import InputError
from udvd_core.files import Scan
from udvd_core.maps.covariance import Covariance
from udvd_core.maps.line_maps import line_maps, ratio_map, shift_map, surroundings
from udvd_core.noise import NoiseModel

NAMES = ("position", "width", "shift")
COMMON = (
    "positions may all be off by the same amount, about a tenth of an eV where the line is not Gaussian:"
    " compare positions with each other, or take the shift"
)


def add_window(group: argparse._MutuallyExclusiveGroup) -> None:
    """Add the option that asks for such maps."""
    group.add_argument(
        "--line",
        metavar="A:B",
        help="window with one line and some background on both sides, eV: maps of the line's position, its full"
        " width at half maximum and its shift, eV; sigma is infinite where the line is not clear",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that go with it."""
    parser.add_argument(
        "--ratio", metavar="E1:E2", help="with --line: a map of the ratio of two lines instead, about here, eV: 883:901"
    )
    parser.add_argument("--step", action="store_true", help="with --line: the background steps up at it, as at an edge")
    parser.add_argument(
        "--relative-to",
        metavar=REGION,
        help="with --line: rows and columns whose mean position the shift is counted from (default: the whole scan)",
    )


def names_of(args: argparse.Namespace) -> list[str] | None:
    """What the maps are called; None for one map."""
    return None if args.ratio else list(NAMES)


def window_of(args: argparse.Namespace) -> tuple[float, float]:
    """Energy loss that is fitted, eV."""
    return parse_window("--line", args.line)


def make(
    args: argparse.Namespace, scan: Scan, spectra: Array, errors: NoiseModel | Covariance | None
) -> tuple[list[Made], dict[str, typing.Any]]:
    """Maps of the line, from the channels of `surroundings`, and facts of all."""
    window = window_of(args)
    _, energy = surroundings(scan.energy, window)
    if args.ratio:
        if args.step or args.relative_to:
            raise InputError("--step and --relative-to do not go with --ratio: white lines stand on steps always")
        lines = parse_window("--ratio", args.ratio)
        each = ratio_map(spectra, energy, window, lines, errors)
        return [Made("ratio", "", each.values, each.sigma, {"lines": lines})], {"line": window}
    region = numpy.ones(scan.count, numpy.bool_)
    if args.relative_to:
        region = parse_region("--relative-to", args.relative_to, scan.scan_shape)
    position, width = line_maps(spectra, energy, window, errors, step=args.step)
    shift, sigma = shift_map(position.values, position.sigma, region)
    made = [Made(each.name, each.units, each.values, each.sigma, {"name": each.name}) for each in (position, width)]
    made[0].facts["note"] = COMMON
    facts = {"name": "shift", "relative_to": args.relative_to}
    return [*made, Made("shift", "eV", shift, sigma, facts)], {"line": window, "step": args.step}
