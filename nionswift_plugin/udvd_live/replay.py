"""A scan that is in the library, given out again as if it were recorded just now; several passes as their sum."""

from __future__ import annotations

import typing

import numpy
from nion.data import DataAndMetadata
from nion.swift.model import DataItem

from udvd_core.errors import InputError
from udvd_core.framing import rectangles

from .recording import Array, Recording, State
from .scan_item import ScanLayout, layout_of

BLOCK_BYTES = 1 << 20
"""Read from all passes together at once, on the main thread; one frame at least."""


class Replay(Recording):
    """Raw items that are complete, as a recording. Main thread only.

    Empty frames at the end of a scan were never recorded: it was aborted, or Swift died.

    Parameters
    ----------
    items : sequence of DataItem
        One scan, or passes that `same_area` found to be alike; never written to.
    title : str
        What the scan is called.

    Raises
    ------
    InputError
        When they cannot be summed, or are no scan.
    """

    def __init__(self, items: typing.Sequence[DataItem.DataItem], title: str) -> None:
        self._passes = list(items)
        super().__init__(items[0], same_area(items), exact=True)
        for item in self._passes[1:]:
            item.increment_data_ref_count()
        self.title = title
        self.metadata = items[0].data_metadata
        self.state = State.PROGRESS
        self._next = self._known = 0

    @property
    def gone(self) -> bool:
        """Whether one of the raw items was deleted."""
        return any(bool(item._closed) for item in self._passes)

    @property
    def share(self) -> float:
        """Part of the scan that was read, 0 to 1."""
        return self._next / self.layout.count

    def play(self, enough: typing.Callable[[], bool]) -> None:
        """Read on, block by block, until it is enough, all is read, or the sink is full; at least one block."""
        frame_bytes = 4 * self.layout.frame_shape[0] * self.layout.frame_shape[1] * len(self._passes)
        size = max(1, BLOCK_BYTES // frame_bytes)
        while self._next < self.layout.count and self.coverage.delivered == self.coverage.received:
            stop = min(self._next + size, self.layout.count)
            for first, _, box in rectangles(self._next, stop, self.layout.scan_shape):
                self._hand_on(first, self.read(box))
            self._next = stop
            if enough():
                return

    def read(self, box: tuple[slice, ...]) -> Array:
        """Frames of a box of positions, summed over the passes, shape (n, q, E), counts."""
        total: Array | None = None
        for item in self._passes:
            data: typing.Any = item.data  # a large item gives an h5py dataset: only slices of it are arrays
            block = numpy.asarray(data[box], numpy.float32).reshape(-1, *self.layout.frame_shape)
            total = block if total is None else total + block
        assert total is not None  # noqa: S101
        return total

    def release(self) -> None:
        """Let go of the raw items."""
        others = self._passes[1:] if self._holds_data else []
        super().release()
        for item in others:
            if not item._closed:
                item.decrement_data_ref_count()

    def _hand_on(self, first: int, frames: Array) -> None:
        """Count frames as recorded up to the last that holds anything, and give them to the sink."""
        filled = numpy.flatnonzero(frames.any((1, 2)))
        if filled.size:
            stop = first + int(filled[-1]) + 1
            mask = numpy.zeros(self.layout.count, bool)
            mask[self._known : stop] = True
            self.coverage.receive_frames(mask)  # empty ones before it, too: `feed` gives them out
            self._known = stop
            self._deliver(first, frames[: stop - first])


def same_area(items: typing.Sequence[DataItem.DataItem]) -> ScanLayout:
    """Positions and frames that all items share.

    Raises
    ------
    InputError
        When one is no scan, or differs from the first in shape or calibration.
    """
    layouts = []
    for item in items:
        layout = layout_of(item.data_shape, item.data_descriptor)
        if isinstance(layout, str):
            raise InputError(f"{item.title!r} cannot be reprocessed: {layout}")
        layouts.append(layout)
    first = items[0].data_metadata
    for item, layout in zip(items, layouts, strict=True):
        if layout != layouts[0]:
            raise InputError(
                f"{items[0].title!r} has shape {items[0].data_shape} and {item.title!r} has {item.data_shape};"
                " passes that are pooled must have the same, add these one by one"
            )
        if not _same_calibration(first, item.data_metadata):
            raise InputError(
                f"{items[0].title!r} and {item.title!r} are calibrated differently; passes that are pooled must have"
                " the same energies and step sizes, add these one by one"
            )
    return layouts[0]


def _same_calibration(one: DataAndMetadata.DataMetadata | None, other: DataAndMetadata.DataMetadata | None) -> bool:
    """Whether steps and units agree, and the energies; where on the sample an area lies may drift."""
    if one is None or other is None:
        return False
    pairs = list(zip(one.dimensional_calibrations, other.dimensional_calibrations, strict=True))
    energy, energy_too = pairs[-1]
    return (
        all(a.units == b.units and bool(numpy.isclose(a.scale, b.scale, rtol=1e-6)) for a, b in pairs)
        and abs(energy.offset - energy_too.offset) < 0.5 * abs(energy.scale)
        and one.intensity_calibration.units == other.intensity_calibration.units
    )
