"""How far denoised spectra may be off, in files: of every voxel, and what a map's sigma comes from."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import typing

import numpy
import numpy.typing

from udvd_core.errors import InputError
from udvd_core.files import Scan, check_output, write_scan
from udvd_core.files.atomic import replacing
from udvd_core.lowrank.uncertainty import Uncertainty

Array = numpy.typing.NDArray[numpy.float32]

KNOWN = ("guided", "guide")
"""Models that tell errors."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd denoise`` that name such files."""
    parser.add_argument("--sigma", metavar="FILE", help="standard error of every voxel, summed over q: as for OUT")
    parser.add_argument(
        "--uncertainty", metavar="FILE", help="what `udvd map OUT --uncertainty FILE` needs for its sigma: .npz"
    )


def check(args: argparse.Namespace) -> None:
    """Refuse files that could not be written, before any work is done for them.

    Raises
    ------
    InputError
        When the model tells no errors, a suffix is wrong, or two files are one.
    """
    taken = [pathlib.Path(args.input), pathlib.Path(args.output)]
    for option in ("sigma", "uncertainty"):
        if (given := getattr(args, option)) is None:
            continue
        target = pathlib.Path(given)
        if args.model not in KNOWN:
            raise InputError(
                f"--{option} is known for --model {' and '.join(KNOWN)}, not for {args.model}: leave it out"
            )
        if option == "uncertainty" and target.suffix.lower() != ".npz":
            raise InputError(f"--uncertainty is {target}; want an .npz file")
        check_output(target)
        if any(
            target.absolute() == p.absolute() or target.exists() and p.exists() and target.samefile(p) for p in taken
        ):
            raise InputError(f"--{option} is {target}, which is a file of this run already; give another")
        taken.append(target)


def write(
    args: argparse.Namespace, scan: Scan, packed: Array | None, provenance: typing.Mapping[str, typing.Any]
) -> str:
    """Write what was asked for; a sentence for the user where nothing is known, else an empty one.

    Parameters
    ----------
    scan : Scan
        The raw one.
    packed : array or None
        `udvd_core.engine.protocol.Finished.uncertainty`.
    provenance : mapping
        How the scan was denoised.

    Raises
    ------
    InputError
        When a file cannot be written.
    """
    asked = [given for given in (args.sigma, args.uncertainty) if given is not None]
    if packed is None:
        return f"errors are not known and {' and '.join(asked)} not written" if asked else ""
    if args.sigma is not None:
        write_scan(args.sigma, _sigma(scan, Uncertainty.unpacked(packed)), provenance)
    if args.uncertainty is not None:
        path = pathlib.Path(args.uncertainty)
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                numpy.savez(file, uncertainty=packed)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}; is the disk full or protected?") from None
    return ""


def read_uncertainty(path: str | pathlib.Path, scan: Scan) -> Uncertainty:
    """Read what `write` wrote for this scan.

    Raises
    ------
    InputError
        When the file is something else, or belongs to another scan.
    """
    try:
        with open(path, "rb") as file, numpy.load(file, allow_pickle=False) as archive:
            found = Uncertainty.unpacked(archive["uncertainty"])
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the file that udvd denoise --uncertainty wrote") from None
    except Exception:  # whatever reading a foreign file raises is the file's fault
        raise InputError(f"{path} holds no uncertainty; give the file that udvd denoise --uncertainty wrote") from None
    if found.scale.size != scan.energy.size or found.numbers.size > scan.count or found.numbers[-1] >= scan.count:
        raise InputError(
            f"{path} is of {found.numbers.size} spectra with {found.scale.size} channels and the scan has"
            f" {scan.count} with {scan.energy.size}; give the file that was written together with it"
        )
    return found


def _sigma(scan: Scan, uncertainty: Uncertainty) -> Scan:
    """Standard error of every denoised voxel, summed over q, counts."""
    sigma = uncertainty.sigma(numpy.arange(scan.count))
    axes = (*scan.scan_axes, scan.energy)
    shaped = sigma.reshape(tuple(axis.size for axis in axes))
    return dataclasses.replace(scan, data=shaped, axes=axes, title=f"{scan.title} (Standard Error)")
