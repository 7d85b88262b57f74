"""The engine child dies, is slow, is missing, or has two scans at once: the scan goes on, nothing is lost."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal

import numpy
import pytest
from live import GUIDED, run_to_done, shown
from nion.utils import Registry

from nionswift_plugin.udvd_live import panel, panel_text
from nionswift_plugin.udvd_live.job import Phase
from nionswift_plugin.udvd_simulator import acquire, sources
from udvd_core.engine import local

SHAPE = (6, 5)
COUNT = 30


def states(companion):
    return [job.items[0].metadata["udvd"]["state"] for job in companion.jobs]


@pytest.mark.parametrize("plug_in_settings", [GUIDED], indirect=True)
def test_the_child_is_killed_twice_and_every_frame_is_final(swift, companion, shutter, caplog):
    shutter.hold(7)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    shutter.pump_to(swift, companion, 7)
    pids = [companion.engine.pid]
    os.kill(pids[0], signal.SIGKILL)
    swift.pump_until(lambda: companion.engine.pid != pids[0] and companion.current.note, 60)
    assert "ended" in companion.current.note and panel_text.state_line(companion, companion.current)
    pids.append(companion.engine.pid)
    shutter.pump_to(swift, companion, 16, lambda job: job.lag < 16)
    os.kill(pids[1], signal.SIGKILL)
    shutter.open()
    raw = acquisition.wait()
    job = run_to_done(swift, companion)
    assert companion.engine.pid not in pids
    assert len([r for r in caplog.records if r.name.startswith("nionswift_plugin") and "again" in r.message]) == 2
    assert job.finished.final == job.finished.received == COUNT and states(companion) == ["final"]
    assert job.items[0].data[:].reshape(COUNT, -1).any(1).all()
    assert raw.data[:].reshape(COUNT, -1).any(1).all()


def test_two_scans_back_to_back_do_not_mix(swift, companion, source, simulator_config):
    first = acquire.acquire_spectrum_image(swift, SHAPE, 20).wait()
    assert companion.current.phase is not Phase.DONE
    brighter = sources.build_source(dataclasses.replace(simulator_config, counts=3 * simulator_config.counts))
    Registry.get_component("eels_camera_hardware_source").camera._source = brighter
    second = acquire.acquire_spectrum_image(swift, SHAPE, 20).wait()
    run_to_done(swift, companion, jobs=2)
    assert states(companion) == ["final", "final"]
    for job, raw, seen in zip(companion.jobs, (first, second), (source, brighter), strict=True):
        facts = job.items[0].metadata["udvd"]
        assert facts["source_uuid"] == str(raw.uuid) and job.items[0].title.startswith(raw.title)
        assert job.items[0].session_metadata == raw.session_metadata
        counts = numpy.array([seen.spectrum(i).sum() for i in range(COUNT)])
        assert numpy.array_equal(raw.data[:].reshape(COUNT, -1).sum(1), counts)
        assert job.items[0].data[:].sum() == pytest.approx(counts.sum(), rel=0.1), "the scans are 3 times apart"
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
    assert not companion.jobs and "No engine" in panel_text.state_line(companion, None)


def test_an_engine_that_keeps_dying_fails_the_scan_with_a_sentence_and_the_next_gets_another(
    swift, companion, shutter, monkeypatch
):
    shutter.hold(7)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    shutter.pump_to(swift, companion, 7)
    with monkeypatch.context() as patch:
        patch.setattr(local, "MOST_DEATHS", 1)
        os.kill(companion.engine.pid, signal.SIGKILL)
        swift.pump_until(lambda: companion.current.phase is Phase.DONE, 60)
    shutter.open()
    assert "1 times" in companion.current.note and not companion.engine.alive
    raw = acquisition.wait()
    assert raw.data[:].reshape(COUNT, -1).any(1).all()
    acquire.acquire_spectrum_image(swift, SHAPE, 40).wait()
    job = run_to_done(swift, companion, jobs=2)
    assert job.items[0].metadata["udvd"]["state"] == "final"


def test_following_is_switched_in_the_panel_and_remembered(swift, companion, shutter, plug_in_settings):
    handler = panel.PanelHandler(companion, swift.document_controller.event_loop)
    handler.follow_model.value = False
    assert json.loads(plug_in_settings.read_text())["follow"] is False
    acquire.acquire_spectrum_image(swift, SHAPE, 10).wait()
    swift.pump(0.5)
    assert not companion.jobs and "switched off" in companion.ignored
    handler.follow_model.value = True
    assert json.loads(plug_in_settings.read_text())["follow"] is True
    shutter.hold(14)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    shutter.pump_to(swift, companion, 14, shown)
    handler.stop_clicked(None)
    swift.pump(0.3)
    assert companion.current.phase is Phase.DONE and "Stopped" in handler.state.text.value
    shutter.open()
    acquisition.wait()
    handler.close()


@pytest.mark.parametrize("plug_in_settings", [GUIDED], indirect=True)
def test_the_panel_says_what_is_going_on(swift, companion, shutter):
    assert panel_text.state_line(companion, None) == "Waiting for a scan"
    assert panel_text.progress(None) == (0, "") and panel_text.learning_line(None) == ""
    assert "on CPU" not in panel_text.engine_line(companion, None)[1]
    shutter.hold(14)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    shutter.pump_to(swift, companion, 14, lambda job: shown(job) and job.status.denoised == 14)
    job = companion.current
    assert panel_text.state_line(companion, job) == "Denoising while the scan runs"
    percent, text = panel_text.progress(job)
    assert percent == 46 and text.startswith(f"14 of {COUNT} frames, 0 behind (0.0 s)")
    assert job.lag_s == 0 and "guided on CPU" in panel_text.engine_line(companion, job)[1]
    shutter.open()
    acquisition.wait()
    swift.pump_until(lambda: job.phase is not Phase.FOLLOWING, 60)
    if job.phase is Phase.FINALISING:
        assert panel_text.state_line(companion, job) == "Making the final result"
        assert "frames final, all in" in panel_text.progress(job)[1]
    run_to_done(swift, companion)
    assert panel_text.state_line(companion, job) == "Final"
    assert panel_text.progress(job) == (100, f"{COUNT} of {COUNT} frames")
    assert re.match(r"[1-9]\d* components? found", panel_text.learning_line(job))


@pytest.mark.parametrize("plug_in_settings", [{"training": {"model": "udvd", "budget_s": 0.2}}], indirect=True)
def test_a_result_that_learned_nothing_says_so(swift, companion):
    """A budget too short for the network's first judgement gives the mean spectrum everywhere: told, not hidden."""
    acquire.acquire_spectrum_image(swift, SHAPE, 10).wait()
    job = run_to_done(swift, companion)
    facts, frames = job.items[0].metadata["udvd"], job.items[0].data[:].reshape(COUNT, -1)
    constant = bool(numpy.ptp(frames[frames.any(1)], axis=0).max() < 1e-3)
    assert facts["provenance"]["learned"] is not constant
    assert ("nothing was learned" in facts["note"]) is constant and facts["note"] == job.note
