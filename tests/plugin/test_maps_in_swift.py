"""Maps as computations in a real Swift: what they are, how they follow their windows, what they say if they cannot."""

from __future__ import annotations

import json
import math

import h5py
import numpy
import pytest
from nion.data import Calibration, DataAndMetadata
from nion.swift import Application
from nion.swift.model import DataItem, Graphics, Symbolic
from nion.utils import Geometry, Registry

from nionswift_plugin.udvd_live import averages, map_menu, map_view, maps_computation, uncertainties
from nionswift_plugin.udvd_live.map_choices import Choice, choices
from nionswift_plugin.udvd_live.scan_errors import noise_of, scan_of
from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.core_loss import core_loss
from udvd_core.maps.covariance import DenoisedCovariance
from udvd_core.maps.presets import BUILT_IN
from udvd_core.settings import MapWindow

SHAPE, CHANNELS = (12, 10), 128
ENERGY = Axis(CHANNELS, 100.0, 1.0, "eV", "E")
EDGE = MapWindow("Edge", (150.0, 180.0), ((110.0, 145.0),))
LATE = MapWindow("Late", (200.0, 215.0), ((110.0, 145.0),))
ON = numpy.zeros(SHAPE, bool)
ON[3:9, 2:8] = True
DENOISED = {"udvd": {"kind": "denoised"}}


@pytest.fixture
def swift(bare_swift, monkeypatch):
    """An empty Swift that knows the maps, and `busy` as long as it computes one."""
    running = []

    class Executor(Symbolic.RegisteredComputationExecutor):
        def __init__(self, *arguments):
            running.append(self)
            super().__init__(*arguments)

        def close(self):
            super().close()
            running.remove(self)

    monkeypatch.setattr(Symbolic, "RegisteredComputationExecutor", Executor)
    model = bare_swift.document_model
    monkeypatch.setattr(
        bare_swift, "busy", lambda: running or any(each.needs_update for each in model.computations), raising=False
    )
    map_menu.register()
    yield bare_swift
    inspect_nothing(bare_swift)
    map_menu.unregister()


@pytest.fixture
def told():
    """What the operator was told."""
    texts = []
    source = Registry.get_component("notification-source")
    listener = source.notify_event.listen(lambda notification: texts.append(notification.text))
    yield texts
    listener.close()


def counts(seed=0, strength=6.0):
    values = ENERGY.values()
    expected = 20 * (values / 100) ** -3 + strength * ON[..., None] * (values >= 150) * (values / 150) ** -4
    return numpy.random.default_rng(seed).poisson(expected).astype(numpy.float32)


def add_scan(swift, data=None, metadata=None, title="Scan EELS 1", energy=(100.0, 1.0, "eV"), **more):
    data = counts() if data is None else data
    nm = [Calibration.Calibration(1, 0.5, "nm")] * (data.ndim - 1)
    item = DataItem.DataItem(**more)
    item.title = title
    item.set_xdata(
        DataAndMetadata.new_data_and_metadata(
            data,
            dimensional_calibrations=[*nm, Calibration.Calibration(*energy)],
            data_descriptor=DataAndMetadata.DataDescriptor(data.ndim == 4, 2, 1),
            metadata=metadata or {},
        )
    )
    swift.document_model.append_data_item(item)
    return item


def select(swift, *items):
    displays = [swift.document_model.get_display_item_for_data_item(item) for item in items]
    swift.document_controller.select_display_items_in_data_panel(displays)
    swift.document_controller.data_panel_focused()


def inspect_nothing(swift):
    """Before items are deleted: Swift's inspector may have an update of the selected one in its queue."""
    select(swift)
    settle(swift)


def computation_of(swift, item):
    (found,) = (each for each in swift.document_model.computations if item in each.output_items)
    return found


def settle(swift):
    """Run Swift until nothing is left to compute."""
    quiet = 0

    def done():
        nonlocal quiet
        quiet = 0 if swift.busy() else quiet + 1
        return quiet > 5

    swift.pump_until(done, 20)


def set_counts(scan, data):
    """Other data of the same form."""
    old = scan.xdata
    scan.set_xdata(
        DataAndMetadata.new_data_and_metadata(
            data, dimensional_calibrations=old.dimensional_calibrations, data_descriptor=old.data_descriptor
        )
    )


