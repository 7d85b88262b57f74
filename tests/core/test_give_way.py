"""The engine leaves the core to others; in a process of its own, for priorities do not come back."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from udvd_core.give_way import NICE, SLICE_NS

PROGRAM = """
import ctypes, json, os, struct, threading
from udvd_core.give_way import give_way

def told():
    buffer = ctypes.create_string_buffer(48)
    ctypes.CDLL(None).syscall({"x86_64": 315, "aarch64": 275}[os.uname().machine], 0, buffer, 48, 0)
    size, policy, flags, nice, priority, runtime, deadline, period = struct.unpack("=IIQiIQQQ", buffer.raw)
    found.append([policy, nice, runtime])

found = []
told()
give_way()
told()
thread = threading.Thread(target=told)
thread.start()
thread.join()
print(json.dumps(found))
"""


def _knows_slices() -> bool:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return False
    major, minor = (int(part) for part in platform.release().split(".")[:2])
    return (major, minor) >= (6, 12)


@pytest.mark.skipif(
    not _knows_slices(), reason=f"wants Linux 6.12 or later on x86-64 or arm64, is {platform.platform()}"
)
def test_this_thread_and_those_it_starts_have_a_low_priority_and_a_long_slice():
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    before, after, thread = json.loads(told.stdout)
    assert before[2] < SLICE_NS
    assert after == [before[0], min(before[1] + NICE, 19), SLICE_NS]
    assert thread == after, "the libraries' threads begin later"


@pytest.mark.skipif(sys.platform == "win32", reason="the parent chooses the priority on Windows")
def test_a_machine_whose_call_is_not_known_is_nice_all_the_same():
    program = (
        "import os; from udvd_core import give_way as g; g.SCHED_SETATTR = {};"
        "before = os.nice(0); g.give_way(); print(os.nice(0) - min(before + g.NICE, 19))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert int(told.stdout) == 0
