"""Principal components as a model of a session, for comparison."""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing

from udvd_core.buffer import FrameBuffer
from udvd_core.camera import measure_camera
from udvd_core.errors import InputError
from udvd_core.pca import automatic_rank, weighted_pca

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]

MOST_VALUES = 1 << 28
"""Larger scans are refused: all frames are taken apart at once, in double precision."""


class PcaModel:
    """A `Model`: weighted principal components at the rank that stands out of the measured noise."""

    name, device, note = "pca", "CPU", ""
    heldout, hidden = math.nan, ""
    uncertainty = noise = None
    heldout, hidden = math.nan, ""
    batch = 4096
    learns, instant = True, False

    def __init__(self, buffer: FrameBuffer) -> None:
        values = buffer.received.size * buffer.frame_shape[0] * buffer.frame_shape[1]
        if values > MOST_VALUES:
            raise InputError(f"model pca takes {MOST_VALUES:,} values at most, this scan has {values:,}; use guide")
        self._buffer = buffer
        self._fitted = self._rank = self.steps = 0
        self._estimate: Array = numpy.zeros((buffer.received.size, *buffer.frame_shape), numpy.float32)
        self.neighbours: Index = numpy.arange(buffer.received.size)[:, None]

    @property
    def ready(self) -> bool:
        """Whether there was a fit."""
        return self._fitted > 0

    @property
    def settled(self) -> bool:
        """Whether all frames were fitted."""
        return self._fitted == int(self._buffer.received.sum())

    abreast = settled

    @property
    def learned(self) -> str:
        """The rank."""
        return f"{self._rank} components" if self._rank else ""

    def learn(self) -> None:
        """Fit all frames that are there."""
        known = numpy.flatnonzero(self._buffer.received)
        frames = self._buffer.frames(known).reshape(known.size, -1).astype(numpy.float64)
        visible = numpy.isfinite(frames)
        noise, counts = measure_camera(self._buffer).noise, numpy.where(visible, frames, 0.0)
        mask = None if visible.all() else visible
        self._rank = min(automatic_rank(counts, noise, mask), *counts.shape)
        estimate = weighted_pca(counts, self._rank, mask, noise)
        self._estimate[known] = estimate.reshape(known.size, *self._buffer.frame_shape)
        self._fitted, self.steps = known.size, self.steps + 1

    def denoise(self, numbers: Index, quick: bool = False) -> Array:
        """Frames as the components tell, shape (n, q, E), counts; never below 0, unless corrected input was."""
        if not self.settled:
            self.learn()
        return numpy.maximum(self._estimate[numbers], self._buffer.floor)

    def save(self, path: str) -> None:
        """Nothing to save."""

    def provenance(self) -> dict[str, typing.Any]:
        """Name and rank."""
        return {"model": self.name, "rank": self._rank}
