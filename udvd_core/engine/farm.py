"""Whole scans through one engine, as many side by side as it has workers: what has its frames at hand needs no more."""

from __future__ import annotations

import time
import typing

import numpy
import numpy.typing

from udvd_core.engine.protocol import Block, Engine, Event, Failed, Finished, Status
from udvd_core.settings import ScanSpec

Array = numpy.typing.NDArray[numpy.float32]

PUSH_BYTES = 8 << 20
PUSH_FRAMES = 256
RETRIES = 3
"""A scan whose worker ends once more than this is given up: it may be what ends them."""
NAP_S = 0.01


class Feed:
    """One scan on its way through an engine: its frames as there is room for them, and what came back.

    Parameters
    ----------
    spec : ScanSpec
        The scan.
    frames : callable
        Gives frames from one number up to another, shape (n, q, E), counts.
    """

    def __init__(self, spec: ScanSpec, frames: typing.Callable[[int, int], Array]) -> None:
        self.spec = spec
        self.data = numpy.zeros((spec.count, *spec.output_shape), dtype=numpy.float32)
        """Denoised frames, shape (n, E) or (n, q, E); zeros where they were not reached."""
        self.covered = numpy.zeros(spec.count, dtype=numpy.bool_)
        """Which frames were denoised."""
        self.final = numpy.zeros(spec.count, dtype=numpy.int64)
        """How often each got a final result: once, unless the engine is at fault."""
        self.status: Status | None = None
        self.finished: Finished | None = None
        self.failure = ""
        """Why it cannot be denoised."""
        self._frames = frames
        self._at = self._lost = 0
        self._all_at = 0.0

    @property
    def ended(self) -> bool:
        """Whether no more will come."""
        return bool(self.finished or self.failure)

    def push(self, engine: Engine) -> bool:
        """Push some frames, and say so when these were the last; False where there was no room or nothing to push."""
        if self._at >= self.spec.count:
            return False
        size = max(1, min(PUSH_FRAMES, PUSH_BYTES // (4 * self.spec.frame_shape[0] * self.spec.frame_shape[1])))
        stop = min(self._at + size, self.spec.count)
        if not engine.push(self.spec.scan_id, self._at, self._frames(self._at, stop)):
            return False
        self._at = stop
        if stop == self.spec.count:
            engine.finish(self.spec.scan_id)
            self._all_at = time.monotonic()
        return True

    def take(self, engine: Engine, event: Event) -> None:
        """Keep what came."""
        if self.ended:
            return
        if isinstance(event, Block):
            span = slice(event.start, event.start + len(event.data))
            self.data[span] = event.data
            self.covered[span] = True
            self.final[span] += event.final
        elif isinstance(event, Status):
            self.status = event
        elif isinstance(event, Finished):
            self.finished = event
        elif isinstance(event, Failed):
            self.failure = f"the scan cannot be denoised: {event.reason}"
        elif self._lost < RETRIES:
            self._lost += 1
            self._at = 0
            self.final[:] = 0
        else:
            self.failure = f"the scan was begun {1 + RETRIES} times and lost again: {event.reason}"
            engine.abort(self.spec.scan_id)

    def step(self) -> tuple[float, str]:
        """Share of its time to learn that has passed, and a line on how far it is."""
        if self._at < self.spec.count or self.status is None:
            return 0.0, f"{self._at} of {self.spec.count} frames read"
        share = (time.monotonic() - self._all_at) / max(self.spec.training.budget_s, 1e-3)
        status = self.status
        return min(share, 1.0), f"step {status.step}, {status.final} of {self.spec.count} frames final, {status.device}"


def work_off(
    engine: Engine,
    feeds: typing.Iterable[Feed],
    tell: typing.Callable[[typing.Sequence[Feed]], None] = lambda running: None,
) -> typing.Iterator[Feed]:
    """Take scans through an engine; each is begun when there is a worker for it, and given back when it has ended.

    Parameters
    ----------
    engine : Engine
        Stays open.
    feeds : iterable of Feed
        The next is asked for when its turn has come: a scan need not be read before.
    tell : callable
        Takes those that run, many times a second.
    """
    waiting = iter(feeds)
    running: dict[str, Feed] = {}
    more = True
    while more or running:
        while more and len(running) < max(1, engine.workers):
            feed = next(waiting, None)
            if feed is None:
                more = False
            else:
                running[feed.spec.scan_id] = feed
                engine.open(feed.spec)
        pushed = [feed.push(engine) for feed in running.values()]
        tell(tuple(running.values()))
        if any(pushed):
            continue
        events = [event for event in engine.poll() if event.scan_id in running]
        for event in events:
            running[event.scan_id].take(engine, event)
        for ended in [feed for feed in running.values() if feed.ended]:
            yield running.pop(ended.spec.scan_id)
        if not events:
            time.sleep(NAP_S)
