"""Scans that meet a slow or faulty GPU, bad weights or a full disk there, that are aborted, disordered, or orphaned."""

import hashlib
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time

import faults
import lab
import numpy
import psutil
import pytest

from udvd_core.axes import Axis
from udvd_core.engine import cluster, cluster_scan
from udvd_core.engine.packing import pack
from udvd_core.engine.protocol import Block, Failed, Finished, Status
from udvd_core.settings import ScanSpec, Training

pytestmark = [pytest.mark.calm, pytest.mark.skipif(sys.platform != "linux", reason="looks at processes")]


@pytest.fixture
def said(gpu):
    """What the GPU machine has said since."""
    before = len(gpu.served.log.read_text())
    return lambda: gpu.served.log.read_text()[before:]


def test_a_slow_gpu_fills_no_memory_and_the_lag_is_exact(gpu, rng, monkeypatch):
    """10,000 frames, pushed as fast as there is room, and half a millisecond for each there."""
    monkeypatch.setattr(cluster, "ROOM_BYTES", 4 << 20)
    energy = Axis(1028, 100.0, 1.0, "eV", "E")
    spec = ScanSpec("slow 10,000", (100, 100), (8, 1028), energy, (), Training(model="raw", device="cpu"))
    pool = rng.poisson(30.0, (50, 8, 1028)).astype(numpy.float32)
    digest = hashlib.sha256(pool).hexdigest()
    result = numpy.full((10000, 1028), numpy.nan, numpy.float32)
    worker, me = psutil.Process(gpu.part("spawn_main").pid), psutil.Process()
    engine = gpu.connect()
    engine.open(spec)
    at, refused, lags, most, ended = 0, 0, [], [0, 0], []
    start = [process.memory_info().rss for process in (worker, me)]
    until = time.monotonic() + 90
    came = 0
    while not ended:
        assert time.monotonic() < until
        if at < spec.count:
            if engine.push(spec.scan_id, at, pool):
                at += len(pool)
                if at == spec.count:
                    engine.finish(spec.scan_id)
            else:
                refused += 1
        for event in engine.poll():
            if isinstance(event, Block):
                result[event.start : event.start + len(event.data)] = event.data
                came = int(numpy.isfinite(result[:, 0]).sum())
            elif isinstance(event, Status):
                assert event.denoised == came <= event.received <= at
                lags.append(at - event.denoised)
            elif isinstance(event, Finished | Failed):
                ended.append(event)
        most = [max(m, p.memory_info().rss) for m, p in zip(most, (worker, me), strict=True)]
        if not at < spec.count or not at % 500:
            time.sleep(0.002)
    gpu.leave()
    assert isinstance(ended[0], Finished) and ended[0].final == 10000
    assert refused and max(lags) > 100 and lags[-1] == 0
    numpy.testing.assert_array_equal(result, numpy.tile(pool.sum(1), (200, 1)))
    assert hashlib.sha256(pool).hexdigest() == digest
    waiting = cluster.ROOM_BYTES + (1 << 20) + (cluster_scan.WINDOW + 2) * cluster_scan.BATCH_BYTES
    assert max(lags) * len(pack(0, pool).data) / len(pool) < waiting, "no more waits than there is room for"
    grown = (numpy.array(most) - start) / 2**20
    print(f"largest lag {max(lags)} frames; grown by {grown[0]:.0f} MB there and {grown[1]:.0f} MB here")
    assert grown[0] < 260 and grown[1] < 100, "the frames are 329 MB; their sums, which are kept there, 41 MB"
    faults.nothing_left(gpu)


def rms(values):
    return float(numpy.sqrt((values**2).mean()))


