"""Lines, references and atomic percent as computations in a real Swift: right, draggable, told in a sentence if not."""

from __future__ import annotations

import mapping
import numpy
import pytest
import scipy.special
from mapping import computation_of, inspect_nothing, knowing_maps, notifications, select, set_counts, settle
from nion.swift.model import DataItem, Graphics, Symbolic
from nion.utils import Geometry

from nionswift_plugin.udvd_live import composition, fit_menu, line_maps, map_view, maps_computation, uncertainties
from nionswift_plugin.udvd_live.scan_errors import noise_of, scan_of
from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps import line_maps as core
from udvd_core.maps.composition import Factor, covariance_of
from udvd_core.maps.composition import composition as in_percent
from udvd_core.maps.covariance import DenoisedCovariance

SHAPE, ENERGY = (10, 12), Axis(128, 100.0, 1.0, "eV", "E")
SHIFT = numpy.where(numpy.arange(12) < 6, -1.0, 1.0) * numpy.ones(SHAPE)


@pytest.fixture
def swift(bare_swift, monkeypatch):
    """An empty Swift that knows maps, also those by fits, and `busy` as long as it computes one."""
    with knowing_maps(bare_swift, monkeypatch):
        fit_menu.register()
        yield bare_swift
        inspect_nothing(bare_swift)
        fit_menu.unregister()


@pytest.fixture
def told():
    """What the operator was told."""
    with notifications() as texts:
        yield texts


def line(place, fwhm=6.0):
    scale = fwhm / 2.3548
    away = ENERGY.values() - numpy.asarray(place)[..., None]
    return scipy.special.ndtr((away + 0.5) / scale) - scipy.special.ndtr((away - 0.5) / scale)


def two_lines(seed=0, strength=900.0):
    """Lines at 150 and 170 eV that shift by 2 eV from left to right, twice as many counts in the first."""
    expected = 12 + strength * line(150 + SHIFT) + 0.5 * strength * line(170 + SHIFT)
    return numpy.random.default_rng(seed).poisson(expected).astype(numpy.float32)


def add_scan(swift, data=None, metadata=None, title="Scan EELS 1", units="eV"):
    return mapping.add_scan(swift, two_lines() if data is None else data, metadata, title, (100.0, 1.0, units))


def made(swift, action, *selected):
    select(swift, *selected)
    items = action(swift.document_controller)
    settle(swift)
    return items


def sigma_of(swift, item):
    return map_view.sigma_of(item, swift.document_model.data_items)


def window_of(swift, item):
    return computation_of(swift, item).get_input("window")


def put_window(swift, item, low, high):
    window_of(swift, item).interval = ((low - 100) / 128, (high - 100) / 128)
    settle(swift)


def mark(swift, item, label, rows, columns, size=SHAPE, kind=Graphics.RectangleGraphic):
    region = kind()
    region.bounds = Geometry.FloatRect.from_tlbr(
        rows[0] / size[0], columns[0] / size[1], rows[1] / size[0], columns[1] / size[1]
    )
    region.label = label
    swift.document_model.get_display_item_for_data_item(item).add_graphic(region)
    return region


def in_core(scan, low, high, known=True):
    part, near = core.surroundings(ENERGY, (low, high))
    noise = noise_of(scan, scan_of(scan)[0]) if known else None
    spectra = numpy.asarray(scan.data[...]).reshape(-1, 128)[:, part]
    return core.line_maps(spectra, near, (low, high), noise)


# lines


def test_position_and_width_are_those_of_the_library(swift):
    scan = add_scan(swift)
    position, width = made(swift, fit_menu.map_line, scan)
    assert computation_of(swift, position).error_text is None, "a window to begin with is found"
    put_window(swift, position, 138, 161)
    for item, expected in zip((position, width), in_core(scan, 138, 161), strict=True):
        numpy.testing.assert_allclose(item.data[...].ravel(), expected.values, rtol=1e-5)
        numpy.testing.assert_allclose(sigma_of(swift, item).ravel(), expected.sigma, rtol=1e-4)
        assert item.intensity_calibration.units == "eV" and item.metadata["udvd"]["independent"]
        assert list(item.dimensional_calibrations) == list(scan.dimensional_calibrations[:2])
    numpy.testing.assert_allclose(position.data[...], 150 + SHIFT, atol=1.0)
    assert width.data[...].mean() == pytest.approx(6.0, rel=0.05)
    assert position.title == "Scan EELS 1 (Line position, Raw)" and "by the same amount" in position.caption
    assert "not" not in position.metadata["udvd"]["sigma"]
    window_of(swift, position).label = "B K"
    settle(swift)
    assert width.title == "Scan EELS 1 (B K width, Raw)"


