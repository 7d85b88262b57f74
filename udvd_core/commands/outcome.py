"""What a command returns, and how it shows that it is at work."""

from __future__ import annotations

import dataclasses
import sys
import time
import typing


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes
    ----------
    text : str
        For people.
    values : dict
        The same for ``--json``.
    warning : str
        Lines the user should read though the command succeeded; empty if none.
    failures : tuple of str
        A sentence for each part of the work that could not be done while the others were.
    """

    text: str
    values: dict[str, typing.Any]
    warning: str = ""
    failures: tuple[str, ...] = ()


class Progress:
    """A one-line bar on a terminal; silent anywhere else.

    Parameters
    ----------
    label : str
        What is going on.
    stream : text stream
        Where the bar is drawn, standard error by default.
    """

    WIDTH = 28

    def __init__(self, label: str, stream: typing.TextIO | None = None) -> None:
        self._label = label
        self._stream = stream or sys.stderr
        self._shown = bool(getattr(self._stream, "isatty", lambda: False)())
        self._last = -1.0

    def update(self, fraction: float, note: str = "") -> None:
        """Draw the bar at `fraction` from 0 to 1, at most ten times a second."""
        now = time.monotonic()
        if not self._shown or now - self._last < 0.1:
            return
        self._last = now
        done = round(self.WIDTH * min(max(fraction, 0.0), 1.0))
        bar = "#" * done + "." * (self.WIDTH - done)
        self._stream.write(f"\r\033[K{self._label} [{bar}] {note}"[:120])
        self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._last >= 0:
            self._stream.write("\r\033[K")
            self._stream.flush()
