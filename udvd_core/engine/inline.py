"""The engine in the caller's own thread: command line, tests, and where no child can run."""

from __future__ import annotations

import numpy
import numpy.typing

from udvd_core.engine.protocol import Event, require
from udvd_core.engine.service import Service
from udvd_core.settings import ScanSpec

Array = numpy.typing.NDArray[numpy.float32]

POLL_S = 0.2


class InlineEngine:
    """An `Engine` whose `poll` does the work, up to `POLL_S` at a time."""

    def __init__(self) -> None:
        self._service = Service()
        self._ids: set[str] = set()

    def open(self, spec: ScanSpec) -> None:
        """Start a session."""
        self._ids.add(spec.scan_id)
        self._service.open(spec)

    def push(self, scan_id: str, start: int, frames: Array) -> bool:
        """Take frames, shape (n, q, E), counts; always has room."""
        require(self._ids, scan_id)
        self._service.push(scan_id, start, frames)
        return True

    def pause(self, scan_id: str, paused: bool) -> None:
        """Learn no further, or go on."""
        require(self._ids, scan_id)
        self._service.pause(scan_id, paused)

    def finish(self, scan_id: str, now: bool = False) -> None:
        """No more frames will come; `now`: nor more learning."""
        require(self._ids, scan_id)
        self._service.finish(scan_id, now)

    def abort(self, scan_id: str) -> None:
        """Forget this scan."""
        self._service.abort(scan_id)

    def poll(self) -> list[Event]:
        """Work for a moment and say what happened."""
        return self._service.work(POLL_S)

    @property
    def alive(self) -> bool:
        """Always."""
        return True

    @property
    def workers(self) -> int:
        """This thread."""
        return 1

    def describe(self) -> str:
        """Where it runs."""
        return "inline"

    def close(self) -> None:
        """End all sessions."""
        self._ids.clear()
        self._service.close()
