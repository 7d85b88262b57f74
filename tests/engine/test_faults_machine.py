"""The GPU machine and its parts fail in the middle of a scan, with as much on its way as there may be.

Each fault comes at one moment here, and at many by ``scripts/faults``. What must hold after each is in `faults.end`.
"""

import signal
import sys
import time

import faults
import pytest

from udvd_core.engine.protocol import Block, Resend

pytestmark = [
    pytest.mark.calm,
    pytest.mark.skipif(sys.platform != "linux", reason="kills and stops processes"),
]


def denoised_again(scan):
    """Whether a denoised frame came after all were asked for again."""
    kinds = [type(event) for event in scan.events]
    return Resend in kinds and Block in kinds[kinds.index(Resend) :]


@pytest.mark.parametrize(
    ("fault", "number"), [("worker killed", signal.SIGKILL), ("worker crashed (SIGSEGV)", signal.SIGSEGV)]
)
def test_a_worker_dies(gpu, ordinary, drive, strike, recovered, fault, number):
    worker = gpu.part("spawn_main")
    blow = strike(lambda: worker.send_signal(number))
    scan = faults.begin(gpu, drive, ordinary.spec(), ordinary.frames, blow)
    recovered(fault, faults.recover(scan, blow.at, lambda: denoised_again(scan)), 6)
    faults.end(gpu, scan, ordinary.undisturbed)
    assert len(scan.of(Resend)) == 1 and gpu.part("spawn_main").pid != worker.pid


def test_a_worker_freezes(gpu, ordinary, drive, strike, recovered):
    worker = gpu.part("spawn_main")
    blow = strike(worker.suspend)
    scan = faults.begin(gpu, drive, ordinary.spec(), ordinary.frames, blow)
    recovered("worker frozen (SIGSTOP)", faults.recover(scan, blow.at, lambda: denoised_again(scan)), 20)
    faults.end(gpu, scan, ordinary.undisturbed)


def test_a_computation_hangs(gpu, ordinary, drive, strike, recovered):
    """The worker still talks to everybody; only the thread that denoises waits for ever."""
    worker = gpu.part("spawn_main")
    blow = strike((gpu.folder / "hang").touch)
    scan = faults.begin(gpu, drive, ordinary.spec(), ordinary.frames, blow)
    recovered("computation hung", faults.recover(scan, blow.at, lambda: denoised_again(scan)), 20)
    faults.end(gpu, scan, ordinary.undisturbed)
    assert len(scan.of(Resend)) == 1 and gpu.part("spawn_main").pid != worker.pid


def test_the_scheduler_dies(own_gpu, ordinary, drive, strike, recovered):
    """Near its end a scan may be done before its worker is ended, too."""
    blow = strike(own_gpu.part("dask_scheduler").kill)
    scan = faults.begin(own_gpu, drive, ordinary.spec(), ordinary.frames, blow)
    recovered("scheduler killed", faults.recover(scan, blow.at, lambda: scan.ended or denoised_again(scan)))
    faults.end(own_gpu, scan, ordinary.undisturbed)


def test_the_machine_is_gone_and_comes_back(own_gpu, ordinary, drive, strike, recovered):
    blow = strike(own_gpu.crash)
    scan = faults.begin(own_gpu, drive, ordinary.spec(), ordinary.frames, blow)
    scan.settle(3.0)
    own_gpu.boot()
    back = time.monotonic()
    recovered(
        "GPU machine gone for 3 s, after its return", faults.recover(scan, back, lambda: denoised_again(scan)), 10
    )
    faults.end(own_gpu, scan, ordinary.undisturbed)
