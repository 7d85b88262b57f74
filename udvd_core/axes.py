"""Calibrated axes: from pixel index to value and back."""

from __future__ import annotations

import dataclasses
import math

import numpy
import numpy.typing

from udvd_core.errors import InputError


@dataclasses.dataclass(frozen=True)
class Axis:
    """One calibrated axis of a scan.

    Attributes
    ----------
    size : int
        Number of pixels.
    offset, scale : float
        Value of pixel 0 and step per pixel, in `units`.
    units : str
        ``"eV"`` for energy loss, ``"nm"`` for scan axes, ``""`` where unknown.
    name : str
        ``"y"``, ``"x"``, ``"t"``, ``"q"`` or ``"E"``.
    """

    size: int
    offset: float = 0.0
    scale: float = 1.0
    units: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"axis {self.name!r} has {self.size} pixels; it needs at least one")
        if not (math.isfinite(self.offset) and math.isfinite(self.scale)) or self.scale == 0:
            raise InputError(
                f"axis {self.name!r} has offset {self.offset} and scale {self.scale} {self.units};"
                " both must be finite and the scale not zero: set the calibration"
            )

    def values(self) -> numpy.typing.NDArray[numpy.float64]:
        """Value of every pixel, shape (size,), in `units`."""
        return self.offset + self.scale * numpy.arange(self.size, dtype=numpy.float64)

    def window(self, low: float, high: float) -> slice:
        """Pixels whose value lies in [low, high), both in `units`.

        Raises
        ------
        InputError
            When the window is empty, reversed or does not lie on the axis.
        """
        values = self.values()
        inside = numpy.flatnonzero((values >= low) & (values < high))
        if not low < high or not inside.size:
            raise InputError(
                f"window {low:g} to {high:g} {self.units} covers no channel of the axis"
                f" {values.min():g} to {values.max():g} {self.units}: choose a window inside it"
            )
        return slice(int(inside[0]), int(inside[-1]) + 1)
