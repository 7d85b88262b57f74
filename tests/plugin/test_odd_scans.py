"""Scans that no simulated microscope makes: any order, any values, any axes, several at once."""

from __future__ import annotations

import contextlib

import h5py
import numpy
import pytest
from producer import EELS, RAW, Producer, finish, follow, pump, spectra

from nionswift_plugin.udvd_live.job import Phase
from nionswift_plugin.udvd_live.recording import State
from udvd_core.axes import Axis
from udvd_core.engine.inline import InlineEngine
from udvd_core.maps.core_loss import core_loss
from udvd_core.settings import MapWindow

MODELS = [{"budget_s": 3}, {"model": "udvd", "width": 2, "budget_s": 1.5}]
MAPS = [
    {"name": "Core", "signal": [112, 118], "background": [102, 110]},
    {"name": "Plain", "signal": [104, 110]},
    {"name": "Elsewhere", "signal": [400, 410]},
]


def data_of(item):
    return numpy.array(item.data[:])


def results(swift):
    return [item for item in swift.data_items if "udvd" in item.metadata]


@pytest.fixture
def companion(bare_swift, tmp_path):
    """Follows `bare_swift`, keeping spectra as they are."""
    with_maps = follow(bare_swift, tmp_path, maps=MAPS)
    yield with_maps
    with_maps.close()


