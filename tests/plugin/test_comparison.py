"""Raw beside denoised in a real Swift: linked points, the plot, difference in sigma, the same intensity scale."""

from __future__ import annotations

import h5py
import numpy
import pairs
import pytest
from nion.swift.model import DataItem, Graphics

from nionswift_plugin.udvd_live import comparison, difference, evidence_menu
from nionswift_plugin.udvd_live.pairs import made_of, pair_of
from udvd_core.errors import InputError
from udvd_core.noise import NoiseModel


@pytest.fixture
def swift(bare_swift, tmp_path, monkeypatch):
    """An empty Swift with the menu entries."""
    monkeypatch.setenv("UDVD_SETTINGS", str(tmp_path / "settings.json"))
    evidence_menu.register()
    yield bare_swift
    pairs.select(bare_swift)
    bare_swift.pump(0.1)
    evidence_menu.unregister()


def shown(swift, item):
    return swift.document_model.get_display_item_for_data_item(item)


def points(swift, item):
    return [each for each in shown(swift, item).graphics if isinstance(each, Graphics.PointGraphic)]


def compared(swift, pair):
    pairs.select(swift, pair.denoised)
    plot = evidence_menu.compare_with_raw(swift.document_controller, swift.document_controller.selected_display_items)
    pairs.computed(swift, plot)
    return plot


# pairs


def test_a_pair_is_found_from_either_and_from_what_was_made_of_it(swift):
    pair = pairs.add_pair(swift)
    plot = compared(swift, pair)
    model = swift.document_model
    assert {pair_of(item, model) for item in (*pair, plot)} == {pair}
    newer = pairs.add_scan(swift, pairs.truth(), "Scan 1 (Denoised)", pairs.denoised_of(pair.raw))
    assert pair_of(pair.raw, model).denoised is newer and pair_of(plot, model) == pair
    assert made_of(pair, model) == [plot]


def test_what_has_no_partner_is_said(swift):
    pair = pairs.add_pair(swift)
    alone = pairs.add_scan(swift, pairs.truth(), "Alone")
    with pytest.raises(InputError, match="'Alone' has no denoised item"):
        pair_of(alone, swift.document_model)
    swift.document_model.remove_data_item(pair.raw)
    with pytest.raises(InputError, match="raw scan of 'Scan 1 .Denoised.' is no longer"):
        pair_of(pair.denoised, swift.document_model)


# comparison


@pytest.mark.parametrize("large", [False, True])
def test_the_plot_holds_both_spectra_sigma_and_the_mean_of_raw(swift, large):
    pair = pairs.add_pair(swift, large_format=large)
    assert isinstance(pair.raw.data, h5py.Dataset) is large
    known = pairs.keep_errors(pair.denoised)
    plot = compared(swift, pair)
    raw, denoised = (numpy.asarray(item.data[...]) for item in pair)
    rows = plot.data[...]
    sigma = known.sigma(numpy.array([4 * 6 + 3]))[0]
    numpy.testing.assert_array_equal(rows[comparison.RAW], raw[4, 3])
    numpy.testing.assert_array_equal(rows[comparison.DENOISED], denoised[4, 3])
    numpy.testing.assert_allclose(rows[comparison.HIGH] - rows[comparison.DENOISED], sigma, rtol=1e-4)
    numpy.testing.assert_allclose(rows[comparison.DENOISED] - rows[comparison.LOW], sigma, rtol=1e-4)
    numpy.testing.assert_allclose(rows[comparison.MEAN], raw[2:7, 1:6].mean((0, 1)), rtol=1e-5)
    assert plot.caption == "Row 4, column 3. Mean of 25 raw frames, rows 2 to 6, columns 1 to 5."
    assert plot.title == "Scan 1 (Compared with Raw, Denoised)"
    assert plot.dimensional_calibrations[-1].units == "eV"
    layers = [layer.label for layer in shown(swift, plot).display_layers]
    assert layers == ["Denoised", "+ sigma", "\N{MINUS SIGN} sigma", "Raw, mean around", "Raw"]


def test_sigma_that_is_not_known_is_said(swift):
    plot = compared(swift, pairs.add_pair(swift))
    assert numpy.isnan(plot.data[comparison.HIGH]).all() and numpy.isfinite(plot.data[comparison.DENOISED]).all()
    assert "Sigma is not known" in plot.caption


def test_moving_either_point_moves_the_other_and_the_spectra(swift):
    pair = pairs.add_pair(swift)
    plot = compared(swift, pair)
    (on_raw,), (on_denoised,) = (points(swift, item) for item in pair)
    for moved, other, position, (y, x) in (
        (on_raw, on_denoised, (0.99, 0.01), (7, 0)),
        (on_denoised, on_raw, (0.1, 0.6), (0, 3)),
    ):
        moved.position = position
        swift.pump_until(lambda at=[y, x]: plot.metadata["udvd"]["position"] == at, 10)
        assert tuple(other.position) == position
        numpy.testing.assert_array_equal(plot.data[comparison.RAW], pair.raw.data[y, x])


