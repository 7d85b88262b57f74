"""What a session asks of a denoising model, and the plainest one: none."""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing

from udvd_core.buffer import FrameBuffer
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]


class Model(typing.Protocol):
    """Learns from the frames in a buffer and denoises them; no threads, no clock."""

    @property
    def name(self) -> str:
        """Name for the user."""
        ...

    @property
    def device(self) -> str:
        """Where it computes, for the user."""
        ...

    @property
    def steps(self) -> int:
        """Training steps so far."""
        ...

    @property
    def learned(self) -> str:
        """What it learned so far and how good that is, for the user; empty before the first step."""
        ...

    @property
    def settled(self) -> bool:
        """Whether further learning is not expected to help."""
        ...

    @property
    def abreast(self) -> bool:
        """Whether it can wait for more frames: it has settled, or what came since would hardly change it."""
        ...

    @property
    def note(self) -> str:
        """What the user should know, empty if nothing."""
        ...

    @property
    def learns(self) -> bool:
        """Whether it learns from the frames, so that pixels which no beam lit have to be left out."""
        ...

    @property
    def ready(self) -> bool:
        """Whether it can denoise without preparing for it first, so that the time tells its speed."""
        ...

    @property
    def instant(self) -> bool:
        """Whether a quick look at all frames costs next to nothing."""
        ...

    @property
    def neighbours(self) -> Index:
        """Numbers of the frames that each frame is denoised with, -1 for none; shape (frames, neighbours)."""
        ...

    @property
    def batch(self) -> int:
        """Frames that are best denoised at once."""
        ...

    def learn(self) -> None:
        """One step of learning on the frames received so far."""
        ...

    def denoise(self, numbers: Index, quick: bool = False) -> Array:
        """Denoised frames of these numbers, shape (n, q, E), counts, never NaN; a `quick` look may be rougher."""
        ...

    @property
    def uncertainty(self) -> Uncertainty | None:
        """What denoised spectra, summed over q, may be off; None where the model cannot tell."""
        ...

    @property
    def noise(self) -> NoiseModel | None:
        """Noise of recorded spectra, summed over q; None where it was not measured."""
        ...

    @property
    def hidden(self) -> str:
        """Which pixels are hidden from the network and why, for the user; empty while that is not known."""
        ...

    @property
    def heldout(self) -> float:
        """Log-likelihood per thousand held-out pixels above that of the mean frame; NaN where not judged."""
        ...

    def save(self, path: str) -> None:
        """Write a checkpoint from which `open_model` of the same scan goes on."""
        ...

    def provenance(self) -> dict[str, typing.Any]:
        """What made the result: model, width, hidden set, weights hash, steps; values for JSON."""
        ...


class RawModel:
    """Gives back what was recorded, for comparison; needs no torch."""

    name, device, steps, settled = "raw", "none", 0, True
    learned = note = ""
    uncertainty = noise = None
    heldout, hidden = math.nan, ""
    learns, ready, instant, abreast = False, True, False, True
    batch = 4096

    def __init__(self, buffer: FrameBuffer) -> None:
        self._buffer = buffer
        self.neighbours: Index = numpy.arange(len(buffer.received))[:, None]

    def learn(self) -> None:
        """Nothing to learn."""

    def denoise(self, numbers: Index, quick: bool = False) -> Array:
        """Return the recorded frames, shape (n, q, E); pixels that are not finite become 0."""
        return numpy.nan_to_num(self._buffer.recorded(numbers), nan=0.0, posinf=0.0, neginf=0.0)

    def save(self, path: str) -> None:
        """Nothing to save."""

    def provenance(self) -> dict[str, typing.Any]:
        """Only the name."""
        return {"model": self.name}
