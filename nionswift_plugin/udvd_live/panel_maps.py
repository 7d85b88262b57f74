"""The part of the panel that says which maps are made of the next scan, and shows those of this one."""

from __future__ import annotations

import gettext
import pathlib
import typing

from nion.ui import Declarative
from nion.utils import ListModel, Model

from udvd_core.maps.presets import read_presets
from udvd_core.settings import MapWindow

from .companion import Companion
from .map_choices import range_of
from .panel_text import elided
from .scan_item import OURS
from .theme import create_label

_ = gettext.gettext

NAME_WIDTH = 120


class MapsHandler(Declarative.Handler):
    """Maps that are wanted, a line each, and a choice of what can be added.

    Parameters
    ----------
    companion : Companion
        Its preferences hold the maps.
    window : DocumentController
        Swift's window, where maps are shown.
    """

    def __init__(self, companion: Companion, window: typing.Any) -> None:
        super().__init__()
        self._companion, self._window = companion, window
        self.lines: typing.Any = ListModel.ListModel[MapWindow]()
        self.choice_model: typing.Any = Model.PropertyModel(0)
        self._presets, _trouble = read_presets(pathlib.Path(window.ui.get_configuration_location()))
        self.offered = [_("Add maps of …"), *self._presets]
        u = Declarative.DeclarativeUI()
        self.ui_view = u.create_column(
            u.create_column(items="lines.items", item_component_id="line", spacing=2),
            u.create_row(
                u.create_combo_box(
                    items=self.offered, current_index="@binding(choice_model.value)", on_current_index_changed="chosen"
                ),
                u.create_stretch(),
            ),
            spacing=4,
        )
        self._fill()

    def create_handler(self, component_id: str, item: typing.Any = None, **kwargs: typing.Any) -> typing.Any:
        """Make the line of one map."""
        return _Line(self, item) if component_id == "line" else None

    def chosen(self, widget: typing.Any, index: int) -> None:
        """Add the maps of a preset that are not there yet."""
        if 0 < index <= len(self._presets):
            wanted = self._companion.preferences.maps
            names = {window.name for window in wanted}
            new = tuple(window for window in self._presets[self.offered[index]].maps if window.name not in names)
            self._companion.choose(maps=(*wanted, *new))
            self._fill()
        self.choice_model.value = 0

    def remove(self, window: MapWindow) -> None:
        """Do not make this map of the next scans."""
        kept = tuple(each for each in self._companion.preferences.maps if each.name != window.name)
        self._companion.choose(maps=kept)
        self._fill()

    def show(self, window: MapWindow) -> None:
        """Show the map of the newest scan in the selected display panel."""
        job = self._companion.current
        for item in job.items if job else []:
            if item.metadata[OURS].get("map", {}).get("name") == window.name:
                display = self._window.document_model.get_display_item_for_data_item(item)
                if panel := self._window.selected_display_panel:
                    panel.set_display_panel_display_item(display)
                return

    def _fill(self) -> None:
        while self.lines.items:
            self.lines.remove_item(0)
        for window in self._companion.preferences.maps:
            self.lines.append_item(window)


class _Line(Declarative.Handler):
    """One map: name, window, buttons."""

    def __init__(self, owner: MapsHandler, window: MapWindow) -> None:
        super().__init__()
        self._owner, self._window = owner, window
        u = Declarative.DeclarativeUI()
        self.ui_view = u.create_row(
            create_label(text=elided(window.name, 14), tool_tip=f"{window.name}: {range_of(window)}", width=NAME_WIDTH),
            u.create_stretch(),
            u.create_push_button(
                text=_("Show"), on_clicked="show_clicked", tool_tip=_("Show it in the selected panel"), width=56
            ),
            u.create_push_button(
                text=_("Remove"), on_clicked="remove_clicked", tool_tip=_("Not for the next scans"), width=66
            ),
            spacing=4,
        )

    def show_clicked(self, widget: typing.Any) -> None:
        """Show the map."""
        self._owner.show(self._window)

    def remove_clicked(self, widget: typing.Any) -> None:
        """Do not make it any more."""
        self._owner.remove(self._window)
