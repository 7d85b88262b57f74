"""A plug-in for the tests alone: runs Python that comes over a local socket on Swift's main thread, answers in JSON.

What is sent sees `app`, `window`, `model` and the functions of this module. An expression is answered by its value.
"""

from __future__ import annotations

import ast
import collections.abc
import functools
import hashlib
import json
import multiprocessing.connection
import os
import queue
import sys
import threading
import traceback
import typing

from nion.swift import LinePlotCanvasItem, Workspace
from nion.utils import Geometry, Registry

from nionswift_plugin.udvd_live import (
    companion,
    evidence_menu,
    fit_menu,
    map_menu,
    maps_computation,
    pairs,
    reprocess_menu,
    scan_list,
)

from . import look, stage
from .main_thread import Ours, Sleeper, Ticks

TOOLS = {
    "functools": functools,
    "companion": companion,
    "evidence_menu": evidence_menu,
    "fit_menu": fit_menu,
    "map_menu": map_menu,
    "pairs": pairs,
    "reprocess_menu": reprocess_menu,
    "look": look,
    "stage": stage,
    "Ours": Ours,
    "Sleeper": Sleeper,
    "Ticks": Ticks,
}
"""What code that is sent sees beside this module's own functions."""
SOCKET = "UDVD_DRIVER"
ANSWER_S = 20.0

Place = tuple[int, int]
"""x and y on the screen, pixels."""


def run() -> None:
    """Swift calls this once all plug-ins are loaded."""
    threading.Thread(target=_serve, name="udvd-driver", daemon=True).start()


def _serve() -> None:
    with multiprocessing.connection.Listener(os.environ[SOCKET], "AF_UNIX") as listener:
        while True:
            with listener.accept() as connection:
                connection.send_bytes(json.dumps(_answer(connection.recv_bytes().decode())).encode())


def _answer(code: str) -> dict[str, typing.Any]:
    app = Registry.get_component("application")
    if app is None or not app.document_controllers:
        return {"waiting": True}
    window = app.document_controllers[0]
    answers: queue.Queue[dict[str, typing.Any]] = queue.Queue()

    def execute() -> None:
        known = {
            **globals(),
            **TOOLS,
            "app": app,
            "window": window,
            "model": window.document_model,
        }
        try:
            try:
                ast.parse(code, mode="eval")
            except SyntaxError:
                exec(compile(code, "<test>", "exec"), known)
                value = None
            else:
                value = eval(code, known)
            json.dumps(value)
            answers.put({"value": value})
        except Exception:
            answers.put({"error": traceback.format_exc()})

    window.queue_task(execute)
    try:
        return answers.get(timeout=ANSWER_S)
    except queue.Empty:
        return {"error": f"Swift's main thread did not get to it within {ANSWER_S:g} s\n{_stacks()}"}


