"""What may go wrong around a scan, with an engine that does as told: nothing is stuck, mixed, lost or called final."""

from __future__ import annotations

import errno
import logging

import numpy
import pytest
from producer import Producer, finish, follow, pump, spectra

from nionswift_plugin.udvd_live import companion as companion_module
from nionswift_plugin.udvd_live import panel, preferences, writer
from nionswift_plugin.udvd_live.job import Phase
from udvd_core.engine import local
from udvd_core.engine.inline import InlineEngine
from udvd_core.engine.protocol import Block, Failed, Finished, Resend, Status


class Script:
    """An engine that takes everything and says only what the test puts into `says`."""

    def __init__(self):
        self.says, self.specs, self.frames, self.orders = [], {}, {}, []
        self.alive, self.closed = True, False

    def open(self, spec):
        self.specs[spec.scan_id] = spec
        self.frames[spec.scan_id] = numpy.zeros(spec.count, bool)
        self.says.append(Status(spec.scan_id, 0, 0, 0, 0, 0.0, 0.0, "none", "script"))

    def push(self, scan_id, start, frames):
        self.frames[scan_id][start : start + len(frames)] = True
        return True

    def finish(self, scan_id):
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
        self.says.append(Block(scan_id, 0, data, numpy.zeros((0, spec.count), numpy.float32), final, 1))

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


def test_it_is_final_only_when_every_frame_of_the_scan_is(bare_swift, companion, engine):
    _, job = scanned(bare_swift, companion)
    engine.block(job.spec.scan_id, 7.0)
    engine.finished(job.spec.scan_id, 19)  # a frame was lost on the way
    finish(bare_swift, companion)
    assert job.items[0].metadata["udvd"]["state"] == "preliminary" and "preliminary" in job.items[0].title
    assert job.items[0].metadata["udvd"]["coverage"] == pytest.approx(19 / 20)
    assert "Final" not in panel.state_line(companion, job)


def test_when_the_time_was_up_the_panel_does_not_say_final(bare_swift, companion, engine):
    _, job = scanned(bare_swift, companion)
    engine.finished(job.spec.scan_id, 12, received=20)
    finish(bare_swift, companion)
    assert "preliminary" in job.items[0].title
    assert "12 of 20" in panel.state_line(companion, job) + panel.progress(job)[1]
    assert not panel.state_line(companion, job).startswith("Final")


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
    companion = follow(bare_swift, tmp_path, make_engine=lambda chosen: engines.append(Script()) or engines[-1])
    try:
        _, first = scanned(bare_swift, companion, end=False)
        second = Producer(bare_swift, spectra(4, 5, 16))
        second.write_rows()
        engines[0].alive = False
        engines[0].says.append(Failed(first.spec.scan_id, "the engine process ended 5 times"))
        pump(bare_swift, companion, lambda: len(companion.jobs) == 2)
        assert first.phase is Phase.DONE and first.items[0].metadata["udvd"]["state"] == "failed"
        assert engines[0].closed and engines[1].frames[companion.jobs[1].spec.scan_id].all()
        second.end()
    finally:
        companion.close()


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


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("Ring", OSError(errno.ENOSPC, "No space left on device")),
        ("Child", OSError(errno.EMFILE, "Too many open files")),
    ],
)
def test_an_engine_that_cannot_be_made_is_a_sentence(bare_swift, tmp_path, monkeypatch, where, error):
    def fails(*arguments, **keywords):
        raise error

    monkeypatch.setattr(local, where, fails)
    companion = follow(bare_swift, tmp_path, make_engine=companion_module.local_engine)
    try:
        assert error.strerror in companion.trouble and companion.engine is None
        scan = Producer(bare_swift, spectra(4, 5, 16))
        scan.write_rows()
        pump(bare_swift, companion)
        scan.end()
        assert not companion.jobs
    finally:
        companion.close()


BROKEN = [b"\xff\xfe\x00garbage", b'{"python": 5}', b'{"follow": "no"}', b'{"cameras": "ela"}', b'{"cameras": [1]}']
BROKEN += [b'{"maps": [{"name": "a", "signal": ["a", "b"]}]}', b'{"maps": [{"name": 3, "signal": [1, 2]}]}']
BROKEN += [b'{"training": {"seed": "x"}}', b'{"training": {"frames": "yes"}}', b'{"training": {"width": 8.5}}']


@pytest.mark.parametrize("text", BROKEN)
def test_settings_of_the_wrong_kind_are_not_used(tmp_path, text, caplog):
    path = tmp_path / "udvd_live.json"
    path.write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert preferences.load(path) == preferences.Preferences()
    assert str(path) in caplog.text


def test_settings_that_cannot_be_stored_are_told_in_the_log(tmp_path, caplog):
    preferences.store(tmp_path / "no folder" / "udvd_live.json", preferences.Preferences())
    assert "could not store" in caplog.text


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
    assert handlers[1].state_model.value == "Final" and handlers[0].state_model.value != "Final"
    handlers[1].close()


def test_following_by_events_does_not_follow_what_is_computed(bare_swift, tmp_path):
    companion = follow(bare_swift, tmp_path, make_engine=lambda chosen: InlineEngine(), exact=False)
    model = bare_swift.document_model
    try:
        scan = Producer(bare_swift, spectra(4, 5, 16))
        scan.write_rows(0, 1)
        bare_swift.pump()
        model.get_invert_new(model.get_display_item_for_data_item(scan.item), scan.item)
        scan.write_rows(1)
        pump(bare_swift, companion, least=20)
        scan.end()
        job = finish(bare_swift, companion)
        pump(bare_swift, companion, least=20)
        assert len(companion.jobs) == 1 and job.recording.item is scan.item
        assert numpy.array_equal(job.items[0].data[:], scan.data) and job.items[0].metadata["udvd"]["state"] == "final"
    finally:
        companion.close()
