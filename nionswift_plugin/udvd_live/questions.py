"""Questions to the operator: which of many, and what text. Swift's own cannot be read on a dark desktop."""

from __future__ import annotations

import gettext
import typing

from nion.ui import Declarative, Dialog, UserInterface
from nion.utils import Model

from .panel_text import wrapped
from .scan_list import Row, ScanList, create_scan_list
from .theme import create_label

_ = gettext.gettext

WIDTH, HEIGHT, CHARACTERS = 460, 260, 66

Window = typing.Any


class Choosing(Declarative.Handler):
    """A pop-up with a list. Return or a button chooses, Escape or a click elsewhere does not.

    Parameters
    ----------
    window : DocumentController
        Swift's, above which it opens.
    title : str
        What is chosen.
    rows : sequence of Row
        What there is; keys are unique.
    chosen : callable
        Called with the key of the row that was chosen, once the pop-up is gone.
    """

    rows: ScanList

    def __init__(
        self, window: Window, title: str, rows: typing.Sequence[Row], chosen: typing.Callable[[str], None]
    ) -> None:
        super().__init__()
        self._offered, self._chosen = rows, chosen
        self._queue_task = window.queue_task
        self._close: typing.Callable[[], None] = lambda: None
        u = Declarative.DeclarativeUI()
        column = u.create_column(
            u.create_row(create_label(text=title), u.create_stretch()),
            create_scan_list("rows", HEIGHT, WIDTH),
            u.create_row(
                u.create_stretch(),
                u.create_push_button(text=_("Cancel"), on_clicked="cancel_clicked"),
                u.create_push_button(text=_("Select"), on_clicked="select_clicked"),
                spacing=8,
            ),
            spacing=6,
            margin=10,
        )
        self.window = Dialog.PopupWindow(window, column, self)
        self.window.show()

    def init_popup(self, close: typing.Callable[[], None]) -> None:
        """Swift calls this once the widgets are there."""
        self._close = close
        self.rows.rows = self._offered
        self.rows.select([self._offered[0].key])
        self.rows.on_accepted = lambda: self.select_clicked(None)
        self.rows.on_cancelled = self._close

    def did_show(self) -> None:
        """Swift calls this once it is shown."""
        self.rows.take_focus()

    def cancel_clicked(self, widget: typing.Any) -> None:
        """Choose nothing."""
        self._close()

    def select_clicked(self, widget: typing.Any) -> None:
        """Choose what is selected, the first of it."""
        if selected := self.rows.selected:
            self._close()
            self._queue_task(lambda: self._chosen(selected[0]))


class Asking(Declarative.WindowHandler):
    """A window with a caption and a field; it stays until it is answered, so that the answer can be looked up.

    Parameters
    ----------
    window : DocumentController
        Swift's, above which it opens.
    caption : str
        What is asked.
    text : str
        What the field holds at first.
    accepted : callable
        Called with the text.
    accept : str
        What the button says.
    """

    field: UserInterface.LineEditWidget

    def __init__(
        self, window: Window, caption: str, text: str, accepted: typing.Callable[[str], None], accept: str
    ) -> None:
        super().__init__()
        self.text_model: typing.Any = Model.PropertyModel(text)
        self._accepted = accepted
        u = Declarative.DeclarativeUI()
        content = u.create_column(
            u.create_row(create_label(text=wrapped(caption, CHARACTERS)), u.create_stretch()),
            u.create_line_edit(text="@binding(text_model.value)", name="field", width=WIDTH),
            u.create_row(
                u.create_stretch(),
                u.create_push_button(text=_("Cancel"), on_clicked="cancel_clicked"),
                u.create_push_button(text=accept, on_clicked="accept_clicked"),
                spacing=8,
            ),
            spacing=8,
        )
        self.run(u.create_window(content, title="UDVD", margin=12, window_style="tool"), parent_window=window)
        self.field.focused = True
        self.field.select_all()

    def cancel_clicked(self, widget: typing.Any) -> None:
        """No answer."""
        self.close_window()

    def accept_clicked(self, widget: typing.Any) -> None:
        """Give the answer."""
        text = self.field.text or ""
        self.close_window()
        self._accepted(text)
