"""The spectrum images of a project: what they are, what was made of them, and which were left half done."""

from __future__ import annotations

import dataclasses
import datetime
import math
import time
import typing
import weakref

from nion.swift.model import DataItem

from .follower import TEMPORARY
from .scan_item import OURS, energy_axis, layout_of, not_eels

INTERRUPTED = ("preliminary", "interrupted")
"""States of results in which nothing is denoising them any more only after Swift has died or was closed."""


WHOLE = ("final", "aborted")
"""States of results that are as good as they get: of a whole scan, and of what there is of one that was aborted."""


@dataclasses.dataclass(frozen=True)
class LibraryScan:
    """One raw spectrum image.

    Attributes
    ----------
    uuid : str
        Of its data item.
    number : int or None
        Swift's number of the acquisition in the project.
    title : str
        Of its data item.
    form : str
        Shape, dwell time, and whether it is a part of a larger scan.
    made : str
        What it was processed with, and when; empty if it was not.
    interrupted : bool
        Whether live denoising was cut off.
    """

    uuid: str
    number: int | None
    title: str
    form: str
    made: str
    interrupted: bool

    def matches(self, text: str) -> bool:
        """Whether all words of a text are found in its title, number, model or state, in any case."""
        model = self.made.split(",")[0] or "not processed"
        known = f"{self.number} {self.title} {model} {'interrupted' * self.interrupted}".lower()
        return all(word in known for word in text.lower().split())


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What is known of one data item: what `writer` said of it, and how a list shows it if it is a raw scan."""

    key: typing.Any
    ours: dict[str, typing.Any] | None
    scan: LibraryScan | None


class Library:
    """The spectrum images of one project and their results. Main thread only.

    Swift copies all metadata of an item whenever they are asked for: they are read once, and again only for items
    that have changed since.

    Parameters
    ----------
    document_model : DocumentModel
        Swift's.
    """

    def __init__(self, document_model: typing.Any) -> None:
        self._document_model = document_model
        self._facts: weakref.WeakKeyDictionary[DataItem.DataItem, _Facts] = weakref.WeakKeyDictionary()
        self.complete = False
        """Whether the last `scans` had the time to read all items."""

    def scans(
        self,
        cameras: typing.Sequence[str] = (),
        left: typing.Container[str] = (),
        busy: typing.Container[str] = (),
        most_s: float = math.inf,
    ) -> list[LibraryScan]:
        """The raw spectrum images, newest first.

        Parameters
        ----------
        cameras : sequence of str
            Hardware source ids that count as EELS cameras.
        left : container of str
            Uuids of scans that were being followed when Swift ended.
        busy : container of str
            Uuids of scans that are being denoised now.
        most_s : float
            Seconds to spend on reading; what is not read yet is not listed yet, ask again.
        """
        end = time.monotonic() + most_s
        found: list[LibraryScan] = []
        results: dict[str, list[tuple[datetime.datetime, dict[str, typing.Any]]]] = {}
        self.complete = True
        for item in self._document_model.data_items:
            if self._outdated(item, cameras) and time.monotonic() > end:
                self.complete = False
                continue
            facts = self._of(item, cameras)
            if facts.ours is not None and facts.ours.get("kind") == "denoised":
                for source in _sources(facts.ours):
                    results.setdefault(source, []).append((item.modified, facts.ours))
            if facts.scan is not None and not item.is_live:
                found.append(facts.scan)
        return [_with_results(scan, results.get(scan.uuid, []), left, busy) for scan in reversed(found)]

    def results(self, sources: typing.Sequence[str]) -> list[DataItem.DataItem]:
        """Items that were made of just these raw items, newest first; a copy or snapshot of one is the operator's."""
        found = []
        for item in reversed(self._document_model.data_items):
            ours = self._of(item, None).ours
            if ours is not None and ours.get("item_uuid") == str(item.uuid) and _sources(ours) == list(sources):
                found.append(item)
        return found

    def _outdated(self, item: DataItem.DataItem, cameras: typing.Sequence[str] | None) -> bool:
        facts = self._facts.get(item)
        return facts is None or facts.key[0] != item.modified or cameras not in (None, facts.key[1])

    def _of(self, item: DataItem.DataItem, cameras: typing.Sequence[str] | None) -> _Facts:
        if self._outdated(item, cameras):
            metadata = item.metadata
            ours = metadata.get(OURS)
            written = dict(ours) if isinstance(ours, dict) and "state" in ours else None
            scan = _listed(item, metadata) if is_scan(item, cameras or ()) else None
            self._facts[item] = _Facts((item.modified, cameras), written, scan)
        return self._facts[item]


