"""A raw scan and its denoised item: which belong together, and what else was made of them."""

from __future__ import annotations

import gettext
import typing
import uuid

from nion.swift.model import DataItem, Persistence

from udvd_core.errors import InputError

from .scan_errors import is_ours
from .scan_item import OURS

_ = gettext.gettext

Model = typing.Any
"""Swift's document model."""
Facts = dict[str, typing.Any]


class Pair(typing.NamedTuple):
    """A raw scan and its denoised item."""

    raw: DataItem.DataItem
    denoised: DataItem.DataItem


def pair_of(item: DataItem.DataItem, document_model: Model) -> Pair:
    """The raw scan and the denoised item that an item belongs to; the newest denoised one of a raw scan.

    Parameters
    ----------
    item : DataItem
        Either of them, or something that was made of one.
    document_model : DocumentModel
        Swift's.

    Raises
    ------
    InputError
        When one of the two is not there.
    """
    above = _history(item, document_model)
    denoised = next((each for each, facts in above if _is_denoised(facts)), None)
    raw, ours = above[-1]
    if ours is not None:
        raise InputError(f"the raw scan of {item.title!r} is no longer in this project; select one whose raw scan is")
    if denoised is None:
        mark = str(raw.uuid)
        made = [(each, _facts(each)) for each in document_model.data_items]
        made = [(each, facts) for each, facts in made if _is_denoised(facts) and facts.get("source_uuid") == mark]
        if not made:
            raise InputError(f"{raw.title!r} has no denoised item in this project; denoise it first")
        denoised = made[-1][0]
    return Pair(raw, denoised)


def pair_shown(displays: typing.Sequence[typing.Any], document_model: Model) -> Pair:
    """The scan that one display item shows, raw or denoised, or that what it shows was made of.

    Raises
    ------
    InputError
        When that is not one scan with both.
    """
    item = displays[0].data_item if len(displays) == 1 else None
    if item is None:
        raise InputError(_("Select one spectrum image, raw or denoised."))
    return pair_of(item, document_model)


def made_of(pair: Pair, document_model: Model) -> list[DataItem.DataItem]:
    """Maps, comparisons, differences and pictures that were made of either of a pair, oldest first."""
    found = []
    for each in list(document_model.data_items):
        above = _history(each, document_model)
        denoised = {step for step, facts in above if _is_denoised(facts)}
        if len(above) > 1 and above[0][1] is not None and above[-1][0] is pair.raw and each not in denoised:
            if denoised <= {pair.denoised}:
                found.append(each)
    return found


def scan_mark(item: DataItem.DataItem, document_model: Model) -> str:
    """What all that was made of one raw scan has in common, also when that scan is gone: its uuid."""
    last, facts = _history(item, document_model)[-1]
    return str((facts or {}).get("source_uuid", last.uuid))


def _history(item: DataItem.DataItem, document_model: Model) -> list[tuple[DataItem.DataItem, Facts | None]]:
    """An item, what it was made of, what that was made of, and so on up to the raw scan, each with what we noted."""
    found: list[tuple[DataItem.DataItem, Facts | None]] = []
    step: DataItem.DataItem | None = item
    while step is not None and all(step is not each for each, _facts_of in found):
        facts = _facts(step)
        found.append((step, facts))
        step = _source(step, facts, document_model)
    return found


def _source(item: DataItem.DataItem, facts: Facts | None, document_model: Model) -> DataItem.DataItem | None:
    """What our metadata name, else the first input of the computation that makes it."""
    if facts is not None and "source_uuid" in facts:
        wanted = Persistence.PersistentObjectSpecifier(uuid.UUID(facts["source_uuid"]))
        found = document_model.resolve_item_specifier(wanted)
        return found if isinstance(found, DataItem.DataItem) else None
    sources = document_model.get_source_data_items(item)
    return sources[0] if sources else None


def _facts(item: DataItem.DataItem) -> Facts | None:
    """What we noted of an item of ours; Swift copies all metadata each time."""
    metadata = item.metadata
    return metadata[OURS] if is_ours(metadata) else None


def _is_denoised(facts: Facts | None) -> typing.TypeGuard[Facts]:
    return facts is not None and facts.get("kind") == "denoised"
