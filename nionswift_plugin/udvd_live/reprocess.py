"""Works the queue off: scans of the library through an engine of its own, as many side by side as it has workers.

A live scan has priority: what is being reprocessed then begins anew after it, unless its final result is being
written. Entries of one scan never run side by side: they have the same result items. The library gets final results
only, in the items of an earlier run where there are any; until then these stay as they are. Main thread only.
"""

from __future__ import annotations

import dataclasses
import logging
import textwrap
import time
import typing
import uuid

from nion.swift.model import DataItem

from udvd_core.engine.protocol import Engine, Event
from udvd_core.errors import InputError, UdvdError

from .job import Job, Phase
from .library_scans import Library, recording_now
from .made_from import done_before, facts_of, pooled_title, specify
from .queue_file import OVER, Entry, Queue, QueueFile, Settings, State, project_folder
from .replay import Replay, same_area
from .reprocess_engine import OwnEngine
from .reprocess_run import Run
from .scan_item import OURS

log = logging.getLogger(__name__)

BEGIN_S = 2.0
"""After Swift has opened a project: its panels listen to activities from then on."""


class Reprocessor:
    """The queue of one project and what works it off.

    Parameters
    ----------
    document_model : DocumentModel
        Swift's.
    live_jobs : callable
        Gives the jobs of scans that are or were followed.
    make_engine : callable
        Makes an engine when there is something to do, on the GPU machine (True) or on this computer (False).
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        document_model: typing.Any,
        live_jobs: typing.Callable[[], typing.Sequence[Job]],
        make_engine: typing.Callable[[bool], Engine],
        clock: typing.Callable[[], float] = time.monotonic,
    ) -> None:
        self._document_model = document_model
        self.library = Library(document_model)
        self._live_jobs = live_jobs
        self._clock = clock
        self._file = QueueFile(project_folder(document_model))
        self.queue, self._not_kept = self._file.load()
        known = {str(item.uuid) for item in document_model.data_items}
        self.left = known.intersection(self.queue.followed)
        """Uuids of scans that were being followed when Swift ended."""
        self.own = OwnEngine(make_engine, clock)
        self._runs: list[Run] = []
        self._begin = clock() + BEGIN_S
        self._closed = False
        self._removed_listener = document_model.item_removed_event.listen(self._item_removed)

    # what the operator asks for

    def add(self, items: typing.Sequence[DataItem.DataItem], settings: Settings, pool: bool = False) -> str:
        """Queue raw items one by one, or pooled as one scan; returns a sentence for the operator.

        Raises
        ------
        InputError
            When there are none, or they cannot be pooled.
        """
        groups = [list(items)] if pool else [[item] for item in items]
        if not items or (pool and len(items) < 2):
            raise InputError("select two passes of one area or more" if pool else "select a spectrum image")
        queue, added = self.queue, 0
        for group in groups:
            same_area(group)
            sources = tuple(str(item.uuid) for item in group)
            alike = [e for e in queue.entries if (e.sources, e.settings) == (sources, settings) and e.state not in OVER]
            if not alike:
                queue, added = queue.add(Entry(uuid.uuid4().hex, sources, pooled_title(group), settings)), added + 1
        self._put(queue)
        there = len(groups) - added
        return f"{added} added to the queue" + (f", {there} already there" if there else "")

    def cancel(self, keys: typing.Collection[str]) -> None:
        """Stop or leave out entries; those that are over leave the queue."""
        queue = self.queue
        for key in keys:
            entry = queue.find(key)
            if entry is not None and entry.state in OVER:
                queue = queue.remove(key)
            elif entry is not None:
                queue = queue.put(key, State.CANCELLED)
        self._put(queue)
        for run in [run for run in self._runs if run.entry.key in keys]:
            run.job.stop()
            self._let_go(run)

    def retry(self, keys: typing.Collection[str]) -> None:
        """Let entries that are over wait again."""
        queue = self.queue
        for entry in queue.entries:
            if entry.key in keys and entry.state in OVER:
                queue = queue.put(entry.key, State.WAITING)
        self._put(queue)

    def move(self, keys: typing.Collection[str], step: int) -> None:
        """Move entries one place up (-1) or down (+1)."""
        self._put(self.queue.move(keys, step))

    # what the operator sees

    def line(self) -> str:
        """What it is doing, in plain words."""
        waiting = len(self.queue.waiting())
        if self._runs:
            title = textwrap.shorten(self._runs[0].entry.title, 36, placeholder="...")
            beside = f", and {len(self._runs) - 1} more beside it" if self._runs[1:] else ""
            return f"{title}: {self._runs[0].step()}{beside}"
        if waiting and self._recording():
            return f"{waiting} waiting for the scan that is being recorded"
        return f"{waiting} waiting" if waiting else "Nothing to do. Select scans and press Add."

    def left_s(self) -> float:
        """Seconds until the queue is worked off, at most; without the reading of scans that still wait."""
        each = [entry.settings.training.budget_s for entry in self.queue.waiting()]
        each += [run.left_s() for run in self._runs]
        longest = max(each, default=0.0)
        return (sum(each) - longest) / self.own.workers + longest

    def percent(self) -> int:
        """How much of the time of the entries that run has passed; 0 without any."""
        return sum(run.percent() for run in self._runs) // max(len(self._runs), 1)

    @property
    def busy(self) -> set[str]:
        """Uuids of scans that are being denoised now."""
        return {*self._followed(), *(key for run in self._runs for key in run.entry.sources)}

    @property
    def trouble(self) -> str:
        """What the operator should know of the queue's file or its engine; empty where all is well."""
        return (self.own.trouble if self.queue.waiting() else "") or self._not_kept

    # what time does

    def tick(self) -> None:
        """Go on; a few times a second. Never raises."""
        if self._closed:
            return
        try:
            self._note_followed()
            self._advance()
        except Exception as error:
            log.exception("UDVD reprocessing")
            for run in list(self._runs):
                self._fail(run, f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Leave what runs for the next start of Swift, and end the engine."""
        if self._closed:
            return
        self._closed = True
        self._removed_listener = None
        try:
            for run in list(self._runs):
                run.job.stop("interrupted")
                self._let_go(run)  # its entry stays as running, which counts as waiting when it is read again
        except Exception:
            log.exception("UDVD could not mark the results of its queue")
        finally:
            self.own.close()

    def _advance(self) -> None:
        events, runs = self.own.poll(), list(self._runs)
        for run in runs:
            try:
                self._go_on(run, events, 1 / len(runs))
            except Exception as error:
                log.exception("UDVD reprocessing, %s", run.entry.title)
                self._fail(run, f"{type(error).__name__}: {error}")
        busy = [run.entry.sources for run in self._runs]
        entry = next((each for each in self.queue.waiting() if each.sources not in busy), None)
        if entry is not None and self._clock() >= self._begin and self.own.room(entry.settings.remote, len(busy)):
            if not self._recording():
                self._start(entry)
        self.own.rest(bool(self._runs))

    def _go_on(self, run: Run, events: typing.Sequence[Event], share: float) -> None:
        """Give a run its share of the time of this turn."""
        key = run.entry.key
        if self._recording() and not run.job.items:
            run.job.stop()
            self._put(self.queue.put(key, State.WAITING, "begins anew after the scan that is recorded"))
            self._let_go(run)
            return
        run.go_on(events, share)
        if run.job.phase is Phase.DONE:
            state, reason = run.outcome()
            if state is State.DONE:
                self.left.difference_update(run.entry.sources)
            self._put(self.queue.put(key, state, reason))
            self._let_go(run)

    def _start(self, entry: Entry) -> None:
        """Begin an entry, or end it at once where that cannot be or nothing is left to do."""
        by_uuid = {str(item.uuid): item for item in self._document_model.data_items}
        try:
            if missing := [key for key in entry.sources if key not in by_uuid]:
                raise InputError(f"{len(missing)} of its raw scans are no longer in this project")
            items = [by_uuid[key] for key in entry.sources]
            spec = specify(items, entry.settings)
            facts = facts_of(items, spec, entry.settings)
            results = self.library.results(entry.sources)
            if done_before(results, spec, entry.settings, facts["made_from"]):
                self._put(self.queue.put(entry.key, State.DONE, "already done"))
                return
            engine = self.own.ready(entry.settings.remote)
            if engine is None:
                return
            earlier = [item for item in results if not item.metadata[OURS].get("kept")]
            replay, model, kinds = Replay(items, entry.title), self._document_model, entry.settings.kinds
            try:
                job = Job(model, replay, spec, engine, self._clock, kinds, previews=False, facts=facts, earlier=earlier)
            except Exception:
                replay.release()
                raise
            self._runs.append(Run(entry, replay, job, self._clock))
            self._put(self.queue.put(entry.key, State.RUNNING))
        except Exception as error:
            known = isinstance(error, UdvdError | OSError)
            log.warning("UDVD cannot reprocess %r", entry.title, exc_info=not known)
            self._put(self.queue.put(entry.key, State.FAILED, str(error) if known else repr(error)))

    def _let_go(self, run: Run) -> None:
        self._runs.remove(run)
        run.end()

    def _fail(self, run: Run, reason: str) -> None:
        """Give up what runs, after an error that nobody expected."""
        self._put(self.queue.put(run.entry.key, State.FAILED, reason))
        self._let_go(run)
        run.job.fail(reason)

    def _item_removed(self, key: str, item: DataItem.DataItem, index: int) -> None:
        try:
            for run in self._runs if key == "data_items" else ():
                run.job.item_removed(item)
        except Exception:
            log.exception("UDVD reprocessing could not follow an event of Swift")

    def _followed(self) -> list[str]:
        """Uuids of scans that are being denoised live."""
        return [str(job.recording.item.uuid) for job in self._live_jobs() if job.phase is not Phase.DONE]

    def _recording(self) -> bool:
        """Whether a live scan needs the machine, followed or not."""
        return bool(self._followed()) or recording_now(self._document_model)

    def _note_followed(self) -> None:
        """Keep on disk which scans are being followed: if Swift dies, they are offered at its next start."""
        followed = tuple(sorted({*self.left, *self._followed()}))
        if followed != self.queue.followed:
            self._put(dataclasses.replace(self.queue, followed=followed))

    def _put(self, queue: Queue) -> None:
        """Have another queue, and keep it."""
        if queue != self.queue:
            self.queue = queue
            self._not_kept = self._file.store(queue)
