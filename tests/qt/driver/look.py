"""What of our widgets can be seen: where their texts are, and how much room these would need."""

from __future__ import annotations

import collections.abc
import typing

from nion.utils import Geometry

from nionswift_plugin.udvd_live import scan_list

FRAMES = {"LabelWidget": 0, "CheckBoxWidget": 20, "PushButtonWidget": 8, "LineEditWidget": 8, "ComboBoxWidget": 30}
"""Kinds of widgets with text, and pixels of their width that are for a frame, a box or an arrow."""

Text = dict[str, typing.Any]


def shown(root: typing.Any) -> collections.abc.Iterator[typing.Any]:
    """A widget and all in it that is not hidden."""
    if root.visible:
        yield root
        for child in root._contained_widgets:
            yield from shown(child)


def views(root: typing.Any) -> dict[int, list[int]]:
    """Where of the screen each widget in another can be seen: within all areas that scroll around it."""
    found = {id(root): frame(root)}
    for widget in shown(root):
        view = found[id(widget)]
        if type(widget).__name__ == "ScrollAreaWidget":
            around, own = view, frame(widget)
            view = [max(around[0], own[0]), max(around[1], own[1]), min(around[2], own[2]), min(around[3], own[3])]
        found.update((id(child), view) for child in widget._contained_widgets)
    return found


def frame(widget: typing.Any) -> list[int]:
    """Left, top, right, bottom on the screen."""
    corner, size = widget.map_to_global(Geometry.IntPoint()), widget.size
    return [corner.x, corner.y, corner.x + size.width, corner.y + size.height]


def box_of(widget: typing.Any) -> list[int]:
    """Where a check box can be clicked, wide as its widget may be."""
    left, top, _right, bottom = frame(widget)
    return [left + 8, (top + bottom) // 2]


def texts_in(ui: typing.Any, root: typing.Any) -> list[Text]:
    """Every text in a widget: what it says, where it is and may be seen, width and height that it has and needs."""
    found: list[Text] = []
    seen = views(root)
    for widget in shown(root):
        kind = type(widget).__name__
        if kind == "ScanList":
            found += [{**row, "view": seen[id(widget)]} for row in _rows(widget)]
        text = (getattr(widget, "current_text", "") if kind == "ComboBoxWidget" else getattr(widget, "text", "")) or ""
        if kind in FRAMES and text:
            found.append({**_text(ui, widget, str(text), FRAMES[kind]), "view": seen[id(widget)]})
    return found


def _text(ui: typing.Any, widget: typing.Any, text: str, frame_width: int) -> Text:
    font = getattr(widget, "text_font", None) or "normal"
    lines = text.split("\n")
    metrics = [ui.get_font_metrics(font, line) for line in lines]
    size, widest = widget.size, max(each.width for each in metrics)
    if getattr(widget, "word_wrap", False):
        rows = sum(-(-each.width // size.width) for each in metrics)
        widest = min(widest, size.width)
    else:
        rows = len(lines)
    return {
        "text": text,
        "enabled": widget.enabled,
        "frame": frame(widget),
        "has": [size.width, size.height],
        "needs": [widest + frame_width, rows * (metrics[0].height - 1)],
    }


def _rows(listed: typing.Any) -> list[Text]:
    """Rows end in an ellipsis where they are too long, and are whole in the tool tip: they need no more room."""
    left, top, right, bottom = frame(listed)
    places = range(top, bottom - scan_list.ROW_HEIGHT, scan_list.ROW_HEIGHT)
    return [
        {
            "text": row.title,
            "enabled": True,
            "frame": [left, y, right, y + scan_list.ROW_HEIGHT],
            "has": [0, 0],
            "needs": [0, 0],
        }
        for row, y in zip(listed.rows, places, strict=False)
    ]


def panel(window: typing.Any, panel_id: str) -> typing.Any:
    """The widget of a dock panel."""
    return window.workspace_controller._find_dock_panel(panel_id).widget


def dialog(app: typing.Any, window: typing.Any) -> typing.Any:
    """The window of the newest dialogue that is open; None where there is none."""
    opened = [ref() for ref in (*app._BaseApplication__dialogs, *window._Window__dialogs)]
    opened = [each for each in opened if each is not None and each._document_window is not None]
    return opened[-1] if opened else None


def root_of(dialogue: typing.Any) -> typing.Any:
    """What is in a dialogue."""
    return dialogue._document_window.root_widget


def part_with(root: typing.Any, text: str) -> typing.Any:
    """The innermost declarative part that has a label of this text: our pane among Swift's own."""
    parts = [each for each in shown(root) if type(each).__name__ == "DeclarativeWidget"]
    return next(part for part in reversed(parts) if any(getattr(each, "text", None) == text for each in shown(part)))


def of_kind(root: typing.Any, kind: str, text: str | None = None) -> typing.Any:
    """The first widget of a class in another, with this text."""
    return next(
        each
        for each in shown(root)
        if type(each).__name__ == kind and (text is None or getattr(each, "text", None) == text)
    )


def menu_titles(window: typing.Any) -> list[str]:
    """Dock panels in the order of the menu Window."""
    return sorted(each.toggle_action.title for each in window.workspace_controller.dock_widgets)


def field_in(root: typing.Any, label: str) -> typing.Any:
    """The line edit that follows a label."""
    found = list(shown(root))
    begin = next(n for n, each in enumerate(found) if getattr(each, "text", None) == label)
    return next(each for each in found[begin:] if type(each).__name__ == "LineEditWidget")
