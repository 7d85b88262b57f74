"""Scans of the library through the queue: results in their place, nothing twice, live scans first."""

from __future__ import annotations

import json

import numpy
import pytest
from nion.data import Calibration, DataAndMetadata
from nion.swift.model import Activity, DataItem
from producer import EELS, NM, Producer, finish, follow, pump, spectra

from nionswift_plugin.udvd_live import replay, reprocess, uncertainties
from nionswift_plugin.udvd_live.job import Phase
from nionswift_plugin.udvd_live.library_scans import Library
from nionswift_plugin.udvd_live.queue_file import QueueFile, Settings, State, project_folder
from nionswift_plugin.udvd_live.replay import Replay
from nionswift_plugin.udvd_live.reprocess_panel import settings_of
from udvd_core.engine.inline import InlineEngine
from udvd_core.engine.protocol import Block, Finished, Resend
from udvd_core.errors import EngineError, InputError
from udvd_core.settings import MapWindow, Training

MAP = MapWindow("Window", (105.0, 115.0))
RAW = Settings(Training("raw", budget_s=5), (MAP,))


class Sleeping(InlineEngine):
    """Takes frames and does nothing with them."""

    def poll(self):
        return []


class Unfinished(InlineEngine):
    """Gives final blocks and never says that it has finished."""

    def poll(self):
        return [event for event in super().poll() if not isinstance(event, Finished)]


class Failing(InlineEngine):
    """Fails after its first final block."""

    def poll(self):
        events = super().poll()
        for event in events:
            if isinstance(event, Block) and event.final:
                raise RuntimeError("broken")
        return events


