"""Window maps and their power-law background."""

import os
import pathlib

import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.maps.window import map_values
from udvd_core.settings import MapWindow
from udvd_core.simulate import simulate_hbn

ENERGY = Axis(512, 100.0, 0.8, "eV", "E")
BORON = MapWindow("B K", (190.0, 230.0), (150.0, 186.0))


def edge_spectra(level: float) -> tuple[numpy.ndarray, float]:
    """Power law with `level` counts per channel at 168 eV and an edge of the same height; counts of the edge."""
    values = ENERGY.values()
    edge = numpy.where(values >= 190.0, level * (values / 190.0) ** -4, 0.0)
    return level * (values / 168.0) ** -3.2 + edge, float(edge[ENERGY.window(*BORON.signal)].sum())


def test_plain_sum_is_exact():
    spectra = numpy.random.default_rng(0).poisson(3.0, (5, 512)).astype(numpy.float32)
    maps = map_values(spectra, ENERGY, [MapWindow("a", (200.0, 240.0)), MapWindow("b", (100.0, 100.5))])
    assert maps.shape == (2, 5)
    assert maps.dtype == numpy.float32
    numpy.testing.assert_array_equal(maps[0], spectra[:, 125:175].sum(axis=1))
    numpy.testing.assert_array_equal(maps[1], spectra[:, 0])


def test_noise_free_power_law_is_taken_off():
    spectrum, expected = edge_spectra(1e6)
    assert map_values(spectrum[None], ENERGY, [BORON])[0, 0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("exponent", [0.5, 2.0, 3.0, 4.5, 6.0])
def test_any_exponent(exponent):
    spectrum = 1e6 * (ENERGY.values() / 100.0) ** -exponent
    plain, rest = map_values(spectrum[None], ENERGY, [MapWindow("plain", BORON.signal), BORON])[:, 0]
    assert abs(rest) < 1e-4 * plain


@pytest.mark.parametrize(("level", "tolerance"), [(2.0, 0.02), (5.6, 0.01), (50.0, 0.01)])
def test_poisson_counts_give_no_bias(level, tolerance):
    spectrum, expected = edge_spectra(level)
    noisy = numpy.random.default_rng(1).poisson(numpy.broadcast_to(spectrum, (20_000, 512)))
    assert map_values(noisy, ENERGY, [BORON])[0].mean() == pytest.approx(expected, rel=tolerance)


def test_empty_sparse_and_negative_spectra_are_safe():
    rng = numpy.random.default_rng(2)
    spectra = numpy.zeros((4, 512))
    spectra[1, 80] = 1.0  # one count in the background window
    spectra[2] = rng.poisson(0.05, 512)
    spectra[3] = rng.normal(-0.5, 0.1, 512)
    maps = map_values(spectra, ENERGY, [BORON])[0]
    assert numpy.isfinite(maps).all()
    assert maps[0] == 0
    assert abs(maps[1]) < 10
    assert maps[3] == pytest.approx(spectra[3, ENERGY.window(190.0, 230.0)].sum(), rel=1e-5)


def test_one_empty_channel_does_no_harm():
    spectrum, expected = edge_spectra(1000.0)
    spectrum[90] = 0.0
    assert map_values(spectrum[None], ENERGY, [BORON])[0, 0] == pytest.approx(expected, rel=0.1)


def test_boron_map_of_a_simulated_scan():
    sample = simulate_hbn((16, 16), counts=50_000.0)
    spectra = Detector().record(sample).spectra().reshape(256, -1)
    found = map_values(spectra, sample.energy, [BORON])[0]
    part = sample.parts[1]
    expected = part.weight.ravel() * part.spectrum[sample.energy.window(*BORON.signal)].sum()
    assert numpy.corrcoef(found, expected)[0, 1] > 0.9
    assert found.mean() == pytest.approx(expected.mean(), rel=0.05)


@pytest.mark.parametrize(
    ("spectra", "energy", "window", "message"),
    [
        (numpy.ones((2, 511)), ENERGY, BORON, "want \\(n, 512\\)"),
        (numpy.ones((2, 512)), ENERGY, MapWindow("far", (900.0, 950.0)), "covers no channel"),
        (numpy.ones((2, 512)), ENERGY, MapWindow("far", (190.0, 230.0), (10.0, 20.0)), "covers no channel"),
        (numpy.ones((2, 512)), Axis(512, -10.0, 1.0, "eV"), MapWindow("z", (5.0, 9.0), (-5.0, 5.0)), "above 0 eV"),
        (numpy.ones((2, 512)), ENERGY, MapWindow("one", (190.0, 230.0), (150.0, 150.5)), "at least two"),
    ],
)
def test_bad_input_is_refused(spectra, energy, window, message):
    with pytest.raises(InputError, match=message):
        map_values(spectra, energy, [window])


@pytest.mark.skipif("UDVD_MEASURED_DATA" not in os.environ, reason="UDVD_MEASURED_DATA names no folder")
def test_measured_oxide_interface():
    path = pathlib.Path(os.environ["UDVD_MEASURED_DATA"]) / "oxide_interface_TiOMnLa_si_6x49.npz"
    with numpy.load(path, allow_pickle=False) as file:
        data, values = file["data"], file["energy_eV"]
    energy = Axis(values.size, float(values[0]), float(values[1] - values[0]), "eV", "E")
    windows = [
        MapWindow("Ti L", (455.0, 475.0), (400.0, 450.0)),
        MapWindow("O K", (530.0, 550.0), (490.0, 525.0)),
        MapWindow("La M", (830.0, 855.0), (760.0, 820.0)),
    ]
    titanium, oxygen, lanthanum = map_values(data.reshape(-1, values.size), energy, windows).reshape(3, 49, 6)
    assert (oxygen > 0).mean() > 0.95
    rows_ti, rows_la = titanium.mean(axis=1), lanthanum.mean(axis=1)
    assert numpy.corrcoef(rows_ti, rows_la)[0, 1] < -0.5
