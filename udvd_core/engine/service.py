"""Several sessions served in turn, their results as events; the same inline, in a child, on a cluster."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import time
import typing

import numpy
import numpy.typing

from udvd_core.engine.protocol import Block, Event, Failed, Finished, Status
from udvd_core.errors import InputError, UdvdError, WeightsError
from udvd_core.maps.core_loss import EdgeMap, core_loss
from udvd_core.maps.covariance import DenoisedCovariance
from udvd_core.session import Denoised, Session
from udvd_core.settings import ScanSpec

Array = numpy.typing.NDArray[numpy.float32]

STATUS_S = 0.25
CHECKPOINT_S = 5.0

log = logging.getLogger(__name__)


@dataclasses.dataclass
class _Open:
    """One open scan and when it last reported and saved."""

    session: Session
    reported: float = 0.0
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

    @property
    def idle(self) -> bool:
        """Whether `work` has nothing to do until more frames come."""
        return not self._events and all(o.session.resting for o in self._open.values())

    def open(self, spec: ScanSpec, resume: str | None = None) -> None:
        """Start a session; what goes wrong becomes a `Failed` event."""
        try:
            for window in spec.maps:
                EdgeMap(window, spec.energy)
            self._open[spec.scan_id] = _Open(self._session(spec, resume))
        except ModuleNotFoundError as error:
            reason = f"{error.name} is not installed for this engine; install nionswift-udvd[engine] there"
            self._events.append(Failed(spec.scan_id, reason))
        except (UdvdError, MemoryError, OSError) as error:
            self._events.append(Failed(spec.scan_id, str(error) or type(error).__name__))

    def push(self, scan_id: str, start: int, frames: Array) -> None:
        """Give frames to a session; frames of a scan that is not open are ignored."""
        if entry := self._open.get(scan_id):
            try:
                entry.session.push(start, frames)
            except InputError as error:
                self._fail(scan_id, str(error))

    def finish(self, scan_id: str) -> None:
        """No more frames of this scan will come."""
        if entry := self._open.get(scan_id):
            entry.session.finish()

    def abort(self, scan_id: str) -> None:
        """Forget a scan."""
        if entry := self._open.pop(scan_id, None):
            entry.session.close()
        self._events = [event for event in self._events if event.scan_id != scan_id]

    def work(self, budget: float) -> list[Event]:
        """Advance the sessions for about `budget` seconds in all; returns what happened."""
        for scan_id in list(self._open):
            try:
                self._advance(scan_id, budget / len(self._open))
            except Exception as error:  # whatever it is, the other scans go on
                log.exception("scan %s failed", scan_id)
                self._fail(scan_id, f"{type(error).__name__}: {error}")
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """End all sessions."""
        for scan_id in list(self._open):
            self.abort(scan_id)

    def _session(self, spec: ScanSpec, resume: str | None) -> Session:
        """Session from a checkpoint, or from the beginning where that cannot be used."""
        if resume is not None:
            try:
                return Session(spec, resume, self._clock)
            except WeightsError:
                log.exception("scan %s begins anew", spec.scan_id)
        return Session(spec, None, self._clock)

    def _advance(self, scan_id: str, budget: float) -> None:
        entry = self._open[scan_id]
        session = entry.session
        blocks = session.advance(budget)
        self._events += [_block(session, denoised) for denoised in blocks]
        now = self._clock()
        if blocks or now - entry.reported >= STATUS_S:
            entry.reported = now
            self._events.append(_status(session))
        if session.done:
            self._events.append(_finished(session))
            session.close()
            del self._open[scan_id]
        elif self._checkpoints is not None and now - entry.saved >= CHECKPOINT_S and session.received:
            entry.saved = now
            try:
                session.save(str(self._checkpoints / f"{session.spec.file_name}.safetensors"))
            except OSError:
                log.exception("scan %s goes on without a checkpoint", scan_id)

    def _fail(self, scan_id: str, reason: str) -> None:
        self.abort(scan_id)
        self._events.append(Failed(scan_id, reason))


def _block(session: Session, denoised: Denoised) -> Block:
    maps = _maps(session, denoised)
    return Block(session.spec.scan_id, denoised.start, denoised.data, maps, denoised.final, denoised.step)


def _maps(session: Session, denoised: Denoised) -> Array:
    """Denoised maps and their errors, and the same of the recorded counts, shape (maps, 4, n)."""
    spec, doubt = session.spec, session.model.uncertainty
    numbers = denoised.start + numpy.arange(len(denoised.data))
    if not spec.maps:
        return numpy.zeros((0, 4, numbers.size), numpy.float32)
    spectra = denoised.data.sum(1) if spec.training.frames else denoised.data
    errors = None if doubt is None else DenoisedCovariance(doubt, numbers)
    denoised_maps = core_loss(spectra, spec.energy, spec.maps, errors)
    raw_maps = core_loss(session.recorded(numbers), spec.energy, spec.maps, session.model.noise)
    return numpy.stack((*denoised_maps, *raw_maps), axis=1).astype(numpy.float32)


def _status(session: Session) -> Status:
    model = session.model
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
