"""What happens to frames between the camera and the buffer: flat field, sum over q, sparks left out."""

from __future__ import annotations

import numpy
import numpy.typing

from udvd_core.buffer import FrameBuffer
from udvd_core.errors import InputError
from udvd_core.flat import load_flat
from udvd_core.saturation import Ceiling
from udvd_core.settings import ScanSpec
from udvd_core.sparks import find_sparks

Array = numpy.typing.NDArray[numpy.float32]


def learned_shape(spec: ScanSpec) -> tuple[int, int]:
    """Shape of the frames that a scan is denoised as: ``(1, E)`` unless whole frames were asked for."""
    return spec.frame_shape if spec.training.frames else (1, spec.frame_shape[1])


class Intake:
    """Puts the frames of one scan into its buffer.

    Parameters
    ----------
    spec : ScanSpec
        The scan.
    buffer : FrameBuffer
        Of frames of `learned_shape`.
    sparks : bool
        Whether single pixels far above all around are left out.

    Raises
    ------
    InputError
        When the flat field that the settings name cannot be used.
    """

    def __init__(self, spec: ScanSpec, buffer: FrameBuffer, sparks: bool) -> None:
        self._buffer, self._shape, self._wants_sparks = buffer, spec.frame_shape, sparks
        self.sums_rows = spec.frame_shape != buffer.frame_shape
        self._flat = load_flat(spec.training.flat, spec.frame_shape) if spec.training.flat else None
        self._bad_pixels = self._sparks = 0
        self._ceiling = Ceiling()

    @property
    def note(self) -> str:
        """What the user should know about the data, empty if nothing."""
        notes = [
            f"{self._bad_pixels} pixels were not finite and were left out" if self._bad_pixels else "",
            f"{self._sparks} single pixels far above all around were left out" if self._sparks else "",
            self._ceiling.note,
            self._flat.note if self._flat else "",
        ]
        return "; ".join(note for note in notes if note)

    def take(self, start: int, frames: Array) -> int:
        """Take frames `start` and following, shape (n, q, E), counts; returns how many of them were new.

        Raises
        ------
        InputError
            When the shape is wrong or a frame lies beyond the scan.
        """
        if frames.ndim != 3 or frames.shape[1:] != self._shape:
            raise InputError(f"frames have shape {frames.shape}; this scan wants (n, *{self._shape})")
        known = self._buffer.received[max(start, 0) : max(start, 0) + len(frames)].copy()
        clean = frames if self._flat is None else self._flat.correct(frames)
        if self.sums_rows:
            clean = clean.sum(1, keepdims=True, dtype=numpy.float32)
        sparks = self._found_sparks(start, clean)
        if sparks.any():
            clean = numpy.where(sparks, numpy.float32(numpy.nan), clean)
        new = self._buffer.put(start, clean)
        fresh = frames[~known] if known.any() else frames
        self._ceiling.watch(fresh)
        if self._flat is None and not self.sums_rows:  # else what is saturated differs from pixel to pixel
            self._buffer.ceiling = self._ceiling.value
        if not numpy.isfinite(fresh.sum()):  # a sum costs less than a look at each pixel
            self._bad_pixels += int((~numpy.isfinite(fresh)).sum())
        self._sparks += int(sparks[~known].sum())
        return new

    def _found_sparks(self, start: int, frames: Array) -> numpy.typing.NDArray[numpy.bool_]:
        """Sparks in frames, compared with the frames before and after where those are there."""
        if not self._wants_sparks or not len(frames):
            return numpy.zeros(frames.shape, numpy.bool_)
        received = self._buffer.received
        around = [
            self._buffer.recorded(numpy.array([n]))[0] if 0 <= n < received.size and received[n] else None
            for n in (start - 1, start + len(frames))
        ]
        return find_sparks(frames, around[0], around[1])
