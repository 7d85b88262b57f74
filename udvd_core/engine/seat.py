"""One live scan on a worker: its session, the thread that works at it, and the epoch that may speak to it.

A worker process keeps its seats by scan. Who comes back after a cut, from the same engine, takes its seat over and
finds all frames there; from then on earlier epochs are refused. Checkpoints lie in a folder of their epoch, so that a
worker that was cut off and comes back cannot write into those of its successor.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import typing

from udvd_core.engine.packing import Packed, unpack
from udvd_core.engine.protocol import Event, Failed, Finished, size, thinned
from udvd_core.engine.service import Service
from udvd_core.engine.watch import Watch
from udvd_core.errors import EngineError, UdvdError
from udvd_core.settings import ScanSpec

Epoch = tuple[str, int, int]
"""Engine, when it began (ns), and how often it has connected since."""

SLICE_S = 0.05
INBOX_BYTES = 64 << 20
OUTBOX_BYTES = 64 << 20
"""When more results than these wait to be fetched, no more are made."""
MOST_EVENTS = 2000
ABSENT_S, LEASE_S = 20.0, 180.0
"""When nobody has asked for so long, a seat rests and leaves the worker to others; and is given up."""


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the client wants of a scan: learn no further, end when all is final, end with what was learned so far."""

    pause: bool = False
    finish: bool = False
    now: bool = False


