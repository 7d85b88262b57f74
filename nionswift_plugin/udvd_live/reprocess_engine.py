"""The engine of the reprocessing queue: made when there is something to do, and ended when there is not."""

from __future__ import annotations

import threading
import typing

from udvd_core.engine.protocol import Engine, Event
from udvd_core.errors import UdvdError

RETRY_S = 30.0
"""Between attempts to make an engine."""
IDLE_S = 60.0
"""An engine without work is ended after this."""


class OwnEngine:
    """One engine at a time, on this computer or on the GPU machine. Main thread only.

    Parameters
    ----------
    make : callable
        Makes an engine, on the GPU machine (True) or on this computer (False).
    clock : callable
        Seconds.
    """

    def __init__(self, make: typing.Callable[[bool], Engine], clock: typing.Callable[[], float]) -> None:
        self.engine: Engine | None = None
        self.trouble = ""
        """Why there is none that was wanted."""
        self._make = make
        self._clock = clock
        self._remote = self._outdated = False
        self._not_before = self._used = clock()

    def poll(self) -> list[Event]:
        """What it says."""
        return self.engine.poll() if self.engine is not None else []

    def room(self, remote: bool, running: int) -> bool:
        """Whether one more scan may begin there, beside so many that run."""
        if not running:
            return self._clock() >= self._not_before
        if self.engine is None or not self.engine.alive or self._outdated or remote != self._remote:
            return False  # those that run end first
        return running < self.engine.workers

    @property
    def workers(self) -> int:
        """How many scans are denoised side by side, as far as is known."""
        return self.engine.workers if self.engine is not None else 1

    def ready(self, remote: bool) -> Engine | None:
        """An engine that works there; None where there is none: `trouble` says why. Not while another has work."""
        if self.engine is not None and (not self.engine.alive or self._outdated or remote != self._remote):
            self._retire()
        if self.engine is None:
            try:
                self.engine = self._make(remote)
                self._remote, self._outdated, self.trouble = remote, False, ""
            except (UdvdError, OSError) as error:
                self.trouble = f"No engine: {error}"
                self._not_before = self._clock() + RETRY_S
        return self.engine

    def renew(self) -> None:
        """Make another for what begins next: what engines are made with has changed."""
        self._outdated = True
        self._not_before = self._clock()

    def rest(self, busy: bool) -> None:
        """End it when it was not busy for long."""
        now = self._clock()
        if busy:
            self._used = now
        elif self.engine is not None and now - self._used > IDLE_S:
            self._retire()

    def close(self) -> None:
        """End it now."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def _retire(self) -> None:
        """End it without waiting for it."""
        engine, self.engine = self.engine, None
        if engine is not None:
            threading.Thread(target=engine.close, name="udvd-engine-close").start()
