"""``udvd serve``: what it starts it starts again, and when it goes nothing of it stays."""

import os
import signal
import socket
import sys

import psutil
import pytest
from lab import free_port

from udvd_core.engine import serve, tls
from udvd_core.engine.certificates import load
from udvd_core.errors import EngineError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills and stops processes")


@pytest.fixture
def own(lab):
    """A GPU machine that this test ends."""
    machine = lab.serve()
    try:
        yield machine.wait()
    finally:
        if machine.process.poll() is None:
            machine.end()


def part(machine, name):
    """The process of one part."""
    return next(each for each in machine.family() if any(name in word for word in each.cmdline()))


def listens(lab, port):
    try:
        tls.look(tls.Address("127.0.0.1", port), load(lab.swift))
    except EngineError:
        return False
    return True


def test_ports_are_fixed_and_printed_and_no_others_are_open(farm):
    text = farm.log.read_text()
    ports = [farm.port + n for n in range(5)]
    assert f"scheduler on tls://127.0.0.1:{farm.port}, mutual TLS 1.3" in text
    for number in range(2):
        assert (
            f"worker {number} on processor, port {ports[1 + 2 * number]}, its nanny on port {ports[2 + 2 * number]}"
            in text
        )
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in farm.family()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", port) for port in ports}, "a dashboard, or another address"


def test_a_nanny_that_dies_is_started_again_alone(farm, lab):
    scheduler = part(farm, "dask_scheduler").pid
    part(farm, f"{farm.port + 3}").kill()
    farm.wait("worker 1 ended and is started again")
    farm.wait_until(lambda: listens(lab, farm.port + 3))
    assert part(farm, "dask_scheduler").pid == scheduler and listens(lab, farm.port + 1)


def test_a_scheduler_that_dies_is_started_again_with_its_workers(farm, lab):
    pids = {each.pid for each in farm.family()}
    part(farm, "dask_scheduler").kill()
    farm.wait("scheduler ended and is started again")
    farm.wait_until(lambda: all(listens(lab, farm.port + n) for n in range(5)))
    assert not {each.pid for each in farm.family() if "distributed" in " ".join(each.cmdline())} & pids


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_without_leaving_anything_even_with_a_frozen_worker(own, number):
    assert len(own.family()) >= 3
    part(own, "spawn_main").suspend()
    assert own.end(number) == 0
    assert "nothing is left running" in own.log.read_text()


def test_killed_it_leaves_nothing_either(own):
    family = own.family()
    own.process.kill()
    own.process.wait()
    assert not psutil.wait_procs(family, 10)[1]


def test_a_port_that_is_taken(lab):
    with socket.create_server(("127.0.0.1", port := free_port())):
        machine = lab.serve(port=port)
        assert machine.process.wait(60) == 2
    last = machine.log.read_text().splitlines()[-1]
    assert f"scheduler could not be started on tls://127.0.0.1:{port}; is the port taken" in last


def test_a_machine_without_gpu_says_what_to_do(lab):
    address, credentials = tls.Address("gpu", 8786), load(lab.gpu)
    with pytest.raises(EngineError, match="no GPU on this machine; give --workers N"):
        serve.Machine(address, credentials, 0, 0)
    with pytest.raises(EngineError, match="leaves no ports for 8 workers"):
        serve.Machine(tls.Address("gpu", 65530), credentials, 8, 8)
    two = serve.Machine(address, credentials, 3, 2)
    assert [two.environment(n)["CUDA_VISIBLE_DEVICES"] for n in range(3)] == ["0", "1", ""]
    assert "CUDA_VISIBLE_DEVICES" not in two.environment() or "CUDA_VISIBLE_DEVICES" in os.environ
