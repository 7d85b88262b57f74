"""Several sessions served in turn, their results as events; the same inline, in a child, on a cluster."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import time
import typing

import numpy
import numpy.typing

from udvd_core.engine import memory
from udvd_core.engine.protocol import Block, Event, Failed, Finished, Status
from udvd_core.errors import InputError, UdvdError, WeightsError
from udvd_core.framing import Denoised
from udvd_core.maps.core_loss import EdgeMap
from udvd_core.maps.covariance import DenoisedCovariance
from udvd_core.maps.live import live_maps
from udvd_core.monitor import Monitor, Trust
from udvd_core.session import Session
from udvd_core.settings import ScanSpec

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]

STATUS_S = 0.25
JUDGE_S = 1.0
CHECKPOINT_S = 5.0
SUFFIX = ".safetensors"

log = logging.getLogger(__name__)


@dataclasses.dataclass
class _Open:
    """One open scan and when it last reported and saved."""

    session: Session
    monitor: Monitor
    trust: Trust = Trust()
    reported: float = 0.0
    judged: float = 0.0
    saved: float = 0.0


class Service:
    """Owns the sessions of all open scans; single thread.

    Parameters
    ----------
    checkpoints : path or None
        Folder for checkpoints, ``<file_name>.safetensors``.
    clock : callable
        Seconds; for tests.
    """

    def __init__(
        self, checkpoints: pathlib.Path | None = None, clock: typing.Callable[[], float] = time.monotonic
    ) -> None:
        self._checkpoints = checkpoints
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._events: list[Event] = []
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether `work` has nothing to do until more frames come."""
        return not self._events and not self._closed and all(o.session.resting for o in self._open.values())

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for a result."""
        return any(entry.session.finishing for entry in self._open.values())

    def open(self, spec: ScanSpec, resume: str | None = None) -> None:
        """Start a session; what goes wrong becomes a `Failed` event."""
        try:
            for window in spec.maps:
                EdgeMap(window, spec.energy)
            self._open[spec.scan_id] = _Open(self._session(spec, resume), Monitor(spec))
        except ModuleNotFoundError as error:
            reason = f"{error.name} is not installed for this engine; install nionswift-udvd[engine] there"
            self._events.append(Failed(spec.scan_id, reason))
        except (UdvdError, MemoryError, OSError) as error:
            self._events.append(Failed(spec.scan_id, str(error) or type(error).__name__))

    @property
    def state(self) -> str:
        """Nothing that the host would have to tell."""
        return ""

    @property
    def workers(self) -> int:
        """This thread."""
        return 1

    def push(self, scan_id: str, start: int, frames: Array) -> bool:
        """Give frames to a session, which always has room; frames of a scan that is not open are ignored."""
        if entry := self._open.get(scan_id):
            try:
                entry.session.push(start, frames)
            except InputError as error:
                self._fail(scan_id, str(error))
        return True

    def again(self, scan_id: str) -> None:
        """Nothing is out of date: what died with an earlier child never comes here."""

    def pause(self, scan_id: str, paused: bool) -> None:
        """Learn no further, or go on."""
        if entry := self._open.get(scan_id):
            entry.session.paused = paused

    def finish(self, scan_id: str, now: bool = False) -> None:
        """No more frames of this scan will come."""
        if entry := self._open.get(scan_id):
            entry.session.finish(now)

    def abort(self, scan_id: str) -> None:
        """Forget a scan."""
        if entry := self._open.pop(scan_id, None):
            entry.session.close()
            self._closed = True
        self._events = [event for event in self._events if event.scan_id != scan_id]

    def work(self, budget: float) -> list[Event]:
        """Advance the sessions for about `budget` seconds in all; returns what happened."""
        for scan_id in list(self._open):
            try:
                self._advance(scan_id, budget / len(self._open))
            except Exception as error:  # whatever it is, the other scans go on
                log.exception("scan %s failed", scan_id)
                self._fail(scan_id, f"{type(error).__name__}: {error}")
        if self._closed:
            self._closed = False
            memory.give_back()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """End all sessions."""
        for scan_id in list(self._open):
            self.abort(scan_id)
        self._closed = False

    def _session(self, spec: ScanSpec, resume: str | None) -> Session:
        """Session from a checkpoint, from the one before where that cannot be used, or from the beginning."""
        for path in () if resume is None else (resume, resume.removesuffix(SUFFIX) + ".previous" + SUFFIX):
            try:
                return Session(spec, path, self._clock)
            except WeightsError as error:
                log.warning("scan %s cannot go on from a checkpoint: %s", spec.scan_id, error)
        return Session(spec, None, self._clock)

    def _advance(self, scan_id: str, budget: float) -> None:
        entry = self._open[scan_id]
        session = entry.session
        blocks = session.advance(budget)
        self._events += [_block(entry, denoised) for denoised in blocks]
        now = self._clock()
        if now >= entry.judged or session.done:
            self._judge(entry)
        if blocks or now - entry.reported >= STATUS_S or session.done:
            entry.reported = now
            self._events.append(_status(entry))
        if session.done:
            self._events.append(_finished(session))
            session.close()
            del self._open[scan_id]
            self._closed = True
        elif self._checkpoints is not None and now - entry.saved >= CHECKPOINT_S and session.received:
            entry.saved = now
            try:
                session.save(str(self._checkpoints / f"{session.spec.file_name}.safetensors"))
            except OSError:
                log.exception("scan %s goes on without a checkpoint", scan_id)

    def _judge(self, entry: _Open) -> None:
        """Say how far the result is to be trusted; at most a tenth of the time goes into it."""
        begin, model = self._clock(), entry.session.model
        sigma = None if model.uncertainty is None else model.uncertainty.sigma
        entry.trust = entry.monitor.trust(model.noise, sigma, model.heldout)
        now = self._clock()
        entry.judged = now + max(JUDGE_S, 10.0 * (now - begin))

    def _fail(self, scan_id: str, reason: str) -> None:
        self.abort(scan_id)
        self._events.append(Failed(scan_id, reason))


def _block(entry: _Open, denoised: Denoised) -> Block:
    session = entry.session
    numbers = denoised.start + numpy.arange(len(denoised.data))
    spectra = denoised.data.sum(1) if session.spec.training.frames else denoised.data
    recorded = session.recorded(numbers)
    entry.monitor.saw(numbers, recorded, spectra)
    maps = _maps(session, numbers, spectra, recorded)
    return Block(session.spec.scan_id, denoised.start, denoised.data, maps, denoised.final, denoised.step)


def _maps(session: Session, numbers: Index, spectra: Array, recorded: Array) -> Array:
    """Denoised maps and their errors, and the same of the recorded counts, shape (maps, 4, n)."""
    spec, doubt = session.spec, session.model.uncertainty
    if not spec.maps:
        return numpy.zeros((0, 4, numbers.size), numpy.float32)
    errors = None if doubt is None else DenoisedCovariance(doubt, numbers)
    return live_maps(spectra, recorded, spec.energy, spec.maps, errors, session.model.noise).astype(numpy.float32)


def _status(entry: _Open) -> Status:
    session, model = entry.session, entry.session.model
    return Status(
        session.spec.scan_id,
        session.received,
        session.denoised,
        session.final,
        model.steps,
        model.learned,
        model.device,
        model.name,
        session.note,
        model.hidden,
        entry.trust,
    )


def _finished(session: Session) -> Finished:
    received, final = session.received, session.final
    provenance = session.provenance()
    notes = [session.note] if session.note else []
    budget = session.spec.training.budget_s
    if final and not provenance.get("learned", True):
        notes.insert(0, f"nothing was learned in {budget:g} s: every frame is the mean of the scan; give it more time")
    if final < received:
        notes.insert(0, f"the time budget of {budget:g} s was used up: {final} of {received} frames are final")
    doubt = session.model.uncertainty
    packed = None if doubt is None else doubt.packed()
    return Finished(session.spec.scan_id, received, final, session.model.steps, provenance, "; ".join(notes), packed)
