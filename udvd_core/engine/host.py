"""The engine host: a child process of Swift that denoises; ``python -m udvd_core.engine.host``.

It reads orders from its standard input and writes events to its standard output, frames come
through the ring. It ends when its input ends, that is when Swift dies, or when Swift has been
silent for `SILENCE_S`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib.util
import itertools
import logging
import os
import pathlib
import queue
import shutil
import sys
import threading
import time
import typing

import udvd_core
from udvd_core.engine import memory, wire
from udvd_core.engine.ring import RingReader
from udvd_core.engine.service import Service
from udvd_core.engine.spare_time import SpareTime
from udvd_core.give_way import give_way
from udvd_core.settings import ScanSpec

if typing.TYPE_CHECKING:
    from udvd_core.engine.cluster_service import ClusterService
    from udvd_core.engine.watch import Watch

BEAT_S, LOOK_BEATS = 0.5, 2
"""Of the thread that beats: it looks whether the main thread hangs at every second beat."""
SILENCE_S = 60.0
SLICE_S = 0.1
IDLE_S = 1.0
"""An idle main thread says so often that it does not hang."""

log = logging.getLogger(__name__)


class Host:
    """Connects orders, ring and service; the main thread works, in spare time another one, one reads, one beats."""

    def __init__(
        self,
        orders: typing.BinaryIO,
        sender: wire.Sender,
        ring: RingReader,
        checkpoints: pathlib.Path,
    ) -> None:
        self._orders = orders
        self._sender = sender
        self._ring = ring
        self._folder = checkpoints
        self._inbox: queue.Queue[wire.Message] = queue.Queue()
        self._todo: collections.deque[wire.Message] = collections.deque()
        self._state = ("", 1)
        self._heard = time.monotonic()
        self._watch: Watch | None = None

    def run(self, cluster: tuple[str, str] | None = None) -> None:
        """Serve until the parent is gone or says so; with a `cluster` (address, certificates) over there."""
        threading.Thread(target=self._read, name="udvd-orders", daemon=True).start()
        threading.Thread(target=self._beat, name="udvd-beat", daemon=True).start()
        torch, self._service = _prepare(self._folder, cluster)  # may take seconds: the parent is watched by now
        memory.settle()
        self._sender.send("hello", pid=os.getpid(), version=udvd_core.__version__, torch=torch)
        spare = SpareTime()
        self._watch = _watch(threading.current_thread(), spare.thread)
        while True:
            self._moves()
            for message in self._orders_now(wait=self._service.idle and not self._todo):
                if message["kind"] == "end":
                    self._service.close()
                    return
                if message["kind"] == "abort":  # also what still waits for room
                    self._service.abort(message["scan_id"])
                self._todo.append(message)
            while self._todo and self._obey(self._todo[0]):
                self._todo.popleft()
            for event in spare.call(self._service.work, SLICE_S, now=self._service.urgent):
                wire.send_event(self._sender, event)  # waits where the parent does not read, and then nobody looks
                self._moves()
            if (state := (self._service.state, self._service.workers)) != self._state:
                self._state = state
                self._sender.send("state", text=state[0], workers=state[1])

    def _orders_now(self, wait: bool) -> list[wire.Message]:
        """Orders that have come; waits a while for the first where there is nothing else to do."""
        messages = []
        with contextlib.suppress(queue.Empty):
            if wait:
                messages.append(self._inbox.get(timeout=IDLE_S))
            while True:
                messages.append(self._inbox.get_nowait())
        return messages

    def _moves(self) -> None:
        """The main thread does not hang."""
        if self._watch is not None:
            self._watch.moves()

    def _obey(self, message: wire.Message) -> bool:
        """Carry an order out; False where there is no room for its frames yet."""
        kind = message["kind"]
        if kind == "open":
            self._service.open(ScanSpec.from_dict(message["spec"]), message["resume"])
        elif kind == "push":
            frames = self._ring.block(message["offset"], tuple(message["shape"]))
            if not self._service.push(message["scan_id"], message["start"], frames):
                return False
            self._sender.send("free", offset=message["offset"])
        elif kind == "finish":
            self._service.finish(message["scan_id"], message["now"])
        elif kind == "pause":
            self._service.pause(message["scan_id"], message["paused"])
        elif kind == "again":
            self._service.again(message["scan_id"])
        elif kind == "abort":
            self._service.abort(message["scan_id"])
        return True

    def _read(self) -> None:
        """Thread: orders into the inbox; ends the process when there will be no more."""
        try:
            while (message := wire.receive(self._orders)) is not None:
                self._heard = time.monotonic()
                if message["kind"] != "beat":
                    self._inbox.put(message)
        finally:
            self._leave()

    def _beat(self) -> None:
        """Thread: tells the parent that this process lives; ends it when the parent is silent or the work hangs."""
        for number in itertools.count():
            if time.monotonic() - self._heard > SILENCE_S:
                break
            try:
                self._sender.send("beat")
            except (OSError, ValueError):
                break
            if self._watch is not None and number % LOOK_BEATS == 0:
                self._watch.look()
            time.sleep(BEAT_S)
        self._leave()

    def _leave(self) -> None:
        """End now: the parent is gone, and nobody else would remove its folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)


def _prepare(checkpoints: pathlib.Path, cluster: tuple[str, str] | None) -> tuple[str, Service | ClusterService]:
    """The version of torch where it is needed here, and whoever does the work."""
    if cluster is None:
        return _warm_up(), Service(checkpoints)
    from udvd_core.engine.cluster_service import ClusterService

    return "", ClusterService(*cluster)


def _watch(*threads: threading.Thread) -> Watch | None:
    """What notices when a computation hangs; None without psutil, which is installed with torch."""
    if importlib.util.find_spec("psutil") is None:
        return None
    from udvd_core.engine import watch

    return watch.Watch(threads, "the engine", watch.LOCAL_WAITS)


def _warm_up() -> str:
    """Import torch before the first scan; returns its version, empty if there is none."""
    if importlib.util.find_spec("torch") is None:
        return ""
    import torch

    import udvd_core.corrected  # noqa: F401
    from udvd_core.device import leave_a_core

    leave_a_core()  # for Swift, after the scan too
    return str(torch.__version__)


def main() -> None:
    """Start from the command line that `LocalEngine` makes."""
    parser = argparse.ArgumentParser(prog="udvd_core.engine.host", description="Engine host; started by its parent.")
    parser.add_argument("--ring", required=True)
    parser.add_argument("--checkpoints", required=True, type=pathlib.Path)
    parser.add_argument("--engine", help="tls://HOST:PORT of a GPU machine, to denoise there")
    parser.add_argument("--certs", help="this machine's folder from udvd certs")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    give_way()
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like a message
    cluster = (arguments.engine, arguments.certs or "") if arguments.engine else None
    Host(sys.stdin.buffer, wire.Sender(output), RingReader(arguments.ring), arguments.checkpoints).run(cluster)
    os._exit(0)


if __name__ == "__main__":
    main()
