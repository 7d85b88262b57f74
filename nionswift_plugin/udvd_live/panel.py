"""The panel: what the companion is doing, how far to trust it, and the switches. No arithmetic but for display."""

from __future__ import annotations

import asyncio
import gettext
import logging
import typing

from nion.swift import Panel, Workspace
from nion.ui import Declarative
from nion.utils import Model

from udvd_core.monitor import CARE

from . import panel_text
from .companion import Companion, companion_of
from .job import Job, Phase
from .panel_maps import MapsHandler
from .theme import create_label

_ = gettext.gettext

log = logging.getLogger(__name__)

PANEL_ID = "udvd-live-panel"
PERIOD_S, SHOWN_EVERY, SURE_S = 0.1, 3, 4.0
"""Seconds between turns of the companion; lines are told anew at every third: a millisecond of Swift's main thread."""
HURRY_S = 0.05
"""Between turns while items are to be made before the first row is in."""
DOCK_WIDTH, WIDTH = 300, 260
"""Least of the dock, and of a bar in it; without the first, Qt opens a dock that holds nothing else 60 pixels wide."""

LINES = ("title", "state", "percent_text", "note", "trust", "psnr", "heldout", "dose", "engine", "learned", "hidden")
LIT = ("engine", "trust", "note")
"""Lines behind a light."""


Shape = typing.Callable[[str], str]


class Line:
    """One line of the panel: what it shows, the whole of it as tool tip, its light, whether it says anything."""

    def __init__(self) -> None:
        self.text: typing.Any = Model.PropertyModel("")
        self.full: typing.Any = Model.PropertyModel("")
        self.sign: typing.Any = Model.PropertyModel("")
        self.colour: typing.Any = Model.PropertyModel(panel_text.COLOURS[""])
        self.there: typing.Any = Model.PropertyModel(False)

    def tell(self, whole: str, shown: str, light: str = "") -> None:
        """Set it; unchanged parts cost nothing."""
        sign, colour = panel_text.SIGNS[light], panel_text.COLOURS[light]
        models = (self.text, self.full, self.sign, self.colour, self.there)
        for model, value in zip(models, (shown, whole, sign, colour, bool(whole)), strict=True):
            if model.value != value:
                model.value = value


