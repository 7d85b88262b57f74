"""What is made of maps in a real Swift: pictures with their significance, and averages with their errors."""

from __future__ import annotations

import math

import numpy
import pytest
from mapping import (
    DENOISED,
    EDGE,
    LATE,
    ON,
    SHAPE,
    add_scan,
    computation_of,
    inspect_nothing,
    knowing_maps,
    mapped,
    select,
    settle,
    sigma_item,
    some_uncertainty,
)
from nion.swift.model import DataItem, Graphics
from nion.utils import Geometry

from nionswift_plugin.udvd_live import averages, map_menu, map_view, uncertainties
from udvd_core.errors import InputError


@pytest.fixture
def swift(bare_swift, monkeypatch):
    """An empty Swift that knows the maps, and `busy` as long as it computes one."""
    with knowing_maps(bare_swift, monkeypatch):
        yield bare_swift


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
