"""Which module reads and writes which suffix."""

from __future__ import annotations

import dataclasses
import pathlib
import typing

from udvd_core.errors import InputError
from udvd_core.files import arrays, rosetta, swift
from udvd_core.files.atomic import replacing
from udvd_core.files.scan import Scan, check_counts, in_ev, parse_energy

WRITE_ERRORS = (OSError, ValueError, TypeError, KeyError, RuntimeError)

Reader = typing.Callable[[pathlib.Path], Scan]
Writer = typing.Callable[[pathlib.Path, Scan], None]

READERS: dict[str, Reader] = {
    ".npy": arrays.read_npy,
    ".npz": arrays.read_npz,
    ".h5": swift.read_hdf5,
    ".nhdf": swift.read_hdf5,
    ".ndata": swift.read_ndata,
    ".hspy": rosetta.read,
    ".zspy": rosetta.read,
    ".dm3": rosetta.read,
    ".dm4": rosetta.read,
}
WRITERS: dict[str, Writer] = {
    ".npy": arrays.write_npy,
    ".npz": arrays.write_npz,
    ".h5": swift.write_h5,
    ".nhdf": swift.write_nhdf,
    ".ndata": swift.write_ndata,
    ".hspy": rosetta.write,
    ".zspy": rosetta.write,
}


def read_scan(path: str | pathlib.Path, energy: str | None = None) -> Scan:
    """Read a scan and check that it can be denoised.

    Parameters
    ----------
    path : path
        Its suffix names the format.
    energy : str or None
        ``OFFSET:STEP`` in eV; replaces the energy axis of the file.

    Raises
    ------
    InputError
        When the file is missing, damaged or of an unknown kind, or holds no usable scan.
    """
    path = pathlib.Path(path)
    reader = _by_suffix(READERS, path, "read")
    if not path.exists():
        raise InputError(f"{path} does not exist; give the path of a scan")
    try:
        scan = reader(path)
    except InputError:
        raise
    except MemoryError:
        raise InputError(
            f"{path} is larger than the memory of this machine; save it as .npy, which is mapped"
        ) from None
    except Exception as error:  # whatever a reader of foreign files raises is the file's fault
        raise InputError(f"{path} cannot be read: {_first_line(error)}; is it a whole {path.suffix} file?") from None
    check_counts(scan.data, str(path))
    axis = in_ev(scan.energy, str(path)) if energy is None else parse_energy(energy, scan.energy.size)
    return dataclasses.replace(scan, axes=(*scan.axes[:-1], axis))


def write_scan(path: str | pathlib.Path, scan: Scan, provenance: typing.Mapping[str, typing.Any]) -> None:
    """Write a scan with its axes and metadata, wholly or not at all.

    Parameters
    ----------
    path : path
        Its suffix names the format. ``.npy`` holds no axes: they go to ``PATH.json`` beside it.
    scan : Scan
        What is written.
    provenance : mapping
        How it was made; kept as metadata ``"udvd"``.

    Raises
    ------
    InputError
        When the format is unknown or the file cannot be written.
    """
    path = pathlib.Path(path)
    check_output(path)
    writer = _by_suffix(WRITERS, path, "written")
    scan = dataclasses.replace(scan, metadata={**scan.metadata, "udvd": dict(provenance)})
    try:
        with replacing(path) as temporary:
            writer(temporary, scan)
            arrays.write_sidecar(path, scan)
    except InputError:
        raise
    except WRITE_ERRORS as error:
        raise InputError(f"{path} cannot be written: {_first_line(error)}; is the disk full or protected?") from None


def result_suffix(path: pathlib.Path) -> str:
    """Suffix of a result that nobody named: that of its scan, or where such files are only read one that keeps axes."""
    suffix = path.suffix.lower()
    if suffix in WRITERS:
        return path.suffix
    return ".hspy" if suffix in READERS else ".npz"


def check_output(path: str | pathlib.Path) -> None:
    """Refuse an output that could not be written, before any work is done for it.

    Raises
    ------
    InputError
        When the suffix is unknown, its folder is missing, or a library for it is not installed.
    """
    path = pathlib.Path(path)
    _by_suffix(WRITERS, path, "written")
    if not path.absolute().parent.is_dir():
        raise InputError(f"folder {path.absolute().parent} does not exist; create it first")
    if path.is_dir() and path.suffix.lower() != ".zspy":
        raise InputError(f"{path} is a folder; give the path of a file")
    if path.suffix.lower() in rosetta.MODULES:
        rosetta.module_for(path)


_Use = typing.TypeVar("_Use")


def _by_suffix(table: dict[str, _Use], path: pathlib.Path, use: str) -> _Use:
    found = table.get(path.suffix.lower())
    if found is None:
        raise InputError(f"{path} has suffix {path.suffix!r}; {', '.join(table)} can be {use}")
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
