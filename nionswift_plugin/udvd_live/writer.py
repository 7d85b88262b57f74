"""Results into Swift's library: made beside the raw item, filled as they come, marked until final.

Everything here runs on Swift's main thread. Items are allocated once at their full size and never
grow; no item refers to the raw one in a way that would delete it together with the raw one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import math
import typing

import numpy
import numpy.typing
from nion.data import Calibration, DataAndMetadata
from nion.instrumentation import DataChannel
from nion.swift.model import DataItem

import udvd_core
from udvd_core.engine.protocol import Block
from udvd_core.framing import merged, rectangles
from udvd_core.settings import MapWindow, ScanSpec

from .scan_item import OURS

Array = numpy.typing.NDArray[numpy.float32]

REFRESH_S = 1.0
PRELIMINARY, FINAL = "preliminary", "final"
MAP_ROWS = ("value", "sigma", "raw", "raw sigma")
"""What `Block.maps` holds of each map."""


@dataclasses.dataclass(frozen=True)
class _Form:
    """Shape and calibrations of a result item."""

    shape: tuple[int, ...]
    descriptor: DataAndMetadata.DataDescriptor
    intensity: Calibration.Calibration
    dimensions: list[Calibration.Calibration]


@dataclasses.dataclass
class _Target:
    """One result item: how it is called, its form, and the item once it is made."""

    label: str
    form: _Form
    map: tuple[int, int] | None = None
    """Number of a map and row of `Block.maps`; None for the denoised data."""
    item: DataItem.DataItem | None = None
    reference: typing.Any = None
    """Keeps the item live and in a transaction; dropped on the main thread."""
    waiting: list[tuple[int, Array]] = dataclasses.field(default_factory=list)
    """First frame and data of what came since it was written last."""
    written: float = -math.inf
    """When that was, seconds."""
    removed: bool = False
    """Whether the operator deleted it; Swift tells so before it closes the item."""


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
        self._targets = [_Target("Denoised", _denoised_form(metadata, spec))]
        for number, window in enumerate(spec.maps):
            form = _map_form(metadata, spec, window)
            for kind in kinds:
                label = window.name if kind == "value" else f"{window.name}, {kind}"
                self._targets.append(_Target(label, form, (number, MAP_ROWS.index(kind))))

    @property
    def items(self) -> list[DataItem.DataItem]:
        """The items that were made and not deleted since."""
        items = [target.item for target in self._targets if target.item is not None and not target.removed]
        return [item for item in items if not item._closed]

    def create_next(self) -> bool:
        """Make one of the items; False when all are made. Costs Swift 50 to 150 ms."""
        for target in self._targets:
            if target.item is None:
                self._create(target)
                return True
        return False

    def write(self, block: Block) -> None:
        """Keep a block until the items are written next."""
        for target in self._targets:
            if target.item is not None and target.reference is not None:
                target.waiting.append((block.start, block.data if target.map is None else block.maps[target.map]))

    def write_now(self, block: Block) -> None:
        """Write a block, and what waited, at once."""
        self.write(block)
        for target in self._targets:
            self._write_waiting(target)

    def write_next(self, now: float) -> bool:
        """Write what waits for one of the items, each at most once a second; whether there was any.

        Whatever is written costs Swift's main thread some 10 ms, for its histogram, thumbnail and file.
        """
        due = [each for each in self._targets if each.waiting and now - each.written >= REFRESH_S]
        if not due:
            return False
        target = min(due, key=lambda each: each.written)
        target.written = now
        self._write_waiting(target, whole=False)
        return True

    def _write_waiting(self, target: _Target, whole: bool = True) -> None:
        """Queue what waits for an item, blocks that follow each other as one; Swift applies it in its main loop.

        Unless `whole`, the last row waits on where it is not complete: a part of a row is an update of its own.
        """
        blocks, target.waiting = merged(target.waiting), []
        if target.item is None or target.reference is None:
            return
        row = self._spec.scan_shape[-1]
        for first, data in blocks:
            last = first + len(data)
            if not whole and last // row * row > first:
                last = last // row * row
                if rest := first + len(data) - last:
                    target.waiting.append((last, data[-rest:]))
            for start, stop, box in rectangles(first, last, self._spec.scan_shape):
                self._write_box(target, data[start - first : stop - first], box)

    def remove(self, item: DataItem.DataItem) -> bool:
        """Forget an item that the operator deleted; returns whether it was one of these."""
        for target in self._targets:
            if target.item is item:
                target.reference = None
                target.removed = True
                return True
        return False

    def mark(self, facts: typing.Mapping[str, typing.Any]) -> None:
        """Add facts to the metadata of the items that are finished."""
        self._facts.update(facts)
        for target in self._targets:
            if target.item is not None and not target.removed and not target.item._closed:
                target.item.metadata = self._metadata(target)

    def finish(self, state: str, facts: typing.Mapping[str, typing.Any]) -> None:
        """Write what waits, mark the items with their last state and let go of them; they do not change again."""
        for target in self._targets:
            self._write_waiting(target)
        self._document_model.perform_data_item_updates()
        preliminary = [self._title_of(target) for target in self._targets]
        self._facts.update(facts, state=state)
        for position, target in enumerate(self._targets):
            if target.item is not None and target.reference is not None:
                target.item.metadata = self._metadata(target)
                if target.item.title == preliminary[position]:  # else the operator named it
                    target.item.title = self._title_of(target)
                target.reference = None

    def _create(self, target: _Target) -> None:
        form = target.form
        earlier = next((each for each in self._earlier if self._fits(each, target)), None)
        item = target.item = earlier or DataItem.DataItem(large_format=True)
        if earlier is None or item.title == _title(target.label, item.metadata[OURS]):  # else the operator named it
            item.title = self._title_of(target)
        item.metadata = self._metadata(target)  # before it is added: a follower must not follow it
        if earlier is None:
            self._document_model.append_data_item(item)
            item.reserve_data(
                data_shape=form.shape, data_dtype=numpy.dtype(numpy.float32), data_descriptor=form.descriptor
            )
            item.session_metadata = self._session_metadata
        item.set_intensity_calibration(form.intensity)
        item.set_dimensional_calibrations(form.dimensions)
        target.reference = DataChannel.DataItemReference(self._document_model, item)

    def _fits(self, item: DataItem.DataItem, target: _Target) -> bool:
        """Whether an earlier result shows what this target will, in the same form."""
        if item._closed or item.data_shape != target.form.shape or item.data_dtype != numpy.float32:
            return False
        ours, wanted = item.metadata[OURS], self._metadata(target)[OURS]
        same = all(ours.get(key) == wanted.get(key) for key in ("kind", "shows"))
        return same and ours.get("map", {}).get("name") == wanted.get("map", {}).get("name")

    def _title_of(self, target: _Target) -> str:
        return _title(target.label, self._facts)

    def _metadata(self, target: _Target) -> dict[str, typing.Any]:
        facts = dict(self._facts, kind="denoised" if target.map is None else "map")
        if target.item is not None:
            facts["item_uuid"] = str(target.item.uuid)  # copies carry the uuid of another item
        if target.map is not None:
            facts["map"] = dataclasses.asdict(self._spec.maps[target.map[0]])
            facts["shows"] = MAP_ROWS[target.map[1]]
        return {**self._raw_metadata.metadata, OURS: facts}

    def _write_box(self, target: _Target, data: Array, box: tuple[slice, ...]) -> None:
        """Write frames that fill a box of positions."""
        datum = data.shape[1:]
        shape = tuple(part.stop - part.start for part in box)
        whole = tuple(slice(0, n) for n in datum)
        source = tuple(slice(0, n) for n in shape) + whole
        form, raw = target.form, self._raw_metadata
        metadata = DataAndMetadata.DataMetadata(
            data_shape=form.shape,
            data_dtype=numpy.dtype(numpy.float32),
            intensity_calibration=form.intensity,
            dimensional_calibrations=form.dimensions,
            metadata=self._metadata(target),
            data_descriptor=form.descriptor,
            timestamp=raw.timestamp,
            timezone=raw.timezone,
            timezone_offset=raw.timezone_offset,
        )
        block = DataAndMetadata.new_data_and_metadata(
            numpy.ascontiguousarray(data).reshape(shape + datum), data_descriptor=form.descriptor
        )
        self._document_model.update_data_item_partial(target.item, metadata, block, source, box + whole)


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


def _denoised_form(raw: DataAndMetadata.DataMetadata, spec: ScanSpec) -> _Form:
    """Form of the denoised item: as raw, without q where it was summed over."""
    positions = len(spec.scan_shape)
    calibrations = list(raw.dimensional_calibrations)
    keeps_rows = len(spec.output_shape) == 2
    if not keeps_rows:
        calibrations = calibrations[:positions] + calibrations[-1:]
    old = raw.data_descriptor
    descriptor = DataAndMetadata.DataDescriptor(old.is_sequence, old.collection_dimension_count, 2 if keeps_rows else 1)
    return _Form(spec.scan_shape + spec.output_shape, descriptor, raw.intensity_calibration, calibrations)


def _map_form(raw: DataAndMetadata.DataMetadata, spec: ScanSpec, window: MapWindow) -> _Form:
    """Form of a map: the positions of the raw data as a line, an image, or a sequence of images."""
    channels = spec.energy.window(*window.signal)
    positions = len(spec.scan_shape)
    descriptor = DataAndMetadata.DataDescriptor(positions == 3, 0, min(positions, 2))
    units = raw.intensity_calibration.units or "counts"
    counts = Calibration.Calibration(units=f"{units} in {channels.stop - channels.start} channels")
    return _Form(spec.scan_shape, descriptor, counts, list(raw.dimensional_calibrations[:positions]))
