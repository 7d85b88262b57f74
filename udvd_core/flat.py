"""A flat field from a file: the sensitivity of every pixel, which no scan can tell from signal."""

from __future__ import annotations

import dataclasses
import pathlib
import time
import typing

import numpy
import numpy.typing

from udvd_core.defects import fill, flat_field
from udvd_core.errors import InputError

Array = numpy.typing.NDArray[numpy.float64]
Frames = numpy.typing.NDArray[numpy.float32]


@dataclasses.dataclass(frozen=True)
class Flat:
    """Sensitivity (q, E), any scale, and where it is from."""

    values: Array
    name: str
    days: float

    @property
    def note(self) -> str:
        """What the operator should know."""
        return f"divided by the flat field {self.name}, {self.days:.0f} days old"

    def correct(self, frames: Frames) -> Frames:
        """Frames (n, q, E) of equal sensitivity; pixels that the flat does not light are filled from those around."""
        corrected = flat_field(frames, self.values)
        lit = numpy.isfinite(self.values) & (self.values > 0)
        return typing.cast(Frames, corrected if lit.all() else fill(corrected, lit).astype(numpy.float32))


def load_flat(path: str, frame_shape: tuple[int, int]) -> Flat:
    """Read a flat field from ``.npy``, or from ``data`` of an ``.npz``.

    Raises
    ------
    InputError
        When the file cannot be read or its shape is not ``(q, E)`` of the scan.
    """
    file = pathlib.Path(path)
    try:
        loaded = numpy.load(file, allow_pickle=False)
        values = loaded["data"] if file.suffix == ".npz" else loaded
        values = numpy.asarray(values, numpy.float64)
        days = (time.time() - file.stat().st_mtime) / 86400.0
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"flat field {path} cannot be read ({error}); want .npy, or .npz with 'data'") from None
    values = values.reshape(1, -1) if values.ndim == 1 else values
    if values.shape != frame_shape:
        raise InputError(f"flat field {path} has shape {values.shape}, frames have {frame_shape}; record one like them")
    return Flat(values, file.name, max(days, 0.0))