def mapped(swift, scan, *windows):
    """Maps of a scan as the menu makes them."""
    select(swift, scan)
    made = map_menu.map_selected(swift.document_controller, Choice("test", windows or (EDGE,)))
    settle(swift)
    return made


def sigma_item(swift, item):
    return computation_of(swift, item).get_output("sigma")


def signal_of(swift, item):
    return computation_of(swift, item).get_input("signal")


def expected(scan, window=EDGE, known=None):
    spectra = numpy.asarray(scan.data[...]).reshape(-1, CHANNELS)
    values, sigma = core_loss(spectra, ENERGY, [window], known)
    return values[0].reshape(scan.data_shape[:-1]), sigma[0].reshape(scan.data_shape[:-1])


def some_uncertainty(count=SHAPE[0] * SHAPE[1]):
    rng = numpy.random.default_rng(1)
    return Uncertainty(
        numpy.arange(count),
        numpy.ones(count),
        numpy.full(CHANNELS, 3.0, numpy.float32),
        rng.normal(size=(2, CHANNELS)),
        numpy.array([0.5, 0.2]),
        rng.normal(size=(count, 2)) / math.sqrt(count),
        numpy.array([0.1, 0.3]),
    )


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
    (third,) = map_menu.map_selected(swift.document_controller, Choice("one", (MapWindow("More", (120, 130)),)))
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


# pictures


def test_colours_tell_maps_apart_and_grey_is_noise():
    values = numpy.array([[100.0, 10.0, 0.0, 50.0]])
    other = numpy.array([[0.0, 0.0, 0.0, 200.0]])
    rgb, full = map_view.compose([values, other], [numpy.full((1, 4), 5.0)] * 2, 3.0, None)
    orange, blue = (numpy.array(each) * 255 / 339 for each in ([0, 159, 230], [233, 180, 86]))  # Swift's order
    assert full == [pytest.approx(100, rel=0.01), 200.0]
    numpy.testing.assert_allclose(rgb[0, 0], orange, atol=1)
    assert (rgb[0, 1:3] == map_view.GREY).all()
    numpy.testing.assert_allclose(rgb[0, 3], 0.5 * orange + blue, atol=2)
    rgb, _ = map_view.compose([values], [None], 3.0, None)
    assert (rgb[0, 1] != map_view.GREY).any() and (rgb[0, 2] == map_view.GREY).all()
    rgb, full = map_view.compose([values], [numpy.full((1, 4), 1e9)], 3.0, None)
    assert (rgb == map_view.GREY).all() and math.isnan(full[0])


def test_over_haadf_its_brightness_is_the_pictures():
    values, light = numpy.array([[0.0, 0.0, 100.0, 100.0]]), numpy.array([[0.0, 1.0, 0.0, 1.0]])
    rgb, _ = map_view.compose([values], [numpy.ones((1, 4))], 3.0, light)
    assert (rgb[0, :2] == rgb[0, :2, :1]).all() and rgb[0, 1, 0] > 4 * rgb[0, 0, 0] > 0
    assert rgb[0, 3, 2] > rgb[0, 3, 0] and rgb[0, 3, 2] > 4 * rgb[0, 2, 2] > 0
    assert len(numpy.unique(map_view.compose([values], [None], 3.0, numpy.ones((1, 4)))[0][0, :2])) == 1


