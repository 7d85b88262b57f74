"""A scan in real Swift with the plug-in and its engine child: every way it can go and end."""

from __future__ import annotations

import hashlib
import json
import time

import numpy
import pytest
from live import GUIDED, run_to_done, shown
from nion.swift.model import FileStorageSystem

from nionswift_plugin.udvd_live import placement
from nionswift_plugin.udvd_live.job import Phase
from nionswift_plugin.udvd_live.recording import State
from nionswift_plugin.udvd_simulator import acquire, camera, headless

SHAPE = (6, 5)
COUNT = 30


def fingerprint(item):
    data = numpy.ascontiguousarray(item.data[:])
    facts = json.dumps([item.metadata, item.title], sort_keys=True)
    return hashlib.sha256(data.tobytes() + facts.encode()).digest()


def denoised(job):
    return job.items[0]


def test_items_are_made_and_placed_before_the_first_row_one_a_turn_with_one_write(
    swift, companion, shutter, monkeypatch
):
    turns, writes, tick = [], [], companion.tick
    write = FileStorageSystem.FileProjectStorageSystem._write_properties
    monkeypatch.setattr(
        FileStorageSystem.FileProjectStorageSystem, "_write_properties", lambda own: (writes.append(1), write(own))
    )

    def timed():
        before, written = made(), len(writes)
        making = companion.current is not None and companion.current.making
        tick()
        turns.append((made() - before, len(writes) - written, making, placed()))

    def made():
        return len(companion.current.items) if companion.current else 0

    def placed():
        groups = [group for group in swift.document_model.data_groups if group.title == placement.GROUP]
        return sum(len(group.display_items) for group in groups)

    companion.tick = timed
    shutter.hold(3)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    swift.pump_until(lambda: made() == 3 and not companion.current.making, 60)
    assert companion.current.timeline.first_row is None
    shutter.open()
    acquisition.wait()
    run_to_done(swift, companion)
    assert companion.current.timeline.first_row is not None and not companion.current.making
    first = next(number for number, turn in enumerate(turns) if turn[0])
    assert turns[first : first + 3] == [(1, 1, True, number) for number in (1, 2, 3)]


@pytest.mark.parametrize("plug_in_settings", [GUIDED], indirect=True)
def test_a_scan_from_start_to_final(swift, companion, source, shutter):
    states, titles = [], set()
    shutter.hold(17)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)

    def watch():
        recordings = [*companion._follower._recordings.values(), *(job.recording for job in companion.jobs)]
        for state in [recording.state for recording in recordings if "EELS" in recording.title][:1]:
            if states[-1:] != [state]:
                states.append(state)
        if companion.current is not None and companion.current.finished is None:
            titles.update(item.title for item in companion.current.items)
            if shown(companion.current):
                shutter.open()
        return companion.current is not None and companion.current.phase is Phase.DONE

    swift.pump_until(watch, 90)
    raw = acquisition.wait()
    job = run_to_done(swift, companion)
    assert states == [State.START, State.PROGRESS, State.FINISHED]
    assert titles == {f"{raw.title} ({name}, preliminary)" for name in ("Denoised", "Core", "Window")}
    assert [item.title for item in job.items] == [f"{raw.title} ({name})" for name in ("Denoised", "Core", "Window")]

    expected = numpy.stack([source.spectrum(i) for i in range(COUNT)]).reshape(raw.data_shape)
    assert numpy.array_equal(raw.data[:], expected), "the raw data are what the camera counted"
    result = denoised(job)
    assert result.data_shape == raw.data_shape and result.data_descriptor == raw.data_descriptor
    assert list(result.dimensional_calibrations) == list(raw.dimensional_calibrations)
    assert result.intensity_calibration == raw.intensity_calibration
    assert numpy.isfinite(result.data[:]).all() and result.data[:].sum() == pytest.approx(raw.data[:].sum(), rel=0.1)
    for item in job.items:
        assert item.session_metadata == raw.session_metadata and not item.is_live
    image = job.items[1]
    assert image.data_shape == SHAPE and list(image.dimensional_calibrations) == list(raw.dimensional_calibrations[:2])
    assert image.intensity_calibration.units.startswith("counts in ")
    energy = raw.dimensional_calibrations[2]
    values = energy.offset + energy.scale * numpy.arange(raw.data_shape[2])
    window = (values >= 110) & (values < 120)
    assert numpy.allclose(job.items[2].data[:], result.data[:][..., window].sum(-1), rtol=1e-4)

    facts = result.metadata["udvd"]
    assert facts["source_uuid"] == str(raw.uuid) and facts["state"] == "final" and facts["coverage"] == 1.0
    assert set(facts["versions"]) == {"nionswift-udvd", "nionswift", "numpy"} and facts["settings"]["budget_s"] == 3.0
    provenance = facts["provenance"]
    assert provenance["model"] == "guided" and provenance["rank"] > 0 and len(provenance["weights_sha256"]) == 64
    assert provenance["frames_final"] == COUNT and image.metadata["udvd"]["map"]["name"] == "Core"
    assert job.timeline.live == COUNT

    before = [fingerprint(item) for item in job.items]
    items = len(swift.data_items)
    swift.pump(2)
    assert [fingerprint(item) for item in job.items] == before, "a final item does not change by itself"
    assert len(swift.data_items) == items and len(companion.jobs) == 1, "its own results are not followed"