def test_points_outside_are_the_nearest_position_and_any_number_of_neighbours_works(swift):
    pair = pairs.add_pair(swift)
    raw = pair.raw.data[...]
    for point, count, (y, x), (rows, columns) in (
        ((1.4, -0.2), 9, (7, 0), (slice(5, 8), slice(0, 3))),
        ((0.5, 0.5), 1, (4, 3), (slice(4, 5), slice(3, 4))),
        ((0.5, 0.5), 0, (4, 3), (slice(4, 5), slice(3, 4))),
        ((0.5, 0.5), 1000, (4, 3), (slice(0, 8), slice(0, 6))),
    ):
        result, facts = comparison.compare(pair, point, count)
        assert facts["position"] == [y, x]
        numpy.testing.assert_array_equal(result[comparison.RAW], raw[y, x])
        numpy.testing.assert_allclose(result[comparison.MEAN], raw[rows, columns].mean((0, 1)), rtol=1e-5)


def test_frames_are_summed_over_q_and_have_no_point_on_the_raw_item(swift):
    pair = pairs.add_pair(swift, frames=True)
    plot = compared(swift, pair)
    numpy.testing.assert_allclose(plot.data[comparison.RAW], pair.raw.data[4, 3].sum(0))
    assert not points(swift, pair.raw) and len(points(swift, pair.denoised)) == 1


def test_deleting_the_plot_takes_the_points_and_nothing_else(swift):
    pair = pairs.add_pair(swift)
    plot = compared(swift, pair)
    pairs.select(swift)
    swift.pump(0.1)
    swift.document_model.remove_data_item(plot)
    swift.pump(0.1)
    assert not points(swift, pair.raw) and not points(swift, pair.denoised)
    assert set(swift.data_items) == set(pair) and not swift.document_model.connections


def test_what_does_not_fit_is_refused_before_anything_is_made(swift):
    pair = pairs.add_pair(swift)
    smaller = pairs.add_scan(swift, pairs.truth()[:4], "Small (Denoised)", pairs.denoised_of(pair.raw))
    with pytest.raises(InputError, match="want the same positions"):
        comparison.create_comparison(swift.document_model, pair._replace(denoised=smaller))
    assert len(swift.data_items) == 3 and not swift.document_model.computations


def test_the_menu_says_what_to_select(swift):
    told = []
    listener = pairs.listen(told)
    swift.document_model.append_data_item(other := DataItem.DataItem(numpy.zeros((4, 4))))
    pairs.select(swift, other)
    for _title, action in evidence_menu.ENTRIES:
        evidence_menu.guarded(lambda window, act=action: evidence_menu._act(act, window), swift.document_controller)
    assert len(told) == len(evidence_menu.ENTRIES) and all(text.endswith((".", "first")) for text in told)
    assert listener is not None


# difference


def differences(swift, pair, *windows):
    made = difference.create_differences(swift.document_model, pair, windows)
    pairs.computed(swift, *made)
    return made


def test_the_difference_of_right_results_is_noise_of_one_sigma(swift):
    pair = pairs.add_pair(swift)
    total, spectra = differences(swift, pair)
    raw, denoised = (numpy.asarray(item.data[...], float) for item in pair)
    noise = difference._noise(pair)
    variance = noise.gain * denoised.sum(-1) + 64 * noise.read_variance
    expected = (raw - denoised).sum(-1) / numpy.sqrt(noise.window_factor(64) * variance)
    numpy.testing.assert_allclose(total.data[...], expected, rtol=1e-4, atol=1e-5)
    assert 0.9 < spectra.data[...].std() < 1.1 and spectra.data_shape == (8, 6, 64)
    assert total.intensity_calibration.units == spectra.intensity_calibration.units == "sigma"
    assert spectra.dimensional_calibrations[-1].units == "eV" and "all channels" in total.caption


def test_what_was_smoothed_away_stands_out(swift):
    pair = pairs.add_pair(swift)
    wrong = pairs.truth().copy()
    wrong[2, 2, 30:40] *= 0.5
    pair = pair._replace(denoised=pairs.add_scan(swift, wrong, "Wrong", pairs.denoised_of(pair.raw)))
    values = difference.summed_difference(pair, slice(30, 40))
    assert numpy.unravel_index(values.argmax(), values.shape) == (2, 2) and values[2, 2] > 6


