"""The seam between whoever has frames and whatever denoises them.

One main path: ``open`` a scan, ``push`` its frames as they come, ``poll`` for what was
denoised, ``finish`` when no more will come, ``poll`` until `Finished`. Every method returns
at once; none may delay the scan.
"""

from __future__ import annotations

import dataclasses
import typing

import numpy
import numpy.typing

from udvd_core.errors import EngineError
from udvd_core.monitor import Trust
from udvd_core.settings import ScanSpec

Array = numpy.typing.NDArray[numpy.float32]


@dataclasses.dataclass(frozen=True)
class Block:
    """Denoised frames `start` to ``start + len(data)`` in scan order.

    Attributes
    ----------
    data : array, shape (n, E) or (n, q, E), float32, in the units of the input (counts)
        Spectra, or frames where the scan asked for frames.
    maps : array, shape (maps, 4, n), float32
        The maps of `ScanSpec.maps` at these positions and their standard errors, then the same of the recorded
        counts; in counts. Errors are NaN where the model cannot tell them.
    final : bool
        Whether these frames will not be sent again.
    step : int
        Training steps behind these frames.
    """

    scan_id: str
    start: int
    data: Array
    maps: Array
    final: bool
    step: int


@dataclasses.dataclass(frozen=True)
class Status:
    """How far the engine is with one scan; sent a few times a second. `learned`, `hidden`, `note` are for the user."""

    scan_id: str
    received: int
    denoised: int
    final: int
    step: int
    learned: str
    device: str
    model: str
    note: str = ""
    hidden: str = ""
    trust: Trust = Trust()


@dataclasses.dataclass(frozen=True)
class Finished:
    """No more blocks follow. `final` of `received` frames were denoised with the last weights.

    `uncertainty` is a packed `udvd_core.lowrank.uncertainty.Uncertainty`, None where the model has none.
    """

    scan_id: str
    received: int
    final: int
    step: int
    provenance: dict[str, typing.Any]
    note: str = ""
    uncertainty: Array | None = None


@dataclasses.dataclass(frozen=True)
class Resend:
    """The engine lost every frame of this scan (it was restarted): push them all again."""

    scan_id: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Failed:
    """This scan cannot be denoised; `reason` is a sentence for the user."""

    scan_id: str
    reason: str


Event = Block | Status | Finished | Resend | Failed


class Engine(typing.Protocol):
    """What the plug-in and the command line need of an engine. Several scans may be open at once."""

    def open(self, spec: ScanSpec) -> None:
        """Announce a scan before its first frame."""
        ...

    def push(self, scan_id: str, start: int, frames: Array) -> bool:
        """Hand over frames `start` and following, shape (n, q, E), counts; thread-safe.

        Frames of a scan that has ended are ignored, whatever comes back.

        Returns
        -------
        bool
            False when there was no room: nothing was taken, push the same frames again later.

        Raises
        ------
        EngineError
            When the scan was never opened.
        """
        ...

    def pause(self, scan_id: str, paused: bool) -> None:
        """Learn no further, or go on; frames that come are denoised all the same."""
        ...

    def finish(self, scan_id: str, now: bool = False) -> None:
        """No more frames will come, complete or not: make what there is final within the budget.

        `now` makes it final with what was learned so far.
        """
        ...

    def abort(self, scan_id: str) -> None:
        """Forget this scan now; no further events of it."""
        ...

    def poll(self) -> list[Event]:
        """Everything that happened since the last call, oldest first."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can take scans; False when it has given up for good."""
        ...

    @property
    def workers(self) -> int:
        """How many scans it denoises side by side; more of them share a worker, and are slower."""
        ...

    def describe(self) -> str:
        """One line for the user: where this engine runs and how it is."""
        ...

    def close(self) -> None:
        """End the engine and free all it holds."""
        ...


def thinned(events: typing.Iterable[Event]) -> list[Event]:
    """What must not be lost of events that nobody fetches: previews come again, the rest does not."""
    kept = (event for event in events if not isinstance(event, Status))
    return [event for event in kept if not isinstance(event, Block) or event.final]


def size(event: Event) -> int:
    """Bytes of results in it."""
    return event.data.nbytes + event.maps.nbytes if isinstance(event, Block) else 0


def require(scan_ids: typing.Container[str], scan_id: str) -> None:
    """Refuse to work on a scan that was never opened.

    Raises
    ------
    EngineError
        When `scan_id` is unknown.
    """
    if scan_id not in scan_ids:
        raise EngineError(f"scan {scan_id!r} is not open; open it before its first frame")
