"""Odd scans through a real Swift into the library: the form of results, odd values and types, and faults."""

from __future__ import annotations

import contextlib
import logging

import numpy
import pytest
from nion.data import Calibration, DataAndMetadata
from producer import EELS, Producer, finish, follow, pump, spectra

from nionswift_plugin.udvd_live.job import Phase
from nionswift_plugin.udvd_live.recording import State
from udvd_core.engine.inline import InlineEngine
from udvd_core.errors import EngineError

MAPS = [{"name": "Plain", "signal": [104, 110]}, {"name": "Core", "signal": [112, 118], "background": [102, 110]}]
MODELS = [{"budget_s": 3}, {"model": "udvd", "width": 2, "budget_s": 0.4}]

AXES = [Calibration.Calibration(n, n + 0.5, f"axis {n}") for n in range(4)]
"""One of its own for every axis: none can be taken for another."""
ENERGY = Calibration.Calibration(100.0, 1.0, "eV")
COUNTS = Calibration.Calibration(3.0, 2.0, "e-")


def data_of(item):
    return numpy.array(item.data[:])


def describe(scan, **changes):
    """Change what the microscope says of all blocks from now on."""
    old = scan._metadata
    scan._metadata = DataAndMetadata.DataMetadata(
        data_shape=old.data_shape,
        data_dtype=old.data_dtype,
        intensity_calibration=changes.get("intensity", old.intensity_calibration),
        dimensional_calibrations=changes.get("dimensions", old.dimensional_calibrations),
        data_descriptor=old.data_descriptor,
        metadata=changes.get("metadata", old.metadata),
    )


def whole_scan(swift, companion, data, **kind):
    """Acquire all of a scan; the scan and its job, done."""
    scan = Producer(swift, data, **kind)
    scan.write_rows()
    scan.end()
    return scan, finish(swift, companion)


@pytest.fixture
def companion(bare_swift, tmp_path):
    """Follows `bare_swift`, keeping spectra as they are."""
    with contextlib.closing(follow(bare_swift, tmp_path, maps=MAPS)) as made:
        yield made


KINDS = {  # shape, datum, sequence, frames wanted, shape and (sequence, collection, datum) of a map
    "scan": ((3, 4, 24), 1, False, False, (3, 4), (False, 0, 2)),
    "one row": ((1, 6, 24), 1, False, False, (1, 6), (False, 0, 2)),
    "one column": ((6, 1, 24), 1, False, False, (6, 1), (False, 0, 2)),
    "one position": ((1, 1, 24), 1, False, False, (1, 1), (False, 0, 2)),
    "sequence of scans": ((2, 3, 4, 24), 1, True, False, (2, 3, 4), (True, 0, 2)),
    "sequence of spectra": ((6, 24), 1, True, False, (6,), (False, 0, 1)),
    "sequence of lines": ((2, 5, 24), 1, True, False, (2, 5), (False, 0, 2)),
    "line": ((6, 24), 1, False, False, (6,), (False, 0, 1)),
    "scan of frames": ((3, 4, 2, 24), 2, False, False, (3, 4), (False, 0, 2)),
    "scan of frames, kept": ((3, 4, 2, 24), 2, False, True, (3, 4), (False, 0, 2)),
    "sequence of frames": ((6, 2, 24), 2, True, False, (6,), (False, 0, 1)),
    "sequence of scans of frames, kept": ((2, 3, 2, 2, 24), 2, True, True, (2, 3, 2), (True, 0, 2)),
}


@pytest.mark.parametrize(("shape", "datum", "sequence", "kept", "map_shape", "map_kind"), KINDS.values(), ids=KINDS)
def test_the_form_of_results(bare_swift, tmp_path, shape, datum, sequence, kept, map_shape, map_kind):
    training = {"model": "raw", "budget_s": 5, "frames": kept}
    with contextlib.closing(follow(bare_swift, tmp_path, maps=MAPS, training=training)) as companion:
        scan = Producer(bare_swift, spectra(*shape), datum=datum, sequence=sequence)
        describe(scan, dimensions=[*AXES[: len(shape) - 1], ENERGY], intensity=COUNTS)
        scan.write_rows()
        scan.end()
        job = finish(bare_swift, companion)
    denoised, plain, core = job.items
    summed = datum == 2 and not kept
    assert numpy.array_equal(data_of(denoised), scan.data.sum(-2) if summed else scan.data)
    assert denoised.data_descriptor == DataAndMetadata.DataDescriptor(
        sequence, len(map_shape) - sequence, 1 if summed else datum
    )
    positions = AXES[: len(map_shape)]
    own = [] if summed or datum == 1 else [AXES[len(map_shape)]]
    assert list(denoised.dimensional_calibrations) == [*positions, *own, ENERGY]
    assert denoised.intensity_calibration == COUNTS and denoised.data_dtype == numpy.float32
    per_position = scan.data.reshape(*map_shape, -1, 24)[..., 4:10].sum((-2, -1))
    assert numpy.allclose(data_of(plain), per_position, rtol=1e-6)
    for image in (plain, core):
        assert image.data_shape == map_shape and image.data_descriptor == DataAndMetadata.DataDescriptor(*map_kind)
        assert list(image.dimensional_calibrations) == positions and image.intensity_calibration.units[:6] == "e- in "
        assert numpy.isfinite(data_of(image)).all()


