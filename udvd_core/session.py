"""One scan from its first frame to its final result: the heart, without threads or I/O.

``push`` frames as they come, ``advance`` again and again, ``finish`` when no more will come.
`advance` spends its time on, in this order: frames that just came; frames whose neighbours came
since, then those denoised longest ago; learning. Each of the first two has a largest share of the
time, so that learning goes on however fast the scan. It rests when the model is abreast of the frames:
whoever operates the microscope may need the cores. After `finish` it learns for as long as the
budget leaves room for one last pass over all frames, then makes that pass.
"""

from __future__ import annotations

import dataclasses
import math
import time
import typing

import numpy
import numpy.typing

from udvd_core.buffer import FrameBuffer
from udvd_core.framing import Denoised, in_runs
from udvd_core.intake import Intake, learned_shape
from udvd_core.models import open_model
from udvd_core.settings import ScanSpec

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]

RESERVE = 1.4
"""The last pass gets this much more time than it is expected to take."""

AIM = 0.8
"""The last pass aims to end at this part of the budget; what is left absorbs a busy machine."""

FRESH_SHARE, REFRESH_SHARE = 0.5, 0.25
"""Largest parts of the time during a scan for denoising new frames, and for denoising frames anew."""

SMALL_PART = 32
"""Frames that are denoised at once take no more than this part of the memory for frames: 128 MB of 4 GB."""

NEVER, OUTDATED = -2, -1
"""In place of the training step: frames not denoised yet; denoised before one of their neighbours came."""


