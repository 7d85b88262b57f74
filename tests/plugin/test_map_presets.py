"""Presets in a real Swift: phonons that follow the zero-loss peak, lines taken off, presets of an operator's own."""

from __future__ import annotations

import numpy
import pytest
from mapping import (
    DENOISED,
    EDGE,
    LATE,
    SHAPE,
    add_scan,
    computation_of,
    knowing_maps,
    mapped,
    notifications,
    select,
    settle,
    sigma_item,
    signal_of,
)

from nionswift_plugin.udvd_live import map_menu, uncertainties
from nionswift_plugin.udvd_live.map_choices import choices
from nionswift_plugin.udvd_live.map_presets import saved_names
from nionswift_plugin.udvd_live.scan_errors import noise_of, scan_of
from udvd_core.axes import Axis
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.covariance import DenoisedCovariance
from udvd_core.maps.preset_maps import preset_maps
from udvd_core.maps.presets import BUILT_IN, Lines, Preset, read_presets
from udvd_core.settings import MapWindow
from udvd_core.simulate.shapes import peak, tail

COUNT = SHAPE[0] * SHAPE[1]
LOSS = Axis(512, -0.1, 0.001, "eV", "E")
PHONONS = BUILT_IN[2]
HEAVY = Axis(512, 790.0, 1.0, "eV", "E")


@pytest.fixture
def swift(bare_swift, monkeypatch, tmp_path):
    """An empty Swift that knows the maps, and saves presets in a folder of the test's own."""
    monkeypatch.setattr(map_menu, "folder_of", lambda window: tmp_path / "configuration")
    with knowing_maps(bare_swift, monkeypatch):
        yield bare_swift


@pytest.fixture
def told():
    """What the operator was told."""
    with notifications() as texts:
        yield texts


def phonon_counts():
    """Spectra that drift by 2 meV, with a band at 170 meV in the right half of the scan."""
    rng = numpy.random.default_rng(3)
    loss = LOSS.values() - rng.normal(0.0, 0.002, (*SHAPE, 1))
    band = 0.05 * (numpy.arange(SHAPE[1]) >= 5)[:, None] * peak(loss, 0.170, 0.03)
    expected = 20000 * LOSS.scale * (0.9 * peak(loss, 0.0, 0.017) + 0.1 * tail(loss, 0.017) + band)
    return rng.poisson(expected).astype(numpy.float32)


def heavy_counts():
    values = HEAVY.values()
    cerium = 40 * ((values > 883) & (values < 950)) + 5 * ((values > 1180) & (values < 1240))
    expected = numpy.broadcast_to(40 * (values / 800) ** -3 + cerium, (*SHAPE, 512))
    return numpy.random.default_rng(4).poisson(expected).astype(numpy.float32)


def add_phonons(swift, **more):
    return add_scan(swift, phonon_counts(), title="Scan EELS 2", energy=(-0.1, 0.001, "eV"), **more)


def offered(energy, preset):
    (found,) = (each for each in choices(energy, BUILT_IN) if each.preset.name == preset.name)
    return found


def made_of(swift, scan, preset):
    select(swift, scan)
    made = map_menu.map_selected(swift.document_controller, offered(scan_of(scan)[1], preset))
    settle(swift)
    return {item.metadata["udvd"]["map"]["name"]: item for item in made}


def check(swift, scan, made, preset, errors):
    """Items are what the library makes of the scan."""
    energy = scan_of(scan)[1]
    values, sigma = preset_maps(scan.data[...].reshape(COUNT, -1), energy, preset, errors)
    for window, value, error in zip(preset.maps, values, sigma, strict=True):
        item = made[window.name]
        numpy.testing.assert_allclose(item.data[...].ravel(), value, rtol=1e-4, atol=1e-2)
        numpy.testing.assert_allclose(sigma_item(swift, item).data[...].ravel(), error, rtol=1e-4)
        assert computation_of(swift, item).error_text is None


def test_phonons_are_offered_in_mev_where_the_axis_holds_them():
    dash = "\N{EN DASH}"
    title = "h-BN phonons (meV): TA 50-90, LA 120-140, TO-LO 140-200, zero loss"
    assert offered(LOSS, PHONONS).title.replace(dash, "-") == title
    for axis in (Axis(512, 0.02, 0.001, "eV"), Axis(300, -0.1, 0.001, "eV"), Axis(512, -20.0, 0.1, "eV")):
        assert not [each for each in choices(axis, BUILT_IN) if each.preset.tail]


