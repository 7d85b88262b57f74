"""Maps as computations in a real Swift: what they are, how they follow their windows, what they say if they cannot."""

from __future__ import annotations

import json

import h5py
import numpy
import pytest
from mapping import (
    CHANNELS,
    DENOISED,
    EDGE,
    ENERGY,
    ON,
    SHAPE,
    add_scan,
    computation_of,
    counts,
    expected,
    knowing_maps,
    mapped,
    notifications,
    select,
    set_counts,
    settle,
    sigma_item,
    signal_of,
    some_uncertainty,
)
from nion.data import Calibration, DataAndMetadata

from nionswift_plugin.udvd_live import map_menu, map_view, maps_computation, uncertainties
from nionswift_plugin.udvd_live.map_choices import Choice
from nionswift_plugin.udvd_live.scan_errors import noise_of, scan_of
from udvd_core.defects import fill
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.core_loss import core_loss
from udvd_core.maps.covariance import DenoisedCovariance
from udvd_core.maps.presets import Preset
from udvd_core.settings import MapWindow


@pytest.fixture
def swift(bare_swift, monkeypatch):
    """An empty Swift that knows the maps, and `busy` as long as it computes one."""
    with knowing_maps(bare_swift, monkeypatch):
        yield bare_swift


@pytest.fixture
def told():
    """What the operator was told."""
    with notifications() as texts:
        yield texts


# maps


@pytest.mark.parametrize("large", [False, True])
def test_a_raw_map_is_core_loss_with_the_measured_noise(swift, large):
    scan = add_scan(swift, large_format=large)
    assert isinstance(scan.data, h5py.Dataset) is large
    (item,) = mapped(swift, scan)
    noise = noise_of(scan, scan_of(scan)[0])
    assert noise.gain == pytest.approx(1, abs=0.1)
    values, sigma = expected(scan, known=noise)
    numpy.testing.assert_allclose(item.data[...], values, rtol=1e-4, atol=1e-3)
    numpy.testing.assert_allclose(sigma_item(swift, item).data[...], sigma, rtol=1e-5)
    assert item.title == "Scan EELS 1 (Edge, Raw)" and sigma_item(swift, item).title == "Scan EELS 1 (Edge sigma, Raw)"
    assert item.intensity_calibration.units == "counts in 30 channels"
    assert list(item.dimensional_calibrations) == list(scan.dimensional_calibrations[:2])
    ours = item.metadata["udvd"]
    assert ours["source_uuid"] == str(scan.uuid) and ours["independent"] and "gain 1" in ours["sigma"]
    assert "not" not in ours["sigma"] and computation_of(swift, item).error_text is None


def test_windows_are_intervals_on_a_pick_of_swift(swift):
    scan = add_scan(swift)
    two = (EDGE, MapWindow("Sum", (200.0, 210.0)))
    made = mapped(swift, scan, *two)
    (pick,) = swift.find("(Pick)")
    display = swift.document_model.get_display_item_for_data_item(pick)
    intervals = {each.label: each for each in display.graphics if each.graphic_id in ("signal", "fit")}
    assert set(intervals) == {"Edge", "Fit", "Sum"}
    assert intervals["Edge"].stroke_color == "#0F0" and intervals["Fit"].stroke_color == "#F00"
    numpy.testing.assert_allclose(intervals["Edge"].interval, (50 / CHANNELS, 80 / CHANNELS))
    numpy.testing.assert_allclose(made[1].data[...], scan.data[..., 100:110].sum(-1))
    select(swift, pick)  # more windows on the same spectrum
    (third,) = map_menu.map_selected(
        swift.document_controller, Choice("one", Preset("one", (MapWindow("More", (120, 130)),)))
    )
    settle(swift)
    assert swift.find("(Pick)") == [pick] and signal_of(swift, third) in display.graphics


def test_a_dragged_window_and_new_data_change_the_map(swift):
    scan = add_scan(swift)
    (item,) = mapped(swift, scan)
    before = item.data[...].copy()
    signal_of(swift, item).interval = (0.7, 0.55)  # across itself
    settle(swift)
    moved = MapWindow("Edge", (100 + 0.55 * CHANNELS, 100 + 0.7 * CHANNELS), EDGE.background)
    assert not numpy.allclose(item.data[...], before)
    numpy.testing.assert_allclose(item.data[...], expected(scan, moved, noise_of(scan, scan_of(scan)[0]))[0], atol=1e-3)
    assert item.intensity_calibration.units == "counts in 19 channels"
    computation_of(swift, item).set_input_value("model", "linear")
    set_counts(scan, counts(seed=5))
    settle(swift)
    linear = MapWindow("Edge", moved.signal, moved.background, "linear")
    numpy.testing.assert_allclose(
        item.data[...], expected(scan, linear, noise_of(scan, scan_of(scan)[0]))[0], atol=1e-3
    )


