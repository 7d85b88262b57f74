"""The frames of one scan as they arrive: single owner, any order, in memory or on disk."""

from __future__ import annotations

import math
import pathlib
import tempfile

import numpy
import numpy.typing

from udvd_core.errors import InputError

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]

CHUNK_BYTES = 32 << 20  # of double precision at once


class FrameBuffer:
    """Frames ``(q, E)`` of one scan, their mean, lowest value and ceiling.

    Adding a frame costs the same however many are there; a frame that comes twice counts once.

    Parameters
    ----------
    count : int
        Frames of the whole scan.
    frame_shape : (int, int)
        ``(q, E)``.
    memory_bytes : int
        A scan larger than this lives in a temporary file that ends with the buffer.
    disk_bytes : int
        No such file may be larger than this.

    Raises
    ------
    InputError
        When it would be.
    """

    def __init__(
        self, count: int, frame_shape: tuple[int, int], memory_bytes: int = 4 << 30, disk_bytes: int = 64 << 30
    ) -> None:
        self.frame_shape = frame_shape
        self.received = numpy.zeros(count, bool)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        shape = (count, *frame_shape)
        size = 4 * math.prod(shape)
        if size > max(memory_bytes, disk_bytes):
            raise InputError(
                f"the frames of this scan take {size / 1e9:.1f} GB and the disk limit is {disk_bytes / 1e9:.1f} GB;"
                " raise the limit in the preferences, or reprocess spectra summed over q"
            )
        if size > memory_bytes:
            self._folder = tempfile.TemporaryDirectory(prefix="udvd-frames-", ignore_cleanup_errors=True)
            path = pathlib.Path(self._folder.name) / "frames"
            self._frames: Array = numpy.memmap(path, numpy.float32, "w+", shape=shape)
        else:
            self._frames = numpy.zeros(shape, numpy.float32)
        self.floor = 0.0
        """The lowest value so far, 0 for counts; below 0 where dark or gain were corrected."""
        self.ceiling = math.inf
        """Counts from which on a pixel is saturated and what it recorded a lower limit."""
        self._sum = numpy.zeros(frame_shape)
        self._used = numpy.zeros(frame_shape)

    @property
    def on_disk(self) -> bool:
        """Whether the frames live in a file."""
        return self._folder is not None

    def put(self, start: int, frames: Array) -> int:
        """Add frames from number `start` on.

        Parameters
        ----------
        frames : array, shape (n, q, E), counts
            Values that are not finite are kept, and count as missing.

        Returns
        -------
        int
            How many of them were new.

        Raises
        ------
        InputError
            When the shape is wrong or a frame lies beyond the scan.
        """
        if frames.ndim != 3 or frames.shape[1:] != self.frame_shape:
            raise InputError(f"frames have shape {frames.shape}; this scan wants (n, *{self.frame_shape})")
        stop = start + len(frames)
        if start < 0 or stop > len(self.received):
            raise InputError(f"frames {start} to {stop} do not lie in a scan of {len(self.received)} frames")
        new = numpy.flatnonzero(~self.received[start:stop])
        self._frames[start + new] = frames[new]
        self.received[start + new] = True
        self._count(start + new)
        return int(new.size)

    def _count(self, added: Index) -> None:
        """Add frames to the sums."""
        at_once = max(1, CHUNK_BYTES // (8 * math.prod(self.frame_shape)))
        for at in range(0, added.size, at_once):
            block = self._frames[added[at : at + at_once]].astype(numpy.float64)
            finite = numpy.isfinite(block)
            block[~finite] = 0
            self.floor = min(self.floor, float(block.min(initial=0.0)))
            self._sum += block.sum(0)
            self._used += finite.sum(0)

    def mean(self) -> numpy.typing.NDArray[numpy.float64]:
        """Mean frame so far, shape (q, E), counts."""
        return self._sum / numpy.maximum(self._used, 1)

    def recorded(self, numbers: Index) -> Array:
        """Frames of these numbers as they came, any shape of `numbers`; shape (*numbers.shape, q, E)."""
        picked: Array = numpy.asarray(self._frames[numbers])
        return picked

    def frames(self, numbers: Index) -> Array:
        """The same to learn from: NaN where a pixel is saturated."""
        picked = self.recorded(numbers)
        if math.isfinite(self.ceiling):
            picked = numpy.where(picked >= self.ceiling, numpy.float32(numpy.nan), picked)
        return picked

    def close(self) -> None:
        """Free the frames and their file."""
        self._frames = numpy.zeros((0, *self.frame_shape), numpy.float32)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