def test_a_view_is_grey_below_its_significance(swift):
    scan = add_scan(swift, metadata={"scan": {"scan_id": "here"}})
    haadf = DataItem.DataItem(numpy.linspace(0, 1, ON.size).reshape(SHAPE).astype(numpy.float32))
    haadf.title, haadf.metadata = "Scan HAADF 1", {"scan": {"scan_id": "here"}}
    swift.document_model.append_data_item(haadf)
    made = mapped(swift, scan, EDGE, LATE)
    select(swift, *made)
    view = map_menu.view_maps(swift.document_controller)
    settle(swift)
    assert view.data_shape == (*SHAPE, 3) and view.title == "Scan EELS 1 (Edge + Late significance, Raw)"
    below = numpy.ones(SHAPE, bool)
    for item in made:
        below &= item.data[...] < 3 * sigma_item(swift, item).data[...]
    assert 10 < below.sum() < 90
    assert ((view.data[...] == map_view.GREY).all(-1) == below).all()
    lines = view.caption.splitlines()
    assert lines[0].startswith("Orange: Edge, full at ") and lines[0].endswith("counts in 30 channels.")
    assert lines[1].startswith("Sky blue: Late") and lines[2] == "Grey: no map reaches 3 sigma." and len(lines) == 3

    computation = computation_of(swift, view)
    computation.set_input_value("significance", 1e6)
    swift.pump_until(lambda: (view.data[...] == map_view.GREY).all(), 10)
    assert "nowhere significant" in view.caption
    computation.set_input_value("over_haadf", True)
    swift.pump_until(lambda: "as HAADF" in view.caption, 10)
    assert view.data[-1, -1, 0] > 4 * view.data[0, 0, 0]


def test_a_view_pairs_maps_with_their_own_sigma_and_says_where_it_has_none(swift):
    made = mapped(swift, add_scan(swift, metadata=DENOISED), EDGE, LATE)
    select(swift, *made)
    view = map_menu.view_maps(swift.document_controller)
    settle(swift)
    assert view.caption.endswith("Sigma not known, shown wherever above zero: Edge, Late.")
    computation_of(swift, view).set_input_value("over_haadf", True)
    swift.pump_until(lambda: view.caption.endswith("No image of the same scan is in this project."), 10)
    sigmas = [sigma_item(swift, item) for item in made]
    numpy.testing.assert_array_equal(map_view.sigma_of(made[1], sigmas), sigmas[1].data[...])
    assert map_view.sigma_of(made[0], sigmas[1:]) is None and not map_view.is_sigma_of(made[0], made[0])


def test_a_deleted_map_takes_its_view_along_and_all_else_can_be_deleted(swift):
    scan = add_scan(swift)
    made = mapped(swift, scan, EDGE, LATE)
    select(swift, *made)
    view = map_menu.view_maps(swift.document_controller)
    settle(swift)
    inspect_nothing(swift)
    swift.document_model.remove_data_item(sigma_item(swift, made[0]))  # in Swift all results of a computation go
    settle(swift)
    assert made[0] not in swift.data_items and view not in swift.data_items and made[1] in swift.data_items
    select(swift, made[1])
    map_menu.view_maps(swift.document_controller)
    select(swift, made[1])
    map_menu.average_map(swift.document_controller)
    settle(swift)
    inspect_nothing(swift)
    swift.document_model.remove_data_item(scan)
    assert not swift.data_items and not swift.document_model.computations


# averages


def test_averages_of_independent_and_of_shared_errors(rng):
    values, sigma = rng.normal(10, 1, (4, 5)), rng.uniform(1, 2, (4, 5))
    masks = numpy.zeros((2, 4, 5), bool)
    masks[0, :2], masks[1, 3, 3] = True, True
    average, error = averages.region_sigma(values, sigma, masks, True)
    numpy.testing.assert_allclose(average, [values[:2].mean(), values[3, 3]])
    numpy.testing.assert_allclose(error, [numpy.sqrt((sigma[:2] ** 2).sum()) / 10, sigma[3, 3]])
    _, limit = averages.region_sigma(values, sigma, masks, False)
    common, own = rng.normal(size=(2, 20000, 10))
    for share in (0.0, 0.5, 1.0):  # whatever neighbours share, the limit is not too small
        noise = (share**0.5 * common[:, :1] + (1 - share) ** 0.5 * own) * sigma[:2].ravel()
        assert noise.mean(1).std() < 1.02 * limit[0]
    assert (noise.mean(1).std()) == pytest.approx(limit[0], rel=0.02)