def test_raw_is_the_same_without_the_plug_in(swift, companion, tmp_path, monkeypatch):
    raw = acquire.acquire_spectrum_image(swift, SHAPE, 20).wait()
    run_to_done(swift, companion)
    with_it, metadata = numpy.array(raw.data[:]), dict(raw.metadata)
    swift.close()
    with headless.HeadlessSwift(tmp_path / "other", skip_plug_ins=("nionswift_plugin.udvd_live",)) as other:
        without = acquire.acquire_spectrum_image(other, SHAPE, 20).wait()
        titles = [item.title for item in other.data_items]
        assert len(titles) == 3, f"{titles}; want raw, HAADF and the live view"
        assert numpy.array_equal(without.data[:], with_it)
        assert set(without.metadata) == set(metadata)


@pytest.mark.parametrize("plug_in_settings", [{"training": {"model": "raw", "budget_s": 5}}], indirect=True)
def test_raw_is_what_the_camera_counted_though_the_main_loop_stands_still(swift, companion, source, shutter):
    """Swift queues a block of one frame by reference to a buffer that it uses again for the next frame."""
    shutter.hold(COUNT)  # all of them, but one by one
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 40)
    while not acquisition.is_done:
        time.sleep(0.15)
        swift.pump()
    raw = acquisition.wait()
    expected = numpy.stack([source.spectrum(i) for i in range(COUNT)])
    assert numpy.array_equal(raw.data[:].reshape(COUNT, -1), expected)
    assert numpy.array_equal(denoised(run_to_done(swift, companion)).data[:], raw.data[:])


@pytest.mark.parametrize("frames", [3, 14, 28], ids=["first row", "middle row", "last row"])
def test_abort_keeps_what_was_denoised(swift, companion, shutter, frames):
    shutter.hold(frames)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    shutter.pump_to(swift, companion, frames)
    acquisition.abort()
    raw = acquisition.wait()
    job = run_to_done(swift, companion)
    assert job.recording.state is State.ABORTED and job.recording.coverage.received == frames
    assert job.finished.final == job.finished.received == frames
    for item in job.items:
        facts = item.metadata["udvd"]
        assert facts["state"] == "aborted" and "aborted" in item.title and facts["coverage"] == frames / COUNT
    values = denoised(job).data[:].reshape(COUNT, -1)
    assert values[:frames].any(1).all() and not values[frames:].any()
    assert (raw.data[:].reshape(COUNT, -1).any(1) == (numpy.arange(COUNT) < frames)).all()


def test_abort_before_the_first_data_makes_nothing(swift, companion):
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 2000)
    swift.pump(0.1)
    acquisition.abort()
    swift.pump_until(lambda: acquisition.is_done, 30)
    swift.pump(1)
    assert not companion.jobs and not companion._follower._recordings
    assert not [item for item in swift.data_items if "udvd" in item.metadata]


def test_an_error_of_the_camera_is_told_and_what_came_is_kept(swift, companion, shutter, monkeypatch):
    shutter.hold(12)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    shutter.pump_to(swift, companion, 12, shown)

    def failing(self, **kwargs):
        raise RuntimeError("the detector has lost its link")

    monkeypatch.setattr(camera.SimulatedCamera, "acquire_synchronized_continue", failing)
    swift.pump_until(lambda: acquisition.is_done, 60)
    job = run_to_done(swift, companion)
    assert "lost its link" in acquisition.error and "lost its link" in job.recording.error
    assert job.recording.state is State.ERROR and job.finished.final == 12
    facts = denoised(job).metadata["udvd"]
    assert facts["state"] == "scan failed" and facts["coverage"] == 12 / COUNT
    assert denoised(job).data[:].reshape(COUNT, -1)[:12].any(1).all()


@pytest.fixture
def running(swift, companion, shutter):
    """A scan whose first rows are shown in all results; the camera waits for `shutter.open`."""
    shutter.hold(14)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    shutter.pump_to(swift, companion, 14, shown)
    return acquisition


def test_stop_leaves_the_results_and_the_scan_alone(swift, companion, shutter, running):
    companion.stop()
    swift.pump(0.2)
    job, kept = companion.current, [fingerprint(item) for item in companion.current.items]
    shutter.open()
    raw = running.wait()
    assert raw.data[:].reshape(COUNT, -1).any(1).all(), "the scan goes on"
    assert job.phase is Phase.DONE and denoised(job).data[:].any()
    assert all(item.metadata["udvd"]["state"] == "stopped" and "stopped" in item.title for item in job.items)
    assert [fingerprint(item) for item in job.items] == kept, "what comes later changes nothing"


def test_raw_deleted_while_live(swift, companion, shutter, running):
    swift.document_model.remove_data_item(running.raw)
    shutter.open()
    job = run_to_done(swift, companion)
    assert job.recording.state is State.REMOVED
    assert len(job.items) == 3 and denoised(job).data[:].any()
    assert all(item.metadata["udvd"]["state"] == "raw deleted" for item in job.items)
    swift.pump_until(lambda: running.is_done, 60)


def test_one_result_deleted_while_live(swift, companion, shutter, running):
    swift.document_model.remove_data_item(companion.current.items[1])
    shutter.open()
    running.wait()
    job = run_to_done(swift, companion)
    assert [item.metadata["udvd"]["state"] for item in job.items] == ["final", "final"]
    assert [item.title.split("(")[1] for item in job.items] == ["Denoised)", "Window)"]
    assert all(item.data[:].reshape(COUNT, -1).any(1).all() for item in job.items)


def test_all_results_deleted_while_live(swift, companion, shutter, running):
    for item in list(companion.current.items):
        swift.document_model.remove_data_item(item)
    assert companion.current.phase is Phase.DONE
    shutter.open()
    raw = running.wait()
    assert raw.data[:].reshape(COUNT, -1).any(1).all()
    assert not [item for item in swift.data_items if "udvd" in item.metadata]
