"""Work that gets a core only when nobody else wants one, as long as that gets it done.

Beside an engine of low priority Swift's main thread came up to 15 ms later on two cores, and not for want of a share:
Linux lets a thread that wakes wait for its own core while the engine has the other. A core on which only threads of the
idle class run counts as free, and whoever wakes goes there at once (docs/decisions/0009).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
import time
import typing

LEAST, ENOUGH = 0.2, 0.5
"""Part of a core with which work stays in spare time, and with which it goes there."""
TOLD_S = 0.02
"""What took less says nothing of its share."""

T = typing.TypeVar("T")


class SpareTime:
    """Calls, one after the other, in spare time or in the thread that makes them.

    No thread comes back from the idle class unless it is privileged, and where others want all cores all the time it
    gets next to none. So there is a thread for it, and what runs there goes on in the calling one when it got little;
    it goes back when it gets a good part of a core.
    """

    def __init__(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "udvd-spare-time", _stand_back)
        self.thread = self._pool.submit(threading.current_thread).result()
        """The one in the idle class."""
        self.used = False
        """Whether the next call is made there."""

    def call(self, function: typing.Callable[..., T], *arguments: typing.Any, now: bool = False) -> T:
        """Call a function and wait for what it returns; in the calling thread if it is wanted `now`."""
        there = self.used and not now
        outcome, took, part = (
            self._pool.submit(_measured, function, *arguments).result() if there else _measured(function, *arguments)
        )
        if took >= TOLD_S:
            self.used = part >= (LEAST if there else ENOUGH)
        return outcome


def _measured(function: typing.Callable[..., T], *arguments: typing.Any) -> tuple[T, float, float]:
    """What a function returns, how long it took in seconds, and the part of a core that it got."""
    begin, used = time.perf_counter(), time.thread_time()
    outcome = function(*arguments)
    took = time.perf_counter() - begin
    return outcome, took, (time.thread_time() - used) / max(took, 1e-9)


def _stand_back() -> None:
    """Put this thread, and those that it starts, into the idle class; Windows has no such class."""
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # where it is refused, the low priority has to do
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