class PanelHandler(Declarative.Handler):
    """Binds the companion to widgets and gives it time on the window's event loop."""

    def __init__(self, companion: Companion, event_loop: asyncio.AbstractEventLoop, window: typing.Any = None) -> None:
        super().__init__()
        self._companion = companion
        self._event_loop = event_loop
        self._window = window
        self._sure = 0.0
        self._kept: Job | None = None
        self.follow_model: typing.Any = Model.PropertyModel(companion.preferences.follow)
        self.percent_model: typing.Any = Model.PropertyModel(0)
        self.maps_shown_model: typing.Any = Model.PropertyModel(False)
        self.pause_model: typing.Any = Model.PropertyModel(_("Pause Learning"))
        self.discard_model: typing.Any = Model.PropertyModel(_("Discard"))
        self.running_model: typing.Any = Model.PropertyModel(False)
        self.finalising_model: typing.Any = Model.PropertyModel(False)
        self.finished_model: typing.Any = Model.PropertyModel(False)
        for name in LINES:
            setattr(self, name, Line())
        self.ui_view = self._view()
        self.follow_model.on_value_changed = lambda wanted: companion.follow(bool(wanted))
        self._timer: asyncio.TimerHandle | None = None
        self._turns = 0
        self._tick()

    def create_handler(self, component_id: str, **kwargs: typing.Any) -> typing.Any:
        """Make the part with the maps."""
        return MapsHandler(self._companion, self._window) if component_id == "maps" and self._window else None

    def pause_clicked(self, widget: typing.Any) -> None:
        """Learn no further, or go on."""
        if job := self._companion.current:
            job.pause(not job.paused)

    def finish_clicked(self, widget: typing.Any) -> None:
        """Make the result final with what was learned so far."""
        if job := self._companion.current:
            job.finish_now()

    def stop_clicked(self, widget: typing.Any) -> None:
        """Stop denoising; the scan goes on."""
        self._companion.stop()

    def keep_clicked(self, widget: typing.Any) -> None:
        """Keep the results whatever is reprocessed later."""
        if job := self._companion.current:
            job.keep()
            self._kept = job

    def discard_clicked(self, widget: typing.Any) -> None:
        """Delete the results, at the second click."""
        now = self._event_loop.time()
        if now < self._sure:
            self._sure = 0.0
            self._companion.discard()
        else:
            self._sure = now + SURE_S

    def close(self) -> None:
        """Stop giving time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().close()

    def _view(self) -> typing.Any:
        u = Declarative.DeclarativeUI()
        button = u.create_push_button
        rows = [
            u.create_check_box(text=_("Follow new scans"), checked="@binding(follow_model.value)", name="follow"),
            _line(u, "title", font="bold"),
            _line(u, "state"),
            u.create_progress_bar(value="@binding(percent_model.value)", minimum=0, maximum=100, width=WIDTH),
            _line(u, "percent_text"),
            u.create_row(
                button(text="@binding(pause_model.value)", on_clicked="pause_clicked", name="pause"),
                button(text=_("Finish Now"), on_clicked="finish_clicked", enabled="@binding(finalising_model.value)"),
                button(
                    text=_("Stop"), on_clicked="stop_clicked", name="stop", tool_tip=_("Denoising; the scan goes on")
                ),
                u.create_stretch(),
                visible="@binding(running_model.value)",
                spacing=4,
            ),
            u.create_row(
                button(text=_("Keep"), on_clicked="keep_clicked", tool_tip=_("Never replaced by reprocessing")),
                button(text="@binding(discard_model.value)", on_clicked="discard_clicked", name="discard"),
                u.create_stretch(),
                visible="@binding(finished_model.value)",
                spacing=4,
            ),
            *(_line(u, name) for name in LINES[3:]),
            u.create_check_box(text=_("Show maps"), checked="@binding(maps_shown_model.value)"),
            u.create_column(u.create_component_instance("maps"), visible="@binding(maps_shown_model.value)"),
            u.create_stretch(),
        ]
        return u.create_scroll_area(u.create_column(*rows, spacing=4, margin=8), min_width=DOCK_WIDTH)

    def _tick(self) -> None:
        try:
            self._companion.tick()
            if self._turns % SHOWN_EVERY == 0:
                self._show()
            self._turns += 1
        except Exception:
            log.exception("UDVD panel")
        job = self._companion.current
        hurry = job is not None and job.making
        self._timer = self._event_loop.call_later(HURRY_S if hurry else PERIOD_S, self._tick)

    def _show(self) -> None:
        companion = self._companion
        job = companion.current
        self.percent_model.value, text = panel_text.progress(job)
        psnr, heldout = panel_text.history_lines(job)
        self._tell("title", job.recording.title if job else _("No scan yet"), panel_text.elided)
        self._tell("state", panel_text.state_line(companion, job))
        self._tell("percent_text", text)
        self._light("engine", *panel_text.engine_line(companion, job))
        self._light("trust", *panel_text.trust_line(job))
        self._tell("psnr", psnr)
        self._tell("heldout", heldout)
        self._tell("dose", "\n".join(map(panel_text.wrapped, panel_text.dose_lines(job))), str)
        self._light("note", CARE, panel_text.note_line(companion, job))
        self._tell("learned", panel_text.learning_line(job))
        self._tell("hidden", job.status.hidden if job and job.status else "")
        done = job is not None and job.phase is Phase.DONE
        self.running_model.value = job is not None and not done
        self.finalising_model.value = job is not None and job.phase is Phase.FINALISING
        self.finished_model.value = job is not None and done and bool(job.items) and job is not self._kept
        self.pause_model.value = _("Go On Learning") if job is not None and job.paused else _("Pause Learning")
        self.discard_model.value = _("Really Discard?") if self._event_loop.time() < self._sure else _("Discard")

    def _tell(self, name: str, text: str, shaped: Shape = panel_text.wrapped) -> None:
        """Set what a line shows."""
        getattr(self, name).tell(text, shaped(text))

    def _light(self, name: str, light: str, text: str) -> None:
        """Set what a line shows, and its light."""
        getattr(self, name).tell(text, panel_text.wrapped(text, panel_text.CHARACTERS - 3), light)


def _line(u: Declarative.DeclarativeUI, name: str, **options: typing.Any) -> typing.Any:
    """A label, hidden where it says nothing; its whole text as tool tip, its light before it."""
    sign = f"@binding({name}.sign.value)"
    light = u.create_label(text=sign, color=f"@binding({name}.colour.value)", text_alignment_vertical="top")
    return u.create_row(
        *([light] if name in LIT else []),
        create_label(text=f"@binding({name}.text.value)", tool_tip=f"@binding({name}.full.value)", **options),
        u.create_stretch(),
        visible=f"@binding({name}.there.value)",
        spacing=4,
    )


class UdvdPanel(Panel.Panel):
    """The dock panel. Swift makes one for each window, shown or not."""

    def __init__(
        self, document_controller: typing.Any, panel_id: str, properties: typing.Mapping[str, typing.Any]
    ) -> None:
        super().__init__(document_controller, panel_id, "UDVD")
        companion = companion_of(
            document_controller.document_model, document_controller.ui.get_configuration_location()
        )
        handler = PanelHandler(companion, document_controller.event_loop, document_controller)
        self.widget = Declarative.DeclarativeWidget(document_controller.ui, document_controller.event_loop, handler)


def register() -> None:
    """Add the panel to Swift's windows."""
    properties = {"min-width": DOCK_WIDTH, "height": 420}
    Workspace.WorkspaceManager().register_panel(
        UdvdPanel, PANEL_ID, _("UDVD Live Denoising"), ["left", "right"], "right", properties
    )


def unregister() -> None:
    """Take it away."""
    Workspace.WorkspaceManager().unregister_panel(PANEL_ID)
