"""A cluster in the place of the sessions of the engine host: Swift's child holds the connection, never Swift."""

from __future__ import annotations

import time

import numpy
import numpy.typing

from udvd_core.engine.cluster import ClusterEngine
from udvd_core.engine.protocol import Event, Failed, Finished, Resend
from udvd_core.errors import EngineError
from udvd_core.settings import ScanSpec

Array = numpy.typing.NDArray[numpy.float32]

NAP_S = 0.01


class ClusterService:
    """What `Service` is for the host, on another machine; where that cannot be, each scan fails with the reason.

    After `Resend` whatever was ordered before is out of date, until `again` says that the parent knows.

    Parameters
    ----------
    address, certs : str
        As of `ClusterEngine`.
    """

    def __init__(self, address: str, certs: str) -> None:
        self._engine: ClusterEngine | None = None
        self._open: set[str] = set()
        self._stale: set[str] = set()
        self._events: list[Event] = []
        self._failure = ""
        try:
            self._engine = ClusterEngine(address, certs)
        except EngineError as error:
            self._failure = str(error)

    @property
    def idle(self) -> bool:
        """Whether nothing is open."""
        return not self._open and not self._events

    @property
    def state(self) -> str:
        """Where the engine is and how it is."""
        return self._engine.describe() if self._engine else self._failure

    @property
    def workers(self) -> int:
        """How many scans are denoised side by side there."""
        return self._engine.workers if self._engine else 1

    @property
    def urgent(self) -> bool:
        """Always: what there is to do here is to carry, and a GPU machine waits for it."""
        return True

    def open(self, spec: ScanSpec, resume: str | None = None) -> None:
        """Announce a scan; checkpoints are on the other machine."""
        if self._engine is None:
            self._events.append(Failed(spec.scan_id, self._failure))
            return
        self._open.add(spec.scan_id)
        self._engine.open(spec)

    def push(self, scan_id: str, start: int, frames: Array) -> bool:
        """Pass frames on; False when there is no room."""
        if self._engine is None or scan_id not in self._open or scan_id in self._stale:
            return True
        return self._engine.push(scan_id, start, frames)

    def pause(self, scan_id: str, paused: bool) -> None:
        """Learn no further, or go on."""
        if self._engine is not None and scan_id in self._open:
            self._engine.pause(scan_id, paused)

    def finish(self, scan_id: str, now: bool = False) -> None:
        """No more frames of this scan will come."""
        if self._engine is not None and scan_id in self._open and scan_id not in self._stale:
            self._engine.finish(scan_id, now)

    def again(self, scan_id: str) -> None:
        """The parent knows that all frames are wanted again."""
        self._stale.discard(scan_id)

    def abort(self, scan_id: str) -> None:
        """Forget a scan."""
        self._open.discard(scan_id)
        self._events = [event for event in self._events if event.scan_id != scan_id]
        if self._engine is not None:
            self._engine.abort(scan_id)

    def work(self, budget: float) -> list[Event]:
        """What happened; waits a moment where nothing did."""
        events, self._events = self._events, []
        if self._engine is not None:
            events += self._engine.poll()
        for event in events:
            if isinstance(event, Resend):
                self._stale.add(event.scan_id)
            elif isinstance(event, Finished | Failed):
                self._open.discard(event.scan_id)
        if not events:
            time.sleep(min(budget, NAP_S))
        return events

    def close(self) -> None:
        """Disconnect."""
        if self._engine is not None:
            self._engine.close()
