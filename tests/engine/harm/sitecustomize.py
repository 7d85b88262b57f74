"""Loaded by the processes of a GPU machine under test: harms, in its worker, the scans whose names begin so.

``slow``: half a millisecond for a frame, and little room for frames that wait. ``memory``: the device holds four
frames. ``nan1``, ``nan9``: so many steps of the network meet a NaN. ``disk``: no file may grow beyond 100 bytes.
``orphan``: its client is given up after five seconds. Whatever its name, a scan's computation hangs once where a file
``hang`` lies in the temporary folder.
"""

import functools
import importlib.util
import os
import pathlib
import resource
import sys
import tempfile
import threading
import time

here = threading.local()
"""A seat's thread does the work of one scan."""


def say(what):
    print(f"harm: {what}", file=sys.stderr, flush=True)


def around(owner, name):
    """Put a function around a method."""

    def decorate(function):
        setattr(owner, name, functools.partialmethod(function, getattr(owner, name)))

    return decorate


def harm_worker(seat):
    """Prepare the worker's modules."""
    from udvd_core.engine import service

    service.CHECKPOINT_S = 0.2
    room, lease = seat.INBOX_BYTES, seat.LEASE_S

    @around(service.Service, "open")
    def open_scan(self, plain, spec, resume=None):
        here.fault = spec.scan_id.split()[0]
        if here.fault in ("memory", "nan1", "nan9"):
            harm_network()
        seat.INBOX_BYTES = 1 << 20 if here.fault == "slow" else room
        seat.LEASE_S = 5.0 if here.fault == "orphan" else lease
        here.poison = int(here.fault[3:]) if here.fault.startswith("nan") else 0
        return plain(self, spec, resume)

    @around(service.Service, "push")
    def push(self, plain, scan_id, start, frames):
        if here.fault == "slow":
            time.sleep(0.0005 * len(frames))
        return plain(self, scan_id, start, frames)

    @around(service.Service, "work")
    def work(self, plain, budget):
        hang = pathlib.Path(tempfile.gettempdir(), "hang")
        if hang.exists():
            hang.unlink()
            say("hang")
            os.read(os.pipe()[0], 1)  # nobody will write there; waits as for a GPU that does not answer
        return plain(self, budget)

    @around(service.Session, "save")
    def save(self, plain, path):
        if here.fault != "disk":
            return plain(self, path)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            return plain(self, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@functools.cache
def harm_network():
    """Prepare what needs torch."""
    import torch

    from udvd_core import inference
    from udvd_core.trainer import Trainer

    plain = inference.denoise

    def denoise(network, windows, **options):
        if here.fault == "memory" and len(windows) > 4:
            say("memory")
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(network, windows, **options)

    inference.denoise = denoise

    @around(Trainer, "step")
    def step(self, plain_step, windows, target, weight):
        if here.poison and self.steps == 7:
            here.poison -= 1
            say("nan")
            windows = windows * float("nan")
        return plain_step(self, windows, target, weight)


class Watch:
    """Calls `harm_worker` once the module of the seats is loaded."""

    def find_spec(self, name, path=None, target=None):
        if name != "udvd_core.engine.seat":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        plain = spec.loader.exec_module

        def load(module):
            plain(module)
            harm_worker(module)

        spec.loader.exec_module = load
        return spec


if any("spawn_main" in word for word in sys.orig_argv):
    sys.meta_path.insert(0, Watch())
