"""Questions to the operator, and texts that can be read on a dark desktop."""

from __future__ import annotations

import pytest

from nionswift_plugin.udvd_live import theme
from nionswift_plugin.udvd_live.questions import Asking, Choosing
from nionswift_plugin.udvd_live.scan_list import Row

ROWS = [Row("0", "B K", "190 to 210 eV"), Row("1", "N K", "400 to 420 eV")]


class Desktop:
    """As much of Swift's user interface as knows the desktop."""

    def __init__(self, scheme: str, knows: bool = True) -> None:
        self.proxy = self
        self._scheme, self._knows = scheme, knows

    def has_method(self, name: str) -> bool:
        return self._knows

    def DocumentWindow_getColorScheme(self, window: None) -> str:  # noqa: N802 - Swift's name
        return self._scheme


def test_one_of_many_is_chosen(swift):
    chosen = []
    asked = Choosing(swift.document_controller, "Map of", ROWS, chosen.append)
    assert asked.rows.selected == ["0"], "Return takes the first"
    asked.rows.select(["1"])
    asked.rows.on_accepted()
    swift.pump_until(lambda: chosen == ["1"], 10)


def test_none_of_many_is_chosen(swift):
    chosen = []
    asked = Choosing(swift.document_controller, "Map of", ROWS, chosen.append)
    asked.cancel_clicked(None)
    swift.pump(0.3)
    assert not chosen


@pytest.mark.parametrize(("button", "answers"), [("accept_clicked", ["B K = 2"]), ("cancel_clicked", [])])
def test_a_text_is_asked_for(swift, button, answers):
    given = []
    asked = Asking(swift.document_controller, "k-factors. " * 20, "B K = 1", given.append, "Make Maps")
    assert asked.field.text == "B K = 1"
    asked.field.text = "B K = 2"
    getattr(asked, button)(None)
    assert given == answers


def test_the_list_has_the_colours_of_the_desktop():
    assert theme.colours(Desktop("dark")) is theme.DARK
    assert theme.colours(Desktop("light")) is theme.colours(Desktop("unknown")) is theme.LIGHT
    assert theme.colours(Desktop("dark", knows=False)) is theme.colours(object()) is theme.LIGHT


def test_what_is_marked_is_no_markup():
    assert theme.marked("a < b\nc") == '<span style="color: palette(window-text)">a &lt; b<br>c</span>'
