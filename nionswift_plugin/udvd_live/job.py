"""One followed scan from its first data to its final results; main thread only."""

from __future__ import annotations

import dataclasses
import enum
import logging
import math
import typing

import numpy
from nion.swift.model import DataItem

from udvd_core.engine.protocol import Block, Engine, Event, Failed, Finished, Resend, Status
from udvd_core.monitor import Trust
from udvd_core.settings import ScanSpec

from . import uncertainties
from .recording import Recording, State
from .writer import FINAL, PRELIMINARY, Writer

log = logging.getLogger(__name__)

HELD_BYTES = 1 << 30
"""A final result without previews is kept in memory until it is whole; a larger one is written as it comes."""
WRITTEN_BYTES = 4 << 20
"""Of such a result, written at each tick."""

CREATE_S = 0.25
"""From the first row on an item is made no sooner after the one before: Swift draws it first. Before, one each turn."""
NAMES = {State.ABORTED: "aborted", State.ERROR: "scan failed", State.REMOVED: "raw deleted"}


class Phase(enum.Enum):
    """Where a job is."""

    FOLLOWING = "denoising while the scan runs"
    FINALISING = "making the final result"
    DONE = "done"


@dataclasses.dataclass
class Timeline:
    """When things happened, seconds of the job's clock; None until then."""

    started: float
    first_row: float | None = None
    first_preview: float | None = None
    scan_ended: float | None = None
    done: float | None = None
    received_at_end: int = 0
    denoised_at_end: int = 0
    live: int = 0
    """Frames that were denoised at least once before they became final."""


