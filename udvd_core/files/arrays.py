"""NumPy files: ``.npy`` with its axes in a JSON file beside it, ``.npz`` with ``data`` and ``energy_eV``."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.files.atomic import replacing
from udvd_core.files.scan import Array, Scan, check_dimensions, energy_from_values, plain


def read_npy(path: pathlib.Path) -> Scan:
    """Map a ``.npy`` array; axes and metadata come from ``PATH.json`` where this package wrote one."""
    data = numpy.load(path, mmap_mode="r", allow_pickle=False)
    if not data.flags.c_contiguous:
        data = numpy.ascontiguousarray(data)
    sidecar = _sidecar(path)
    if sidecar.exists():
        return _from_description(data, json.loads(sidecar.read_text("utf-8")), str(sidecar))
    return Scan(data, _bare_axes(data, str(path)), {}, path.stem)


def read_npz(path: pathlib.Path) -> Scan:
    """Read ``data`` and ``energy_eV`` of a ``.npz`` archive; its other texts become metadata."""
    with path.open("rb") as file, numpy.load(file, allow_pickle=False) as archive:
        if "data" not in archive:
            raise InputError(f"{path} holds {', '.join(archive) or 'nothing'}; want an array called 'data'")
        data = archive["data"]
        texts = {key: _value(archive[key]) for key in archive if archive[key].dtype.kind == "U"}
        energies = archive["energy_eV"] if "energy_eV" in archive else None
    if "scan" in texts:
        return _from_description(data, texts["scan"], str(path))
    axes = _bare_axes(data, str(path))
    if energies is not None:
        axes = (*axes[:-1], energy_from_values(energies, str(path)))
    return Scan(data, axes, texts, path.stem)


def write_npy(path: pathlib.Path, scan: Scan) -> None:
    """Write the bare array."""
    with path.open("wb") as file:
        numpy.save(file, scan.data, allow_pickle=False)


def write_sidecar(path: pathlib.Path, scan: Scan) -> None:
    """Write ``PATH.json`` with axes and metadata beside a ``.npy`` file; nothing for other formats."""
    if path.suffix.lower() == ".npy":
        with replacing(_sidecar(path)) as temporary:
            temporary.write_text(json.dumps(_description(scan), indent=1), "utf-8")


def write_npz(path: pathlib.Path, scan: Scan) -> None:
    """Write ``data``, ``energy_eV`` unless it is a map and, as JSON text, ``scan`` with all axes and the metadata."""
    content: dict[str, typing.Any] = {"data": scan.data, "scan": json.dumps(_description(scan))}
    if not scan.is_map:
        content["energy_eV"] = scan.energy.values()
    with path.open("wb") as file:
        numpy.savez(file, **content)


def _sidecar(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + ".json")


def _bare_axes(data: Array, path: str) -> tuple[Axis, ...]:
    """Axes that count pixels."""
    check_dimensions(data.shape, 2, 4, path)
    names = {2: ("x", "E"), 3: ("y", "x", "E"), 4: ("y", "x", "q", "E")}[data.ndim]
    return tuple(Axis(size, name=name) for size, name in zip(data.shape, names, strict=True))


def _description(scan: Scan) -> dict[str, typing.Any]:
    """All of a scan but its data, for JSON; `_from_description` is its inverse."""
    return {
        "title": scan.title,
        "axes": [dataclasses.asdict(axis) for axis in scan.axes],
        "intensity": list(scan.intensity),
        "metadata": plain(scan.metadata),
    }


def _from_description(data: Array, values: typing.Any, path: str) -> Scan:
    try:
        axes = tuple(Axis(**axis) for axis in values["axes"])
        offset, scale, units = values["intensity"]
        return Scan(data, axes, values["metadata"], values["title"], (float(offset), float(scale), str(units)))
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path} does not describe its array ({error}): remove it or write both again") from None


def _value(text: numpy.typing.NDArray[numpy.str_]) -> typing.Any:
    """Text of an archive, read as JSON where it is a JSON object."""
    value = text.tolist()
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
