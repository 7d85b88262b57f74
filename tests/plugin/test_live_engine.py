"""The engine child dies, is slow, is missing, or has two scans at once: the scan goes on, nothing is lost."""

from __future__ import annotations

import json
import os
import signal

import numpy
import pytest
from live import received, run_to_done

from nionswift_plugin.udvd_live import panel
from nionswift_plugin.udvd_live.job import Phase
from nionswift_plugin.udvd_simulator import acquire
from udvd_core.engine import local

SHAPE = (6, 5)
COUNT = 30


def states(companion):
    return [job.items[0].metadata["udvd"]["state"] for job in companion.jobs]


def test_the_child_is_killed_twice_and_every_frame_is_final(swift, companion):
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 150)
    pids = [companion.engine.pid]
    swift.pump_until(lambda: received(companion) >= 6, 60)
    os.kill(pids[0], signal.SIGKILL)
    swift.pump_until(lambda: companion.engine.pid != pids[0], 10)
    pids.append(companion.engine.pid)
    swift.pump_until(lambda: received(companion) >= 16 and companion.current.lag < 16, 60)
    os.kill(pids[1], signal.SIGKILL)
    raw = acquisition.wait()
    job = run_to_done(swift, companion)
    assert companion.engine.pid not in pids
    assert job.finished.final == job.finished.received == COUNT and states(companion) == ["final"]
    assert job.items[0].data[:].reshape(COUNT, -1).any(1).all()
    assert raw.data[:].reshape(COUNT, -1).any(1).all()


def test_the_death_is_told_while_it_is_mended(swift, companion):
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 100)
    swift.pump_until(lambda: received(companion) >= 6, 60)
    os.kill(companion.engine.pid, signal.SIGKILL)
    swift.pump_until(lambda: companion.current.note, 10)
    assert "ended" in companion.current.note and panel.state_line(companion, companion.current)
    acquisition.wait()
    run_to_done(swift, companion)


def test_two_scans_back_to_back_do_not_mix(swift, companion, source):
    first = acquire.acquire_spectrum_image(swift, SHAPE, 60).wait()
    assert companion.current.phase is not Phase.DONE
    second = acquire.acquire_spectrum_image(swift, SHAPE, 60).wait()
    run_to_done(swift, companion, jobs=2)
    assert states(companion) == ["final", "final"]
    for job, raw in zip(companion.jobs, (first, second), strict=True):
        facts = job.items[0].metadata["udvd"]
        assert facts["source_uuid"] == str(raw.uuid) and job.items[0].title.startswith(raw.title)
        assert job.items[0].session_metadata == raw.session_metadata
    assert first.session_metadata != second.session_metadata


@pytest.mark.parametrize("plug_in_settings", [{"training": {"model": "raw", "budget_s": 5}}], indirect=True)
def test_a_full_ring_loses_nothing(swift, companion, monkeypatch):
    ring = companion.engine._ring
    put, refused = ring.put, []

    def full_at_first(block):
        if len(refused) < 8:
            refused.append(block.shape)
            return None
        return put(block)

    monkeypatch.setattr(ring, "put", full_at_first)
    raw = acquire.acquire_spectrum_image(swift, SHAPE, 40).wait()
    job = run_to_done(swift, companion)
    assert len(refused) == 8 and states(companion) == ["final"]
    assert numpy.array_equal(job.items[0].data[:], raw.data[:]), "the model 'raw' gives back what it got"


@pytest.mark.parametrize("plug_in_settings", [{"python": "/nonexistent/python"}], indirect=True)
def test_without_an_engine_the_scan_goes_on(swift, companion):
    assert "/nonexistent/python" in companion.trouble
    raw = acquire.acquire_spectrum_image(swift, SHAPE, 20).wait()
    swift.pump(0.5)
    assert raw.data[:].reshape(COUNT, -1).any(1).all()
    assert not companion.jobs and "No engine" in panel.state_line(companion, None)


def test_an_engine_that_keeps_dying_fails_the_scan_with_a_sentence_and_the_next_gets_another(
    swift, companion, monkeypatch
):
    monkeypatch.setattr(local, "MOST_DEATHS", 1)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 100)
    swift.pump_until(lambda: received(companion) >= 6, 60)
    os.kill(companion.engine.pid, signal.SIGKILL)
    swift.pump_until(lambda: companion.current.phase is Phase.DONE, 10)
    assert "1 times" in companion.current.note and not companion.engine.alive
    raw = acquisition.wait()
    assert raw.data[:].reshape(COUNT, -1).any(1).all()
    monkeypatch.undo()
    acquire.acquire_spectrum_image(swift, SHAPE, 40).wait()
    job = run_to_done(swift, companion, jobs=2)
    assert job.items[0].metadata["udvd"]["state"] == "final"


def test_following_is_switched_in_the_panel_and_remembered(swift, companion, plug_in_settings):
    handler = panel.PanelHandler(companion, swift.document_controller.event_loop)
    handler.follow_model.value = False
    assert json.loads(plug_in_settings.read_text())["follow"] is False
    acquire.acquire_spectrum_image(swift, SHAPE, 10).wait()
    swift.pump(0.5)
    assert not companion.jobs and "switched off" in companion.ignored
    handler.follow_model.value = True
    assert json.loads(plug_in_settings.read_text())["follow"] is True
    acquire.acquire_spectrum_image(swift, SHAPE, 40).wait()
    swift.pump(0.3)
    handler.stop_clicked(None)
    swift.pump(0.3)
    assert companion.current.phase is Phase.DONE and "Stopped" in handler.state_model.value
    handler.close()


def test_the_panel_says_what_is_going_on(swift, companion):
    assert panel.state_line(companion, None) == "Waiting for a scan"
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 80)
    swift.pump_until(lambda: companion.current is not None and companion.current.timeline.first_preview, 60)
    job = companion.current
    assert panel.state_line(companion, job) == "Denoising while the scan runs"
    percent, text = panel.progress(job)
    assert 0 < percent < 100 and f"of {COUNT} frames" in text and "behind" in text
    assert panel.lag_s(job) >= 0 and "udvd on CPU" in panel.engine_line(companion, job)
    acquisition.wait()
    run_to_done(swift, companion)
    assert panel.state_line(companion, job) == "Final" and panel.progress(job) == (100, f"{COUNT} of {COUNT} frames")
    assert "steps" in panel.learning_line(job)
