"""Labels and lists that can be read on a light and on a dark desktop. Nion's own labels are black on either."""

from __future__ import annotations

import dataclasses
import html
import typing

from nion.ui import Declarative, UserInterface
from nion.utils import Registry

TYPE = "udvd_label"
INK = "color: palette(window-text)"
"""Style of a label, in Qt's words: it follows the desktop, also when that changes."""


@dataclasses.dataclass(frozen=True)
class Colours:
    """What a list is painted in; its own background, so that a desktop we took for another does no harm."""

    background: str
    ink: str
    faint: str
    alarm: str


LIGHT = Colours("#FFFFFF", "#000000", "#505050", "#B00000")
DARK = Colours("#232629", "#EFF0F1", "#B0B4B8", "#FF8A78")


def colours(ui: typing.Any) -> Colours:
    """Those that suit the desktop; light ones where Qt does not know. Main thread only."""
    proxy = _qt(ui)
    known = proxy is not None and proxy.has_method("DocumentWindow_getColorScheme")
    return DARK if known and proxy.DocumentWindow_getColorScheme(None) == "dark" else LIGHT


def _qt(ui: typing.Any) -> typing.Any:
    """What Swift asks Qt through; None in a Swift without windows."""
    proxy = getattr(ui, "proxy", None)
    return proxy if hasattr(proxy, "has_method") else None


def marked(text: str) -> str:
    """A text in the ink of the desktop, for labels of Swift that we have no hand in."""
    lines = html.escape(text).replace("\n", "<br>")
    return f'<span style="{INK}">{lines}</span>'


def create_label(**options: typing.Any) -> dict[str, typing.Any]:
    """Declarative description of a label, with the options of Nion's but for its colour."""
    return {**Declarative.DeclarativeUI().create_label(**options), "type": TYPE}


class LabelConstructor:
    """Makes a label from its declarative description."""

    def construct(
        self, d_type: str, ui: typing.Any, window: typing.Any, d: typing.Any, handler: typing.Any, finishes: typing.Any
    ) -> UserInterface.Widget | None:
        """Swift asks this of all that are registered."""
        if d_type != TYPE:
            return None
        label = Declarative.construct_text_label(ui, d, handler, finishes)
        if proxy := _qt(ui):
            proxy.Widget_setWidgetProperty(label._behavior.widget, "stylesheet", INK)
        return label


_constructor = LabelConstructor()


def register() -> None:
    """Let Swift construct such labels."""
    Registry.register_component(_constructor, {"declarative_constructor"})


def unregister() -> None:
    """Undo `register`."""
    Registry.unregister_component(_constructor)
