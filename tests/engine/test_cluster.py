"""The GPU machine: workers die, connections end, others come late; each frame has one result and nothing mixes."""

import asyncio
import os
import re
import signal
import sys
import threading
import time

import numpy
import pytest

from udvd_core.engine import hello, tls
from udvd_core.engine.certificates import load
from udvd_core.engine.cluster import ClusterEngine
from udvd_core.engine.cluster_link import Link, Lost
from udvd_core.engine.cluster_scan import RemoteScan
from udvd_core.engine.inline import InlineEngine
from udvd_core.engine.local import LocalEngine
from udvd_core.engine.packing import pack
from udvd_core.engine.protocol import Block, Failed, Finished, Resend
from udvd_core.engine.seat import Seats, Wish, require
from udvd_core.errors import EngineError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills and stops processes")


@pytest.fixture
def own(lab):
    """A GPU machine that this test may harm."""
    machine = lab.serve()
    try:
        yield machine.wait()
    finally:
        machine.end()


@pytest.fixture
def start(lab):
    """Connect, and disconnect afterwards."""
    engines = []

    def begin(machine, **settings):
        engines.append(ClusterEngine(machine.address, lab.swift, **settings))
        return engines[-1]

    yield begin
    for engine in engines:
        engine.close()


def worker_of(machine):
    """Process number of the worker: the only one that holds a session."""
    (worker,) = [each for each in machine.family() if "spawn_main" in " ".join(each.cmdline())]
    return worker.pid


def test_a_connection_that_ends_costs_nothing(served, start, make_spec, drive, counts, monkeypatch):
    """The worker keeps the scan; only what it had not taken is sent again, and nobody is asked for frames."""
    cut, due = threading.Event(), RemoteScan._due

    def due_or_cut(scan):
        if cut.is_set():
            cut.clear()
            raise Lost("the cable was pulled")
        return due(scan)

    monkeypatch.setattr(RemoteScan, "_due", due_or_cut)
    engine = start(served)
    spec = make_spec("cut", (8, 8), model="raw")
    scan = drive(engine, spec, counts(spec))
    for stop in (20, 40):
        scan.push(stop)
        scan.wait(lambda stop=stop: numpy.isfinite(scan.data[:stop]).all())
        connections = engine._connections
        cut.set()
        scan.wait(lambda connections=connections: engine._connections > connections)
    scan.run()
    assert not scan.of(Resend)
    numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])
    assert (scan.final == 1).all()


@pytest.mark.parametrize("outcome", ["answer", OSError("the cable was pulled")])
def test_who_is_cancelled_stops_though_something_comes_at_the_same_time(lab, outcome):
    """Else the engine would wait for that task for ever when it closes or connects anew."""

    async def cancelled():
        link = Link(tls.Address("127.0.0.1", 9), load(lab.swift))
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(link.call(future, 5.0))
        await asyncio.sleep(0.01)
        future.set_result(outcome) if outcome == "answer" else future.set_exception(outcome)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(cancelled())


def test_a_machine_that_is_not_there_yet_is_waited_for(lab, port, start, make_spec, drive, counts):
    absent = type("Absent", (), {"address": f"tls://127.0.0.1:{port}"})
    engine = start(absent)
    spec = make_spec("early", model="raw")
    scan = drive(engine, spec, counts(spec))
    scan.push(20)
    scan.wait(lambda: "cannot be reached" in engine.describe(), timeout_s=30)
    assert scan.events == []
    machine = lab.serve(port=port)
    try:
        scan.run(timeout_s=60)
        assert not scan.of(Resend) and (scan.final == 1).all()
    finally:
        machine.end()


def test_a_machine_that_never_comes_is_said(lab, start, make_spec, drive):
    engine = start(type("Absent", (), {"address": "tls://127.0.0.1:9"}), patience_s=0.5)
    scan = drive(engine, make_spec("late"), None)
    scan.wait(lambda: scan.ended)
    assert "tls://127.0.0.1:9 cannot be reached" in scan.of(Failed)[0].reason and engine.alive