def test_phonon_maps_follow_the_peak_and_their_windows(swift):
    scan = add_phonons(swift)
    made = made_of(swift, scan, PHONONS)
    noise = noise_of(scan, scan_of(scan)[0])
    check(swift, scan, made, PHONONS, noise)
    assert made["TO-LO"].title == "Scan EELS 2 (TO-LO, Raw)"
    assert made["TO-LO"].data[:, 5:].mean() > 500 > 10 * abs(made["TO-LO"].data[:, :5].mean())
    (pick,) = swift.find("(Pick)")
    display = swift.document_model.get_display_item_for_data_item(pick)
    labels = [each.label for each in display.graphics if each.graphic_id in ("signal", "fit")]
    assert set(labels) == {
        *("Tail 28 to 36 meV", "Tail 225 to 400 meV", "TA 50 to 90 meV", "LA 120 to 140 meV"),
        *("TO-LO 140 to 200 meV", "zero loss -17 to 17 meV"),
    }
    assert display.get_display_property("y_style") == "log" and len(labels) == 6

    signal = signal_of(swift, made["TO-LO"])
    signal.interval = ((0.150 + 0.1) / 0.512, (0.190 + 0.1) / 0.512)
    settle(swift)
    moved = Preset("h-BN phonons", (MapWindow("TO-LO", (0.150, 0.190)),), tail=PHONONS.tail)
    check(swift, scan, made, moved, noise)
    assert signal.label == "TO-LO 150 to 190 meV" and made["TO-LO"].title == "Scan EELS 2 (TO-LO, Raw)"
    saved = made["TO-LO"].metadata["udvd"]["preset"]
    assert saved["name"] == "h-BN phonons" and saved["tail"][1] == pytest.approx((0.225, 0.4))
    signal.interval = ((0.380 + 0.1) / 0.512, (0.390 + 0.1) / 0.512)
    computation = computation_of(swift, made["TO-LO"])
    swift.pump_until(lambda: computation.error_text, 10)
    assert "tail window 225 to 400 meV overlaps window 380 to 390 meV" in computation.error_text


def test_denoised_phonons_have_the_sigma_of_denoising(swift):
    scan = add_phonons(swift, metadata=DENOISED)
    rng = numpy.random.default_rng(1)
    known = Uncertainty(
        numpy.arange(COUNT),
        numpy.ones(COUNT),
        numpy.full(512, 3.0, numpy.float32),
        rng.normal(size=(2, 512)),
        numpy.full((COUNT, 2), (0.5, 0.2)),
        rng.normal(size=(COUNT, 2)) / COUNT**0.5,
        numpy.array([0.1, 0.3]),
    )
    uncertainties.keep([scan], known.packed())
    errors = DenoisedCovariance(Uncertainty.unpacked(known.packed()), numpy.arange(COUNT))
    check(swift, scan, made_of(swift, scan, PHONONS), PHONONS, errors)


def test_minor_lines_of_cerium_are_taken_off_gadolinium(swift):
    ceria = BUILT_IN[1]
    raw = add_scan(swift, heavy_counts(), title="Scan EELS 3", energy=(790.0, 1.0, "eV"))
    made = made_of(swift, raw, ceria)
    check(swift, raw, made, ceria, noise_of(raw, scan_of(raw)[0]))
    assert abs(made["Gd M45"].data[...].mean()) < 60 < 200 < made["Ce M45"].data[...].mean() / 10.3
    assert made["Ce M45"].metadata["udvd"]["independent"] and not made["Gd M45"].metadata["udvd"]["independent"]
    assert made["Gd M45"].metadata["udvd"]["preset"]["lines"][0]["ratio"] == 10.3
    select(swift, made["Gd M45"])
    average = map_menu.average_map(swift.document_controller)
    settle(swift)
    assert "of a ratio of lines" in average.caption
    computation_of(swift, made["Gd M45"]).set_input_value("ratio", 20.0)
    settle(swift)
    assert made["Gd M45"].data[...].mean() > 100

    metadata = {"udvd": {"kind": "denoised", "source_uuid": str(raw.uuid)}}
    denoised = add_scan(swift, heavy_counts(), metadata, "Scan EELS 3 (Denoised)", (790.0, 1.0, "eV"))
    select(swift, made_of(swift, denoised, ceria)["Gd M45"])
    (beside,) = map_menu.map_raw(swift.document_controller)  # its lines are taken off, too
    settle(swift)
    check(swift, raw, {**made, "Gd M45": beside}, ceria, noise_of(raw, scan_of(raw)[0]))