def test_titles_follow_the_label_of_the_signal_unless_the_operator_chose_one(swift):
    (item,) = mapped(swift, add_scan(swift))
    sigma_item(swift, item).title = "my sigma"
    signal_of(swift, item).label = "Ti L"
    settle(swift)
    assert item.title == "Scan EELS 1 (Ti L, Raw)" and sigma_item(swift, item).title == "my sigma"
    assert map_view.name_of(item) == "Ti L"


@pytest.mark.parametrize(
    ("interval", "sentence"),
    [
        ((-0.2, 0.1), "leaves the energy axis"),
        ((0.9, 1.3), "leaves the energy axis"),
        ((0.2, 0.4), "overlaps a fit window"),
        ((0.5, 0.5), "the lower energy first"),
        ((0.501, 0.502), "covers no channel"),
        ((0.96, 0.99), "no position has any counts from"),
    ],
)
def test_a_bad_window_gives_a_sentence_and_a_good_one_mends_it(swift, told, caplog, capfd, interval, sentence):
    data = counts()
    data[..., 120:] = 0
    (item,) = mapped(swift, add_scan(swift, data))
    before = item.data[...].copy()
    computation = computation_of(swift, item)
    signal_of(swift, item).interval = interval
    swift.pump_until(lambda: computation.error_text, 10)
    assert sentence in computation.error_text and sentence in told[-1]
    assert numpy.array_equal(item.data[...], before) and not caplog.records and not capfd.readouterr().err
    signal_of(swift, item).interval = (50 / CHANNELS, 80 / CHANNELS)
    swift.pump_until(lambda: not computation.error_text, 10)
    settle(swift)
    assert numpy.array_equal(item.data[...], before)


def test_a_sequence_gives_a_sequence_of_maps(swift):
    data = numpy.stack([counts(seed) for seed in range(3)])
    (item,) = mapped(swift, add_scan(swift, data))
    assert item.data_shape == (3, *SHAPE) and item.is_sequence
    assert item.data[2][ON].mean() > 50 + item.data[2][~ON].mean()


@pytest.mark.parametrize("rows", [1, 3])
def test_faulty_pixels_are_filled_and_named_as_by_the_command(swift, rows):
    values = ENERGY.values()
    frames = numpy.random.default_rng(2).poisson(30 * (values / 100) ** -2, (*SHAPE, rows, CHANNELS))
    harmed = frames.astype(numpy.float32)
    harmed[..., 0, 60], harmed[..., 0, 66] = 0, 900  # in the window of the edge: one channel dead, one hot
    scan = add_scan(swift, harmed[..., 0, :])
    if rows > 1:
        scan.set_xdata(
            DataAndMetadata.new_data_and_metadata(
                harmed,
                dimensional_calibrations=[*scan.dimensional_calibrations[:2], Calibration.Calibration(),
                                          scan.dimensional_calibrations[2]],
                data_descriptor=DataAndMetadata.DataDescriptor(False, 2, 2),
            )
        )  # fmt: skip
    made, sigma, facts = maps_computation.make_map(scan, Preset("test", (EDGE,)))
    assert facts["caption"] == "1 dead, 1 hot pixel masked: filled from their neighbours."
    usable = numpy.ones((rows, CHANNELS), bool)
    usable[0, [60, 66]] = False
    filled = fill(harmed.reshape(-1, rows, CHANNELS), usable).sum(1)
    layout = scan_of(scan)[0]
    expected_map = core_loss(filled, ENERGY, [EDGE], noise_of(scan, layout))
    numpy.testing.assert_allclose(made.ravel(), expected_map[0][0], atol=1e-2)
    numpy.testing.assert_allclose(sigma.ravel(), expected_map[1][0], rtol=1e-5)
    assert noise_of(scan, layout).gain == pytest.approx(1, abs=0.15)
    if rows == 1:
        (item,) = mapped(swift, scan)
        assert item.caption == facts["caption"]
        set_counts(scan, frames[..., 0, :].astype(numpy.float32))
        settle(swift)
        assert item.caption == ""


# sigma of denoised items


