"""A spectrum image of the library as maps need it: its spectra in blocks, and what is known of their errors."""

from __future__ import annotations

import dataclasses
import datetime
import typing
import weakref

import numpy
import numpy.typing
from nion.swift.model import DataItem

from udvd_core.axes import Axis
from udvd_core.buffer import FrameBuffer
from udvd_core.camera import measure_camera
from udvd_core.errors import InputError
from udvd_core.framing import rectangles
from udvd_core.maps.covariance import Covariance, DenoisedCovariance
from udvd_core.noise import NoiseModel

from . import uncertainties
from .scan_item import OURS, ScanLayout, energy_axis, layout_of

Array = numpy.typing.NDArray[numpy.float32]

BLOCK_BYTES = 4 << 20
"""Read at once: a large item is a file, and reading it holds up Swift's other threads."""
SAMPLE, RUN = 384, 16
"""Spectra that noise is measured on, in runs that follow each other."""

_noise: weakref.WeakKeyDictionary[DataItem.DataItem, tuple[datetime.datetime | None, NoiseModel | None]] = (
    weakref.WeakKeyDictionary()
)


@dataclasses.dataclass(frozen=True)
class Errors:
    """What is known of the errors of a scan's spectra.

    Attributes
    ----------
    covariance : callable or None
        Gives what is known of spectra from flat position `start` on; None where nothing is.
    independent : bool
        Whether positions share no errors.
    origin : str
        Where this is known from, or why it is not, for the operator.
    """

    covariance: typing.Callable[[int], NoiseModel | Covariance] | None
    independent: bool
    origin: str


def scan_of(item: DataItem.DataItem | None) -> tuple[ScanLayout, Axis]:
    """Positions and energies of a spectrum image.

    Raises
    ------
    InputError
        When the item is none, or has no energies in eV.
    """
    metadata = item.data_metadata if item is not None else None
    if item is None or metadata is None:
        raise InputError("the spectrum image has no data; select one that has")
    layout = layout_of(item.data_shape, metadata.data_descriptor)
    if isinstance(layout, str):
        raise InputError(f"{item.title!r} is no spectrum image: {layout}")
    energy = energy_axis(layout, metadata)
    if energy.units != "eV":
        raise InputError(f"{item.title!r} has no energies: calibrate its last axis in eV")
    return layout, energy


def blocks(item: DataItem.DataItem, layout: ScanLayout) -> typing.Iterator[tuple[int, Array]]:
    """All spectra, summed over q, as flat number of the first and array (n, E), in order; on any thread."""
    frames = max(1, BLOCK_BYTES // (4 * layout.frame_shape[0] * layout.frame_shape[1]))
    for first in range(0, layout.count, frames):
        yield first, read(item, layout, first, min(first + frames, layout.count))


def read(item: DataItem.DataItem, layout: ScanLayout, start: int, stop: int) -> Array:
    """Spectra of flat positions `start` to `stop`, summed over q, shape (n, E); whoever asks holds the item's data."""
    data: typing.Any = item.data
    if data is None:
        raise InputError(f"{item.title!r} has no data; select a spectrum image that has")
    parts = [
        numpy.asarray(data[box], numpy.float32).reshape(-1, *layout.frame_shape).sum(1)
        for _, _, box in rectangles(start, stop, layout.scan_shape)
    ]
    return numpy.concatenate(parts)


def errors_of(item: DataItem.DataItem, layout: ScanLayout, energy: Axis) -> Errors:
    """What is known of the errors of a scan: measured noise of a raw one, what denoising left of a denoised one."""
    if is_ours(item.metadata):
        known = uncertainties.load(item, layout.count, energy.size)
        if known is None:
            return Errors(None, False, "not known: no errors are kept for this denoised item, or it is not final yet")
        numbers = numpy.arange(layout.count)
        return Errors(lambda start: DenoisedCovariance(known, numbers[start:]), False, "what denoising left of errors")
    if _comes_from_ours(item):
        return Errors(None, False, "not known: this was made from a denoised item, map that one instead")
    noise = noise_of(item, layout)
    if noise is None:
        return Errors(None, True, "not known: too little was recorded yet to measure noise")
    origin = f"noise measured on the scan, gain {noise.gain:.3g}, read noise {noise.read_variance**0.5:.3g} counts"
    return Errors(lambda start: noise, True, origin)


def is_ours(metadata: typing.Mapping[str, typing.Any]) -> bool:
    """Whether this plug-in or `udvd` made data with these metadata of a scan: their noise is not that of counting."""
    ours = metadata.get(OURS)
    return isinstance(ours, dict) and ("simulated" not in ours or bool(ours.get("truth")))


def noise_of(item: DataItem.DataItem, layout: ScanLayout) -> NoiseModel | None:
    """Noise of a raw scan, measured on a sample of its spectra and kept until they change; None for too few spectra."""
    modified = item.data_modified
    kept = _noise.get(item)
    if kept is None or kept[0] != modified:
        kept = _noise[item] = (modified, _measured(item, layout))
    return kept[1]


def _measured(item: DataItem.DataItem, layout: ScanLayout) -> NoiseModel | None:
    runs = min(SAMPLE // RUN, max(layout.count // RUN, 1))
    starts = numpy.linspace(0, max(layout.count - RUN, 0), runs).astype(int)
    parts = [read(item, layout, int(start), min(int(start) + RUN, layout.count)) for start in starts]
    parts = [part for part in parts if part.any()]  # the scan may not have been there yet
    count = sum(map(len, parts))
    if count < 2 * RUN:
        return None
    buffer = FrameBuffer(count, (1, layout.frame_shape[1]))
    try:
        buffer.put(0, numpy.concatenate(parts)[:, None])
        return measure_camera(buffer).noise
    finally:
        buffer.close()


def _comes_from_ours(item: DataItem.DataItem) -> bool:
    """Whether Swift computed an item, at any remove, from one of ours; a snapshot remembers it, too."""
    history = str(item.metadata.get("computation", ""))
    return bool(history) and any(
        is_ours(each.metadata) and str(each.uuid) in history for each in item.project.data_items
    )
