"""What a result costs Swift's main thread: drawn once for all that changes, written seldom where that takes long."""

from __future__ import annotations

import contextlib
import time

import numpy
import pytest
from nion.data import Calibration, DataAndMetadata
from nion.swift.model import DataItem
from producer import Producer, follow, pump, spectra

from nionswift_plugin.udvd_live import writer
from nionswift_plugin.udvd_live.result_item import Form, Result
from udvd_core.engine.protocol import Block

SHAPE = (4, 5, 16)


@pytest.fixture
def result(bare_swift):
    form = Form(
        SHAPE[:2],
        SHAPE,
        DataAndMetadata.DataDescriptor(False, 2, 1),
        Calibration.Calibration(units="counts"),
        [Calibration.Calibration(units=unit) for unit in ("nm", "nm", "eV")],
    )
    made = Result("Denoised", form, item=DataItem.DataItem(large_format=True))
    bare_swift.document_model.append_data_item(made.item)
    return made


def test_an_item_is_drawn_once_for_its_form_and_once_for_all_blocks(bare_swift, result):
    display = bare_swift.document_model.get_display_item_for_data_item(result.item)
    times, changes = [], []
    listeners = [
        display.display_changed_event.listen(lambda: times.append(1)),
        result.item.data_changed_event.listen(lambda: changes.append(1)),
    ]
    result.open_for(bare_swift.document_model)
    assert len(times) == 1
    blocks = [(0, numpy.ones((7, 16), numpy.float32)), (12, numpy.ones((3, 16), numpy.float32))]
    metadata = result.item.data_metadata
    result.write(blocks, metadata)  # with the first data Swift looks which channels it shows
    times.clear()
    changes.clear()
    result.write(blocks, metadata)
    assert len(times) == len(changes) == 1
    assert result.item.data[:].reshape(20, 16).any(1).tolist() == [True] * 7 + [False] * 5 + [True] * 3 + [False] * 5
    assert [each.units for each in result.item.dimensional_calibrations] == ["nm", "nm", "eV"]
    result.close()
    listeners.clear()


def work_for_30_ms():
    begin = time.thread_time()
    while time.thread_time() - begin < 0.03:
        pass


def test_frames_that_wait_take_the_place_of_those_that_they_cover(result):
    for start, stop, value in ((0, 4, 1), (4, 8, 2), (8, 12, 3), (4, 8, 4), (2, 6, 5)):
        result.wait(start, numpy.full(stop - start, value))
    assert [(start, data[0], len(data)) for start, data in result.waiting] == [
        (0, 1, 4),
        (8, 3, 4),
        (4, 4, 4),
        (2, 5, 4),
    ]
    result.wait(0, numpy.full(12, 6))
    assert [(start, data[0]) for start, data in result.waiting] == [(0, 6)], "no more than a scan waits"


def test_a_turn_is_short_and_the_next_one_later_where_that_takes_swift_long(bare_swift, tmp_path, monkeypatch):
    maps = [{"name": "a", "signal": [102, 110]}]
    with contextlib.closing(follow(bare_swift, tmp_path, maps=maps)) as companion:
        scan = Producer(bare_swift, spectra(*SHAPE))
        scan.write_rows()
        pump(bare_swift, companion, lambda: companion.current and companion.current.timeline.first_preview)
        written = companion.current._writer
        pump(bare_swift, companion, lambda: all(result.open and not result.waiting for result in written._results))
        scan_id, now = companion.current.spec.scan_id, time.monotonic() + 30
        zeros, ones = (
            [make(shape, numpy.float32) for shape in ((20, 16), (1, 4, 20))] for make in (numpy.zeros, numpy.ones)
        )

        def of_these(value):
            return sum((item.data[:] == value).all() for item in written.items)

        assert all((item.data[:] != 0).any() for item in written.items)
        with monkeypatch.context() as patch:
            patch.setattr(writer, "TURN_S", 60)
            written.write(Block(scan_id, 0, *zeros, final=False, step=0))
            assert written.write_next(now) and of_these(0) == 2, "both in one turn, where Swift is that fast"
        slow = [item.data_item_changed_event.listen(work_for_30_ms) for item in written.items]
        now += 30
        written.write(Block(scan_id, 0, *ones, final=False, step=0))
        assert written.write_next(now) and of_these(1) == 1, "30 ms are enough for a turn"
        assert not written.write_next(now + 0.9 * writer.LONGEST_QUIET_S), "and ask for a second"
        assert written.write_next(now + 1.1 * writer.LONGEST_QUIET_S), "no longer than that"
        assert of_these(1) == 2
        now += 1.1 * writer.LONGEST_QUIET_S
        written.write(Block(scan_id, 0, *zeros, final=False, step=0))
        assert not written.write_next(now + 0.5)
        written._results[1].written = -numpy.inf
        assert written.write_next(now + 0.5), "what shows nothing yet does not wait"
        assert (written._results[1].item.data[:] == 0).all()
        slow.clear()
        scan.end()


