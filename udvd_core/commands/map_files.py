"""What all kinds of ``udvd map`` share: regions of a scan, the files that maps go to, and what is said of them."""

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
from udvd_core.commands.outcome import Outcome
from udvd_core.commands.scans import sha256
from udvd_core.errors import InputError
from udvd_core.files import Scan, check_output, write_scan
from udvd_core.files.scan import MAP
from udvd_core.settings import Window

Bools = numpy.typing.NDArray[numpy.bool_]
Doubles = numpy.typing.NDArray[numpy.float64]

REGION = "Y0:Y1,X0:X1"
"""How a region is written: rows and columns from, up to but without."""


@dataclasses.dataclass(frozen=True)
class Made:
    """One map that was made.

    Attributes
    ----------
    name, units : str
        What it shows, and in what.
    values, sigma : array, shape (n,)
        In scan order.
    facts : dict
        For its metadata.
    """

    name: str
    units: str
    values: Doubles
    sigma: Doubles
    facts: dict[str, typing.Any]


def parse_window(option: str, text: str) -> Window:
    """Two energies in eV from ``A:B``."""
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"{option} is {text!r}; want two energies in eV, for example 190:210") from None
    return (low, high)


def parse_region(option: str, text: str, scan_shape: tuple[int, ...]) -> Bools:
    """Positions of a scan, shape (n,), in rows and columns from ``Y0:Y1,X0:X1``; of a line ``X0:X1``.

    Raises
    ------
    InputError
        When the text is something else, or leaves the scan.
    """
    whole = ",".join(f"0:{size}" for size in scan_shape)
    try:
        ranges = [tuple(int(end) for end in part.split(":")) for part in text.split(",")]
        if any(len(ends) != 2 for ends in ranges) or len(ranges) != len(scan_shape):
            raise ValueError
    except ValueError:
        raise InputError(f"{option} is {text!r}; want a region of the scan such as {whole}, which is all") from None
    if not all(0 <= low < high <= size for (low, high), size in zip(ranges, scan_shape, strict=True)):
        raise InputError(f"{option} is {text!r} and no part of the scan, which is {whole}: choose positions inside it")
    mask = numpy.zeros(scan_shape, numpy.bool_)
    mask[tuple(slice(low, high) for low, high in ranges)] = True
    return mask.reshape(-1)


def targets_of(args: argparse.Namespace, names: typing.Sequence[str] | None) -> list[pathlib.Path]:
    """A file for each name, ``OUT`` with the name before its suffix; without names ``OUT`` itself.

    Raises
    ------
    InputError
        When a file cannot be written, is the scan itself, or two are one.
    """
    source, target = pathlib.Path(args.input), pathlib.Path(args.output)
    targets = [target]
    if names is not None:
        suffixes = [re.sub(r"[^\w.-]+", "_", name) for name in names]
        targets = [target.with_name(f"{target.stem}_{each}{target.suffix}") for each in suffixes]
    if len(set(targets)) < len(targets):
        raise InputError(f"maps {', '.join(names or ())} would go to one file; give each a name of its own")
    for each in targets:
        check_output(each)
        if each.exists() and source.exists() and each.samefile(source):
            raise InputError(f"{each} is the scan itself; give another --output, the scan stays as it is")
    return targets


def write_maps(
    args: argparse.Namespace,
    scan: Scan,
    maps: typing.Sequence[Made],
    targets: typing.Sequence[pathlib.Path],
    facts: typing.Mapping[str, typing.Any],
    warning: str,
) -> Outcome:
    """Write maps to their files, and say what was made.

    Raises
    ------
    InputError
        When a file cannot be written.
    """
    provenance = {
        "program": f"nionswift-udvd {udvd_core.__version__}",
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "input": {
            "path": str(pathlib.Path(args.input).absolute()),
            "sha256": sha256(pathlib.Path(args.input)),
            "udvd": scan.metadata.get("udvd"),
        },
        "kind": "map",
        **facts,
    }
    lines, said = [], []
    for made, target in zip(maps, targets, strict=True):
        write_scan(target, _map(scan, made), {**provenance, "map": made.facts})
        there = ~numpy.isinf(made.sigma)
        mean = float(made.values[there].mean()) if there.any() else numpy.nan
        typical = float(numpy.median(made.sigma[there])) if there.any() else numpy.nan
        known = "sigma not known" if numpy.isnan(typical) else f"median sigma {typical:.4g}"
        number = f"{made.values.size} positions" if there.all() else f"clear at {there.sum()} of {there.size} positions"
        lines.append(f"{target}: {made.name}, {number}, mean {mean:.4g} {made.units}, {known}".replace(" ,", ","))
        said.append(
            {"name": made.name, "output": str(target), "units": made.units, "mean": mean, "sigma": typical}
            | {"clear": int(there.sum())}
        )
    return Outcome("\n".join(lines), {"maps": said, "provenance": provenance}, warning)


def _map(scan: Scan, made: Made) -> Scan:
    """Map and sigma, one above the other, as what is written."""
    data = numpy.stack((made.values, made.sigma)).astype(numpy.float32).reshape(2, *scan.scan_shape)
    axes = (Axis(2, name=MAP), *scan.scan_axes)
    intensity = (*scan.intensity[:2], "counts") if made.units == "counts" else (0.0, 1.0, made.units)
    return dataclasses.replace(scan, data=data, axes=axes, title=f"{scan.title} ({made.name})", intensity=intensity)
