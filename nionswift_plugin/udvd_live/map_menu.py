"""Maps in Swift's menu EELS: what an operator selects, what is made of it, and a sentence where it does not fit."""

from __future__ import annotations

import functools
import gettext
import logging
import pathlib
import typing

from nion.swift import Application
from nion.swift.model import DataItem, Graphics, Notification
from nion.ui import Dialog

from udvd_core.axes import Axis
from udvd_core.errors import InputError, UdvdError
from udvd_core.maps.presets import read_presets
from udvd_core.settings import MapWindow

from . import averages, background_models, map_view, maps_computation
from .map_choices import Choice, choices
from .map_view import is_map
from .maps_computation import MAP_ID
from .scan_errors import is_ours, scan_of
from .scan_item import OURS

_ = gettext.gettext

log = logging.getLogger(__name__)

NOTE = "udvd.maps"
FIT_COLOUR, SIGNAL_COLOUR = "#F00", "#0F0"  # as the background and the signal of Nion's own EELS tools
MOST_MAPS = len(map_view.COLOURS)
PARTS = (background_models, maps_computation, map_view, averages)

Window = typing.Any
"""A window of Swift, `nion.swift.DocumentController`."""


def choose_map(window: Window) -> None:
    """Ask which maps to make of the selected spectrum image or picked spectrum, then make them."""
    scan, _pick = selected_scan(window)
    presets, trouble = read_presets(pathlib.Path(window.ui.get_configuration_location()))
    if trouble:
        notify(_("Map presets"), trouble)
    offered = choices(scan_of(scan)[1], presets.values())

    def chosen(choice: Choice | None) -> None:
        if choice is not None:
            guarded(functools.partial(map_selected, choice=choice), window)

    Dialog.pose_select_item_pop_up(
        offered, chosen, window=window, item_getter=lambda each: each.title, title=_("Map of")
    )


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
        window.show_display_item(model.get_display_item_for_data_item(pick))
    display = model.get_display_item_for_data_item(pick)
    made = []
    for each in choice.maps:
        signal, fits = _intervals(each, energy)
        for graphic in (*fits, signal):
            display.add_graphic(graphic)
        made.append(maps_computation.create_map(model, scan, signal, fits, each.model)[0])
    _show(window, made)
    return made


def map_raw(window: Window) -> list[DataItem.DataItem]:
    """Map the raw scan in the windows of the selected picked spectrum, or of the selected map of denoised data."""
    model = window.document_model
    display = _only(window)
    shown = set(display.graphics) if display is not None else set()
    made = []
    for computation in list(model.computations):
        if computation.processing_id != MAP_ID:
            continue
        scan, signal, backgrounds = (computation.get_input(name) for name in ("scan", "signal", "backgrounds"))
        is_selected = display is not None and computation.get_output("map") in display.data_items
        if scan is not None and is_ours(scan.metadata) and (signal in shown or is_selected):
            source = scan.metadata[OURS].get("source_uuid")
            raw = next((each for each in model.data_items if str(each.uuid) == source), None)
            if raw is None:
                raise InputError(_("The raw scan is no longer in this project. Select a map whose raw scan is."))
            made.append(
                maps_computation.create_map(model, raw, signal, backgrounds, computation.get_input_value("model"))[0]
            )
    if not made:
        raise InputError(_("Select a map of a denoised spectrum image, or the picked spectrum that has its windows."))
    _show(window, made)
    return made


def view_maps(window: Window) -> DataItem.DataItem:
    """Show the selected maps in one picture."""
    maps = [each for each in _selected_items(window) if is_map(each)]
    if not 1 <= len(maps) <= MOST_MAPS or len({each.data_shape for each in maps}) > 1 or maps[0].data_shape is None:
        raise InputError(_("Select one to three maps of one scan, for example in the data panel."))
    view = map_view.create_view(window.document_model, maps)
    _show(window, [view])
    return view


def average_map(window: Window) -> DataItem.DataItem:
    """Average the selected map over the regions that are marked on it, or over its columns."""
    display = _only(window)
    item = display.data_item if display is not None else None
    if item is None or not is_map(item) or len(item.data_shape or ()) != 2:
        raise InputError(_("Select one map. Mark regions on it with rectangles or ellipses, or none for its columns."))
    regions = [each for each in display.graphics if each.type in averages.REGIONS]
    result = averages.create_averages(window.document_model, item, regions)
    _show(window, [result])
    return result


def selected_scan(window: Window) -> tuple[DataItem.DataItem, DataItem.DataItem | None]:
    """The selected spectrum image, or the one behind the selected picked spectrum, with that spectrum.

    Raises
    ------
    InputError
        When something else is selected.
    """
    display = _only(window)
    item = display.data_item if display is not None else None
    if item is not None and item.data_shape is not None and len(item.data_shape) == 1:
        for source in window.document_model.get_source_data_items(item):
            if len(source.data_shape or ()) > 1:
                return source, item
    if item is None or item.data_shape is None or len(item.data_shape) < 3 or item.datum_dimension_count != 1:
        raise InputError(
            _("Select one spectrum image, denoised or raw, with spectra and not frames, or a spectrum picked from it.")
        )
    scan_of(item)
    return item, None


def guarded(action: typing.Callable[[Window], typing.Any], window: Window) -> None:
    """Do what a menu entry does; what does not fit becomes a message."""
    try:
        action(window)
    except UdvdError as error:
        notify(_("UDVD maps"), str(error))
    except Exception as error:
        log.exception("UDVD maps")
        notify(_("UDVD maps"), f"{type(error).__name__}: {error}")


def notify(title: str, text: str) -> None:
    """Tell the operator, in Swift's list of notifications."""
    Notification.notify(Notification.Notification(NOTE, "\N{WARNING SIGN} UDVD", title, text))


ENTRIES: tuple[tuple[str, typing.Callable[[Window], typing.Any]], ...] = (
    (_("Map Denoised Signal..."), choose_map),
    (_("Map Raw Signal in Same Windows"), map_raw),
    (_("View Maps with Significance"), view_maps),
    (_("Average Map Regions"), average_map),
)


def build_menu(window: Window) -> None:
    """Add the entries to a window's EELS menu; a dialogue, which Swift counts among its windows, has none."""
    if not hasattr(window, "get_or_create_menu"):
        return
    menu = window.get_or_create_menu("eels_menu", _("EELS"), "window_menu")
    menu.add_separator()
    for title, action in ENTRIES:
        menu.add_menu_item(title, functools.partial(guarded, action, window))
    menu.add_separator()


def register() -> None:
    """Add computations, background models and menu entries to Swift."""
    for part in PARTS:
        part.register()
    app: typing.Any = Application.app
    if app is not None:
        app.register_menu_handler(build_menu)


def unregister() -> None:
    """Undo `register`."""
    app: typing.Any = Application.app
    if app is not None and build_menu in app.menu_handlers:
        app.unregister_menu_handler(build_menu)
    for part in PARTS:
        part.unregister()


def _intervals(window: MapWindow, energy: Axis) -> tuple[Graphics.IntervalGraphic, list[Graphics.IntervalGraphic]]:
    """Signal and fit intervals of a map."""
    signal = _interval(window.signal, energy, window.name, "signal", SIGNAL_COLOUR)
    return signal, [_interval(each, energy, _("Fit"), "fit", FIT_COLOUR) for each in window.background]


def _interval(
    ends: tuple[float, float], energy: Axis, label: str, graphic_id: str, colour: str
) -> Graphics.IntervalGraphic:
    graphic = Graphics.IntervalGraphic()
    fractions = sorted((end - energy.offset) / energy.scale / energy.size for end in ends)
    graphic.interval = (fractions[0], fractions[1])
    graphic.label, graphic.graphic_id, graphic.stroke_color = label, graphic_id, colour
    return graphic


def _show(window: Window, items: typing.Iterable[DataItem.DataItem]) -> None:
    """Show items where there is room; nothing that is shown moves away."""
    for item in items:
        window.show_display_item(window.document_model.get_display_item_for_data_item(item), request_focus=False)


def _only(window: Window) -> typing.Any:
    """The selected display item, None unless it is one."""
    displays = window.selected_display_items
    return displays[0] if len(displays) == 1 else None


def _selected_items(window: Window) -> list[DataItem.DataItem]:
    return [each.data_item for each in window.selected_display_items if each.data_item is not None]