def test_windows_are_saved_as_dragged_and_offered_again(swift, told, monkeypatch):
    scan = add_scan(swift)
    made = mapped(swift, scan, EDGE, LATE)
    signal_of(swift, made[0]).interval = (52 / 128, 77 / 128)
    settle(swift)
    select(swift, *swift.find("(Pick)"))
    window = swift.document_controller
    saved = []
    monkeypatch.setattr(
        map_menu, "Asking", lambda window, caption, text, accepted, accept: saved.append((text, accepted))
    )
    map_menu.guarded(map_menu.save_windows, window)
    ((proposed, accepted),) = saved
    assert proposed == "test"
    accepted("  ")
    assert "want a name" in told[-1]
    accepted("flake")
    folder = map_menu.folder_of(window)
    assert told[-1] == "Preset 'flake' (Edge, Late) is saved; Map Denoised Signal... offers it."
    found = read_presets(folder)[0]["flake"]
    assert [each.name for each in found.maps] == ["Edge", "Late"]
    assert found.maps[0].signal == pytest.approx((152, 177)) and found.maps[0].background[0] == pytest.approx(
        (110, 145)
    )

    signal_of(swift, made[1]).label = "Edge"
    accepted("flake")
    map_menu.guarded(map_menu.save_windows, window)
    assert "maps of different names" in told[-1] and len(saved) == 1
    select(swift, made[0])  # a map is as good as its spectrum
    map_menu.guarded(map_menu.save_windows, window)
    saved[-1][1]("flake")
    assert "(Edge) is saved in place of the earlier one" in told[-1]
    asked = []
    monkeypatch.setattr(map_menu, "Choosing", lambda window, title, rows, chosen: asked.append((rows, chosen)))
    map_menu.guarded(map_menu.delete_saved, window)
    ((rows, chosen),) = asked
    assert [row.key for row in rows] == saved_names(folder) == ["flake"] and rows[0].about.startswith("Edge 152 to 177")
    chosen("flake")
    assert told[-1] == "Preset 'flake' is deleted." and "flake" not in read_presets(folder)[0]
    map_menu.guarded(map_menu.delete_saved, window)
    assert "No preset was saved yet" in told[-1] and len(asked) == 1
    select(swift, scan)
    map_menu.guarded(map_menu.save_windows, window)
    assert told[-1].startswith("Select the picked spectrum")


@pytest.mark.parametrize("number", [1, 2])
def test_a_preset_comes_back_as_it_was_saved(swift, monkeypatch, number):
    """Lines that are taken off and windows that follow the zero-loss peak are saved, too."""
    scan = add_phonons(swift) if number == 2 else add_scan(swift, heavy_counts(), energy=(790.0, 1.0, "eV"))
    made = made_of(swift, scan, BUILT_IN[number])
    select(swift, *swift.find("(Pick)"))
    monkeypatch.setattr(map_menu, "Asking", lambda window, caption, text, accepted, accept: accepted("mine"))
    map_menu.save_windows(swift.document_controller)
    mine = read_presets(map_menu.folder_of(None))[0]["mine"]
    for found, wanted in zip(mine.maps, BUILT_IN[number].maps, strict=True):
        assert found.name == wanted.name and found.signal == pytest.approx(wanted.signal)
    assert mine.lines == BUILT_IN[number].lines
    numpy.testing.assert_allclose(mine.tail, BUILT_IN[number].tail)
    if number == 1:  # of lines that are taken off, the main ones go along
        select(swift, made["Gd M45"])
        map_menu.save_windows(swift.document_controller)
        mine = read_presets(map_menu.folder_of(None))[0]["mine"]
        assert [each.name for each in mine.maps] == ["Ce M45", "Gd M45"]
        assert mine.lines == (Lines("Ce M45", "Gd M45", 10.3, 0.1),)
