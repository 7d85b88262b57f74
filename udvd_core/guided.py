"""The guide as a model of a session: numpy and scipy alone, live at any speed."""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing

from udvd_core.buffer import FrameBuffer
from udvd_core.camera import Camera, measure_camera
from udvd_core.defects import fill
from udvd_core.flicker import Flicker, measure_flicker
from udvd_core.guide import Guide
from udvd_core.lowrank.profile import lit_rows
from udvd_core.lowrank.scaled import Read
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.noise import NoiseModel
from udvd_core.settings import ScanSpec

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]

GROWTH = 1.25
"""Camera and fit are made anew when there are this much more frames."""
BATCH_PIXELS = 1 << 22


class GuideModel:
    """A `Model`: the low-rank guide of one scan, `udvd_core.guide`.

    Parameters
    ----------
    spec : ScanSpec
        The scan.
    buffer : FrameBuffer
        Its frames.
    """

    name, device = "guide", "CPU"
    learns, instant = True, True
    heldout, hidden = math.nan, ""

    def __init__(self, spec: ScanSpec, buffer: FrameBuffer) -> None:
        self._buffer = buffer
        q, channels = buffer.frame_shape
        self._rows = slice(0, q)
        self.guide = Guide(self._lit, spec.scan_shape, buffer.frame_shape)
        self._sums = Guide(self._summed, spec.scan_shape, (1, channels)) if q > 1 else None
        self._next_sums: Guide | None = None
        self.camera: Camera | None = None
        self._shape, self._flicker = spec.scan_shape, Flicker()
        self.warning = ""
        self.steps = 0
        self.neighbours: Index = numpy.arange(spec.count)[:, None]
        self.batch = max(1, min(4096, BATCH_PIXELS // (q * channels)))

    @property
    def settled(self) -> bool:
        """Whether all frames were fitted and no component is left to find."""
        return not self._fitting and self.guide.fitted == self._received()

    @property
    def abreast(self) -> bool:
        """Whether no fit is under way, and there are too few new frames for another."""
        return not self._fitting and not self._behind

    @property
    def ready(self) -> bool:
        """Whether there was a fit."""
        return self.guide.fitted > 0

    @property
    def note(self) -> str:
        """Warnings, faulty pixels and flicker."""
        defects = self.camera.defects if self.camera else None
        masked = defects.summary if defects and not defects.usable.all() else ""
        return "; ".join(told for told in (self.warning, masked, self._flicker.sentence) if told)

    @property
    def learned(self) -> str:
        """How many components were found, and in how many frames where those are not all."""
        rank, fitted = self.guide.rank, self.guide.fitted
        found = f"{rank} component{'s' if rank > 1 else ''} found" if rank else ""
        return f"{found} in {fitted} frames" if found and fitted < self._received() else found

    def learn(self) -> None:
        """Begin a fit of all frames, or find one more component; frames after their sums over q, which guide them."""
        self.steps += 1
        if self._next_sums is not None:
            if not self._next_sums.settled:
                self._next_sums.step()
            else:
                self._start_frames(self._next_sums)
        elif self.guide.fitted and not self.guide.settled:
            self.guide.step()
        elif self.guide.fitted < self._received():
            self._start()

    def denoise(self, numbers: Index, quick: bool = False) -> Array:
        """Denoised frames, shape (n, q, E), counts; never below 0, unless corrected input was."""
        if not self.guide.fitted:
            self._start()
            if self._next_sums is not None:
                self._start_frames(self._next_sums)
        counts = self._estimate(self.guide, numbers, quick)
        if self._sums is not None:
            wanted = self._estimate(self._sums, numbers, quick)
            counts = self._with_dark_rows(counts, wanted)
            got = counts.sum(1, keepdims=True)
            numpy.multiply(counts, wanted / numpy.where(got > 0, got, 1), out=counts, where=(got > 0) & (wanted > 0))
        if math.isfinite(self._buffer.ceiling):
            recorded = self._buffer.recorded(numbers)
            numpy.maximum(counts, recorded, out=counts, where=recorded >= self._buffer.ceiling)
        return numpy.maximum(counts, self._buffer.floor, out=counts)

    @property
    def uncertainty(self) -> Uncertainty | None:
        """Of spectra summed over q; that of the guide, which its correction does not make worse. None before a fit."""
        guide = self._sums or self.guide
        return guide.uncertainty if guide.fitted else None

    @property
    def noise(self) -> NoiseModel | None:
        """Noise of recorded spectra, summed over q; None before a fit."""
        return self.camera.summed if self.camera else None

    def save(self, path: str) -> None:
        """Nothing to save: a fit takes seconds."""

    def provenance(self) -> dict[str, typing.Any]:
        """Model, rank, and what was measured of the camera."""
        facts: dict[str, typing.Any] = {"model": self.name, "rank": self.guide.rank, "steps": self.steps}
        if self.camera is not None:
            noise = self.camera.noise
            facts |= {
                "gain": noise.gain,
                "read_variance": noise.read_variance,
                "correlation": list(noise.correlation),
                "hidden": list(self.camera.hidden.radius),
                "hidden_reason": self.camera.hidden.reason,
                "defects": self.camera.defects.summary,
            }
        return facts

    @property
    def _fitting(self) -> bool:
        """Whether a fit is under way, or there was none yet."""
        return self._next_sums is not None or not self.guide.settled

    @property
    def _behind(self) -> bool:
        """Whether enough frames came since the last fit for another one; of a whole scan, any."""
        received, fitted = self._received(), self.guide.fitted
        whole = received == self._buffer.received.size
        return received > (fitted if whole else GROWTH * fitted)

    def _estimate(self, guide: Guide, numbers: Index, quick: bool) -> Array:
        """Frames (n, q, E) as a guide estimates them."""
        return guide.frames(numbers)

    def _sources(self) -> list[tuple[Read, NoiseModel]]:
        """What each of the guides reads, and the noise of that."""
        if self.camera is None:
            return []
        sources: list[tuple[Read, NoiseModel]] = [(self._lit, self.camera.noise)]
        return sources if self._sums is None else [*sources, (self._summed, self.camera.summed)]

    def _guides(self) -> list[Guide]:
        return [self.guide] if self._sums is None else [self.guide, self._sums]

    def _received(self) -> int:
        return int(self._buffer.received.sum())

    def _start(self) -> None:
        """Fit all frames that are there."""
        known = numpy.flatnonzero(self._buffer.received)
        if self.camera is None or known.size > GROWTH * self.camera.frames or known.size == self._buffer.received.size:
            self.camera = measure_camera(self._buffer)
            if known.size == self._buffer.received.size and len(self._shape) == 2:
                self._flicker = measure_flicker(
                    self._totals(), self._shape, self.camera.noise, self._buffer.frame_shape
                )
        if self._sums is None:
            self.guide.start(known, self.camera.noise)
            return
        self._next_sums = Guide(self._summed, self._shape, (1, self._buffer.frame_shape[1]))
        self._next_sums.start(known, self.camera.summed)

    def _start_frames(self, sums: Guide) -> None:
        """Fit frames, as many as were summed and where there is light, on top of the guide of their sums."""
        self._sums, self._next_sums = sums, None
        self._rows = lit_rows(self._buffer.mean())
        self.guide = Guide(self._lit, self._shape, (self._rows.stop - self._rows.start, self._buffer.frame_shape[1]))
        if self.camera is not None:
            known = numpy.flatnonzero(self._buffer.received)[: sums.fitted]
            self.guide.start(known, self.camera.noise, sums)

    def _totals(self) -> numpy.typing.NDArray[numpy.float64]:
        """Counts of every frame, shape of the scan."""
        totals = numpy.empty(self._buffer.received.size)
        for start in range(0, totals.size, self.batch):
            numbers = numpy.arange(start, min(start + self.batch, totals.size))
            totals[numbers] = numpy.nan_to_num(self._frames(numbers)).sum((1, 2), dtype=numpy.float64)
        return totals.reshape(self._shape)

    def _frames(self, numbers: Index) -> Array:
        """Recorded frames, shape (n, q, E), faulty pixels filled from their neighbours."""
        frames = self._buffer.frames(numbers)
        if self.camera is None or self.camera.defects.usable.all():
            return frames
        return typing.cast(Array, fill(frames, self.camera.defects.usable))

    def _lit(self, numbers: Index) -> Array:
        """The detector rows of `_frames` that hold light, shape (n, rows, E)."""
        return self._frames(numbers)[:, self._rows]

    def _with_dark_rows(self, counts: Array, sums: Array) -> Array:
        """Frames (n, q, E) from their lit rows and their sums (n, 1, E): the rest is the mean frame, as bright."""
        mean = self._buffer.mean()
        if counts.shape[1] == len(mean):
            return counts
        whole = (mean / numpy.maximum(mean.sum(0), 1e-12)).astype(numpy.float32) * sums
        whole[:, self._rows] = counts
        return typing.cast(Array, whole)

    def _summed(self, numbers: Index) -> Array:
        """The same summed over q, shape (n, 1, E); missing pixels count nothing."""
        sums = numpy.empty((numbers.size, 1, self._buffer.frame_shape[1]), numpy.float32)
        for start in range(0, numbers.size, self.batch):
            part = slice(start, start + self.batch)
            frames = numpy.nan_to_num(self._frames(numbers[part]), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
            frames.sum(1, keepdims=True, out=sums[part])
        return sums
