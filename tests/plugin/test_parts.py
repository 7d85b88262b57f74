"""The parts of the plug-in that need no running Swift: coverage, settings, tap, layout of items."""

from __future__ import annotations

import dataclasses
import logging
import math

import hypothesis
import hypothesis.strategies as st
import numpy
import pytest
from nion.data import Calibration, DataAndMetadata

from nionswift_plugin.udvd_live import preferences, scan_item, tap
from nionswift_plugin.udvd_live.coverage import Coverage
from nionswift_plugin.udvd_live.preferences import Preferences
from udvd_core.errors import SettingsError
from udvd_core.settings import MapWindow, Training


@st.composite
def boxes(draw):
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    return shape, tuple(slice(a, draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True))


@hypothesis.given(boxes(), boxes())
@hypothesis.settings(deadline=None)
def test_coverage_equals_a_mask(first, second):
    shape, box = first
    coverage, mask = Coverage(shape), numpy.zeros(shape, bool)
    runs = coverage.receive(box)
    mask[box] = True
    assert sum(stop - start for start, stop in runs) == mask.sum() == coverage.received
    assert numpy.concatenate([numpy.arange(*run) for run in runs]).tolist() == numpy.flatnonzero(mask).tolist()
    assert coverage.complete == mask.all()
    fed = []
    while (run := coverage.missing(2)) is not None:
        assert 0 < run[1] - run[0] <= 2
        coverage.deliver(*run)
        fed += range(*run)
    assert fed == numpy.flatnonzero(mask).tolist() and coverage.delivered == mask.sum()
    coverage.forget_deliveries()
    assert coverage.delivered == 0 and coverage.received == mask.sum()
    assert coverage.missing(math.prod(shape)) is not None


def test_a_block_that_comes_again_is_delivered_again():
    coverage = Coverage((4,))
    coverage.receive((slice(0, 2),))
    coverage.deliver(0, 2)
    assert coverage.missing(9) is None
    coverage.receive((slice(1, 2),))
    assert coverage.missing(9) == (1, 2)


def test_preferences_round_trip(tmp_path):
    chosen = Preferences(
        False, "/usr/bin/python3", ("ela",), (MapWindow("a", (1, 2), (0.5, 0.9)),), Training(hidden=(0, 2), budget_s=3)
    )
    path = tmp_path / "udvd_live.json"
    preferences.store(path, chosen)
    assert preferences.load(path) == chosen and not path.with_suffix(".tmp").exists()
    assert preferences.load(tmp_path / "none.json") == Preferences()


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"unknown": 1}', '{"training": {"budget_s": -1}}', '{"maps": [{"name": "a", "signal": [2, 1]}]}']
    + ['{"maps": [{"name": "a"}]}', '{"training": {"steps": 3}}', '{"training": {"model": "magic"}}', "null"],
)
def test_bad_preferences_are_never_fatal(tmp_path, text, caplog):
    with pytest.raises(SettingsError):
        Preferences.from_json(text)
    path = tmp_path / "udvd_live.json"
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert preferences.load(path) == Preferences()
    assert str(path) in caplog.text


BROKEN = [b"\xff\xfe\x00garbage", b'{"python": 5}', b'{"follow": "no"}', b'{"cameras": "ela"}', b'{"cameras": [1]}']
BROKEN += [b'{"maps": [{"name": "a", "signal": ["a", "b"]}]}', b'{"maps": [{"name": 3, "signal": [1, 2]}]}']
BROKEN += [b'{"training": {"seed": "x"}}', b'{"training": {"frames": "yes"}}', b'{"training": {"width": 8.5}}']


@pytest.mark.parametrize("text", BROKEN)
def test_settings_of_the_wrong_kind_are_not_used(tmp_path, text, caplog):
    path = tmp_path / "udvd_live.json"
    path.write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert preferences.load(path) == Preferences()
    assert str(path) in caplog.text


def test_settings_that_cannot_be_stored_are_told_in_the_log(tmp_path, caplog):
    preferences.store(tmp_path / "no folder" / "udvd_live.json", Preferences())
    assert "could not store" in caplog.text


def test_settings_file_can_be_named(monkeypatch, tmp_path):
    monkeypatch.delenv("UDVD_SETTINGS", raising=False)
    assert preferences.path_in(str(tmp_path)) == tmp_path / "udvd_live.json"
    monkeypatch.setenv("UDVD_SETTINGS", str(tmp_path / "other.json"))
    assert preferences.path_in("/anywhere") == tmp_path / "other.json"


class Model:
    """Stands for the one method of Swift's document model that is tapped."""

    def __init__(self):
        self.updates = []

    def update_data_item_partial(self, data_item, data_metadata, data_and_metadata, src_slice, dst_slice):
        self.updates.append(dst_slice)


def update(model):
    block = DataAndMetadata.new_data_and_metadata(numpy.arange(12.0).reshape(3, 4))
    model.update_data_item_partial("item", "metadata", block, (slice(1, 2), slice(0, 4)), [slice(5, 6), slice(0, 4)])


def test_the_tap_hands_on_the_block_after_swift_has_it():
    model, seen = Model(), []
    attached = tap.attach(model, lambda *args: seen.append((len(model.updates), *args)))
    update(model)
    ((updates, item, metadata, block, where),) = seen
    assert updates == 1 and item == "item" and metadata == "metadata"
    assert block.tolist() == [[4, 5, 6, 7]] and where == (slice(5, 6), slice(0, 4))
    attached.close()
    update(model)
    assert len(seen) == 1 and len(model.updates) == 2 and "update_data_item_partial" not in vars(model)


