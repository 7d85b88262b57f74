"""What Swift's main thread is kept from, and by whom."""

from __future__ import annotations

import pathlib
import threading
import time
import typing

from nionswift_plugin.udvd_live import panel, placement

Tick = tuple[float, float, float]
"""How late, how long the thread waited for a core since the tick before, how much of a core it used since; ms."""
Turn = tuple[float, float, bool]
"""How long it took by the clock and of a core, ms; whether an item was made or placed in it."""


class Ticks:
    """A timer of 10 ms on the main thread, and how late it comes; Swift looks at its timers 50 times a second."""

    PERIOD_S = 0.01

    def __init__(self, window: typing.Any) -> None:
        self._ticks: list[Tick] = []
        self._loop = window.event_loop
        self._waited_file = pathlib.Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._before = self._waited(), self._used()
        self._next()

    def _next(self) -> None:
        due = self._loop.time() + self.PERIOD_S
        self._handle = self._loop.call_at(due, self._tick, due)

    def _tick(self, due: float) -> None:
        late, now = 1e3 * (self._loop.time() - due), (self._waited(), self._used())
        waited, used = (after - before for before, after in zip(self._before, now, strict=True))
        self._ticks.append((late, waited, used))
        self._before = now
        self._next()

    def _waited(self) -> float:
        return 1e-6 * int(self._waited_file.read_text().split()[1])

    def _used(self) -> float:
        return 1e3 * time.thread_time()

    def stop(self) -> list[Tick]:
        """Stop; what each tick has seen."""
        self._handle.cancel()
        return self._ticks


class Sleeper:
    """A thread that wants to run every 20 ms, as that of a camera; how much too long it was away, ms."""

    PERIOD_S = 0.02

    def __init__(self) -> None:
        self._late: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        begin = time.perf_counter()
        while not self._ended.wait(self.PERIOD_S):
            now = time.perf_counter()
            self._late.append(1e3 * (now - begin - self.PERIOD_S))
            begin = now

    def stop(self) -> list[float]:
        """Stop; how late it came each time."""
        self._ended.set()
        self._thread.join()
        return self._late


class Ours:
    """How long each turn of ours holds the main thread, with all that it makes Swift do there.

    Turns of the live panel, which gives the companion its time, and those in which a result is placed.
    """

    def __init__(self, companion: typing.Any) -> None:
        self._turns: list[Turn] = []
        self._tick, self._place = panel.PanelHandler._tick, placement.Placement._place_next

        def items() -> int:
            return len(companion.current.items) if companion.current else 0

        def timed(turn: typing.Callable[[typing.Any], None]) -> typing.Callable[[typing.Any], None]:
            def take(whose: typing.Any) -> None:
                before, begin, used = items(), time.perf_counter(), time.thread_time()
                turn(whose)
                took, of_a_core = time.perf_counter() - begin, time.thread_time() - used
                self._turns.append((1e3 * took, 1e3 * of_a_core, turn == self._place or items() > before))

            return take

        panel.PanelHandler._tick = timed(self._tick)  # type: ignore[method-assign]
        placement.Placement._place_next = timed(self._place)  # type: ignore[method-assign]

    def stop(self) -> list[Turn]:
        """Stop; what each turn took."""
        panel.PanelHandler._tick = self._tick  # type: ignore[method-assign]
        placement.Placement._place_next = self._place  # type: ignore[method-assign]
        return self._turns
