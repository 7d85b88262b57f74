"""HyperSpy and DigitalMicrograph files, through RosettaSciIO, which is imported when needed."""

from __future__ import annotations

import importlib
import importlib.metadata
import pathlib
import typing

import numpy

import udvd_core
from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.files.scan import PER_EV, Array, Scan, check_dimensions, plain, scan_axis_names

MODULES = {
    ".hspy": "rsciio.hspy",
    ".zspy": "rsciio.zspy",
    ".dm3": "rsciio.digitalmicrograph",
    ".dm4": "rsciio.digitalmicrograph",
}
Signal = dict[str, typing.Any]


def module_for(path: pathlib.Path) -> typing.Any:
    """Import the reader and writer of a suffix.

    Raises
    ------
    InputError
        When a library is missing.
    """
    try:
        module = importlib.import_module(MODULES[path.suffix.lower()])
    except ImportError as error:
        raise InputError(
            f"{path.suffix} files need a library that is not installed ({error.name or error}):"
            " pip install 'nionswift-udvd[files]'"
        ) from None
    if path.suffix.lower() == ".zspy":
        version = importlib.metadata.version("zarr")
        if int(version.split(".")[0]) > 2:
            raise InputError(f".zspy files need zarr 2 and zarr {version} is installed: pip install 'zarr<3'")
    return module


def read(path: pathlib.Path) -> Scan:
    """Read the first signal with an energy axis, else the first with enough dimensions."""
    signals = typing.cast(list[Signal], module_for(path).file_reader(str(path)))
    usable = [signal for signal in signals if 2 <= numpy.ndim(signal["data"]) <= 5]
    if not usable:
        raise InputError(f"{path} holds no signal of 2 to 4 dimensions; want (x, E), (y, x, E) or (y, x, q, E)")
    signal = next((candidate for candidate in usable if _energy_index(candidate) is not None), usable[0])
    data, described = _energy_last(numpy.asarray(signal["data"]), signal)
    check_dimensions(data.shape, 2, 5, str(path))
    navigated = [bool(axis["navigate"]) for axis in described]
    rows = data.ndim > 2 and not navigated[-2] and (navigated[0] or data.ndim > 3)
    names = (*scan_axis_names(data.ndim - 1 - rows), *(("q",) if rows else ()))
    axes = [_axis(size, axis, name) for size, axis, name in zip(data.shape, described, (*names, "E"), strict=True)]
    metadata = plain(signal.get("metadata") or {})
    if signal.get("original_metadata"):
        metadata["original_metadata"] = plain(signal["original_metadata"])
    title = str(metadata.get("General", {}).get("title") or path.stem)
    return Scan(data, tuple(axes), metadata, title)


def write(path: pathlib.Path, scan: Scan) -> None:
    """Write a HyperSpy signal, of type EELS unless it is a map."""
    metadata = plain(scan.metadata)
    original = metadata.pop("original_metadata", {})
    metadata.setdefault("General", {})["title"] = scan.title
    metadata.setdefault("Signal", {})["signal_type"] = "" if scan.is_map else "EELS"
    signal_dimensions = scan.datum_dimensions
    axes = [
        {
            "_type": "UniformDataAxis",
            "name": axis.name if index < scan.data.ndim - 1 or scan.is_map else "Energy loss",
            "size": axis.size,
            "offset": axis.offset,
            "scale": axis.scale,
            "units": axis.units,
            "navigate": index < scan.data.ndim - signal_dimensions,
            "is_binned": False,
            "index_in_array": index,
        }
        for index, axis in enumerate(scan.axes)
    ]
    signal = {
        "data": numpy.asarray(scan.data),
        "axes": axes,
        "metadata": metadata,
        "original_metadata": original,
        "attributes": {"_lazy": False, "ragged": False},
        "learning_results": {},
        "tmp_parameters": {},
        "models": {},
        "package_info": {"package": "nionswift-udvd", "package_version": udvd_core.__version__},
    }
    module_for(path).file_writer(str(path), signal, show_progressbar=False)


def _energy_index(signal: Signal) -> int | None:
    """Which array axis has units of energy."""
    units = [str(axis.get("units") or "").strip().lower() for axis in signal["axes"]]
    found = [index for index, unit in enumerate(units) if unit in PER_EV]
    return found[0] if len(found) == 1 else None


def _energy_last(data: Array, signal: Signal) -> tuple[Array, list[Signal]]:
    """Put the energy axis last; a file that has it elsewhere holds spectra, whatever it calls images."""
    axes = [dict(axis) for axis in signal["axes"]]
    for axis in axes:
        axis.setdefault("navigate", False)
    index = _energy_index(signal)
    if index is not None and index != data.ndim - 1:
        axes.append(axes.pop(index))
        data = numpy.ascontiguousarray(numpy.moveaxis(data, index, -1))
        axes = [{**axis, "navigate": True} for axis in axes]
    return data, axes


def _axis(size: int, axis: Signal, name: str) -> Axis:
    units = axis.get("units")
    return Axis(
        size,
        float(axis.get("offset") or 0.0),
        float(axis.get("scale") or 1.0),
        units if isinstance(units, str) and units != "<undefined>" else "",
        name,
    )