class Losing(InlineEngine):
    """Ends whenever it works at its first scan, and is there again."""

    bad = None

    def open(self, spec):
        self.bad = self.bad or spec
        super().open(spec)

    def poll(self):
        if self.bad is None or self.bad.scan_id not in self._ids:
            return super().poll()
        self._service.abort(self.bad.scan_id)
        self._service.open(self.bad)
        return [Resend(self.bad.scan_id, "the engine process ended")]

    def abort(self, scan_id):
        self._ids.discard(scan_id)
        super().abort(scan_id)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Begin as soon as a project is open."""
    monkeypatch.setattr(reprocess, "BEGIN_S", 0.0)


@pytest.fixture
def companion(bare_swift, tmp_path):
    """Of a bare Swift, its engines in the same thread; the model is 'raw': a result equals what was recorded."""
    for path in (project_folder(bare_swift.document_model) or tmp_path).glob("queue*"):
        path.unlink()
    found = follow(bare_swift, tmp_path)
    yield found
    found.close()


def add_scan(swift, data, *, datum=1, energy=(100.0, 1.0, "eV"), number=7, metadata=EELS):
    """A raw spectrum image as an acquisition leaves it."""
    item = DataItem.DataItem(large_format=True)
    positions = data.ndim - datum
    calibrations = [NM] * positions + [Calibration.Calibration()] * (datum - 1) + [Calibration.Calibration(*energy)]
    item.set_xdata(
        DataAndMetadata.new_data_and_metadata(
            data.astype(numpy.float32),
            Calibration.Calibration(units="counts"),
            calibrations,
            metadata,
            data_descriptor=DataAndMetadata.DataDescriptor(False, positions, datum),
        )
    )
    item.title = f"Spectrum Image EELS {number}"
    swift.document_model.append_data_item(item)
    item.session_metadata = {"project_acquisition_index": number}
    return item


def work_off(swift, companion):
    """Run until nothing waits or runs; the states in the order in which entries ended."""
    over = (State.WAITING, State.RUNNING)
    pump(swift, companion, lambda: not [e for e in companion.reprocessor.queue.entries if e.state in over])
    swift.pump(0.05)
    return [entry.state for entry in companion.reprocessor.queue.entries[::-1]]


def results(swift):
    return [item for item in swift.data_items if "udvd" in item.metadata]


def test_a_scan_of_the_library_gets_denoised_item_and_map_once(bare_swift, companion):
    data = spectra(6, 5, 32)
    raw = add_scan(bare_swift, data)
    modified = raw.data_modified
    assert companion.reprocessor.add([raw], RAW) == "1 added to the queue"
    assert companion.reprocessor.add([raw], RAW) == "0 added to the queue, 1 already there"
    assert work_off(bare_swift, companion) == [State.DONE]
    denoised, made = results(bare_swift)
    assert [denoised.title, made.title] == [f"{raw.title} (Denoised)", f"{raw.title} (Window)"]
    assert numpy.array_equal(denoised.data[:], data) and numpy.allclose(made.data[:], data[..., 5:15].sum(-1))
    assert denoised.metadata["udvd"]["state"] == "final" and not denoised.is_live
    assert numpy.array_equal(raw.data[:], data) and raw.data_modified == modified and "udvd" not in raw.metadata
    (listed,) = companion.reprocessor.library.scans()
    assert (listed.number, listed.form) == (7, "6 x 5 x 32") and listed.made.startswith("raw, 20")

    companion.reprocessor.add([raw], RAW)
    assert work_off(bare_swift, companion) == [State.DONE, State.DONE]
    assert companion.reprocessor.queue.entries[0].reason == "already done" and len(results(bare_swift)) == 2


def test_other_settings_fill_the_same_items_anew_and_not_the_operators_copy(bare_swift, companion):
    raw = add_scan(bare_swift, spectra(6, 5, 32))
    companion.reprocessor.add([raw], settings_of(companion.preferences, "guide", 2.0, (MAP,)))
    work_off(bare_swift, companion)
    denoised, made = results(bare_swift)
    assert uncertainties.load(denoised, 30, 32) is not None
    guided = numpy.array(denoised.data[:])
    copy = bare_swift.document_model.get_display_item_for_data_item(denoised)
    copy = bare_swift.document_model.get_display_item_snapshot_new(copy).data_item
    made.title = "My map"
    companion.reprocessor.add([raw], RAW)
    assert work_off(bare_swift, companion) == [State.DONE, State.DONE]
    assert results(bare_swift) == [denoised, made, copy]
    assert numpy.array_equal(denoised.data[:], raw.data[:]) and not numpy.array_equal(guided, raw.data[:])
    assert denoised.metadata["udvd"]["settings"]["model"] == "raw" and made.title == "My map"
    assert numpy.array_equal(copy.data[:], guided)
    assert uncertainties.load(denoised, 30, 32) is None, "those of the result before are not true of this one"


def test_results_that_the_operator_keeps_get_others_beside_them(bare_swift, companion):
    raw = add_scan(bare_swift, spectra(6, 5, 32))
    companion.reprocessor.add([raw], RAW)
    work_off(bare_swift, companion)
    for item in results(bare_swift):
        item.metadata = {**item.metadata, "udvd": {**item.metadata["udvd"], "kept": True}}
    companion.reprocessor.retry([companion.reprocessor.queue.entries[0].key])
    work_off(bare_swift, companion)
    assert len(results(bare_swift)) == 2 and companion.reprocessor.queue.entries[0].reason == "already done"
    companion.reprocessor.add([raw], settings_of(companion.preferences, "guide", 2.0, (MAP,)))
    work_off(bare_swift, companion)
    assert [item.metadata["udvd"]["settings"]["model"] for item in results(bare_swift)] == ["raw"] * 2 + ["guide"] * 2


def test_a_run_that_is_cancelled_in_its_last_pass_leaves_the_earlier_result_whole(bare_swift, companion):
    raw = add_scan(bare_swift, spectra(6, 5, 32))
    companion.reprocessor.add([raw], RAW)
    work_off(bare_swift, companion)
    before = numpy.array(results(bare_swift)[0].data[:])
    companion.reprocessor.own.engine = Unfinished()
    companion.reprocessor.add([raw], settings_of(companion.preferences, "guide", 2.0, (MAP,)))
    pump(bare_swift, companion, lambda: companion.reprocessor._runs and companion.reprocessor._runs[0].job._early)
    companion.reprocessor.cancel([companion.reprocessor.queue.entries[0].key])
    bare_swift.pump(0.1)
    assert numpy.array_equal(results(bare_swift)[0].data[:], before)
    assert {item.metadata["udvd"]["state"] for item in results(bare_swift)} == {"final"}


def test_changed_raw_data_are_done_again(bare_swift, companion):
    raw = add_scan(bare_swift, spectra(6, 5, 32))
    companion.reprocessor.add([raw], RAW)
    work_off(bare_swift, companion)
    with raw.data_ref() as held:
        held.data = 2 * numpy.array(held.data)
    companion.reprocessor.retry([companion.reprocessor.queue.entries[0].key])
    work_off(bare_swift, companion)
    assert companion.reprocessor.queue.entries[0].reason != "already done"
    assert numpy.array_equal(results(bare_swift)[0].data[:], raw.data[:])


def test_results_of_another_shape_are_left_alone(bare_swift, companion):
    raw = add_scan(bare_swift, spectra(4, 3, 2, 32), datum=2)
    companion.reprocessor.add([raw], Settings(Training("raw", budget_s=5)))
    frames = Settings(Training("raw", budget_s=5, frames=True))
    companion.reprocessor.add([raw], frames)
    assert work_off(bare_swift, companion) == [State.DONE, State.DONE]
    summed, whole = results(bare_swift)
    assert numpy.array_equal(summed.data[:], raw.data[:].sum(2)) and numpy.array_equal(whole.data[:], raw.data[:])


def test_passes_are_pooled_and_the_result_names_them(bare_swift, companion):
    passes = [add_scan(bare_swift, spectra(6, 5, 32, seed=n), number=n) for n in (3, 4, 5)]
    companion.reprocessor.add(passes, RAW, pool=True)
    assert work_off(bare_swift, companion) == [State.DONE]
    denoised = results(bare_swift)[0]
    assert denoised.title == "Spectrum Image EELS 3 + 4 + 5 (Denoised)"
    assert numpy.array_equal(denoised.data[:], sum(item.data[:] for item in passes))
    facts = denoised.metadata["udvd"]
    assert facts["source_uuids"] == [str(item.uuid) for item in passes] and facts["source_uuid"] is None
    assert all("3 passes pooled" in scan.made for scan in companion.reprocessor.library.scans())
    companion.reprocessor.add(passes[:1], RAW)
    work_off(bare_swift, companion)
    assert len(results(bare_swift)) == 4, "the first pass alone has results of its own"


@pytest.mark.parametrize(
    ("other", "word"),
    [({"data": spectra(6, 4, 32)}, "shape"), ({"data": spectra(6, 5, 32), "energy": (100, 0.5, "eV")}, "calibrated")],
)
def test_what_does_not_fit_together_is_not_pooled(bare_swift, companion, other, word):
    items = [add_scan(bare_swift, spectra(6, 5, 32)), add_scan(bare_swift, **other)]
    with pytest.raises(InputError, match=word):
        companion.reprocessor.add(items, RAW, pool=True)
    with pytest.raises(InputError, match="two passes"):
        companion.reprocessor.add(items[:1], RAW, pool=True)
    assert not companion.reprocessor.queue.entries


def test_rows_that_swift_never_recorded_are_not_denoised(bare_swift, companion):
    data = spectra(6, 5, 32)
    data[1, 2] = 0  # an empty frame among others was recorded
    data[3, 2:] = data[4:] = 0
    raw = add_scan(bare_swift, data)
    companion.reprocessor.add([raw], RAW)
    assert work_off(bare_swift, companion) == [State.DONE]
    facts = results(bare_swift)[0].metadata["udvd"]
    assert facts["state"] == "aborted" and facts["provenance"]["frames_received"] == 17
    assert numpy.array_equal(results(bare_swift)[0].data[:], data)
    companion.reprocessor.add([raw], RAW)
    work_off(bare_swift, companion)
    assert companion.reprocessor.queue.entries[0].reason == "already done"


def test_an_empty_scan_and_one_that_is_gone_fail_with_a_sentence_and_leave_nothing(bare_swift, companion):
    empty, gone = add_scan(bare_swift, numpy.zeros((6, 5, 32))), add_scan(bare_swift, spectra(6, 5, 32))
    companion.reprocessor.add([empty, gone], RAW)
    bare_swift.document_model.remove_data_item(gone)
    assert work_off(bare_swift, companion) == [State.FAILED, State.FAILED]
    reasons = [entry.reason for entry in companion.reprocessor.queue.entries[::-1]]
    assert reasons[0] == "it holds no counts" and "no longer in this project" in reasons[1]
    assert not results(bare_swift)


def test_a_live_scan_comes_first_and_the_queue_goes_on_after_it(bare_swift, companion):
    raw = add_scan(bare_swift, spectra(6, 5, 32))
    companion.reprocessor.add([raw], RAW)
    companion.reprocessor.own.engine = Sleeping()
    pump(bare_swift, companion, lambda: companion.reprocessor._runs)
    live = Producer(bare_swift, spectra(4, 5, 32))
    live.write_rows(0, 1)
    pump(bare_swift, companion, lambda: companion.jobs)
    assert companion.reprocessor.queue.entries[0].state is State.WAITING and not companion.reprocessor._runs
    assert "being recorded" in companion.reprocessor.line()
    live.write_rows(1)
    live.end()
    finish(bare_swift, companion)
    assert companion.jobs[0].finished.final == 20
    pump(bare_swift, companion, lambda: companion.reprocessor._runs)
    companion.reprocessor.cancel([companion.reprocessor.queue.entries[0].key])
    assert companion.reprocessor.queue.entries[0].state is State.CANCELLED
    assert {item.metadata["udvd"]["source_uuid"] for item in results(bare_swift)} == {str(live.item.uuid)}
    companion.reprocessor.cancel([companion.reprocessor.queue.entries[0].key])
    assert not companion.reprocessor.queue.entries, "what is over leaves the list"


def test_a_scan_that_is_not_followed_comes_first_too(bare_swift, companion):
    companion.follow(False)
    raw = add_scan(bare_swift, spectra(6, 5, 32))
    live = Producer(bare_swift, spectra(4, 5, 32))
    live.write_rows(0, 1)
    companion.reprocessor.add([raw], RAW)
    pump(bare_swift, companion, least=20)
    assert companion.reprocessor.queue.entries[0].state is State.WAITING
    live.end()
    assert work_off(bare_swift, companion) == [State.DONE]


def test_what_goes_wrong_ends_one_entry_and_leaves_earlier_results(bare_swift, companion):
    raw = add_scan(bare_swift, spectra(6, 5, 32))
    companion.reprocessor.add([raw], RAW)
    work_off(bare_swift, companion)
    before = numpy.array(results(bare_swift)[0].data[:])
    companion.reprocessor.own.engine = Failing()
    companion.reprocessor.add([raw], settings_of(companion.preferences, "guide", 2.0))
    assert work_off(bare_swift, companion) == [State.DONE, State.FAILED]
    assert "broken" in companion.reprocessor.queue.entries[0].reason
    assert numpy.array_equal(results(bare_swift)[0].data[:], before)
    assert results(bare_swift)[0].metadata["udvd"]["state"] == "final"


def test_a_scan_that_ends_its_engine_again_and_again_fails_and_the_next_is_done(bare_swift, companion):
    scans = [add_scan(bare_swift, spectra(6, 5, 32), number=number) for number in (7, 8)]
    companion.reprocessor.own.engine = Losing()
    companion.reprocessor.add(scans, RAW)
    assert work_off(bare_swift, companion) == [State.FAILED, State.DONE]
    failed = companion.reprocessor.queue.entries[1]
    assert failed.reason == "begun 4 times and lost again: the engine process ended"
    (denoised,) = [item for item in results(bare_swift) if "(Denoised)" in item.title]
    assert denoised.title == f"{scans[1].title} (Denoised)" and numpy.array_equal(denoised.data[:], scans[1].data[:])


def test_without_an_engine_the_queue_waits_and_says_why(bare_swift, companion, monkeypatch):
    def none(remote):
        raise EngineError("no interpreter")

    monkeypatch.setattr(companion.reprocessor.own, "_make", none)
    companion.reprocessor.add([add_scan(bare_swift, spectra(6, 5, 32))], RAW)
    pump(bare_swift, companion, lambda: companion.reprocessor.trouble)
    assert companion.reprocessor.trouble == "No engine: no interpreter"
    assert companion.reprocessor.queue.entries[0].state is State.WAITING


def test_what_ran_when_the_project_was_closed_runs_when_it_is_opened(bare_swift, companion, tmp_path):
    raw = add_scan(bare_swift, spectra(6, 5, 32))
    companion.reprocessor.own.engine = Sleeping()
    companion.reprocessor.add([raw], Settings(Training("guide", budget_s=5)))
    companion.reprocessor.add([raw], RAW)
    companion.reprocessor.move([companion.reprocessor.queue.entries[1].key], -1)
    pump(bare_swift, companion, lambda: companion.reprocessor.queue.entries[0].state is State.RUNNING)
    companion.close()
    assert not results(bare_swift), "no litter"
    again = follow(bare_swift, tmp_path)
    try:
        assert [e.settings.training.model for e in again.reprocessor.queue.entries] == ["raw", "guide"]
        assert work_off(bare_swift, again) == [State.DONE, State.DONE]
        assert again.reprocessor.queue.entries[0].settings.training.model == "guide"
        assert len(results(bare_swift)) == 2
    finally:
        again.close()


def test_a_scan_whose_swift_died_is_offered(bare_swift, companion, tmp_path):
    live = Producer(bare_swift, spectra(6, 5, 32))
    live.write_rows(0, 3)
    pump(bare_swift, companion, lambda: companion.jobs and companion.jobs[0].items)
    uuid = str(live.item.uuid)
    kept = QueueFile(project_folder(bare_swift.document_model)).load()[0]
    assert kept.followed == (uuid,), "it is on disk while the scan is followed"
    assert not [scan for scan in Library(bare_swift.document_model).scans((), (), {uuid}) if scan.interrupted]
    companion._follower.close()  # Swift dies: nobody marks anything
    companion._closed = companion.reprocessor._closed = True
    companion._turns.hold(False)  # these would end with the process
    live.end()
    bare_swift.pump(0.1)
    again = follow(bare_swift, tmp_path)
    try:
        for item in results(bare_swift):
            bare_swift.document_model.remove_data_item(item)  # as if it had died before there were results
        (scan,) = again.reprocessor.library.scans((), again.reprocessor.left, again.reprocessor.busy)
        assert scan.interrupted and scan.uuid == uuid and not scan.made
        again.reprocessor.add([live.item], RAW)
        assert work_off(bare_swift, again) == [State.DONE]
        (scan,) = again.reprocessor.library.scans((), again.reprocessor.left)
        assert not scan.interrupted and "aborted" in scan.made and not again.reprocessor.left
    finally:
        again.close()


def test_a_scan_is_read_in_small_blocks_and_no_frame_twice(bare_swift, companion, monkeypatch):
    monkeypatch.setattr(replay, "BLOCK_BYTES", 4 * 32 * 7)
    data = spectra(6, 5, 32)
    raw = add_scan(bare_swift, data)
    found = Replay([raw], raw.title)
    got = []
    found.sink = lambda start, frames: got.append((start, numpy.array(frames))) is None
    turns = 0
    while found.share < 1:
        found.play(lambda: True)
        turns += 1
        assert sum(len(frames) for _, frames in got) <= 7 * turns
    assert turns == 5 and [start for start, _ in got] == sorted(start for start, _ in got)
    assert numpy.array_equal(numpy.concatenate([frames for _, frames in got])[:, 0], data.reshape(30, 32))
    found.release()


def test_swifts_activity_panel_shows_what_runs(bare_swift, companion):
    shown, ended = [], []
    listeners = (
        Activity.activity_appended_event.listen(shown.append),
        Activity.activity_finished_event.listen(ended.append),
    )
    companion.reprocessor.add([add_scan(bare_swift, spectra(6, 5, 32))], RAW)
    work_off(bare_swift, companion)
    assert shown == ended and len(shown) == 1 and "Spectrum Image EELS 7" in shown[0].displayed_title
    del listeners


def test_the_library_lists_what_is_a_raw_spectrum_image(bare_swift, companion):
    scan = {
        "scan": {"subscan_fractional_size": [0.25, 0.5]},
        "hardware_source": {"signal_type": "eels", "exposure": 0.05},
    }
    add_scan(bare_swift, spectra(6, 5, 32), number=1, metadata=scan)
    add_scan(bare_swift, spectra(6, 5), number=2)  # one energy axis: spectra at x positions, too few channels
    add_scan(bare_swift, spectra(6, 5, 32), number=3, metadata={}, energy=(0, 1, "nm"))
    add_scan(bare_swift, spectra(6, 5, 32), number=4, metadata={"udvd": {"kind": "denoised", "state": "final"}})
    found = companion.reprocessor.library.scans()
    assert [scan.number for scan in found] == [1]
    assert found[0].form == "6 x 5 x 32, 50 ms, sub-scan, 25 % x 50 % of its parent"
    assert found[0].matches("1 EELS not processed") and found[0].matches("") and not found[0].matches("eels 32")
    assert json.dumps(list(companion.reprocessor.left)) == "[]"
    assert Phase.DONE not in [job.phase for job in companion.jobs]


def test_a_large_library_is_read_in_turns_and_what_changes_is_read_again(bare_swift, companion):
    items = [add_scan(bare_swift, spectra(2, 2, 32), number=n) for n in range(5)]
    library = companion.reprocessor.library
    assert library.scans(most_s=-1) == [] and not library.complete
    assert len(library.scans()) == 5 and library.complete
    assert len(library.scans(most_s=-1)) == 5 and library.complete, "all of them are known"
    items[2].title = "Another name"
    assert "Another name" in [scan.title for scan in library.scans()]
    library.scans(("fake",), most_s=-1)
    assert not library.complete, "other cameras, other scans"
