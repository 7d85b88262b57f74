"""What a Swift without a screen does without; Swift itself has no choice of it."""

from __future__ import annotations

import collections.abc
import contextlib
import types
import typing

PANELS = ("udvd", "data-panel")
"""How the names of those panels begin that are made all the same: ours, and the one that selects items."""


@contextlib.contextmanager
def plug_ins(names: tuple[str, ...]) -> collections.abc.Iterator[None]:
    """Answer for these plug-ins as if they could not be loaded."""
    from nion.swift.model import PlugInManager

    original = PlugInManager.load_plug_in

    def load(module_path: str, module_name: str) -> types.ModuleType | None:
        return None if module_name in names else original(module_path, module_name)

    PlugInManager.load_plug_in = load
    try:
        yield
    finally:
        PlugInManager.load_plug_in = original


@contextlib.contextmanager
def panels() -> collections.abc.Iterator[None]:
    """Windows that open now lack most panels at their sides, which nobody sees: half of the time to open."""
    from nion.swift import Workspace

    original = Workspace.Workspace.create_panel

    def create(workspace: typing.Any, window: typing.Any, panel_id: str, *others: typing.Any) -> typing.Any:
        return original(workspace, window, panel_id, *others) if panel_id.startswith(PANELS) else None

    Workspace.Workspace.create_panel = create  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Workspace.Workspace.create_panel = original  # type: ignore[method-assign]