def test_what_is_shown_comes_first_where_not_all_can_be_written_in_time(bare_swift, tmp_path, monkeypatch):
    with contextlib.closing(follow(bare_swift, tmp_path, maps=[{"name": "a", "signal": [102, 110]}])) as companion:
        scan = Producer(bare_swift, spectra(*SHAPE))
        scan.write_rows()
        pump(bare_swift, companion, lambda: companion.current and companion.current.timeline.first_preview)
        written = companion.current._writer
        pump(bare_swift, companion, lambda: all(result.open and not result.waiting for result in written._results))
        hidden, shown = written._results
        (display,) = bare_swift.document_model.get_display_items_for_data_item(shown.item)
        bare_swift.document_controller.workspace_controller.display_panels[0].set_display_item(display)
        monkeypatch.setattr(writer, "GROWS", (0.0, 0.0))
        slow = [item.data_item_changed_event.listen(work_for_30_ms) for item in written.items]
        now = time.monotonic() + 10
        hidden.written, shown.written = now - 1.5 * writer.HIDDEN_S[0], now - 2 * writer.REFRESH_S[0]
        ones = [numpy.ones(shape, numpy.float32) for shape in ((20, 16), (1, 4, 20))]
        written.write(Block(companion.current.spec.scan_id, 0, *ones, final=False, step=0))
        assert written.write_next(now)
        assert (shown.item.data[:] == 1).all() and hidden.waiting, "twice its time, the other one and a half"
        assert written.write_next(now + writer.LONGEST_QUIET_S) and not hidden.waiting
        slow.clear()
        scan.end()


def test_what_no_display_panel_shows_is_written_less_often_and_all_of_it_later_in_a_scan(bare_swift, tmp_path):
    with contextlib.closing(follow(bare_swift, tmp_path)) as companion:
        scan = Producer(bare_swift, spectra(*SHAPE))
        scan.write_rows()
        pump(bare_swift, companion, lambda: companion.current and companion.current.timeline.first_preview)
        written = companion.current._writer
        (result,) = written._results
        block = Block(companion.current.spec.scan_id, 0, numpy.ones((20, 16), numpy.float32), None, False, 0)
        (display,) = bare_swift.document_model.get_display_items_for_data_item(written.items[0])
        panel = bare_swift.document_controller.workspace_controller.display_panels[0]

        def wait(began, shown):
            """How long a preview waits for its turn, to a tenth of a second."""
            panel.set_display_item(display if shown else None)
            now = time.monotonic() + 1000
            written._began, result.written, written._quiet_until = now - began, now, now
            written.write(block)
            return next(tenths / 10 for tenths in range(400) if written.write_next(now + tenths / 10))

        now = time.monotonic() + 1000
        written._began, result.written = now, now
        written.write(block)
        assert not written.write_next(now + 0.9 * writer.HIDDEN_S[0])
        panel.set_display_item(display)
        assert written.write_next(now + 0.9 * writer.HIDDEN_S[0]), "dragged into a display panel while it waited"
        hidden, shown = (tuple(wait(began, shown) for began in (0, 600)) for shown in (False, True))
        assert hidden == pytest.approx(writer.HIDDEN_S, abs=0.2), "only the list of all items shows it"
        assert shown == pytest.approx(writer.REFRESH_S, abs=0.2)
        assert wait(12, True) == pytest.approx(6, abs=0.2), "a third of the scan's time by then"
        assert wait(6, False) == pytest.approx(12, abs=0.2), "two thirds of it"
        scan.end()


@pytest.mark.parametrize("at_once", [True, False])
def test_an_item_comes_into_the_library_as_ours_and_a_small_one_in_its_form(bare_swift, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(writer, "SMALL_BYTES", 1 << 20 if at_once else 0)
    seen = []

    def inserted(key, item, *_):
        if key == "data_items" and "udvd" in item.metadata:
            units = [each.units for each in item.dimensional_calibrations]
            seen.append((item.data_shape, units, item.metadata["udvd"]["kind"], item.large_format))

    listeners = [bare_swift.document_model.item_inserted_event.listen(inserted)]
    with contextlib.closing(follow(bare_swift, tmp_path, maps=[{"name": "a", "signal": [102, 110]}])) as companion:
        scan = Producer(bare_swift, spectra(*SHAPE))
        scan.write_rows()
        pump(bare_swift, companion, lambda: companion.current and companion.current.timeline.first_preview)
        items = companion.current.items
        assert [item.data_shape for item in items] == [SHAPE, SHAPE[:2]]
        assert [[each.units for each in item.dimensional_calibrations] for item in items] == [
            ["nm", "nm", "eV"],
            ["nm"] * 2,
        ]
        scan.end()
    listeners.clear()
    forms = [(SHAPE, ["nm", "nm", "eV"]), (SHAPE[:2], ["nm", "nm"])] if at_once else [(None, [])] * 2
    assert seen == [(*form, kind, True) for form, kind in zip(forms, ("denoised", "map"), strict=True)]
