"""What the tests of faults share: a GPU machine that may be harmed, the cable to it, and what must hold afterwards."""

import contextlib
import hashlib
import itertools
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import numpy
import psutil
import tornado.tcpclient

from udvd_core.engine import cluster_scan
from udvd_core.engine.cluster import ClusterEngine
from udvd_core.engine.protocol import Block, Failed, Finished, Resend, Status

HARM = pathlib.Path(__file__).parent / "harm"
PATIENCE_S = 10.0
"""For whatever a fault leaves behind."""

numbers = itertools.count(1)


class Namespace:
    """The GPU machine in a network namespace of its own, and the cable to it; needs the rights of root, and Linux."""

    def __init__(self):
        self.name, net = f"udvd{os.getpid()}n{next(numbers)}", f"10.203.{os.getpid() % 250}"
        subnet = 4 * (next(numbers) % 60)
        self.host, self.prefix = f"{net}.{subnet + 2}", ["ip", "netns", "exec", self.name]
        here, self._there = f"u{subnet}h{os.getpid()}", f"u{subnet}t{os.getpid()}"
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", here, "type", "veth", "peer", "name", self._there, "netns", self.name)
            _ip("addr", "add", f"{net}.{subnet + 1}/30", "dev", here)
            _ip("link", "set", here, "up")
            _ip("-n", self.name, "addr", "add", f"{self.host}/30", "dev", self._there)
            for device in (self._there, "lo"):
                _ip("-n", self.name, "link", "set", device, "up")
        except OSError:
            self.close()
            raise

    def cut(self):
        """Pull the cable."""
        _ip("-n", self.name, "link", "set", self._there, "down")

    def mend(self):
        """Put it in again."""
        _ip("-n", self.name, "link", "set", self._there, "up")

    def close(self):
        """Take it away."""
        _ip("netns", "del", self.name)