class Job:
    """Takes one recording through the engine into the library.

    Parameters
    ----------
    document_model : DocumentModel
        Swift's.
    recording : Recording
        Has its first data.
    spec : ScanSpec
        What the engine is told.
    engine : Engine
        Where it is denoised.
    clock : callable
        Seconds.
    kinds : sequence of str
        What is kept of each map, names of `writer.MAP_ROWS`.
    previews : bool
        Write previews; else the library changes only when all of the final result is there, up to `HELD_BYTES`.
    facts, earlier
        What `Writer` is told.
    """

    def __init__(
        self,
        document_model: typing.Any,
        recording: Recording,
        spec: ScanSpec,
        engine: Engine,
        clock: typing.Callable[[], float],
        kinds: typing.Sequence[str] = ("value",),
        *,
        previews: bool = True,
        facts: typing.Mapping[str, typing.Any] | None = None,
        earlier: typing.Sequence[DataItem.DataItem] = (),
    ) -> None:
        if recording.metadata is None:
            raise ValueError(f"recording {recording.title!r} has no data yet; wait for its first block")
        self.recording = recording
        self.spec = spec
        self.phase = Phase.FOLLOWING
        self.note = ""
        self.status: Status | None = None
        self.finished: Finished | None = None
        self.timeline = Timeline(clock())
        self._clock = clock
        self._engine = engine
        self._document_model = document_model
        self._writer = Writer(document_model, recording.item, recording.metadata, spec, kinds, facts, earlier)
        self._previews = previews
        self._holds = not previews and 4 * spec.count * math.prod(spec.output_shape) <= HELD_BYTES
        self._end: Finished | None = None
        self.paused = False
        self.history: list[Trust] = []
        """How trust grew, for the panel."""
        self.maps = numpy.full((len(spec.maps), 4, spec.count), numpy.nan, numpy.float32)
        """The maps so far, as `Block.maps` holds them."""
        self._early: list[Block] = []
        self._ready = self._finish_sent = False
        self._create_at = 0.0
        engine.open(spec)
        recording.sums_rows = spec.frame_shape != recording.layout.frame_shape
        recording.sink = lambda start, frames: engine.push(spec.scan_id, start, frames)

    @property
    def items(self) -> list[DataItem.DataItem]:
        """The result items."""
        return self._writer.items

    @property
    def lag(self) -> int:
        """Frames received and not yet denoised."""
        return self.recording.coverage.received - (self.status.denoised if self.status else 0)

    @property
    def making(self) -> bool:
        """Whether its items are still to be made before the first row is in."""
        before = self.phase is Phase.FOLLOWING and self.timeline.first_row is None
        return before and self._previews and not self._ready

    @property
    def now(self) -> float:
        """Seconds of the clock that `timeline` is in."""
        return self._clock()

    @property
    def lag_s(self) -> float:
        """How far behind the scan the picture is, seconds at the pace of the scan so far."""
        received = self.recording.coverage.received
        return max(self.lag, 0) * (self._clock() - self.timeline.started) / received if received else 0.0

    def pause(self, paused: bool) -> None:
        """Learn no further, or go on."""
        self.paused = paused
        self._engine.pause(self.spec.scan_id, paused)

    def finish_now(self) -> None:
        """Make the result final with what was learned so far; once the scan is over."""
        if self._finish_sent and self.phase is Phase.FINALISING:
            self._engine.finish(self.spec.scan_id, now=True)

    def keep(self) -> None:
        """Mark the results as wanted: reprocessing makes others beside them."""
        self._writer.mark({"kept": True})

    def tick(self, share: float = 1.0) -> None:
        """Make items, feed again what the engine lacks, and tell it when the scan is over.

        `share` is the part of this turn for this job, where several write.
        """
        if self.phase is Phase.DONE:
            return
        if self._end is not None:
            self._complete(self._end, share * WRITTEN_BYTES)
            return
        wanted = self.status is not None and not self._holds and (self._previews or bool(self._early))
        if not self._ready and wanted and self._clock() >= self._create_at:  # the engine has it: no empty items if not
            self._ready = not self._writer.create_next()
            self._create_at = self._clock() + (CREATE_S if self.timeline.first_row is not None else 0.0)
        while self._ready and self._early and not self._holds:
            self._writer.write(self._early.pop(0))
        if not self._holds and self._writer.write_next(self._clock()) and self.timeline.first_preview is None:
            self.timeline.first_preview = self._clock()
        coverage, timeline = self.recording.coverage, self.timeline
        if self.recording.gone and coverage.delivered < coverage.received:
            self.stop(NAMES[State.REMOVED])
            return
        if timeline.first_row is None and coverage.received >= self.spec.scan_shape[-1]:
            timeline.first_row = self._clock()
        self.recording.feed(self._document_model.perform_data_item_updates)
        if self.recording.state.ended and not self._finish_sent and coverage.delivered == coverage.received:
            self._finish_sent = True
            self._engine.finish(self.spec.scan_id)

    def recording_ended(self) -> None:
        """The scan is over; its state says how."""
        timeline = self.timeline
        timeline.scan_ended = self._clock()
        timeline.received_at_end = self.recording.coverage.received
        timeline.denoised_at_end = self.status.denoised if self.status else 0
        if self.recording.state is State.REMOVED:
            self.stop(NAMES[State.REMOVED])
        elif self.phase is Phase.FOLLOWING:
            self.phase = Phase.FINALISING

    def take(self, event: Event) -> None:
        """Act on what the engine says."""
        if self.phase is Phase.DONE or self._end is not None:
            return
        if isinstance(event, Block):
            self.maps[:, :, event.start : event.start + len(event.data)] = event.maps
            if not (self._previews or event.final):
                return
            if self._ready and not self._early and not self._holds:
                self._writer.write(event)
            else:
                self._early.append(event)
        elif isinstance(event, Status):
            self.status = event
            if not self.history or event.trust != self.history[-1]:
                self.history.append(event.trust)
            if not event.final:
                self.timeline.live = event.denoised
        elif isinstance(event, Resend):
            log.warning("UDVD feeds %r again: %s", self.recording.title, event.reason)
            self.note = event.reason
            self.recording.coverage.forget_deliveries()
            self._finish_sent = False
            if self._holds:
                self._early.clear()
            if self.paused:
                self.pause(True)
        elif isinstance(event, Finished):
            self._end = event
            if not (self._previews or event.final):
                self.fail(event.note or "no frame became final")
        elif isinstance(event, Failed):
            self.fail(event.reason)

    def fail(self, reason: str) -> None:
        """Give up; the results stay as they are, and say why."""
        if self.phase is not Phase.DONE:
            log.warning("UDVD cannot denoise %r: %s", self.recording.title, reason)
            self.note, self.finished = reason, None
            self._engine.abort(self.spec.scan_id)
            self._close("failed", {"note": reason})

    def stop(self, state: str = "stopped") -> None:
        """Leave the results as they are; final where all is here."""
        while self.phase is not Phase.DONE and self._end is not None and not (self._holds and self._early):
            self._complete(self._end, WRITTEN_BYTES)
        if self.phase is not Phase.DONE:
            self._engine.abort(self.spec.scan_id)
            self._close(state, {})

    def item_removed(self, item: DataItem.DataItem) -> None:
        """An item was deleted; without any result left there is nothing to do."""
        if self._writer.remove(item) and self._ready and not self.items:
            self.stop("results deleted")

    def _complete(self, end: Finished, most: float) -> None:
        """Take a step to the final result, some 20 ms of Swift's main thread: the next scan may run already.

        Make an item, write about `most` bytes of what was held, or finish an item.
        """
        if not self._ready:
            self._ready = not self._writer.create_next()
        elif self._early:
            size = 0
            while self._early and size < most:
                block = self._early.pop(0)
                size += block.data.nbytes
                (self._writer.write_now if self._holds else self._writer.write)(block)
        elif self.finished is None:
            uncertainties.keep(self.items, end.uncertainty)  # before the items change for the last time
            self.finished, self.note = end, end.note
        elif not self._writer.finish_next(*self._last(end)):
            self._close(*self._last(end))

    def _last(self, end: Finished) -> tuple[str, dict[str, typing.Any]]:
        """Last state and facts of the results."""
        state = FINAL if end.final == self.spec.count else NAMES.get(self.recording.state, PRELIMINARY)
        provenance = {**end.provenance, "summed_over_q": self.recording.sums_rows}
        return state, {"provenance": provenance, "note": end.note, "coverage": end.final / self.spec.count}

    def _close(self, state: str, facts: dict[str, typing.Any]) -> None:
        self.phase = Phase.DONE
        self.timeline.done = self._clock()
        self._early.clear()
        self._writer.finish(state, facts)
        self.recording.release()
