"""EELS > "Denoise Spectrum Image...": queues what is selected and shows the panel of the queue."""

from __future__ import annotations

import functools
import gettext
import logging
import typing

from nion.swift import Application

from udvd_core.errors import InputError, UdvdError

from . import reprocess_panel
from .companion import companion_of
from .library_scans import is_scan
from .map_menu import Window, notify
from .reprocess_panel import PANEL_ID, settings_of

_ = gettext.gettext

log = logging.getLogger(__name__)

TITLE = _("Denoise Spectrum Image...")


def denoise_selected(window: Window) -> str:
    """Queue the selected spectrum images as live scans would be denoised; returns what the queue says.

    Raises
    ------
    InputError
        When no raw spectrum image is selected.
    """
    companion = companion_of(window.document_model, window.ui.get_configuration_location())
    items = [each.data_item for each in window.selected_display_items if each.data_item is not None]
    cameras = companion.preferences.cameras
    wrong = next((item for item in items if not is_scan(item, cameras)), None)
    if wrong is not None:
        raise InputError(f"{wrong.title!r} is no raw spectrum image; select one that has spectra with energies in eV")
    if not items:
        raise InputError(_("Select one spectrum image or several, for example in the data panel."))
    said = companion.reprocessor.add(items, settings_of(companion.preferences))
    panel = window.workspace_controller._find_dock_panel(PANEL_ID) if window.workspace_controller else None
    if panel is not None:
        panel.show()
    return said


def denoise_clicked(window: Window) -> None:
    """Do what the menu entry does; what does not fit becomes a message."""
    try:
        denoise_selected(window)
    except UdvdError as error:
        notify(_("UDVD reprocessing"), str(error))
    except Exception as error:
        log.exception("UDVD reprocessing")
        notify(_("UDVD reprocessing"), f"{type(error).__name__}: {error}")


def build_menu(window: Window) -> None:
    """Add the entry to a window's EELS menu; a dialogue, which Swift counts among its windows, has none."""
    if hasattr(window, "get_or_create_menu"):
        menu = window.get_or_create_menu("eels_menu", _("EELS"), "window_menu")
        menu.add_menu_item(TITLE, functools.partial(denoise_clicked, window))


def register() -> None:
    """Add the panel and the menu entry to Swift."""
    reprocess_panel.register()
    app: typing.Any = Application.app
    if app is not None:
        app.register_menu_handler(build_menu)


def unregister() -> None:
    """Undo `register`."""
    app: typing.Any = Application.app
    if app is not None and build_menu in app.menu_handlers:
        app.unregister_menu_handler(build_menu)
    reprocess_panel.unregister()
