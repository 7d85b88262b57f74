"""Presets of an operator's own: the windows on a picked spectrum, saved by name and offered the next time."""

from __future__ import annotations

import gettext
import pathlib
import typing

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.presets import BUILT_IN, Lines, Preset, delete_preset, read_presets, save_preset

from .eels_menu import Window
from .map_selection import selected_maps
from .map_windows import Drawn, ends_of
from .scan_errors import scan_of

_ = gettext.gettext


def selected_windows(window: Window) -> tuple[Axis, list[Drawn]]:
    """Energies of the selected picked spectrum, and the maps whose windows it has, each of them once.

    Raises
    ------
    InputError
        When it has none.
    """
    maps = selected_maps(window)
    if not maps:
        raise InputError(_("Select the picked spectrum that has windows of maps, or one of these maps."))
    return scan_of(maps[0][0].get_input("scan"))[1], list({drawn.signal: drawn for _, drawn in maps}.values())


def preset_of(name: str, drawn: typing.Sequence[Drawn], energy: Axis) -> Preset:
    """A preset of windows as they are drawn; of lines that are taken off, the main ones are mapped, too.

    Raises
    ------
    InputError
        When some of them follow the zero-loss peak and others do not.
    SettingsError
        When there is no name, or two maps have the same.
    """
    if len({each.follows for each in drawn}) > 1:
        raise InputError(
            _("Some of the windows follow the zero-loss peak and others do not. Draw them on two spectra.")
        )
    majors = [each.major for each in drawn if each.major is not None]
    every = {each.signal: each for each in [*majors, *drawn]}
    maps = tuple(each.window(energy) for each in every.values())
    lines = tuple(
        Lines(each.major.name, each.name, each.ratio, each.ratio_sigma) for each in drawn if each.major is not None
    )
    fits = dict.fromkeys(graphic for each in drawn if each.follows for graphic in each.backgrounds)
    return Preset(name.strip(), maps, lines, tuple(ends_of(graphic, energy) for graphic in fits))


def save(folder: pathlib.Path, preset: Preset) -> str:
    """Save a preset, over one of its name; what was done, for the operator.

    Raises
    ------
    InputError
        As `udvd_core.maps.presets.save_preset`.
    """
    before = read_presets(folder)[0]
    save_preset(folder, preset)
    names = ", ".join(window.name for window in preset.maps)
    again = _(" in place of the earlier one") if preset.name in before else ""
    return f"Preset {preset.name!r} ({names}) is saved{again}; Map Denoised Signal... offers it."


def saved_names(folder: pathlib.Path) -> list[str]:
    """Names of the presets that the operator saved.

    Raises
    ------
    InputError
        When there are none, or the file cannot be read.
    """
    presets, trouble = read_presets(folder)
    names = [name for name, preset in presets.items() if preset not in BUILT_IN]
    if trouble or not names:
        raise InputError(trouble or _("No preset was saved yet. Those that come with the program stay."))
    return names


def delete(folder: pathlib.Path, name: str) -> str:
    """Delete a saved preset; what was done, for the operator."""
    delete_preset(folder, name)
    back = any(preset.name == name for preset in BUILT_IN)
    return f"Preset {name!r} is deleted{'; the one that comes with the program is back' if back else ''}."
