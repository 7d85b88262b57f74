"""One result in Swift's library: its form, and its item from the first step of making it until it is let go of.

Everything here runs on Swift's main thread.
"""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing
from nion.data import Calibration, DataAndMetadata
from nion.instrumentation import DataChannel
from nion.swift.model import DataItem

from udvd_core.framing import rectangles
from udvd_core.settings import MapWindow, ScanSpec

Array = numpy.typing.NDArray[numpy.float32]


@dataclasses.dataclass(frozen=True)
class Form:
    """Shape and calibrations of a result item."""

    scan_shape: tuple[int, ...]
    shape: tuple[int, ...]
    descriptor: DataAndMetadata.DataDescriptor
    intensity: Calibration.Calibration
    dimensions: list[Calibration.Calibration]

    @classmethod
    def of_denoised(cls, raw: DataAndMetadata.DataMetadata, spec: ScanSpec) -> Form:
        """As raw, without q where it was summed over."""
        positions = len(spec.scan_shape)
        calibrations = list(raw.dimensional_calibrations)
        keeps_rows = len(spec.output_shape) == 2
        if not keeps_rows:
            calibrations = calibrations[:positions] + calibrations[-1:]
        old, datum = raw.data_descriptor, 2 if keeps_rows else 1
        descriptor = DataAndMetadata.DataDescriptor(old.is_sequence, old.collection_dimension_count, datum)
        shape = spec.scan_shape + spec.output_shape
        return cls(spec.scan_shape, shape, descriptor, raw.intensity_calibration, calibrations)

    @classmethod
    def of_map(cls, raw: DataAndMetadata.DataMetadata, spec: ScanSpec, window: MapWindow) -> Form:
        """The positions of the raw data as a line, an image, or a sequence of images."""
        channels = spec.energy.window(*window.signal)
        positions = len(spec.scan_shape)
        descriptor = DataAndMetadata.DataDescriptor(positions == 3, 0, min(positions, 2))
        units = raw.intensity_calibration.units or "counts"
        counts = Calibration.Calibration(units=f"{units} in {channels.stop - channels.start} channels")
        return cls(spec.scan_shape, spec.scan_shape, descriptor, counts, list(raw.dimensional_calibrations[:positions]))

    def blank(self) -> DataAndMetadata.DataAndMetadata:
        """Zeros in this form."""
        zeros = numpy.zeros(self.shape, numpy.float32)
        return DataAndMetadata.new_data_and_metadata(
            zeros, self.intensity, self.dimensions, data_descriptor=self.descriptor
        )


@dataclasses.dataclass
class Result:
    """One result item: how it is called, its form, and the item once it is made."""

    label: str
    form: Form
    map: tuple[int, int] | None = None
    """Number of a map and row of `Block.maps`; None for the denoised data."""
    item: DataItem.DataItem | None = None
    waiting: list[tuple[int, Array]] = dataclasses.field(default_factory=list)
    """First frame and data of what came since it was written last."""
    written: float = -math.inf
    """When that was, seconds."""
    removed: bool = False
    """Whether the operator deleted it; Swift tells so before it closes the item."""
    done: bool = False
    """Whether it was let go of."""
    _reference: typing.Any = None
    """Keeps the item live and in a transaction; dropped on the main thread."""

    @property
    def there(self) -> bool:
        """Whether the item was made and not deleted since."""
        return self.item is not None and not self.removed and not self.item._closed

    @property
    def open(self) -> bool:
        """Whether the item is live and can be written."""
        return self._reference is not None

    def shown(self, document_model: typing.Any) -> bool:
        """Whether a display panel shows the item."""
        if self.item is None:
            return False
        displays = document_model.get_display_items_for_data_item(self.item)
        return any(display._display_ref_count for display in displays)

    def open_for(self, document_model: typing.Any) -> None:
        """Give the item, which is in the library, its form, and make it live."""
        item, form = self.item, self.form
        if item is None:
            raise ValueError(f"{self.label!r} has no item to open; put one into the library first")
        calibrations = [form.intensity, *form.dimensions]
        if (
            item.data_shape != form.shape
            or [item.intensity_calibration, *item.dimensional_calibrations] != calibrations
        ):
            with item.data_item_changes(), item.data_source_changes():  # else Swift draws it anew after each of these
                if item.data_shape != form.shape:
                    item.reserve_data(
                        data_shape=form.shape, data_dtype=numpy.dtype(numpy.float32), data_descriptor=form.descriptor
                    )
                item.set_intensity_calibration(form.intensity)
                item.set_dimensional_calibrations(form.dimensions)
        self._reference = DataChannel.DataItemReference(document_model, item)

    def wait(self, start: int, data: Array) -> None:
        """Keep frames until they are written, in place of those that they cover."""
        stop = start + len(data)
        self.waiting = [each for each in self.waiting if each[0] < start or each[0] + len(each[1]) > stop]
        self.waiting.append((start, data))

    def write(self, blocks: typing.Sequence[tuple[int, Array]], metadata: DataAndMetadata.DataMetadata) -> None:
        """Write frames (first frame, data), all as one change.

        Not queued for Swift's main loop: what it costs can be measured here.
        """
        if self.item is None or not blocks:
            return
        with self.item.data_item_changes(), self.item.data_source_changes():
            for first, data in blocks:
                for start, stop, box in rectangles(first, first + len(data), self.form.scan_shape):
                    self._write_box(data[start - first : stop - first], box, metadata)

    def close(self) -> None:
        """Let go of the item; Swift writes it into its file."""
        self._reference, self.done = None, True

    def _write_box(self, data: Array, box: tuple[slice, ...], metadata: DataAndMetadata.DataMetadata) -> None:
        """Write frames that fill a box of positions."""
        if self.item is None:
            return
        datum = data.shape[1:]
        shape = tuple(part.stop - part.start for part in box)
        whole = tuple(slice(0, n) for n in datum)
        source = tuple(slice(0, n) for n in shape) + whole
        block = DataAndMetadata.new_data_and_metadata(
            numpy.ascontiguousarray(data).reshape(shape + datum), data_descriptor=self.form.descriptor
        )
        self.item.set_data_and_metadata_partial(
            metadata, block, source, box + whole, update_metadata=True, data_modified=metadata.timestamp
        )
