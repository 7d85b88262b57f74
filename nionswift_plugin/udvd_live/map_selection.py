"""What an operator has selected in a window of Swift, for the menu of maps."""

from __future__ import annotations

import gettext
import typing

from nion.swift.model import DataItem, Symbolic

from udvd_core.errors import InputError

from .eels_menu import Window
from .map_windows import Drawn, drawn_of
from .maps_computation import MAP, MAP_ID
from .scan_errors import scan_of

_ = gettext.gettext


def selected_scan(window: Window) -> tuple[DataItem.DataItem, DataItem.DataItem | None]:
    """The selected spectrum image, or the one behind the selected picked spectrum, with that spectrum.

    Raises
    ------
    InputError
        When something else is selected.
    """
    display = only(window)
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


def selected_maps(window: Window) -> list[tuple[Symbolic.Computation, Drawn]]:
    """Maps whose windows are on the selected picked spectrum, or the selected map, in the order they were made."""
    display = only(window)
    if display is None:
        return []
    found = []
    for computation in window.document_model.computations:
        drawn = drawn_of(computation) if computation.processing_id == MAP_ID else None
        if drawn is not None and (
            drawn.signal in display.graphics or computation.get_output(MAP) in display.data_items
        ):
            found.append((computation, drawn))
    return found


def only(window: Window) -> typing.Any:
    """The selected display item, None unless it is one."""
    displays = window.selected_display_items
    return displays[0] if len(displays) == 1 else None


def selected_items(window: Window) -> list[DataItem.DataItem]:
    return [each.data_item for each in window.selected_display_items if each.data_item is not None]
