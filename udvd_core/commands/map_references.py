"""``udvd map --references``: how much of each reference spectrum every position holds."""

from __future__ import annotations

import argparse
import pathlib
import re
import typing

import numpy

from udvd_core.axes import Axis
from udvd_core.commands.map_errors import Array, spectra_of
from udvd_core.commands.map_files import REGION, Made, parse_region, parse_window
from udvd_core.errors import InputError
from udvd_core.files import Scan, read_scan
from udvd_core.maps.covariance import Covariance
from udvd_core.maps.references import Reference, reference_of_array, reference_of_region
from udvd_core.maps.unmix import unmix
from udvd_core.noise import NoiseModel

IN_SCAN = re.compile(r"(?P<name>[^=]+)=(?P<region>-?\d+:-?\d+(,-?\d+:-?\d+)*)")


def add_window(group: argparse._MutuallyExclusiveGroup) -> None:
    """Add the option that asks for such maps."""
    group.add_argument(
        "--references",
        nargs="+",
        metavar="REF",
        help="spectra that the scan is taken apart into, the background's look among them, none less than nothing:"
        f" files, whose mean spectrum is taken, or regions of this scan, NAME={REGION}; a map of each, 1 where a"
        " position holds as much as the reference",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that go with it."""
    parser.add_argument(
        "--within", metavar="A:B", help="with --references: energy loss that is fitted, eV (default: all)"
    )


def names_of(args: argparse.Namespace) -> list[str]:
    """What the references are called.

    Raises
    ------
    InputError
        When two have one name.
    """
    names = []
    for text in args.references:
        found = IN_SCAN.fullmatch(text)
        names.append(found["name"].strip() if found else pathlib.Path(text).stem)
    if len(set(names)) < len(names):
        raise InputError(f"references are called {', '.join(names)}; want different names")
    return names


def window_of(args: argparse.Namespace, energy: Axis) -> tuple[slice, Axis]:
    """Channels that are fitted, and their energies."""
    if args.within is None:
        return slice(0, energy.size), energy
    part = energy.window(*parse_window("--within", args.within))
    return part, Axis(part.stop - part.start, energy.offset + energy.scale * part.start, energy.scale, "eV", "E")


def make(
    args: argparse.Namespace, scan: Scan, spectra: Array, errors: NoiseModel | Covariance | None
) -> tuple[list[Made], dict[str, typing.Any]]:
    """A map of each reference, from the channels of `window_of`, and facts of all."""
    _, energy = window_of(args, scan.energy)
    references = []
    for name, text in zip(names_of(args), args.references, strict=True):
        if found := IN_SCAN.fullmatch(text):
            mask = parse_region("--references", found["region"], scan.scan_shape)
            references.append(reference_of_region(name, spectra, energy, mask))
        else:
            references.append(_from_file(name, pathlib.Path(text), scan.energy, energy))
    amounts = unmix(spectra, energy, references, errors)
    sigma = amounts.sigma if errors is not None else numpy.full_like(amounts.sigma, numpy.nan)
    made = [
        Made(each.name, "ref.", values, error, {"name": each.name, "counts": float(each.spectrum.sum())})
        for each, values, error in zip(references, amounts.amplitudes, sigma, strict=True)
    ]
    return made, {"references": args.references, "within": args.within}


def _from_file(name: str, path: pathlib.Path, whole: Axis, energy: Axis) -> Reference:
    """Mean spectrum of a file, on channels of the scan; a file without energies has the scan's, if as many."""
    file = _read(path)
    own = file.energy
    if own.units != "eV":
        if own.size != whole.size:
            raise InputError(
                f"reference {path} has no energies and {own.size} channels, the scan {whole.size};"
                " save it with its energies, as .hspy or as .npz with data (1, E) and energy_eV"
            )
        own = whole
    return reference_of_array(name, spectra_of(file).mean(axis=0, dtype=numpy.float64), own, energy)


def _read(path: pathlib.Path) -> Scan:
    """A scan, or one spectrum in a NumPy file."""
    if path.suffix.lower() == ".npy" and path.is_file():
        with path.open("rb") as file:
            try:
                values = numpy.load(file, allow_pickle=False)
            except ValueError:
                values = numpy.zeros(())
        if values.ndim == 1 and values.size:
            return Scan(values[None], (Axis(1, name="x"), Axis(values.size, name="E")))
    return read_scan(path)
