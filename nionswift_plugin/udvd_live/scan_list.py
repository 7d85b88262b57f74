"""A list with two lines for each entry, of which several can be selected; Swift's own list box has one and one.

Texts that are too long end in an ellipsis and are shown whole in a tool tip. Arrow keys, Shift and Control select.
"""

from __future__ import annotations

import dataclasses
import typing

from nion.ui import CanvasItem, Declarative, ListCanvasItem, UserInterface, Widgets
from nion.utils import Registry, Selection

from . import theme

TYPE = "udvd_scan_list"
ROW_HEIGHT, MARGIN = 36, 5
FONT, SMALL = "12px sans-serif", "11px sans-serif"
SELECTED = "#000"
"""Ink on a selected row, which Nion paints blue or light grey."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One entry: a title, what is known of it, whether that is bad news, and a name that stays the same."""

    key: str
    title: str
    about: str
    alarming: bool = False


class _Delegate(Widgets.ListCanvasItemDelegate):
    """Paints rows."""

    def __init__(self, ui: typing.Any, selection: Selection.IndexedSelection) -> None:
        super().__init__()
        self._ui = ui
        self._selection = selection
        self.colours = theme.LIGHT

    def item_tool_tip(self, index: int) -> str | None:
        row = self.items[index]
        return f"{row.title}\n{row.about}"

    def paint_item(self, drawing_context: typing.Any, display_item: Row, rect: typing.Any, is_selected: bool) -> None:
        width = rect.width - 2 * MARGIN
        colours = self.colours
        ink = SELECTED if is_selected else colours.ink
        about_ink = SELECTED if is_selected else colours.alarm if display_item.alarming else colours.faint
        with drawing_context.saver():
            drawing_context.text_align, drawing_context.text_baseline = "left", "bottom"
            lines = ((FONT, display_item.title, ink, 18), (SMALL, display_item.about, about_ink, 33))
            for font, text, text_ink, y in lines:
                drawing_context.font, drawing_context.fill_style = font, text_ink
                shown = self._ui.truncate_string_to_width(font, text, width, UserInterface.TruncateModeType.RIGHT)
                drawing_context.fill_text(shown, rect.left + MARGIN, rect.top + y)


class ScanList(UserInterface.Widget):
    """The list as a widget; main thread only.

    Parameters
    ----------
    ui : UserInterface
        Swift's.
    properties : mapping
        Sizes of the widget.
    """

    def __init__(self, ui: typing.Any, properties: typing.Mapping[str, typing.Any]) -> None:
        column = ui.create_column_widget()
        super().__init__(Widgets.CompositeWidgetBehavior(column))
        self.selection = Selection.IndexedSelection(Selection.Style.multiple)
        self._ui = ui
        self._delegate = _Delegate(ui, self.selection)
        self._list = ListCanvasItem.ListCanvasItem(self._delegate, self.selection, ROW_HEIGHT)
        scroll = CanvasItem.ScrollAreaCanvasItem(self._list)
        scroll.auto_resize_contents = True
        self._frame = group = CanvasItem.CanvasItemComposition()
        group.border_color = "#888"
        group.layout = CanvasItem.CanvasItemRowLayout()
        group.add_canvas_item(scroll)
        group.add_canvas_item(CanvasItem.ScrollBarCanvasItem(scroll))
        self._canvas = canvas = ui.create_canvas_widget(properties=dict(properties))
        canvas.focusable = True
        canvas.canvas_item.add_canvas_item(group)
        column.add(canvas)
        self.on_accepted: typing.Callable[[], None] = lambda: None
        """Called at Return and at a double click."""
        self.on_cancelled: typing.Callable[[], None] = lambda: None
        """Called at Escape."""
        self._delegate.on_item_selected = lambda index: self.on_accepted()
        self._delegate.on_cancel = lambda: self.on_cancelled()
        self._give_focus_on(canvas)
        self._follow_theme()

    def take_focus(self) -> None:
        """Have the keyboard."""
        self._canvas.focused = True
        self._list.request_focus()

    def _give_focus_on(self, canvas: typing.Any) -> None:
        """Let the list have the arrow keys when the Tab key comes to its widget; Nion's needs a click before."""
        restore = canvas.on_focus_changed

        def focus_changed(focused: bool) -> None:
            restore(focused)
            if focused and canvas.canvas_item.focused_item is None:
                self._list.request_focus()

        canvas.on_focus_changed = focus_changed

    @property
    def rows(self) -> typing.Sequence[Row]:
        """What is listed."""
        return typing.cast(typing.Sequence[Row], self._delegate.items)

    @rows.setter
    def rows(self, rows: typing.Sequence[Row]) -> None:
        """List other rows; those of the same key stay selected."""
        if not self._follow_theme() and list(rows) == list(self.rows):
            return
        chosen = self.selected
        self._delegate.items = list(rows)
        self._list.size_to_content()
        self.select(chosen)
        self._list.update()

    def _follow_theme(self) -> bool:
        """Take on the desktop's colours, which cannot be asked for while painting; whether they are others."""
        now = theme.colours(self._ui)
        other = (self._delegate.colours, self._frame.background_color) != (now, now.background)
        self._delegate.colours, self._frame.background_color = now, now.background
        return other

    @property
    def selected(self) -> list[str]:
        """Keys of the selected rows, from the top."""
        return [self.rows[index].key for index in sorted(self.selection.indexes) if index < len(self.rows)]

    def select(self, keys: typing.Collection[str]) -> None:
        """Select the rows of these keys."""
        self.selection.set_multiple({index for index, row in enumerate(self.rows) if row.key in keys})


class ScanListConstructor:
    """Makes a `ScanList` from its declarative description."""

    def construct(
        self, d_type: str, ui: typing.Any, window: typing.Any, d: typing.Any, handler: typing.Any, finishes: typing.Any
    ) -> UserInterface.Widget | None:
        """Swift asks this of all that are registered."""
        if d_type != TYPE:
            return None
        widget = ScanList(ui, Declarative.construct_sizing_properties(d))
        Declarative.connect_name(widget, d, handler)
        return widget


_constructor = ScanListConstructor()


def create_scan_list(name: str, height: int, width: int) -> dict[str, typing.Any]:
    """Declarative description of a list that the handler gets as its attribute `name`."""
    return {"type": TYPE, "name": name, "min_height": height, "min_width": width}


def register() -> None:
    """Let Swift construct lists of scans."""
    Registry.register_component(_constructor, {"declarative_constructor"})


def unregister() -> None:
    """Undo `register`."""
    Registry.unregister_component(_constructor)
