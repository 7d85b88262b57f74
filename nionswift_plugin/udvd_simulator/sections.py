"""Where in a scan a readout stands when Swift acquires it in sections, or several times.

Swift tells the camera the shape of each section and where in a series it is, but not its first
row. The scan device knows the area of each section; a section that lies right below the one
before continues the same scan, any other begins a new one.
"""

from __future__ import annotations

import dataclasses
import typing

from nion.utils import Geometry

from . import playback


@dataclasses.dataclass(frozen=True)
class _Area:
    """The part of the scan field that a section covers, in fractions of the field."""

    center: Geometry.FloatPoint
    height: float
    width: float
    rotation: float
    rows: int

    def continues(self, before: _Area) -> bool:
        """Whether this area lies right below `before`, to a quarter of a row."""
        row = self.height / self.rows
        step = Geometry.FloatPoint(y=row * (self.rows + before.rows) / 2, x=0.0).rotate(-self.rotation)
        off = self.center - before.center - step
        return max(abs(off.y), abs(off.x), abs(self.width - before.width)) < row / 4


class SectionTracker:
    """Follows the sections of a scan from one readout to the next."""

    def __init__(self) -> None:
        self._area: _Area | None = None
        self._repeat = 0
        self._bottom = 0
        self._height = 0

    def reset(self) -> None:
        """The scan ended early: whatever comes begins a new one."""
        self._area = None

    def next_window(
        self,
        collection_shape: tuple[int, ...],
        index_stack: typing.Sequence[typing.Any],
        frame_parameters: typing.Any,
        source_shape: tuple[int, int],
    ) -> playback.ScanWindow:
        """Window of the readout that begins now.

        Parameters
        ----------
        collection_shape : tuple of int
            Frames of the readout: ``(count,)`` or ``(rows, flyback + columns)``.
        index_stack : sequence
            Swift's index descriptions, outermost first; the last one is this readout's own.
        frame_parameters : object or None
            What the scan device does; None without a scan.
        source_shape : (int, int)
            Rows and columns of what is played.
        """
        repeat = 0
        for description in index_stack[:-1]:
            for index, size in zip(description.index, description.shape, strict=True):
                repeat = repeat * int(size) + int(index)
        if len(collection_shape) == 1:
            return playback.ScanWindow(
                collection_shape[0], repeat=repeat, source_shape=(1, source_shape[0] * source_shape[1])
            )
        rows, columns = collection_shape
        width = int(index_stack[-1].shape[-1]) if index_stack else columns
        area = _area(frame_parameters, rows)
        continues = (
            area is not None and self._area is not None and repeat == self._repeat and area.continues(self._area)
        )
        if not continues and repeat == 0:
            self._height = 0
        first_row = self._bottom if continues else 0
        self._area, self._repeat, self._bottom = area, repeat, first_row + rows
        self._height = max(self._height, self._bottom)
        return playback.ScanWindow(width, columns - width, first_row, repeat, self._height, source_shape)


def _area(frame_parameters: typing.Any, rows: int) -> _Area | None:
    center = getattr(frame_parameters, "subscan_fractional_center", None)
    size = getattr(frame_parameters, "subscan_fractional_size", None)
    if center is None or size is None:
        return None
    center, size = Geometry.FloatPoint.make(center), Geometry.FloatSize.make(size)
    rotation = float(getattr(frame_parameters, "subscan_rotation", 0.0) or 0.0)
    return _Area(center, size.height, size.width, rotation, rows)
