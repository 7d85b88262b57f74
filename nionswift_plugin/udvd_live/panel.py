"""The panel: what the companion is doing, in words, and a switch. No arithmetic but for display."""

from __future__ import annotations

import asyncio
import gettext
import logging
import typing

from nion.swift import Panel, Workspace
from nion.ui import Declarative
from nion.utils import Model

from .companion import Companion, companion_of
from .job import Job, Phase
from .recording import State

_ = gettext.gettext

log = logging.getLogger(__name__)

PANEL_ID = "udvd-live-panel"
PERIOD_S = 0.1
WIDTH = 280


class PanelHandler(Declarative.Handler):
    """Binds the companion to widgets and gives it time on the window's event loop."""

    def __init__(self, companion: Companion, event_loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._companion = companion
        self._event_loop = event_loop
        self.follow_model: typing.Any = Model.PropertyModel(companion.preferences.follow)
        self.state_model: typing.Any = Model.PropertyModel("")
        self.scan_model: typing.Any = Model.PropertyModel("")
        self.progress_model: typing.Any = Model.PropertyModel(0)
        self.progress_text_model: typing.Any = Model.PropertyModel("")
        self.learning_model: typing.Any = Model.PropertyModel("")
        self.engine_model: typing.Any = Model.PropertyModel("")
        self.note_model: typing.Any = Model.PropertyModel("")
        u = Declarative.DeclarativeUI()
        rows = [
            u.create_row(
                u.create_check_box(text=_("Follow new scans"), checked="@binding(follow_model.value)", name="follow"),
                u.create_stretch(),
                u.create_push_button(text=_("Stop"), on_clicked="stop_clicked", name="stop"),
            ),
            _line(u, "scan_model"),
            _line(u, "state_model"),
            u.create_progress_bar(value="@binding(progress_model.value)", minimum=0, maximum=100, width=WIDTH),
            _line(u, "progress_text_model"),
            _line(u, "learning_model"),
            _line(u, "engine_model"),
            _line(u, "note_model"),
            u.create_stretch(),
        ]
        self.ui_view = u.create_column(*rows, spacing=4, margin=8)
        self.follow_model.on_value_changed = lambda wanted: companion.follow(bool(wanted))
        self._timer: asyncio.TimerHandle | None = None
        self._tick()

    def stop_clicked(self, widget: typing.Any) -> None:
        """Stop denoising; the scan goes on."""
        self._companion.stop()

    def close(self) -> None:
        """Stop giving time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().close()

    def _tick(self) -> None:
        try:
            self._companion.tick()
            self._show()
        except Exception:
            log.exception("UDVD panel")
        self._timer = self._event_loop.call_later(PERIOD_S, self._tick)

    def _show(self) -> None:
        companion = self._companion
        job = companion.current
        self.scan_model.value = job.recording.title if job else _("No scan yet")
        self.state_model.value = state_line(companion, job)
        self.progress_model.value, self.progress_text_model.value = progress(job)
        self.learning_model.value = learning_line(job)
        self.engine_model.value = engine_line(companion, job)
        self.note_model.value = (
            job.note if job and job.note else companion.ignored and f"Ignored {companion.ignored}"
        )[:120]


def _line(u: Declarative.DeclarativeUI, model: str) -> typing.Any:
    """A label that wraps, so that a long text does not widen the dock."""
    return u.create_row(
        u.create_label(text=f"@binding({model}.value)", width=WIDTH, word_wrap=True), u.create_stretch()
    )


def state_line(companion: Companion, job: Job | None) -> str:
    """What is going on, in plain words."""
    if companion.trouble:
        return _("No engine: ") + companion.trouble[:100]
    if job is None:
        return _("Waiting for a scan") if companion.preferences.follow else _("Switched off")
    if job.phase is Phase.DONE:
        ended = job.recording.state
        if job.finished is None:
            return _("Stopped; results are preliminary")
        if job.finished.final < job.recording.coverage.received:
            return _("Not all frames are final; results are preliminary")
        return _("Final") if ended is State.FINISHED else _("Final for what came; the scan was ") + str(ended.value)
    return str(job.phase.value).capitalize()


def progress(job: Job | None) -> tuple[int, str]:
    """Percent of the scan that is denoised, and how far behind it is."""
    if job is None or job.status is None:
        return 0, ""
    status, count = job.status, job.spec.count
    if job.phase is Phase.FINALISING:
        return int(100 * status.final / count), f"{status.final} of {count} frames final"
    if job.phase is Phase.DONE:
        final = job.finished.final if job.finished else status.denoised
        return int(100 * final / count), f"{final} of {count} frames"
    return int(
        100 * status.denoised / count
    ), f"{status.denoised} of {count} frames, {job.lag} behind ({lag_s(job):.1f} s)"


def lag_s(job: Job) -> float:
    """How far behind the scan the picture is, seconds at the pace of the scan so far."""
    received = job.recording.coverage.received
    elapsed = job._clock() - job.timeline.started
    return max(job.lag, 0) * elapsed / received if received else 0.0


def learning_line(job: Job | None) -> str:
    """What was learned so far and how good it is, in the model's words."""
    if job is None or job.status is None:
        return ""
    return job.status.learned or _("Nothing learned yet")


def engine_line(companion: Companion, job: Job | None) -> str:
    """Where it is computed."""
    if companion.engine is None:
        return _("Engine off")
    device = f"{job.status.model} on {job.status.device}, " if job and job.status else ""
    return device + companion.engine.describe()


class UdvdPanel(Panel.Panel):
    """The dock panel. Swift makes one for each window, shown or not."""

    def __init__(
        self, document_controller: typing.Any, panel_id: str, properties: typing.Mapping[str, typing.Any]
    ) -> None:
        super().__init__(document_controller, panel_id, "UDVD")
        companion = companion_of(
            document_controller.document_model, document_controller.ui.get_configuration_location()
        )
        handler = PanelHandler(companion, document_controller.event_loop)
        self.widget = Declarative.DeclarativeWidget(document_controller.ui, document_controller.event_loop, handler)


def register() -> None:
    """Add the panel to Swift's windows."""
    properties = {"min-width": 280, "height": 200}
    Workspace.WorkspaceManager().register_panel(
        UdvdPanel, PANEL_ID, _("UDVD Live Denoising"), ["left", "right"], "right", properties
    )


def unregister() -> None:
    """Take it away."""
    Workspace.WorkspaceManager().unregister_panel(PANEL_ID)
