"""The engine on another machine: a cluster of dask, over mutual TLS 1.3.

One thread holds the connection and all that waits for it. When the connection or a worker is lost it connects anew,
with the next epoch, and each open scan goes on where it was, or asks for its frames again. No method waits for the
network; `push` packs frames in the caller's thread.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import pathlib
import threading
import time
import uuid

import numpy
import numpy.typing

from udvd_core.engine import certificates, tls
from udvd_core.engine.cluster_link import Link, Lost
from udvd_core.engine.cluster_scan import RemoteScan
from udvd_core.engine.packing import pack
from udvd_core.engine.protocol import Event, Failed, Finished, Resend, require, size, thinned
from udvd_core.errors import EngineError
from udvd_core.settings import ScanSpec

Array = numpy.typing.NDArray[numpy.float32]

ROOM_BYTES = 64 << 20
"""For frames on their way there, and for results that nobody has fetched yet."""
MOST_EVENTS = 2000
PATIENCE_S = 600.0
LONGEST_PAUSE_S = 2.0
LEAVE_S = 2.0
NAP_S = 0.02
COUNT_S = 2.0

log = logging.getLogger(__name__)


class ClusterEngine:
    """An `Engine` on the workers of a cluster.

    Parameters
    ----------
    address : str
        ``tls://HOST:PORT`` of the scheduler.
    certs : str or path
        This machine's folder from ``udvd certs``.
    patience_s : float
        How long a scan waits for a machine that is gone before it fails.

    Raises
    ------
    EngineError
        When the address is not ``tls://`` or the certificates cannot be used.
    """

    def __init__(self, address: str, certs: str | pathlib.Path, patience_s: float = PATIENCE_S) -> None:
        self._address = tls.Address.parse(address)
        self._credentials = certificates.load(pathlib.Path(certs))
        self._patience_s = patience_s
        self._name, self._began, self._connections = uuid.uuid4().hex, time.time_ns(), 0
        self._lock = threading.Lock()
        self._opened: set[str] = set()
        self._scans: dict[str, RemoteScan] = {}
        self._events: collections.deque[Event] = collections.deque()
        self._state, self._workers = "connecting", 1
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="udvd-cluster", daemon=True)
        self._thread.start()

    def open(self, spec: ScanSpec) -> None:
        """Announce a scan."""
        with self._lock:
            self._opened.add(spec.scan_id)
            self._scans[spec.scan_id] = RemoteScan(spec, self._say, self._has_room)

    def push(self, scan_id: str, start: int, frames: Array) -> bool:
        """Pack frames, shape (n, q, E), counts; False when too much is on its way. Any thread."""
        require(self._opened, scan_id)
        with self._lock:
            scan = self._scans.get(scan_id)
            waiting = sum(each.waiting for each in self._scans.values())
            if scan is None or scan.lost or waiting > ROOM_BYTES:
                return False
        packed = pack(start, frames)
        scan.put(packed)
        return not scan.lost

    def pause(self, scan_id: str, paused: bool) -> None:
        """Learn no further, or go on."""
        require(self._opened, scan_id)
        with self._lock:
            if (scan := self._scans.get(scan_id)) is not None:
                scan.pause(paused)

    def finish(self, scan_id: str, now: bool = False) -> None:
        """No more frames will come; `now`: nor more learning."""
        require(self._opened, scan_id)
        with self._lock:
            if (scan := self._scans.get(scan_id)) is not None:
                scan.finish(now)

    def abort(self, scan_id: str) -> None:
        """Forget this scan."""
        with self._lock:
            if (scan := self._scans.pop(scan_id, None)) is not None:
                scan.ended = True
            self._events = collections.deque(event for event in self._events if event.scan_id != scan_id)

    def poll(self) -> list[Event]:
        """Everything that happened since the last call."""
        with self._lock:
            events = [event for event in self._events if event.scan_id in self._scans]
            self._events.clear()
            for event in events:
                if isinstance(event, Resend):
                    self._scans[event.scan_id].lost = False
                elif isinstance(event, Finished | Failed):
                    self._scans.pop(event.scan_id, None)
        return events

    @property
    def alive(self) -> bool:
        """Until it is closed: what is gone may come back."""
        return not self._closing.is_set()

    @property
    def workers(self) -> int:
        """How many scans are denoised side by side, as far as is known."""
        return self._workers

    def describe(self) -> str:
        """Where it runs and how it is."""
        return "; ".join(filter(None, (f"GPU machine {self._address}, {self._state}", self._credentials.warning())))

    def close(self) -> None:
        """Disconnect."""
        self._closing.set()
        self._thread.join()

    def _say(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
            if len(self._events) > MOST_EVENTS:
                self._events = collections.deque(thinned(self._events))

    def _has_room(self) -> bool:
        with self._lock:
            return sum(size(event) for event in self._events) < ROOM_BYTES

    def _run(self) -> None:
        """Thread: the event loop with all that concerns the network."""
        asyncio.run(self._stay_connected())

    async def _stay_connected(self) -> None:
        """Connect, and connect again, until closed; fail scans when that has been in vain for too long."""
        pause, heard = 0.1, time.monotonic()
        while not self._closing.is_set():
            link = Link(self._address, self._credentials)
            try:
                tls.look(self._address, self._credentials)
                await link.open()
                self._state = "connected"
                await self._serve(link)
                pause, heard = 0.1, time.monotonic()
            except Exception as error:  # whatever it is: connect anew
                if not isinstance(error, Lost | EngineError):
                    log.exception("the connection to %s failed", self._address)
                if self._state == "connected":
                    pause, heard = 0.1, time.monotonic()
                self._state = str(error)
                refused = isinstance(error, EngineError) and not isinstance(error, tls.Unreachable)
                if refused or time.monotonic() - heard > self._patience_s:
                    self._give_up(str(error))
                heard = heard if self._scans else time.monotonic()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            finally:
                await link.close()

    async def _serve(self, link: Link) -> None:
        """Run all scans over one connection, until closed.

        Raises
        ------
        Lost
            When the connection fails any of them.
        """
        self._connections += 1
        epoch = (self._name, self._began, self._connections)
        tasks: dict[RemoteScan, asyncio.Task[None]] = {}
        counting = asyncio.create_task(self._count(link))
        try:
            while not self._closing.is_set():
                with self._lock:
                    scans = list(self._scans.values())
                for scan in scans:
                    if scan not in tasks and not scan.ended:
                        tasks[scan] = asyncio.create_task(scan.run(link, epoch))
                for scan in [scan for scan in tasks if tasks[scan].done()]:
                    tasks.pop(scan).result()
                await asyncio.sleep(NAP_S)
            for scan in tasks:
                scan.ended = True  # the workers are told to forget them
            await asyncio.wait([*tasks.values(), asyncio.create_task(asyncio.sleep(0))], timeout=LEAVE_S)
        finally:
            for task in (counting, *tasks.values()):
                task.cancel()
            await asyncio.gather(counting, *tasks.values(), return_exceptions=True)

    async def _count(self, link: Link) -> None:
        """Know how many workers there are; a scheduler that does not answer is noticed by the scans."""
        while True:
            with contextlib.suppress(Lost):
                self._workers = max(1, len(await link.workers()))
            await asyncio.sleep(COUNT_S)

    def _give_up(self, reason: str) -> None:
        with self._lock:
            scans = [scan for scan in self._scans.values() if not scan.ended]
        for scan in scans:
            scan.ended = True
            self._say(Failed(scan.spec.scan_id, reason))
