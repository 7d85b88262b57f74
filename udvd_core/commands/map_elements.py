"""What ``udvd map --preset`` makes of several maps: the ratio of an overlap, measured, and atomic percent."""

from __future__ import annotations

import argparse
import dataclasses
import typing

import numpy

from udvd_core.commands.map_errors import Bools, Doubles, summed
from udvd_core.commands.map_files import REGION, Made, parse_region
from udvd_core.commands.scans import blocks
from udvd_core.defects import Defects
from udvd_core.errors import InputError
from udvd_core.files import Scan
from udvd_core.maps.composition import composition, covariance_of, parse_factor
from udvd_core.maps.core_loss import core_loss, shared_error
from udvd_core.maps.overlap import measure_ratio
from udvd_core.maps.presets import Preset
from udvd_core.noise import NoiseModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--measure-overlap",
        metavar=REGION,
        help="with --preset, where it takes lines of one element off another's map: their ratio is measured in these"
        " rows and columns of the raw scan, where the other element is not, and used instead of the preset's",
    )
    parser.add_argument(
        "--k",
        nargs="+",
        metavar="NAME=VALUE",
        help="with --preset: k-factors of two or more of its maps, atoms per count in a common unit (one over the"
        " partial cross-section), with an error if known, as 'N K=2.1+-0.1'; adds a map of atomic percent of each",
    )


def measured(
    args: argparse.Namespace, scan: Scan, preset: Preset, noise: object, defects: Defects | None
) -> tuple[Preset, list[dict[str, typing.Any]], list[str]]:
    """The preset with ratios measured in a region of the scan, these ratios, and a sentence for each.

    Raises
    ------
    InputError
        When the preset has no overlap, the scan is not raw, or the region does not hold the main lines clearly.
    """
    if args.measure_overlap is None:
        return preset, [], []
    if not preset.lines:
        raise InputError(f"preset {preset.name!r} takes no lines off another map: leave --measure-overlap out")
    mask = parse_region("--measure-overlap", args.measure_overlap, scan.scan_shape)
    if not isinstance(noise, NoiseModel):
        raise InputError("a ratio is measured on a raw scan, whose positions share no errors: give that as IN")
    spectra = _chosen(scan, mask, defects)
    windows = {each.name: each for each in preset.maps}
    found, facts, sentences = [], [], []
    for lines in preset.lines:
        pair = (windows[lines.overlap], windows[lines.major])
        values, sigma = core_loss(spectra, scan.energy, pair, noise)
        shared = shared_error(spectra, scan.energy, pair, noise)
        there = numpy.isfinite(sigma[0]) & numpy.isfinite(sigma[1])
        minor_by_major = measure_ratio(values[0], sigma[0], values[1], sigma[1], there, shared)
        if minor_by_major.value <= 2 * minor_by_major.sigma:
            raise InputError(
                f"the region holds {minor_by_major.value:.3g} \u00b1 {minor_by_major.sigma:.2g} counts in"
                f" {lines.overlap!r} per count in {lines.major!r}; want more than twice the error: mark more positions"
            )
        ratio = minor_by_major.inverse()
        found.append(dataclasses.replace(lines, ratio=ratio.value, sigma=ratio.sigma))
        facts.append({**dataclasses.asdict(found[-1]), "positions": int(there.sum())})
        sentences.append(
            f"{lines.major} has {ratio.value:.4g} \u00b1 {ratio.sigma:.2g} times the counts of its lines in"
            f" {lines.overlap}, measured at {there.sum()} positions"
        )
    return dataclasses.replace(preset, lines=tuple(found)), facts, sentences


def names_of(args: argparse.Namespace, preset: Preset) -> list[str]:
    """What maps of atomic percent are called; none where there are no k-factors.

    Raises
    ------
    InputError
        When a k-factor is none, or of no map of the preset, or there is only one.
    """
    factors = [parse_factor(text) for text in args.k or ()]
    known = [window.name for window in preset.maps]
    names = [factor.name for factor in factors]
    if args.k and (len(names) < 2 or len(set(names)) < len(names) or not set(names) <= set(known) or preset.tail):
        raise InputError(
            f"--k is given for {', '.join(names)}; want two or more of the edges of preset {preset.name!r},"
            f" which maps {', '.join(known)}"
        )
    return [f"{name} atomic percent" for name in names]


def in_percent(args: argparse.Namespace, preset: Preset, values: Doubles, sigma: Doubles) -> list[Made]:
    """Maps of atomic percent from those of the preset, (maps, n)."""
    if not args.k:
        return []
    factors = tuple(parse_factor(text) for text in args.k)
    rows = {window.name: row for row, window in enumerate(preset.maps)}
    chosen = [rows[factor.name] for factor in factors]
    covariance = covariance_of(sigma[chosen], [factor.name for factor in factors], preset.lines)
    found = composition(values[chosen], covariance, factors)
    facts = {"k": [dataclasses.asdict(factor) for factor in factors]}
    return [
        Made(name, "at.%", value, error, {"name": name, **facts})
        for name, value, error in zip(names_of(args, preset), found.values, found.total(), strict=True)
    ]


def _chosen(scan: Scan, mask: Bools, defects: Defects | None) -> Doubles:
    """Spectra of marked positions, shape (n, E)."""
    parts = [summed(frames[mask[start : start + len(frames)]], defects) for start, frames in blocks(scan)]
    return numpy.concatenate(parts)