def test_the_window_is_an_interval_that_can_be_dragged(swift):
    pair = pairs.add_pair(swift)
    plot = compared(swift, pair)
    window = Graphics.IntervalGraphic()
    window.interval, window.label = (10 / 64, 20 / 64), "Edge"
    shown(swift, plot).add_graphic(window)
    shown(swift, plot).graphic_selection.set(0)
    pairs.select(swift, plot)
    (item,) = evidence_menu.difference_in_sigma(
        swift.document_controller, swift.document_controller.selected_display_items
    )
    pairs.computed(swift, item)
    numpy.testing.assert_allclose(item.data, difference.summed_difference(pair, slice(10, 20)), rtol=1e-4, atol=1e-5)
    assert "110 to 120 eV" in item.caption and item.title == "Scan 1 (Difference in Sigma, Edge, Denoised)"
    window.interval = (30 / 64, 50 / 64)
    swift.pump_until(lambda: "130 to 150 eV" in item.caption, 10)
    numpy.testing.assert_allclose(item.data, difference.summed_difference(pair, slice(30, 50)), rtol=1e-4, atol=1e-5)


def test_large_scans_have_no_difference_of_every_channel(swift, monkeypatch):
    monkeypatch.setattr(difference, "LARGEST_SPECTRA", 1000)
    assert len(differences(swift, pairs.add_pair(swift))) == 1


def test_blocks_change_nothing(swift, monkeypatch):
    pair = pairs.add_pair(swift)
    monkeypatch.setattr(difference, "noise_of", lambda raw, layout: NoiseModel(1.1, 0.5, (0.1,)))
    whole = difference.summed_difference(pair, slice(5, 60))
    monkeypatch.setattr("nionswift_plugin.udvd_live.scan_errors.BLOCK_BYTES", 4 * 64 * 7)
    numpy.testing.assert_allclose(difference.summed_difference(pair, slice(5, 60)), whole)


# intensity scale


def limits(swift, *items):
    return [shown(swift, item).display_data_channels[0].display_limits for item in items]


def test_the_same_scale_and_back(swift):
    pair = pairs.add_pair(swift)
    window = swift.document_controller
    shown(swift, pair.raw).display_data_channels[0].slice_interval = (0.5, 0.75)
    pairs.select(swift, *pair)
    before = [item.data[...].copy() for item in pair]
    first = window.selected_display_items[0].data_item
    evidence_menu.same_intensity_scale(window, window.selected_display_items)
    swift.pump_until(lambda: limits(swift, *pair)[0] != (None, None) and limits(swift, *pair)[0] is not None, 10)
    channels = slice(32, 48) if first is pair.raw else slice(0, 1)
    sums = [data[..., channels].sum(-1) for data in before]
    for low, high in limits(swift, *pair):
        assert low == pytest.approx(min(each.min() for each in sums), rel=1e-5)
        assert high == pytest.approx(max(each.max() for each in sums), rel=1e-5)
    evidence_menu.same_intensity_scale(window, window.selected_display_items)
    assert limits(swift, *pair) in ([None, None], [(None, None)] * 2)
    assert all(numpy.array_equal(item.data[...], old) for item, old in zip(pair, before, strict=True))


def test_different_units_have_no_common_scale(swift):
    one, two = (pairs.add_scan(swift, pairs.truth(), unit, units=unit) for unit in ("counts", "sigma"))
    with pytest.raises(InputError, match="are in counts and sigma"):
        evidence_menu.same_intensity_scale(swift.document_controller, [shown(swift, one), shown(swift, two)])
    with pytest.raises(InputError, match="two or more"):
        evidence_menu.same_intensity_scale(swift.document_controller, [shown(swift, one)])


# menus


class Menu:
    def __init__(self):
        self.titles = []

    def add_separator(self):
        self.titles.append("-")

    def add_menu_item(self, title, act, **more):
        self.titles.append(title)
        self.act = act
        return self

    add_sub_menu = add_menu_item


def context_titles(swift, *items):
    window, menu = swift.document_controller, Menu()
    context = window._get_action_context_for_display_items([shown(swift, item) for item in items], None)
    evidence_menu._populate(window, lambda menu, context: menu.add_menu_item("Swift's", None), menu, context)
    return menu.titles


def test_the_context_menu_has_what_applies(swift):
    pair = pairs.add_pair(swift)
    every = [title for title, _action in evidence_menu.ENTRIES]
    assert context_titles(swift, pair.denoised) == ["Swift's", "-", *(t for t in every if "Scale" not in t)]
    assert context_titles(swift, *pair) == ["Swift's", "-", "Same Intensity Scale"]
    assert context_titles(swift, pair.raw) == ["Swift's", "-", "Denoise Spectrum Image..."]
