"""The child process: it may die, hang or be slow, and nothing is lost; Swift may die, and nothing is left behind."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest
from torchless import NO_TORCH

from udvd_core import checkpoint
from udvd_core.engine import child as child_module
from udvd_core.engine import local as local_module
from udvd_core.engine.farm import RETRIES, Feed, work_off
from udvd_core.engine.local import LocalEngine
from udvd_core.engine.protocol import Block, Failed, Finished, Resend, Status
from udvd_core.engine.ring import Ring
from udvd_core.errors import EngineError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm and stops processes")

ROOT = pathlib.Path(__file__).parents[2]


def alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait(condition, seconds=10.0):
    """Seconds until something is so."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - begin


def shared():
    return set(os.listdir("/dev/shm"))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Run code at the start of every child."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return (tmp_path / "sitecustomize.py").write_text


@pytest.fixture
def start():
    """Start engines, close them afterwards, and look that nothing of them is left."""
    engines = []

    def begin(**settings):
        engines.append(LocalEngine(**settings))
        return engines[-1]

    yield begin
    folders, rings = [engine._folder for engine in engines], {engine._ring.name for engine in engines}
    for engine in engines:
        engine.close()
    assert not [engine.pid for engine in engines if alive(engine.pid)]
    assert not [folder for folder in folders if folder.exists()]
    assert not shared() & rings


@pytest.fixture
def quick(site, start):
    """Start engines whose child cannot find torch and is ready at once; enough for the model `raw`."""
    site(NO_TORCH)
    return start


@pytest.mark.calm
def test_a_killed_child_is_replaced_and_goes_on_from_its_checkpoint(start, make_spec, drive, counts):
    engine = start()
    spec = make_spec("Spectrum Image EELS 12/../ü", budget_s=0.5)
    scan = drive(engine, spec, counts(spec))
    scan.push(12)
    path = engine._folder / f"{spec.file_name}.safetensors"

    def saved():
        return checkpoint.load(path)[1]["step"] if path.exists() else 0

    scan.wait(lambda: saved() > 0)
    pid = engine.pid
    os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    step = saved()
    scan.wait(lambda: scan.of(Resend))
    assert time.monotonic() - begin < 2
    assert "the engine process ended" in scan.of(Resend)[0].reason
    assert "restarting" in engine.describe() or "torch" in engine.describe()
    first = len(scan.events)
    scan.run()
    assert engine.pid != pid and not alive(pid)
    later = [event.step for event in scan.events[first:] if isinstance(event, Status | Block | Finished)]
    assert min(later) >= step > 0
    assert (scan.final == 1).all() and numpy.isfinite(scan.data).all()
    (finished,) = scan.of(Finished)
    assert (finished.received, finished.final) == (20, 20)
    assert not path.exists(), "the checkpoint of a finished scan stays behind"
    assert len(scan.of(Resend)) == 1


def test_killed_again_and_again_all_frames_come_out(quick, make_spec, drive, counts):
    """While it starts, while frames come, while it finishes; another thread pushes all the time."""
    engine = quick()
    spec, other_spec = make_spec("a", (20, 20), model="raw"), make_spec("b", model="raw")
    scan, other = drive(engine, spec, counts(spec)), drive(engine, other_spec, counts(other_spec))
    dead, lock, over = 0, threading.Lock(), threading.Event()

    def tap():
        while not over.is_set():
            with lock:
                scan.push(min(scan.at + 3, spec.count))
            time.sleep(0.001)

    thread = threading.Thread(target=tap)
    thread.start()
    try:
        until = time.monotonic() + 30
        while not (scan.ended and other.ended):
            assert time.monotonic() < until
            events = engine.poll()
            with lock:
                scan.take(events)
            other.take(events)
            other.push(other.at + 1 if other.at < 20 else 20)
            if dead < 4 and scan.at > (0, 100, 250, 390)[dead] and alive(pid := engine.pid):
                os.kill(pid, signal.SIGKILL)
                dead += 1
            time.sleep(0.002)
    finally:
        over.set()
        thread.join()
    assert dead >= 2, "the scan was over before the child could die"
    assert len(scan.of(Resend)) >= 1
    numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])
    numpy.testing.assert_array_equal(other.data, other.frames[:, 0])
    assert (scan.final == 1).all() and (other.final == 1).all()
    assert not scan.of(Failed) and not other.of(Failed)