def test_a_dragged_window_and_new_data_make_the_map_again(swift):
    scan = add_scan(swift)
    position, _ = made(swift, fit_menu.map_line, scan)
    put_window(swift, position, 160, 182)
    numpy.testing.assert_allclose(position.data[...], 170 + SHIFT, atol=2.0)
    set_counts(scan, two_lines(seed=4))
    settle(swift)
    numpy.testing.assert_allclose(position.data[...].ravel(), in_core(scan, 160, 182)[0].values, rtol=1e-5)
    before = position.data[...].copy()
    computation_of(swift, position).set_input_value("step", True)
    settle(swift)
    assert not numpy.array_equal(position.data[...], before) and abs(position.data[...] - before).max() < 1.5


def test_a_denoised_scan_has_the_sigma_that_was_kept_with_it(swift):
    denoised = add_scan(swift, two_lines(), {"udvd": {"kind": "denoised"}}, "Scan EELS 1 (Denoised)")
    uncertainties.keep([denoised], mapping.some_uncertainty().packed())
    mark(swift, denoised, "left", (0, 10), (0, 6))
    mark(swift, denoised, "right", (0, 10), (6, 12))
    position, _ = made(swift, fit_menu.map_line, denoised)
    put_window(swift, position, 138, 161)
    known = Uncertainty.unpacked(mapping.some_uncertainty().packed())
    errors = DenoisedCovariance(known, numpy.arange(120))
    expected = core.line_maps(denoised.data[...].reshape(-1, 128), ENERGY, (138.0, 161.0), errors)[0]
    numpy.testing.assert_allclose(sigma_of(swift, position).ravel(), expected.sigma, rtol=0.02)
    assert position.metadata["udvd"]["sigma"] == "what denoising left of errors"
    assert "Of denoised spectra sigma tells how far positions differ" in position.caption
    assert not position.metadata["udvd"]["independent"]
    references = made(swift, fit_menu.map_references, denoised)
    assert all(numpy.isfinite(sigma_of(swift, each)).all() for each in references)


def test_sigma_of_a_denoised_scan_is_not_known_without_it_and_no_line_has_no_position(swift):
    data = two_lines()
    data[:2] = numpy.random.default_rng(3).poisson(12.0, data[:2].shape)
    denoised = add_scan(swift, data, {"udvd": {"kind": "denoised"}}, "Scan EELS 1 (Denoised)")
    position, _ = made(swift, fit_menu.map_line, denoised)
    put_window(swift, position, 138, 161)
    sigma = sigma_of(swift, position)
    assert numpy.isnan(sigma[2:]).all() and numpy.isinf(sigma[:2]).mean() > 0.9
    assert position.title == "Scan EELS 1 (Line position, Denoised)"
    shift = made(swift, fit_menu.map_shift, position)[0]
    numpy.testing.assert_allclose(shift.data[2:], SHIFT[2:], atol=1.2)
    assert (shift.data[:2][numpy.isinf(sigma[:2])] == 0).all()


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [((120, 140), "stands out of the sum"), ((149, 152), "choose another window"), ((150, 150), "covers no channel")],
)
def test_a_window_without_a_line_gives_a_sentence_and_a_good_one_mends_it(swift, ends, sentence):
    position, _ = made(swift, fit_menu.map_line, add_scan(swift))
    put_window(swift, position, *ends)
    computation = computation_of(swift, position)
    swift.pump_until(lambda: computation.error_text, 10)
    assert sentence in computation.error_text
    put_window(swift, position, 138, 161)
    assert computation.error_text is None


