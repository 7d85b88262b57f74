"""Sessions served in turn: checkpoints never cost a scan, and every scan gets its share of the time."""

import logging

import pytest

from udvd_core import checkpoint
from udvd_core.engine import service as service_module
from udvd_core.engine.protocol import Block, Failed, Finished, Status
from udvd_core.engine.service import Service


def serve(service, seconds=20.0, slice_s=0.05):
    """Work until nothing is open."""
    events = []
    for _ in range(int(seconds / slice_s)):
        events += service.work(slice_s)
        if not service._open:
            return events
    pytest.fail(f"not done: {events[-3:]}")


def test_checkpoints_are_written_while_a_scan_is_open(tmp_path, make_spec, counts, monkeypatch):
    monkeypatch.setattr(service_module, "CHECKPOINT_S", 0.1)
    service = Service(tmp_path)
    spec = make_spec("../a", budget_s=1.0)
    service.open(spec)
    assert service.idle and service.work(0.1)[0].received == 0
    service.push("../a", 0, counts(spec))
    assert not service.idle
    for _ in range(6):
        service.work(0.1)
    path = tmp_path / f"{spec.file_name}.safetensors"
    step = checkpoint.load(path)[1]["step"]
    assert step > 0
    again = Service()
    again.open(spec, str(path))
    (status,) = again.work(0.1)
    assert status.step == step
    again.close()
    service.close()


def test_a_disk_that_is_full_does_not_cost_the_scan(tmp_path, make_spec, counts, caplog):
    service = Service(tmp_path / "gone")
    spec = make_spec("a")
    service.open(spec)
    service.push("a", 0, counts(spec))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert not [event for event in service.work(0.1) if isinstance(event, Failed)]
    assert "goes on without a checkpoint" in caplog.text
    service.finish("a")
    (finished,) = [event for event in serve(service) if isinstance(event, Finished)]
    assert finished.final == 20


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_checkpoint_that_cannot_be_used_means_beginning_anew(tmp_path, make_spec, counts, content):
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    service = Service()
    spec = make_spec("a")
    service.open(spec, str(path))
    service.push("a", 0, counts(spec))
    service.finish("a")
    events = serve(service)
    assert not [event for event in events if isinstance(event, Failed)]
    assert events[-1].final == 20


def test_a_damaged_checkpoint_means_going_on_from_the_one_before(tmp_path, make_spec, counts):
    service = Service()
    spec = make_spec("a", budget_s=60.0)
    service.open(spec)
    service.push("a", 0, counts(spec))
    path = tmp_path / "a.safetensors"
    for _ in range(2):
        service.work(0.2)
        service._open["a"].session.save(str(path))
    service.close()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    again = Service()
    again.open(spec, str(path))
    (status,) = again.work(0.1)
    assert status.step == checkpoint.load(checkpoint.previous(path))[1]["step"] > 0
    again.close()


def test_several_scans_share_the_time(make_spec, counts):
    service = Service()
    specs = [make_spec(name, budget_s=60.0) for name in "abc"]
    for spec in specs:
        service.open(spec)
        service.push(spec.scan_id, 0, counts(spec))
    events = [event for _ in range(12) for event in service.work(0.1)]
    steps = {event.scan_id: event.step for event in events if isinstance(event, Status)}
    assert set(steps) == {"a", "b", "c"} and min(steps.values()) > 0.2 * max(steps.values()) > 0
    assert {event.scan_id for event in events if isinstance(event, Block)} == {"a", "b", "c"}
    service.close()
    assert service.idle and service.work(0.1) == []


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory"), ZeroDivisionError("a mistake of ours"), MemoryError()]
)
def test_an_error_fails_one_scan_with_its_reason(make_spec, counts, monkeypatch, error):
    service = Service()
    specs = [make_spec(name, budget_s=1.0) for name in "ab"]
    for spec in specs:
        service.open(spec)
        service.push(spec.scan_id, 0, counts(spec))

    def fail(numbers, quick=False):
        raise error

    monkeypatch.setattr(service._open["a"].session.model, "denoise", fail)
    service.finish("b")
    events = serve(service)
    assert [event for event in events if event.scan_id == "a"][-1] == Failed("a", f"{type(error).__name__}: {error}")
    assert [event for event in events if event.scan_id == "b"][-1].final == 20