@pytest.mark.calm
def test_a_frozen_child_is_replaced_and_nobody_waits_for_it(quick, make_spec, drive, counts, monkeypatch):
    monkeypatch.setattr(child_module, "SILENCE_S", 1.0)
    engine = quick()
    spec = make_spec("a", (100, 100), model="raw", budget_s=5.0)
    scan = drive(engine, spec, counts(spec))
    scan.push(6)
    scan.wait(lambda: scan.of(Block))
    pid = engine.pid
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    longest = 0.0
    for number in range(5000):  # more orders than its pipe holds
        at = time.monotonic()
        assert engine.push("a", 6 + number, scan.frames[6 + number : 7 + number])
        longest = max(longest, time.monotonic() - at)
    scan.wait(lambda: scan.of(Resend))
    assert time.monotonic() - begin < 20, "its parent does not wait for ever"
    assert "silent for too long" in scan.of(Resend)[0].reason
    assert longest < 0.9, "a push that waited for the child would wait for its end, a second"
    assert not alive(pid)
    scan.at = 0
    scan.run()
    numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])


HANG = """
import os, pathlib, sys

def harm(service, watch, mark):
    watch.LOCAL_WAITS = 3
    plain = service.Service.work
    def work(self, budget):
        if self._open and mark.exists():
            mark.unlink()
            os.read(os.pipe()[0], 1)  # nobody will write there; waits as for a GPU that does not answer
        return plain(self, budget)
    service.Service.work = work

if "udvd_core.engine.host" in sys.orig_argv:
    from udvd_core.engine import service, watch
    harm(service, watch, pathlib.Path({mark!r}))
"""


@pytest.fixture
def watched(site, start, tmp_path):
    """Start engines that are looked at three times before they count as hung, and that hang once where this file is."""
    mark = tmp_path / "hang"
    site(NO_TORCH + HANG.format(mark=str(mark)))
    return start, mark


def test_a_computation_that_hangs_in_the_child_is_noticed(watched, make_spec, drive, counts):
    start, mark = watched
    engine, spec = start(), make_spec("a", (10, 10), model="raw")
    scan = drive(engine, spec, counts(spec))
    scan.push(6)
    scan.wait(lambda: scan.of(Block))
    pid = engine.pid
    mark.touch()
    scan.run()
    assert "the engine hangs in" in scan.of(Resend)[0].reason and not alive(pid)
    assert (scan.final == 1).all()
    numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])


def test_a_child_without_work_or_whose_results_nobody_fetches_does_not_hang(
    watched, make_spec, drive, counts, monkeypatch
):
    engine, spec = watched[0](), make_spec("a", (100, 100), model="raw")
    scan = drive(engine, spec, counts(spec))
    scan.push(6)
    scan.wait(lambda: scan.of(Block))
    pid = engine.pid
    time.sleep(6)  # which is twice as many looks
    with monkeypatch.context() as patch:
        patch.setattr(local_module, "ROOM_BYTES", 0)
        scan.push(batch=100)
        time.sleep(6)
        assert not any(isinstance(event, Finished) for event in engine._events), "its pipe is full"
    scan.run()
    assert engine.pid == pid and not scan.of(Resend)
    numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])


@pytest.mark.parametrize("then", ["goes on", "dies"])
def test_a_full_ring_says_so_and_loses_nothing(quick, make_spec, drive, counts, then):
    engine = quick(ring_bytes=4096)  # 32 spectra of 32 channels
    spec = make_spec("a", (10, 20), model="raw")
    scan = drive(engine, spec, counts(spec))
    scan.push(3)
    scan.wait(lambda: scan.of(Block))
    os.kill(engine.pid, signal.SIGSTOP)
    assert not scan.push()
    at = scan.at
    assert 3 < at <= 3 + 33
    assert not engine.push("a", at, scan.frames[at : at + 3])
    os.kill(engine.pid, signal.SIGCONT if then == "goes on" else signal.SIGKILL)
    scan.run()
    numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])
    assert len(scan.of(Resend)) == (then == "dies")


def test_between_a_death_and_its_news_nothing_is_taken(quick, make_spec, drive, counts):
    """Else the new child could finish with the few frames that reached it."""
    engine = quick()
    spec = make_spec("a", model="raw")
    scan = drive(engine, spec, counts(spec))
    scan.push(10)
    scan.wait(lambda: scan.of(Block))
    pid = engine.pid
    os.kill(pid, signal.SIGKILL)
    wait(lambda: engine.pid != pid)
    wait(lambda: any(isinstance(event, Resend) for event in tuple(engine._events)))
    assert not engine.push("a", 10, scan.frames[10:12])
    engine.finish("a")
    time.sleep(0.5)
    scan.run()
    assert scan.of(Finished)[0].received == 20
    numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])


