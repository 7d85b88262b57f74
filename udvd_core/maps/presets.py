"""Named sets of maps: those that come with the program, and those that an operator saves in a folder."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import typing

from udvd_core.errors import InputError, SettingsError
from udvd_core.files.atomic import replacing
from udvd_core.settings import MapWindow

FILE = "presets.json"


@dataclasses.dataclass(frozen=True)
class Lines:
    """Lines of one map's element that lie in another map's window and are taken off it by a fixed ratio.

    Attributes
    ----------
    major : str
        Name of the map of the element's main lines.
    overlap : str
        Name of the map that they are taken off.
    ratio, sigma : float
        Counts of the main lines by those that overlap, and the standard error.
    """

    major: str
    overlap: str
    ratio: float
    sigma: float

    def __post_init__(self) -> None:
        if not (0 < self.ratio < math.inf and 0 <= self.sigma < math.inf):
            raise SettingsError(
                f"ratio of {self.major!r} to its lines in {self.overlap!r} is {self.ratio} with error {self.sigma};"
                " want a ratio above 0 and an error of at least 0"
            )


@dataclasses.dataclass(frozen=True)
class Preset:
    """Maps that are made together.

    Attributes
    ----------
    name : str
        What an operator chooses it by.
    maps : tuple of MapWindow
        The maps, eV.
    lines : tuple of Lines
        Overlaps that are taken off.
    tail : tuple of (float, float)
        Where the tail of the zero-loss peak is fitted, eV; windows then move with the peak, and are
        shown in meV.
    """

    name: str
    maps: tuple[MapWindow, ...]
    lines: tuple[Lines, ...] = ()
    tail: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        names = [m.name for m in self.maps]
        if not self.name.strip() or not names or len(set(names)) < len(names):
            raise SettingsError(f"preset {self.name!r} has maps {names}; want a name, and maps of different names")
        for each in self.lines:
            if each.major == each.overlap or not {each.major, each.overlap} <= set(names):
                raise SettingsError(
                    f"preset {self.name!r} takes lines of {each.major!r} off {each.overlap!r}; want two of its maps"
                )
        for low, high in self.tail:
            if not 0 < low < high < math.inf:
                raise SettingsError(
                    f"tail window of preset {self.name!r} is {low} to {high} eV; want (low, high) above 0 eV"
                )

    def to_dict(self) -> dict[str, typing.Any]:
        """Plain dictionary for JSON and for a map's metadata; `from_dict` is its inverse."""
        return typing.cast(dict[str, typing.Any], _lists(dataclasses.asdict(self)))

    @staticmethod
    def from_dict(values: typing.Mapping[str, typing.Any]) -> Preset:
        """Rebuild a preset; unknown keys are refused.

        Raises
        ------
        SettingsError
            When a key is unknown or missing, or a value is out of range.
        """
        try:
            given = _tuples(values)
            given["maps"] = tuple(MapWindow(**m) for m in given["maps"])
            given["lines"] = tuple(Lines(**each) for each in given.get("lines", ()))
            return Preset(**given)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(f"preset cannot be read: {error}; was it made by another version?") from None


BUILT_IN = (
    Preset(
        "h-BN core loss",
        (
            MapWindow("B K", (190.0, 210.0), ((170.0, 188.0),)),
            MapWindow("N K", (400.0, 420.0), ((360.0, 395.0),)),
        ),
    ),
    Preset(
        "Gd-doped ceria",
        (
            MapWindow("Ce M45", (840.0, 960.0), ((807.0, 840.0),)),  # 800 in the paper, whose axis begins at 806
            MapWindow("Gd M45", (1165.0, 1285.0), ((1065.0, 1165.0),)),
        ),
        (Lines("Ce M45", "Gd M45", 10.3, 0.1),),
    ),
    Preset(
        "h-BN phonons",
        (
            MapWindow("TA", (0.050, 0.090)),
            MapWindow("LA", (0.120, 0.140)),
            MapWindow("TO-LO", (0.140, 0.200)),
            MapWindow("zero loss", (-0.017, 0.017)),
        ),
        tail=((0.028, 0.036), (0.225, 0.400)),
    ),
)


def read_presets(folder: pathlib.Path) -> tuple[dict[str, Preset], str]:
    """All presets by name, those in the folder before built-in ones of the same name.

    Parameters
    ----------
    folder : pathlib.Path
        Where `save_preset` saves them; it need not exist.

    Returns
    -------
    dict of Preset, str
        The presets; and what is wrong with the file, in one sentence, or nothing: then the built-in
        ones are there.
    """
    presets = {preset.name: preset for preset in BUILT_IN}
    try:
        presets.update(_saved(folder))
    except InputError as error:
        return presets, str(error)
    return presets, ""


def save_preset(folder: pathlib.Path, preset: Preset) -> None:
    """Save a preset in a folder, over an earlier one of its name.

    Raises
    ------
    InputError
        When the file that is there cannot be read, which would be lost, or the folder cannot be written.
    """
    _write(folder, {**_saved(folder), preset.name: preset})


def delete_preset(folder: pathlib.Path, name: str) -> None:
    """Delete a saved preset; a built-in one of its name comes back.

    Raises
    ------
    InputError
        When no such preset is saved there, or the file cannot be read or written.
    """
    saved = _saved(folder)
    if name not in saved:
        raise InputError(f"no preset {name!r} is saved in {folder}; saved are {', '.join(saved) or 'none'}")
    del saved[name]
    _write(folder, saved)


def _saved(folder: pathlib.Path) -> dict[str, Preset]:
    path = folder / FILE
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["presets"]
        presets = [Preset.from_dict(values) for values in listed]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"presets in {path} cannot be read ({reason}): repair the file or move it away") from None
    return {preset.name: preset for preset in presets}


def _write(folder: pathlib.Path, presets: typing.Mapping[str, Preset]) -> None:
    text = json.dumps({"presets": [p.to_dict() for p in presets.values()]}, indent=2, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / FILE) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"presets cannot be saved in {folder} ({error.strerror}): choose another folder") from None


def _lists(values: typing.Any) -> typing.Any:
    """The same with lists for tuples, as JSON gives them back."""
    if isinstance(values, dict):
        return {key: _lists(value) for key, value in values.items()}
    return [_lists(value) for value in values] if isinstance(values, list | tuple) else values


def _tuples(values: typing.Any) -> typing.Any:
    """The same with tuples for lists."""
    if isinstance(values, typing.Mapping):
        return {key: _tuples(value) for key, value in values.items()}
    return tuple(_tuples(value) for value in values) if isinstance(values, list | tuple) else values
