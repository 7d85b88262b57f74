"""What an operator selects and chooses in Swift's menu: scans, presets, presets of her own."""

from __future__ import annotations

import numpy
import pytest
from mapping import (
    SHAPE,
    add_scan,
    counts,
    expected,
    knowing_maps,
    mapped,
    notifications,
    select,
    settle,
    signal_of,
)
from nion.swift import Application
from nion.swift.model import DataItem, Symbolic

from nionswift_plugin.udvd_live import map_menu
from nionswift_plugin.udvd_live.map_choices import choices
from nionswift_plugin.udvd_live.scan_errors import noise_of, scan_of
from udvd_core.axes import Axis
from udvd_core.maps.core_loss import core_loss
from udvd_core.maps.presets import BUILT_IN


@pytest.fixture
def swift(bare_swift, monkeypatch):
    """An empty Swift that knows the maps, and `busy` as long as it computes one."""
    with knowing_maps(bare_swift, monkeypatch):
        yield bare_swift


@pytest.fixture
def told():
    """What the operator was told."""
    with notifications() as texts:
        yield texts


def test_the_raw_scan_is_mapped_in_the_same_windows(swift, told):
    raw = add_scan(swift)
    metadata = {"udvd": {"kind": "denoised", "source_uuid": str(raw.uuid)}}
    made = mapped(swift, add_scan(swift, counts(3), metadata, "Scan EELS 1 (Denoised)"))
    select(swift, made[0])
    (beside,) = map_menu.map_raw(swift.document_controller)
    settle(swift)
    assert beside.title == "Scan EELS 1 (Edge, Raw)" and signal_of(swift, beside) is signal_of(swift, made[0])
    numpy.testing.assert_allclose(beside.data[...], expected(raw, known=noise_of(raw, scan_of(raw)[0]))[0], atol=1e-3)
    select(swift, *swift.find("(Pick)"))
    assert len(map_menu.map_raw(swift.document_controller)) == 1
    select(swift, raw)
    map_menu.guarded(map_menu.map_raw, swift.document_controller)
    assert told[-1].startswith("Select a map of a denoised")


def test_what_does_not_fit_says_what_to_select(swift, told):
    image = DataItem.DataItem(numpy.zeros(SHAPE, numpy.float32))
    swift.document_model.append_data_item(image)
    channels = add_scan(swift, energy=(0, 1, ""))
    for selection, action, sentence in [
        ((), map_menu.choose_map, "Select one spectrum image"),
        ((image,), map_menu.choose_map, "Select one spectrum image"),
        ((channels,), map_menu.choose_map, "calibrate its last axis in eV"),
        ((image,), map_menu.view_maps, "Select one to three maps"),
        ((), map_menu.view_maps, "Select one to three maps"),
        ((image,), map_menu.average_map, "Select one map. Mark regions"),
        ((), map_menu.average_map, "Select one map. Mark regions"),
        ((), map_menu.map_raw, "Select a map of a denoised"),
    ]:
        select(swift, *selection)
        map_menu.guarded(action, swift.document_controller)
        assert sentence in told[-1], action
    assert len(told) == 8 and len(swift.data_items) == 2


def test_choices_are_presets_then_edges_by_energy_then_by_hand(swift):
    found = choices(Axis(1024, 170.0, 0.25, "eV"), BUILT_IN)
    titles = [each.title for each in found]
    assert titles[0] == "h-BN core loss: B K, N K" and titles[-1] == "Windows drawn by hand"
    assert {"B-K, 188 eV", "C-K, 284.2 eV"} <= set(titles) and "Ti-L3, 456 eV" not in titles
    onsets = [float(title.split(", ")[1].split()[0]) for title in titles[1:-1]]
    assert onsets == sorted(onsets) and min(onsets) > 170
    assert choices(Axis(512, 170.0, 0.2, "eV"), BUILT_IN)[0].title == "h-BN core loss: B K"
    assert choices(Axis(1024, 700.0, 1.0, "eV"), BUILT_IN)[0].title.endswith("(Ce M45 lines taken off Gd M45)")
    for axis in (Axis(1024, -0.1, 0.001, "eV"), Axis(1024, 1193.0, -1.0, "eV")):  # phonons; descending
        for choice in choices(axis, BUILT_IN):
            if not choice.preset.tail:
                core_loss(numpy.ones((2, 1024), numpy.float32), axis, choice.preset.maps, None)


def test_the_menu_asks_which_map(swift, monkeypatch):
    asked = []
    monkeypatch.setattr(map_menu, "Choosing", lambda window, title, rows, chosen: asked.append((window, rows, chosen)))
    select(swift, add_scan(swift))
    map_menu.guarded(map_menu.choose_map, swift.document_controller)
    ((window, rows, chosen),) = asked
    assert window is swift.document_controller and not swift.document_model.computations
    assert rows[0].title == "h-BN core loss: B K" and rows[0].about == "B K 190 to 210 eV, background 170 to 188 eV"
    chosen(rows[0].key)
    assert len(swift.find("(B K, Raw)")) == 1


def test_a_menu_and_computations_come_and_go(bare_swift):
    entries = []

    class Menu:
        def add_menu_item(self, title, action):
            entries.append(title)

        def add_separator(self):
            entries.append("-")

    class Window:
        def get_or_create_menu(self, *names):
            assert names[0] == "eels_menu"
            return Menu()

    map_menu.build_menu(object())
    map_menu.build_menu(Window())
    assert entries[0] == "-" and entries[1] == "Map Denoised Signal..." and "Average Map Regions" in entries
    map_menu.register()
    assert map_menu.build_menu in Application.app.menu_handlers
    assert {"udvd.map", "udvd.map_view", "udvd.averages"} <= set(Symbolic._computation_types)
    map_menu.unregister()
    assert map_menu.build_menu not in Application.app.menu_handlers
    assert not any(name.startswith("udvd.") for name in Symbolic._computation_types)
