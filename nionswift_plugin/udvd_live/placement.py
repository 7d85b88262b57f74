"""Where results appear: in the data group "UDVD", scan by scan, and in empty panels where the operator allowed it."""

from __future__ import annotations

import logging
import pathlib
import typing

from nion.swift.model import DataGroup, DisplayItem

from . import preferences
from .pairs import scan_mark
from .scan_errors import is_ours

log = logging.getLogger(__name__)

GROUP = "UDVD"
"""One for a project: Swift lists groups without folding, and 60 scans a day would fill that list."""

Window = typing.Any
"""A window of Swift, `nion.swift.DocumentController`."""

_placements: dict[Window, Placement] = {}


class Placement:
    """Places what this plug-in adds to the project of a window; main thread only.

    Nothing is placed while Swift adds an item. Who added it may group it at once (`group_now`); all else is done in
    Swift's main loop, one item at a time.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._waiting: list[DisplayItem.DisplayItem] = []
        model = window.document_model
        self._inserted = model.item_inserted_event.listen(self._item_inserted)
        self._closing = model.about_to_close_event.listen(self.close)

    def close(self) -> None:
        """Place nothing more."""
        self._waiting.clear()
        self._inserted = self._closing = None
        _placements.pop(self._window, None)

    def _item_inserted(self, key: str, item: typing.Any, index: int) -> None:
        try:
            if key == "display_items" and item.data_item is not None and is_ours(item.data_item.metadata):
                self._waiting.append(item)
                self._window.queue_task(self._place_next)
        except Exception:  # else Swift tells no later listener
            log.exception("UDVD placement")

    def group_all(self) -> None:
        """Put what was added since into the group."""
        model = self._window.document_model
        for display in self._waiting:
            try:
                if display in model.display_items:
                    add_to_group(model, display)
            except Exception:
                log.exception("UDVD placement")

    def _place_next(self) -> None:
        if not self._waiting:
            return
        display = self._waiting.pop(0)
        model = self._window.document_model
        if display not in model.display_items:
            return  # deleted since
        try:
            panel = empty_panel(self._window)
            if panel is None and is_grouped(model, display):
                return
            with model.transaction_context():  # else Swift writes the whole project more than once
                add_to_group(model, display)
                if panel is not None:
                    panel.set_display_panel_display_item(display)
        except Exception:
            log.exception("UDVD placement")


def add_to_group(document_model: typing.Any, display: DisplayItem.DisplayItem) -> DataGroup.DataGroup:
    """Add a result to the group, behind the others of its scan; where it is already, it stays.

    A group that the operator named anew stays hers; another one is made.
    """
    group: DataGroup.DataGroup = document_model.get_or_create_data_group(GROUP)
    members = list(group.display_items)
    if display not in members:
        scan = _mark(display, document_model)
        behind = (at for at in range(len(members), 0, -1) if _mark(members[at - 1], document_model) == scan)
        group.insert_display_item(next(behind, len(members)), display)
    return group


def is_grouped(document_model: typing.Any, display: DisplayItem.DisplayItem) -> bool:
    """Whether a result is in the group."""
    return any(group.title == GROUP and display in group.display_items for group in document_model.data_groups)


def group_now(document_model: typing.Any) -> None:
    """Put what was just added to a project into the group: in one transaction Swift writes the project once."""
    for window, each in list(_placements.items()):
        if window.document_model is document_model:
            each.group_all()


def empty_panel(window: Window) -> typing.Any:
    """The first panel of the workspace that is empty, where the operator allowed results in such; else None.

    A panel with an item, a live camera or a browser is in use, the one with the results of the last scan, too.
    """
    return window.next_result_display_panel() if wants_panels(window) else None


def wants_panels(window: Window) -> bool:
    """Whether the operator allowed results in empty panels."""
    path: pathlib.Path = preferences.path_in(window.ui.get_configuration_location())
    return bool(getattr(preferences.load(path), "show_results", False))


def follow(window: Window) -> None:
    """Place the results that appear in a window's project from now on."""
    if window not in _placements:
        _placements[window] = Placement(window)


def unfollow() -> None:
    """Place nothing in any window."""
    for each in list(_placements.values()):
        each.close()


def _mark(display: DisplayItem.DisplayItem, document_model: typing.Any) -> str:
    """Mark of the raw scan behind a result."""
    item = display.data_item
    return scan_mark(item, document_model) if item is not None else ""
