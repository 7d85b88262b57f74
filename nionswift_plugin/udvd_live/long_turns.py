"""How long a thread of Swift may run Python before the next one gets its turn.

Python lets another thread run after 5 ms. Swift's main thread then waits for the threads that draw thumbnails and lists
of what we wrote, again and again within one event; with a longer turn it is through with the event first. The
interval is the process's own, so it is changed while a scan is denoised only (docs/decisions/0009).
"""

from __future__ import annotations

import math
import sys

TURN_S = 0.01


class LongTurns:
    """Holds Python's switch interval at `TURN_S`, and gives back what was there before."""

    def __init__(self) -> None:
        self._before: float | None = None

    def hold(self, wanted: bool) -> None:
        """Hold it from now on, or no longer; an interval that somebody else chose meanwhile is left alone."""
        now = sys.getswitchinterval()
        if wanted and self._before is None and now < TURN_S:
            self._before = now
            sys.setswitchinterval(TURN_S)
        elif not wanted and self._before is not None:
            if math.isclose(now, TURN_S, rel_tol=1e-3):
                sys.setswitchinterval(self._before)
            self._before = None