def _stacks() -> str:
    """What each thread is doing, but for those that wait for work."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    told = {names.get(ident): traceback.format_stack(frame) for ident, frame in sys._current_frames().items()}
    return "\n".join(f"{name}:\n{''.join(stack)}" for name, stack in told.items() if "work_queue.get" not in stack[-1])


# widgets


def show_panels(window: typing.Any, wanted: typing.Sequence[str]) -> None:
    """Open these dock panels at the right side of the window, and no others there."""
    for panel in window.workspace_controller.dock_panels:
        if panel.panel_id in wanted:
            panel.show()
        elif panel.dock_widget.position == "right":
            panel.hide()


def widgets(root: typing.Any) -> collections.abc.Iterator[typing.Any]:
    """A widget and all in it, in the order of the layout."""
    yield root
    for child in root._contained_widgets:
        yield from widgets(child)


def panel_widgets(window: typing.Any, panel_id: str, kind: str) -> list[typing.Any]:
    """Widgets of a dock panel by the name of their class."""
    root = window.workspace_controller._find_dock_panel(panel_id).widget
    return [each for each in widgets(root) if type(each).__name__ == kind]


def place_of(widget: typing.Any) -> Place:
    """Centre of a widget."""
    size = widget.size
    return _place(widget.map_to_global(Geometry.IntPoint(x=size.width // 2, y=size.height // 2)))


def button(window: typing.Any, panel_id: str, text: str) -> Place:
    """Centre of the button with this text."""
    buttons = panel_widgets(window, panel_id, "PushButtonWidget")
    found = [each for each in buttons if each.text == text and each.visible]
    if len(found) != 1:
        raise LookupError(f"{len(found)} buttons {text!r} in {panel_id}; it has {[each.text for each in buttons]}")
    return place_of(found[0])


def has_button(window: typing.Any, panel_id: str, text: str) -> bool:
    """Whether a panel shows a button with this text now."""
    return any(each.text == text and each.visible for each in panel_widgets(window, panel_id, "PushButtonWidget"))


def texts(window: typing.Any, panel_id: str) -> list[str]:
    """What the labels of a panel say, empty ones left out."""
    return [each.text for each in panel_widgets(window, panel_id, "LabelWidget") if each.text]


def field_after(window: typing.Any, panel_id: str, label: str) -> typing.Any:
    """The line edit that follows a label."""
    root, seen = window.workspace_controller._find_dock_panel(panel_id).widget, False
    for each in widgets(root):
        seen = seen or (type(each).__name__ == "LabelWidget" and each.text == label)
        if seen and type(each).__name__ == "LineEditWidget":
            return each
    raise LookupError(f"no field after {label!r} in {panel_id}")


def row_of(window: typing.Any, panel_id: str, number: int, title: str) -> Place:
    """Middle of the row with this title in a list of ours, the first or second of its panel."""
    found = panel_widgets(window, panel_id, "ScanList")[number]
    index = next(index for index, row in enumerate(found.rows) if row.title == title)
    left_top = found.map_to_global(Geometry.IntPoint())
    return (left_top.x + found.size.width // 2, left_top.y + index * scan_list.ROW_HEIGHT + scan_list.ROW_HEIGHT // 2)


# what is in the library


def result(model: typing.Any, number: int, label: str) -> typing.Any:
    """The result of this label that belongs to the scan of this number, whatever its state; None before it is made."""
    begin = f"Spectrum Image EELS {number} ({label}"
    return next((item for item in model.data_items if item.title.startswith(begin)), None)


def mapping(model: typing.Any) -> typing.Any:
    """The newest computation of a map; None where there is none."""
    found = [each for each in model.computations if each.processing_id == maps_computation.MAP_ID]
    return found[-1] if found else None


def raw(model: typing.Any, number: int) -> typing.Any:
    """The raw spectrum image of this number."""
    return next(item for item in model.data_items if item.title == f"Spectrum Image EELS {number}")


def rows_filled(item: typing.Any) -> int:
    """Rows of a spectrum image or map, at least one position of which is not zero; 0 for None."""
    data = item.data[:] if item is not None and item.data_shape is not None else None
    if data is None:
        return 0
    return int(data.reshape(len(data), -1).any(axis=1).sum())


def describe(item: typing.Any) -> dict[str, typing.Any]:
    """Title, shape, digest of the data, calibrations and our metadata, to compare before and after.

    Without what is null in the metadata: Swift does not write that into its files.
    """
    return {
        "title": item.title,
        "shape": list(item.data_shape),
        "sha256": hashlib.sha256(item.data[:].tobytes()).hexdigest(),
        "calibrations": [[c.offset, c.scale, c.units] for c in item.dimensional_calibrations],
        "udvd": _not_null(item.metadata.get("udvd", {})),
    }


def _not_null(value: typing.Any) -> typing.Any:
    if isinstance(value, collections.abc.Mapping):
        return {name: _not_null(each) for name, each in value.items() if each is not None}
    return [_not_null(each) for each in value] if isinstance(value, list | tuple) else value


# displays


def quarter(window: typing.Any) -> None:
    """Change to a workspace of four display panels."""
    columns = [
        Workspace.create_splitter_desc("vertical", [0.5, 0.5], [Workspace.create_image_desc() for _ in (1, 2)])
        for _ in (1, 2)
    ]
    layout = Workspace.create_splitter_desc("horizontal", [0.5, 0.5], columns)
    window.workspace_controller.ensure_workspace("Lab", layout, "udvd-test")


def on_plot(window: typing.Any, item: typing.Any, fraction: float) -> Place:
    """Where a fraction of the energy axis of a line plot lies, at half height of the plot."""
    for panel in window.workspace_controller.display_panels:
        canvas = panel.display_canvas_item
        if panel.data_item is item and isinstance(canvas, LinePlotCanvasItem.LinePlotCanvasItem):
            mapping = canvas._LinePlotCanvasItem__get_mouse_mapping()
            middle = canvas.canvas_bounds.height // 2
            x = mapping.map_point_channel_norm_to_widget(fraction)
            return _place(canvas.map_to_global(Geometry.IntPoint(x=round(x), y=middle)))
    raise LookupError(f"{item.title!r} is not shown as a line plot")


def select(window: typing.Any, item: typing.Any) -> None:
    """Select an item in the data panel."""
    window.select_display_items_in_data_panel([window.document_model.get_display_item_for_data_item(item)])
    window.data_panel_focused()


def _place(point: Geometry.IntPoint) -> Place:
    return (point.x, point.y)


kept: dict[str, typing.Any] = {}
"""What outlives an answer."""
