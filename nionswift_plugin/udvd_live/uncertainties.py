"""What denoising left of errors, kept with the project so that maps of denoised items know their sigma later.

One file for each denoised item, named by its uuid, in a folder beside the project's file: `Lab.nsproj` has
`Lab UDVD`. A project without a file keeps them in memory. Without its file an item's sigma is not known.
"""

from __future__ import annotations

import logging
import pathlib
import typing
import weakref

import numpy
import numpy.typing
from nion.swift.model import DataItem

from udvd_core.files.atomic import replacing
from udvd_core.lowrank.uncertainty import Uncertainty

from .scan_item import OURS

log = logging.getLogger(__name__)

Array = numpy.typing.NDArray[numpy.float32]

_in_memory: weakref.WeakKeyDictionary[DataItem.DataItem, Array] = weakref.WeakKeyDictionary()


def keep(items: typing.Iterable[DataItem.DataItem], packed: Array | None) -> None:
    """Keep what is known of the errors of the denoised item among a scan's results.

    Parameters
    ----------
    items : iterable of DataItem
        The results that are there.
    packed : array or None
        `udvd_core.engine.protocol.Finished.uncertainty`; None where the model knows nothing.
    """
    for item in items:
        if item.metadata.get(OURS, {}).get("kind") == "denoised":
            path = _path(item)
            try:
                if packed is None:  # those of an earlier result in the same item are not true of this one
                    _in_memory.pop(item, None)
                    if path is not None:
                        path.unlink(missing_ok=True)
                    continue
                if path is None:
                    _in_memory[item] = packed
                    continue
                path.parent.mkdir(exist_ok=True)
                with replacing(path) as temporary, temporary.open("wb") as file:
                    numpy.save(file, packed, allow_pickle=False)
            except OSError as error:
                log.warning("UDVD cannot keep the errors of %r, maps of it will have no sigma: %s", item.title, error)


def load(item: DataItem.DataItem, count: int, channels: int) -> Uncertainty | None:
    """Errors of a denoised item of `count` spectra with so many channels; None where they are not known."""
    path = _path(item)
    try:
        packed = _in_memory.get(item) if path is None else numpy.load(path, allow_pickle=False)
        found = None if packed is None else Uncertainty.unpacked(packed)
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever reading a damaged file raises
        log.warning("UDVD cannot read the errors of %r: %s", item.title, error)
        return None
    if found is None or found.scale.size != channels or not 0 < found.numbers.size <= count > found.numbers[-1]:
        return None
    return found


def _path(item: DataItem.DataItem) -> pathlib.Path | None:
    """File of an item; None where the project has none."""
    project = pathlib.Path(item.project.storage_location_str)
    return project.with_name(f"{project.stem} UDVD") / f"{item.uuid}.npy" if project.is_file() else None