class Session:
    """Denoise one scan while it arrives.

    Parameters
    ----------
    spec : ScanSpec
        The scan and how to denoise it.
    resume : str or None
        Checkpoint of an earlier session of the same scan.
    clock : callable
        Seconds; for tests.

    Raises
    ------
    EngineError
        When the device is not there.
    InputError
        When the frames are larger than the disk limit.
    WeightsError
        When the weights cannot be used.
    """

    def __init__(
        self, spec: ScanSpec, resume: str | None = None, clock: typing.Callable[[], float] = time.monotonic
    ) -> None:
        self.spec = spec
        self._clock = clock
        self._most_bytes = spec.training.memory_bytes // SMALL_PART
        self._buffer = FrameBuffer(
            spec.count, learned_shape(spec), spec.training.memory_bytes, spec.training.disk_bytes
        )
        self.model = open_model(spec, self._buffer, resume)
        self._intake = Intake(spec, self._buffer, self.model.learns)
        self._shown = numpy.full(spec.count, NEVER, numpy.int64)
        self._final = numpy.zeros(spec.count, bool)
        self._aim = self._deadline = math.inf
        self._closing = self._live = False
        self.paused = False
        """Whether not to learn; what comes is denoised with what was learned before."""
        self._rate = math.nan
        self._longest_step = 0.0
        self._refreshed = self._looked = self._learn_at = -math.inf
        self._spent = {"all": 0.0, "fresh": 0.0, "again": 0.0}

    @property
    def finishing(self) -> bool:
        """Whether `finish` was called."""
        return math.isfinite(self._deadline)

    @property
    def done(self) -> bool:
        """Whether nothing is left to do: all frames are final, or the budget is used up."""
        received = self._buffer.received
        late = self._closing and self._clock() >= self._deadline and not self.model.instant
        return self.finishing and (late or bool(self._final[received].all()))

    @property
    def resting(self) -> bool:
        """Whether there is nothing useful to do until more frames come."""
        if self.finishing or not (self._learned or not self.received):
            return False
        return not self._look_due(self._waiting(NEVER)) and not self._behind().size

    @property
    def received(self) -> int:
        """Frames received."""
        return int(self._buffer.received.sum())

    @property
    def denoised(self) -> int:
        """Frames denoised at least once."""
        return int((self._shown > NEVER).sum())

    @property
    def final(self) -> int:
        """Frames whose final result was given out."""
        return int(self._final.sum())

    @property
    def note(self) -> str:
        """What the user should know about the data, empty if nothing."""
        return "; ".join(note for note in (self._intake.note, self.model.note) if note)

    def push(self, start: int, frames: Array) -> int:
        """Take frames `start` and following, shape (n, q, E), counts; twice does no harm.

        Returns
        -------
        int
            How many of them were new.

        Raises
        ------
        InputError
            When the shape is wrong or a frame lies beyond the scan.
        """
        before = self._buffer.received[max(start, 0) : max(start, 0) + len(frames)].copy()
        new = self._intake.take(start, frames)
        added = start + numpy.flatnonzero(~before)
        around = self.model.neighbours[added]
        around = around[around >= 0]
        self._shown[around] = numpy.minimum(self._shown[around], OUTDATED)
        return new

    def finish(self, now: bool = False) -> None:
        """No more frames will come; `done` will be true within the budget from now on.

        `now` makes the last pass at once, with what was learned so far.
        """
        self._closing |= now
        if not self.finishing:
            self._aim = self._clock() + AIM * self.spec.training.budget_s
            self._deadline = self._clock() + 0.97 * self.spec.training.budget_s

    def advance(self, budget: float) -> list[Denoised]:
        """Work for about `budget` seconds, or until much was denoised; at least one piece of work.

        Returns
        -------
        list of Denoised
            What was denoised, oldest first. Frames that are final do not come again.
        """
        end = self._clock() + budget
        result: list[Denoised] = []
        while self.received and not self.done and not self.resting:
            begin = self._clock()
            result += self._work()
            self._spent["all"] += self._clock() - begin
            if self._clock() >= end or sum(denoised.data.nbytes for denoised in result) > self._most_bytes:
                break
        return result

    def recorded(self, numbers: Index) -> Array:
        """Recorded spectra of these frames, summed over q, shape (n, E), counts; NaN is missing."""
        return typing.cast(Array, self._buffer.recorded(numbers).sum(1))

    def save(self, path: str) -> None:
        """Write a checkpoint for `resume`."""
        self.model.save(path)

    def provenance(self) -> dict[str, typing.Any]:
        """What made the result and how far it got, values for JSON."""
        return {
            **self.model.provenance(),
            "settings": dataclasses.asdict(self.spec.training),
            "summed_over_q": self._intake.sums_rows,
            "frames": self.spec.count,
            "frames_received": self.received,
            "frames_final": self.final,
        }

    def close(self) -> None:
        """Free the frames."""
        self._buffer.close()

    @property
    def _batch(self) -> int:
        """Frames that are denoised at once: as many as the model likes and the memory allows."""
        return max(1, min(self.model.batch, self._most_bytes // (4 * math.prod(learned_shape(self.spec)))))

    def _work(self) -> list[Denoised]:
        """One piece of work, the most urgent."""
        if self.finishing:
            if self._closing or self._must_close():
                self._closing = True
                return self._last_batch()
            speed_unknown = math.isnan(self._rate) and self.model.ready
            if speed_unknown or (self._live and self._waiting(NEVER).size):
                return self._denoise(self._oldest(numpy.flatnonzero(self._buffer.received)), final=False)
        elif self._look_due(fresh := self._waiting(NEVER)) and self._has_time("fresh", FRESH_SHARE):
            self._live, self._looked = True, self._clock()
            return self._denoise_timed(fresh[: self._batch], "fresh", quick=True)
        elif self._refresh_due():
            self._refreshed = self._clock()
            return self._denoise_timed(self._oldest(numpy.flatnonzero(self._buffer.received)), "again")
        begin = self._clock()
        self.model.learn()
        self._longest_step = max(0.97 * self._longest_step, self._clock() - begin)  # the very first may be far longer
        if self.model.abreast:
            self._learn_at = self._clock() + self.spec.training.preview_s
        return []

    @property
    def _learned(self) -> bool:
        """Whether there is nothing to learn for now: soon after a fit there would be little more to see in another."""
        soon = self._clock() < self._learn_at and not self._buffer.received.all()
        return self.model.abreast or self.paused or soon

    def _behind(self) -> Index:
        """Frames that were denoised before the last step of learning, or before a neighbour came."""
        numbers = self._waiting(OUTDATED if self.paused else self.model.steps - 1)
        return numbers[self._shown[numbers] > NEVER]

    def _look_due(self, fresh: Index) -> bool:
        """Whether to look at new frames now: each look costs the same for few, and who sees it sees no more often."""
        waited = self._clock() - self._looked >= self.spec.training.preview_s / 2
        return fresh.size > 0 and (waited or fresh.size >= self._batch or bool(self._buffer.received.all()))

    def _waiting(self, age: int) -> Index:
        """Frames received whose result is of this age or older."""
        return numpy.flatnonzero(self._buffer.received & (self._shown <= age))

    def _must_close(self) -> bool:
        """Whether the last pass has to begin now, because one more step of learning could make it late."""
        if self.model.settled or self.paused or self._clock() >= self._aim:
            return True
        left = self.received - self.final
        end = self._clock() + self._longest_step + RESERVE * left / self._rate  # NaN where the speed is not known
        return end >= self._aim

    def _last_batch(self) -> list[Denoised]:
        """Make frames final, no more at once than the time is expected to allow, but at least one.

        When it is too late already, a model whose quick look costs next to nothing still makes all of them final.
        """
        left = numpy.flatnonzero(self._buffer.received & ~self._final)
        if self._clock() >= self._deadline and self.model.instant:
            return self._denoise(left[: self._batch], final=True, quick=True)
        room = (self._deadline - self._clock()) * self._rate  # NaN where the speed is not known
        most = self._batch if math.isnan(room) else max(1, int(min(room, self._batch)))
        return self._denoise(self._oldest(left)[:most], final=True)

    def _oldest(self, numbers: Index) -> Index:
        """One batch of these frames: those denoised longest ago or never, in scan order."""
        return numpy.sort(numbers[numpy.argsort(self._shown[numbers], kind="stable")[: self._batch]])

    def _refresh_due(self) -> bool:
        """Whether shown results are old and denoising them anew has not had its share of the time."""
        soon = self._learned or self._clock() - self._refreshed >= self.spec.training.preview_s / 4
        due = soon or self._waiting(OUTDATED).size > 0
        return due and self._behind().size > 0 and self._has_time("again", REFRESH_SHARE)

    def _has_time(self, account: str, share: float) -> bool:
        """Whether this kind of work has not had its share of the time, or learning needs none."""
        return self._learned or self._spent[account] <= share * self._spent["all"]

    def _denoise_timed(self, numbers: Index, account: str, quick: bool = False) -> list[Denoised]:
        """Denoise some frames, to be sent again, and book the time."""
        begin = self._clock()
        result = self._denoise(numbers, final=False, quick=quick)
        self._spent[account] += self._clock() - begin
        return result

    def _denoise(self, numbers: Index, final: bool, quick: bool = False) -> list[Denoised]:
        """Denoise some frames and keep account of it; a quick look is renewed after the next step of learning."""
        begin = self._clock()
        data = self.model.denoise(numbers, quick)
        rate = numbers.size / max(self._clock() - begin, 1e-6)
        if not quick:
            self._rate = rate if math.isnan(self._rate) else 0.7 * self._rate + 0.3 * rate
        self._shown[numbers] = self.model.steps
        self._final[numbers] |= final
        if not self.spec.training.frames:
            data = data.sum(1)
        return in_runs(numbers, data, final, self.model.steps)
