"""Loaded by dask's scheduler and nannies, which end when whoever started them is gone, however that came about."""

from __future__ import annotations

import os
import sys
import threading
import typing


def dask_setup(_: typing.Any) -> None:
    """Watch the standard input, which ends with the parent; called by dask."""
    threading.Thread(target=_hold, name="udvd-tether", daemon=True).start()


def _hold() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)  # a nanny's worker notices by itself and ends too