def test_frames_larger_than_the_ring_never_fit(quick, make_spec, drive, counts):
    engine = quick(ring_bytes=4096)
    spec = make_spec("a", (10, 20), model="raw")
    scan = drive(engine, spec, counts(spec))
    assert not engine.push("a", 0, scan.frames[:33])
    assert engine.push("a", 0, scan.frames[:32])


def test_a_child_that_keeps_dying_is_given_up(quick, make_spec, drive, counts):
    engine = quick()
    spec = make_spec("a", model="raw")
    scan = drive(engine, spec, counts(spec))
    killed = set()
    until = time.monotonic() + 20
    while not scan.ended:
        assert time.monotonic() < until
        pid = engine.pid
        if alive(pid):
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError):  # of the one before, which was waited for just now
                os.kill(pid, signal.SIGKILL)
        scan.take(engine.poll())
        time.sleep(0.01)
    (failed,) = scan.of(Failed)
    assert len(killed) == local_module.MOST_DEATHS
    assert failed.reason.startswith("the engine process ended") and "5 times in 60 s" in failed.reason
    time.sleep(0.3)
    assert not alive(engine.pid)
    assert failed.reason in engine.describe()
    late = drive(engine, make_spec("b"), counts(spec))
    assert not engine.push("b", 0, late.frames)
    late.wait(lambda: late.ended)
    assert late.of(Failed)[0].reason == failed.reason
    engine.finish("b")
    engine.abort("b")


def test_in_a_queue_a_scan_that_ends_its_workers_is_given_up_and_the_next_is_denoised(quick, make_spec, counts):
    engine, killed = quick(), set()
    specs = [make_spec(name, model="raw") for name in ("bad", "good")]
    frames = counts(specs[0])

    def tell(running):
        bad = running and running[0].spec.scan_id == "bad"
        pid = engine.pid
        if bad and alive(pid) and len(killed) <= RETRIES:  # the next child may be there before it is given up
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError):  # of the one before, which was waited for just now
                os.kill(pid, signal.SIGKILL)

    bad, good = work_off(engine, [Feed(spec, lambda start, stop: frames[start:stop]) for spec in specs], tell)
    assert f"begun {1 + RETRIES} times" in bad.failure and "the engine process ended" in bad.failure
    assert len(killed) == 1 + RETRIES and not good.failure
    numpy.testing.assert_array_equal(good.data, frames[:, 0])


def test_a_program_that_is_no_python_is_given_up_too(start, make_spec, drive, counts):
    engine = start(python="/bin/true")
    spec = make_spec("a")
    scan = drive(engine, spec, counts(spec))
    scan.wait(lambda: scan.ended, timeout_s=10)
    assert "5 times" in scan.of(Failed)[0].reason


def test_a_broken_environment_is_named(site, start, make_spec, drive, counts):
    site("raise SystemExit('numpy was built for another Python')")
    engine = start()
    spec = make_spec("a")
    scan = drive(engine, spec, counts(spec))
    scan.wait(lambda: scan.ended, timeout_s=20)
    assert "numpy was built for another Python" in scan.of(Failed)[0].reason


def test_an_engine_without_torch_says_what_to_install(quick, make_spec, drive, counts):
    engine = quick()
    spec = make_spec("a")
    scan = drive(engine, spec, counts(spec))
    scan.wait(lambda: scan.ended)
    assert "torch is not installed" in scan.of(Failed)[0].reason
    assert "nionswift-udvd[engine]" in scan.of(Failed)[0].reason
    assert engine.describe() == "local process, without torch"


def test_without_torch_the_default_is_the_guide_alone_and_says_so(quick, make_spec, drive, counts):
    engine = quick()
    spec = make_spec("a", (8, 8), model="guided", budget_s=10.0)
    scan = drive(engine, spec, counts(spec)).run()
    (finished,) = scan.of(Finished)
    assert finished.provenance["model"] == "guide" and (scan.final == 1).all()
    assert "torch is not installed" in finished.note and "nionswift-udvd[engine]" in finished.note


@pytest.mark.parametrize("kind", ["missing", "folder", "text"])
def test_a_wrong_interpreter_is_refused_at_once(tmp_path, monkeypatch, kind):
    rings = []
    monkeypatch.setattr(local_module, "Ring", lambda size: rings.append(Ring(size)) or rings[-1])
    path = tmp_path / "python"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("no program")
    with pytest.raises(EngineError, match="interpreter"):
        LocalEngine(str(path))
    assert len(rings) == (kind == "text")
    assert not shared() & {ring.name for ring in rings}