def saturated(counts):
    counts[1, 1, 7], counts[2, 3, 11], counts[0, 0, 0] = 65535, 1e9, 2**32
    return counts


VALUES = {
    "fractional": lambda counts: 0.37 * counts,
    "slightly negative": lambda counts: counts - 0.25,
    "all zeros": numpy.zeros_like,
    "all alike": lambda counts: numpy.full_like(counts, 3),
    "saturated pixels": saturated,
    "all negative": lambda counts: -1 - counts,
    "a row of zeros": lambda counts: counts * (numpy.arange(4) != 2)[:, None, None],
}


@pytest.mark.parametrize("change", VALUES.values(), ids=VALUES)
def test_finite_values_are_kept_as_they_are(bare_swift, companion, change):
    data = change(spectra(4, 5, 24)).astype(numpy.float32)
    scan, job = whole_scan(bare_swift, companion, data)
    assert job.recording.state is State.FINISHED and not job.note
    assert numpy.array_equal(data_of(job.items[0]), data)
    assert (
        numpy.allclose(data_of(job.items[1]), data[..., 4:10].sum(-1)) and numpy.isfinite(data_of(job.items[2])).all()
    )


@pytest.mark.parametrize("training", MODELS, ids=["guided", "udvd"])
@pytest.mark.parametrize("shape", [(1, 1, 24), (1, 5, 24), (4, 5, 24), (8, 8, 24)])
def test_a_network_takes_saturated_and_negative_values_in_scans_of_any_size(bare_swift, tmp_path, shape, training):
    data = spectra(*shape) - 0.25
    data[0, 0, 7], data[-1, -1, 11] = 65535, 1e9
    with contextlib.closing(follow(bare_swift, tmp_path, maps=MAPS, training=training)) as companion:
        _, job = whole_scan(bare_swift, companion, data)
    assert job.finished is not None and job.finished.final == job.spec.count, job.note
    assert job.items[0].metadata["udvd"]["provenance"]["model"] == training.get("model", "guided")
    assert all(numpy.isfinite(data_of(item)).all() for item in job.items)


def test_a_camera_may_use_its_buffer_again_at_once(bare_swift, companion):
    scan = Producer(bare_swift, spectra(6, 5, 24))
    expected = scan.data.copy()
    scan.write_rows(0, 1)
    pump(bare_swift, companion, lambda: companion.jobs)
    for y in range(1, 6):
        scan.write_rows(y, y + 1)
        bare_swift.pump()  # Swift has applied it; nobody has looked at our side yet
        scan.data[y] = -999
    scan.end()
    job = finish(bare_swift, companion)
    assert numpy.array_equal(data_of(job.items[0]), expected)


def test_a_live_item_that_never_gets_data_makes_nothing(bare_swift, companion):
    scan = Producer(bare_swift, spectra(4, 5, 24))
    pump(bare_swift, companion)
    (recording,) = companion._follower._recordings.values()
    scan.end()
    pump(bare_swift, companion, lambda: not companion._follower._recordings)
    assert recording.state.ended and not recording._holds_data
    assert not companion.jobs and bare_swift.data_items == [scan.item]


class Refusing(InlineEngine):
    """Has no room for the first `refusals` blocks."""

    def __init__(self, refusals):
        super().__init__()
        self.refusals, self.fed = refusals, []

    def push(self, scan_id, start, frames):
        if self.refusals:
            self.refusals -= 1
            return False
        self.fed += range(start, start + len(frames))
        return super().push(scan_id, start, frames)