def test_averages_leave_out_what_is_missing_and_refuse_nothing():
    values, sigma = numpy.array([[1.0, 3.0, 0.0]]), numpy.array([[1.0, 1.0, numpy.inf]])
    masks = numpy.ones((1, 1, 3), bool)
    average, error = averages.region_sigma(values, sigma, masks, True)
    assert average[0] == 2 and error[0] == pytest.approx(0.5**0.5)
    average, error = averages.region_sigma(values, None, masks, False)
    assert average[0] == pytest.approx(4 / 3) and math.isnan(error[0])
    with pytest.raises(InputError, match="region 2 of 2 has no position"):
        averages.region_sigma(values, sigma, numpy.concatenate((masks, ~masks)), True)


def test_columns_and_regions_of_a_map(swift):
    (item,) = mapped(swift, add_scan(swift))
    sigma = sigma_item(swift, item).data[...]
    select(swift, item)
    columns = map_menu.average_map(swift.document_controller)
    settle(swift)
    numpy.testing.assert_allclose(columns.data[0], item.data[...].mean(0), rtol=1e-4)
    numpy.testing.assert_allclose(columns.data[2] - columns.data[0], numpy.sqrt((sigma**2).sum(0)) / 12, rtol=1e-3)
    assert columns.dimensional_calibrations[1] == item.dimensional_calibrations[1]
    assert "independent" in columns.caption and columns.title == "Scan EELS 1 (Edge columns, Raw)"

    display = swift.document_model.get_display_item_for_data_item(item)
    rectangle, ellipse = Graphics.RectangleGraphic(), Graphics.EllipseGraphic()
    rectangle.bounds = Geometry.FloatRect.from_tlbr(3 / 12, 2 / 10, 9 / 12, 8 / 10)
    rectangle.label = "flake"
    for region in (rectangle, ellipse):
        display.add_graphic(region)
    select(swift, item)
    regions = map_menu.average_map(swift.document_controller)
    settle(swift)
    assert regions.data_shape == (3, 2)
    assert regions.data[0, 0] == pytest.approx(item.data[...][ON].mean(), rel=1e-4)
    assert regions.caption.startswith("flake (36 positions): ") and "Region 2 (" in regions.caption
    rectangle.bounds = Geometry.FloatRect.from_tlbr(0, 0, 2 / 12, 1)
    swift.pump_until(lambda: "flake (20 positions)" in regions.caption, 10)
    rectangle.bounds = Geometry.FloatRect.from_tlbr(2, 2, 3, 3)
    computation = computation_of(swift, regions)
    swift.pump_until(lambda: computation.error_text, 10)
    assert "region 1 of 2 has no position" in computation.error_text


def test_averages_of_a_denoised_map_do_not_promise_too_much(swift):
    scan = add_scan(swift, metadata=DENOISED, title="Scan EELS 1 (Denoised)")
    (bare,) = mapped(swift, scan)
    select(swift, bare)
    unknown = map_menu.average_map(swift.document_controller)
    settle(swift)
    assert unknown.caption == "Sigma is not known." and numpy.isnan(unknown.data[1]).all()
    uncertainties.keep([scan], some_uncertainty().packed())
    scan.metadata = {"udvd": {"kind": "denoised", "state": "final"}}
    swift.pump_until(lambda: "upper limit" in (unknown.caption or ""), 10)
    sigma = sigma_item(swift, bare).data[...]
    numpy.testing.assert_allclose(unknown.data[2] - unknown.data[0], sigma.mean(0), rtol=1e-3)


# what an operator selects


def test_the_raw_scan_is_mapped_in_the_same_windows(swift, told):
    raw = add_scan(swift)
    metadata = {"udvd": {"kind": "denoised", "source_uuid": str(raw.uuid)}}
    made = mapped(swift, add_scan(swift, counts(3), metadata, "Scan EELS 1 (Denoised)"))
    select(swift, made[0])
    (beside,) = map_menu.map_raw(swift.document_controller)
    settle(swift)
    assert beside.title == "Scan EELS 1 (Edge, Raw)" and signal_of(swift, beside) is signal_of(swift, made[0])
    numpy.testing.assert_allclose(beside.data[...], expected(raw, known=noise_of(raw, scan_of(raw)[0]))[0], atol=1e-3)
    select(swift, *swift.find("(Pick)"))
    assert len(map_menu.map_raw(swift.document_controller)) == 1
    select(swift, raw)
    map_menu.guarded(map_menu.map_raw, swift.document_controller)
    assert told[-1].startswith("Select a map of a denoised")


