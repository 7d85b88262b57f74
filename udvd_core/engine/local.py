"""The engine in a child process: Swift keeps its thread, its memory and its life.

Frames go through a shared-memory ring, orders and events through the child's pipes. A thread
listens to the child, starts another when it dies, and then asks for all frames anew. `open`,
`push`, `finish`, `abort` and `poll` never wait for the child.
"""

from __future__ import annotations

import collections
import pathlib
import tempfile
import threading
import time

import numpy
import numpy.typing

from udvd_core.engine import wire
from udvd_core.engine.child import Child, find_python
from udvd_core.engine.protocol import Event, Failed, Finished, Resend, require, size, thinned
from udvd_core.engine.ring import Ring
from udvd_core.errors import EngineError
from udvd_core.settings import ScanSpec

Array = numpy.typing.NDArray[numpy.float32]

RING_BYTES = 64 << 20
MOST_DEATHS, DEATHS_WITHIN_S = 5, 60.0
MOST_EVENTS = 2000
ROOM_BYTES = 256 << 20
"""For results that nobody has fetched yet; with more of them the child waits."""
FULL_S = 0.02


class LocalEngine:
    """An `Engine` in a child process of the same machine.

    Parameters
    ----------
    python : str or None
        Interpreter of the child; None finds it.
    ring_bytes : int
        Size of the shared memory for frames.
    cluster : (str, str) or None
        ``tls://HOST:PORT`` and this machine's certificates: the child passes all on to that GPU machine.

    Raises
    ------
    EngineError
        When there is no interpreter, or it cannot be started.
    """

    def __init__(
        self, python: str | None = None, ring_bytes: int = RING_BYTES, cluster: tuple[str, str] | None = None
    ) -> None:
        self._python = find_python(python)
        self._place = "local process, "
        self._options = ("--engine", cluster[0], "--certs", cluster[1]) if cluster else ()
        self._ring = Ring(ring_bytes)
        try:
            self._temporary = tempfile.TemporaryDirectory(prefix="udvd-engine-", ignore_cleanup_errors=True)
        except OSError as error:
            self._ring.close()
            raise EngineError(f"no temporary folder for the engine: {error}") from None
        self._folder = pathlib.Path(self._temporary.name)
        self._lock = threading.Lock()
        self._opened: set[str] = set()
        self._specs: dict[str, ScanSpec] = {}
        self._lost: set[str] = set()
        self._events: collections.deque[Event] = collections.deque()
        self._state, self._failure = "starting", ""
        self._workers = 1
        self._closing = False
        self._deaths: list[float] = []
        try:
            self._child = Child(self._python, self._ring.name, self._folder, self._options)
        except EngineError:
            self._ring.close()
            self._temporary.cleanup()
            raise
        self._thread = threading.Thread(target=self._supervise, name="udvd-engine", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Process number of the present child."""
        return self._child.pid

    def open(self, spec: ScanSpec) -> None:
        """Announce a scan."""
        with self._lock:
            self._opened.add(spec.scan_id)
            self._specs[spec.scan_id] = spec
            if self._failure:
                self._events.append(Failed(spec.scan_id, self._failure))
            else:
                self._child.order("open", spec=spec.to_dict(), resume=None)

    def push(self, scan_id: str, start: int, frames: Array) -> bool:
        """Copy frames, shape (n, q, E), counts, into the ring; False when it is full. Any thread."""
        require(self._opened, scan_id)
        with self._lock:
            if scan_id not in self._specs or scan_id in self._lost or self._failure:
                return False
            offset = self._ring.put(frames)
            if offset is None:
                return False
            self._child.order("push", scan_id=scan_id, start=start, offset=offset, shape=list(frames.shape))
        return True

    def pause(self, scan_id: str, paused: bool) -> None:
        """Learn no further, or go on."""
        require(self._opened, scan_id)
        with self._lock:
            if scan_id not in self._lost:
                self._child.order("pause", scan_id=scan_id, paused=paused)

    def finish(self, scan_id: str, now: bool = False) -> None:
        """No more frames will come."""
        require(self._opened, scan_id)
        with self._lock:
            if scan_id not in self._lost:
                self._child.order("finish", scan_id=scan_id, now=now)

    def abort(self, scan_id: str) -> None:
        """Forget this scan."""
        with self._lock:
            self._forget(scan_id)
            self._events = collections.deque(event for event in self._events if event.scan_id != scan_id)
            self._child.order("abort", scan_id=scan_id)

    def poll(self) -> list[Event]:
        """Everything that happened since the last call."""
        with self._lock:
            events = [event for event in self._events if event.scan_id in self._specs]
            self._events.clear()
            for event in events:
                if isinstance(event, Resend):
                    self._lost.discard(event.scan_id)
                    self._child.order("again", scan_id=event.scan_id)
                elif isinstance(event, Finished | Failed):
                    self._forget(event.scan_id)
        return events

    @property
    def alive(self) -> bool:
        """Whether there is a child, or another is being started."""
        return not self._failure

    @property
    def workers(self) -> int:
        """How many scans are denoised side by side; of a GPU machine it is known after the first scan began."""
        return self._workers

    def describe(self) -> str:
        """Where it runs and how it is."""
        return f"{self._place}{self._failure or self._state}"

    def close(self) -> None:
        """End the child and free the ring."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._child.end(patience_s=1.0)
        self._thread.join()
        self._ring.close()
        self._temporary.cleanup()

    def _supervise(self) -> None:
        """Thread: listen to the child and start another when it dies, until closed."""
        while True:
            child = self._child
            for message in child.messages():
                self._take(message)
            child.end()
            child.close()
            if self._closing or not self._replace():
                return

    def _take(self, message: wire.Message) -> None:
        if message["kind"] == "free":
            self._ring.free(message["offset"])
        elif message["kind"] == "hello":
            self._state = f"torch {message['torch']}" if message["torch"] else "without torch"
        elif message["kind"] == "state":
            self._place, self._state, self._workers = "", message["text"], message["workers"]
        elif (event := wire.to_event(message)) is not None:
            while not self._has_room() and not self._closing:
                time.sleep(FULL_S)
            with self._lock:
                if len(self._events) >= MOST_EVENTS:
                    self._events = collections.deque(thinned(self._events))
                self._events.append(event)

    def _has_room(self) -> bool:
        with self._lock:
            return sum(size(event) for event in self._events) < ROOM_BYTES

    def _replace(self) -> bool:
        """Start another child after one died; False when they die too often or the engine is closing."""
        now = time.monotonic()
        self._deaths = [t for t in self._deaths if now - t < DEATHS_WITHIN_S] + [now]
        reason = f"the engine process ended ({self._last_words()})"
        with self._lock:
            if self._closing:
                return False
            try:
                if len(self._deaths) >= MOST_DEATHS:
                    raise EngineError(f"{reason}, {MOST_DEATHS} times in {DEATHS_WITHIN_S:.0f} s")
                self._ring.reset()
                self._child = Child(self._python, self._ring.name, self._folder, self._options)
            except EngineError as error:
                self._failure = str(error)
                self._events += [Failed(scan_id, self._failure) for scan_id in self._specs]
                return False
            self._state = "restarting"
            for scan_id, spec in self._specs.items():
                checkpoint = self._folder / f"{spec.file_name}.safetensors"
                self._child.order("open", spec=spec.to_dict(), resume=str(checkpoint) if checkpoint.exists() else None)
                self._lost.add(scan_id)
                self._events.append(Resend(scan_id, reason))
        return True

    def _last_words(self) -> str:
        """Why the child ended: its silence, or the last line that it wrote to its log."""
        if self._child.silent:
            return "it was silent for too long"
        try:
            lines = (self._folder / "engine.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:200] if lines else "without a word"

    def _forget(self, scan_id: str) -> None:
        spec = self._specs.pop(scan_id, None)
        self._lost.discard(scan_id)
        if spec is not None:
            for kind in (".safetensors", ".previous.safetensors"):
                (self._folder / f"{spec.file_name}{kind}").unlink(missing_ok=True)
