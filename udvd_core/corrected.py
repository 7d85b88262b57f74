"""The default model of a session: the guide, and on it what the correction network adds."""

from __future__ import annotations

import math
import pathlib
import typing

import numpy
import numpy.typing

from udvd_core.buffer import FrameBuffer
from udvd_core.correction import weights
from udvd_core.correction.corrector import Corrector
from udvd_core.device import choose_device, device_name, leave_a_core
from udvd_core.errors import WeightsError
from udvd_core.guide import Guide
from udvd_core.guided import GuideModel
from udvd_core.settings import ScanSpec
from udvd_core.split import Split

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]

GROWTH = 3.0
"""The correction is judged anew when there are this much more frames."""
ENDED = object()
ROWS_AT_ONCE, LARGEST_BATCH = 8, 1 << 24
"""Scan rows that are corrected at once, because the network sees four on either side too; pixels at most."""
FEWEST = 48
"""Frames below which nothing is judged and the guide stands."""
FIRST = 8
"""While frames come, it stands until one in so many has come."""


class GuidedModel(GuideModel):
    """A `Model`: the guide corrected by a small blindspot network.

    Where the shipped weights cannot be used the guide stands alone, and `note` says why; weights that the
    settings name have to be usable.

    Parameters
    ----------
    spec : ScanSpec
        The scan.
    buffer : FrameBuffer
        Its frames.

    Raises
    ------
    EngineError
        When the device is not there.
    WeightsError
        When weights were named that cannot be used.
    """

    name = "guided"

    def __init__(self, spec: ScanSpec, buffer: FrameBuffer) -> None:
        super().__init__(spec, buffer)
        training = spec.training
        self._device = choose_device(training.device)
        leave_a_core()
        self._seed, self._hidden = training.seed, training.hidden
        self._correctors: list[Corrector] = []
        self._judging: typing.Iterator[None] | None = None
        try:
            source = weights.SHIPPED if training.weights is None else pathlib.Path(training.weights)
            self._network, self._hash = weights.load(source)
            self._correctors = [self._corrector(one) for one in self._guides()]
        except WeightsError as error:
            if training.weights is not None:
                raise
            self.warning = f"the guide alone: {error}"
        q, channels = buffer.frame_shape
        self.batch = max(1, self.batch // 4, min(ROWS_AT_ONCE * spec.scan_shape[-1], LARGEST_BATCH // (q * channels)))

    @property
    def device(self) -> str:  # type: ignore[override]
        """Name of the device of the network."""
        return device_name(self._device)

    @property
    def hidden(self) -> str:  # type: ignore[override]
        """Hidden rows x channels, and why."""
        if self._hidden is not None:
            return f"{self._hidden[0]}x{self._hidden[1]} is hidden, as the settings say"
        if self.camera is None:
            return ""
        return self.camera.hidden.reason

    @property
    def heldout(self) -> float:  # type: ignore[override]
        """As the last judgement found it."""
        return self._correctors[-1].heldout if self._correctors else math.nan

    @property
    def settled(self) -> bool:
        """Whether guide and correction have seen all frames and nothing is left to find."""
        return super().settled and self._judged

    @property
    def abreast(self) -> bool:
        """As of the guide, and the correction was adapted to it and judged."""
        return super().abreast and self._judged

    @property
    def learned(self) -> str:
        """Components found, and how much of the network's correction held-out counts let pass."""
        told = super().learned
        if not self._correctors or not told:
            return told
        if not self._correctors[0].judged:
            return f"{told}, correction not judged"
        share = float(self._correctors[0].gate.share.mean())
        passes = f"{share:.0%} of the correction passes" if share else "no correction passes"
        return f"{told}, {passes}"

    def learn(self) -> None:
        """A step of the guide; where that is not much behind, the correction is adapted to it, and judged in steps."""
        if self._fitting or self._behind:
            if self._received() == self._buffer.received.size:
                self._judging = None  # of fewer frames; it would take the last judgement's time
            super().learn()
            return
        if self._unfit():
            self.steps += 1
            self._adapt()
            return
        if self._judging is None:
            self._judging = self._next_judgement()
        if self._judging is None:
            super().learn()
            return
        self.steps += 1
        if next(self._judging, ENDED) is ENDED:
            self._judging = None
            self._adapt()  # at once: there may be no time for another step, and it took long to judge

    @property
    def _judged(self) -> bool:
        """Whether every correction has seen what its guide leaves, and no judgement is due."""
        return not self._unfit() and not any(self._due(one) for one in self._correctors)

    def _unfit(self) -> bool:
        """Whether a correction that passes has not seen yet what its guide leaves."""
        return not all(one.fits(guide) for one, guide in zip(self._correctors, self._guides(), strict=False))

    def _adapt(self) -> None:
        """Let the corrections see what their guides leave."""
        known = numpy.flatnonzero(self._buffer.received)
        for one, guide, (read, noise) in zip(self._correctors, self._guides(), self._sources(), strict=False):
            if not one.fits(guide):
                one.adapt(read, guide, known, noise)

    def _next_judgement(self) -> typing.Iterator[None] | None:
        """Steps of the judgement that is due."""
        known = numpy.flatnonzero(self._buffer.received)
        for one, (read, noise) in zip(self._correctors, self._sources(), strict=False):
            if self._due(one) and self.camera is not None:
                radius = self._hidden or self.camera.hidden.radius
                guard = radius if one.frame_shape[0] > 1 else (0, radius[1])
                base = self._sums if one.frame_shape[0] > 1 else None
                return one.judging(read, known, noise, Split.guarded(self._seed, guard), base)
        return None

    def provenance(self) -> dict[str, typing.Any]:
        """Facts of the guide; hash of the weights and how much of the correction passed."""
        facts = super().provenance()
        if self._correctors:
            one = self._correctors[0]
            facts |= {
                "weights_sha256": self._hash,
                "correction_share": float(one.gate.share.mean()),
                "correction_gain": one.gate.gain,
            }
        return facts

    def _start_frames(self, sums: Guide) -> None:
        """As for the guide; other rows may hold light than before."""
        super()._start_frames(sums)
        if self._correctors and self._correctors[0].frame_shape != self.guide.frame_shape:
            self._correctors[0], self._judging = self._corrector(self.guide), None

    def _corrector(self, guide: Guide) -> Corrector:
        return Corrector(self._network, self._shape, guide.frame_shape, self._device)

    def _due(self, one: Corrector) -> bool:
        """Whether a correction has to be judged, for the first time or anew."""
        known, count = self._received(), self._buffer.received.size
        if known == count:
            return known >= FEWEST and known > one.judged
        return known >= max(FEWEST, count / FIRST) and known > GROWTH * one.judged

    def _estimate(self, guide: Guide, numbers: Index, quick: bool) -> Array:
        """Corrected frames, shape (n, q, E); a quick look is the guide alone, the network wants the rows around too."""
        if quick:
            return super()._estimate(guide, numbers, quick)
        for one, corrector, (read, noise) in zip(self._guides(), self._correctors, self._sources(), strict=False):
            if one is guide:
                return corrector.correct(read, guide, numbers, numpy.flatnonzero(self._buffer.received), noise)
        return super()._estimate(guide, numbers, quick)
