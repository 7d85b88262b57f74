"""A lab with certificates, and the GPU machines that run here for it."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from torchless import NO_TORCH

from udvd_core.engine import certificates

ROOT = str(pathlib.Path(__file__).parents[2])


class Lab:
    """Certificates of a lab, and the GPU machines that run here for it, on loopback with real TLS."""

    def __init__(self, folder):
        self.folder = folder
        certificates.make(folder, ["127.0.0.1", "swift"])
        self.gpu, self.swift = folder / "127.0.0.1", folder / "swift"
        self.torchless = folder / "torchless"
        self.torchless.mkdir()
        (self.torchless / "sitecustomize.py").write_text(NO_TORCH)

    def serve(self, *options, certs=None, port=None, workers=1, host="127.0.0.1", prefix=(), env=None, torch=False):
        """Start ``udvd serve``; its process, and its lines in the file ``serve.HOST.PORT.log``.

        Without torch it starts seconds sooner, and denoises with the guide.
        """
        port = port or free_port()
        command = [*prefix, sys.executable, "-m", "udvd_core", "serve", "--host", host, "--port", str(port), *options]
        command += ["--certs", str(certs or self.gpu), "--workers", str(workers), "--allow-root"]
        env = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        paths = (env.get("PYTHONPATH"), ROOT, None if torch else str(self.torchless))
        env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
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


def listens(processes, address):
    """Which of some processes, of workers and what started them, listens at an address of dask."""
    port = int(address.rpartition(":")[2])
    (found,) = {
        each for each in processes for at in each.net_connections() if at.laddr[1:] == (port,) and at.status == "LISTEN"
    }
    return found


def free_port():
    """First of seven ports in a row that nobody uses; workers of pytest-xdist look in ranges of their own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    for port in range(20000 + 10000 * (worker % 4) + os.getpid() % 5000, 60000, 7):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for each in range(port, port + 7):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", each))
            return port
    pytest.fail("no free ports")
