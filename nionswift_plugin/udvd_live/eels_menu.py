"""Nion's menu EELS: how our entries come into it and leave it, and what becomes of an action that does not fit."""

from __future__ import annotations

import functools
import gettext
import logging
import typing

from nion.swift import Application
from nion.swift.model import Notification

from udvd_core.errors import UdvdError

from . import theme

_ = gettext.gettext

log = logging.getLogger(__name__)

NOTE = "udvd.maps"

Window = typing.Any
"""A window of Swift, `nion.swift.DocumentController`."""
Action = typing.Callable[[Window], typing.Any]
Entries = typing.Iterable[tuple[str, Action]]


def add_entries(window: Window, entries: Entries, *, separated: bool = False) -> None:
    """Add entries to a window's EELS menu; a dialogue, which Swift counts among its windows, has none."""
    if not hasattr(window, "get_or_create_menu"):
        return
    menu = window.get_or_create_menu("eels_menu", _("EELS"), "window_menu")
    if separated:
        menu.add_separator()
    for title, action in entries:
        menu.add_menu_item(title, functools.partial(guarded, action, window))
    menu.add_separator()


def register(parts: typing.Iterable[typing.Any], build: Action) -> None:
    """Register parts, modules with `register` and `unregister`, and what builds a window's menu."""
    for part in parts:
        part.register()
    app: typing.Any = Application.app
    if app is not None:
        app.register_menu_handler(build)


def unregister(parts: typing.Iterable[typing.Any], build: Action) -> None:
    """Undo `register`."""
    app: typing.Any = Application.app
    if app is not None and build in app.menu_handlers:
        app.unregister_menu_handler(build)
    for part in parts:
        part.unregister()


def guarded(action: Action, window: Window) -> None:
    """Do what a menu entry does; what does not fit becomes a message."""
    try:
        with window.document_model.transaction_context():  # else Swift writes the whole project for every property
            action(window)
    except UdvdError as error:
        notify(_("UDVD"), str(error))
    except Exception as error:
        log.exception("UDVD menu")
        notify(_("UDVD"), f"{type(error).__name__}: {error}")


def notify(title: str, text: str, sign: str = "\N{WARNING SIGN} ") -> None:
    """Tell the operator, in Swift's list of notifications; a sign marks what went wrong."""
    app: typing.Any = Application.app
    if app is not None and theme.colours(app.ui) is theme.DARK:  # Swift's list writes in black
        title, text = theme.marked(title), theme.marked(text)
    Notification.notify(Notification.Notification(NOTE, f"{sign}UDVD", title, text))
