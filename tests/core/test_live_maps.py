"""Live maps: windows follow the zero-loss peak where there is one, and are plain everywhere else."""

import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.maps.core_loss import core_loss
from udvd_core.maps.live import live_maps
from udvd_core.noise import NoiseModel
from udvd_core.settings import MapWindow
from udvd_core.simulate.shapes import peak

ENERGY = Axis(400, -0.1, 0.001, "eV", "E")
OPTICAL, ZERO = MapWindow("TO-LO", (0.140, 0.200)), MapWindow("Zero Loss", (-0.02, 0.02))
FITTED = MapWindow("fitted", (0.140, 0.200), ((0.1, 0.13),), "linear")
DRIFT = numpy.linspace(-0.01, 0.01, 60)


class Errors:
    """Errors of equal variance in all channels."""

    def variance(self, weights, channels, positions):
        return (weights**2).sum(1)


def spectra(drift=DRIFT):
    """One spectrum like the other but for the drift: a zero-loss peak, and a narrow band at 170 meV."""
    loss = ENERGY.values() - drift[:, None]
    return 1000 * ENERGY.scale * (peak(loss, 0.0, 0.017) + 0.2 * peak(loss, 0.170, 0.035))


def test_windows_follow_the_peak_and_nothing_else_changes():
    denoised = spectra()
    recorded = numpy.random.default_rng(0).poisson(denoised).astype(float)
    windows = [OPTICAL, ZERO, FITTED]
    found = live_maps(denoised, recorded, ENERGY, windows, Errors(), NoiseModel())
    plain, still = core_loss(denoised, ENERGY, windows, Errors()), spectra(numpy.zeros(1))
    for row, window in enumerate(windows[:2]):
        truth = still[:, ENERGY.window(*window.signal)].sum()
        assert numpy.ptp(found[row, 0]) < 0.002 * truth < 0.2 * numpy.ptp(plain[0][row])
        assert found[row, 0].mean() == pytest.approx(truth, rel=0.02)
        z = (found[row, 2] - truth) / found[row, 3]
        assert abs(z.mean()) < 0.4 and 0.8 < z.std() < 1.2
    assert found[0, 1] == pytest.approx(60**0.5, rel=0.01)
    numpy.testing.assert_allclose(found[2, :2], (plain[0][2], plain[1][2]))


def test_missing_counts_are_told():
    denoised = spectra()
    recorded = denoised.copy()
    recorded[3, 270], recorded[4, 390] = numpy.nan, numpy.nan  # at 170 and 290 meV
    found = live_maps(denoised, recorded, ENERGY, [OPTICAL], None, NoiseModel())
    assert found[0, 2, 3] == 0 and numpy.isinf(found[0, 3, 3]) and numpy.isfinite(found[0, 3, 4])
    assert numpy.isnan(found[0, 1]).all()


@pytest.mark.parametrize(
    ("energy", "window"),
    [
        (Axis(400, 100.0, 1.0, "eV", "E"), MapWindow("far", (200.0, 300.0))),
        (Axis(400, -0.2, 0.001, "eV", "E"), OPTICAL),  # the peak lies at -0.1 eV: it is another one
        (Axis(400, 0.3, -0.001, "eV", "E"), OPTICAL),
        (Axis(400, -100.0, 1.0, "meV", "E"), OPTICAL),
        (ENERGY, MapWindow("to the end", (0.200, 0.300))),
    ],
)
def test_elsewhere_they_are_plain(energy, window):
    data = spectra()
    found = live_maps(data, data, energy, [window], None, NoiseModel())
    numpy.testing.assert_allclose(found[0, 0], core_loss(data, energy, [window], None)[0][0])


def test_a_part_without_counts_is_zero():
    found = live_maps(numpy.zeros((3, 400)), numpy.zeros((3, 400)), ENERGY, [OPTICAL], Errors(), NoiseModel())
    assert not found[0, ::2].any()
