"""What a data item of Swift is to the denoiser: a scan with positions, frames and energies, or not one."""

from __future__ import annotations

import dataclasses
import math
import typing

from nion.data import DataAndMetadata

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.core_loss import EdgeMap
from udvd_core.settings import MapWindow, ScanSpec, Training

OURS = "udvd"
"""Key of the metadata of every data item that this plug-in makes."""

FEWEST_CHANNELS = 8
ELECTRON_VOLTS = {"eV": 1.0, "meV": 1e-3, "keV": 1e3}


@dataclasses.dataclass(frozen=True)
class ScanLayout:
    """Positions and frames of a data item.

    Attributes
    ----------
    scan_shape : tuple of int
        Positions ``(n,)``, ``(y, x)`` or ``(t, y, x)``.
    frame_shape : (int, int)
        ``(q, E)``, q = 1 for spectra.
    datum_dimensions : int
        1 for spectra, 2 for frames.
    """

    scan_shape: tuple[int, ...]
    frame_shape: tuple[int, int]
    datum_dimensions: int

    @property
    def count(self) -> int:
        """Number of positions."""
        return math.prod(self.scan_shape)


def layout_of(shape: tuple[int, ...] | None, descriptor: typing.Any) -> ScanLayout | str:
    """Positions and frames of data of this shape and descriptor, or a sentence why there are none."""
    if not shape or descriptor is None:
        return "it has no data yet"
    datum = descriptor.datum_dimension_count
    positions = int(descriptor.is_sequence) + descriptor.collection_dimension_count
    if datum not in (1, 2):
        return f"its data have {datum} dimensions per position; want spectra or frames"
    if not 1 <= positions <= 3 or len(shape) != positions + datum:
        return f"it has {positions} axes of positions; want 1 to 3"
    if shape[-1] < FEWEST_CHANNELS:
        return f"it has {shape[-1]} energy channels; want at least {FEWEST_CHANNELS}"
    frame = (1, shape[-1]) if datum == 1 else (shape[-2], shape[-1])
    return ScanLayout(tuple(shape[:positions]), frame, datum)


def not_eels(metadata: typing.Mapping[str, typing.Any], cameras: typing.Container[str]) -> str:
    """Why data with these metadata are not from an EELS camera; empty if they are."""
    source = metadata.get("hardware_source", {})
    kind, name = source.get("signal_type"), source.get("hardware_source_id")
    if kind == "eels" or name in cameras:
        return ""
    return f"its camera {name!r} has signal type {kind!r}; want 'eels', or add the camera to the settings"


def energy_axis(layout: ScanLayout, metadata: DataAndMetadata.DataMetadata) -> Axis:
    """Energy-loss axis in eV; in channels, without units, where it is not calibrated in energy."""
    calibration = metadata.dimensional_calibrations[-1]
    factor = ELECTRON_VOLTS.get(calibration.units)
    numbers = (calibration.offset, calibration.scale)
    if factor is None or not calibration.scale or not all(map(math.isfinite, numbers)):
        return Axis(layout.frame_shape[1], name="E")
    return Axis(layout.frame_shape[1], calibration.offset * factor, calibration.scale * factor, "eV", "E")


def specify(
    scan_id: str,
    layout: ScanLayout,
    metadata: DataAndMetadata.DataMetadata,
    maps: typing.Sequence[MapWindow],
    training: Training,
) -> tuple[ScanSpec, list[str]]:
    """Describe a scan to the engine.

    Returns
    -------
    spec : ScanSpec
        With the maps whose windows lie on the energy axis.
    left_out : list of str
        Why the other maps are not made.
    """
    energy = energy_axis(layout, metadata)
    possible, left_out = [], []
    for window in maps:
        try:
            if energy.units != "eV":
                raise InputError("the energy axis is not calibrated in eV")
            EdgeMap(window, energy)
            possible.append(window)
        except InputError as error:
            left_out.append(f"no map {window.name!r}: {error}")
    training = dataclasses.replace(training, frames=training.frames and layout.datum_dimensions == 2)
    frame_shape = layout.frame_shape if training.frames else (1, energy.size)  # else summed over q on the way
    return ScanSpec(scan_id, layout.scan_shape, frame_shape, energy, tuple(possible), training), left_out
