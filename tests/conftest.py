"""What every test shares: a seeded generator, and the proof that it leaves no thread and no process behind."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy are imported; two test machines' cores are few

import multiprocessing  # noqa: E402
import pathlib  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import typing  # noqa: E402

import numpy  # noqa: E402
import pytest  # noqa: E402

PATIENCE_S = 3.0


@pytest.fixture
def rng() -> numpy.random.Generator:
    """The same random numbers in every run."""
    return numpy.random.default_rng(20261124)


def _threads() -> set[str]:
    return {f"thread {t.name} ({t.ident})" for t in threading.enumerate() if not t.daemon}


def _children() -> set[str]:
    """Living child processes; `multiprocessing`'s own helper, which lives as long as we do, is none."""
    tasks = pathlib.Path("/proc/self/task")
    if not tasks.exists():
        return {f"process {child.name} ({child.pid})" for child in multiprocessing.active_children()}
    found = set()
    for pid in {pid for task in tasks.glob("*/children") for pid in _read(task).split()}:
        command = _read(pathlib.Path("/proc", pid, "cmdline")).replace("\0", " ").strip()  # empty once it has ended
        if command and "multiprocessing.resource_tracker" not in command:
            found.add(f"process {pid}: {command}")
    return found


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended meanwhile
        return ""


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> typing.Iterator[None]:
    """Fail a test after which a non-daemon thread or a child process goes on."""
    before = _threads() | _children()
    yield
    until = time.monotonic() + PATIENCE_S
    while (left := (_threads() | _children()) - before) and time.monotonic() < until:
        time.sleep(0.02)
    assert not left, f"left behind: {sorted(left)}"