def test_what_does_not_fit_says_what_to_select(swift, told):
    image = DataItem.DataItem(numpy.zeros(SHAPE, numpy.float32))
    swift.document_model.append_data_item(image)
    channels = add_scan(swift, energy=(0, 1, ""))
    for selection, action, sentence in [
        ((), map_menu.choose_map, "Select one spectrum image"),
        ((image,), map_menu.choose_map, "Select one spectrum image"),
        ((channels,), map_menu.choose_map, "calibrate its last axis in eV"),
        ((image,), map_menu.view_maps, "Select one to three maps"),
        ((), map_menu.view_maps, "Select one to three maps"),
        ((image,), map_menu.average_map, "Select one map. Mark regions"),
        ((), map_menu.average_map, "Select one map. Mark regions"),
        ((), map_menu.map_raw, "Select a map of a denoised"),
    ]:
        select(swift, *selection)
        map_menu.guarded(action, swift.document_controller)
        assert sentence in told[-1], action
    assert len(told) == 8 and len(swift.data_items) == 2


def test_choices_are_presets_then_edges_by_energy_then_by_hand(swift):
    found = choices(Axis(1024, 170.0, 0.25, "eV"), BUILT_IN)
    titles = [each.title for each in found]
    assert titles[0] == "h-BN core loss: B K, N K" and titles[-1] == "Windows drawn by hand"
    assert {"B-K, 188 eV", "C-K, 284.2 eV"} <= set(titles) and "Ti-L3, 456 eV" not in titles
    onsets = [float(title.split(", ")[1].split()[0]) for title in titles[1:-1]]
    assert onsets == sorted(onsets) and min(onsets) > 170
    assert choices(Axis(512, 170.0, 0.2, "eV"), BUILT_IN)[0].title == "h-BN core loss: B K"
    assert choices(Axis(1024, 700.0, 1.0, "eV"), BUILT_IN)[0].title.endswith("(lines of Ce M45 in Gd M45 stay)")
    for axis in (Axis(1024, -0.1, 0.001, "eV"), Axis(1024, 1193.0, -1.0, "eV")):  # phonons; descending
        for choice in choices(axis, BUILT_IN):
            core_loss(numpy.ones((2, 1024), numpy.float32), axis, choice.maps, None)


def test_the_menu_asks_which_map(swift, monkeypatch):
    asked = []
    monkeypatch.setattr(
        map_menu.Dialog, "pose_select_item_pop_up", lambda items, chosen, **more: asked.append((items, chosen, more))
    )
    select(swift, add_scan(swift))
    map_menu.guarded(map_menu.choose_map, swift.document_controller)
    ((items, chosen, more),) = asked
    assert more["item_getter"](items[0]) == "h-BN core loss: B K" and more["window"] is swift.document_controller
    chosen(None)
    assert not swift.document_model.computations
    chosen(items[0])
    assert len(swift.find("(B K, Raw)")) == 1


def test_a_menu_and_computations_come_and_go(bare_swift):
    entries = []

    class Menu:
        def add_menu_item(self, title, action):
            entries.append(title)

        def add_separator(self):
            entries.append("-")

    class Window:
        def get_or_create_menu(self, *names):
            assert names[0] == "eels_menu"
            return Menu()

    map_menu.build_menu(object())
    map_menu.build_menu(Window())
    assert entries[0] == "-" and entries[1] == "Map Denoised Signal..." and "Average Map Regions" in entries
    map_menu.register()
    assert map_menu.build_menu in Application.app.menu_handlers
    assert {"udvd.map", "udvd.map_view", "udvd.averages"} <= set(Symbolic._computation_types)
    map_menu.unregister()
    assert map_menu.build_menu not in Application.app.menu_handlers
    assert not any(name.startswith("udvd.") for name in Symbolic._computation_types)


def test_metadata_are_plain(swift):
    (item,) = mapped(swift, add_scan(swift))
    assert json.loads(json.dumps(item.metadata["udvd"]))["map"]["name"] == "Edge"
    assert maps_computation.extended("a (b)", "c") == "a (c, b)" and maps_computation.extended("a", "c") == "a (c)"
