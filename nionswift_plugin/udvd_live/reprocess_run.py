"""One entry of the queue while it is worked on."""

from __future__ import annotations

import typing

from nion.swift.model import Activity

from udvd_core.engine.farm import RETRIES
from udvd_core.engine.protocol import Event, Resend

from .job import Job, Phase
from .queue_file import Entry, State
from .recording import State as Ending
from .replay import Replay

READ_S = 0.015
"""Reading from raw items at each turn, on the main thread, of all runs together."""


class Reprocessing(Activity.Activity):
    """The line in Swift's Activity panel."""

    def __init__(self, title: str) -> None:
        super().__init__("udvd-reprocessing", title)
        self._text = title

    @property
    def displayed_title(self) -> str:
        """What the panel shows."""
        return self._text

    def show(self, text: str) -> None:
        """Show another text."""
        if text != self._text:
            self._text = text
            self.notify_property_changed("displayed_title")


class Run:
    """Reads one scan, or several passes as one, through a job, and says how far it is. Main thread only.

    Parameters
    ----------
    entry : Entry
        Of the queue.
    replay : Replay
        Its raw items.
    job : Job
        Takes the replay into the library.
    clock : callable
        Seconds.
    """

    def __init__(self, entry: Entry, replay: Replay, job: Job, clock: typing.Callable[[], float]) -> None:
        self.entry = entry
        self.job = job
        self._replay = replay
        self._clock = clock
        self._started = clock()
        self._lost = 0
        self._activity = Reprocessing(f"UDVD {entry.title}")
        Activity.append_activity(self._activity)

    def go_on(self, events: typing.Iterable[Event], share: float) -> None:
        """Act on what the engine says and give it more of the scan, with a share of the time to read and write."""
        job = self.job
        for event in events:
            if event.scan_id == job.spec.scan_id:
                job.take(event)
                self._lost += isinstance(event, Resend)
        if self._lost > RETRIES:  # it may be what ends the engine, and others wait
            job.fail(f"begun {1 + RETRIES} times and lost again: {job.note}")
        if job.phase is not Phase.DONE and not self._replay.state.ended:
            self._read(share * READ_S)
        job.tick(share)
        self._activity.show(f"UDVD {self.entry.title}: {self.step()}")

    def end(self) -> None:
        """Leave Swift's Activity panel."""
        Activity.activity_finished(self._activity)

    def outcome(self) -> tuple[State, str]:
        """How it ended, and why."""
        finished = self.job.finished
        if finished is None:
            return State.FAILED, self.job.note or "its results were deleted"
        return State.DONE if finished.final == finished.received else State.FAILED, finished.note

    def step(self) -> str:
        """What it is doing, in plain words."""
        status, timeline = self.job.status, self.job.timeline
        if status is None:
            return "starting the engine"
        if timeline.scan_ended is None:
            return f"reading, {100 * self._replay.share:.0f} %"
        if status.final:
            return f"final pass, {100 * status.final / max(status.received, 1):.0f} %"
        return "learning"

    def left_s(self) -> float:
        """Seconds until it is done, at most."""
        budget, ended = self.job.spec.training.budget_s, self.job.timeline.scan_ended
        if ended is not None:
            return max(budget - (self._clock() - ended), 0.0)
        share, passed = self._replay.share, self._clock() - self._started
        return budget + (passed * (1 - share) / share if share else 0.0)

    def percent(self) -> int:
        """How much of its time has passed."""
        passed = self._clock() - self._started
        return min(99, int(100 * passed / max(passed + self.left_s(), 1e-3)))

    def _read(self, seconds: float) -> None:
        job, replay = self.job, self._replay
        if replay.gone:
            job.fail("its raw scan was deleted")
            return
        end = self._clock() + seconds
        replay.play(lambda: self._clock() >= end)
        if replay.share >= 1 and not replay.coverage.received:
            job.fail("it holds no counts")
        elif replay.share >= 1:
            replay.end(Ending.ABORTED)  # which is FINISHED where all frames came
            job.recording_ended()