def test_a_shift_is_counted_from_marked_regions(swift):
    position, width = made(swift, fit_menu.map_line, add_scan(swift))
    put_window(swift, position, 138, 161)
    region = mark(swift, position, "left", (0, 10), (0, 6))
    (shift,) = made(swift, fit_menu.map_shift, position)
    mask = numpy.arange(12) < 6
    values, sigma = core.shift_map(position.data[...], sigma_of(swift, position), mask & numpy.ones(SHAPE, bool))
    numpy.testing.assert_allclose(shift.data[...], values, atol=1e-4)
    numpy.testing.assert_allclose(sigma_of(swift, shift), sigma, rtol=1e-4)
    assert shift.title == "Scan EELS 1 (Line shift, Raw)" and "left" in shift.caption
    region.bounds = Geometry.FloatRect.from_tlbr(0, 0.5, 1, 1)
    settle(swift)
    assert shift.data[:, 6:].mean() == pytest.approx(0, abs=0.05) and shift.data[:, :6].mean() < -1.8


def test_a_ratio_of_two_lines(swift):
    scan = add_scan(swift)
    (ratio,) = made(swift, fit_menu.map_ratio, scan)
    computation = computation_of(swift, ratio)
    for name, place, label in (("line_1", 150, "A"), ("line_2", 170, "B")):
        channel = computation.get_input(name)
        channel.position, channel.label = (place - 100) / 128, label
    put_window(swift, ratio, 135, 185)
    part, near = core.surroundings(ENERGY, (135.0, 185.0))
    spectra = scan.data[...].reshape(-1, 128)[:, part]
    found = core.ratio_map(spectra, near, (135.0, 185.0), (150.0, 170.0), noise_of(scan, scan_of(scan)[0]))
    numpy.testing.assert_allclose(ratio.data[...].ravel(), found.values, rtol=1e-4)
    numpy.testing.assert_allclose(sigma_of(swift, ratio).ravel(), found.sigma, rtol=1e-4)
    assert ratio.data[...].mean() == pytest.approx(2.0, rel=0.05) and ratio.intensity_calibration.units == ""
    assert ratio.title == "Scan EELS 1 (A by B, Raw)" and "near 150 eV" in ratio.caption
    computation.get_input("line_2").position = 50 / 128
    swift.pump_until(lambda: computation.error_text, 10)
    assert "want two, some channels apart" in computation.error_text


# references


def test_references_are_regions_of_the_scan(swift, told):
    data = two_lines()
    data[5:] = numpy.random.default_rng(1).poisson(40.0, data[5:].shape)
    scan = add_scan(swift, data)
    select(swift, scan)
    fit_menu.guarded(fit_menu.map_references, swift.document_controller)
    assert told[-1].endswith("0 are marked.") and len(swift.data_items) == 1
    mark(swift, scan, "lines", (0, 5), (0, 12))
    flat = mark(swift, scan, "", (5, 10), (0, 12))
    lines, background = made(swift, fit_menu.map_references, scan)
    assert computation_of(swift, lines).error_text is None
    assert lines.title == "Scan EELS 1 (lines, Raw)" and map_view.name_of(background) == "Region 2"
    assert lines.data[:5].mean() == pytest.approx(1, abs=0.05) and abs(lines.data[5:]).mean() < 0.05
    assert background.data[5:].mean() == pytest.approx(1, abs=0.05)
    assert numpy.isfinite(sigma_of(swift, lines)).all() and lines.intensity_calibration.units == "ref."
    assert "60 positions, whose error is in sigma" in lines.caption
    assert not lines.metadata["udvd"]["independent"], "all positions share the error of the references"
    flat.bounds = Geometry.FloatRect.from_tlbr(0, 0, 0.5, 1)  # the same as the first
    computation = computation_of(swift, lines)
    swift.pump_until(lambda: computation.error_text, 10)
    assert "too alike to be told apart" in computation.error_text


# composition


