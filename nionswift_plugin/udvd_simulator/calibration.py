"""Calibrations of what the simulated camera plays."""

from __future__ import annotations

import typing

from nion.data import Calibration
from nion.instrumentation import camera_base

from . import sources


class SourceCalibrator(camera_base.CameraCalibrator):
    """Calibrations of the source, whatever the microscope says."""

    def __init__(self, source: sources.FrameSource) -> None:
        self._energy = source.energy

    def get_signal_calibrations(
        self, frame_parameters: typing.Any, data_shape: typing.Sequence[int], **kwargs: typing.Any
    ) -> typing.Sequence[Calibration.Calibration]:
        """Energy in eV on the last axis, as the source has it; q has none."""
        energy = Calibration.Calibration(self._energy.offset, self._energy.scale, self._energy.units)
        return [Calibration.Calibration()] * (len(data_shape) - 1) + [energy]

    def get_intensity_calibration(self, camera_frame_parameters: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """Counts."""
        return Calibration.Calibration(units="counts")

    def get_counts_per_electron(self, **kwargs: typing.Any) -> float | None:
        """One: a counting camera."""
        return 1.0

    def get_pixel_angle(self, **kwargs: typing.Any) -> float | None:
        """Not known."""
        return None
