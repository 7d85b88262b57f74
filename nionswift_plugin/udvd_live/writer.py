"""Results into Swift's library: made beside the raw item, filled as they come, marked until final.

Everything here runs on Swift's main thread. Items are allocated once at their full size and never
grow; no item refers to the raw one in a way that would delete it together with the raw one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import math
import time
import typing

import numpy
from nion.data import DataAndMetadata
from nion.swift.model import DataItem

import udvd_core
from udvd_core.engine.protocol import Block
from udvd_core.framing import merged
from udvd_core.settings import ScanSpec

from . import placement
from .result_item import Form, Result
from .scan_item import OURS

REFRESH_S, HIDDEN_S = (2.0, 8.0), (5.0, 20.0)
"""How often a preview is written at most where a display panel shows it, and where only the list of all items does."""
GROWS = 1 / 3, 2 / 3
"""The first while a scan is young, then after this part of its time so far, the second at last; of both."""
TURN_S = 0.008
"""No other one is begun in a turn that took so long."""
QUIET, LONGEST_QUIET_S = 35.0, 1.0
"""After a turn none is written for this many times as long as it took Swift, and no longer than that."""
SMALL_BYTES = 1 << 22
"""An item of so many bytes gets its form before it is put into the library: in one turn, drawn once."""
PRELIMINARY, FINAL = "preliminary", "final"
MAP_ROWS = ("value", "sigma", "raw", "raw sigma")
"""What `Block.maps` holds of each map."""


class Writer:
    """The result items of one scan.

    Parameters
    ----------
    document_model : DocumentModel
        Swift's.
    raw : DataItem
        The raw item; its title, calibrations and session metadata are copied.
    metadata : DataMetadata
        Of the raw data, as the first block came with it.
    spec : ScanSpec
        What the engine was told.
    kinds : sequence of str
        What is kept of each map, names of `MAP_ROWS`.
    facts : mapping or None
        For the metadata, in place of what they say of themselves.
    earlier : sequence of DataItem
        Results of the same scan; those of the same form are filled anew instead of making others.
    """

    def __init__(
        self,
        document_model: typing.Any,
        raw: DataItem.DataItem,
        metadata: DataAndMetadata.DataMetadata,
        spec: ScanSpec,
        kinds: typing.Sequence[str] = ("value",),
        facts: typing.Mapping[str, typing.Any] | None = None,
        earlier: typing.Sequence[DataItem.DataItem] = (),
    ) -> None:
        self._document_model = document_model
        self._earlier = list(earlier)
        self._session_metadata = dict(raw.session_metadata)
        self._spec = spec
        self._facts: dict[str, typing.Any] = {
            "source_uuid": str(raw.uuid),
            "source_title": raw.title,
            "versions": {"nionswift-udvd": udvd_core.__version__, **_versions("nionswift", "numpy")},
            "state": PRELIMINARY,
            "settings": spec.to_dict()["training"],
            **(facts or {}),
        }
        self._raw_metadata = metadata
        self._quiet_until = 0.0
        self._began = math.inf
        self._results = [Result("Denoised", Form.of_denoised(metadata, spec))]
        for number, window in enumerate(spec.maps):
            form = Form.of_map(metadata, spec, window)
            for kind in kinds:
                label = window.name if kind == "value" else f"{window.name}, {kind}"
                self._results.append(Result(label, form, (number, MAP_ROWS.index(kind))))

    @property
    def items(self) -> list[DataItem.DataItem]:
        """The items that are in the library and were not deleted since; the last may have no data yet."""
        return [result.item for result in self._results if result.item is not None and result.there]

    def create_next(self) -> bool:
        """Take one step of making the items, some 20 ms of Swift's main thread; False when all are made."""
        for result in self._results:
            if result.item is None:
                if self._add(result).data_shape == result.form.shape:
                    result.open_for(self._document_model)
                return True
            if result.there and not result.open and not result.done:
                result.open_for(self._document_model)
                return True
        return False

    def write(self, block: Block) -> None:
        """Keep a block until the items are written next."""
        for result in self._results:
            if result.open:
                result.wait(block.start, block.data if result.map is None else block.maps[result.map])

    def write_now(self, block: Block) -> None:
        """Write a block, and what waited, at once."""
        self.write(block)
        for result in self._results:
            self._write_waiting(result)

    def write_next(self, now: float) -> bool:
        """Write what waits for the items that are due; whether there was any.

        Whatever is written costs Swift's main thread 5 ms and more, and then its other threads, which draw the list
        of all items anew: the longer the slower the computer is and the more it has to do. So a turn is short, and
        the next one the later the longer that took. What shows nothing yet does not wait.
        """
        self._began = min(self._began, now)
        begin, wrote = time.perf_counter(), False
        while (took := time.perf_counter() - begin) < TURN_S and (result := self._due(now)) is not None:
            result.written, wrote = now, True
            self._write_waiting(result, whole=False)
        if wrote:
            self._quiet_until = now + min(QUIET * took, LONGEST_QUIET_S)
        return wrote

    def _due(self, now: float) -> Result | None:
        """The item that has waited longest, by how often it is to be written; None if none is due."""
        waiting = [each for each in self._results if each.waiting]
        if now < self._quiet_until:
            waiting = [each for each in waiting if math.isinf(each.written)]
        waits = [((now - each.written) / self._refresh_s(each, now), each) for each in waiting]
        wait, result = max(waits, key=lambda each: each[0], default=(0.0, None))
        return result if wait >= 1 else None

    def _refresh_s(self, result: Result, now: float) -> float:
        hidden = not result.shown(self._document_model)
        soonest, latest = HIDDEN_S if hidden else REFRESH_S
        return min(max(soonest, GROWS[hidden] * (now - self._began)), latest)

    def _write_waiting(self, result: Result, whole: bool = True) -> None:
        """Write what waits for an item, blocks that follow each other as one.

        Unless `whole`, the last row waits on where it is not complete: a part of a row is an update of its own.
        """
        blocks, result.waiting = merged(result.waiting), []
        if not result.open:
            return
        row = self._spec.scan_shape[-1]
        for number, (first, data) in enumerate(blocks):
            last = (first + len(data)) // row * row
            if not whole and first < last < first + len(data):
                result.waiting.append((last, data[last - first :]))
                blocks[number] = first, data[: last - first]
        result.write(blocks, self._data_metadata(result))

    def remove(self, item: DataItem.DataItem) -> bool:
        """Forget an item that the operator deleted; returns whether it was one of these."""
        for result in self._results:
            if result.item is item:
                result.close()
                result.removed = True
                return True
        return False

    def mark(self, facts: typing.Mapping[str, typing.Any]) -> None:
        """Add facts to the metadata of the items that are finished."""
        self._facts.update(facts)
        for result in self._results:
            if result.item is not None and result.there:
                result.item.metadata = self._metadata(result, self._facts)

    def finish(self, state: str, facts: typing.Mapping[str, typing.Any]) -> None:
        """Write what waits, mark the items with their last state and let go of them; they do not change again."""
        while self.finish_next(state, facts):
            pass

    def finish_next(self, state: str, facts: typing.Mapping[str, typing.Any]) -> bool:
        """Finish one of the items, some 20 ms of Swift's main thread; False when all are finished."""
        last = {**self._facts, **facts, "state": state}
        result = next((each for each in self._results if each.there and not each.done), None)
        if result is None or result.item is None:
            self._facts = last
            return False
        if not result.open:
            result.open_for(self._document_model)
        self._write_waiting(result)
        with result.item.data_item_changes():
            result.item.metadata = self._metadata(result, last)
            if result.item.title == _title(result.label, self._facts):  # else the operator named it
                result.item.title = _title(result.label, last)
        result.close()
        return True

    def _add(self, result: Result) -> DataItem.DataItem:
        """Put an item into the library, an earlier one where it fits."""
        earlier = next((each for each in self._earlier if self._fits(each, result)), None)
        item = result.item = earlier or DataItem.DataItem(large_format=True)
        if earlier is None and 4 * math.prod(result.form.shape) <= SMALL_BYTES:
            item.set_data_and_metadata(result.form.blank())  # takes the metadata away
        if earlier is None or item.title == _title(result.label, item.metadata[OURS]):  # else the operator named it
            item.title = _title(result.label, self._facts)
        item.metadata = self._metadata(result, self._facts)  # before it is added: a follower must not follow it
        if earlier is None:
            item.session_metadata = self._session_metadata
            with self._document_model.transaction_context():  # else Swift writes the whole project twice
                self._document_model.append_data_item(item)
                placement.group_now(self._document_model)
        return item

    def _fits(self, item: DataItem.DataItem, result: Result) -> bool:
        """Whether an earlier result shows what this one will, in the same form."""
        if item._closed or item.data_shape != result.form.shape or item.data_dtype != numpy.float32:
            return False
        ours, wanted = item.metadata[OURS], self._metadata(result, self._facts)[OURS]
        same = all(ours.get(key) == wanted.get(key) for key in ("kind", "shows"))
        return same and ours.get("map", {}).get("name") == wanted.get("map", {}).get("name")

    def _metadata(self, result: Result, facts: dict[str, typing.Any]) -> dict[str, typing.Any]:
        facts = dict(facts, kind="denoised" if result.map is None else "map")
        if result.item is not None:
            facts["item_uuid"] = str(result.item.uuid)  # copies carry the uuid of another item
        if result.map is not None:
            facts["map"] = dataclasses.asdict(self._spec.maps[result.map[0]])
            facts["shows"] = MAP_ROWS[result.map[1]]
        return {**self._raw_metadata.metadata, OURS: facts}

    def _data_metadata(self, result: Result) -> DataAndMetadata.DataMetadata:
        """What Swift wants to know of the whole item with each update."""
        form, raw = result.form, self._raw_metadata
        return DataAndMetadata.DataMetadata(
            data_shape=form.shape,
            data_dtype=numpy.dtype(numpy.float32),
            intensity_calibration=form.intensity,
            dimensional_calibrations=form.dimensions,
            metadata=self._metadata(result, self._facts),
            data_descriptor=form.descriptor,
            timestamp=raw.timestamp,
            timezone=raw.timezone,
            timezone_offset=raw.timezone_offset,
        )


def _title(label: str, facts: typing.Mapping[str, typing.Any]) -> str:
    """``Spectrum Image EELS 12 (B K, preliminary)``."""
    state = facts["state"]
    return f"{facts['source_title']} ({label if state == FINAL else f'{label}, {state}'})"


def _versions(*packages: str) -> dict[str, str]:
    """Installed versions, for provenance."""
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