class Seat:
    """A scan at work in a thread of its own.

    Parameters
    ----------
    spec : ScanSpec
        The scan.
    epoch : Epoch
        Who may speak to it.
    files : dict
        Content of the files that the settings name, which lie on the client's machine.
    folder : path
        For checkpoints.
    """

    def __init__(self, spec: ScanSpec, epoch: Epoch, files: dict[str, bytes], folder: pathlib.Path) -> None:
        self.epoch = epoch
        self._files = files
        self._spec = spec
        self._asked = time.monotonic()
        self._inbox: collections.deque[Packed] = collections.deque()
        self._outbox: collections.deque[tuple[int, Event]] = collections.deque()
        self._said = self._bytes = 0
        self._rested = 0.0
        self._wish = Wish()
        self._over = False
        self._changed = threading.Condition()
        self._folder = folder / spec.file_name / f"{epoch[1]:020d}-{epoch[2]:06d}"
        self._thread = threading.Thread(target=self._work, name="udvd-seat", daemon=True)
        self._watch = Watch([self._thread], f"scan {spec.scan_id}")
        self._thread.start()
        self._watch.start()

    def put(self, pieces: list[Packed]) -> bool:
        """Take frames; False when there is no room."""
        with self._changed:
            self._asked = time.monotonic()
            if self._inbox and sum(len(piece.data) for piece in self._inbox) > INBOX_BYTES:
                return False
            self._inbox += pieces
            self._changed.notify()
        return True

    def steer(self, wish: Wish) -> None:
        """Change what is wanted."""
        with self._changed:
            self._asked = time.monotonic()
            self._wish = wish
            self._changed.notify()

    def events(self, seen: int) -> list[tuple[int, Event]]:
        """Numbered events after the one of number `seen`; those before are forgotten."""
        with self._changed:
            self._asked = time.monotonic()
            while self._outbox and self._outbox[0][0] <= seen:
                self._bytes -= size(self._outbox.popleft()[1])
            self._changed.notify()
            return list(self._outbox)

    def leave(self) -> None:
        """End the work, also when it is in the middle of a step: nothing of it is heard any more."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def _work(self) -> None:
        """Thread: the session's only owner."""
        service: Service | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            service = Service(self._folder, lambda: time.monotonic() - self._rested)
            service.open(self._with_files(), self._checkpoint())
            told = Wish()
            while not self._over and time.monotonic() - self._asked < LEASE_S:
                self._watch.moves()
                pieces, wish = self._orders(service.idle, told)
                for piece in pieces:
                    service.push(self._spec.scan_id, piece.start, unpack(piece))
                if wish != told:
                    told = wish
                    service.pause(self._spec.scan_id, wish.pause)
                    if wish.finish:
                        service.finish(self._spec.scan_id, wish.now)
                if self._rest():
                    continue
                events = service.work(SLICE_S)
                if any(isinstance(event, Finished | Failed) for event in events):
                    self._clean()  # at once: this worker may be ended before the client takes leave
                self._say(events)
        except Exception as error:  # whatever it is, the client is told
            reason = str(error) if isinstance(error, UdvdError) else f"{type(error).__name__}: {error}"
            self._say([Failed(self._spec.scan_id, reason)])
        finally:
            if service is not None:
                service.close()
            self._clean()

    def _orders(self, idle: bool, told: Wish) -> tuple[list[Packed], Wish]:
        """Frames that have come and what is wanted; waits for either where there is nothing else to do."""
        with self._changed:
            if idle and not self._inbox and self._wish == told and not self._over:
                self._changed.wait(1.0)
            pieces = list(self._inbox)
            self._inbox.clear()
            return pieces, self._wish

    def _rest(self) -> bool:
        """Wait a while for a client that is away or has much to fetch; whether it still is and has.

        This time is no part of the scan's budget.
        """
        begin = time.monotonic()
        with self._changed:
            rests = not self._changed.wait_for(lambda: self._over or not self._must_rest(), 1.0)
        self._rested += time.monotonic() - begin
        return rests

    def _must_rest(self) -> bool:
        return self._bytes > OUTBOX_BYTES or time.monotonic() - self._asked > ABSENT_S

    def _say(self, events: list[Event]) -> None:
        with self._changed:
            for event in events:
                self._said += 1
                self._outbox.append((self._said, event))
                self._bytes += size(event)
            if len(self._outbox) > MOST_EVENTS or self._bytes > OUTBOX_BYTES:
                kept = {id(event) for event in thinned([event for _, event in self._outbox])}
                self._outbox = collections.deque(entry for entry in self._outbox if id(entry[1]) in kept)
                self._bytes = sum(size(event) for _, event in self._outbox)

    def _with_files(self) -> ScanSpec:
        """The same scan with the client's files in this seat's folder."""
        places: dict[str, typing.Any] = {}
        for name, content in self._files.items():
            path = self._folder / (name + pathlib.Path(getattr(self._spec.training, name)).suffix)
            path.write_bytes(content)
            places[name] = str(path)
        return dataclasses.replace(self._spec, training=dataclasses.replace(self._spec.training, **places))

    def _clean(self) -> None:
        """Remove what this epoch and those before it wrote; never what a later one writes."""
        for each in self._folder.parent.glob("*"):
            if each.name <= self._folder.name:
                shutil.rmtree(each, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._folder.parent.rmdir()

    def _checkpoint(self) -> str | None:
        """The newest checkpoint of an earlier epoch on this machine."""
        found = sorted(self._folder.parent.glob(f"*/{self._spec.file_name}.safetensors"))
        return str(found[-1]) if found else None


class Seats:
    """All seats of this process."""

    def __init__(self) -> None:
        self._seats: dict[str, Seat] = {}
        self._lock = threading.Lock()
        user = os.getuid() if sys.platform != "win32" else "user"
        self._folder = pathlib.Path(tempfile.gettempdir()) / f"udvd-checkpoints-{user}"

    def take(self, spec: ScanSpec, epoch: Epoch, files: dict[str, bytes]) -> tuple[Seat, bool]:
        """A seat for this epoch, and whether it is the one of an earlier epoch of the same engine, frames and all.

        Raises
        ------
        EngineError
            When a later epoch has it.
        """
        with self._lock:
            seat = self._seats.get(spec.scan_id)
            if seat is not None:
                require(seat, epoch)
                if seat.epoch[0] == epoch[0] and seat._thread.is_alive():
                    seat.epoch = epoch
                    return seat, True
                seat.leave()
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._seats[spec.scan_id] = Seat(spec, epoch, files, self._folder)
            return self._seats[spec.scan_id], False

    def leave(self, scan_id: str, epoch: Epoch) -> None:
        """Give a seat up, unless a later epoch has it."""
        with self._lock:
            seat = self._seats.get(scan_id)
            if seat is not None and seat.epoch[1:] <= epoch[1:]:
                self._seats.pop(scan_id).leave()


def require(seat: Seat, epoch: Epoch) -> None:
    """Refuse an epoch that another has followed.

    Raises
    ------
    EngineError
        When it is not the newest.
    """
    if epoch[1:] < seat.epoch[1:]:
        raise EngineError("this connection was cut off and another has taken the scan over; nothing was written")


SEATS = Seats()
