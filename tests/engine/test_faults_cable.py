"""The cable to the GPU machine is pulled in the middle of a scan; a file of its own, as a minute of it only waits."""

import sys
import time

import faults
import pytest

from udvd_core.engine.protocol import Resend

pytestmark = [
    pytest.mark.calm,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes"),
]


@pytest.mark.parametrize("seconds", [2, 8, 60], ids="{}s".format)
def test_the_cable_is_cut(gpu, ordinary, drive, strike, recovered, seconds):
    """The worker keeps the scan: nobody is asked for frames, whatever was on its way."""
    blow = strike(gpu.cable.cut)
    try:
        scan = faults.begin(gpu, drive, ordinary.spec(), ordinary.frames, blow)
        scan.wait(lambda: time.monotonic() > blow.at + seconds, timeout_s=seconds + 10)
    finally:
        gpu.cable.mend()
    before, back = len(scan.events), time.monotonic()
    assert not scan.ended
    taken = faults.recover(scan, back, lambda: len(scan.events) > before)
    recovered(f"network cut for {seconds} s, after its return", taken)
    faults.end(gpu, scan, ordinary.undisturbed)
    assert not scan.of(Resend)
