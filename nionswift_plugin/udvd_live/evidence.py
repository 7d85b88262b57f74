"""One folder that shows what a result rests on: data, hashes, settings, versions, verdict and pictures."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import pathlib
import re
import shutil
import tempfile
import typing

import numpy
from nion.swift.model import DataItem

import udvd_core
from udvd_core.errors import UdvdError
from udvd_core.files.scan import plain

from . import assessment, comparison, difference, pictures
from .maps_computation import array_of
from .pairs import Pair, made_of
from .scan_files import Written, check_space, needed, write_npy
from .scan_item import OURS
from .task_window import Task

Facts = dict[str, typing.Any]
DESCRIPTION = "evidence.json"
MAPS = ("map", "sigma", difference.DIFFERENCE)
"""Kinds of items that become pictures, where they have rows and columns."""
LARGEST_PICTURE = 8 << 20
"""Bytes."""


class Source(typing.NamedTuple):
    """What an item shows."""

    title: str
    kind: str
    data: typing.Any
    units: str
    steps: list[tuple[float, float, str]]
    """Offset, scale and units of each axis."""
    caption: str


def source_of(item: DataItem.DataItem) -> Source:
    """Take what an item shows, for small items."""
    steps = [(each.offset, each.scale, each.units) for each in item.dimensional_calibrations]
    units = item.intensity_calibration.units if item.intensity_calibration else ""
    kind = str(item.metadata.get(OURS, {}).get("kind", ""))
    return Source(item.title, kind, array_of(item), units, steps, item.caption or "")


def drawn(items: typing.Iterable[DataItem.DataItem]) -> list[DataItem.DataItem]:
    """Those items that become pictures."""
    kinds = (*MAPS, comparison.COMPARISON)
    return [each for each in items if each.metadata[OURS].get("kind") in kinds and _is_picture(each)]


def new_folder(parent: pathlib.Path, title: str) -> pathlib.Path:
    """A folder that is not there yet, named after a scan; numbered where one is."""
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "_", title).strip(" .")[:100] or "scan"
    folder, number = parent / f"{name} evidence", 1
    while folder.exists():
        number += 1
        folder = parent / f"{name} evidence {number}"
    return folder


def export(
    pair: Pair, items: typing.Sequence[DataItem.DataItem], parent: pathlib.Path, task: Task, python: str | None
) -> str:
    """Write the folder, wholly or not at all; on a worker thread.

    Parameters
    ----------
    pair : Pair
        Their data are held.
    items : sequence of DataItem
        Maps and comparisons to draw.
    parent : path
        In it a new folder is made.
    task : Task
        Told what is done; ends it.
    python : str or None
        The operator's interpreter.

    Returns
    -------
    str
        What was written where, and what could not be.

    Raises
    ------
    UdvdError, OSError or CancelledError
        When nothing was written.
    """
    check_space(parent, 3 * sum(needed(item) for item in pair))
    with tempfile.TemporaryDirectory(prefix=".udvd-evidence-", dir=parent, ignore_cleanup_errors=True) as name:
        folder, scratch = pathlib.Path(name) / "evidence", pathlib.Path(name) / "scratch"
        folder.mkdir()
        scratch.mkdir()
        written: dict[str, Written] = {}
        for number, (label, item) in enumerate(zip(("raw", "denoised"), pair, strict=True)):
            tell = functools.partial(_tell, task, 0.3 * number, 0.3, f"Reading {item.title}")
            written[label] = write_npy(item, scratch / f"{label}.npy", tell)
        missing = [*_convert(folder, scratch, task, python), *_draw(folder, written, items, task)]
        kept = pair.denoised.metadata[OURS].get(assessment.KEY)
        if kept:
            text = assessment.in_text(kept, pair.denoised.title)
            (folder / "assessment.txt").write_text(text + "\n", encoding="utf-8")
        task.report(0.95, "Hashing")
        facts = {**describe(pair, written), "assessed": bool(kept), "not_written": missing}
        facts["files"] = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
        (folder / DESCRIPTION).write_text(json.dumps(plain(facts), indent=1), encoding="utf-8")
        written.clear()  # closes the mapped files: Windows removes none that is open
        task.report(1.0, "Done")
        target = new_folder(parent, pair.raw.title)
        shutil.move(folder, target)
    return "\n".join(
        [f"Written to {target}", "", *facts["files"], DESCRIPTION, *(f"Not written: {m}" for m in missing)]
    )


def describe(pair: Pair, written: typing.Mapping[str, Written]) -> Facts:
    """What must be known to make the result again, and to see that it is the same."""
    ours: Facts = pair.denoised.metadata[OURS]
    provenance = ours.get("provenance", {})
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "program": f"nionswift-udvd {udvd_core.__version__}",
        "hash": "SHA-256 of the values as little-endian float32 in scan order",
        "scans": {
            label: {
                "title": item.title,
                "uuid": str(item.uuid),
                "shape": list(item.data_shape or ()),
                "sha256": written[label].sha256,
                "created": item.created.isoformat(),
            }
            for label, item in zip(("raw", "denoised"), pair, strict=True)
        },
        "state": ours.get("state"),
        "settings": provenance.get("settings", ours.get("settings")),
        "weights_sha256": provenance.get("weights_sha256"),
        "versions": ours.get("versions"),
        "provenance": provenance,
        "assessment": ours.get(assessment.KEY),
    }


def work(
    pair: Pair, document_model: typing.Any, parent: pathlib.Path, python: str | None
) -> typing.Callable[[Task], str]:
    """Work for a `Task`."""
    return functools.partial(_work, pair, document_model, parent, python)


def _work(pair: Pair, document_model: typing.Any, parent: pathlib.Path, python: str | None, task: Task) -> str:
    task.report(0.0, "Looking through the project")
    items = drawn(made_of(pair, document_model))
    with pair.raw.data_ref(), pair.denoised.data_ref():
        return export(pair, items, parent, task, python)


def _convert(folder: pathlib.Path, scratch: pathlib.Path, task: Task, python: str | None) -> list[str]:
    """Write ``.hspy`` in a child process; returns what could not be, and why."""
    missing = []
    for number, label in enumerate(("raw", "denoised")):
        target = folder / f"{label}.hspy"
        arguments = [str(scratch / f"{label}.npy"), str(target)]
        try:
            tell = functools.partial(_tell, task, 0.6 + 0.12 * number, 0.12, "")
            assessment.run_child("udvd_core.files", arguments, tell, python, f"Writing {target.name}")
        except UdvdError as error:
            missing.append(f"{target.name}: {error}")
    return missing


def _draw(
    folder: pathlib.Path, written: typing.Mapping[str, Written], items: typing.Sequence[DataItem.DataItem], task: Task
) -> list[str]:
    """Draw sums, maps and comparisons; returns what could not be, and why."""
    todo: list[tuple[str, typing.Callable[[pathlib.Path], None]]] = []
    for label, each in written.items():
        if each.summed.ndim == 2:
            axis = each.scan.scan_axes[-1]
            units = each.scan.intensity[2] or "counts"
            todo.append(
                (
                    f"{label} sum",
                    functools.partial(
                        pictures.save_map,
                        values=each.summed,
                        title=f"{each.scan.title}, sum of all channels",
                        units=units,
                        step=(axis.scale, axis.units),
                    ),
                )
            )
    todo += [(each.title, functools.partial(_draw_item, item=each)) for each in items]
    missing, names = [], set[str]()
    for number, (name, draw) in enumerate(todo):
        task.report(0.85 + 0.1 * number / len(todo), f"Drawing {name}")
        file = unused(name, names)
        try:
            draw(folder / file)
        except Exception as error:  # such as those of an item that was deleted meanwhile
            missing.append(f"{file}: {type(error).__name__}: {error}")
    return missing


def unused(name: str, names: set[str]) -> str:
    """A PNG file's name that any system takes, and that no other file has; added to `names`, in lower case."""
    stem = re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "_", name).strip(" .")[:100] or "picture"
    file, number = f"{stem}.png", 1
    while file.lower() in names:
        number += 1
        file = f"{stem} {number}.png"
    names.add(file.lower())
    return file


def _draw_item(path: pathlib.Path, item: DataItem.DataItem) -> None:
    source = source_of(item)
    if source.kind == comparison.COMPARISON:
        offset, scale, _units = source.steps[-1]
        energies = offset + scale * numpy.arange(source.data.shape[1])
        curves = [
            pictures.Curve(layer["label"], source.data[layer["data_row"]], layer["stroke_color"], layer["stroke_width"])
            for layer in comparison.LAYERS
        ]
        where = source.caption.partition(".")[0]
        pictures.save_spectra(path, energies, curves, f"{source.title}. {where}", source.units)
    else:
        _offset, scale, units = source.steps[-1]
        around_zero = difference.LIMITS[1] if source.kind == difference.DIFFERENCE else 0.0
        pictures.save_map(path, source.data, source.title, source.units, (scale, units), around_zero)


def _is_picture(item: DataItem.DataItem) -> bool:
    return len(item.data_shape or ()) == 2 and needed(item) <= LARGEST_PICTURE


def _tell(task: Task, start: float, share: float, note: str, done: float, other: str = "") -> None:
    task.report(start + share * done, other or note)


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
