"""The companion of one open project: a follower, an engine, and a job for each scan.

It lives as long as the document model. Swift's windows only give it time: each calls `tick` a few
times a second on the main thread.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import time
import typing
import weakref

from nion.data import DataAndMetadata
from nion.swift.model import DataItem

from udvd_core.engine.local import LocalEngine
from udvd_core.engine.protocol import Engine
from udvd_core.errors import SettingsError, UdvdError
from udvd_core.settings import Training

from . import preferences, scan_item
from .follower import Follower
from .job import Job, Phase
from .long_turns import LongTurns
from .overlooked import run_overlooked
from .preferences import Preferences
from .recording import Recording
from .reprocess import Reprocessor

log = logging.getLogger(__name__)

KEPT_JOBS = 20

EngineFactory = typing.Callable[[Preferences], Engine]


def local_engine(chosen: Preferences) -> Engine:
    """The engine in a child process, with the interpreter of the settings; on the GPU machine that they name."""
    if chosen.engine is None:
        return LocalEngine(chosen.python)
    if chosen.certificates is None:
        raise SettingsError(f"no certificates for {chosen.engine}; name their folder in the preferences")
    return LocalEngine(chosen.python, cluster=(chosen.engine, chosen.certificates))


class Companion:
    """Follows, denoises and writes for one document model.

    Parameters
    ----------
    document_model : DocumentModel
        Swift's.
    settings : path
        File with the preferences.
    make_engine : callable
        Makes the engine; it runs from then on, so that it is warm before the first scan.
    clock : callable
        Seconds.
    exact : bool
        Whether to use the exact tap where Swift has one.
    """

    def __init__(
        self,
        document_model: typing.Any,
        settings: pathlib.Path,
        make_engine: EngineFactory = local_engine,
        clock: typing.Callable[[], float] = time.monotonic,
        exact: bool = True,
    ) -> None:
        self.preferences = preferences.load(settings)
        self.jobs: list[Job] = []
        self.ignored = ""
        """The last live item that was not followed since the last scan, and why."""
        self.trouble = ""
        """Why there is no engine; empty while there is one."""
        self._settings = settings
        self._document_model = document_model
        self._make_engine = make_engine
        self._clock = clock
        self._engine: Engine | None = None
        self._closed = self._outdated = False
        self._turns = LongTurns()
        self._follower = Follower(document_model, self, exact)
        self.reprocessor = Reprocessor(document_model, lambda: self.jobs, self._reprocessing_engine, clock)
        self._closing_listener = document_model.about_to_close_event.listen(self.close)
        if self.preferences.follow:
            self._start_engine()

    @property
    def current(self) -> Job | None:
        """The newest job, None before the first scan."""
        return self.jobs[-1] if self.jobs else None

    @property
    def engine(self) -> Engine | None:
        """The engine, None while there is none."""
        return self._engine

    def follow(self, wanted: bool) -> None:
        """Switch following on or off, from the next scan on; remembered."""
        if wanted != self.preferences.follow:
            self.choose(follow=wanted)
        if wanted:
            self._start_engine()

    def apply(self, chosen: Preferences) -> None:
        """Take over settings that were stored already; another engine as soon as no scan needs this one."""
        before, self.preferences = self.preferences, chosen
        if _engine_of(before) != _engine_of(chosen):
            self._outdated = True
            self.reprocessor.own.renew()
        self.follow(chosen.follow)

    def discard(self) -> None:
        """Delete the results of the newest scan; the raw scan stays."""
        if self.current is not None:
            self.current.stop()
            for item in self.current.items:
                self._document_model.remove_data_item(item)

    def choose(self, **changes: typing.Any) -> None:
        """Change settings, from the next scan on; remembered."""
        self.preferences = dataclasses.replace(self.preferences, **changes)
        preferences.store(self._settings, self.preferences)

    def stop(self) -> None:
        """Stop denoising what is being denoised; its results stay as they are."""
        for job in self.jobs:
            job.stop()

    def tick(self) -> None:
        """Work off what happened. On the main thread, a few times a second."""
        if self._closed:
            return
        self._follower.tick()
        self._advance()
        self._turns.hold(not self._closed and any(job.phase is not Phase.DONE for job in self.jobs))
        self._replace_engine()
        self.reprocessor.tick()
        run_overlooked(self._document_model)
        ended = [job for job in self.jobs if job.phase is Phase.DONE]
        for job in ended[:-KEPT_JOBS]:
            self.jobs.remove(job)

    def close(self) -> None:
        """Leave results as they are, written with their metadata, and end the engine."""
        if self._closed:
            return
        self._closed = True
        self._turns.hold(False)
        try:
            for job in self.jobs:
                try:
                    job.stop("interrupted")
                except Exception:
                    log.exception("UDVD could not mark the results of %r", job.recording.title)
            self._follower.close()
            self.reprocessor.close()
        finally:
            self._closing_listener = None
            _companions.pop(self._document_model, None)
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    # what the follower asks and tells

    def wants(self) -> bool:
        """Whether scans are to be followed now."""
        return self.preferences.follow and self._engine is not None

    def cameras(self) -> typing.Container[str]:
        """Hardware source ids that count as EELS cameras."""
        return self.preferences.cameras

    def recording_started(self, recording: Recording) -> None:
        """Begin a job."""
        if self._engine is not None and not self._engine.alive:
            self._advance()  # its last words
            self._engine.close()
            self._engine = None
            self._start_engine()
        if recording.metadata is None or self._engine is None:
            self.item_ignored(recording.title, self.trouble)
            recording.release()
            return
        try:
            self.jobs.append(self._job(recording, recording.metadata, self._engine))
            self.ignored = ""
        except Exception as error:
            log.exception("UDVD, %s", recording.title)
            self.item_ignored(recording.title, str(error))
            recording.release()

    def recording_ended(self, recording: Recording) -> None:
        """Tell its job."""
        for job in self.jobs:
            if job.recording is recording:
                job.recording_ended()

    def item_ignored(self, title: str, reason: str) -> None:
        """Remember why a live item is not followed."""
        self.ignored = f"{title}: {reason}"

    def item_removed(self, item: DataItem.DataItem) -> None:
        """Tell the jobs that an item was deleted."""
        for job in self.jobs:
            job.item_removed(item)

    def _job(self, recording: Recording, metadata: DataAndMetadata.DataMetadata, engine: Engine) -> Job:
        training = self.preferences.training
        training = dataclasses.replace(training, budget_s=_engine_budget(training))
        spec, left_out = scan_item.specify(
            recording.scan_id, recording.layout, metadata, self.preferences.maps, training
        )
        for reason in left_out:
            log.info("UDVD, %s: %s", recording.title, reason)
        kinds = ["value"] + ["sigma"] * self.preferences.map_sigmas + ["raw"] * self.preferences.raw_maps
        return Job(self._document_model, recording, spec, engine, self._clock, kinds)

    def _advance(self) -> None:
        """Hand out what the engine says and give time to all jobs; an error ends one job, not the others."""
        events = self._engine.poll() if self._engine is not None else []
        for job in self.jobs:
            try:
                for event in events:
                    if event.scan_id == job.spec.scan_id:
                        job.take(event)
                job.tick()
            except Exception as error:
                log.exception("UDVD, %s", job.recording.title)
                job.fail(f"{type(error).__name__}: {error}")

    def _replace_engine(self) -> None:
        """Start the engine that the settings ask for, where they changed and nothing is under way."""
        if self._outdated and all(job.phase is Phase.DONE for job in self.jobs):
            self._outdated = False
            if self._engine is not None:
                self._engine.close()
                self._engine = None
            if self.preferences.follow:
                self._start_engine()

    def _reprocessing_engine(self, remote: bool) -> Engine:
        """An engine on the GPU machine of the preferences, or on this computer.

        Raises
        ------
        SettingsError
            When they name none.
        """
        if remote and self.preferences.engine is None:
            raise SettingsError("the preferences name no GPU machine; name one, or add the scans for this computer")
        chosen = self.preferences if remote else dataclasses.replace(self.preferences, engine=None)
        return self._make_engine(chosen)

    def _start_engine(self) -> None:
        if self._engine is None and not self._closed:
            try:
                self._engine = self._make_engine(self.preferences)
                self.trouble = ""
            except (UdvdError, OSError) as error:
                self.trouble = str(error)
                log.warning("UDVD does not follow scans: %s", error)


def _engine_of(chosen: Preferences) -> tuple[str | None, ...]:
    """The settings that an engine is made with."""
    return chosen.python, chosen.engine, chosen.certificates


def _engine_budget(training: Training) -> float:
    """Part of the operator's time budget for the engine; the rest is for the way to it and back."""
    return max(training.budget_s - 1.0, 0.5 * training.budget_s)


_companions: weakref.WeakKeyDictionary[typing.Any, Companion] = weakref.WeakKeyDictionary()


def choose_for_all(path: pathlib.Path, chosen: Preferences) -> None:
    """Store preferences, and tell the companions of all open projects."""
    preferences.store(path, chosen)
    for companion in list(_companions.values()):
        companion.apply(chosen)


def companion_of(document_model: typing.Any, configuration_folder: str = "") -> Companion:
    """Return the one companion of a document model; made when first asked for."""
    found = _companions.get(document_model)
    if found is None:
        found = _companions[document_model] = Companion(document_model, preferences.path_in(configuration_folder))
    return found