def test_swifts_launcher_is_not_taken_for_python(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "NionSwiftLauncher"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert child_module.find_python() == str(tmp_path / "bin" / "python3")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "none"))
    with pytest.raises(EngineError, match="no Python interpreter"):
        child_module.find_python()


NOISY = (
    NO_TORCH
    + """
import os, sys, threading, time
class Noisy:
    def find_spec(self, name, path=None, target=None):
        if name in ("udvd_core.corrected", "udvd_core.maps.power_law", "torch"):
            print("a library says hello", flush=True)
            os.write(1, b"and so does its C code\\n")
sys.meta_path.insert(0, Noisy())
def chatter():
    while "udvd_core.session" not in sys.modules or not hasattr(sys.modules["__main__"], "Host"):
        time.sleep(0.01)
    time.sleep(0.3)  # into main
    while True:
        print("chatter", flush=True)
        os.write(1, b"more chatter\\n")
        time.sleep(0.01)
threading.Thread(target=chatter, daemon=True).start()
"""
)


def test_libraries_may_print(site, start, make_spec, drive, counts):
    site(NOISY)
    engine = start()
    spec = make_spec("a", model="raw", budget_s=1.0)
    scan = drive(engine, spec, counts(spec))
    scan.push(6)
    scan.wait(lambda: scan.of(Block))
    wait(lambda: b"more chatter" in (engine._folder / "engine.log").read_bytes())
    scan.settle()
    scan.run()
    numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])
    assert not scan.of(Resend)


PARENT = """
import numpy, sys, time
from udvd_core.axes import Axis
from udvd_core.engine.local import LocalEngine
from udvd_core.settings import ScanSpec, Training
engine = LocalEngine()
training = Training(model="udvd", device="cpu", width=4, budget_s=300.0)
engine.open(ScanSpec("a", (8, 8), (1, 64), Axis(64, 1.0, 1.0, "eV", "E"), (), training))
engine.push("a", 0, numpy.ones((64, 1, 64), numpy.float32))
if "busy" in sys.argv:
    engine.finish("a")
    while not engine.poll():
        time.sleep(0.01)
print(engine.pid, engine._ring.name, flush=True)
time.sleep(600)
"""


@pytest.mark.calm
@pytest.mark.parametrize("when", ["starting", "busy"])
def test_nothing_is_left_where_the_parent_is_killed(when):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, when],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        pid, ring = parent.stdout.readline().split()
        assert alive(pid) and ring in shared()
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert wait(lambda: not alive(pid)) < 5
    wait(lambda: ring not in shared(), 5)


def test_what_nobody_fetches_is_thinned_but_results_stay(quick, make_spec, drive, counts, monkeypatch):
    monkeypatch.setattr(local_module, "MOST_EVENTS", 5)
    engine = quick()
    spec = make_spec("a", (10, 10), model="raw", budget_s=2.0)
    scan = drive(engine, spec, counts(spec))
    for stop in range(3, 103, 3):
        scan.push(min(stop, 100))
        time.sleep(0.02)
    wait(lambda: any(isinstance(event, Finished) for event in tuple(engine._events)))
    assert len(engine._events) < 40
    scan.run()
    numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])
    assert (scan.final == 1).all()


@pytest.mark.calm
@pytest.mark.parametrize("state", ["starting", "frozen", "working", "dead"])
def test_close_is_quick_and_thorough(quick, make_spec, drive, counts, state):
    engine = quick()
    spec = make_spec("a", model="raw")
    scan = drive(engine, spec, counts(spec))
    if state != "starting":
        scan.push(5)
        scan.wait(lambda: scan.of(Block))
    if state == "frozen":
        os.kill(engine.pid, signal.SIGSTOP)
    if state == "dead":
        os.kill(engine.pid, signal.SIGKILL)
    begin = time.monotonic()
    engine.close()
    assert time.monotonic() - begin < 2.5
    assert not alive(engine.pid) and not engine._folder.exists()
    engine.close()
    assert not engine.push("a", 5, scan.frames[5:7])


def test_low_priority(quick):
    """Swift comes first."""
    engine = quick()
    wait(lambda: os.getpriority(os.PRIO_PROCESS, engine.pid) > os.getpriority(os.PRIO_PROCESS, 0))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("chosen", [None, "3"])
def test_it_leaves_a_core_to_swift_unless_somebody_chose(quick, monkeypatch, chosen):
    """Numpy would take all of them; what torch takes is told in the process."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    engine = quick()
    variables = pathlib.Path(f"/proc/{engine.pid}/environ").read_bytes().split(b"\0")
    cores = os.cpu_count() or 1
    assert f"OMP_NUM_THREADS={chosen or max(1, cores - 1)}".encode() in variables
