"""What the operator chose, kept as JSON in Swift's configuration folder; a broken file is never fatal."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
import re
import types
import typing

from udvd_core.errors import SettingsError
from udvd_core.settings import MapWindow, Training

log = logging.getLogger(__name__)

FILE = "udvd_live.json"
OVERRIDE = "UDVD_SETTINGS"

MAPS = (
    MapWindow("B K", (190.0, 210.0), ((160.0, 187.0),)),
    MapWindow("Zero Loss", (-2.0, 2.0)),
    MapWindow("TO-LO", (0.14, 0.2)),
)


@dataclasses.dataclass(frozen=True)
class Preferences:
    """The plug-in's settings.

    Attributes
    ----------
    follow : bool
        Follow new scans.
    python : str or None
        Interpreter for the engine; None finds it.
    engine : str or None
        Address of a GPU machine, ``tls://HOST:PORT``; None computes on this one.
    certificates : str or None
        Folder with the certificates for it.
    cameras : tuple of str
        Hardware source ids that count as EELS cameras whatever their signal type says.
    maps : tuple of MapWindow
        Maps to make of each scan, windows in eV; those outside the scan's energies are left out.
    map_sigmas, raw_maps : bool
        Make an item with the standard error of each map, and one with the same map of the raw counts.
    show_results : bool
        Show results in display panels that are empty.
    training : Training
        How scans are denoised.
    """

    follow: bool = True
    python: str | None = None
    engine: str | None = None
    certificates: str | None = None
    cameras: tuple[str, ...] = ()
    maps: tuple[MapWindow, ...] = MAPS
    map_sigmas: bool = False
    raw_maps: bool = False
    show_results: bool = False
    training: Training = Training()

    def __post_init__(self) -> None:
        if self.engine is not None and not re.fullmatch(r"tls://[^\s/:]+:\d{1,5}", self.engine):
            raise SettingsError(f"GPU machine is {self.engine!r}; want tls://HOST:PORT, or nothing")

    @staticmethod
    def from_json(text: str) -> Preferences:
        """Read settings; what is not there keeps its default.

        Raises
        ------
        SettingsError
            When the text is no JSON object, a key is unknown or a value is out of range.
        """
        try:
            values = json.loads(text)
            if "maps" in values:
                values["maps"] = tuple(MapWindow(**entry) for entry in values["maps"])
            if isinstance(values.get("cameras"), list):
                values["cameras"] = tuple(_of_type("cameras", name, str) for name in values["cameras"])
            if "training" in values:
                training = dict(values["training"])
                if training.get("hidden") is not None:
                    training["hidden"] = tuple(training["hidden"])
                values["training"] = Training(**_checked(Training, training))
            return Preferences(**_checked(Preferences, values))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise SettingsError(f"settings cannot be read: {error}; want JSON as described in the README") from None

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=2)


def _checked(kind: type, values: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """Values for the fields of a dataclass, each of the type that the field has."""
    hints = typing.get_type_hints(kind)
    return {name: _of_type(name, value, hints.get(name, object)) for name, value in values.items()}


def _of_type(name: str, value: typing.Any, hint: typing.Any) -> typing.Any:
    """A value as it is; JSON's whole numbers become floats where those are wanted, its true and false no numbers."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = tuple(typing.get_origin(option) or option for option in options)
    if float in kinds:
        kinds += (int,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and int in kinds):
        raise TypeError(f"{name} is {value!r}; want {getattr(hint, '__name__', hint)}")
    return float(value) if float in kinds and isinstance(value, int) else value


def path_in(configuration_folder: str) -> pathlib.Path:
    """Settings file in Swift's configuration folder, or where the environment variable says."""
    return pathlib.Path(os.environ.get(OVERRIDE) or pathlib.Path(configuration_folder) / FILE)


def load(path: pathlib.Path) -> Preferences:
    """Settings from a file; the defaults, with a warning in the log, where it cannot be used."""
    try:
        return Preferences.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Preferences()
    except (OSError, UnicodeDecodeError, SettingsError) as error:
        log.warning("UDVD uses its default settings: %s: %s", path, error)
        return Preferences()


def store(path: pathlib.Path, preferences: Preferences) -> None:
    """Write settings, all or nothing; a failure is logged."""
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(preferences.to_json(), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        log.warning("UDVD could not store its settings in %s: %s", path, error)
