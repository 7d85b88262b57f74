"""A real engine child that starts late, has little memory, or dies at the end; and a Swift that cannot be tapped."""

from __future__ import annotations

import contextlib
import os
import signal

import numpy
import pytest
from live import run_to_done, shown
from producer import follow, pump

from nionswift_plugin.udvd_live import recording
from nionswift_plugin.udvd_live.companion import companion_of
from nionswift_plugin.udvd_live.job import Phase
from nionswift_plugin.udvd_live.recording import State
from nionswift_plugin.udvd_simulator import acquire
from udvd_core.engine.local import LocalEngine

SHAPE = (6, 5)
COUNT = 30
RAW = {"training": {"model": "raw", "budget_s": 5}}
OFF = {"follow": False}


def test_a_scan_that_is_faster_than_the_start_of_the_engine(swift):
    companion = companion_of(swift.document_model)
    os.kill(companion.engine.pid, signal.SIGSTOP)  # so that it cannot be ready before the scan ends
    raw = acquire.acquire_spectrum_image(swift, SHAPE, 10).wait()
    swift.pump_until(lambda: companion.current.phase is Phase.FINALISING, 10)
    assert "starting" in companion.engine.describe() and not companion.current.items
    os.kill(companion.engine.pid, signal.SIGCONT)
    job = run_to_done(swift, companion)
    assert job.finished.final == COUNT and job.items[0].metadata["udvd"]["state"] == "final"
    assert job.items[0].data[:].sum() == pytest.approx(raw.data[:].sum(), rel=0.1)


@pytest.fixture
def finalising(swift, companion, shutter):
    """A scan that is over and whose child was told so, but stands still since its previews; its process id."""
    shutter.hold(14)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    shutter.pump_to(swift, companion, 14, shown)
    os.kill(pid := companion.engine.pid, signal.SIGSTOP)
    shutter.open()
    acquisition.wait()
    swift.pump_until(lambda: companion.current.phase is Phase.FINALISING and companion.current._finish_sent, 5)
    return pid


def test_the_child_is_killed_while_it_finalises(swift, companion, finalising):
    pid = finalising
    os.kill(pid, signal.SIGKILL)
    job = run_to_done(swift, companion)
    assert companion.engine.pid != pid and job.finished.final == COUNT
    assert {item.metadata["udvd"]["state"] for item in job.items} == {"final"}


def test_stop_while_it_finalises_keeps_the_results_as_they_are(swift, companion, finalising):
    companion.stop()
    os.kill(finalising, signal.SIGCONT)
    kept = [numpy.array(item.data[:]) for item in companion.current.items]
    swift.pump(1)
    assert companion.current.phase is Phase.DONE and len(companion.current.items) == 3
    for item, data in zip(companion.current.items, kept, strict=True):
        assert item.metadata["udvd"]["state"] == "stopped" and numpy.array_equal(item.data[:], data)
        assert not item.is_live


@pytest.mark.parametrize("plug_in_settings", [OFF], indirect=True)
def test_a_ring_with_room_for_one_row(swift, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MOST_BYTES", 1000)
    row = 4 * 5 * 64
    with contextlib.closing(
        follow(swift, tmp_path, make_engine=lambda chosen: LocalEngine(ring_bytes=row + 100))
    ) as companion:
        raw = acquire.acquire_spectrum_image(swift, SHAPE, 20)
        pump(swift, companion, lambda: companion.current and companion.current.phase is Phase.DONE)
        assert companion.current.finished.final == COUNT
        assert numpy.array_equal(companion.current.items[0].data[:], raw.wait().data[:])


@pytest.mark.parametrize("plug_in_settings", [OFF], indirect=True)
class TestByEvents:
    """Where Swift cannot be tapped: rows are counted from its metadata, frames are read from the raw item."""

    @pytest.fixture
    def untapped(self, swift, tmp_path):
        companion = follow(swift, tmp_path, exact=False)
        assert companion._follower._tap is None
        yield companion
        companion.close()

    @pytest.mark.parametrize("section_height", [None, 2])
    def test_a_whole_scan(self, swift, untapped, section_height):
        acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 60, section_height=section_height)
        seen = set()

        def watch():
            seen.add(untapped.current.recording.coverage.received if untapped.current else 0)
            return untapped.current and untapped.current.phase is Phase.DONE

        pump(swift, untapped, watch)
        job = untapped.current
        assert job.recording.state is State.FINISHED and job.items[0].metadata["udvd"]["state"] == "final"
        assert numpy.array_equal(job.items[0].data[:], acquisition.wait().data[:])
        assert section_height or any(0 < count < COUNT for count in seen), "rows come while it is acquired"

    def test_an_aborted_scan(self, swift, untapped):
        acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 60)
        pump(swift, untapped, lambda: untapped.current and untapped.current.recording.coverage.received >= 10)
        acquisition.abort()
        pump(swift, untapped, lambda: untapped.current.phase is Phase.DONE)
        job, raw = untapped.current, acquisition.wait()
        frames = job.recording.coverage.received
        assert job.recording.state is State.ABORTED and 10 <= frames < COUNT
        assert job.items[0].metadata["udvd"]["state"] == "aborted"
        assert numpy.array_equal(job.items[0].data[:], raw.data[:])

    def test_a_sequence(self, swift, untapped):
        acquisition = acquire.acquire_sequence(swift, 12, 40)
        pump(swift, untapped, lambda: untapped.current and untapped.current.phase is Phase.DONE)
        assert untapped.current.finished.final == 12
        assert numpy.array_equal(untapped.current.items[0].data[:], acquisition.wait().data[:])