def test_a_denoised_map_has_the_sigma_that_was_kept_with_the_project(swift):
    scan = add_scan(swift, counts() + numpy.float32(1), DENOISED, "Scan EELS 1 (Denoised)")
    other = add_scan(swift, metadata={"udvd": {"kind": "map"}})
    uncertainties.keep([other, scan], some_uncertainty().packed())
    (path,) = (swift.project_path.parent / "Lab UDVD").glob("*.npy")
    assert path.stem == str(scan.uuid)
    (item,) = mapped(swift, scan)
    known = Uncertainty.unpacked(some_uncertainty().packed())
    values, sigma = expected(scan, known=DenoisedCovariance(known, numpy.arange(SHAPE[0] * SHAPE[1])))
    numpy.testing.assert_allclose(item.data[...], values, atol=1e-3)
    numpy.testing.assert_allclose(sigma_item(swift, item).data[...], sigma, rtol=1e-5)
    assert item.title == "Scan EELS 1 (Edge, Denoised)" and not item.metadata["udvd"]["independent"]


@pytest.mark.parametrize("harm", ["missing", "cut", "text", "other", "nonsense"])
def test_without_its_file_sigma_is_not_known(swift, harm):
    scan = add_scan(swift, metadata=DENOISED)
    packed = some_uncertainty().packed()
    if harm == "other":
        packed = some_uncertainty(5 * SHAPE[0] * SHAPE[1]).packed()
    uncertainties.keep([scan], packed[:20] if harm == "nonsense" else packed)
    path = swift.project_path.parent / "Lab UDVD" / f"{scan.uuid}.npy"
    if harm == "missing":
        path.unlink()
    elif harm in ("cut", "text"):
        path.write_bytes(path.read_bytes()[:500] if harm == "cut" else b"hello")
    (item,) = mapped(swift, scan)
    assert numpy.isnan(sigma_item(swift, item).data[...]).all() and numpy.isfinite(item.data[...]).all()
    assert "not known" in item.metadata["udvd"]["sigma"] and computation_of(swift, item).error_text is None


def test_a_map_gets_its_sigma_when_the_errors_come(swift):
    scan = add_scan(swift, metadata=DENOISED)
    (item,) = mapped(swift, scan)
    assert numpy.isnan(sigma_item(swift, item).data[...]).all()
    uncertainties.keep([scan], some_uncertainty().packed())
    scan.metadata = {"udvd": {"kind": "denoised", "state": "final"}}  # as the writer does at last
    swift.pump_until(lambda: numpy.isfinite(sigma_item(swift, item).data[...]).all(), 10)


def test_a_project_without_a_file_keeps_errors_in_memory_and_a_full_disk_is_no_disaster(swift, monkeypatch, caplog):
    scan = add_scan(swift, metadata=DENOISED)
    uncertainties.keep([scan], None)
    assert uncertainties.load(scan, 120, CHANNELS) is None
    with monkeypatch.context() as patch:
        patch.setattr(uncertainties, "replacing", lambda path: (_ for _ in ()).throw(OSError("disk full")))
        uncertainties.keep([scan], some_uncertainty().packed())
    assert "disk full" in caplog.text
    monkeypatch.setattr(uncertainties, "_path", lambda item: None)
    uncertainties.keep([scan], some_uncertainty().packed())
    assert uncertainties.load(scan, 120, CHANNELS).scale.size == CHANNELS
    assert uncertainties.load(scan, 100, CHANNELS) is None and uncertainties.load(scan, 120, 64) is None


def test_what_was_made_from_a_denoised_item_does_not_count_as_raw(swift):
    scan = add_scan(swift, metadata=DENOISED)
    display = swift.document_model.get_display_item_for_data_item(scan)
    computed = swift.document_model.get_redimension_new(display, scan, scan.data_descriptor)
    settle(swift)
    (item,) = mapped(swift, computed)
    assert computed.data_shape == scan.data_shape and numpy.isnan(sigma_item(swift, item).data[...]).all()
    assert "from a denoised item" in item.metadata["udvd"]["sigma"]


def test_a_scan_that_has_just_begun_has_no_noise_yet(swift):
    data = counts()
    data.reshape(-1, CHANNELS)[8:] = 0
    scan = add_scan(swift, data)
    (item,) = mapped(swift, scan)
    assert numpy.isnan(sigma_item(swift, item).data[...]).all()
    set_counts(scan, counts())
    swift.pump_until(lambda: numpy.isfinite(sigma_item(swift, item).data[...]).all(), 10)


def test_metadata_are_plain(swift):
    (item,) = mapped(swift, add_scan(swift))
    assert json.loads(json.dumps(item.metadata["udvd"]))["map"]["name"] == "Edge"
    assert maps_computation.extended("a (b)", "c") == "a (c, b)" and maps_computation.extended("a", "c") == "a (c)"