def is_scan(item: DataItem.DataItem, cameras: typing.Container[str] = ()) -> bool:
    """Whether an item is a raw spectrum image: with energies, and not made by this plug-in."""
    ours = item.metadata.get(OURS)
    if item.category == TEMPORARY or (isinstance(ours, dict) and "simulated" not in ours):
        return False
    layout, metadata = layout_of(item.data_shape, item.data_descriptor), item.data_metadata
    if isinstance(layout, str) or metadata is None:
        return False
    return energy_axis(layout, metadata).units == "eV" or not not_eels(item.metadata, cameras)


def recording_now(document_model: typing.Any) -> bool:
    """Whether Swift is recording a spectrum image, followed or not."""
    return any(
        item.is_live
        and OURS not in item.metadata
        and item.category != TEMPORARY
        and not isinstance(layout_of(item.data_shape, item.data_descriptor), str)
        and document_model.get_data_item_computation(item) is None
        for item in document_model.data_items
    )


def _sources(ours: typing.Mapping[str, typing.Any]) -> list[str]:
    """Uuids of the raw items that a result was made of."""
    return [str(each) for each in ours.get("source_uuids") or [ours.get("source_uuid")]]


def _listed(item: DataItem.DataItem, metadata: typing.Mapping[str, typing.Any]) -> LibraryScan:
    """A raw scan as the list shows it, as far as the scan itself tells: ``32 x 32 x 1028, 50 ms``."""
    parts = [" x ".join(map(str, item.data_shape or ()))]
    exposure = metadata.get("hardware_source", {}).get("exposure")
    if isinstance(exposure, float | int) and exposure > 0:
        parts.append(f"{1000 * exposure:.4g} ms")
    part = metadata.get("scan", {}).get("subscan_fractional_size")
    if part and len(part) == 2:
        parts.append(f"sub-scan, {100 * part[0]:.0f} % x {100 * part[1]:.0f} % of its parent")
    number = item.session_metadata.get("project_acquisition_index")
    return LibraryScan(str(item.uuid), number, item.title, ", ".join(parts), "", False)


def _with_results(
    scan: LibraryScan,
    results: typing.Sequence[tuple[datetime.datetime, dict[str, typing.Any]]],
    left: typing.Container[str],
    busy: typing.Container[str],
) -> LibraryScan:
    """A scan with what was made of it: model, state unless final, and date of the newest."""
    states = {str(ours["state"]) for _, ours in results}
    cut_off = scan.uuid in left or bool(states.intersection(INTERRUPTED))
    interrupted = cut_off and not states.intersection(WHOLE) and scan.uuid not in busy
    if not results:
        return dataclasses.replace(scan, interrupted=interrupted)
    modified, ours = max(results, key=lambda each: each[0])
    made = [str(ours.get("settings", {}).get("model", "denoised"))]
    if (passes := len(_sources(ours))) > 1:
        made.append(f"{passes} passes pooled")
    if ours["state"] != "final":
        made.append(str(ours["state"]))
    made.append(f"{modified.replace(tzinfo=datetime.UTC).astimezone():%Y-%m-%d}")
    return dataclasses.replace(scan, made=", ".join(made), interrupted=interrupted)
