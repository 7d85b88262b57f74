"""What the tests of all engines share: small scans, and someone who takes a scan through an engine."""

import contextlib
import itertools
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import faults
import numpy
import psutil
import pytest

from udvd_core.axes import Axis
from udvd_core.engine import certificates
from udvd_core.engine.protocol import Block, Failed, Finished, Resend, Status
from udvd_core.settings import ScanSpec, Training

ROOT = str(pathlib.Path(__file__).parents[2])
ENERGY = Axis(32, 100.0, 1.0, "eV", "E")


def spec_for(scan_id, scan_shape=(4, 5), rows=1, maps=(), **training):
    training = {"device": "cpu", "width": 2, "budget_s": 0.7, "preview_s": 0.1, **training}
    return ScanSpec(
        scan_id, scan_shape, (rows, ENERGY.size), ENERGY, tuple(maps), Training(**{"model": "udvd", **training})
    )


class Driver:
    """Takes one scan through an engine as the plug-in does, and keeps everything that came."""

    def __init__(self, engine, spec, frames):
        self.engine, self.spec, self.frames = engine, spec, frames
        self.events = []
        self.data = numpy.full((spec.count, *spec.output_shape), numpy.nan, numpy.float32)
        self.maps = numpy.full((len(spec.maps), 4, spec.count), numpy.nan, numpy.float32)
        self.final = numpy.zeros(spec.count, int)
        self.step = numpy.full(spec.count, -1)
        self.at = 0
        self.told = False
        engine.open(spec)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def ended(self):
        return bool(self.of(Finished) or self.of(Failed))

    def take(self, events):
        """Keep the events of this scan."""
        for event in events:
            if event.scan_id != self.spec.scan_id:
                continue
            assert not self.ended, f"{event} came after the end"
            self.events.append(event)
            if isinstance(event, Block):
                span = slice(event.start, event.start + len(event.data))
                self.data[span], self.maps[..., span] = event.data, event.maps
                self.final[span] += event.final
                self.step[span] = event.step
            elif isinstance(event, Status):
                assert 0 <= event.final <= event.denoised <= event.received <= self.spec.count
            elif isinstance(event, Resend):
                self.at, self.told = 0, False
                self.final[:] = 0

    def push(self, stop=None, batch=3):
        """Push frames up to `stop`, and finish after the last; returns whether there was room for them all."""
        stop = self.spec.count if stop is None else stop
        while self.at < stop:
            if not self.engine.push(self.spec.scan_id, self.at, self.frames[self.at : min(self.at + batch, stop)]):
                return False
            self.at = min(self.at + batch, stop)
        if self.at == self.spec.count and not self.told:
            self.told = True
            self.engine.finish(self.spec.scan_id)
        return True

    def run(self, *others, timeout_s=30.0):
        """Push and poll until this scan and `others` have ended."""
        drivers = (self, *others)

        def ended():
            for driver in drivers:
                if not driver.ended:
                    driver.push()
            return all(driver.ended for driver in drivers)

        self.wait(ended, *others, timeout_s=timeout_s)
        return self

    def wait(self, condition, *others, timeout_s=30.0):
        """Poll until something is so."""
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, (
                f"waited in vain; {self.engine.describe()}; the last was {self.events[-1:]}"
            )
            events = self.engine.poll()
            for driver in (self, *others):
                driver.take(events)
            if not events:
                time.sleep(0.005)

    def settle(self, seconds=0.15):
        """Poll for a while."""
        until = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= until)


class Lab:
    """Certificates of a lab, and the GPU machines that run here for it, on loopback with real TLS."""

    def __init__(self, folder):
        self.folder = folder
        certificates.make(folder, ["127.0.0.1", "swift"])
        self.gpu, self.swift = folder / "127.0.0.1", folder / "swift"

    def serve(self, *options, certs=None, port=None, workers=1, host="127.0.0.1", prefix=(), env=None):
        """Start ``udvd serve``; its process, and its lines in the file ``serve.HOST.PORT.log``."""
        port = port or free_port()
        command = [*prefix, sys.executable, "-m", "udvd_core", "serve", "--host", host, "--port", str(port), *options]
        command += ["--certs", str(certs or self.gpu), "--workers", str(workers), "--allow-root"]
        env = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (env.get("PYTHONPATH"), ROOT)))
        return Served(command, env, self.folder / f"serve.{host}.{port}.log", host, port)