def test_an_exception_in_the_tap_never_reaches_the_acquisition(caplog):
    model = Model()

    def fails(*args):
        raise ValueError("never to be seen by Swift")

    attached = tap.attach(model, fails)
    update(model)
    assert len(model.updates) == 1 and "never to be seen" in caplog.text
    attached.close()


def test_the_tap_leaves_another_wrapper_in_place():
    model, seen = Model(), []
    attached = tap.attach(model, lambda *args: seen.append(args))
    inner = model.update_data_item_partial
    model.update_data_item_partial = lambda *args: inner(*args)
    attached.close()
    update(model)
    assert len(model.updates) == 1 and not seen


def test_a_swift_that_cannot_be_tapped(caplog):
    class Other:
        def update_data_item_partial(self, data_item, xdata):
            raise AssertionError("not called")

    assert tap.attach(Other(), lambda *args: None) is None and tap.attach(object(), lambda *args: None) is None
    assert "following scans by events" in caplog.text


DESCRIPTOR = DataAndMetadata.DataDescriptor


@pytest.mark.parametrize(
    ("shape", "descriptor", "positions", "frame"),
    [
        ((4, 5, 64), DESCRIPTOR(False, 2, 1), (4, 5), (1, 64)),
        ((4, 5, 3, 64), DESCRIPTOR(False, 2, 2), (4, 5), (3, 64)),
        ((2, 4, 5, 64), DESCRIPTOR(True, 2, 1), (2, 4, 5), (1, 64)),
        ((7, 64), DESCRIPTOR(False, 1, 1), (7,), (1, 64)),
        ((7, 64), DESCRIPTOR(True, 0, 1), (7,), (1, 64)),
        ((7, 3, 64), DESCRIPTOR(True, 0, 2), (7,), (3, 64)),
        ((2, 7, 64), DESCRIPTOR(True, 1, 1), (2, 7), (1, 64)),
    ],
)
def test_layouts(shape, descriptor, positions, frame):
    layout = scan_item.layout_of(shape, descriptor)
    assert layout == scan_item.ScanLayout(positions, frame, 1 if frame[0] == 1 else 2)
    assert layout.count == math.prod(positions)


@pytest.mark.parametrize(
    ("shape", "descriptor", "reason"),
    [
        (None, None, "no data yet"),
        ((32, 32), DESCRIPTOR(False, 0, 2), "0 axes"),
        ((4, 5), DESCRIPTOR(False, 2, 0), "0 dimensions per position"),
        ((4, 5, 3), DESCRIPTOR(False, 2, 1), "3 energy channels"),
    ],
)
def test_what_is_no_scan_has_a_reason(shape, descriptor, reason):
    assert reason in scan_item.layout_of(shape, descriptor)


def test_cameras():
    def metadata(kind):
        return {"hardware_source": {"signal_type": kind, "hardware_source_id": "ela"}}

    assert scan_item.not_eels(metadata("eels"), ()) == "" == scan_item.not_eels(metadata(None), ("ela",))
    assert "'ela'" in scan_item.not_eels(metadata("ronchigram"), ()) and scan_item.not_eels({}, ())


@pytest.mark.parametrize(("units", "factor"), [("eV", 1), ("meV", 1e-3), ("keV", 1e3)])
def test_energies_are_in_electron_volts_and_impossible_maps_are_left_out(units, factor):
    layout = scan_item.ScanLayout((4, 5), (3, 64), 2)
    calibrations = [Calibration.Calibration() for _ in range(3)] + [Calibration.Calibration(100, 0.5, units)]
    metadata = DataAndMetadata.DataMetadata(
        data_shape=(4, 5, 3, 64),
        data_dtype=numpy.dtype(numpy.float32),
        dimensional_calibrations=calibrations,
        data_descriptor=DESCRIPTOR(False, 2, 2),
    )
    good = MapWindow("good", (110 * factor, 115 * factor), (101 * factor, 108 * factor))
    maps = [good, MapWindow("away", (200 * factor, 210 * factor)), dataclasses.replace(good, background=(-5, -1))]
    spec, left_out = scan_item.specify("id", layout, metadata, maps, Training(frames=True))
    assert spec.energy.units == "eV" and spec.energy.offset == pytest.approx(100 * factor)
    assert spec.maps == (good,) and len(left_out) == 2 and "'away'" in left_out[0]
    assert spec.frame_shape == (3, 64) and spec.training.frames
    summed, _ = scan_item.specify("id", layout, metadata, maps, Training())
    assert summed.frame_shape == (1, 64)


def test_an_uncalibrated_scan_has_no_maps():
    metadata = DataAndMetadata.DataMetadata(
        data_shape=(7, 64), data_dtype=numpy.dtype(numpy.float32), data_descriptor=DESCRIPTOR(False, 1, 1)
    )
    layout = scan_item.ScanLayout((7,), (1, 64), 1)
    spec, left_out = scan_item.specify("id", layout, metadata, preferences.MAPS, Training(frames=True))
    assert not spec.maps and "not calibrated in eV" in left_out[0] and not spec.training.frames
