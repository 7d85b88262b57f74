"""Keeps Swift's list of items from locking Swift up while a scan adds items and fills them.

In nionui (10.2 to 11.1 were read) whoever ends an update of a canvas item holds that item's lock while the item tells
others. A list tells its rows, on the main thread, when items were added; a row tells its list, on another thread, when
its thumbnail is new. When both happen at once each waits for the other's lock for good, and Swift takes in no more rows
of the scan. With one lock before all of these only one is told at a time.
"""

from __future__ import annotations

import functools
import threading
import typing

from nion.ui import CanvasItem

_one = threading.RLock()
_theirs = CanvasItem.AbstractCanvasItem._end_batch_update


@functools.wraps(_theirs)
def _end_batch_update(canvas_item: typing.Any) -> None:
    with _one:
        _theirs(canvas_item)


def register() -> None:
    """Have updates end one after another."""
    CanvasItem.AbstractCanvasItem._end_batch_update = _end_batch_update  # type: ignore[assignment, method-assign]


def unregister() -> None:
    """Leave it to Swift again."""
    CanvasItem.AbstractCanvasItem._end_batch_update = _theirs  # type: ignore[method-assign]
