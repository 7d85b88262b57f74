"""The count at which a camera saturates, found in the frames of a scan: values pile up there."""

from __future__ import annotations

import math

import numpy
import numpy.typing

Frames = numpy.typing.NDArray[numpy.floating]

FEWEST, LARGEST_SHARE = 8, 0.5
"""Pixels at the largest value: at least so many, and at most this share of all."""
SIGMAS = 3.0
"""Standard deviations, at gain 1, below the largest value in which there would be more pixels without saturation."""
BESIDE = 0.2
"""A neighbour along E of a saturated pixel has at least this share of its counts; that of a hot pixel has not."""


class Ceiling:
    """Watches frames for a largest value that too many pixels share.

    Attributes
    ----------
    value : float
        Counts at which pixels saturate; infinite where none does.
    pixels : int
        How many did so far.
    """

    def __init__(self) -> None:
        self._top, self._at, self._below, self._all, self._peaked = -math.inf, 0, 0, 0, 0

    @property
    def value(self) -> float:
        """Counts at which pixels saturate, infinite where none does."""
        piled = self._at >= max(FEWEST, self._below) and self._at <= LARGEST_SHARE * self._all
        return self._top if piled and 2 * self._peaked > self._at else math.inf

    @property
    def note(self) -> str:
        """For the operator; empty where nothing saturates."""
        if math.isinf(self.value):
            return ""
        return f"{self._at} pixels saturate at {self._top:g} counts: what is denoised there is a lower limit"

    def watch(self, frames: Frames) -> None:
        """Look at new frames, shape (n, q, E), counts; one pass over them where nothing saturates."""
        if not frames.size:
            return
        top = float(frames.max())
        if not math.isfinite(top):  # which is rare, and slower by far
            top = float(numpy.max(frames, initial=-math.inf, where=numpy.isfinite(frames)))
        if not math.isfinite(top) or top < self._top:
            self._count(frames, self._top)
            return
        if top > self._top:
            self._at = self._below = self._peaked = self._all = 0
            self._top = top
        self._count(frames, top)

    def _count(self, frames: Frames, top: float) -> None:
        """Count pixels at and just below the largest value."""
        self._all += frames.size
        if top <= 0:
            return
        flat, channels = frames.reshape(-1), frames.shape[2]
        near = numpy.flatnonzero(flat >= top - max(SIGMAS * math.sqrt(top), 1.0))
        counts = flat[near]
        at = near[counts == top]
        self._at += at.size
        self._below += int((counts < top).sum())
        channel = at % channels
        before = (channel > 0) & (flat[numpy.maximum(at - 1, 0)] >= BESIDE * top)
        after = (channel < channels - 1) & (flat[numpy.minimum(at + 1, flat.size - 1)] >= BESIDE * top)
        self._peaked += int((before | after).sum())
