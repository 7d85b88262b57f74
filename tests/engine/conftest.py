"""Fixtures for the tests of all engines: scans, and GPU machines on loopback with real TLS."""

import itertools
import os

import faults
import numpy
import pytest
from drive import Driver, spec_for
from lab import Lab, free_port


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
    machine = lab.serve(torch=True)
    try:
        yield machine.wait()
    finally:
        machine.end()


@pytest.fixture(scope="module")
def farm(lab):
    """A GPU machine with two workers on the processor, without torch, for the tests of a module."""
    machine = lab.serve(workers=2)
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
