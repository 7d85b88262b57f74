"""The panel "UDVD Reprocessing": the project's spectrum images, how to process them, and the queue."""

from __future__ import annotations

import asyncio
import dataclasses
import gettext
import logging
import math
import pathlib
import time
import typing

from nion.swift import Panel, Workspace
from nion.ui import Declarative, UserInterface
from nion.utils import Model

from udvd_core.errors import InputError, UdvdError
from udvd_core.maps.presets import Preset, read_presets
from udvd_core.settings import MODELS, MapWindow

from . import scan_list
from .companion import Companion, companion_of
from .preferences import Preferences
from .queue_file import Settings
from .reprocess import Reprocessor
from .reprocess_view import DOCK_WIDTH, build_view, duration, queue_row, scan_row
from .scan_list import ScanList

_ = gettext.gettext

log = logging.getLogger(__name__)

PANEL_ID = "udvd-reprocessing-panel"
PERIOD_S, LIST_S = 0.25, 3.0
READ_S = 0.01
"""To read of the library at each turn, on the main thread."""
BUDGET_S = 60.0
LOCAL = _("This computer")
AS_LIVE = _("As live")


class ReprocessHandler(Declarative.Handler):
    """Binds the queue to widgets; the live panel gives it time.

    Parameters
    ----------
    companion : Companion
        Of the project.
    document_model : DocumentModel
        Swift's.
    configuration_folder : path
        Has the presets of maps.
    event_loop : AbstractEventLoop
        Of the window.
    """

    filter: UserInterface.LineEditWidget
    scans: ScanList
    queue: ScanList

    def __init__(
        self,
        companion: Companion,
        document_model: typing.Any,
        configuration_folder: pathlib.Path,
        event_loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__()
        self._companion = companion
        self._document_model = document_model
        self._event_loop = event_loop
        presets, trouble = read_presets(configuration_folder)
        self._maps: dict[str, tuple[MapWindow, ...] | None] = {AS_LIVE: None}
        self._maps.update({plain_name(preset): preset.maps for preset in presets.values()})
        model = companion.preferences.training.model
        self.model_model: typing.Any = Model.PropertyModel(MODELS.index(model))
        self.maps_model: typing.Any = Model.PropertyModel(0)
        self.engine_model: typing.Any = Model.PropertyModel(0)
        self.engines_model: typing.Any = Model.PropertyModel([])
        self.budget_model: typing.Any = Model.PropertyModel(f"{BUDGET_S:g}")
        self.line_model: typing.Any = Model.PropertyModel("")
        self.message_model: typing.Any = Model.PropertyModel(trouble)
        self.progress_model: typing.Any = Model.PropertyModel(0)
        self.ui_view = build_view(list(MODELS), list(self._maps))
        self._listed, self._wanted = -math.inf, ""
        self._offered = False
        self._timer: asyncio.TimerHandle | None = None

    def init_handler(self) -> None:
        """Begin, now that the widgets are there."""
        self._offer_engines()
        self._tick()

    def close(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().close()

    @property
    def reprocessor(self) -> Reprocessor:
        """The queue of this project."""
        return self._companion.reprocessor

    # buttons

    def add_clicked(self, widget: typing.Any) -> None:
        """Queue the selected scans one by one."""
        self._add(pool=False)

    def pool_clicked(self, widget: typing.Any) -> None:
        """Queue the selected scans as one, their counts summed."""
        self._add(pool=True)

    def cancel_clicked(self, widget: typing.Any) -> None:
        """Stop or leave out the selected entries of the queue."""
        self.reprocessor.cancel(self.queue.selected)

    def retry_clicked(self, widget: typing.Any) -> None:
        """Let the selected entries wait again."""
        self.reprocessor.retry(self.queue.selected)

    def up_clicked(self, widget: typing.Any) -> None:
        """Move the selected entries up."""
        self.reprocessor.move(self.queue.selected, -1)

    def down_clicked(self, widget: typing.Any) -> None:
        """Move the selected entries down."""
        self.reprocessor.move(self.queue.selected, 1)

    def _add(self, pool: bool) -> None:
        chosen = set(self.scans.selected)
        items = [item for item in self._document_model.data_items if str(item.uuid) in chosen]
        try:
            self.message_model.value = self.reprocessor.add(items, self._settings(), pool)
        except UdvdError as error:
            self.message_model.value = str(error)

    def _settings(self) -> Settings:
        """How the operator wants the selected scans processed.

        Raises
        ------
        InputError
            When the budget is no time.
        """
        try:
            budget = float(self.budget_model.value)
        except (TypeError, ValueError):
            budget = -1.0
        if not 0 < budget < math.inf:
            raise InputError(f"the time budget is {self.budget_model.value!r}; want seconds, more than 0")
        maps = list(self._maps.values())[self.maps_model.value or 0]
        settings = settings_of(self._companion.preferences, MODELS[self.model_model.value or 0], budget, maps)
        return dataclasses.replace(settings, remote=bool(self.engine_model.value))

    # time

    def _tick(self) -> None:
        try:
            self._show()
        except Exception:
            log.exception("UDVD reprocessing panel")
        self._timer = self._event_loop.call_later(PERIOD_S, self._tick)

    def _offer_engines(self) -> None:
        """Offer the GPU machine while the preferences name one; it is chosen as soon as it is offered."""
        engines = engines_of(self._companion.preferences)
        if engines != self.engines_model.value:
            self.engines_model.value = engines
            self.engine_model.value = len(engines) - 1

    def _show(self) -> None:
        self._offer_engines()
        queue = self.reprocessor
        self.queue.rows = [queue_row(entry) for entry in queue.queue.entries]
        left = queue.left_s()
        self.line_model.value = queue.trouble or queue.line() + (f"; at most {duration(left)} left" if left else "")
        self.progress_model.value = queue.percent()
        if time.monotonic() - self._listed > LIST_S or (self.filter.text or "") != self._wanted:
            self._list_scans()

    def _list_scans(self) -> None:
        """List what there is and fits the filter; at first those that were interrupted are selected."""
        self._listed, self._wanted = time.monotonic(), self.filter.text or ""
        queue = self.reprocessor
        found = queue.library.scans(self._companion.preferences.cameras, queue.left, queue.busy, READ_S)
        self.scans.rows = [scan_row(scan) for scan in found if scan.matches(self._wanted)]
        cut_off = [scan.uuid for scan in found if scan.interrupted]
        if not queue.library.complete:
            self._listed = -math.inf  # go on at the next turn
            return
        if cut_off and not self._offered:
            self.scans.select(cut_off)
            self.message_model.value = f"{len(cut_off)} interrupted, selected: press Add to denoise them"
        self._offered = True


def settings_of(
    preferences: Preferences,
    model: str | None = None,
    budget_s: float = BUDGET_S,
    maps: tuple[MapWindow, ...] | None = None,
) -> Settings:
    """Settings of an entry: as live and where live, but for model, budget and maps where they are given."""
    training = dataclasses.replace(preferences.training, model=model or preferences.training.model, budget_s=budget_s)
    kinds = ("value",) + ("sigma",) * preferences.map_sigmas + ("raw",) * preferences.raw_maps
    remote = preferences.engine is not None
    return Settings(training, preferences.maps if maps is None else maps, kinds, remote)


def engines_of(preferences: Preferences) -> list[str]:
    """Where scans can be reprocessed: on this computer, and on the GPU machine that the preferences name."""
    host = (preferences.engine or "").removeprefix("tls://").rpartition(":")[0]
    return [LOCAL, _("GPU machine ") + host] if host else [LOCAL]


def plain_name(preset: Preset) -> str:
    """A preset's name, and that the engine makes plain windows of it: without its tail or overlaps taken off."""
    return preset.name + (_(" (plain)") if preset.tail or preset.lines else "")


class ReprocessPanel(Panel.Panel):
    """The dock panel. Swift makes one for each window, shown or not."""

    def __init__(
        self, document_controller: typing.Any, panel_id: str, properties: typing.Mapping[str, typing.Any]
    ) -> None:
        super().__init__(document_controller, panel_id, "UDVD")
        folder = document_controller.ui.get_configuration_location()
        model, loop = document_controller.document_model, document_controller.event_loop
        self.handler = ReprocessHandler(companion_of(model, folder), model, pathlib.Path(folder), loop)
        self.widget = Declarative.DeclarativeWidget(document_controller.ui, loop, self.handler)


def register() -> None:
    """Add the panel to Swift's windows."""
    scan_list.register()
    properties = {"min-width": DOCK_WIDTH, "height": 400}
    Workspace.WorkspaceManager().register_panel(
        ReprocessPanel, PANEL_ID, _("UDVD Reprocessing"), ["left", "right"], "right", properties
    )


def unregister() -> None:
    """Take it away."""
    Workspace.WorkspaceManager().unregister_panel(PANEL_ID)
    scan_list.unregister()
