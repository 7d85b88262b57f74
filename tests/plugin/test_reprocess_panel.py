"""The reprocessing panel and its menu entry in a whole, headless Swift, with a real engine child."""

from __future__ import annotations

import dataclasses
import types

import numpy
import pytest
from live import run_to_done
from nion.swift import Application
from nion.ui import UserInterface
from producer import spectra
from test_reprocess import add_scan

from nionswift_plugin.udvd_live import reprocess, reprocess_menu
from nionswift_plugin.udvd_live.queue_file import Entry, Settings, State
from nionswift_plugin.udvd_live.reprocess_panel import PANEL_ID, settings_of
from nionswift_plugin.udvd_live.reprocess_view import duration, queue_row
from nionswift_plugin.udvd_simulator import acquire, headless
from udvd_core.errors import InputError

RAW = {"training": {"model": "raw", "budget_s": 3}}
raw_model = pytest.mark.parametrize("plug_in_settings", [RAW], indirect=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Begin as soon as a project is open."""
    monkeypatch.setattr(reprocess, "BEGIN_S", 0.0)


def panel_of(swift):
    """The handler of the window's panel."""
    return swift.document_controller.workspace_controller._find_dock_panel(PANEL_ID).handler


def refresh(panel):
    """List and show now, not at the next turn."""
    panel._listed = -1e9
    panel._show()


@raw_model
def test_scans_are_found_selected_added_and_worked_off(swift, companion):
    scans = [add_scan(swift, spectra(6, 5, 32, seed=n), number=n) for n in (12, 13, 14)]
    panel = panel_of(swift)
    refresh(panel)
    assert [row.title[-2:] for row in panel.scans.rows] == ["14", "13", "12"], "newest first"
    assert panel.scans.rows[0].about == "not processed; 6 x 5 x 32"
    panel.add_clicked(None)
    assert panel.message_model.value == "select a spectrum image"
    panel.filter.text = "eels 13"
    panel._show()
    assert [row.title[-2:] for row in panel.scans.rows] == ["13"]
    panel.scans._list.handle_select_all()
    assert panel.scans.selected == [str(scans[1].uuid)]
    panel.filter.text = ""
    panel._show()
    assert panel.scans.selected == [str(scans[1].uuid)], "what is selected stays so among others"
    panel.budget_model.value = "soon"
    panel.add_clicked(None)
    assert "want seconds" in panel.message_model.value and not companion.reprocessor.queue.entries
    panel.budget_model.value = "2"
    panel.add_clicked(None)
    panel.scans.select([str(scans[0].uuid), str(scans[2].uuid)])
    panel.pool_clicked(None)
    refresh(panel)
    assert [row.title for row in panel.queue.rows] == ["Spectrum Image EELS 13", "Spectrum Image EELS 12 + 14"]
    assert "at most" in panel.line_model.value
    swift.pump_until(lambda: all(e.state is State.DONE for e in companion.reprocessor.queue.entries), 60)
    refresh(panel)
    assert [row.about for row in panel.queue.rows] == ["done, raw, 2 s"] * 2 and panel.progress_model.value == 0
    assert panel.line_model.value.startswith("Nothing to do")
    assert panel.scans.rows[1].about.startswith("raw, 20")
    pooled = swift.find("12 + 14 (Denoised)")[0]
    assert numpy.array_equal(pooled.data[:], scans[0].data[:] + scans[2].data[:])


@raw_model
def test_the_queue_is_ordered_cancelled_and_retried_from_the_panel(swift, companion, monkeypatch):
    monkeypatch.setattr(companion.reprocessor, "_begin", float("inf"))
    scans = [add_scan(swift, spectra(6, 5, 32), number=n) for n in (1, 2)]
    panel = panel_of(swift)
    companion.reprocessor.add(scans, settings_of(companion.preferences))
    refresh(panel)
    panel.queue.select([panel.queue.rows[1].key])
    panel.up_clicked(None)
    refresh(panel)
    assert [row.title[-1] for row in panel.queue.rows] == ["2", "1"] and panel.queue.selection.indexes == {0}
    panel.cancel_clicked(None)
    refresh(panel)
    assert [row.about.split(",")[0] for row in panel.queue.rows] == ["waiting", "cancelled"]
    panel.retry_clicked(None)
    panel.up_clicked(None)
    panel.down_clicked(None)
    refresh(panel)
    assert [row.about.split(",")[0] for row in panel.queue.rows] == ["waiting", "waiting"]
    assert panel.queue.rows[1].title[-1] == "2"


@raw_model
def test_the_gpu_machine_is_offered_and_chosen_as_soon_as_the_preferences_name_it(swift, companion):
    panel = panel_of(swift)
    assert panel.engines_model.value == ["This computer"] and not panel._settings().remote
    companion.apply(dataclasses.replace(companion.preferences, engine="tls://gpu:8786"))
    refresh(panel)
    assert panel.engines_model.value == ["This computer", "GPU machine gpu"] and panel._settings().remote
    panel.engine_model.value = 0
    refresh(panel)
    assert not panel._settings().remote, "what the operator chose stays"
    panel.engine_model.value = 1
    companion.apply(dataclasses.replace(companion.preferences, engine=None))
    refresh(panel)
    assert panel.engines_model.value == ["This computer"] and not panel._settings().remote


@raw_model
def test_the_menu_queues_what_is_selected_as_live_scans_are_denoised(swift, companion):
    raw = add_scan(swift, spectra(6, 5, 32))
    window = swift.document_controller
    with pytest.raises(InputError, match="Select one spectrum image"):
        reprocess_menu.denoise_selected(window)
    display = swift.document_model.get_display_item_for_data_item(raw)
    window.select_display_items_in_data_panel([display])
    window.data_panel_focused()
    titles = []
    menu = types.SimpleNamespace(
        add_menu_item=lambda title, action: titles.append((title, action)), add_separator=lambda: None
    )
    reprocess_menu.build_menu(types.SimpleNamespace(get_or_create_menu=lambda *_: menu))
    reprocess_menu.build_menu(types.SimpleNamespace())  # a dialogue has no menus
    assert [title for title, _ in titles] == ["Denoise Spectrum Image..."]
    assert reprocess_menu.build_menu in Application.app.menu_handlers
    assert reprocess_menu.denoise_selected(window) == "1 added to the queue"
    (entry,) = companion.reprocessor.queue.entries
    assert entry.settings.maps == companion.preferences.maps and entry.settings.training.budget_s == 60
    swift.pump_until(lambda: companion.reprocessor.queue.entries[0].state is State.DONE, 60)
    result = swift.find("(Denoised)")[0]
    window.select_display_items_in_data_panel([swift.document_model.get_display_item_for_data_item(result)])
    window.data_panel_focused()
    with pytest.raises(InputError, match="no raw spectrum image"):
        reprocess_menu.denoise_selected(window)


@raw_model
def test_live_results_are_filled_anew_and_a_closed_swift_goes_on_with_its_queue(swift, companion, tmp_path):
    raw = acquire.acquire_spectrum_image(swift, (6, 5), 10).wait()
    job = run_to_done(swift, companion)
    live = [item.uuid for item in job.items]
    swift.pump(0.3)
    companion.reprocessor.add([raw], settings_of(companion.preferences, "pca", 1.0))
    uuid = raw.uuid
    swift.close()
    with headless.HeadlessSwift(tmp_path / "swift") as again:
        queue = panel_of(again).reprocessor
        again.pump_until(lambda: queue.queue.entries[0].state is State.DONE, 60)
        results = [item for item in again.data_items if "udvd" in item.metadata]
        assert [item.uuid for item in results] == live
        assert {item.metadata["udvd"]["settings"]["model"] for item in results} == {"pca"}
        assert results[0].metadata["udvd"]["source_uuid"] == str(uuid)
        assert not numpy.array_equal(results[0].data[:], next(i for i in again.data_items if i.uuid == uuid).data[:])


@raw_model
def test_interrupted_scans_are_selected_at_the_start(swift, companion):
    cut, whole = (add_scan(swift, spectra(6, 5, 32), number=n) for n in (1, 2))
    companion.reprocessor.left = {str(cut.uuid)}
    panel = panel_of(swift)
    panel._offered = False
    refresh(panel)
    assert panel.scans.selected == [str(cut.uuid)] and "1 interrupted" in panel.message_model.value
    about = {row.key: (row.about.startswith("interrupted"), row.alarming) for row in panel.scans.rows}
    assert about == {str(cut.uuid): (True, True), str(whole.uuid): (False, False)}


def test_a_long_title_ends_in_an_ellipsis_and_is_whole_in_the_tool_tip(swift):
    panel = panel_of(swift)
    entry = Entry("a", ("u",), "Spectrum Image EELS 12 " * 10, Settings(), State.FAILED, "no counts " * 30)
    panel.queue.rows = [queue_row(entry)]
    tip = panel.queue._delegate.item_tool_tip(0)
    assert entry.title in tip and entry.reason in tip
    asked = []

    class Ui:
        def truncate_string_to_width(self, font, text, width, mode):
            asked.append((text, width, mode))
            return text[:20] + "..."

    class Context:
        drawn: list[str] = []

        def saver(self):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return None

        def fill_text(self, text, x, y):
            self.drawn.append(text)

    panel.queue._delegate._ui = Ui()
    rect = UserInterface.Geometry.IntRect.from_tlbr(0, 0, 36, 250)
    panel.queue._delegate.paint_item(Context(), panel.queue.rows[0], rect, False)
    assert all(len(text) == 23 and text.endswith("...") for text in Context.drawn) and len(Context.drawn) == 2
    assert {(width, mode) for _, width, mode in asked} == {(240, UserInterface.TruncateModeType.RIGHT)}


def test_durations_in_words():
    assert [duration(s) for s in (0.2, 99, 100, 6000, 9000)] == ["1 s", "99 s", "2 min", "1.7 h", "2.5 h"]
