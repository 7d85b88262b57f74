"""Work in spare time: done there while it gets a core, elsewhere when it does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from udvd_core.engine import spare_time
from udvd_core.engine.spare_time import SpareTime

HOG = "import os; os.sched_setaffinity(0, {}); print(flush=True)\nwhile True: pass"


def compute(seconds: float) -> tuple[str, int]:
    """Use a core for so long; name of the thread that did, and its policy."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return threading.current_thread().name, os.sched_getscheduler(0) if hasattr(os, "SCHED_IDLE") else 0


def sleep(seconds: float) -> str:
    """Wait so long, and use no core."""
    time.sleep(seconds)
    return threading.current_thread().name


@pytest.fixture
def spare():
    made = SpareTime()
    yield made
    made._pool.shutdown()


@pytest.fixture
def got(monkeypatch):
    """Say what part of a core the next calls get."""
    parts: list[float] = []

    def measured(function, *arguments):
        return function(*arguments), 1.0, parts.pop(0)

    monkeypatch.setattr(spare_time, "_measured", measured)
    return parts


def name() -> str:
    return threading.current_thread().name


def test_it_goes_there_with_a_good_part_of_a_core_and_comes_back_with_little(spare, got):
    got += [0.4, 0.5, 0.2, 0.19, 0.45, 0.9, 1.0]
    assert [spare.call(name) == spare.thread.name for _ in range(7)] == [False, False, True, True, False, False, True]


def test_what_is_wanted_now_is_done_by_the_caller_and_may_go_back(spare, got):
    got += [1.0, 0.9, 0.3, 0.9]
    seen = [spare.call(name, now=now) == spare.thread.name for now in (False, True, True, False)]
    assert seen == [False, False, False, False]
    assert spare.used


def test_what_takes_no_time_says_nothing(spare):
    assert spare.call(compute, 0.1)[0] != spare.thread.name
    begin = time.perf_counter()
    there = spare.used
    for _ in range(3):
        spare.call(name)
        assert spare.used == there or time.perf_counter() - begin > spare_time.TOLD_S


def test_who_waits_for_something_else_than_a_core_is_left_alone(spare):
    assert spare.call(sleep, 0.1) == threading.current_thread().name
    assert spare.call(sleep, 0.1) == threading.current_thread().name
    assert not spare.used


def test_an_error_comes_back_as_it_was(spare):
    spare.used = True
    with pytest.raises(ZeroDivisionError):
        spare.call(divmod, 1, 0)
    assert spare.call(name) == spare.thread.name


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="an idle class is Linux's")
def test_the_class_is_that_threads_alone_and_of_those_that_it_starts(spare):
    spare.used = True
    assert spare.call(compute, 0.0) == (spare.thread.name, os.SCHED_IDLE)

    def of_a_child():
        found = []
        thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
        thread.start()
        thread.join()
        return found[0]

    assert spare.call(of_a_child) == os.SCHED_IDLE, "the libraries' threads begin there"
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="an idle class is Linux's")
def test_where_others_take_the_core_it_leaves_the_idle_class(spare):
    """A real hog on the one core that all may use: the idle class gets next to nothing of it."""
    allowed, core = os.sched_getaffinity(0), {min(os.sched_getaffinity(0))}
    with subprocess.Popen([sys.executable, "-c", HOG.format(core)], stdout=subprocess.PIPE) as hog:
        try:
            hog.stdout.readline()
            for thread in (0, spare.thread.native_id):
                os.sched_setaffinity(thread, core)
            spare.used = True
            first = spare.call(compute, 0.01)[0]
        finally:
            os.sched_setaffinity(0, allowed)
            hog.kill()
    assert first == spare.thread.name and not spare.used
