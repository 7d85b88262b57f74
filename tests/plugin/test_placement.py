"""Results in Swift: the data group, scan by scan, and empty panels where that is allowed."""

from __future__ import annotations

import json

import numpy
import pairs
import pytest
from nion.swift.model import DataItem, FileStorageSystem

from nionswift_plugin.udvd_live import placement


@pytest.fixture
def swift(bare_swift, tmp_path, monkeypatch):
    """An empty Swift whose window places results."""
    monkeypatch.setenv("UDVD_SETTINGS", str(tmp_path / "settings.json"))
    placement.follow(bare_swift.document_controller)
    yield bare_swift
    placement.unfollow()
    for group in list(bare_swift.document_model.data_groups):
        bare_swift.document_model.remove_data_group(group)


@pytest.fixture
def panels(swift):
    """Three panels of a workspace, empty."""
    workspace = swift.document_controller.workspace_controller
    children = [{"type": "image"} for _panel in range(3)]
    layout = {"type": "splitter", "orientation": "vertical", "splits": [1 / 3, 1 / 3, 1 / 3], "children": children}
    old = workspace._workspace
    workspace.change_workspace(workspace.new_workspace("Three", layout))
    yield workspace.display_panels
    workspace.change_workspace(old)


def allow(swift, monkeypatch):
    monkeypatch.setattr(placement, "wants_panels", lambda window: True)


def titles(swift):
    (group,) = (each for each in swift.document_model.data_groups if each.title == "UDVD")
    return [display.data_item.title for display in group.display_items]


def add_result(swift, raw, title):
    pairs.add_scan(swift, numpy.ones((2, 2, 16)), title, pairs.denoised_of(raw))
    swift.pump(0.05)


def test_results_are_in_the_group_scan_by_scan(swift):
    one, two = (pairs.add_scan(swift, numpy.ones((2, 2, 16)), name) for name in ("Scan 1", "Scan 2"))
    for raw, title in ((one, "1 (Denoised)"), (two, "2 (Denoised)"), (one, "1 (B K)"), (two, "2 (B K)")):
        add_result(swift, raw, title)
    assert titles(swift) == ["1 (Denoised)", "1 (B K)", "2 (Denoised)", "2 (B K)"]


def test_raw_scans_and_other_items_are_left_alone(swift):
    pairs.add_scan(swift, numpy.ones((2, 2, 16)), "Scan 1", {"udvd": {"simulated": {}}})
    swift.document_model.append_data_item(DataItem.DataItem(numpy.zeros((4, 4))))
    swift.pump(0.05)
    assert not [group for group in swift.document_model.data_groups if group.title == "UDVD"]


def test_a_result_of_a_result_follows_its_scan(swift):
    one, two = pairs.add_pair(swift), pairs.add_pair(swift, seed=1)
    two.denoised.title = "Scan 2 (Denoised)"
    swift.pump(0.05)
    late = {"udvd": {"kind": "map", "source_uuid": str(one.denoised.uuid)}}
    pairs.add_scan(swift, numpy.ones((2, 2, 16)), "Late", late)
    swift.pump(0.05)
    assert titles(swift) == ["Scan 1 (Denoised)", "Late", "Scan 2 (Denoised)"]


def test_a_group_with_another_name_is_the_operators(swift):
    one = pairs.add_pair(swift)
    swift.pump(0.05)
    (group,) = (each for each in swift.document_model.data_groups if each.title == "UDVD")
    group.title = "Monday"
    add_result(swift, one.raw, "More")
    assert titles(swift) == ["More"] and len(group.display_items) == 1


def test_one_item_is_placed_once_and_a_deleted_one_never(swift):
    pair = pairs.add_pair(swift)
    gone = pairs.add_scan(swift, numpy.ones((2, 2, 16)), "Gone", pairs.denoised_of(pair.raw))
    swift.document_model.remove_data_item(gone)
    swift.pump(0.05)
    display = swift.document_model.get_display_item_for_data_item(pair.denoised)
    placement.add_to_group(swift.document_model, display)
    assert titles(swift) == ["Scan 1 (Denoised)"]


def test_panels_are_not_touched_unless_allowed(swift, panels):
    pairs.add_pair(swift)
    swift.pump(0.05)
    assert [panel.display_item for panel in panels] == [None, None, None]


def test_results_fill_empty_panels_and_no_others(swift, panels, monkeypatch):
    allow(swift, monkeypatch)
    mine = pairs.add_scan(swift, numpy.ones((2, 2, 16)), "Mine")
    panels[1].set_display_panel_display_item(swift.document_model.get_display_item_for_data_item(mine))
    selected = swift.document_controller.selected_display_panel
    pair = pairs.add_pair(swift)
    for name in ("B K", "N K"):
        add_result(swift, pair.raw, name)
    shown = [panel.display_item.data_item.title for panel in panels]
    assert shown == ["Scan 1 (Denoised)", "Mine", "B K"]
    assert swift.document_controller.selected_display_panel is selected


def test_who_adds_an_item_groups_it_in_the_same_write(swift, panels, monkeypatch):
    writes = []
    storage = FileStorageSystem.FileProjectStorageSystem
    write = storage._write_properties
    monkeypatch.setattr(storage, "_write_properties", lambda own: (writes.append(1), write(own)))

    def add():
        with swift.document_model.transaction_context():
            pair = pairs.add_pair(swift)
            display = swift.document_model.get_display_item_for_data_item(pair.denoised)
            placement.group_now(object())
            assert not placement.is_grouped(swift.document_model, display), "another project"
            placement.group_now(swift.document_model)
            assert placement.is_grouped(swift.document_model, display)
        return pair.denoised

    add()
    swift.pump(0.05)
    assert titles(swift) == ["Scan 1 (Denoised)"] and len(writes) == 1, "nothing else to place"
    allow(swift, monkeypatch)
    shown = add()
    assert len(titles(swift)) == len(writes) == 2 and panels[0].display_item is None
    swift.pump(0.05)
    assert len(titles(swift)) == 2 and panels[0].display_item.data_item is shown and len(writes) == 3


def test_the_preference_is_read_and_off_by_default(swift, tmp_path, monkeypatch):
    window = swift.document_controller
    assert not placement.wants_panels(window)
    (tmp_path / "settings.json").write_text(json.dumps({"follow": False}))
    assert not placement.wants_panels(window)

    class Chosen:
        show_results = True

    monkeypatch.setattr(placement.preferences, "load", lambda path: Chosen)
    assert placement.wants_panels(window)


def test_after_unfollow_nothing_is_placed(swift):
    placement.unfollow()
    pairs.add_pair(swift)
    swift.pump(0.05)
    assert not [group for group in swift.document_model.data_groups if group.title == "UDVD"]
