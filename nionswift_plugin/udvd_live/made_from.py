"""What a reprocessed scan was made of: its raw data, settings and weights, as metadata and as one hash."""

from __future__ import annotations

import hashlib
import json
import logging
import pathlib
import typing
import uuid

from nion.swift.model import DataItem

import udvd_core
from udvd_core.errors import InputError
from udvd_core.settings import ScanSpec

from . import scan_item
from .library_scans import WHOLE
from .queue_file import Settings
from .replay import same_area
from .scan_item import OURS

log = logging.getLogger(__name__)


def pooled_title(items: typing.Sequence[DataItem.DataItem]) -> str:
    """``Spectrum Image EELS 12 + 13 + 14``."""
    numbers = [item.session_metadata.get("project_acquisition_index") for item in items[1:]]
    if not all(numbers):
        return items[0].title + (f" + {len(numbers)} more" if numbers else "")
    return " + ".join([items[0].title, *map(str, numbers)])


def specify(items: typing.Sequence[DataItem.DataItem], settings: Settings) -> ScanSpec:
    """Describe raw items, several as one pooled scan, to the engine.

    Raises
    ------
    InputError
        When they are no scan, or cannot be pooled.
    """
    layout, metadata = same_area(items), items[0].data_metadata
    if metadata is None:
        raise InputError(f"{items[0].title!r} has no data")
    spec, left_out = scan_item.specify(uuid.uuid4().hex, layout, metadata, settings.maps, settings.training)
    for reason in left_out:
        log.info("UDVD, %s: %s", items[0].title, reason)
    return spec


def facts_of(items: typing.Sequence[DataItem.DataItem], spec: ScanSpec, settings: Settings) -> dict[str, typing.Any]:
    """What results say of where they come from.

    ``made_from`` is a hash that is the same only for the same raw data, settings, weights and flat field.
    """
    files = [spec.training.weights, spec.training.flat, str(_shipped())]
    raw = [(str(item.uuid), str(item.data_modified), item.data_shape) for item in items]
    wanted = {**spec.to_dict(), "scan_id": "", "kinds": settings.kinds, "raw": raw, "files": [_hash(f) for f in files]}
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    facts: dict[str, typing.Any] = {"made_from": digest, "source_title": pooled_title(items)}
    if len(items) > 1:
        facts |= {"source_uuid": None, "source_uuids": [str(item.uuid) for item in items]}
        facts["source_titles"] = [item.title for item in items]
    return facts


def _shipped() -> pathlib.Path:
    """The weights that come with the program; which module loads them would import torch."""
    return pathlib.Path(udvd_core.__file__).parent / "weights" / "correction.safetensors"


def _hash(file: str | None) -> str:
    """SHA-256 of a file; empty where there is none: the engine will say so."""
    try:
        return "" if file is None else hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""


def done_before(earlier: typing.Sequence[DataItem.DataItem], spec: ScanSpec, settings: Settings, digest: str) -> bool:
    """Whether all results are there, made of the same data with the same settings."""
    same = [item.metadata[OURS] for item in earlier if item.metadata[OURS].get("made_from") == digest]
    whole = [ours for ours in same if ours["state"] in WHOLE]
    return len(whole) >= 1 + len(spec.maps) * len(settings.kinds)
