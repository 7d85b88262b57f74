"""Frames from Swift to its child through shared memory that Swift owns; bounded, never waits."""

from __future__ import annotations

import collections
import sys
import threading
from multiprocessing import resource_tracker, shared_memory

import numpy
import numpy.typing

from udvd_core.errors import EngineError

Array = numpy.typing.NDArray[numpy.float32]


class Ring:
    """The writing end: blocks go in one after another and are freed in the same order; thread-safe.

    Parameters
    ----------
    size : int
        Bytes.

    Raises
    ------
    EngineError
        When the machine has not so much shared memory.
    """

    def __init__(self, size: int) -> None:
        try:
            self._memory = shared_memory.SharedMemory(create=True, size=size)
        except OSError as error:
            raise EngineError(f"no {size >> 20} MB of shared memory for the engine: {error}; free some") from None
        self._lock = threading.Lock()
        self._used: collections.deque[tuple[int, int]] = collections.deque()
        self._next = 0
        self._size = size

    @property
    def name(self) -> str:
        """Name under which a child attaches."""
        return self._memory.name

    def put(self, block: Array) -> int | None:
        """Copy a block in; returns its offset in bytes, or None where there is no room."""
        size = 4 * block.size
        with self._lock:
            offset = self._room(size)
            if offset is None or self._memory.buf is None:
                return None
            self._used.append((offset, size))
            self._next = offset + size
            view = numpy.ndarray(block.shape, numpy.float32, self._memory.buf, offset)
            view[...] = block
        return offset

    def free(self, offset: int) -> None:
        """Free the oldest block; one that is not the oldest is of an earlier child and ignored."""
        with self._lock:
            if self._used and self._used[0][0] == offset:
                self._used.popleft()

    def reset(self) -> None:
        """Free all blocks: whoever would have read them is gone."""
        with self._lock:
            self._used.clear()
            self._next = 0

    def close(self) -> None:
        """Free the memory."""
        with self._lock:
            self._memory.close()
            self._memory.unlink()

    def _room(self, size: int) -> int | None:
        """Offset of `size` free bytes behind the newest block, or at the start."""
        if not self._used:
            return 0 if size <= self._size else None
        oldest = self._used[0][0]
        if self._next > oldest:
            if self._next + size <= self._size:
                return self._next
            return 0 if size < oldest else None
        return self._next if self._next + size < oldest else None


class RingReader:
    """The reading end, in the child."""

    def __init__(self, name: str) -> None:
        if sys.version_info >= (3, 13):
            self._memory = shared_memory.SharedMemory(name, track=False)
        else:
            self._memory = shared_memory.SharedMemory(name)
            if sys.platform != "win32":  # before 3.13 the reader's tracker would delete it: the writer owns it
                resource_tracker.unregister(self._memory._name, "shared_memory")  # type: ignore[attr-defined]

    def block(self, offset: int, shape: tuple[int, ...]) -> Array:
        """Copy a block out."""
        view: Array = numpy.ndarray(shape, numpy.float32, self._memory.buf, offset)
        return view.copy()

    def close(self) -> None:
        """Detach."""
        self._memory.close()
