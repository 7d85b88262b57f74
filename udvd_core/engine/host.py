"""The engine host: a child process of Swift that denoises; ``python -m udvd_core.engine.host``.

It reads orders from its standard input and writes events to its standard output, frames come
through the ring. It ends when its input ends, that is when Swift dies, or when Swift has been
silent for `SILENCE_S`.
"""

from __future__ import annotations

import argparse
import importlib.util
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
from udvd_core.engine import wire
from udvd_core.engine.ring import RingReader
from udvd_core.engine.service import Service
from udvd_core.settings import ScanSpec

BEAT_S = 0.5
SILENCE_S = 60.0
SLICE_S = 0.1

log = logging.getLogger(__name__)


class Host:
    """Connects orders, ring and service; the main thread works, one reads, one beats."""

    def __init__(
        self, orders: typing.BinaryIO, sender: wire.Sender, ring: RingReader, checkpoints: pathlib.Path
    ) -> None:
        self._orders = orders
        self._sender = sender
        self._ring = ring
        self._folder = checkpoints
        self._service = Service(checkpoints)
        self._inbox: queue.Queue[wire.Message] = queue.Queue()
        self._heard = time.monotonic()

    def run(self) -> None:
        """Serve until the parent is gone or says so."""
        threading.Thread(target=self._read, name="udvd-orders", daemon=True).start()
        threading.Thread(target=self._beat, name="udvd-beat", daemon=True).start()
        self._sender.send("hello", pid=os.getpid(), version=udvd_core.__version__, torch=_warm_up())
        while True:
            for message in self._orders_now(wait=self._service.idle):
                if message["kind"] == "end":
                    return
                self._obey(message)
            for event in self._service.work(SLICE_S):
                wire.send_event(self._sender, event)

    def _orders_now(self, wait: bool) -> list[wire.Message]:
        """Orders that have come; waits for the first where there is nothing else to do."""
        messages = [self._inbox.get()] if wait else []
        while not self._inbox.empty():
            messages.append(self._inbox.get())
        return messages

    def _obey(self, message: wire.Message) -> None:
        kind = message["kind"]
        if kind == "open":
            self._service.open(ScanSpec.from_dict(message["spec"]), message["resume"])
        elif kind == "push":
            frames = self._ring.block(message["offset"], tuple(message["shape"]))
            self._sender.send("free", offset=message["offset"])
            self._service.push(message["scan_id"], message["start"], frames)
        elif kind == "finish":
            self._service.finish(message["scan_id"])
        elif kind == "abort":
            self._service.abort(message["scan_id"])

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
        """Thread: tells the parent that this process lives; ends the process when the parent is silent."""
        while time.monotonic() - self._heard < SILENCE_S:
            try:
                self._sender.send("beat")
            except (OSError, ValueError):
                break
            time.sleep(BEAT_S)
        self._leave()

    def _leave(self) -> None:
        """End now: the parent is gone, and nobody else would remove its folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)


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
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if hasattr(os, "nice"):
        os.nice(10)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like a message
    Host(sys.stdin.buffer, wire.Sender(output), RingReader(arguments.ring), arguments.checkpoints).run()
    os._exit(0)


if __name__ == "__main__":
    main()
