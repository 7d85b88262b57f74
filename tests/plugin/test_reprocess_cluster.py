"""Scans side by side, as many as the engine has workers; on a GPU machine; larger than memory."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy
import pytest
from producer import Producer, follow, pump, spectra
from test_reprocess import RAW, Sleeping, add_scan, at_once, results, work_off  # noqa: F401
from torchless import NO_TORCH

from nionswift_plugin.udvd_live.companion import local_engine
from nionswift_plugin.udvd_live.queue_file import Settings, State, project_folder
from nionswift_plugin.udvd_live.reprocess_panel import engines_of, plain_name, settings_of
from udvd_core.engine import certificates
from udvd_core.engine.inline import InlineEngine
from udvd_core.engine.protocol import Block
from udvd_core.maps.presets import BUILT_IN
from udvd_core.settings import MapWindow, Training

MAP = (MapWindow("Window", (105.0, 115.0)),)
FAR = Settings(Training("raw", budget_s=5), MAP, remote=True)
ROOT = pathlib.Path(__file__).parents[2]


def denoised_by_raw(swift):
    """Denoised items of scans of 6 x 5 x 32 by the uuid of the raw one; results of several scans come mixed."""
    return {item.metadata["udvd"]["source_uuid"]: item for item in results(swift) if item.data_shape == (6, 5, 32)}


class Two(InlineEngine):
    """Has room for two scans."""

    workers = 2


class TwoAsleep(Sleeping):
    """Has room for two scans and does nothing with them."""

    workers = 2


@pytest.fixture
def open_project(bare_swift, tmp_path):
    """A companion of a bare Swift that follows no scans, and whose queue is empty."""
    opened = []

    def open_one(make_engine, **settings):
        for path in (project_folder(bare_swift.document_model) or tmp_path).glob("queue*"):
            path.unlink()
        opened.append(follow(bare_swift, tmp_path, make_engine=make_engine, follow=False, **settings))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def started(swift, companion, count):
    """Run until so many are under way."""
    pump(swift, companion, lambda: len(companion.reprocessor._runs) == count)
    return companion.reprocessor


def states(queue):
    return [entry.state.value for entry in queue.queue.entries]


def test_as_many_run_as_there_are_workers_but_no_scan_beside_itself(bare_swift, open_project):
    companion = open_project(lambda chosen: TwoAsleep())
    scans = [add_scan(bare_swift, spectra(6, 5, 32, seed=n), number=n) for n in (1, 2, 3)]
    queue = companion.reprocessor
    queue.add(scans[:1], RAW)
    queue.add(scans[:1], settings_of(companion.preferences, "guide", 2.0))
    queue.add(scans[1:], RAW)
    started(bare_swift, companion, 2)
    pump(bare_swift, companion, least=6)
    assert states(queue) == ["running", "waiting", "running", "waiting"]
    assert queue.busy == {str(item.uuid) for item in scans[:2]} and ", and 1 more beside it" in queue.line()
    assert 0 < queue.left_s() < 5 + 5 + 5 + 2, "less than one after the other"
    first, second = (entry.key for entry in queue.queue.entries if entry.state is State.RUNNING)
    queue.cancel([first])
    assert [run.entry.key for run in queue._runs] == [second]
    started(bare_swift, companion, 2)
    assert states(queue) == ["running", "running", "waiting", "cancelled"], "now the first scan's other entry may run"


def test_a_live_scan_stops_all_of_them_and_they_begin_anew(bare_swift, open_project):
    companion = open_project(lambda chosen: TwoAsleep())
    scans = [add_scan(bare_swift, spectra(6, 5, 32, seed=n), number=n) for n in (1, 2)]
    companion.reprocessor.add(scans, RAW)
    queue = started(bare_swift, companion, 2)
    live = Producer(bare_swift, spectra(4, 5, 32))
    live.write_rows(0, 1)
    pump(bare_swift, companion, lambda: not queue._runs)
    assert states(queue) == ["waiting", "waiting"]
    live.end()
    queue.own.engine = Two()
    assert work_off(bare_swift, companion) == [State.DONE, State.DONE]
    made = denoised_by_raw(bare_swift)
    for scan in scans:
        assert numpy.array_equal(made[str(scan.uuid)].data[:], scan.data[:])


def test_an_error_with_one_leaves_the_other(bare_swift, open_project, monkeypatch):
    companion = open_project(lambda chosen: Two())
    scans = [add_scan(bare_swift, spectra(6, 5, 32, seed=n), number=n) for n in (1, 2)]
    companion.reprocessor.add(scans, RAW)
    queue = companion.reprocessor
    bad: list[str] = []
    go_on = type(queue)._go_on

    def fail_first(self, run, events, share):
        bad[:] = bad or [run.entry.key]
        if run.entry.key in bad and any(isinstance(event, Block) for event in events):
            raise RuntimeError("broken")
        go_on(self, run, events, share)

    monkeypatch.setattr(type(queue), "_go_on", fail_first)
    work_off(bare_swift, companion)
    reasons = {entry.title[-1]: entry.reason for entry in queue.queue.entries}
    assert reasons == {"1": "RuntimeError: broken", "2": ""}
    assert numpy.array_equal(results(bare_swift)[0].data[:], scans[1].data[:])


def test_each_scan_goes_where_it_was_wanted(bare_swift, open_project):
    made = []

    def make(chosen):
        made.append((chosen.engine, []))
        engine = Two()
        opened = engine.open
        engine.open = lambda spec: (made[-1][1].append(spec.scan_shape[0]), opened(spec))[1]
        return engine

    companion = open_project(make, engine="tls://gpu:8786", certificates="certs")
    here, there, too = (add_scan(bare_swift, spectra(rows, 5, 32), number=rows) for rows in (4, 5, 6))
    assert settings_of(companion.preferences).remote
    queue = companion.reprocessor
    queue.add([there, too], FAR)
    queue.add([here], RAW)
    assert work_off(bare_swift, companion) == [State.DONE] * 3
    assert made == [("tls://gpu:8786", [5, 6]), (None, [4])]


def test_without_a_gpu_machine_in_the_preferences_the_scan_waits_for_one(bare_swift, open_project, tmp_path):
    companion = open_project(lambda chosen: Two())
    queue = companion.reprocessor
    queue.add([add_scan(bare_swift, spectra(6, 5, 32))], FAR)
    pump(bare_swift, companion, lambda: queue.trouble)
    assert "name no GPU machine" in queue.trouble and states(queue) == ["waiting"]
    companion.apply(type(companion.preferences)(follow=False, engine="tls://gpu:8786"))
    assert work_off(bare_swift, companion) == [State.DONE] and not queue.trouble


def test_what_the_panel_offers(bare_swift, open_project):
    companion = open_project(lambda chosen: Two(), engine="tls://gpu-room.lab:8786")
    assert engines_of(companion.preferences) == ["This computer", "GPU machine gpu-room.lab"]
    assert engines_of(type(companion.preferences)()) == ["This computer"]
    assert [plain_name(preset) for preset in BUILT_IN] == [
        "h-BN core loss",
        "Gd-doped ceria (plain)",
        "h-BN phonons (plain)",
    ]


def child_bytes(pid):
    """Memory of a process that no file stands behind."""
    (line,) = [line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if "RssAnon" in line]
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_scan_larger_than_memory(bare_swift, open_project, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(NO_TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    companion = open_project(local_engine)
    data = spectra(16, 16, 64, 512)
    raw = add_scan(bare_swift, data, datum=2)
    training = Training("raw", budget_s=10, frames=True, memory_bytes=8 << 20)
    companion.reprocessor.add([raw], Settings(training))
    started(bare_swift, companion, 1)
    engine = companion.reprocessor.own.engine
    pump(bare_swift, companion, lambda: "starting" not in engine.describe())
    before, largest = child_bytes(engine.pid), 0

    def done():
        nonlocal largest
        largest = max(largest, child_bytes(engine.pid))
        return companion.reprocessor.queue.entries[0].state is not State.RUNNING

    pump(bare_swift, companion, done)
    assert states(companion.reprocessor) == ["done"] and numpy.array_equal(results(bare_swift)[0].data[:], data)
    assert largest - before < data.nbytes / 2, f"{(largest - before) >> 20} MB more for {data.nbytes >> 20} MB"


@pytest.fixture(scope="module")
def gpu_machine(tmp_path_factory):
    """Address of ``udvd serve`` with two workers on the processor, and the certificates for it."""
    folder = tmp_path_factory.mktemp("gpu")
    gpu, swift = certificates.make(folder / "certs", ["127.0.0.1", "swift"])
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = min(found.getsockname()[1], 65000)
    command = [sys.executable, "-m", "udvd_core", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--certs", str(gpu), "--workers", "2", "--allow-root"]
    log = folder / "serve.log"
    with log.open("wb") as file:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        machine = subprocess.Popen(command, stdout=file, stderr=file, env=env)
    try:
        until = time.monotonic() + 90
        while "ready" not in log.read_text():
            assert machine.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield f"tls://127.0.0.1:{port}", str(swift)
    finally:
        machine.send_signal(signal.SIGTERM)
        machine.wait(30)


@pytest.mark.skipif(sys.platform != "linux", reason="ends its processes by signals")
def test_the_queue_on_a_gpu_machine(gpu_machine, bare_swift, open_project):
    address, folder = gpu_machine
    companion = open_project(local_engine, engine=address, certificates=folder)
    scans = [add_scan(bare_swift, spectra(6, 5, 32, seed=n), number=n) for n in range(4)]
    queue, most = companion.reprocessor, 0
    queue.add(scans, FAR)

    def done():
        nonlocal most
        most = max(most, len(queue._runs))
        return set(states(queue)) == {"done"}

    pump(bare_swift, companion, done)
    assert most == queue.own.workers == 2
    found = denoised_by_raw(bare_swift)
    assert len(results(bare_swift)) == 8, "one denoised item and one map of each"
    for scan in scans:
        assert numpy.array_equal(found[str(scan.uuid)].data[:], scan.data[:])
