"""What every test shares: a seeded generator, and the proof that it leaves no thread and no process behind."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when torch and numpy are imported

import gc  # noqa: E402
import multiprocessing  # noqa: E402
import pathlib  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import typing  # noqa: E402

import numpy  # noqa: E402
import pytest  # noqa: E402

PATIENCE_S = 3.0


def pytest_collection_finish() -> None:
    """Leave what is loaded by now out of every search for what nothing uses any more; Swift and torch are large."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng() -> numpy.random.Generator:
    """The same random numbers in every run."""
    return numpy.random.default_rng(20261124)


def _threads() -> dict[int, str]:
    """Living threads that the process would wait for at its end.

    Five classes of Nion's user interface keep a pool each for as long as the process lives, without a name for its
    threads. Where Nion Swift is loaded such threads do not count; so pools of our own get a `thread_name_prefix`.
    """
    swift = "nion.swift" in sys.modules
    return {
        -(t.ident or 0): f"thread {t.name}"
        for t in threading.enumerate()
        if not t.daemon and not (swift and t.name.startswith("ThreadPoolExecutor-"))
    }


def _children() -> dict[int, str]:
    """Living child processes; `multiprocessing`'s own helper, which lives as long as we do, is none."""
    tasks = pathlib.Path("/proc/self/task")
    if not tasks.exists():
        return {child.pid or 0: f"process {child.name}" for child in multiprocessing.active_children()}
    found = {}
    for pid in {pid for task in tasks.glob("*/children") for pid in _read(task).split()}:
        state = _read(pathlib.Path("/proc", pid, "stat")).rpartition(")")[2].split()[:1]
        command = _read(pathlib.Path("/proc", pid, "cmdline")).replace("\0", " ").strip()
        if state not in ([], ["Z"]) and "multiprocessing.resource_tracker" not in command:  # Z has ended
            found[int(pid)] = f"process {pid}: {command}"
    return found


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended meanwhile
        return ""


@pytest.fixture(scope="session", autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[None]:
    """Work in a folder of this process's own: Swift's configuration for tests empties ``test_data`` where it runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        yield


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> typing.Iterator[None]:
    """Fail a test after which a non-daemon thread or a child process goes on."""
    before = _threads() | _children()
    yield
    until = time.monotonic() + PATIENCE_S
    while left := [name for key, name in (_threads() | _children()).items() if key not in before]:
        if time.monotonic() > until:
            pytest.fail(f"left behind: {left}")
        time.sleep(0.02)