def edge_map(swift, scan, name, values, sigma, signal=(190.0, 230.0), preset=None):
    """A map of an edge with its sigma, as the computation of maps leaves them."""
    items = []
    for kind, data in ((maps_computation.SIGMA, sigma), (maps_computation.MAP, values)):
        item = DataItem.DataItem(numpy.full(SHAPE, data, numpy.float32) if numpy.isscalar(data) else data)
        item.title = f"Scan EELS 1 ({name}, Raw)"
        ours = {"kind": kind, "map": {"name": name, "signal": list(signal)}, "computation": name, "independent": True}
        item.metadata = {"udvd": {**ours, "source_uuid": str(scan.uuid), "preset": preset or {}}}
        swift.document_model.append_data_item(item)
        items.append(item)
    return items[1]


def two_maps(swift, scan):
    boron = numpy.random.default_rng(1).normal(4000, 50, SHAPE).astype(numpy.float32)
    return [edge_map(swift, scan, "B K", boron, 50.0), edge_map(swift, scan, "N K", 900.0, 30.0, (401.0, 441.0))]


def test_atomic_percent_by_given_factors(swift, monkeypatch):
    maps = two_maps(swift, add_scan(swift))
    asked = []
    monkeypatch.setattr(
        fit_menu, "Asking", lambda window, caption, text, accepted, accept: asked.append((caption, text, accepted))
    )
    select(swift, *maps)
    fit_menu.guarded(fit_menu.map_composition, swift.document_controller)
    ((caption, text, accepted),) = asked
    assert text == "B K = 1, N K = 1" and "60 keV, 30, 40 mrad" in caption
    accepted("B K = 1, N K = 4 +- 0.2")
    settle(swift)
    boron, nitrogen = (swift.find(f"({name} percent, ")[-1] for name in ("B K", "N K"))
    found = next(each for each in swift.find("(N K percent, ") if map_view.is_map(each))
    counts = numpy.stack([item.data[...] for item in maps])
    factors = (Factor("B K", 1.0), Factor("N K", 4.0, 0.2))
    errors = covariance_of(numpy.stack([numpy.full(SHAPE, 50.0), numpy.full(SHAPE, 30.0)]), ("B K", "N K"))
    expected = in_percent(counts.astype(float), errors, factors)
    numpy.testing.assert_allclose(found.data[...], expected.values[1], rtol=1e-5)
    numpy.testing.assert_allclose(sigma_of(swift, found), expected.total()[1], rtol=1e-4)
    assert found.intensity_calibration.units == "at.%" and not found.metadata["udvd"]["independent"]
    assert found.caption == "k-factors: B K 1 \u00b1 0, N K 4 \u00b1 0.2." and boron is not nitrogen
    computation_of(swift, found).set_input_value("k_2", -1.0)
    computation = computation_of(swift, found)
    swift.pump_until(lambda: computation.error_text, 10)
    assert "want a number above 0" in computation.error_text


def test_cross_sections_are_those_of_nion(swift):
    instrument = {"high_tension": 60000, "convergence_angle": 0.03, "collection_angle": 0.04}
    scan = add_scan(swift, metadata={"instrument": instrument})
    maps = two_maps(swift, scan)
    beam = composition.beam_of(scan)
    assert str(beam) == "60 keV, 30, 40 mrad" and composition.beam_of(None) is None
    assert composition.beam_of(add_scan(swift, metadata={"instrument": {"high_tension": 60000}})) is None
    from nion.eels_analysis.EELS_CrossSections import partial_cross_section_nm2

    arguments = (60e3, 0.03, 0.04)
    boron = partial_cross_section_nm2(5, 1, 1, 188, 42, *arguments) - partial_cross_section_nm2(
        5, 1, 1, 188, 2, *arguments
    )
    assert composition.cross_section_nm2(maps[0], beam) == pytest.approx(boron)
    one, two = composition.proposed(maps, beam)
    assert one == Factor("B K", 1.0) and 2 < two.value < 8, "the lighter element scatters more"
    assert composition.parse_factors("60 keV, 30, 40 mrad", maps) == [one, two]
    late = edge_map(swift, scan, "Ti-L3", 1.0, 1.0, (456.0, 480.0))
    unnamed = edge_map(swift, scan, "Signal", 1.0, 1.0)
    assert composition.cross_section_nm2(late, beam) is None and composition.proposed([maps[0], unnamed], beam) is None
    for text, sentence in (
        ("60 keV, 30, 40 mrad", "only for K edges"),
        ("0 keV, 30, 40 mrad", "above 0"),
        ("B K = 1", "want one for each of B K, Ti-L3"),
        ("nonsense", "want a map's name and a number"),
    ):
        with pytest.raises(InputError, match=sentence):
            composition.parse_factors(text, [maps[0], late])


