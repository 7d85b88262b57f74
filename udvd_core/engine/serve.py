"""dask's scheduler and one worker per GPU, as child processes that are started again when they end.

A worker that dies is started again by its nanny, a nanny or the scheduler by the `Supervisor`, and the
`Supervisor` by systemd. Nothing is left running when it ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import typing

import psutil

import udvd_core
from udvd_core.engine import certificates, tls
from udvd_core.errors import EngineError

LOOK_S = 0.3
START_S = 60.0
END_S = 5.0
PAUSE_S = 1.0
MOST_STARTS, STARTS_WITHIN_S = 8, 60.0
DAY_S = 86400.0
NO_HTTP = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
"""Without a dashboard dask still serves HTTP, on all addresses: until it is closed it is on loopback, and empty."""
WINDOWS_NEW_GROUP = 0x00000200


@dataclasses.dataclass(frozen=True)
class Machine:
    """What is run on this machine.

    Attributes
    ----------
    address : Address
        Of the scheduler; workers listen on the ports that follow, two for each.
    credentials : Credentials
        Of this machine.
    workers : int
        How many; the first `gpus` of them have a GPU each.
    gpus : int
        GPUs of this machine.
    """

    address: tls.Address
    credentials: certificates.Credentials
    workers: int
    gpus: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise EngineError("there is no GPU on this machine; give --workers N to compute on its processor")
        if self.address.port + 2 * self.workers > 65535:
            raise EngineError(f"port {self.address.port} leaves no ports for {self.workers} workers; take a lower one")

    def ports(self, number: int) -> tuple[int, int]:
        """Ports of a worker and its nanny."""
        return self.address.port + 1 + 2 * number, self.address.port + 2 + 2 * number

    def scheduler(self) -> list[str]:
        """Command line of the scheduler."""
        place = ["--protocol", "tls", "--host", self.address.host, "--port", str(self.address.port)]
        tether = ["--preload", "udvd_core.engine.tether", "--preload", "udvd_core.engine.no_http"]
        return self._dask("scheduler", *place, *tether)

    def worker(self, number: int, folder: pathlib.Path) -> list[str]:
        """Command line of a worker and its nanny."""
        port, nanny = self.ports(number)
        place = ["--host", self.address.host, "--worker-port", str(port), "--nanny-port", str(nanny)]
        size = ["--nworkers", "1", "--nthreads", "2", "--resources", "GPU=1", "--memory-limit", "0"]
        rest = ["--local-directory", str(folder), "--death-timeout", "60"]
        tether = ["--preload-nanny", "udvd_core.engine.tether", "--preload", "udvd_core.engine.no_http"]
        return self._dask("worker", str(self.address), *place, *size, *rest, *tether)

    def environment(self, number: int | None = None) -> dict[str, str]:
        """Environment of a worker, or of the scheduler."""
        root = str(pathlib.Path(udvd_core.__file__).parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        result = {**os.environ, **tls.ENVIRONMENT, "PYTHONPATH": path}
        if number is not None:
            threads = max(1, (os.cpu_count() or 1) // self.workers)
            result.setdefault("OMP_NUM_THREADS", str(threads))
            if self.gpus:
                result["CUDA_VISIBLE_DEVICES"] = str(number) if number < self.gpus else ""
        return result

    def _dask(self, part: str, *options: str) -> list[str]:
        files = {"ca-file": self.credentials.ca, "cert": self.credentials.certificate, "key": self.credentials.key}
        tls_options = [text for name, path in files.items() for text in (f"--tls-{name}", str(path))]
        return [sys.executable, "-m", "distributed.cli.dask_" + part, *options, *tls_options, *NO_HTTP]


class Supervisor:
    """Keeps scheduler and workers of a machine running.

    Parameters
    ----------
    machine : Machine
        What to run.
    say : callable
        Takes a line for whoever reads the output.
    """

    def __init__(self, machine: Machine, say: typing.Callable[[str], None]) -> None:
        self._machine = machine
        self._say = say
        self._starts: list[float] = []
        self._children: dict[int | None, subprocess.Popen[bytes]] = {}

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set.

        Raises
        ------
        EngineError
            When a port is taken, or the parts end again and again.
        """
        machine = self._machine
        with tempfile.TemporaryDirectory(prefix="udvd-serve-", ignore_cleanup_errors=True) as folder:
            try:
                self._start_all(pathlib.Path(folder), stop)
                if not stop.is_set():
                    self._say(f"ready: udvd denoise --engine {machine.address} --certs FOLDER")
                warned = time.monotonic()
                while not stop.wait(LOOK_S):
                    self._restart_dead(pathlib.Path(folder), stop)
                    if time.monotonic() - warned > DAY_S:
                        warned = time.monotonic()
                        self._warn()
            finally:
                self._end([number for number in self._children if number is not None])
                self._end([None] if None in self._children else [])

    def _start_all(self, folder: pathlib.Path, stop: threading.Event) -> None:
        machine = self._machine
        self._warn()
        self._start(None, folder)
        self._wait(machine.address.port, None, stop)
        self._say(f"scheduler on {machine.address}, mutual TLS 1.3")
        for number in range(machine.workers):
            self._start(number, folder)
        for number in range(machine.workers):
            port, nanny = machine.ports(number)
            self._wait(port, number, stop)
            place = f"GPU {number}" if number < machine.gpus else "processor"
            self._say(f"worker {number} on {place}, port {port}, its nanny on port {nanny}")

    def _warn(self) -> None:
        if warning := self._machine.credentials.warning():
            self._say(f"warning: {warning}")

    def _start(self, number: int | None, folder: pathlib.Path) -> None:
        """Start the scheduler (None) or a worker, in a group of its own: Ctrl-C is for us alone."""
        now = time.monotonic()
        self._starts = [at for at in self._starts if now - at < STARTS_WITHIN_S] + [now]
        if len(self._starts) > MOST_STARTS + self._machine.workers:
            raise EngineError(f"parts of the cluster end again and again, {len(self._starts)} times in a minute")
        machine = self._machine
        command = machine.scheduler() if number is None else machine.worker(number, folder)
        self._children[number] = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            env=machine.environment(number),
            cwd=folder,
            start_new_session=True,
            creationflags=WINDOWS_NEW_GROUP if sys.platform == "win32" else 0,
        )

    def _wait(self, port: int, number: int | None, stop: threading.Event) -> None:
        """Wait until a part listens."""
        until = time.monotonic() + START_S
        who = "scheduler" if number is None else f"worker {number}"
        address = tls.Address(self._machine.address.host, port)
        while not stop.is_set():
            if self._children[number].poll() is not None:
                raise EngineError(f"{who} could not be started on {address}; is the port taken, the host this machine?")
            try:
                return tls.look(address, self._machine.credentials)
            except EngineError as error:
                if time.monotonic() > until:
                    raise EngineError(f"{who} did not come up in {START_S:.0f} s: {error}") from None
            stop.wait(LOOK_S)

    def _restart_dead(self, folder: pathlib.Path, stop: threading.Event) -> None:
        """Start again what has ended; without their scheduler the workers too."""
        dead = [number for number, child in self._children.items() if child.poll() is not None]
        if not dead:
            return
        numbers = sorted(self._children, key=lambda n: -1 if n is None else n) if None in dead else dead
        names = ", ".join("scheduler" if number is None else f"worker {number}" for number in dead)
        self._say(f"{names} ended and is started again")
        self._end(numbers)
        stop.wait(PAUSE_S)
        for number in numbers:
            if not stop.is_set():
                self._start(number, folder)

    def _end(self, numbers: typing.Sequence[int | None]) -> None:
        """End some parts with all that they started, politely at first."""
        children = [self._children[number] for number in numbers]
        families: list[psutil.Process] = []
        for child in children:
            with contextlib.suppress(psutil.Error):
                families += [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
            child.terminate()
        _, alive = psutil.wait_procs(families, END_S)
        for process in alive:  # a frozen worker outlives its nanny
            with contextlib.suppress(psutil.Error):
                process.kill()
        for child in children:
            child.kill()
            child.wait()
            if child.stdin:
                child.stdin.close()


def count_gpus() -> int:
    """How many GPUs a worker could use."""
    code = "import torch; print(torch.cuda.device_count())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    return int(told) if told.isdigit() else 0
