"""One child process with the engine host in it: started, ordered, listened to, ended."""

from __future__ import annotations

import math
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
import typing

import udvd_core
from udvd_core.engine import wire
from udvd_core.errors import EngineError
from udvd_core.give_way import computing_threads

BEAT_S = 1.0
SILENCE_S = 12.0  # it beats twice a second; among seven busy programs 6 s without a beat have been seen
START_S = 120.0  # to begin to speak: at low priority, on a busy machine with a cold disk, it may take a minute
LOW_PRIORITY_WITHOUT_WINDOW = 0x00004000 | 0x08000000  # Windows' process creation flags


def find_python(override: str | None = None) -> str:
    """Path of the Python interpreter for the child.

    Parameters
    ----------
    override : str or None
        The user's setting.

    Raises
    ------
    EngineError
        When there is none: Swift's launcher embeds Python, and its environment was not found.
    """
    if override:
        if not pathlib.Path(override).is_file():
            raise EngineError(f"interpreter {override!r} does not exist; set the path of a python program")
        return override
    prefix = pathlib.Path(sys.prefix)
    candidates = [pathlib.Path(sys.executable or "")]
    candidates += [prefix / "python.exe", prefix / "Scripts" / "python.exe", prefix / "bin" / "python3"]
    for candidate in candidates:
        if candidate.name.lower().startswith("python") and candidate.is_file():
            return str(candidate)
    raise EngineError(f"no Python interpreter in {prefix}; set its path in the settings of the plug-in")


class Child:
    """A running engine host. `order` never waits; one thread writes, one beats and kills a silent child.

    Parameters
    ----------
    python : str
        Interpreter.
    ring : str
        Name of the ring's shared memory.
    folder : path
        For checkpoints and the log.
    options : sequence of str
        Further ones of the host.

    Raises
    ------
    EngineError
        When the process cannot be started.
    """

    def __init__(self, python: str, ring: str, folder: pathlib.Path, options: typing.Sequence[str] = ()) -> None:
        root = str(pathlib.Path(udvd_core.__file__).parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        command = [python, "-m", "udvd_core.engine.host", "--ring", ring, "--checkpoints", str(folder), *options]
        try:
            with open(folder / "engine.log", "ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={"OMP_NUM_THREADS": str(computing_threads()), **os.environ, "PYTHONPATH": path},
                    creationflags=LOW_PRIORITY_WITHOUT_WINDOW if sys.platform == "win32" else 0,
                )
        except OSError as error:
            raise EngineError(f"engine cannot be started with {python}: {error}; choose another interpreter") from None
        self._silent_from = time.monotonic() + START_S
        self.silent = False
        """Whether it was ended because it had said nothing for too long."""
        self._ended = threading.Event()
        self._orders: queue.SimpleQueue[wire.Message | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._write, name="udvd-engine-orders", daemon=True),
            threading.Thread(target=self._watch, name="udvd-engine-watch", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    def order(self, kind: str, **values: typing.Any) -> None:
        """Send an order; any thread. Orders to a child that dies are lost."""
        self._orders.put({"kind": kind, **values})

    def messages(self) -> typing.Iterator[wire.Message]:
        """What the child says, until it is gone."""
        stream = typing.cast(typing.BinaryIO, self._process.stdout)
        while True:
            try:
                message = wire.receive(stream)
            except (EngineError, OSError, ValueError, KeyError):
                return
            if message is None:
                return
            self._silent_from = math.inf  # as long as nobody listens
            yield message
            self._silent_from = time.monotonic() + SILENCE_S

    def end(self, patience_s: float = 0.0) -> None:
        """End the process, politely for `patience_s` seconds."""
        if patience_s:
            self.order("end")
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                pass  # it had its chance
        self._process.kill()
        self._process.wait()
        self._ended.set()
        self._orders.put(None)
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Free the pipes, after the last of `messages`."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                typing.cast(typing.BinaryIO, pipe).close()
            except OSError:
                pass  # what was still to be written went to a dead child

    def _write(self) -> None:
        """Thread: orders to the child; waits where the child does not read."""
        sender = wire.Sender(typing.cast(typing.BinaryIO, self._process.stdin))
        while (message := self._orders.get()) is not None:
            try:
                sender.send(message.pop("kind"), **message)
            except (OSError, ValueError):
                return  # the child is gone, its listener knows

    def _watch(self) -> None:
        """Thread: a beat each second; the end of a child that has been silent for too long."""
        while not self._ended.wait(BEAT_S):
            self.order("beat")
            if time.monotonic() > self._silent_from:
                self.silent = True
                self._process.kill()
