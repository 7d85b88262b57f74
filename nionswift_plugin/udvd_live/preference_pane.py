"""The pane in Swift's Preferences dialog: every field is checked as it is typed, and only what is right is kept."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import gettext
import pathlib
import typing

from nion.ui import Declarative, PreferencesDialog
from nion.utils import Model

from udvd_core.errors import UdvdError
from udvd_core.settings import MODELS

from . import panel_text, preferences
from .companion import choose_for_all
from .engine_check import check
from .preferences import Preferences
from .theme import create_label

_ = gettext.gettext

DEVICES = {
    "auto": _("This machine, GPU if there is one"),
    "cpu": _("This machine, CPU"),
    "cuda": _("This machine, GPU"),
}
GIB = 1 << 30
LABEL_WIDTH, FIELD_WIDTH = 110, 230

FIELDS = {
    "python": (_("Interpreter"), _("empty: found by itself")),
    "engine": (_("GPU machine"), _("empty: none; else tls://HOST:PORT")),
    "certificates": (_("Its certificates"), _("folder from udvd certs")),
    "budget_s": (_("Final after (s)"), _("seconds after the last frame")),
    "memory_gib": (_("Memory (GiB)"), _("GiB; larger scans go to disk")),
    "disk_gib": (_("Disk (GiB)"), _("GiB; larger scans are not followed")),
    "cameras": (_("EELS cameras"), _("ids, if they do not say so")),
}
SWITCHES = {
    "follow": _("Follow new scans"),
    "map_sigmas": _("Make an item with the standard error of each map"),
    "raw_maps": _("Make the same maps of the raw counts"),
    "show_results": _("Show results in empty display panels"),
}


def changed(chosen: Preferences, name: str, text: str) -> Preferences:
    """Preferences with one field as it was typed.

    Raises
    ------
    UdvdError
        When the text is no value for this field; the message says what is.
    """
    text = text.strip()
    if name in ("budget_s", "memory_gib", "disk_gib"):
        try:
            number = float(text)
        except ValueError:
            raise UdvdError(f"{FIELDS[name][0]} is {text!r}; want a number of {FIELDS[name][1]}") from None
        if name == "budget_s":
            return dataclasses.replace(chosen, training=dataclasses.replace(chosen.training, budget_s=number))
        if not 0 < number < 1e6:
            raise UdvdError(f"{FIELDS[name][0]} is {number:g}; want more than 0")
        limit: dict[str, typing.Any] = {
            {"memory_gib": "memory_bytes", "disk_gib": "disk_bytes"}[name]: int(number * GIB)
        }
        return dataclasses.replace(chosen, training=dataclasses.replace(chosen.training, **limit))
    if name == "cameras":
        return dataclasses.replace(chosen, cameras=tuple(part for part in text.replace(",", " ").split() if part))
    if name == "python" and text and not pathlib.Path(text).is_file():
        raise UdvdError(f"there is no program {text}; want the path of a python, or nothing")
    if name == "certificates" and text and not pathlib.Path(text).is_dir():
        raise UdvdError(f"there is no folder {text}; want the one that udvd certs made for this machine")
    field: dict[str, typing.Any] = {name: text or None}
    return dataclasses.replace(chosen, **field)


def shown(chosen: Preferences, name: str) -> str:
    """What a field shows."""
    if name == "budget_s":
        return f"{chosen.training.budget_s:g}"
    if name in ("memory_gib", "disk_gib"):
        size = chosen.training.memory_bytes if name == "memory_gib" else chosen.training.disk_bytes
        return f"{size / GIB:g}"
    if name == "cameras":
        return ", ".join(chosen.cameras)
    return getattr(chosen, name) or ""


class PaneHandler(Declarative.Handler):
    """The fields, a sentence on what is wrong with the one typed last, and a test of the engine.

    Parameters
    ----------
    path : path
        File with the preferences.
    event_loop : event loop
        Of Swift's main thread.
    """

    def __init__(self, path: pathlib.Path, event_loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._path, self._event_loop = path, event_loop
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "udvd-check")
        self.chosen = preferences.load(path)
        self.told_model: typing.Any = Model.PropertyModel("")
        self.testing_model: typing.Any = Model.PropertyModel(_("Test"))
        self.device_model: typing.Any = Model.PropertyModel(list(DEVICES).index(self._device()))
        self.model_model: typing.Any = Model.PropertyModel(MODELS.index(self.chosen.training.model))
        for name in SWITCHES:
            model: typing.Any = Model.PropertyModel(getattr(self.chosen, name))
            model.on_value_changed = lambda value, name=name: self._choose(**{name: bool(value)})
            setattr(self, f"{name}_model", model)
        for name in FIELDS:
            setattr(self, f"{name}_model", Model.PropertyModel(shown(self.chosen, name)))
            setattr(self, f"{name}_typed", lambda widget, text, name=name: self.typed(name, text))
        self.ui_view = self._view()

    def typed(self, name: str, text: str) -> None:
        """Keep a field if it is right, else say what it wants."""
        try:
            self._keep(changed(self.chosen, name, text))
            self.told_model.value = ""
        except UdvdError as error:
            self.told_model.value = panel_text.wrapped(str(error))

    def device_chosen(self, widget: typing.Any, index: int) -> None:
        """Where the engine computes."""
        self._training(device=list(DEVICES)[index])

    def model_chosen(self, widget: typing.Any, index: int) -> None:
        """How scans are denoised."""
        self._training(model=MODELS[index])

    def test_clicked(self, widget: typing.Any) -> None:
        """Try the engine as it is set, on a thread of its own, and say what was found."""
        self.testing_model.value = _("Testing …")
        self._pool.submit(check, self.chosen).add_done_callback(
            lambda done: self._event_loop.call_soon_threadsafe(self._tested, done.result())
        )

    def close(self) -> None:
        """Let go of a test that runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _tested(self, told: str) -> None:
        self.testing_model.value = _("Test")
        self.told_model.value = "\n".join(map(panel_text.wrapped, told.splitlines()))

    def _device(self) -> str:
        device = self.chosen.training.device
        return device if device in DEVICES else "cuda"

    def _training(self, **changes: typing.Any) -> None:
        self._choose(training=dataclasses.replace(self.chosen.training, **changes))

    def _choose(self, **changes: typing.Any) -> None:
        self._keep(dataclasses.replace(self.chosen, **changes))

    def _keep(self, chosen: Preferences) -> None:
        self.chosen = chosen
        choose_for_all(self._path, chosen)

    def _view(self) -> typing.Any:
        u = Declarative.DeclarativeUI()
        switches = [
            u.create_check_box(text=text, checked=f"@binding({name}_model.value)") for name, text in SWITCHES.items()
        ]
        fields = [
            _row(
                u,
                label,
                u.create_line_edit(
                    text=f"@binding({name}_model.value)",
                    placeholder_text=hint,
                    on_text_edited=f"{name}_typed",
                    width=FIELD_WIDTH,
                ),
                hint,
            )
            for name, (label, hint) in FIELDS.items()
        ]
        device = u.create_combo_box(
            items=list(DEVICES.values()),
            current_index="@binding(device_model.value)",
            on_current_index_changed="device_chosen",
        )
        model = u.create_combo_box(
            items=list(MODELS), current_index="@binding(model_model.value)", on_current_index_changed="model_chosen"
        )
        test = u.create_push_button(text="@binding(testing_model.value)", on_clicked="test_clicked")
        head = [
            u.create_row(
                test, create_label(text=_("tries the engine as it is set here")), u.create_stretch(), spacing=8
            ),
            u.create_row(create_label(text="@binding(told_model.value)"), u.create_stretch()),
        ]
        rows = [
            *switches,
            _row(u, _("Engine"), device),
            _row(u, _("Model"), model),
            *fields,
            u.create_row(create_label(text=_("Maps are chosen in the panel.")), u.create_stretch()),
            u.create_row(create_label(text=_("Changes hold from the next scan on.")), u.create_stretch()),
            u.create_stretch(),
        ]
        scrolled = u.create_scroll_area(u.create_column(*rows, spacing=6, margin=8))  # the dialogue is low
        return u.create_column(*head, scrolled, spacing=6)


def _row(u: Declarative.DeclarativeUI, label: str, field: typing.Any, hint: str = "") -> typing.Any:
    return u.create_row(
        create_label(text=label, width=LABEL_WIDTH, tool_tip=hint), field, u.create_stretch(), spacing=8
    )


class Pane:
    """What Swift's Preferences dialog lists."""

    identifier, label = "udvd-live", _("UDVD Live Denoising")

    def build(
        self, ui: typing.Any, event_loop: asyncio.AbstractEventLoop | None = None, **kwargs: typing.Any
    ) -> typing.Any:
        """Make the widget."""
        path = preferences.path_in(ui.get_configuration_location())
        loop = event_loop or asyncio.get_event_loop()
        return Declarative.DeclarativeWidget(ui, loop, PaneHandler(path, loop))


_pane = Pane()


def register() -> None:
    """Add the pane."""
    PreferencesDialog.PreferencesManager().register_preference_pane(_pane)


def unregister() -> None:
    """Take it away."""
    PreferencesDialog.PreferencesManager().unregister_preference_pane(_pane)
