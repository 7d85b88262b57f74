"""Ends this process when a computation hangs while everything else in it lives: a call to a GPU that never returns.

A thread hangs when it is found in the very same call again and again. One that waits there, and uses no processor, is
given up soon; one that computes may be in a long calculation, and gets minutes.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import typing

import psutil

LOOK_S = 1.0
WAITS, LOCAL_WAITS, COMPUTES = 6, 30, 120
"""Looks in a row with the thread in the same call, the second for a process of low priority beside Swift, which may
wait long for a disk; counted and not timed, so that a process that was stopped as a whole and goes on is not taken for
hung."""

log = logging.getLogger(__name__)


class Watch:
    """Looks at the threads that work, one at a time, on the same.

    Parameters
    ----------
    threads : sequence of Thread
        Running ones, which say `moves` whenever they begin anew.
    what : str
        What it does, for the log.
    waits : int
        Looks in a row that it may wait in one call.
    """

    def __init__(self, threads: typing.Sequence[threading.Thread], what: str, waits: int = WAITS) -> None:
        self._threads, self._what, self._most_waits = threads, what, waits
        self._process = psutil.Process()
        self._seen: tuple[object, ...] = ()
        self._used = -1.0
        self._same = self._waits = 0

    def start(self) -> None:
        """`look` every `LOOK_S` from now on, in a thread of its own."""
        threading.Thread(target=self._run, name="udvd-watch", daemon=True).start()

    def moves(self) -> None:
        """They do not hang; called by them."""
        self._seen = ()

    def look(self) -> None:
        """Look once, and end this process if they hang; called every `LOOK_S`."""
        if self.hangs():
            log.critical("%s hangs in %s: this process ends, to be started again", self._what, self._last_line())
            os._exit(1)

    def hangs(self) -> bool:
        """Whether they hang, as far as this look and those before it tell."""
        seen, used = self._place(), self._processor()
        stands = seen == self._seen
        self._same = self._same + 1 if stands else 0
        self._waits = self._waits + 1 if stands and used == self._used else 0
        self._seen, self._used = seen, used
        return self._waits >= self._most_waits or self._same >= COMPUTES

    def _run(self) -> None:
        while self._threads[0].is_alive():
            self.look()
            self._threads[0].join(LOOK_S)

    def _place(self) -> tuple[object, ...]:
        """Where the threads are: each frame of their stacks and the instruction there."""
        place, frames = list[object](), sys._current_frames()
        for thread in self._threads:
            frame = frames.get(thread.ident or 0)
            while frame is not None:
                place.append((id(frame), frame.f_lasti))
                frame = frame.f_back
        return tuple(place)

    def _processor(self) -> float:
        """Processor time of the threads, s."""
        ours = {thread.native_id for thread in self._threads}
        return float(sum(each.user_time + each.system_time for each in self._process.threads() if each.id in ours))

    def _last_line(self) -> str:
        frames = [sys._current_frames().get(thread.ident or 0) for thread in self._threads]
        lines = [f"{frame.f_code.co_filename}:{frame.f_lineno}" for frame in frames if frame is not None]
        return ", ".join(lines) or "nothing"
