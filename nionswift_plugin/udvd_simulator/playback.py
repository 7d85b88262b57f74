"""Which frame lies where, and when it is due: numbers and a clock, nothing of Swift."""

from __future__ import annotations

import dataclasses
import math
import time
import typing

import numpy
import numpy.typing

Array = numpy.typing.NDArray[numpy.float32]


@dataclasses.dataclass(frozen=True)
class ScanWindow:
    """A block of rows of a scan, as one readout of the camera sees it.

    Attributes
    ----------
    width : int
        Positions of one row, without flyback.
    flyback : int
        Frames at the start of every row that are read while the probe flies back.
    first_row : int
        Row of the scan at which this block begins.
    repeat : int
        How many whole scans came before.
    height : int
        Rows of the whole scan.
    source_shape : (int, int)
        Rows and columns of what is played.
    """

    width: int
    flyback: int = 0
    first_row: int = 0
    repeat: int = 0
    height: int = 1
    source_shape: tuple[int, int] = (1, 1)

    def source_index(self, count: int) -> int | None:
        """Index of the frame to play at the `count`-th frame read, None during flyback.

        The scan is tiled with the source; every tile and every repeat has its own indices, so
        that a simulated source never repeats its noise. Where scan and source have the same
        shape the index is ``(repeat * height + y) * width + x``.
        """
        row, column = divmod(count, self.width + self.flyback)
        x = column - self.flyback
        if x < 0:
            return None
        rows, columns = self.source_shape
        tile_y, y = divmod(self.first_row + row, rows)
        tile_x, x = divmod(x, columns)
        tiles_x = math.ceil(self.width / columns)
        tiles_y = math.ceil(self.height / rows)
        tile = (self.repeat * tiles_y + tile_y) * tiles_x + tile_x
        return (tile * rows + y) * columns + x


class Readout:
    """Frames that become due one by one at a fixed dwell time; filled by whoever asks, without a thread.

    Parameters
    ----------
    make : callable
        From the count of the frame to its data; None leaves zeros.
    shape : tuple of int
        Shape of all frames, the count first.
    dwell_s : float
        Seconds per frame.
    clock : callable, optional
        Seconds, monotonic.
    """

    def __init__(
        self,
        make: typing.Callable[[int], Array | None],
        shape: tuple[int, ...],
        dwell_s: float,
        clock: typing.Callable[[], float] = time.perf_counter,
    ) -> None:
        self.data: Array = numpy.zeros(shape, dtype=numpy.float32)
        self.filled = 0
        self._make = make
        self._dwell_s = dwell_s
        self._clock = clock
        self._start_s: float | None = None

    @property
    def count(self) -> int:
        """Number of frames of the whole readout."""
        return len(self.data)

    @property
    def is_started(self) -> bool:
        """Whether the first frame is being exposed or done."""
        return self._start_s is not None

    @property
    def is_complete(self) -> bool:
        """Whether every frame was filled."""
        return self.filled == self.count

    def start(self) -> None:
        """Begin to expose the first frame now."""
        self._start_s = self._clock()

    def due(self) -> int:
        """Number of frames whose exposure is over."""
        if self._start_s is None:
            return 0
        return min(self.count, int((self._clock() - self._start_s) / self._dwell_s))

    def wait_s(self, longest_s: float) -> float:
        """Seconds to wait for the next batch: at most `longest_s`, less when the readout ends before."""
        if self._start_s is None:
            return 0.0
        end_s = self._start_s + self.count * self._dwell_s
        return max(0.0, min(longest_s, end_s - self._clock()))

    def fill(self, longest_s: float) -> int:
        """Fill what is due, for at most about `longest_s` seconds; returns how many frames are new."""
        begin_s, before, due = self._clock(), self.filled, self.due()
        while self.filled < due:
            frame = self._make(self.filled)
            if frame is not None:
                self.data[self.filled] = frame
            self.filled += 1
            if self._clock() - begin_s > longest_s:
                break
        return self.filled - before
