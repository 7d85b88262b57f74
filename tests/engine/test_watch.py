"""A thread that hangs is told from one that works, whatever it does."""

import hashlib
import os
import threading

import pytest

from udvd_core.engine import watch
from udvd_core.engine.watch import Watch


@pytest.fixture
def looks():
    """Start something in a thread, and look at it so many times."""
    ends = []

    def begin(work, count, pause_s=0.05):
        stop = threading.Event()
        ends.append(stop)
        thread = threading.Thread(target=work, args=(stop,), daemon=True)
        thread.start()
        seen = Watch([thread], "a test")
        found = []
        for _ in range(count):
            thread.join(pause_s)
            found.append(seen.hangs())
        return found

    yield begin
    for stop in ends:
        stop.set()


def test_a_thread_that_waits_for_ever_hangs(looks):
    silent, other = os.pipe()
    found = looks(lambda stop: os.read(silent, 1), watch.WAITS + 2)
    assert found == [False] * watch.WAITS + [True, True]
    os.write(other, b"x")


def test_a_thread_in_one_long_calculation_gets_longer(looks, monkeypatch):
    monkeypatch.setattr(watch, "COMPUTES", 12)

    def calculate(stop):
        while not stop.is_set():  # each call takes longer than the test looks
            hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000_000)

    assert looks(calculate, 14, 0.2) == [False] * 12 + [True, True]


def test_a_thread_that_computes_does_not_hang(looks, monkeypatch):
    monkeypatch.setattr(watch, "COMPUTES", 20)

    def calculate(stop):
        while not stop.is_set():
            sorted(str(number) for number in range(1000))

    assert not any(looks(calculate, 22, 0.1))


def test_who_says_that_it_moves_does_not_hang():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, daemon=True)
    thread.start()
    seen = Watch([thread], "a test")
    for _ in range(2 * watch.WAITS):
        assert not seen.hangs()
        seen.moves()
    stop.set()


def test_where_one_of_two_works_neither_hangs():
    stop = threading.Event()

    def wait():
        stop.wait()

    def work():
        while not stop.wait(0.001):
            sum(range(1000))

    threads = [threading.Thread(target=each, daemon=True) for each in (wait, work)]
    for thread in threads:
        thread.start()
    seen, waiting = Watch(threads, "a test"), Watch(threads[:1], "a test")
    found = []
    for _ in range(2 * watch.WAITS):
        threads[1].join(0.05)
        found.append((seen.hangs(), waiting.hangs()))
    stop.set()
    assert not any(both for both, _ in found), "it works on"
    assert found[-1] == (False, True)
