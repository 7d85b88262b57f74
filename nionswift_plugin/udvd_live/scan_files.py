"""A spectrum image of the library in a file of its own, for a child process; written in blocks on a worker thread."""

from __future__ import annotations

import hashlib
import math
import pathlib
import shutil
import typing

import numpy
import numpy.lib.format
import numpy.typing
from nion.swift.model import DataItem

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.files.arrays import write_sidecar
from udvd_core.files.scan import Scan, plain, scan_axis_names
from udvd_core.framing import rectangles

from .scan_errors import BLOCK_BYTES, scan_of

SPARE_BYTES = 256 << 20
"""What stays free on the disk."""

Array = numpy.typing.NDArray[typing.Any]


class Written(typing.NamedTuple):
    """What `write_npy` saw of the data.

    Attributes
    ----------
    scan : Scan
        The file, mapped.
    sha256 : str
        Of the values as little-endian float32 in scan order, as Swift holds them.
    summed : array, shape of the scan
        Counts of each position.
    """

    scan: Scan
    sha256: str
    summed: Array


def write_npy(item: DataItem.DataItem, path: pathlib.Path, progress: typing.Callable[[float], None]) -> Written:
    """Write all frames of a spectrum image to a ``.npy`` file, with its axes beside it.

    Parameters
    ----------
    item : DataItem
        Its data are held.
    path : path
        Of the file; its folder exists.
    progress : callable
        Told the share that is written after each block; what it raises ends the writing.

    Raises
    ------
    InputError
        When the item is no spectrum image, or the disk too small.
    """
    layout, energy = scan_of(item)
    check_space(path.parent, needed(item))
    calibrations = item.dimensional_calibrations
    sequence = bool(item.is_sequence)
    names = [*scan_axis_names(len(layout.scan_shape), sequence), *(("q",) if layout.datum_dimensions == 2 else ())]
    shape = typing.cast(tuple[int, ...], item.data_shape)
    axes = [
        Axis(size, each.offset, each.scale, each.units, name)
        for size, each, name in zip(shape[:-1], calibrations[:-1], names, strict=True)
    ]
    target = numpy.lib.format.open_memmap(path, mode="w+", dtype="<f4", shape=shape)
    flat = target.reshape(layout.count, -1)
    digest, summed = hashlib.sha256(), numpy.zeros(layout.count)
    step = max(1, BLOCK_BYTES // (4 * math.prod(layout.frame_shape)))
    for first in range(0, layout.count, step):
        for start, stop, box in rectangles(first, min(first + step, layout.count), layout.scan_shape):
            data: typing.Any = item.data
            block = numpy.ascontiguousarray(data[box], dtype="<f4").reshape(stop - start, -1)
            digest.update(block.data)
            flat[start:stop] = block
            summed[start:stop] = block.sum(1, dtype=numpy.float64)
        progress(min(first + step, layout.count) / layout.count)
    target.flush()
    intensity = item.intensity_calibration
    units = (intensity.offset, intensity.scale, intensity.units) if intensity is not None else (0.0, 1.0, "counts")
    scan = Scan(target, (*axes, energy), plain(item.metadata), item.title, units)
    write_sidecar(path, scan)
    return Written(scan, digest.hexdigest(), summed.reshape(layout.scan_shape))


def needed(item: DataItem.DataItem) -> int:
    """Bytes of a spectrum image in a file."""
    return 4 * math.prod(item.data_shape or ())


def check_space(folder: pathlib.Path, wanted: int) -> None:
    """Refuse to fill up a disk.

    Raises
    ------
    InputError
        When it has less space than that.
    """
    free = shutil.disk_usage(folder).free - SPARE_BYTES
    if free < wanted:
        raise InputError(
            f"{folder} has {max(free, 0) >> 20} MB to spare and {wanted >> 20} MB are needed; free some space"
        )