def test_what_was_taken_off_is_in_the_error(swift):
    scan = add_scan(swift)
    lines = [{"major": "Ce M45", "overlap": "Gd M45", "ratio": 2.0, "sigma": 0.0}]
    maps = [
        edge_map(swift, scan, "Ce M45", 1000.0, 60.0),
        edge_map(swift, scan, "Gd M45", 500.0, 50.0, preset={"lines": lines}),
    ]
    select(swift, *maps)
    percent = fit_menu.compose(swift.document_controller, maps, "Ce M45 = 1, Gd M45 = 1")
    settle(swift)
    alone = in_percent(
        numpy.array([[1000.0], [500.0]]),
        covariance_of(numpy.array([[60.0], [50.0]]), ("Ce M45", "Gd M45")),
        (Factor("a", 1.0), Factor("b", 1.0)),
    )
    assert sigma_of(swift, percent[1]).mean() > 1.1 * alone.sigma[1, 0]
    assert "exact" in percent[0].caption


# the menu


def test_what_does_not_fit_says_what_to_select(swift, told):
    scan = add_scan(swift)
    channels = add_scan(swift, units="")
    maps = two_maps(swift, scan)
    for selection, action, sentence in [
        ((), fit_menu.map_line, "Select one spectrum image"),
        ((channels,), fit_menu.map_line, "calibrate its last axis in eV"),
        ((maps[0],), fit_menu.map_ratio, "Select one spectrum image"),
        ((maps[0],), fit_menu.map_shift, "Select one map of a line's position"),
        ((), fit_menu.map_references, "Select one spectrum image"),
        ((maps[0],), fit_menu.map_composition, "Select two or three maps"),
        ((), fit_menu.map_composition, "Select two or three maps"),
    ]:
        select(swift, *selection)
        fit_menu.guarded(action, swift.document_controller)
        assert sentence in told[-1], action
    assert len(told) == 7 and not swift.document_model.computations


def test_everything_can_be_deleted(swift):
    scan = add_scan(swift)
    mark(swift, scan, "a", (0, 5), (0, 12))
    mark(swift, scan, "b", (5, 10), (0, 6))
    position, _ = made(swift, fit_menu.map_line, scan)
    region = mark(swift, position, "left", (0, 10), (0, 6))
    made(swift, fit_menu.map_shift, position)
    made(swift, fit_menu.map_ratio, scan)
    made(swift, fit_menu.map_references, scan)
    maps = two_maps(swift, scan)
    fit_menu.compose(swift.document_controller, maps, "B K = 1, N K = 1")
    settle(swift)
    inspect_nothing(swift)
    swift.document_model.get_display_item_for_data_item(position).remove_graphic(region)
    settle(swift)
    swift.document_model.remove_data_item(maps[0])
    settle(swift)
    assert not swift.find(" percent, ")
    swift.document_model.remove_data_item(scan)
    settle(swift)
    assert not swift.document_model.computations and not swift.find("position")


def test_the_menu_and_computations_come_and_go(bare_swift):
    entries = []

    class Window:
        def get_or_create_menu(self, *names):
            return self

        def add_menu_item(self, title, action):
            entries.append(title)

        def add_separator(self):
            entries.append("-")

    fit_menu.build_menu(object())
    fit_menu.build_menu(Window())
    assert entries == [*(title for title, _ in fit_menu.ENTRIES), "-"]
    names = {line_maps.LINE_ID, line_maps.RATIO_ID, line_maps.SHIFT_ID, "udvd.references", "udvd.composition"}
    fit_menu.register()
    assert names <= set(Symbolic._computation_types)
    fit_menu.unregister()
    assert not names & set(Symbolic._computation_types)