@pytest.mark.parametrize(
    ("change", "model", "says"),
    [
        ({"udvd": "0.0.0"}, "raw", "the GPU machine has udvd .* and this one 0.0.0; install the same"),
        ({"distributed": "1.0"}, "raw", "distributed .* and this one 1.0"),
        ({"weights": {"correction.safetensors": "00"}}, "guided", "other weights of the correction"),
    ],
)
def test_ends_that_do_not_fit_together(served, start, make_spec, drive, monkeypatch, change, model, says):
    facts = hello.facts()
    monkeypatch.setattr(hello, "facts", lambda: {**facts, **change})
    scan = drive(start(served), make_spec(f"misfit {says}", model=model), None)
    scan.wait(lambda: scan.ended)
    assert scan.of(Failed) == scan.events
    assert re.search(says, scan.events[0].reason) and "\n" not in scan.events[0].reason


def test_no_torch_there(monkeypatch):
    facts = hello.facts()
    assert hello.misfit(facts, facts, "guided") == ""
    without = {**facts, "torch": False}
    assert "needs torch" in hello.misfit(facts, without, "guided") and "needs torch" in hello.misfit(
        facts, without, "udvd"
    )
    assert hello.misfit(facts, without, "guide") == hello.misfit(without, without, "guided") == ""


def test_who_was_cut_off_cannot_write(make_spec, counts):
    seats = Seats()
    spec = make_spec("fenced", model="raw")
    first, second, other = ("swift", 7, 1), ("swift", 7, 2), ("swift again", 8, 1)
    seat, resumed = seats.take(spec, first, {})
    assert not resumed
    seat.put([pack(0, counts(spec))])
    again, resumed = seats.take(spec, second, {})
    assert resumed and again is seat
    with pytest.raises(EngineError, match="cut off and another has taken the scan over"):
        require(seat, first)
    with pytest.raises(EngineError, match="cut off"):
        seats.take(spec, first, {})
    seats.leave("fenced", first)
    require(seat, second)
    late, resumed = seats.take(spec, other, {})
    assert not resumed and late is not seat, "another engine has not seen what this one was told"
    late.put([pack(0, counts(spec))])
    late.steer(Wish(finish=True))
    until = time.monotonic() + 10
    while not any(isinstance(event, Finished) for _, event in late.events(0)):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not late._folder.exists(), "what is finished needs no checkpoint, should this worker end now"
    seats.leave("fenced", other)
    late._thread.join(5)
    seat._thread.join(5)
    assert not late._folder.exists() and not seat._folder.exists() and late._folder != seat._folder


def test_the_files_that_settings_name_travel(served, start, make_spec, drive, counts, tmp_path):
    path = tmp_path / "flat.npy"
    numpy.save(path, numpy.linspace(0.5, 2.0, 64, dtype=numpy.float32).reshape(2, 32))
    spec = make_spec("flat", rows=2, model="raw", frames=True, flat=str(path))
    data = counts(spec)
    there, here = start(served), InlineEngine()
    results = [drive(engine, spec, data).run().data for engine in (there, here)]
    here.close()
    numpy.testing.assert_array_equal(*results)
    assert abs(results[0] - data).max() > 1


def test_from_swift_through_its_child(own, lab, make_spec, drive, counts):
    """The child holds the connection; a worker that dies reaches Swift as a request to feed again."""
    engine = LocalEngine(cluster=(own.address, str(lab.swift)))
    try:
        spec = make_spec("a", (8, 8), model="raw")
        scan = drive(engine, spec, counts(spec))
        scan.push(30)
        scan.wait(lambda: scan.of(Block))
        assert engine.describe() == f"GPU machine {own.address}, connected"
        os.kill(worker_of(own), signal.SIGKILL)
        scan.push()
        scan.run(timeout_s=40)
        assert len(scan.of(Resend)) == 1
        numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])
        assert (scan.final == 1).all() and scan.of(Finished)[0].received == 64
    finally:
        engine.close()


def test_swift_with_certificates_that_cannot_be_used(tmp_path, make_spec, drive):
    engine = LocalEngine(cluster=("tls://127.0.0.1:9", str(tmp_path)))
    try:
        scan = drive(engine, make_spec("a"), None)
        scan.wait(lambda: scan.ended)
        assert "holds no ca.pem" in scan.of(Failed)[0].reason
    finally:
        engine.close()