ORDERS = {
    "parts of rows": [(0, 3), (3, 5), (5, 6), (6, 10), (10, 20), (20, 30)],
    "backwards": [(25, 30), (20, 25), (15, 20), (10, 15), (5, 10), (0, 5)],
    "out of order and twice": [(12, 15), (0, 5), (10, 12), (10, 15), (20, 30), (0, 10), (15, 20)],
    "all at once": [(0, 30)],
    "one by one": [(n, n + 1) for n in range(30)],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_frames_in_any_order_come_out_in_their_place(bare_swift, companion, order):
    scan = Producer(bare_swift, spectra(6, 5, 24))
    for start, stop in order:
        scan.write(start, stop)
        pump(bare_swift, companion, least=1)
    scan.end()
    job = finish(bare_swift, companion)
    assert job.recording.state is State.FINISHED and job.finished.final == 30
    denoised, core, plain = job.items
    assert numpy.array_equal(data_of(denoised), scan.data) and numpy.array_equal(data_of(scan.item), scan.data)
    assert numpy.array_equal(data_of(plain), scan.data[..., 4:10].sum(-1))
    window = MapWindow("Core", (112, 118), (102, 110))
    expected, _ = core_loss(scan.data.reshape(30, 24), Axis(24, 100.0, 1.0, "eV", "E"), (window,), None)
    assert numpy.array_equal(data_of(core).ravel(), expected[0].astype(numpy.float32)) and numpy.any(expected)
    assert [item.title.split("(")[1] for item in job.items] == ["Denoised)", "Core)", "Plain)"]


def test_boxes_that_are_no_run_of_frames(bare_swift, companion):
    scan = Producer(bare_swift, spectra(6, 5, 24))
    for columns in (slice(1, 3), slice(0, 1), slice(3, None)):
        scan.write_box((slice(None), columns, slice(None)))
        pump(bare_swift, companion, least=1)
    scan.end()
    job = finish(bare_swift, companion)
    assert job.recording.state is State.FINISHED and numpy.array_equal(data_of(job.items[0]), scan.data)


def test_the_last_block_may_come_after_the_end(bare_swift, companion):
    scan = Producer(bare_swift, spectra(6, 5, 24))
    scan.write_rows(0, 5)
    pump(bare_swift, companion)
    scan.end()
    companion.tick()
    scan.write_rows(5)
    job = finish(bare_swift, companion)
    assert job.recording.state is State.FINISHED and job.finished.final == 30


@pytest.mark.parametrize("shape", [(4, 5, 3, 16), (2, 3, 4, 16), (7, 16), (1, 1, 16)])
def test_positions_of_every_kind(bare_swift, companion, shape):
    sequence = shape == (2, 3, 4, 16)
    scan = Producer(bare_swift, spectra(*shape), datum=2 if shape[-2] == 3 else 1, sequence=sequence)
    scan.write_rows()
    scan.end()
    job = finish(bare_swift, companion)
    expected = scan.data.sum(2) if shape[-2] == 3 else scan.data
    assert numpy.array_equal(data_of(job.items[0]), expected) and job.items[0].is_sequence is sequence


def test_a_row_that_never_comes(bare_swift, companion):
    scan = Producer(bare_swift, spectra(6, 5, 24))
    scan.write_rows(0, 2)
    scan.write_rows(3)
    scan.end()
    job = finish(bare_swift, companion)
    facts = job.items[0].metadata["udvd"]
    assert job.recording.state is State.ABORTED and facts["state"] == "aborted"
    assert facts["coverage"] == pytest.approx(25 / 30)
    assert not data_of(job.items[0])[2].any() and numpy.array_equal(data_of(job.items[0])[3:], scan.data[3:])


VALUES = {
    "not a number": lambda counts: numpy.where(counts % 7 == 3, numpy.nan, counts),
    "infinite": lambda counts: numpy.where(counts == 9, numpy.inf, counts),
    "nothing but not a number": lambda counts: numpy.full_like(counts, numpy.nan),
    "fractional and negative": lambda counts: 0.37 * counts - 0.6,
    "all zeros": numpy.zeros_like,
    "one saturated pixel": lambda counts: numpy.where(
        numpy.arange(counts.size).reshape(counts.shape) == 99, 3e38, counts
    ),
}


@pytest.mark.parametrize("training", MODELS, ids=["guided", "udvd"])
@pytest.mark.parametrize("change", VALUES.values(), ids=VALUES)
def test_any_values_are_denoised_finite_and_raw_stays(bare_swift, tmp_path, change, training):
    with contextlib.closing(follow(bare_swift, tmp_path, maps=MAPS, training=training)) as companion:
        data = change(spectra(4, 5, 24)).astype(numpy.float32)
        scan = Producer(bare_swift, data)
        scan.write_rows()
        scan.end()
        job = finish(bare_swift, companion)
        assert job.finished is not None and job.finished.final == 20, job.note
        assert all(numpy.isfinite(data_of(item)).all() for item in job.items)
        assert data_of(scan.item).tobytes() == data.tobytes(), "raw is as it was written, bit by bit"
        assert ("not finite" in job.note) == (not numpy.isfinite(data).all())


@pytest.mark.parametrize(
    ("energy", "names"),
    [
        ((100e3, 1e3, "meV"), ["Denoised", "Core", "Plain"]),
        ((0.1, 1e-3, "keV"), ["Denoised", "Core", "Plain"]),
        ((123.0, -1.0, "eV"), ["Denoised", "Core", "Plain"]),
        ((0.0, 1.0, ""), ["Denoised"]),
        ((0.0, 2.0, "nm"), ["Denoised"]),
        ((0.0, 0.0, "eV"), ["Denoised"]),
        ((float("nan"), 1.0, "eV"), ["Denoised"]),
        ((0.0, float("inf"), "eV"), ["Denoised"]),
    ],
)
def test_energies_in_other_units_or_none(bare_swift, companion, energy, names):
    scan = Producer(bare_swift, spectra(4, 5, 24), energy=energy)
    scan.write_rows()
    scan.end()
    job = finish(bare_swift, companion)
    assert [item.title.split("(")[1][:-1] for item in job.items] == names
    assert numpy.array_equal(data_of(job.items[0]), scan.data)
    if len(names) == 3:
        window = slice(4, 10) if energy[1] > 0 else slice(14, 20)
        assert numpy.array_equal(data_of(job.items[2]), scan.data[..., window].sum(-1))


def camera(kind, name="fake"):
    return {"hardware_source": {"signal_type": kind, "hardware_source_id": name}}


@pytest.mark.parametrize(
    ("shape", "datum", "metadata", "reason"),
    [
        ((4, 5, 24), 1, camera("ronchigram"), "'ronchigram'"),
        ((4, 5, 24), 1, camera(None), "want 'eels'"),
        ((4, 5, 24), 1, {}, "want 'eels'"),
        ((24, 24), 2, EELS, "axes of positions"),
        ((4, 5, 4), 1, EELS, "4 energy channels"),
    ],
)
def test_what_is_no_eels_scan_is_ignored_with_a_reason(bare_swift, companion, shape, datum, metadata, reason):
    scan = Producer(bare_swift, spectra(*shape), datum=datum, metadata=metadata)
    scan.write_rows() if len(shape) > 2 else None
    pump(bare_swift, companion)
    scan.end()
    pump(bare_swift, companion)
    assert companion.ignored.startswith("Scan EELS") and reason in companion.ignored
    assert not companion.jobs and not results(bare_swift) and not companion._follower._recordings


def test_a_camera_without_a_signal_type_can_be_named_in_the_settings(bare_swift, tmp_path):
    with contextlib.closing(follow(bare_swift, tmp_path, cameras=["ela"])) as companion:
        scan = Producer(bare_swift, spectra(4, 5, 24), metadata=camera(None, "ela"))
        scan.write_rows()
        scan.end()
        finish(bare_swift, companion)


def test_following_off_makes_nothing_and_starts_no_engine(bare_swift, tmp_path):
    made = []
    with contextlib.closing(follow(bare_swift, tmp_path, make_engine=made.append, follow=False)) as companion:
        scan = Producer(bare_swift, spectra(4, 5, 24))
        scan.write_rows()
        scan.end()
        pump(bare_swift, companion)
        assert (
            "switched off" in companion.ignored and not companion.jobs and not made and len(bare_swift.data_items) == 1
        )


def test_two_cameras_at_once_do_not_mix(bare_swift, companion):
    first, second = (Producer(bare_swift, spectra(6, 5, 24, seed=seed)) for seed in (1, 2))
    for y in range(6):
        first.write_rows(y, y + 1)
        second.write_rows(5 - y, 6 - y)
        pump(bare_swift, companion, least=1)
    second.end()
    first.end()
    finish(bare_swift, companion, jobs=2)
    by_source = {job.items[0].metadata["udvd"]["source_uuid"]: job.items[0] for job in companion.jobs}
    for scan in (first, second):
        assert numpy.array_equal(data_of(by_source[str(scan.item.uuid)]), scan.data)


class Refusing(InlineEngine):
    """Has no room for the first blocks."""

    refusals = 0

    def push(self, scan_id, start, frames):
        if self.refusals < 20:
            self.refusals += 1
            return False
        return super().push(scan_id, start, frames)


def test_a_large_scan_is_fed_again_from_its_file(bare_swift, tmp_path):
    engine = Refusing()
    with contextlib.closing(follow(bare_swift, tmp_path, make_engine=lambda chosen: engine)) as companion:
        scan = Producer(bare_swift, spectra(10, 64, 7200))
        assert scan.data.nbytes > 16 << 20
        scan.write_rows()
        pump(bare_swift, companion)
        assert isinstance(scan.item.data, h5py.Dataset), "Swift gives a file's dataset, no array"
        scan.end()
        job = finish(bare_swift, companion)
        assert engine.refusals == 20 and job.finished.final == 640
        assert numpy.array_equal(data_of(job.items[0]), scan.data)


def test_computations_on_results_and_on_raw_are_not_followed(bare_swift, companion):
    model = bare_swift.document_model
    scan = Producer(bare_swift, spectra(4, 5, 24))
    scan.write_rows(0, 2)
    pump(bare_swift, companion, lambda: companion.jobs and companion.jobs[0].timeline.first_preview)
    for item in (scan.item, companion.jobs[0].items[0]):
        assert model.get_invert_new(model.get_display_item_for_data_item(item), item) is not None
    scan.write_rows(2)
    pump(bare_swift, companion)
    scan.end()
    finish(bare_swift, companion)
    pump(bare_swift, companion, least=20)
    assert len(companion.jobs) == 1 and not companion._follower._recordings
    assert len(results(bare_swift)) <= 4 + 1, "three results of ours, and a computation that keeps our mark"
    assert all(job.phase is Phase.DONE for job in companion.jobs)


def test_following_by_events_does_not_follow_what_is_computed(bare_swift, tmp_path):
    model = bare_swift.document_model
    with contextlib.closing(follow(bare_swift, tmp_path, exact=False)) as companion:
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
        assert numpy.array_equal(data_of(job.items[0]), scan.data) and job.items[0].metadata["udvd"]["state"] == "final"


def test_settings_of_the_scan_are_kept_with_it(bare_swift, companion):
    scan = Producer(bare_swift, spectra(4, 5, 24))
    scan.write_rows()
    scan.end()
    job = finish(bare_swift, companion)
    for item in job.items:
        facts = item.metadata["udvd"]
        assert facts["settings"]["model"] == RAW["model"] and facts["source_title"] == scan.item.title
        assert facts["provenance"]["model"] == "raw" and item.metadata["hardware_source"] == EELS["hardware_source"]