@pytest.mark.parametrize("fault", ["memory", "nan1", "nan9", "disk"])
def test_what_goes_wrong_on_the_gpu_costs_no_frame(gpu, ordinary, drive, said, fault):
    """Too little memory: smaller batches. NaN: back to the best weights, at last no more learning. No checkpoints.

    How far a network gets depends on the time; so its result is compared with the truth, not with another run's. The
    next test does that.
    """
    scan = faults.begin(gpu, drive, ordinary.spec(fault, model="udvd", budget_s=5.0), ordinary.frames)
    faults.end(gpu, scan)
    mark = {"memory": "harm: memory", "disk": "goes on without a checkpoint"}.get(fault, "harm: nan")
    assert mark in said() and numpy.isfinite(scan.data).all()
    wrong, unlearned = rms(scan.data - ordinary.truth), rms(ordinary.frames.mean(0) - ordinary.truth)
    assert wrong <= 1.05 * unlearned, "at worst, where learning is given up, every frame is the mean of the scan"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Weights of a network that answers each frame differently."""
    import torch

    from udvd_core import checkpoint
    from udvd_core.blindspot import BlindspotNetwork
    from udvd_core.framing import pattern_for

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "learned.safetensors"
    checkpoint.save(path, BlindspotNetwork(pattern_for((16, 16), True), (0, 1), 2, True))
    return {"model": "udvd", "weights": str(path), "learning_rate": 1e-12, "budget_s": 3.0}


@pytest.fixture(scope="module")
def twice(gpu_machine, ordinary, learned):
    """What two undisturbed runs make of the scan with these weights."""
    return [ordinary.run(gpu_machine, ordinary.spec(**learned)) for _ in range(2)]


@pytest.mark.parametrize("fault", ["memory", "nan1", "nan9", "disk"])
def test_what_goes_wrong_on_the_gpu_changes_no_value(gpu, ordinary, drive, said, learned, twice, fault):
    """Steps too small to change anything: how far a network gets by the clock is no part of the result."""
    budget = {"nan1": 6.0, "nan9": 30.0}.get(fault, 3.0)  # time for eight steps; the last ends with them
    scan = faults.begin(gpu, drive, ordinary.spec(fault, **{**learned, "budget_s": budget}), ordinary.frames)
    faults.end(gpu, scan, twice)
    assert "harm: " in said() or "without a checkpoint" in said()
    assert numpy.ptp(scan.data, axis=0).min() > 0, "each frame has a result of its own"


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path(self.path),))


@pytest.mark.parametrize("content", ["hostile", "cut short"])
def test_bad_weights_are_refused_there_and_run_nothing(gpu, ordinary, drive, tmp_path, content):
    mark, path = tmp_path / "ran", tmp_path / "weights.pt"
    code = pickle.dumps({"weight": Hostile(mark)})
    path.write_bytes(code if content == "hostile" else code[: len(code) // 2])
    scan = faults.begin(gpu, drive, ordinary.spec("weights", model="udvd", weights=str(path)), ordinary.frames)
    scan.wait(lambda: scan.ended)
    gpu.leave()
    assert "weights" in faults.shown(scan.of(Failed)[0].reason) and not mark.exists()
    faults.nothing_left(gpu)


def test_an_abort_ends_the_work_there_and_the_next_scan_knows_nothing_of_it(gpu, ordinary, drive, strike, recovered):
    blow = strike(lambda: None)
    scan = faults.begin(gpu, drive, ordinary.spec("abort"), ordinary.frames, blow)
    folder = scan.spec.file_name
    assert list(gpu.folder.glob(f"udvd-checkpoints-*/{folder}"))
    before = time.monotonic()
    scan.engine.abort(scan.spec.scan_id)
    other = drive(scan.engine, ordinary.spec(), ordinary.frames)
    other.digest = scan.digest
    other.wait(lambda: not list(gpu.folder.glob(f"udvd-checkpoints-*/{folder}")))
    recovered("abort, until the worker has let go", time.monotonic() - before)
    events = len(scan.events)
    faults.end(gpu, other, ordinary.undisturbed)
    assert len(scan.events) == events


def test_frames_come_disordered_twice_and_not_at_all_in_twenty_scans_back_to_back(gpu, ordinary, drive, rng):
    """5 % come twice, 2 % never; each scan has a level of its own and begins before the one before has ended."""
    engine = gpu.connect()
    scans = []
    for number in range(20):
        spec = ordinary.spec("disordered", model="raw")
        frames = rng.poisson(5.0 + number, ordinary.frames.shape).astype(numpy.float32)
        scan = drive(engine, spec, frames)
        scan.missing = rng.choice(256, 5, replace=False)
        order = numpy.setdiff1d(numpy.arange(256), scan.missing)
        order = rng.permutation(numpy.concatenate([order, rng.choice(order, 13, replace=False)]))
        for at in order:
            assert engine.push(spec.scan_id, int(at), frames[at : at + 1])
        engine.finish(spec.scan_id)
        scan.at, scan.told = spec.count, True
        scans.append(scan)
    scans[0].wait(lambda: all(scan.ended for scan in scans), *scans[1:], timeout_s=60)
    gpu.leave()
    for scan in scans:
        assert (scan.of(Finished)[0].received, scan.of(Finished)[0].final) == (251, 251)
        there = numpy.setdiff1d(numpy.arange(256), scan.missing)
        numpy.testing.assert_array_equal(scan.data[there], scan.frames[there, 0])
        assert (scan.final[there] == 1).all() and not scan.final[scan.missing].any()
    faults.nothing_left(gpu)


SWIFT = """
import sys, time
import numpy
from drive import spec_for
from udvd_core.engine.local import LocalEngine
engine = LocalEngine(cluster=(sys.argv[1], sys.argv[2]))
spec = spec_for("orphan " + sys.argv[3], (16, 16), model="guide")
engine.open(spec)
engine.push(spec.scan_id, 0, numpy.ones((200, 1, 32), numpy.float32))
while not engine.poll():
    time.sleep(0.01)
print(engine.pid, engine._ring.name, flush=True)
time.sleep(600)
"""


def test_swift_is_killed(gpu, ordinary, drive, recovered, tmp_path):
    """Its child ends, its shared memory goes, the GPU machine serves the next Swift."""
    path = os.pathsep.join((lab.ROOT, str(pathlib.Path(__file__).parent)))
    command = [sys.executable, "-c", SWIFT, gpu.served.address, str(gpu.lab.swift), str(next(ordinary.numbers))]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as swift:
        pid, ring = swift.stdout.readline().split()
        swift.send_signal(signal.SIGKILL)
    before = time.monotonic()
    child, ring = psutil.Process(int(pid)), pathlib.Path("/dev/shm", ring)
    assert not psutil.wait_procs([child], faults.PATIENCE_S)[1]
    while ring.exists():
        assert time.monotonic() - before < faults.PATIENCE_S
        time.sleep(0.05)
    recovered("Swift killed, until nothing of it is left here", time.monotonic() - before, 10)
    faults.nothing_left(gpu)
    faults.end(gpu, faults.begin(gpu, drive, ordinary.spec(), ordinary.frames), ordinary.undisturbed)
