"""A scan in memory or mapped from a file, and the checks it must pass."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.errors import InputError

Array = numpy.typing.NDArray[typing.Any]

PER_EV = {"ev": 1.0, "mev": 1e-3, "kev": 1e3}  # "mev" is meV: no loss is measured in MeV
UNCALIBRATED = ("", "channels", "channel", "px", "pixels")
BLOCK_BYTES = 64 << 20
MAP = "map"
"""Name of the first axis of a map and its sigma, which have no energy axis and can only be written."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """Frames or spectra with their axes.

    Attributes
    ----------
    data : array or memory map, shape (..., E) or (..., q, E)
        Counts; one to three scan axes come first.
    axes : tuple of Axis
        One per dimension of `data`; the last is energy loss in eV, named ``"E"``, and the one
        before it is named ``"q"`` where there are frames. Of a map and its sigma the first is named `MAP`.
    metadata : dict
        What the file says of the scan, plain values only.
    title : str
        What the scan is called.
    intensity : (float, float, str)
        Offset, scale and units of the values, as some formats calibrate them.
    """

    data: Array
    axes: tuple[Axis, ...]
    metadata: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    title: str = ""
    intensity: tuple[float, float, str] = (0.0, 1.0, "counts")

    def __post_init__(self) -> None:
        sizes = tuple(axis.size for axis in self.axes)
        if sizes != self.data.shape:
            raise InputError(f"axes have sizes {sizes} and data {self.data.shape}; want the same")

    @property
    def energy(self) -> Axis:
        """Energy-loss axis, eV."""
        return self.axes[-1]

    @property
    def has_rows(self) -> bool:
        """Whether a position holds a frame ``(q, E)`` and not a spectrum."""
        return len(self.axes) > 2 and self.axes[-2].name == "q"

    @property
    def is_map(self) -> bool:
        """Whether these are a map and its sigma, and no spectra."""
        return self.axes[0].name == MAP

    @property
    def datum_dimensions(self) -> int:
        """Number of axes that are looked at together: of a spectrum, a frame, or a map."""
        return min(len(self.axes) - 1, 2) if self.is_map else 1 + self.has_rows

    @property
    def scan_axes(self) -> tuple[Axis, ...]:
        """The axes before the detector's."""
        return self.axes[:-2] if self.has_rows else self.axes[:-1]

    @property
    def scan_shape(self) -> tuple[int, ...]:
        """Number of positions along every scan axis."""
        return tuple(axis.size for axis in self.scan_axes)

    @property
    def count(self) -> int:
        """Number of positions."""
        return math.prod(self.scan_shape)

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Detector rows and channels ``(q, E)``; q is 1 for spectra."""
        return (self.axes[-2].size if self.has_rows else 1, self.energy.size)

    def frames(self, start: int, stop: int) -> numpy.typing.NDArray[numpy.float32]:
        """Frames `start` to `stop` in scan order, shape (n, q, E), float32, copied out of the file."""
        flat = self.data.reshape(self.count, *self.frame_shape)
        return numpy.array(flat[start:stop], dtype=numpy.float32)


def scan_axis_names(dimensions: int, sequence: bool = False) -> tuple[str, ...]:
    """Names of one to three scan axes: x; y, x; t, y, x; a sequence starts with t."""
    names = ("t", "y", "x")[3 - dimensions :]
    return ("t", *names[1:]) if sequence else names


def check_dimensions(shape: tuple[int, ...], lowest: int, highest: int, path: str) -> None:
    """Refuse arrays that are empty or have too few or too many dimensions."""
    if not lowest <= len(shape) <= highest:
        raise InputError(f"{path} has {len(shape)} dimensions, shape {shape}; want (x, E), (y, x, E) or (y, x, q, E)")
    if not math.prod(shape):
        raise InputError(f"{path} is empty, shape {shape}; want at least one position and one channel")


def in_ev(axis: Axis, path: str) -> Axis:
    """Convert an energy axis from meV or keV to eV; one without units goes on counting channels."""
    units = axis.units.strip().lower()
    factor = PER_EV.get(units)
    if factor is None and units not in UNCALIBRATED:
        raise InputError(f"last axis of {path} is in {axis.units!r}; want energy loss in eV: give --energy OFFSET:STEP")
    if factor is None:
        return dataclasses.replace(axis, units="", name="E")
    return Axis(axis.size, axis.offset * factor, axis.scale * factor, "eV", "E")


def energy_from_values(values: Array, path: str) -> Axis:
    """Axis through evenly spaced energies, eV."""
    values = numpy.asarray(values, dtype=numpy.float64).reshape(-1)
    if values.size < 2:
        raise InputError(f"energy_eV of {path} has {values.size} values; want one per channel, at least two")
    step = float(values[-1] - values[0]) / (values.size - 1)
    uneven = float(numpy.abs(values - values[0] - step * numpy.arange(values.size)).max())
    if not uneven <= 0.01 * abs(step):
        raise InputError(
            f"energies in {path} are not evenly spaced (off by up to {uneven:g} eV, step {step:g} eV):"
            " resample the spectra first"
        )
    return Axis(values.size, float(values[0]), step, "eV", "E")


def parse_energy(spec: str, size: int) -> Axis:
    """Read ``OFFSET:STEP`` in eV, as ``--energy`` takes it."""
    parts = spec.split(":")
    try:
        offset, step = (float(part) for part in parts)
    except ValueError:
        raise InputError(f"energy axis is {spec!r}; want OFFSET:STEP in eV, for example 100:0.8") from None
    return Axis(size, offset, step, "eV", "E")


def check_counts(data: Array, path: str) -> None:
    """Refuse data that cannot be denoised: not real numbers, not finite, or all zero.

    Reads a memory map in blocks.
    """
    if data.dtype.kind not in "uif":
        raise InputError(f"{path} holds values of type {data.dtype}; want counts as integers or real numbers")
    flat = data.reshape(-1, data.shape[-1])
    step = max(1, BLOCK_BYTES // max(1, flat.shape[1] * data.dtype.itemsize))
    bad, first, some = 0, -1, False
    for start in range(0, flat.shape[0], step):
        block = flat[start : start + step]
        wrong = ~numpy.isfinite(block)
        found = int(numpy.count_nonzero(wrong))
        if found and first < 0:
            first = start * flat.shape[1] + int(numpy.argmax(wrong))
        bad += found
        some = some or bool(block.any())
    if bad:
        where = tuple(int(index) for index in numpy.unravel_index(first, data.shape))
        raise InputError(f"{path} holds {bad} values that are NaN or infinite, the first at {where}: mask them first")
    if not some:
        raise InputError(f"{path} holds nothing but zeros; want counts")


def plain(value: typing.Any) -> typing.Any:
    """Turn metadata into what JSON can hold: arrays become lists, NaN becomes None, the unknown text."""
    if isinstance(value, typing.Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, numpy.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, numpy.generic):
        return plain(value.item())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)