@pytest.mark.parametrize("refusals", [1, 3, 40])
@pytest.mark.parametrize("datum", [1, 2])
def test_what_finds_no_room_is_fed_again_from_the_raw_item(bare_swift, tmp_path, refusals, datum):
    engine = Refusing(refusals)
    with contextlib.closing(follow(bare_swift, tmp_path, make_engine=lambda chosen: engine)) as companion:
        scan = Producer(bare_swift, spectra(*((6, 5, 24) if datum == 1 else (6, 5, 3, 24))), datum=datum)
        for start, stop in [(20, 30), (0, 3), (3, 5), (10, 20), (5, 10)]:
            scan.write(start, stop)
            pump(bare_swift, companion, least=1)
        scan.end()
        job = finish(bare_swift, companion)
        assert engine.refusals == 0 and sorted(set(engine.fed)) == list(range(30)) and job.finished.final == 30
        assert numpy.array_equal(data_of(job.items[0]), scan.data if datum == 1 else scan.data.sum(2))


def test_without_an_engine_nothing_is_made_until_there_is_one(bare_swift, tmp_path, caplog):
    reasons = ["no Python interpreter in /opt/swift; set its path"]

    def make_engine(chosen):
        if reasons:
            raise EngineError(reasons[0])
        return InlineEngine()

    with caplog.at_level(logging.WARNING):
        companion = follow(bare_swift, tmp_path, make_engine=make_engine)
    with contextlib.closing(companion):
        assert companion.trouble == reasons[0] and reasons[0] in caplog.text
        scan = Producer(bare_swift, spectra(4, 5, 24))
        scan.write_rows()
        pump(bare_swift, companion)
        scan.end()
        pump(bare_swift, companion)
        assert companion.engine is None and not companion.jobs and bare_swift.data_items == [scan.item]
        reasons.clear()
        companion.follow(True)
        assert companion.trouble == ""
        _, job = whole_scan(bare_swift, companion, spectra(4, 5, 24))
        assert job.finished.final == 20


def test_following_can_be_switched_off_and_on_between_scans(bare_swift, companion):
    companion.follow(False)
    scan = Producer(bare_swift, spectra(4, 5, 24))
    scan.write_rows(0, 2)
    pump(bare_swift, companion)
    companion.follow(True)  # from the next scan on
    scan.write_rows(2)
    scan.end()
    pump(bare_swift, companion)
    assert not companion.jobs and bare_swift.data_items == [scan.item] and "switched off" in companion.ignored
    second, job = whole_scan(bare_swift, companion, spectra(4, 5, 24))
    assert job.recording.item is second.item and job.phase is Phase.DONE and not companion.ignored


def rows_valid(scan, rows):
    describe(scan, metadata={**EELS, "scan": {"valid_rows": rows}})


@pytest.mark.parametrize("last_is_dark", [False, True])
def test_by_events_a_scan_is_followed_one_packet_behind(bare_swift, tmp_path, last_is_dark):
    data = spectra(5, 4, 24)
    data[4, 1:] *= not last_is_dark
    with contextlib.closing(follow(bare_swift, tmp_path, exact=False)) as companion:
        assert "update_data_item_partial" not in vars(bare_swift.document_model)
        scan, seen = Producer(bare_swift, data), []
        for y in range(5):
            rows_valid(scan, y + 1)
            scan.write_rows(y, y + 1)
            pump(bare_swift, companion, lambda: companion.jobs)
            seen.append(companion.jobs[0].recording.coverage.received // 4)
        assert seen == [0, 1, 2, 3, 4], "never more than what is in the item for sure"
        scan.end()
        job = finish(bare_swift, companion)
    assert job.recording.state is State.FINISHED and job.items[0].metadata["udvd"]["state"] == "final"
    assert numpy.array_equal(data_of(job.items[0]), data)


def test_by_events_a_scan_that_was_stopped_is_not_called_final(bare_swift, tmp_path):
    with contextlib.closing(follow(bare_swift, tmp_path, exact=False)) as companion:
        scan = Producer(bare_swift, spectra(5, 4, 24))
        for y in range(3):
            rows_valid(scan, y + 1)
            scan.write_rows(y, y + 1)
            pump(bare_swift, companion, lambda: companion.jobs)
        scan.end()
        job = finish(bare_swift, companion)
    assert job.recording.state is State.ABORTED and job.recording.coverage.received == 12
    assert job.items[0].metadata["udvd"]["state"] == "aborted"
    result = data_of(job.items[0])
    assert numpy.array_equal(result[:3], scan.data[:3]) and not result[3:].any()
