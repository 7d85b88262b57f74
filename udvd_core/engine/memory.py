"""Memory that is free, given back: the C library of Linux keeps it, and a child that lives for days grows with it."""

from __future__ import annotations

import ctypes
import gc
import sys

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
"""Of glibc alone; others, and Windows, give back what is free by themselves."""


def settle() -> None:
    """Leave what is there now, modules above all, out of every later search for what nothing uses any more."""
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Return to the system what nothing uses any more; takes some milliseconds, after `settle`.

    A scan's model refers to itself, and Python by itself would find it some scans later: among what is used by then.
    """
    gc.collect()
    if _TRIM is not None:
        _TRIM(0)
