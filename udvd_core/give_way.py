"""What a process of ours leaves to Swift: a core all the time, and every core whenever Swift wants it."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

NICE = 10
SLICE_NS = 100_000_000
"""The longest that Linux takes. Who wakes with a shorter one, as everybody else has, gets the core at once."""
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Number of the system call by machine; Python has no name for it."""


def computing_threads() -> int:
    """All cores but one: as many threads as cores stand still where a core is taken."""
    return max(1, (os.cpu_count() or 1) - 1)


def give_way() -> None:
    """Lower this thread's priority, and that of the threads that it starts from now on.

    Linux lets a thread of low priority end its slice of some milliseconds even where another one wakes, unless the
    other one's is shorter (6.12 and later; before, the slice says nothing). Our share of a core that all want all
    the time stays that of the low priority: an idle class would starve. On Windows, where higher priorities always
    come first, the parent starts the process with a low one.
    """
    if hasattr(os, "nice"):
        os.nice(NICE)
    number = SCHED_SETATTR.get(platform.machine())
    if sys.platform == "linux" and number is not None:
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
        attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 0, nice, 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, attributes, 0)  # where it is refused, nice has to do
