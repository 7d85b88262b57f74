"""Which frames of a scan have come, and which of them the engine has."""

from __future__ import annotations

import math
import threading

import numpy
import numpy.typing

from udvd_core.framing import runs

Index = numpy.typing.NDArray[numpy.int64]


class Coverage:
    """Masks over the positions of one scan; thread-safe.

    Parameters
    ----------
    scan_shape : tuple of int
        Positions.
    """

    def __init__(self, scan_shape: tuple[int, ...]) -> None:
        self._lock = threading.Lock()
        self._numbers: Index = numpy.arange(math.prod(scan_shape)).reshape(scan_shape)
        self._received = numpy.zeros(self._numbers.size, bool)
        self._delivered = numpy.zeros(self._numbers.size, bool)

    def receive(self, box: tuple[slice, ...]) -> list[tuple[int, int]]:
        """Mark positions as received and not delivered; returns their runs of frame numbers in the order of the box."""
        with self._lock:
            numbers = self._numbers[box].ravel()
            self._received[numbers] = True
            self._delivered[numbers] = False
        return runs(numbers)

    def receive_frames(self, frames: numpy.typing.NDArray[numpy.bool_]) -> None:
        """Mark frames as received by a mask over all frames."""
        with self._lock:
            self._received |= frames

    def deliver(self, start: int, stop: int) -> None:
        """Mark frames as being with the engine."""
        with self._lock:
            self._delivered[start:stop] = True

    def forget_deliveries(self) -> None:
        """The engine has lost everything."""
        with self._lock:
            self._delivered[:] = False

    def missing(self, most: int) -> tuple[int, int] | None:
        """First run of frames that were received and not delivered, at most `most` long; None if there is none."""
        with self._lock:
            waiting = numpy.flatnonzero(self._received & ~self._delivered)
        if not waiting.size:
            return None
        start, stop = runs(waiting[:most])[0]
        return start, stop

    @property
    def received(self) -> int:
        """Number of frames received."""
        with self._lock:
            return int(self._received.sum())

    @property
    def delivered(self) -> int:
        """Number of frames that the engine has."""
        with self._lock:
            return int(self._delivered.sum())

    @property
    def complete(self) -> bool:
        """Whether all frames of the scan have come."""
        with self._lock:
            return bool(self._received.all())
