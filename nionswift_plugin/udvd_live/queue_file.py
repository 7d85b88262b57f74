"""What is to be reprocessed, as a value, and its file in the project's folder: it survives the end of Swift.

`Lab.nsproj` has `Lab UDVD/queue.json`. A project without a file keeps its queue in memory.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import os
import pathlib
import typing

from udvd_core.errors import SettingsError
from udvd_core.files.atomic import replacing
from udvd_core.settings import MapWindow, Training

log = logging.getLogger(__name__)

FILE = "queue.json"
KEPT = 50
"""Entries that are over and still shown; older ones leave the queue."""


class State(enum.Enum):
    """Where an entry is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OVER = (State.DONE, State.FAILED, State.CANCELLED)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a scan is reprocessed.

    Attributes
    ----------
    training : Training
        Model, time budget and all else.
    maps : tuple of MapWindow
        Maps to make, windows in eV; those outside the scan's energies are left out.
    kinds : tuple of str
        What is kept of each map, names of `writer.MAP_ROWS`.
    remote : bool
        On the GPU machine that the preferences name when the scan begins; else on this computer.
    """

    training: Training = Training()
    maps: tuple[MapWindow, ...] = ()
    kinds: tuple[str, ...] = ("value",)
    remote: bool = False

    @staticmethod
    def from_dict(values: typing.Mapping[str, typing.Any]) -> Settings:
        """Rebuild settings from what `dataclasses.asdict` and JSON made of them."""
        training = dict(values["training"])
        if training.get("hidden") is not None:
            training["hidden"] = tuple(training["hidden"])
        maps = tuple(MapWindow(**window) for window in values["maps"])
        remote = bool(values.get("remote", False))
        return Settings(Training(**training), maps, tuple(map(str, values["kinds"])), remote)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One scan, or several passes of one area that are summed, to be reprocessed.

    Attributes
    ----------
    key : str
        Unique name.
    sources : tuple of str
        Uuids of the raw items.
    title : str
        What the operator knows it by.
    state, reason : State, str
        Where it is, and a sentence why.
    """

    key: str
    sources: tuple[str, ...]
    title: str
    settings: Settings
    state: State = State.WAITING
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Queue:
    """Entries in the order in which they run, then those that are over, and scans that are being followed live.

    `followed` holds the uuids of raw items whose live denoising has begun and not ended: what Swift leaves in
    it when it dies was interrupted.
    """

    entries: tuple[Entry, ...] = ()
    followed: tuple[str, ...] = ()

    def find(self, key: str) -> Entry | None:
        """The entry of this name, if there is one."""
        return next((entry for entry in self.entries if entry.key == key), None)

    def waiting(self) -> list[Entry]:
        """What waits, the next one first."""
        return [entry for entry in self.entries if entry.state is State.WAITING]

    def add(self, entry: Entry) -> Queue:
        """With one more entry, the last to run; the oldest of too many that are over leave."""
        active = [each for each in self.entries if each.state not in OVER]
        over = [each for each in self.entries if each.state in OVER]
        return self._with([*active, entry, *over[:KEPT]])

    def put(self, key: str, state: State, reason: str = "") -> Queue:
        """With another state of one entry; one that is over comes first of these, one that waits again runs last."""
        return self._with(
            dataclasses.replace(each, state=state, reason=reason) if each.key == key else each for each in self.entries
        )

    def remove(self, key: str) -> Queue:
        """Without an entry."""
        return dataclasses.replace(self, entries=tuple(each for each in self.entries if each.key != key))

    def move(self, keys: typing.Collection[str], step: int) -> Queue:
        """With some entries one place further up (-1) or down (+1), as a block that stops at the ends."""
        entries = list(self.entries)
        places = [place for place, entry in enumerate(entries) if entry.key in keys]
        for place in places if step < 0 else reversed(places):
            other = place + step
            if 0 <= other < len(entries) and entries[other].key not in keys:
                entries[place], entries[other] = entries[other], entries[place]
        return self._with(entries)

    def _with(self, entries: typing.Iterable[Entry]) -> Queue:
        """With other entries, those that are over behind the rest."""
        return dataclasses.replace(self, entries=tuple(sorted(entries, key=lambda entry: entry.state in OVER)))

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1, default=lambda state: state.value)

    @staticmethod
    def from_json(text: str) -> Queue:
        """Read a queue; an entry that was running waits again.

        Raises
        ------
        SettingsError
            When the text is no queue.
        """
        try:
            values = json.loads(text)
            entries = []
            for each in values["entries"]:
                state = State(each["state"])
                state = State.WAITING if state is State.RUNNING else state
                settings = Settings.from_dict(each["settings"])
                sources = tuple(map(str, each["sources"]))
                if not sources:
                    raise SettingsError(f"entry {each['title']!r} names no scan")
                entries.append(Entry(each["key"], sources, str(each["title"]), settings, state, str(each["reason"])))
            return Queue(tuple(entries), tuple(map(str, values["followed"])))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SettingsError(f"{type(error).__name__}: {error}") from None


def project_folder(document_model: typing.Any) -> pathlib.Path | None:
    """Folder for what belongs to a project and is no data item; None for a project without a file."""
    project = pathlib.Path(document_model._project.storage_location_str)
    return project.with_name(f"{project.stem} UDVD") if project.is_file() else None


class QueueFile:
    """The queue of one project on disk.

    Parameters
    ----------
    folder : path or None
        The project's folder; None keeps nothing.
    """

    def __init__(self, folder: pathlib.Path | None) -> None:
        self._path = None if folder is None else folder / FILE

    def load(self) -> tuple[Queue, str]:
        """The queue, and a sentence for the operator where it could not be read."""
        if self._path is None:
            return Queue(), ""
        try:
            return Queue.from_json(self._path.read_text(encoding="utf-8")), ""
        except FileNotFoundError:
            return Queue(), ""
        except (SettingsError, UnicodeDecodeError) as error:
            return Queue(), self._set_aside(self._path, error)
        except OSError as error:
            path, self._path = self._path, None  # it may be whole: leave it alone
            return Queue(), f"The queue {path} cannot be read ({error}); it starts empty and is not kept."

    def store(self, queue: Queue) -> str:
        """Write the queue, all or nothing; returns a sentence where that failed."""
        if self._path is None:
            return ""
        try:
            self._path.parent.mkdir(exist_ok=True)
            with replacing(self._path) as temporary:
                temporary.write_text(queue.to_json(), encoding="utf-8")
            return ""
        except OSError as error:
            log.warning("UDVD cannot store its queue: %s", error)
            return f"The queue cannot be kept in {self._path} ({error}); it is lost when Swift ends."

    def _set_aside(self, path: pathlib.Path, error: Exception) -> str:
        """Rename a damaged file, so that nothing in it is lost."""
        number = 1
        while (aside := path.with_name(f"{path.stem}.damaged{number}{path.suffix}")).exists():
            number += 1
        try:
            os.replace(path, aside)
        except OSError:
            self._path = None
            return f"The queue {path} is damaged ({error}) and cannot be set aside; it starts empty and is not kept."
        log.warning("UDVD set its damaged queue aside as %s: %s", aside, error)
        return f"The queue was damaged and starts empty; what there was is kept as {aside.name}. Add the scans again."
