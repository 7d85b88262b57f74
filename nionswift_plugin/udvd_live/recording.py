"""One raw data item while it is acquired: what has come, and how it ended."""

from __future__ import annotations

import enum
import typing
import uuid

import numpy
import numpy.typing
from nion.data import DataAndMetadata
from nion.swift.model import DataItem

from udvd_core.framing import rectangles

from .coverage import Coverage
from .scan_item import ScanLayout

Array = numpy.typing.NDArray[numpy.float32]

MOST_BYTES = 4 << 20
"""Read from the raw item at once, on the main thread: a few milliseconds."""


class State(enum.Enum):
    """Where a recording is; the last four are ends."""

    START = "waiting for the first data"
    PROGRESS = "recording"
    FINISHED = "complete"
    ABORTED = "aborted"
    ERROR = "failed"
    REMOVED = "deleted"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self not in (State.START, State.PROGRESS)


class Recording:
    """A raw item that is being acquired. `take` runs on the acquisition thread, all else on the main thread.

    Parameters
    ----------
    item : DataItem
        The raw item; never written to.
    layout : ScanLayout
        Its positions and frames.
    exact : bool
        Whether blocks come through `take`; else through `take_rows`.
    """

    def __init__(self, item: DataItem.DataItem, layout: ScanLayout, exact: bool) -> None:
        self.item = item
        self.title = item.title
        self.layout = layout
        self.exact = exact
        self.scan_id = uuid.uuid4().hex
        self.state = State.START
        self.coverage = Coverage(layout.scan_shape)
        self.metadata: DataAndMetadata.DataMetadata | None = None
        self.error: str | None = None
        self.sink: typing.Callable[[int, Array], bool] | None = None
        """Where frames go, as ``sink(start, frames)``; answers whether they were taken."""
        self.sums_rows = False
        """Whether the sink gets frames summed over q, shape (n, 1, E): a copy of less than the frames."""
        self._rows = 0
        item.increment_data_ref_count()
        self._holds_data = True

    def take(
        self, metadata: DataAndMetadata.DataMetadata, block: numpy.typing.NDArray[typing.Any], where: tuple[slice, ...]
    ) -> None:
        """Take in a block as it is written. On the acquisition thread: copies, never waits.

        Parameters
        ----------
        block : array, shape (*positions, E) or (*positions, q, E)
        where : tuple of slice
            Into the whole item.
        """
        shape = self.layout.scan_shape
        box = tuple(slice(*part.indices(size)) for part, size in zip(where, shape, strict=False))
        frames = block.reshape(-1, *self.layout.frame_shape)
        at = 0
        for start, stop in self.coverage.receive(box):
            self._deliver(start, frames[at : at + stop - start])
            at += stop - start
        self.metadata = self.metadata or metadata

    def take_rows(self) -> None:
        """Without the tap: count the rows of the packet before this one, whose blocks are all applied by now."""
        metadata = self.item.data_metadata
        rows = int(self.item.metadata.get("scan", {}).get("valid_rows", 0) or 0)
        if metadata is not None and self.item.metadata:
            self.metadata = self.metadata or metadata
        if rows > self._rows and len(self.layout.scan_shape) == 2:
            self.coverage.receive_frames(self._rows_mask(self._rows))
        self._rows = max(rows, self._rows)

    def end(self, state: State) -> None:
        """The item is no longer live, all its blocks are applied."""
        if not self.exact and state is not State.REMOVED:
            rows = self._rows if len(self.layout.scan_shape) == 2 else 0  # of the last packet too: it is applied
            self.coverage.receive_frames(self._rows_mask(rows) | self._non_empty())
            self.metadata = self.metadata or self.item.data_metadata
        if state is State.ABORTED and self.coverage.complete:
            state = State.FINISHED
        self.state = state

    def feed(self, apply_updates: typing.Callable[[], None]) -> None:
        """Give the sink again what it could not take, from the raw item; a few megabytes at a time."""
        frame_bytes = 4 * self.layout.frame_shape[0] * self.layout.frame_shape[1]
        waiting = self.coverage.missing(max(1, MOST_BYTES // frame_bytes))
        if waiting is None or self.sink is None:
            return
        apply_updates()  # after asking: a block is queued for the item before it counts as received
        for start, _, box in rectangles(*waiting, self.layout.scan_shape):
            if not self._deliver(start, self.read(box)):
                return

    @property
    def gone(self) -> bool:
        """Whether the raw item was deleted: nothing can be read from it."""
        return bool(self.item._closed)

    def read(self, box: tuple[slice, ...]) -> Array:
        """Frames of a box of positions from the raw item, shape (n, q, E)."""
        data = self.item.data  # a large item gives an h5py dataset: only slices of it are arrays
        block: Array = numpy.asarray(data[box], numpy.float32)  # type: ignore[index]
        return block.reshape(-1, *self.layout.frame_shape)

    def release(self) -> None:
        """Let go of the raw item."""
        self.sink = None
        if self._holds_data and not self.gone:
            self.item.decrement_data_ref_count()
        self._holds_data = False

    def _deliver(self, start: int, frames: numpy.typing.NDArray[typing.Any]) -> bool:
        """Give frames to the sink; whether it took them. On any thread."""
        sink = self.sink  # `release` may take it away meanwhile
        if sink is None:
            return False
        if self.sums_rows:
            frames = frames.sum(1, keepdims=True, dtype=numpy.float32)
        if not sink(start, frames):
            return False
        self.coverage.deliver(start, start + len(frames))
        return True

    def _rows_mask(self, rows: int) -> numpy.typing.NDArray[numpy.bool_]:
        """Mask over all frames: those of the first rows."""
        mask = numpy.zeros(self.layout.count, bool)
        mask[: rows * self.layout.scan_shape[-1]] = True
        return mask

    def _non_empty(self) -> numpy.typing.NDArray[numpy.bool_]:
        """Mask over all frames: those in which anything was counted."""
        mask = numpy.zeros(self.layout.count, bool)
        step = max(1, MOST_BYTES // (4 * self.layout.frame_shape[0] * self.layout.frame_shape[1]))
        for first in range(0, self.layout.count, step):
            for start, stop, box in rectangles(first, min(first + step, self.layout.count), self.layout.scan_shape):
                mask[start:stop] = self.read(box).any((1, 2))
        return mask
