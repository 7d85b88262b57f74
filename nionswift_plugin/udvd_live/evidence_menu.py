"""How far to trust a result, in Swift's menu EELS and in the context menu: compare, assess, export."""

from __future__ import annotations

import functools
import gettext
import logging
import pathlib
import typing

from nion.swift import Application
from nion.swift.model import DataItem, Graphics

from udvd_core.errors import InputError

from . import (
    assessment,
    comparison,
    difference,
    eels_menu,
    evidence,
    intensity_scale,
    placement,
    preferences,
    reprocess_menu,
)
from .eels_menu import Window, guarded
from .intensity_scale import Displays
from .library_scans import is_scan
from .pairs import Pair, pair_shown
from .scan_errors import is_ours
from .task_window import Task, TaskWindow

_ = gettext.gettext

log = logging.getLogger(__name__)

PARTS = (comparison, difference)
POPULATE = "populate_context_menu"


def compare_with_raw(window: Window, displays: Displays) -> DataItem.DataItem:
    """Show raw and denoised spectrum of a position in one plot; at a selected point, else in the middle."""
    pair = pair_shown(displays, window.document_model)
    points = [each for each in displays[0].selected_graphics if isinstance(each, Graphics.PointGraphic)]
    at = tuple(points[0].position) if points else (0.5, 0.5)
    made = comparison.create_comparison(window.document_model, pair, typing.cast(tuple[float, float], at))
    _show(window, made)
    return made


def difference_in_sigma(window: Window, displays: Displays) -> list[DataItem.DataItem]:
    """Map raw minus denoised in units of the noise: in the intervals selected on a spectrum, else over all channels."""
    pair = pair_shown(displays, window.document_model)
    graphics = displays[0].selected_graphics
    windows = [each for each in graphics if isinstance(each, Graphics.IntervalGraphic)]
    made = difference.create_differences(window.document_model, pair, windows)
    _show(window, made[0])
    return made


def same_intensity_scale(window: Window, displays: Displays) -> None:
    """Give the selected items common limits, or their own again."""
    intensity_scale.toggle(displays, lambda apply: window.queue_task(lambda: guarded(lambda _window: apply(), window)))


def assess_denoising(window: Window, displays: Displays) -> TaskWindow:
    """Assess the selected scan in a child process; the verdict comes in a window, and into the metadata."""
    pair = pair_shown(displays, window.document_model)
    assessment.check_ended(pair)
    found: assessment.Values = {}

    def done() -> None:
        if pair.denoised in window.document_model.data_items:
            assessment.store(pair, found)

    task = Task(assessment.work(pair, _preferences(window).python, found))
    return TaskWindow(window, _("Assess Denoising"), task, done)


def export_evidence(window: Window, displays: Displays) -> TaskWindow | None:
    """Ask for a folder and write the evidence into a new one in it."""
    pair = pair_shown(displays, window.document_model)
    assessment.check_ended(pair)
    chosen, _folder = window.ui.get_existing_directory_dialog(
        _("Export Evidence to Folder"), window.ui.get_document_location()
    )
    return export_to(window, pair, pathlib.Path(chosen)) if chosen else None


def export_to(window: Window, pair: Pair, parent: pathlib.Path) -> TaskWindow:
    """Write the evidence into a new folder in this one.

    Raises
    ------
    InputError
        When it is no folder.
    """
    if not parent.is_dir():
        raise InputError(f"{parent} is no folder; choose one that exists")
    task = Task(evidence.work(pair, window.document_model, parent, _preferences(window).python))
    return TaskWindow(window, _("Export Evidence"), task)


Action = typing.Callable[[Window, Displays], typing.Any]

ENTRIES: tuple[tuple[str, Action], ...] = (
    (_("Compare with Raw"), compare_with_raw),
    (_("Difference in Sigma"), difference_in_sigma),
    (_("Same Intensity Scale"), same_intensity_scale),
    (_("Assess Denoising..."), assess_denoising),
    (_("Export Evidence..."), export_evidence),
)


def build_menu(window: Window) -> None:
    """Add the entries to a window's menus, and place results in it; a dialogue has neither."""
    if not hasattr(window, "get_or_create_menu"):
        return
    eels_menu.add_entries(window, [(title, functools.partial(_act, action)) for title, action in ENTRIES])
    if hasattr(window, POPULATE):
        setattr(window, POPULATE, functools.partial(_populate, window, getattr(window, POPULATE)))
    placement.follow(window)


def register() -> None:
    """Add computations and menu entries to Swift."""
    eels_menu.register(PARTS, build_menu)


def unregister() -> None:
    """Undo `register`."""
    app: typing.Any = Application.app
    for window in app.document_controllers if app is not None else ():
        vars(window).pop(POPULATE, None)
    placement.unfollow()
    eels_menu.unregister(PARTS, build_menu)


def _populate(window: Window, original: typing.Callable[..., None], menu: typing.Any, context: typing.Any) -> None:
    """Swift's context menu of an item, with our entries where they apply: Swift has no registration for it."""
    original(menu, context)
    try:
        item = context.data_item
        if len(context.display_items) > 1:
            entries = [entry for entry in ENTRIES if entry[1] is same_intensity_scale]
        elif item is not None and is_ours(item.metadata):
            entries = [entry for entry in ENTRIES if entry[1] is not same_intensity_scale]
        elif item is not None and is_scan(item, _preferences(window).cameras):
            entries = [(reprocess_menu.TITLE, lambda window, displays: reprocess_menu.denoise_selected(window))]
        else:
            return
        menu.add_separator()
        for title, action in entries:
            act = functools.partial(_act, action, displays=list(context.display_items))
            menu.add_menu_item(title, functools.partial(guarded, act, window))
    except Exception:  # Swift's own entries must be there in any case
        log.exception("UDVD context menu")


def _act(action: Action, window: Window, displays: Displays | None = None) -> None:
    action(window, window.selected_display_items if displays is None else displays)


def _preferences(window: Window) -> preferences.Preferences:
    return preferences.load(preferences.path_in(window.ui.get_configuration_location()))


def _show(window: Window, item: DataItem.DataItem) -> None:
    """Show an item where there is room; nothing that is shown moves away."""
    window.show_display_item(window.document_model.get_display_item_for_data_item(item), request_focus=False)
