"""What may go wrong around a scan, with an engine that does as told: nothing is stuck, mixed, lost or called final."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from multiprocessing import shared_memory

import numpy
import pytest
from producer import Producer, finish, follow, pump, spectra

from nionswift_plugin.udvd_live import companion as companion_module
from nionswift_plugin.udvd_live import panel, panel_text, scan_item, writer
from nionswift_plugin.udvd_live.job import Phase
from udvd_core.engine.protocol import Block, Failed, Finished, Resend, Status


class Script:
    """An engine that takes everything and says only what the test puts into `says`."""

    def __init__(self):
        self.says, self.specs, self.frames, self.orders = [], {}, {}, []
        self.alive, self.closed = True, False

    def open(self, spec):
        self.specs[spec.scan_id] = spec
        self.frames[spec.scan_id] = numpy.zeros(spec.count, bool)
        self.says.append(Status(spec.scan_id, 0, 0, 0, 0, "", "none", "script"))

    def push(self, scan_id, start, frames):
        self.frames[scan_id][start : start + len(frames)] = True
        return True

    def pause(self, scan_id, paused):
        self.paused = paused

    def finish(self, scan_id, now=False):
        self.orders.append(("finish", scan_id))

    def abort(self, scan_id):
        self.orders.append(("abort", scan_id))

    def poll(self):
        said, self.says = self.says, []
        return said

    def describe(self):
        return "script"

    def close(self):
        self.closed = True

    # what the test uses

    def block(self, scan_id, value, final=False):
        spec = self.specs[scan_id]
        data = numpy.full((spec.count, *spec.output_shape), value, numpy.float32)
        maps = numpy.full((len(spec.maps), 4, spec.count), value, numpy.float32)
        self.says.append(Block(scan_id, 0, data, maps, final, 1))

    def finished(self, scan_id, final, received=None):
        self.says.append(Finished(scan_id, final if received is None else received, final, 1, {}))


@pytest.fixture
def engine():
    return Script()


@pytest.fixture
def companion(bare_swift, tmp_path, engine):
    made = follow(bare_swift, tmp_path, make_engine=lambda chosen: engine)
    yield made
    made.close()


def scanned(swift, companion, rows=4, end=True):
    """A scan of 4 x 5 spectra, its first rows acquired; the scan and its job with items."""
    scan = Producer(swift, spectra(4, 5, 16))
    scan.write_rows(0, rows)
    before = len(companion.jobs)
    pump(swift, companion, lambda: len(companion.jobs) > before and companion.jobs[-1].items)
    if end:
        scan.end()
        pump(swift, companion, lambda: companion.jobs[-1].recording.state.ended)
    return scan, companion.jobs[-1]


def filled(companion):
    """Results of the current scan that hold 7 everywhere."""
    items = [item for item in companion.current.items if item.data is not None]
    return [item for item in items if (item.data[:] == 7).all()]


def test_it_is_final_only_when_every_frame_of_the_scan_is(bare_swift, companion, engine):
    _, job = scanned(bare_swift, companion)
    engine.block(job.spec.scan_id, 7.0)
    engine.finished(job.spec.scan_id, 19)  # a frame was lost on the way
    finish(bare_swift, companion)
    assert job.items[0].metadata["udvd"]["state"] == "preliminary" and "preliminary" in job.items[0].title
    assert job.items[0].metadata["udvd"]["coverage"] == pytest.approx(19 / 20)
    assert "Final" not in panel_text.state_line(companion, job)


def test_when_the_time_was_up_the_panel_does_not_say_final(bare_swift, companion, engine):
    _, job = scanned(bare_swift, companion)
    engine.finished(job.spec.scan_id, 12, received=20)
    finish(bare_swift, companion)
    assert "preliminary" in job.items[0].title
    assert "12 of 20" in panel_text.state_line(companion, job) + panel_text.progress(job)[1]
    assert not panel_text.state_line(companion, job).startswith("Final")


def test_a_new_title_of_the_operator_stays(bare_swift, companion, engine):
    scan, job = scanned(bare_swift, companion, end=False)
    job.items[0].title = "h-BN on lacey carbon"
    scan.end()
    pump(bare_swift, companion)
    engine.finished(job.spec.scan_id, 20)
    finish(bare_swift, companion)
    assert job.items[0].title == "h-BN on lacey carbon" and job.items[0].metadata["udvd"]["state"] == "final"


def test_an_error_while_writing_fails_one_scan_and_not_the_others(bare_swift, companion, engine, monkeypatch):
    _, first = scanned(bare_swift, companion)
    _, second = scanned(bare_swift, companion)
    original = writer.Writer.write

    def full(self, block):
        if block.scan_id == first.spec.scan_id:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, block)

    monkeypatch.setattr(writer.Writer, "write", full)
    for job in (first, second):
        engine.block(job.spec.scan_id, 7.0)
        engine.finished(job.spec.scan_id, 20)
    finish(bare_swift, companion, jobs=2)
    assert "No space left" in first.note and first.items[0].metadata["udvd"]["state"] == "failed"
    assert second.items[0].metadata["udvd"]["state"] == "final" and (second.items[0].data[:] == 7).all()


def test_raw_deleted_while_finalising_leaves_a_final_result(bare_swift, companion, engine):
    scan, job = scanned(bare_swift, companion)
    assert ("finish", job.spec.scan_id) in engine.orders
    bare_swift.document_model.remove_data_item(scan.item)
    pump(bare_swift, companion)
    assert job.phase is Phase.FINALISING
    engine.block(job.spec.scan_id, 7.0, final=True)
    engine.finished(job.spec.scan_id, 20)
    finish(bare_swift, companion)
    assert job.items[0].metadata["udvd"]["state"] == "final" and (job.items[0].data[:] == 7).all()


def test_raw_deleted_while_finalising_and_then_needed_again(bare_swift, companion, engine):
    scan, job = scanned(bare_swift, companion)
    engine.block(job.spec.scan_id, 7.0)
    bare_swift.document_model.remove_data_item(scan.item)
    pump(bare_swift, companion)
    engine.says.append(Resend(job.spec.scan_id, "the engine process ended"))
    finish(bare_swift, companion)
    assert job.items[0].metadata["udvd"]["state"] == "raw deleted" and (job.items[0].data[:] == 7).all()
    assert ("abort", job.spec.scan_id) in engine.orders


def test_a_resend_while_finalising_feeds_all_frames_and_finishes_again(bare_swift, companion, engine):
    _, job = scanned(bare_swift, companion)
    scan_id = job.spec.scan_id
    engine.frames[scan_id][:] = False
    engine.says.append(Resend(scan_id, "the engine process ended"))
    pump(bare_swift, companion)
    assert engine.frames[scan_id].all() and engine.orders.count(("finish", scan_id)) == 2
    engine.finished(scan_id, 20)
    assert finish(bare_swift, companion).items[0].metadata["udvd"]["state"] == "final"


def test_what_comes_before_all_items_are_made_is_in_them(bare_swift, tmp_path, engine):
    maps = [{"name": name, "signal": [102, 110]} for name in "abc"]
    with contextlib.closing(follow(bare_swift, tmp_path, make_engine=lambda chosen: engine, maps=maps)) as companion:
        scan = Producer(bare_swift, spectra(4, 5, 16))
        scan.write_rows()
        companion._follower.tick()  # the scan is opened
        (scan_id,) = engine.specs
        engine.block(scan_id, 7.0)


def test_items_become_final_one_in_a_turn_and_all_of_them_when_swift_closes_before_that(bare_swift, tmp_path, engine):
    maps = [{"name": name, "signal": [102, 110]} for name in "abc"]
    with contextlib.closing(follow(bare_swift, tmp_path, make_engine=lambda chosen: engine, maps=maps)) as companion:
        _, job = scanned(bare_swift, companion)
        engine.block(job.spec.scan_id, 7.0)
        engine.finished(job.spec.scan_id, 20)
        final = []
        while len(final) < 2:
            before = len(final)
            pump(bare_swift, companion, least=0)
            final = [item for item in job.items if item.metadata["udvd"]["state"] == "final"]
            assert len(final) - before <= 1
        companion.close()
        assert len(filled(companion)) == 4 and not any(item.is_live for item in job.items)
        assert [item.metadata["udvd"]["state"] for item in job.items] == ["final"] * 4
        assert not any("preliminary" in item.title for item in job.items)


def test_failed_before_the_first_result_leaves_no_items(bare_swift, companion, engine):
    scan = Producer(bare_swift, spectra(4, 5, 16))
    scan.write_rows(0, 1)
    companion._follower.tick()  # the scan is opened; the engine has not said a word yet
    (job,) = companion.jobs
    engine.says = [Failed(job.spec.scan_id, "torch is not installed for this engine")]
    scan.write_rows(1)
    pump(bare_swift, companion)
    scan.end()
    pump(bare_swift, companion)
    assert job.phase is Phase.DONE and not job.items and len(bare_swift.data_items) == 1
    assert "torch" in job.note


def test_an_engine_that_gave_up_is_replaced_without_forgetting_the_scan_it_had(bare_swift, tmp_path):
    engines = []
    with contextlib.closing(
        follow(bare_swift, tmp_path, make_engine=lambda chosen: engines.append(Script()) or engines[-1])
    ) as companion:
        _, first = scanned(bare_swift, companion, end=False)
        second = Producer(bare_swift, spectra(4, 5, 16))
        second.write_rows()
        engines[0].alive = False
        engines[0].says.append(Failed(first.spec.scan_id, "the engine process ended 5 times"))
        pump(bare_swift, companion, lambda: len(companion.jobs) == 2)
        assert first.phase is Phase.DONE and first.items[0].metadata["udvd"]["state"] == "failed"
        assert engines[0].closed and engines[1].frames[companion.jobs[1].spec.scan_id].all()
        second.end()


def test_closing_marks_every_scan_even_when_one_cannot_be_written(bare_swift, companion, engine, monkeypatch, caplog):
    _, first = scanned(bare_swift, companion)
    _, second = scanned(bare_swift, companion)
    original = writer.Writer.finish

    def fails(self, state, facts):
        if self is first._writer:
            raise OSError(errno.EIO, "the disc is gone")
        original(self, state, facts)

    monkeypatch.setattr(writer.Writer, "finish", fails)
    companion.close()
    assert engine.closed and companion.engine is None and "the disc is gone" in caplog.text
    assert second.items[0].metadata["udvd"]["state"] == "interrupted"
    assert "update_data_item_partial" not in vars(bare_swift.document_model)
    monkeypatch.undo()
    first._writer.finish("interrupted", {})


@pytest.mark.parametrize("module, name", [(shared_memory, "SharedMemory"), (tempfile, "TemporaryDirectory")])
def test_an_engine_that_cannot_be_made_is_a_sentence(bare_swift, tmp_path, monkeypatch, module, name):
    error = OSError(errno.ENOSPC, "No space left on device")

    def fails(*arguments, **keywords):
        raise error

    monkeypatch.setattr(module, name, fails)
    with contextlib.closing(follow(bare_swift, tmp_path, make_engine=companion_module.local_engine)) as companion:
        monkeypatch.undo()
        assert "for the engine" in companion.trouble and error.strerror in companion.trouble
        assert companion.engine is None
        scan = Producer(bare_swift, spectra(4, 5, 16))
        scan.write_rows()
        pump(bare_swift, companion)
        scan.end()
        assert not companion.jobs


def test_a_scan_that_cannot_be_described_is_ignored_and_let_go(bare_swift, companion, monkeypatch, caplog):
    def fails(*arguments):
        raise ValueError("never seen before")

    monkeypatch.setattr(scan_item, "specify", fails)
    scan = Producer(bare_swift, spectra(4, 5, 16))
    scan.write_rows(0, 1)
    (recording,) = companion._follower._recordings.values()
    pump(bare_swift, companion)
    assert "never seen before" in companion.ignored and "never seen before" in caplog.text
    assert not companion.jobs and not recording._holds_data, "it would keep the raw data in memory"
    scan.write_rows(1)
    scan.end()
    pump(bare_swift, companion)
    assert numpy.array_equal(scan.item.data[:], scan.data)


def test_a_closed_companion_is_forgotten(bare_swift, tmp_path, monkeypatch):
    settings = tmp_path / "off.json"
    settings.write_text('{"follow": false}')
    monkeypatch.setenv("UDVD_SETTINGS", str(settings))
    model = bare_swift.document_model
    first = companion_module.companion_of(model)
    assert companion_module.companion_of(model) is first, "one for all windows of a project"
    first.close()
    assert model not in companion_module._companions, "it would keep the project alive"


def test_two_windows_give_time_to_one_companion(bare_swift, companion, engine):
    loop = bare_swift.document_controller.event_loop
    handlers = [panel.PanelHandler(companion, loop) for _ in range(2)]
    scan = Producer(bare_swift, spectra(4, 5, 16))
    scan.write_rows()
    bare_swift.pump_until(lambda: companion.jobs and companion.current.items, 10)
    handlers[0].close()
    scan.end()
    engine.block(companion.current.spec.scan_id, 7.0, final=True)
    engine.finished(companion.current.spec.scan_id, 20)
    bare_swift.pump_until(lambda: companion.current.phase is Phase.DONE, 10)
    bare_swift.pump(0.3)
    assert len(companion.jobs) == 1 and len(bare_swift.data_items) == 2
    assert handlers[1].state.text.value == "Final" and handlers[0].state.text.value != "Final"
    handlers[1].close()
