"""The live panel in a real headless Swift: what it says, and what its buttons do."""

from __future__ import annotations

import json
import re

import pytest
from live import GUIDED, run_to_done, shown

from nionswift_plugin.udvd_live import panel, panel_text
from nionswift_plugin.udvd_live.job import Phase
from nionswift_plugin.udvd_live.panel_maps import MapsHandler
from nionswift_plugin.udvd_simulator import acquire

SHAPE = (8, 8)
pytestmark = pytest.mark.parametrize("simulator_config", [{"size": [8, 8]}], indirect=True)


@pytest.fixture
def handler(swift, companion):
    """The panel's handler, beside the one that Swift made."""
    made = panel.PanelHandler(companion, swift.document_controller.event_loop, swift.document_controller)
    yield made
    made.close()


def see(swift, handler):
    """Let the panel tell everything anew, however busy the machine is."""
    turns = handler._turns
    swift.pump_until(lambda: handler._turns > turns + panel.SHOWN_EVERY, 20)


@pytest.mark.parametrize("plug_in_settings", [GUIDED], indirect=True)
def test_a_scan_from_first_frame_to_discarded(swift, companion, shutter, handler):
    assert handler.title.text.value == "No scan yet" and not handler.running_model.value
    shutter.hold(32)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 5)
    shutter.pump_to(swift, companion, 32, lambda job: shown(job) and job.status.denoised == 32)
    see(swift, handler)
    assert handler.title.text.value == companion.current.recording.title
    assert handler.running_model.value and not handler.finalising_model.value and not handler.finished_model.value
    assert handler.percent_model.value == 50
    assert (handler.trust.sign.value, handler.trust.text.value) == ("◐", "Too early to say")
    assert handler.engine.sign.value == "●" and handler.engine.text.value.startswith("guided on CPU")
    handler.pause_clicked(None)
    see(swift, handler)
    assert handler.pause_model.value == "Go On Learning" and "paused" in handler.state.text.value
    handler.pause_clicked(None)
    shutter.open()
    acquisition.wait()
    run_to_done(swift, companion)
    see(swift, handler)
    assert handler.state.text.value == "Final" and handler.percent_model.value == 100
    assert handler.finished_model.value and not handler.running_model.value
    assert handler.trust.sign.value in "●▲■" and handler.trust.colour.value != panel_text.GREY
    assert re.search(r"PSNR [▁-█]+ \d+\.\d dB", handler.psnr.text.value)
    assert "is hidden" in handler.hidden.full.value
    items = companion.current.items
    assert items
    handler.discard_clicked(None)
    see(swift, handler)
    assert handler.discard_model.value == "Really Discard?" and companion.current.items == items
    handler.discard_clicked(None)
    see(swift, handler)
    assert not companion.current.items and not handler.finished_model.value
    assert [item.title for item in swift.data_items if "EELS" in item.title] == [acquisition.item.title]


def test_turns_hurry_while_items_are_to_be_made_before_the_first_row(swift, companion, shutter, handler, monkeypatch):
    loop, waits = swift.document_controller.event_loop, []
    call_later = loop.call_later
    monkeypatch.setattr(
        loop, "call_later", lambda s, call, *args: (waits.append((s, call)), call_later(s, call, *args))[1]
    )
    shutter.hold(4)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 5)
    swift.pump_until(lambda: companion.current is not None and len(companion.current.items) == 3, 60)
    swift.pump(3 * panel.PERIOD_S)
    shutter.open()
    acquisition.wait()
    run_to_done(swift, companion)
    own = [wait for wait, call in waits if call == handler._tick]
    first, last = own.index(panel.HURRY_S), len(own) - own[::-1].index(panel.HURRY_S)
    assert first > 0 and last - first >= 2 and set(own[first:last]) == {panel.HURRY_S}
    assert set(own[:first] + own[last:]) == {panel.PERIOD_S}


def test_kept_results_say_so(swift, companion, handler):
    acquire.acquire_spectrum_image(swift, SHAPE, 2).wait()
    job = run_to_done(swift, companion)
    see(swift, handler)
    handler.keep_clicked(None)
    see(swift, handler)
    assert all(item.metadata["udvd"]["kept"] for item in job.items)
    assert not handler.finished_model.value, "there is nothing left to ask"


@pytest.mark.parametrize("plug_in_settings", [{"training": {"budget_s": 600.0, "model": "udvd"}}], indirect=True)
def test_finish_now_ends_a_long_budget(swift, companion, handler):
    acquire.acquire_spectrum_image(swift, SHAPE, 2).wait()
    swift.pump_until(lambda: companion.jobs and companion.current.phase is Phase.FINALISING, 60)
    swift.pump_until(lambda: companion.current.status is not None and companion.current.status.step > 1, 60)
    handler.finish_clicked(None)
    job = run_to_done(swift, companion)
    assert job.finished.final == job.spec.count and job.timeline.done - job.timeline.scan_ended < 100


def test_maps_are_added_and_removed_for_the_next_scan(swift, companion, plug_in_settings):
    maps = MapsHandler(companion, swift.document_controller)
    before = [window.name for window in companion.preferences.maps]
    maps.chosen(None, maps.offered.index("Gd-doped ceria"))
    added = [window.name for window in companion.preferences.maps]
    assert added[: len(before)] == before and "Gd M45" in added
    assert [window.name for window in maps.lines.items] == added
    maps.remove(companion.preferences.maps[0])
    kept = [entry["name"] for entry in json.loads(plug_in_settings.read_text())["maps"]]
    assert kept == added[1:] and maps.choice_model.value == 0
    maps.close()


def test_a_map_is_shown_in_the_selected_panel(swift, companion):
    acquire.acquire_spectrum_image(swift, SHAPE, 2).wait()
    job = run_to_done(swift, companion)
    maps = MapsHandler(companion, swift.document_controller)
    window = job.spec.maps[0]
    maps.show(window)
    shown_item = swift.document_controller.selected_display_panel.data_item
    assert shown_item.metadata["udvd"]["map"]["name"] == window.name
    maps.close()