class Served:
    """A GPU machine: ``udvd serve`` in a process of its own."""

    def __init__(self, command, env, log, host, port):
        self.port, self.address, self.log = port, f"tls://{host}:{port}", log
        with open(log, "wb") as file:
            self.process = subprocess.Popen(command, env=env, stderr=file, stdout=file)

    def wait(self, line="ready", seconds=120.0):
        """Wait until it says something."""
        return self.wait_until(lambda: line in self.log.read_text(), seconds)

    def wait_until(self, condition, seconds=60.0):
        """Wait until something is so, while it runs."""
        until = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)
        return self

    def family(self):
        """All its processes."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def end(self, number=signal.SIGTERM):
        """End it; nothing of it may be left. Returns its exit code."""
        family = self.family()
        self.process.send_signal(number)
        code = self.process.wait(30)
        left = psutil.wait_procs(family, 10)[1]
        for process in left:
            process.kill()
        assert not left, f"left running: {left}"
        return code


def free_port():
    """First of seven ports in a row that nobody uses."""
    for port in range(20000 + os.getpid() % 10000, 60000, 7):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for each in range(port, port + 7):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", each))
            return port
    pytest.fail("no free ports")


@pytest.fixture
def port():
    """First of some ports in a row that nobody uses."""
    return free_port()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """One authority for all tests."""
    return Lab(tmp_path_factory.mktemp("lab") / "certs")


@pytest.fixture(scope="session")
def served(lab):
    """One GPU machine for all tests that leave it as it is: one worker on the processor."""
    machine = lab.serve()
    try:
        yield machine.wait()
    finally:
        machine.end()


@pytest.fixture(scope="session")
def gpu_machine(lab, tmp_path_factory):
    """One GPU machine for all tests that harm it, but leave it running."""
    machine = faults.Gpu(lab, tmp_path_factory.mktemp("gpu"))
    yield machine
    machine.close()


@pytest.fixture
def gpu(gpu_machine):
    """That machine for one test."""
    yield gpu_machine
    gpu_machine.leave()


@pytest.fixture
def own_gpu(lab, tmp_path):
    """A GPU machine for a test that switches it off."""
    machine = faults.Gpu(lab, tmp_path)
    yield machine
    machine.close()


class Ordinary:
    """A scan of 256 spectra for the faults, and what two undisturbed runs on a GPU machine make of it."""

    numbers = itertools.count(1)

    def __init__(self, gpu):
        self.truth = 8 + 4 * numpy.sin(numpy.arange(32) / 5) * numpy.linspace(0, 1, 256)[:, None]
        self.frames = numpy.random.default_rng(7).poisson(self.truth[:, None]).astype(numpy.float32)
        self.undisturbed = [self.run(gpu, self.spec()) for _ in range(2)]

    def run(self, gpu, spec):
        """What an undisturbed run makes of it."""
        data = faults.begin(gpu, Driver, spec, self.frames).run(timeout_s=90).data
        gpu.leave()
        return data

    def spec(self, fault="ordinary", **settings):
        return spec_for(f"{fault} {next(self.numbers)}", (16, 16), **{"model": "guide", "budget_s": 10.0, **settings})


@pytest.fixture(scope="session")
def ordinary(gpu_machine):
    return Ordinary(gpu_machine)


@pytest.fixture
def strike(monkeypatch, moment):
    """A fault for a scan of 86 batches, at this test's moment."""
    return lambda action: faults.Strike(monkeypatch, round(86 * moment), action)


@pytest.fixture
def recovered(record_property):
    """Note how long a recovery took, for the table of ``scripts/faults``."""

    def note(fault, seconds, limit=None):
        for name, value in (("fault", fault), ("seconds", f"{seconds:.2f}"), ("limit", limit or "")):
            record_property(name, value)
        print(f"{fault}: recovered after {seconds:.1f} s")

    return note


def pytest_generate_tests(metafunc):
    """Faults come at one moment of the scan, or at ``UDVD_FAULT_MOMENTS`` of them."""
    if "moment" in metafunc.fixturenames:
        rng = numpy.random.default_rng(int(os.environ.get("UDVD_FAULT_SEED", 7)))
        moments = rng.uniform(0.1, 0.9, int(os.environ.get("UDVD_FAULT_MOMENTS", 1)))
        metafunc.parametrize("moment", moments, ids=[f"at {moment:.0%}" for moment in moments])


@pytest.fixture
def make_spec():
    return spec_for


@pytest.fixture
def drive():
    return Driver


@pytest.fixture
def counts(rng):
    """Poisson counts for a scan."""
    return lambda spec, level=20.0: rng.poisson(level, (spec.count, *spec.frame_shape)).astype(numpy.float32)
