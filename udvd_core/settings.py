"""What a user can choose, as frozen values that travel as plain dictionaries."""

from __future__ import annotations

import dataclasses
import math
import numbers
import typing
import urllib.parse

from udvd_core.axes import Axis
from udvd_core.errors import SettingsError

MODELS = ("guided", "guide", "udvd", "pca", "raw")
BACKGROUNDS = ("power_law", "power_law_double", "exponential", "log_polynomial", "linear")

Window = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class MapWindow:
    """One map: the counts in a window of energy loss, with or without a background fit.

    Attributes
    ----------
    name : str
        What the map is called, for example ``"B K"``.
    signal : (float, float)
        Window that is summed, eV: channels whose energy lies in [low, high).
    background : tuple of (float, float)
        Windows where a background is fitted, jointly, eV; without any the signal is summed plainly. None and
        a single pair are taken too, for no window and one.
    model : str
        What is fitted there, one of `BACKGROUNDS`; `udvd_core.maps.families` says what they are.
    """

    name: str
    signal: Window
    background: tuple[Window, ...] = ()
    model: str = "power_law"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise SettingsError(f"a map is called {self.name!r}; want a text")
        if self.model not in BACKGROUNDS:
            raise SettingsError(
                f"background model of map {self.name!r} is {self.model!r}; want one of {', '.join(BACKGROUNDS)}"
            )
        given: typing.Any = () if self.background is None else self.background
        several = isinstance(given, list | tuple) and all(isinstance(window, list | tuple) for window in given)
        windows = tuple(self._window("background", window) for window in (given if several else [given]))
        object.__setattr__(self, "signal", self._window("signal", self.signal))
        object.__setattr__(self, "background", windows)

    def _window(self, label: str, given: typing.Any) -> Window:
        """Two floats."""
        if isinstance(given, list | tuple) and len(given) == 2:
            low, high = (_number(end) for end in given)
            if -math.inf < low < high < math.inf:
                return (low, high)
        raise SettingsError(
            f"{label} window of map {self.name!r} is {given}; want (low, high) in eV, the lower energy first"
        )


@dataclasses.dataclass(frozen=True)
class Training:
    """How one scan is denoised.

    Attributes
    ----------
    model : str
        ``"guided"``, ``"guide"`` or ``"udvd"``; ``"pca"`` or ``"raw"`` (none) for comparison.
    width : int or None
        Channels of the network; None takes the paper's 48 on CUDA and a narrow one on a CPU.
    hidden : (int, int) or None
        Hidden radius along q and E, pixels; None hides 1 x 1, and 0 x 1 for spectra.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:n"``.
    frames : bool
        Denoise whole frames ``(q, E)`` and return them; else spectra summed over q.
    learning_rate : float
        Adam's step size.
    budget_s : float
        Seconds from the last frame to the final result.
    preview_s : float
        Seconds between refreshes of what was denoised already.
    memory_bytes : int
        Frames beyond this are kept on disk.
    disk_bytes : int
        Scans beyond this are not denoised live.
    weights : str or None
        File with weights to start from.
    flat : str or None
        File with a flat field ``(q, E)`` that frames are divided by: ``.npy``, or ``data`` of an ``.npz``.
    seed : int
        Seed of initial weights, held-out pixels and batches.
    """

    model: str = "guided"
    width: int | None = None
    hidden: tuple[int, int] | None = None
    device: str = "auto"
    frames: bool = False
    learning_rate: float = 2e-3
    budget_s: float = 10.0
    preview_s: float = 1.0
    memory_bytes: int = 4 << 30
    disk_bytes: int = 64 << 30
    weights: str | None = None
    flat: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise SettingsError(f"model {self.model!r} is not available; this version has {', '.join(MODELS)}")
        if self.width is not None and (self.width < 2 or self.width % 2):
            raise SettingsError(f"network width is {self.width}; want an even number of at least 2")
        if self.hidden is not None and not (
            len(self.hidden) == 2 and all(isinstance(n, int) and n >= 0 for n in self.hidden)
        ):
            raise SettingsError(f"hidden radius is {self.hidden}; want two whole numbers of at least 0")
        if not 0 < self.learning_rate < math.inf:
            raise SettingsError(f"learning rate is {self.learning_rate}; want more than 0")
        if not 0 <= self.budget_s < math.inf:
            raise SettingsError(f"time budget is {self.budget_s} s; want 0 or more")
        if self.memory_bytes < 0 or self.disk_bytes < 0:
            raise SettingsError(
                f"memory limit is {self.memory_bytes} and disk limit {self.disk_bytes} bytes; want 0 or more"
            )
        if not 0 <= self.seed < 1 << 63:
            raise SettingsError(f"seed is {self.seed}; want a whole number from 0 to 2^63 - 1")


@dataclasses.dataclass(frozen=True)
class ScanSpec:
    """All that is known of a scan before its first frame.

    Attributes
    ----------
    scan_id : str
        Unique name of the scan.
    scan_shape : tuple of int
        Positions: ``(n,)`` for a line scan or a sequence, ``(y, x)``, or ``(t, y, x)`` for repeated scans.
    frame_shape : (int, int)
        Detector rows and channels ``(q, E)``; q is 1 for spectra.
    energy : Axis
        The energy-loss axis, eV, size E.
    """

    scan_id: str
    scan_shape: tuple[int, ...]
    frame_shape: tuple[int, int]
    energy: Axis
    maps: tuple[MapWindow, ...] = ()
    training: Training = Training()

    def __post_init__(self) -> None:
        if not 1 <= len(self.scan_shape) <= 3 or min(self.scan_shape, default=0) < 1:
            raise SettingsError(f"scan shape is {self.scan_shape}; want 1 to 3 axes of at least one position")
        if len(self.frame_shape) != 2 or min(self.frame_shape) < 1:
            raise SettingsError(f"frame shape is {self.frame_shape}; want (q, E), both at least 1")
        if self.energy.size != self.frame_shape[1]:
            raise SettingsError(
                f"energy axis has {self.energy.size} channels and frames have {self.frame_shape[1]}; want the same"
            )

    @property
    def count(self) -> int:
        """Number of frames of the whole scan."""
        count = 1
        for size in self.scan_shape:
            count *= size
        return count

    @property
    def file_name(self) -> str:
        """`scan_id` in letters that every file system takes."""
        return urllib.parse.quote(self.scan_id, safe=" ")

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one denoised frame: ``(E,)``, or ``(q, E)`` where frames were asked for."""
        return self.frame_shape if self.training.frames else self.frame_shape[1:]

    def to_dict(self) -> dict[str, typing.Any]:
        """Plain dictionary for JSON; `from_dict` is its inverse."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: typing.Mapping[str, typing.Any]) -> ScanSpec:
        """Rebuild a specification; unknown keys are refused.

        Raises
        ------
        SettingsError
            When a key is unknown or a value is out of range.
        """
        try:
            maps = tuple(MapWindow(**window) for window in values["maps"])
            training = dict(values["training"])
            if training.get("hidden") is not None:
                training["hidden"] = tuple(training["hidden"])
            return ScanSpec(
                **{
                    **values,
                    "scan_shape": tuple(values["scan_shape"]),
                    "frame_shape": tuple(values["frame_shape"]),
                    "energy": Axis(**values["energy"]),
                    "maps": maps,
                    "training": Training(**training),
                }
            )
        except (TypeError, KeyError) as error:
            raise SettingsError(
                f"scan specification cannot be read: {error}; was it made by another version?"
            ) from None


def _number(value: typing.Any) -> float:
    """A number as a float; NaN where it is none, and True and False are none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf
