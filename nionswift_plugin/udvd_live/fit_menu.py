"""Maps by fits in Swift's menu EELS: lines, references that are marked on the scan, atomic percent."""

from __future__ import annotations

import gettext
import typing

from nion.swift.model import DataItem

from udvd_core.errors import InputError
from udvd_core.maps.composition import Factor

from . import composition, eels_menu, line_maps, reference_maps
from .averages import REGIONS
from .eels_menu import Window, guarded
from .map_selection import only, selected_items, selected_scan
from .map_view import is_map, name_of
from .questions import Asking
from .scan_errors import scan_of
from .scan_item import OURS

_ = gettext.gettext

PARTS = (line_maps, reference_maps, composition)
INSET = 0.02  # of the axis: ends of a window that can be seen and dragged


def map_line(window: Window) -> list[DataItem.DataItem]:
    """Map position and width of a line of the selected spectrum image, in a window to be dragged onto it."""
    scan, display = _spectrum(window)
    ends, _places = line_maps.propose(scan)
    graphic = line_maps.interval(ends, scan_of(scan)[1], _("Line"))
    display.add_graphic(graphic)
    return _shown(window, line_maps.create_line(window.document_model, scan, graphic))


def map_ratio(window: Window) -> list[DataItem.DataItem]:
    """Map the ratio of two white lines, in a window and at two places to be dragged onto them."""
    scan, display = _spectrum(window)
    energy = scan_of(scan)[1]
    ends, places = line_maps.propose(scan)
    graphic = line_maps.interval(ends, energy, _("White Lines"))
    one, two = (line_maps.channel(place, energy, name) for place, name in zip(places, ("M5", "M4"), strict=True))
    for each in (graphic, one, two):
        display.add_graphic(each)
    return _shown(window, line_maps.create_ratio(window.document_model, scan, graphic, (one, two)))


def map_shift(window: Window) -> list[DataItem.DataItem]:
    """Map how far a line lies from where it lies in regions on the selected map of its position."""
    display = only(window)
    item = display.data_item if display is not None else None
    if item is None or not is_map(item) or "line" not in item.metadata[OURS] or not name_of(item).endswith("position"):
        raise InputError(
            _("Select one map of a line's position. Mark where it is to be 0 with rectangles or ellipses, or nothing.")
        )
    regions = [each for each in display.graphics if each.type in REGIONS]
    if len(regions) > len(line_maps.REGIONS):
        raise InputError(_("More than six regions are marked; leave six or fewer."))
    return _shown(window, line_maps.create_shift(window.document_model, item, regions))


def map_references(window: Window) -> list[DataItem.DataItem]:
    """Take the selected spectrum image apart into the mean spectra of regions that are marked on it."""
    scan, pick = selected_scan(window)
    model = window.document_model
    marked = [each for each in model.get_display_item_for_data_item(scan).graphics if each.type in REGIONS]
    if not 2 <= len(marked) <= len(reference_maps.REGIONS):
        raise InputError(
            _("Mark two to six regions on the spectrum image with rectangles or ellipses, one for each reference;")
            + f" {len(marked)} are marked."
        )
    scan, display = _spectrum(window)
    energy = scan_of(scan)[1]
    first, last = energy.values()[0], energy.values()[-1]
    inset = INSET * (last - first)
    graphic = line_maps.interval((first + inset, last - inset), energy, _("References"))
    display.add_graphic(graphic)
    return _shown(window, reference_maps.create_references(model, scan, graphic, marked))


def map_composition(window: Window) -> None:
    """Ask for k-factors of the selected maps, then make maps of atomic percent."""
    maps = _edges(window)
    source = maps[0].metadata[OURS].get("source_uuid")
    scan = next((each for each in window.document_model.data_items if str(each.uuid) == source), None)
    beam = composition.beam_of(scan)
    factors = composition.proposed(maps, beam)
    caption = _("k-factors, atoms per count in a common unit, with +- and their error where known.")
    if factors is not None:
        caption += f" By Nion's cross-sections at {beam}."
    else:
        caption += (
            f" For K edges the beam will do: energy, half-angles of convergence and collection, {composition.SHAPE}."
        )
    text = composition.written(factors or [Factor(name_of(item), 1.0) for item in maps])

    def accepted(given: str) -> None:
        guarded(lambda window: compose(window, maps, given), window)

    Asking(window, caption, text, accepted, _("Make Maps"))


def compose(window: Window, maps: typing.Sequence[DataItem.DataItem], given: str) -> list[DataItem.DataItem]:
    """Make maps of atomic percent with factors as they were written."""
    factors = composition.parse_factors(given, maps)
    return _shown(window, composition.create_composition(window.document_model, maps, factors))


ENTRIES: tuple[tuple[str, typing.Callable[[Window], typing.Any]], ...] = (
    (_("Map Line Position and Width"), map_line),
    (_("Map Line Shift from Region"), map_shift),
    (_("Map White-Line Ratio"), map_ratio),
    (_("Map References"), map_references),
    (_("Composition from Maps..."), map_composition),
)


def build_menu(window: Window) -> None:
    """Add the entries to a window's EELS menu."""
    eels_menu.add_entries(window, ENTRIES)


def register() -> None:
    """Add computations and menu entries to Swift."""
    eels_menu.register(PARTS, build_menu)


def unregister() -> None:
    """Undo `register`."""
    eels_menu.unregister(PARTS, build_menu)


def _spectrum(window: Window) -> tuple[DataItem.DataItem, typing.Any]:
    """The selected spectrum image, and the display of a spectrum picked from it, made if there is none."""
    scan, pick = selected_scan(window)
    model = window.document_model
    if pick is None:
        pick = model.get_pick_new(model.get_display_item_for_data_item(scan), scan)
        if pick is None:
            raise InputError(
                _("Swift picks no spectrum from this item. Select a spectrum image with rows and columns.")
            )
        window.show_display_item(model.get_display_item_for_data_item(pick))
    return scan, model.get_display_item_for_data_item(pick)


def _edges(window: Window) -> list[DataItem.DataItem]:
    """Two or three selected maps of edges, of one scan."""
    maps = [each for each in selected_items(window) if is_map(each) and "signal" in each.metadata[OURS].get("map", {})]
    names = {name_of(each) for each in maps}
    sources = {each.metadata[OURS].get("source_uuid") for each in maps}
    if not 2 <= len(maps) <= composition.MOST or len(names) < len(maps) or len(sources) > 1:
        raise InputError(_("Select two or three maps of different edges of one scan, for example in the data panel."))
    return maps


def _shown(window: Window, items: list[DataItem.DataItem]) -> list[DataItem.DataItem]:
    """Show items where there is room; nothing that is shown moves away."""
    for item in items:
        window.show_display_item(window.document_model.get_display_item_for_data_item(item), request_focus=False)
    return items
