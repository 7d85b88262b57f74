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
from udvd_core.camera import MOST_VALUES, Camera, measure_camera
from udvd_core.defects import Defects, fill, find_defects
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

_cameras: weakref.WeakKeyDictionary[DataItem.DataItem, tuple[datetime.datetime | None, RawCamera | None]] = (
    weakref.WeakKeyDictionary()
)


@dataclasses.dataclass(frozen=True)
class RawCamera:
    """What a raw scan tells of its camera.

    Attributes
    ----------
    noise : NoiseModel
        Of spectra, summed over q.
    defects : Defects
        Faulty pixels.
    """

    noise: NoiseModel
    defects: Defects

    @property
    def faulty(self) -> Defects | None:
        """The faulty pixels if there are any."""
        return None if self.defects.usable.all() else self.defects


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
    defects : Defects or None
        Faulty pixels of a raw scan, which are filled before it is mapped; None without any.
    """

    covariance: typing.Callable[[int], NoiseModel | Covariance] | None
    independent: bool
    origin: str
    defects: Defects | None = None

    @property
    def filled(self) -> str:
        """A sentence on the pixels that are filled, or none."""
        return "" if self.defects is None else f"{self.defects.summary}: filled from their neighbours."


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


def blocks(
    item: DataItem.DataItem, layout: ScanLayout, defects: Defects | None = None
) -> typing.Iterator[tuple[int, Array]]:
    """All spectra, summed over q, as flat number of the first and array (n, E), in order; on any thread.

    Faulty pixels are filled before rows are summed.
    """
    for first, stop in _steps(layout):
        frames = _frames(item, layout, first, stop)
        yield first, (frames if defects is None else fill(frames, defects.usable)).sum(1)


def read(item: DataItem.DataItem, layout: ScanLayout, start: int, stop: int) -> Array:
    """Spectra of flat positions `start` to `stop`, summed over q, shape (n, E); whoever asks holds the item's data."""
    return numpy.asarray(_frames(item, layout, start, stop).sum(1))


def _steps(layout: ScanLayout) -> typing.Iterator[tuple[int, int]]:
    """First and last flat position, itself excluded, of what is read at once."""
    number = max(1, BLOCK_BYTES // (4 * layout.frame_shape[0] * layout.frame_shape[1]))
    for first in range(0, layout.count, number):
        yield first, min(first + number, layout.count)


def _frames(item: DataItem.DataItem, layout: ScanLayout, start: int, stop: int) -> Array:
    """Frames (n, q, E)."""
    data: typing.Any = item.data
    if data is None:
        raise InputError(f"{item.title!r} has no data; select a spectrum image that has")
    parts = [
        numpy.asarray(data[box], numpy.float32).reshape(-1, *layout.frame_shape)
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
    camera = camera_of(item, layout)
    if camera is None:
        return Errors(None, True, "not known: too little was recorded yet to measure noise")
    noise = camera.noise
    origin = f"noise measured on the scan, gain {noise.gain:.3g}, read noise {noise.read_variance**0.5:.3g} counts"
    return Errors(lambda start: noise, True, origin, camera.faulty)


def is_ours(metadata: typing.Mapping[str, typing.Any]) -> bool:
    """Whether this plug-in or `udvd` made data with these metadata of a scan: their noise is not that of counting."""
    ours = metadata.get(OURS)
    return isinstance(ours, dict) and ("simulated" not in ours or bool(ours.get("truth")))


def noise_of(item: DataItem.DataItem, layout: ScanLayout) -> NoiseModel | None:
    """Noise of a raw scan's spectra; None for too few of them."""
    camera = camera_of(item, layout)
    return None if camera is None else camera.noise


def camera_of(item: DataItem.DataItem, layout: ScanLayout) -> RawCamera | None:
    """What a raw scan tells of its camera, kept until its data change; None for too few spectra.

    Noise is measured on a sample, faulty pixels are looked for in the mean of all frames.
    """
    modified = item.data_modified
    kept = _cameras.get(item)
    if kept is None or kept[0] != modified:
        kept = _cameras[item] = (modified, _measured(item, layout))
    return kept[1]


def _measured(item: DataItem.DataItem, layout: ScanLayout) -> RawCamera | None:
    size = layout.frame_shape[0] * layout.frame_shape[1]
    runs = min(min(SAMPLE, max(2 * RUN, MOST_VALUES // size)) // RUN, max(layout.count // RUN, 1))
    starts = numpy.linspace(0, max(layout.count - RUN, 0), runs).astype(int)
    parts = [_frames(item, layout, int(start), min(int(start) + RUN, layout.count)) for start in starts]
    parts = [part for part in parts if part.any()]  # the scan may not have been there yet
    if sum(map(len, parts)) < 2 * RUN:
        return None
    sample = numpy.concatenate(parts)
    total, number = numpy.zeros(layout.frame_shape), 0
    for first, stop in _steps(layout):
        frames = _frames(item, layout, first, stop)
        total += frames.sum(0, dtype=numpy.float64)
        number += int(frames.any((1, 2)).sum())
    camera = _camera_of(sample)
    defects = find_defects(total / max(number, 1), camera.noise, number)
    if not defects.usable.all():
        camera = _camera_of(fill(sample, defects.usable))
    return RawCamera(camera.summed, defects)


def _camera_of(frames: Array) -> Camera:
    buffer = FrameBuffer(len(frames), (frames.shape[1], frames.shape[2]))
    try:
        buffer.put(0, frames)
        return measure_camera(buffer)
    finally:
        buffer.close()


def _comes_from_ours(item: DataItem.DataItem) -> bool:
    """Whether Swift computed an item, at any remove, from one of ours; a snapshot remembers it, too."""
    history = str(item.metadata.get("computation", ""))
    return bool(history) and any(
        is_ours(each.metadata) and str(each.uuid) in history for each in item.project.data_items
    )
