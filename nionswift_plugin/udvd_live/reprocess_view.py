"""How the panel "UDVD Reprocessing" looks: its widgets, and what its lists say of scans and entries."""

from __future__ import annotations

import gettext
import math
import typing

from nion.ui import Declarative

from .library_scans import LibraryScan
from .queue_file import Entry, State
from .scan_list import Row, create_scan_list
from .theme import create_label

_ = gettext.gettext

DOCK_WIDTH, DOCK_HEIGHT, WIDTH = 300, 240, 260
"""Least of the dock, so that Qt leaves room for a list under another panel, and the width of what is in it."""
PLAIN = _("plain: without the tail of the zero-loss peak or the overlap taken off; the map menu makes those afterwards")


def scan_row(scan: LibraryScan) -> Row:
    """What the list says of a scan."""
    about = [scan.made or _("not processed"), scan.form]
    if scan.interrupted:
        about.insert(0, _("interrupted"))
    title = scan.title if scan.number is None or str(scan.number) in scan.title else f"{scan.number}: {scan.title}"
    return Row(scan.uuid, title, "; ".join(about), scan.interrupted)


def queue_row(entry: Entry) -> Row:
    """What the list says of an entry of the queue."""
    training = entry.settings.training
    where = _(", GPU machine") if entry.settings.remote else ""
    about = f"{entry.state.value}, {training.model}, {training.budget_s:g} s{where}"
    if entry.reason:
        about = f"{entry.state.value}: {entry.reason}"
    return Row(entry.key, entry.title, about, entry.state is State.FAILED)


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def build_view(models: list[str], maps: list[str]) -> typing.Any:
    """The widgets, in a dock of 300 px with a scroll bar."""
    u = Declarative.DeclarativeUI()

    def choice(label: str, model: str, name: str, **items: typing.Any) -> typing.Any:
        box = u.create_combo_box(current_index=f"@binding({model}.value)", name=name, width=180, **items)
        return u.create_row(create_label(text=label, width=76), box, u.create_stretch())

    def button(text: str, name: str, tip: str, width: int) -> typing.Any:
        clicked = f"{name}_clicked"
        return u.create_push_button(text=text, on_clicked=clicked, name=f"{name}_button", tool_tip=tip, width=width)

    def text(model: str) -> typing.Any:
        label = create_label(text=f"@binding({model}.value)", width=WIDTH, word_wrap=True)
        return u.create_row(label, u.create_stretch())

    find = u.create_line_edit(
        placeholder_text=_("Find"),
        name="filter",
        width=WIDTH,
        clear_button_enabled=True,
    )
    budget = u.create_line_edit(text="@binding(budget_model.value)", name="budget", width=60)
    column = u.create_column(
        u.create_row(find, u.create_stretch()),
        create_scan_list("scans", 150, WIDTH),
        choice(_("Model"), "model_model", "model", items=models),
        choice(_("Maps"), "maps_model", "maps", items=maps, tool_tip=PLAIN),
        choice(_("Engine"), "engine_model", "engine", items_ref="@binding(engines_model.value)"),
        u.create_row(
            create_label(text=_("Time"), width=76),
            budget,
            create_label(text=_(" s for each scan")),
            u.create_stretch(),
        ),
        u.create_row(
            button(_("Add"), "add", _("Queue the selected scans one by one"), 70),
            button(_("Pool Passes"), "pool", _("Queue the passes selected as one scan, their counts summed"), 100),
            u.create_stretch(),
            spacing=4,
        ),
        text("message_model"),
        create_scan_list("queue", 110, WIDTH),
        u.create_row(
            button(_("Cancel"), "cancel", _("Stop or leave out the selected; those that are over leave the list"), 68),
            button(_("Retry"), "retry", _("Do the selected again"), 60),
            button(_("Up"), "up", _("Sooner"), 50),
            button(_("Down"), "down", _("Later"), 60),
            u.create_stretch(),
            spacing=4,
        ),
        text("line_model"),
        u.create_progress_bar(value="@binding(progress_model.value)", minimum=0, maximum=100, width=WIDTH),
        u.create_stretch(),
        spacing=4,
        margin=8,
    )
    return u.create_scroll_area(column, min_width=DOCK_WIDTH, min_height=DOCK_HEIGHT)
