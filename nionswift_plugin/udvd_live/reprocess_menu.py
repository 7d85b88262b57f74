"""EELS > "Denoise Spectrum Image...": queues what is selected and shows the panel of the queue."""

from __future__ import annotations

import gettext

from udvd_core.errors import InputError

from . import eels_menu, reprocess_panel
from .companion import companion_of
from .eels_menu import Window
from .library_scans import is_scan
from .reprocess_panel import PANEL_ID, settings_of

_ = gettext.gettext

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


def build_menu(window: Window) -> None:
    """Add the entry to a window's EELS menu."""
    eels_menu.add_entries(window, [(TITLE, denoise_selected)])


def register() -> None:
    """Add the panel and the menu entry to Swift."""
    eels_menu.register((reprocess_panel,), build_menu)


def unregister() -> None:
    """Undo `register`."""
    eels_menu.unregister((reprocess_panel,), build_menu)