def _ip(*words):
    if os.name != "posix" or os.geteuid():
        raise PermissionError("only root makes network namespaces")
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Relay:
    """Where namespaces cannot be made: all connections of this process to loopback go through here, or nowhere."""

    host, prefix = "127.0.0.1", ()

    def __init__(self):
        self._whole = threading.Event()
        self._whole.set()
        self._doors = {}
        self._plain = (tornado.tcpclient.TCPClient.connect, socket.create_connection)
        connect, create = self._plain

        async def relayed(client, host, port, **options):
            return await connect(client, host, self._door(port), **options)

        def created(address, *options, **others):
            return create((address[0], self._door(address[1])), *options, **others)

        tornado.tcpclient.TCPClient.connect, socket.create_connection = relayed, created

    def cut(self):
        """Let nothing through."""
        self._whole.clear()

    def mend(self):
        """Let everything through, what has waited first."""
        self._whole.set()

    def close(self):
        """Take it away."""
        tornado.tcpclient.TCPClient.connect, socket.create_connection = self._plain
        self._whole.set()
        for door in self._doors.values():
            door.close()

    def _door(self, port):
        if port not in self._doors:
            self._doors[port] = socket.create_server((self.host, 0))
            threading.Thread(target=self._accept, args=(self._doors[port], port), daemon=True).start()
        return self._doors[port].getsockname()[1]

    def _accept(self, door, port):
        with contextlib.suppress(OSError):
            while True:
                near = door.accept()[0]
                threading.Thread(target=self._join, args=(near, port), daemon=True).start()

    def _join(self, near, port):
        self._whole.wait()
        with contextlib.suppress(OSError), near, self._plain[1]((self.host, port)) as far:
            back = threading.Thread(target=self._pass, args=(far, near), daemon=True)
            back.start()
            self._pass(near, far)
            back.join()

    def _pass(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._whole.wait()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def cable():
    """A cable to a GPU machine."""
    try:
        return Namespace()
    except OSError:
        return Relay()


class Gpu:
    """A GPU machine at the end of a cable, whose worker harms scans by their names (`harm/sitecustomize.py`)."""

    def __init__(self, lab, folder):
        self.lab, self.folder, self.cable = lab, folder, cable()
        self.port, self.engines = None, []
        self.boot()

    def boot(self):
        """Switch it on; returns when it is ready."""
        env = {"PYTHONPATH": str(HARM), "TMPDIR": str(self.folder)}
        self.served = self.lab.serve(
            host=self.cable.host, prefix=self.cable.prefix, port=self.port, env=env, torch=True
        )
        self.port = self.served.port
        self.served.wait()

    def connect(self):
        """Connect to it; `leave` disconnects."""
        self.engines.append(ClusterEngine(self.served.address, self.lab.swift))
        return self.engines[-1]

    def leave(self):
        """Disconnect all who are connected."""
        while self.engines:
            self.engines.pop().close()

    def part(self, name):
        """The process of one part: ``spawn_main`` is the worker, ``dask_scheduler`` the scheduler."""
        found = []
        for each in self.served.family():
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                if any(name in word for word in each.cmdline()):
                    found.append(each)
        (process,) = found
        return process

    def crash(self):
        """Pull the plug; who clears the shared memory is left to do so, as the memory itself would lose it."""
        family = [each for each in self.served.family() if "resource_tracker" not in " ".join(each.cmdline())]
        for each in (self.served.process, *family):
            each.send_signal(signal.SIGKILL)
        self.served.process.wait()
        psutil.wait_procs(family, PATIENCE_S)

    def left(self):
        """Its processes that have lost their parents, and checkpoints of scans."""
        family = {each.pid for each in self.served.family()} | {self.served.process.pid}
        orphans = []
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if each.pid not in family and each.environ().get("TMPDIR") == str(self.folder):
                    orphans.append(each)
        return orphans + list(self.folder.glob("udvd-checkpoints-*/*"))

    def close(self):
        """Switch it off."""
        self.leave()
        if self.served.process.poll() is None:
            self.served.end()
        self.cable.close()


class Strike:
    """Does something once so many batches are on their way or there, and the window is full."""

    def __init__(self, monkeypatch, number, action):
        self.at = None
        taken = itertools.count(1)
        plain = cluster_scan.RemoteScan._next

        def take(scan):
            batch = plain(scan)
            if batch and next(taken) >= number and self.at is None and scan._flying == cluster_scan.WINDOW:
                self.at = time.monotonic()
                action()
            return batch

        monkeypatch.setattr(cluster_scan, "BATCH_BYTES", 1)  # each push is a batch
        monkeypatch.setattr(cluster_scan.RemoteScan, "_next", take)


def begin(gpu, drive, spec, frames, strike=None):
    """Push a whole scan, and wait for the strike."""
    frames.flags.writeable = False
    scan = drive(gpu.connect(), spec, frames)
    scan.digest = hashlib.sha256(frames).hexdigest()
    assert scan.push()
    if strike is not None:
        scan.wait(lambda: strike.at, timeout_s=60)
    return scan


def recover(scan, since, condition, timeout_s=60.0):
    """Push and poll until something is so; seconds since then."""

    def ready():
        if not scan.ended:
            scan.push()
        return condition()

    scan.wait(ready, timeout_s=timeout_s)
    return time.monotonic() - since


def ledger(scan):
    """What the engine says it has denoised is what came; the rest of the frames is pending, none is lost."""
    came = set()
    for event in scan.events:
        if isinstance(event, Resend):
            came.clear()
        elif isinstance(event, Block):
            came.update(range(event.start, event.start + len(event.data)))
        elif isinstance(event, Status):
            assert event.denoised == len(came) <= event.received


def end(gpu, scan, undisturbed=None):
    """Let a scan come to its end, and look at all that must hold."""
    scan.run(timeout_s=90)
    assert not scan.of(Failed), scan.of(Failed)
    ledger(scan)
    (finished,) = scan.of(Finished)
    assert (finished.received, finished.final) == (scan.spec.count, scan.spec.count)
    assert (scan.final == 1).all()
    assert hashlib.sha256(scan.frames).hexdigest() == scan.digest
    if undisturbed is not None:
        same(scan.data, *undisturbed)
    gpu.leave()
    nothing_left(gpu)


def same(data, one, two):
    """Values are those of an undisturbed run, to the spread of two such and the rounding of float32."""
    spread, scale = numpy.abs(one - two).max(), numpy.abs(one).max()
    assert numpy.abs(data - one).max() <= spread + 1e-6 * scale


def nothing_left(gpu, shared=()):
    """No orphan, no checkpoint, no shared memory, after a while at most."""
    until = time.monotonic() + PATIENCE_S
    while left := gpu.left() + [name for name in shared if pathlib.Path("/dev/shm", name).exists()]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


def shown(text):
    """A sentence for a person: one line, no traceback."""
    assert "\n" not in text and not re.search(r"Traceback|Error\(", text), text
    return text
