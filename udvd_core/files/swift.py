"""Nion Swift's own files, read and written without Nion packages.

``.h5`` holds one dataset ``data`` whose attribute ``properties`` is JSON; ``.nhdf`` holds such
datasets in a group ``data``, and display items in ``index``; ``.ndata`` is an uncompressed zip
of ``data.npy`` and ``metadata.json``. The JSON is the same in all three.
"""

from __future__ import annotations

import datetime
import io
import json
import pathlib
import typing
import uuid
import zipfile

import h5py
import numpy

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.files.scan import Array, Scan, check_dimensions, plain, scan_axis_names

Properties = dict[str, typing.Any]

ITEM_VERSION = 13  # of the properties, as Swift 16 writes them
ZIP_LIMIT = 2_000_000_000  # bytes; Swift's reader knows no zip64


def read_hdf5(path: pathlib.Path) -> Scan:
    """Read the one data item of a ``.h5`` or ``.nhdf`` file; large uncompressed data are mapped."""
    with h5py.File(path, "r") as file:
        node = file.get("data")
        found = list(node.values()) if isinstance(node, h5py.Group) else [node]
        found = [dataset for dataset in found if isinstance(dataset, h5py.Dataset) and "properties" in dataset.attrs]
        if len(found) != 1:
            raise InputError(f"{path} holds {len(found)} data items of Nion Swift; want one: export the scan alone")
        properties = json.loads(found[0].attrs["properties"])
        return _scan(_mapped(path, found[0]), properties, path)


def read_ndata(path: pathlib.Path) -> Scan:
    """Read a ``.ndata`` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            properties = json.loads(archive.read("metadata.json"))
            data = numpy.load(io.BytesIO(archive.read("data.npy")), allow_pickle=False)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} cannot be read: {error}; is it a whole .ndata file?") from None
    return _scan(data, properties, path)


def write_h5(path: pathlib.Path, scan: Scan) -> None:
    """Write one data item as Swift keeps it in a project."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("data", data=scan.data)
        dataset.attrs["properties"] = json.dumps(_properties(scan))


def write_nhdf(path: pathlib.Path, scan: Scan) -> None:
    """Write one data item as Swift exports and imports it; Swift makes the display."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("data/0", data=scan.data)
        dataset.attrs["properties"] = json.dumps(_properties(scan))
        file.create_group("index")


def write_ndata(path: pathlib.Path, scan: Scan) -> None:
    """Write a ``.ndata`` file, data first and uncompressed, as Swift wants it."""
    if scan.data.nbytes > ZIP_LIMIT:
        raise InputError(f"{scan.data.nbytes / 1e9:.1f} GB do not fit an .ndata file; write .nhdf or .h5")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        with archive.open("data.npy", "w") as member:
            numpy.lib.format.write_array(member, numpy.ascontiguousarray(scan.data), allow_pickle=False)
        archive.writestr("metadata.json", json.dumps(_properties(scan)))


def _mapped(path: pathlib.Path, dataset: h5py.Dataset) -> Array:
    """Map a dataset that lies in the file as one block; read any other."""
    offset = dataset.id.get_offset()
    if dataset.chunks is None and offset is not None and dataset.size and dataset.external is None:
        return numpy.memmap(path, dataset.dtype, "r", offset, dataset.shape)
    return numpy.asarray(dataset[...])


def _scan(data: Array, properties: Properties, path: pathlib.Path) -> Scan:
    check_dimensions(data.shape, 2, 5, str(path))
    sequence = bool(properties.get("is_sequence", False))
    datum = int(properties.get("datum_dimension_count") or 1)
    rows = datum == 2 and data.ndim > 2
    scan_dimensions = data.ndim - 1 - rows
    if datum > 2 or scan_dimensions > 3:
        raise InputError(f"{path} has shape {data.shape} with {datum} detector axes; want spectra or frames in a scan")
    names = (*scan_axis_names(scan_dimensions, sequence), *(("q",) if rows else ()))
    calibrations = properties.get("dimensional_calibrations") or [{}] * data.ndim
    axes = [_axis(size, c, name) for size, c, name in zip(data.shape, calibrations, (*names, "E"), strict=True)]
    intensity = _axis(1, properties.get("intensity_calibration") or {}, "intensity")
    metadata = dict(properties.get("metadata") or {})
    if properties.get("session"):
        metadata["session"] = properties["session"]
    title = str(properties.get("title") or path.stem)
    return Scan(data, tuple(axes), metadata, title, (intensity.offset, intensity.scale, intensity.units))


def _axis(size: int, calibration: Properties, name: str) -> Axis:
    offset, scale = float(calibration.get("offset") or 0.0), float(calibration.get("scale") or 1.0)
    return Axis(size, offset, scale, str(calibration.get("units") or ""), name)


def _properties(scan: Scan) -> Properties:
    """Properties of a new data item."""
    metadata = plain(scan.metadata)
    session = metadata.pop("session", {})
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat()
    sequence = scan.axes[0].name == "t" or scan.is_map
    offset, scale, units = scan.intensity
    return {
        "type": "data-item",
        "uuid": str(uuid.uuid4()),
        "created": now,
        "data_modified": now,
        "data_shape": list(scan.data.shape),
        "data_dtype": str(scan.data.dtype),
        "is_sequence": sequence,
        "collection_dimension_count": len(scan.axes) - sequence - scan.datum_dimensions,
        "datum_dimension_count": scan.datum_dimensions,
        "intensity_calibration": {"offset": offset, "scale": scale, "units": units},
        "dimensional_calibrations": [
            {"offset": axis.offset, "scale": axis.scale, "units": axis.units} for axis in scan.axes
        ],
        "metadata": metadata,
        "title": scan.title,
        "session": session,
        "category": "persistent",
        "version": ITEM_VERSION,
    }
