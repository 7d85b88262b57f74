"""Maps in Swift's menu EELS: what an operator selects, what is made of it, and a sentence where it does not fit."""

from __future__ import annotations

import functools
import gettext
import pathlib
import typing

from nion.swift.model import DataItem

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.presets import Preset, read_presets

from . import averages, background_models, eels_menu, map_presets, map_view, maps_computation
from .eels_menu import Window, guarded, notify
from .map_choices import Choice, about, choices
from .map_selection import only, selected_items, selected_maps, selected_scan
from .map_view import is_map
from .map_windows import draw
from .questions import Asking, Choosing
from .scan_errors import is_ours, scan_of
from .scan_item import OURS
from .scan_list import Row

_ = gettext.gettext

MOST_MAPS = len(map_view.COLOURS)
PARTS = (background_models, maps_computation, map_view, averages)


def choose_map(window: Window) -> None:
    """Ask which maps to make of the selected spectrum image or picked spectrum, then make them."""
    scan, _pick = selected_scan(window)
    presets, trouble = read_presets(folder_of(window))
    if trouble:
        notify(_("Map presets"), trouble)
    offered = choices(scan_of(scan)[1], presets.values())

    def chosen(key: str) -> None:
        guarded(functools.partial(map_selected, choice=offered[int(key)]), window)

    rows = [Row(str(number), choice.title, choice.about) for number, choice in enumerate(offered)]
    Choosing(window, _("Map of"), rows, chosen)


def save_windows(window: Window) -> None:
    """Ask for a name, then save the windows on the selected picked spectrum, as they were dragged, as a preset."""
    energy, drawn = map_presets.selected_windows(window)
    map_presets.preset_of("-", drawn, energy)  # what is wrong with them comes before the question

    def named(name: str) -> None:
        def save(window: Window) -> None:
            preset = map_presets.preset_of(name, drawn, energy)
            notify(_("Map presets"), map_presets.save(folder_of(window), preset), sign="")

        guarded(save, window)

    caption = _("Save the windows as map preset, over an earlier one of this name:")
    Asking(window, caption, drawn[0].preset, named, _("Save"))


def delete_saved(window: Window) -> None:
    """Ask which of the saved presets to delete."""
    folder = folder_of(window)

    def chosen(name: str) -> None:
        guarded(lambda window: notify(_("Map presets"), map_presets.delete(folder, name), sign=""), window)

    saved = read_presets(folder)[0]
    rows = [Row(name, name, about(saved[name])) for name in map_presets.saved_names(folder)]
    Choosing(window, _("Delete map preset"), rows, chosen)


def map_selected(window: Window, choice: Choice) -> list[DataItem.DataItem]:
    """Make maps of the selected spectrum image, with their windows on a picked spectrum; returns the map items."""
    scan, pick = selected_scan(window)
    model = window.document_model
    energy = scan_of(scan)[1]
    if pick is None:
        pick = model.get_pick_new(model.get_display_item_for_data_item(scan), scan)
        if pick is None:
            raise InputError(
                _("Swift picks no spectrum from this item. Select a spectrum image with rows and columns.")
            )
        if choice.preset.tail:
            _show_low_loss(model.get_display_item_for_data_item(pick), choice.preset, energy)
        window.show_display_item(model.get_display_item_for_data_item(pick))
    display = model.get_display_item_for_data_item(pick)
    drawn = draw(choice.preset, energy)
    for graphic in dict.fromkeys(graphic for each in drawn for graphic in (*each.backgrounds, each.signal)):
        display.add_graphic(graphic)
    made = [maps_computation.create_map(model, scan, each)[0] for each in drawn]
    _show(window, made)
    return made


def map_raw(window: Window) -> list[DataItem.DataItem]:
    """Map the raw scan in the windows of the selected picked spectrum, or of the selected map of denoised data."""
    model = window.document_model
    made = []
    for computation, drawn in selected_maps(window):
        scan = computation.get_input("scan")
        if scan is not None and is_ours(scan.metadata):
            source = scan.metadata[OURS].get("source_uuid")
            raw = next((each for each in model.data_items if str(each.uuid) == source), None)
            if raw is None:
                raise InputError(_("The raw scan is no longer in this project. Select a map whose raw scan is."))
            made.append(maps_computation.create_map(model, raw, drawn)[0])
    if not made:
        raise InputError(_("Select a map of a denoised spectrum image, or the picked spectrum that has its windows."))
    _show(window, made)
    return made


def view_maps(window: Window) -> DataItem.DataItem:
    """Show the selected maps in one picture."""
    maps = [each for each in selected_items(window) if is_map(each)]
    if not 1 <= len(maps) <= MOST_MAPS or len({each.data_shape for each in maps}) > 1 or maps[0].data_shape is None:
        raise InputError(_("Select one to three maps of one scan, for example in the data panel."))
    view = map_view.create_view(window.document_model, maps)
    _show(window, [view])
    return view


def average_map(window: Window) -> DataItem.DataItem:
    """Average the selected map over the regions that are marked on it, or over its columns."""
    display = only(window)
    item = display.data_item if display is not None else None
    if item is None or not is_map(item) or len(item.data_shape or ()) != 2:
        raise InputError(_("Select one map. Mark regions on it with rectangles or ellipses, or none for its columns."))
    regions = [each for each in display.graphics if each.type in averages.REGIONS]
    result = averages.create_averages(window.document_model, item, regions)
    _show(window, [result])
    return result


def folder_of(window: Window) -> pathlib.Path:
    """Where presets are saved."""
    return pathlib.Path(window.ui.get_configuration_location())


ENTRIES: tuple[tuple[str, typing.Callable[[Window], typing.Any]], ...] = (
    (_("Map Denoised Signal..."), choose_map),
    (_("Map Raw Signal in Same Windows"), map_raw),
    (_("View Maps with Significance"), view_maps),
    (_("Average Map Regions"), average_map),
    (_("Save Map Windows as Preset..."), save_windows),
    (_("Delete Map Preset..."), delete_saved),
)


def build_menu(window: Window) -> None:
    """Add the entries to a window's EELS menu."""
    eels_menu.add_entries(window, ENTRIES, separated=True)


def register() -> None:
    """Add computations, background models and menu entries to Swift."""
    eels_menu.register(PARTS, build_menu)


def unregister() -> None:
    """Undo `register`."""
    eels_menu.unregister(PARTS, build_menu)


def _show_low_loss(display: typing.Any, preset: Preset, energy: Axis) -> None:
    """Show a spectrum where windows are, in steps of ten: little is seen beside the zero-loss peak else."""
    ends = [end for window in (*(each.signal for each in preset.maps), *preset.tail) for end in window]
    low, high = (round((end - energy.offset) / energy.scale) for end in (min(ends), max(ends)))
    display.set_display_property("y_style", "log")
    display.set_display_property("left_channel", max(low - (high - low) // 4, 0))
    display.set_display_property("right_channel", min(high + (high - low) // 10, energy.size))


def _show(window: Window, items: typing.Iterable[DataItem.DataItem]) -> None:
    """Show items where there is room; nothing that is shown moves away."""
    for item in items:
        window.show_display_item(window.document_model.get_display_item_for_data_item(item), request_focus=False)
