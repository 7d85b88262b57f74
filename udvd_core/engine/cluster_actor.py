"""What runs on a worker for one live scan, as a dask Actor: a thin way to the scan's `Seat`."""

from __future__ import annotations

import asyncio
import os
import time
import typing

from udvd_core.engine import hello
from udvd_core.engine.packing import Packed
from udvd_core.engine.protocol import Event, size
from udvd_core.engine.seat import SEATS, Epoch, Wish, require
from udvd_core.errors import EngineError
from udvd_core.settings import ScanSpec

HOLD_S = 0.5
NAP_S = 0.01
REPLY_BYTES = 4 << 20
FILES = ("weights", "flat")
"""Settings that name files."""


class ScanActor:
    """One live scan of one epoch. Its methods run in the worker's event loop and never compute.

    Parameters
    ----------
    spec : dict
        `ScanSpec.to_dict`.
    epoch : Epoch
        Who asks; later ones push out earlier ones.
    facts : dict
        The client's `hello.facts`.
    files : dict
        Content of the files that the settings name, which lie on the client's machine.

    Raises
    ------
    EngineError
        When client and worker do not fit together, or a later epoch has the scan.
    """

    def __init__(self, spec: dict[str, typing.Any], epoch: Epoch, facts: hello.Facts, files: dict[str, bytes]) -> None:
        mine = hello.facts()
        if reason := hello.misfit(facts, mine, spec["training"]["model"]):
            raise EngineError(reason)
        wanted = ScanSpec.from_dict(spec)
        self._scan_id, self._epoch = wanted.scan_id, epoch
        self._seat, self._resumed = SEATS.take(wanted, epoch, files)

    async def about(self) -> dict[str, typing.Any]:
        """Process number, and whether the frames of the epoch before are still here."""
        return {"pid": os.getpid(), "resumed": self._resumed}

    async def push(self, pieces: list[Packed]) -> bool:
        """Take frames; False when there was no room for `HOLD_S`."""
        until = time.monotonic() + HOLD_S
        while True:
            require(self._seat, self._epoch)
            if self._seat.put(pieces):
                return True
            if time.monotonic() > until:
                return False
            await asyncio.sleep(NAP_S)

    async def steer(self, wish: Wish) -> None:
        """Change what is wanted."""
        require(self._seat, self._epoch)
        self._seat.steer(wish)

    async def poll(self, seen: int) -> list[tuple[int, Event]]:
        """Numbered events after number `seen`; waits up to `HOLD_S` for the first."""
        until = time.monotonic() + HOLD_S
        while True:
            require(self._seat, self._epoch)
            events = self._seat.events(seen)
            if events or time.monotonic() > until:
                return _some(events)
            await asyncio.sleep(NAP_S)

    async def leave(self) -> None:
        """Forget the scan."""
        SEATS.leave(self._scan_id, self._epoch)


def _some(events: list[tuple[int, Event]]) -> list[tuple[int, Event]]:
    """The first of these events, about `REPLY_BYTES` of them."""
    total = 0
    for number, (_, event) in enumerate(events):
        total += size(event)
        if total > REPLY_BYTES:
            return events[: number + 1]
    return events
