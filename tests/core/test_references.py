"""Reference spectra from regions and files, and whether they can be told apart."""

import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.references import Reference, reference_of_array, reference_of_region, stacked
from udvd_core.maps.unmix import unmix
from udvd_core.noise import NoiseModel

ENERGY = Axis(40, 100.0, 1.0, "eV", "E")
STEP = (ENERGY.values() > 120.0).astype(float)
SLOPE = numpy.linspace(2.0, 1.0, 40)


def test_region_gives_the_mean_of_marked_positions():
    spectra = numpy.random.default_rng(0).poisson(3.0, (10, 40)).astype(numpy.float32)
    mask = numpy.arange(10) < 4
    found = reference_of_region("Ce M", spectra, ENERGY, mask)
    assert found.name == "Ce M"
    numpy.testing.assert_allclose(found.spectrum, spectra[:4].mean(0), rtol=1e-6)


def test_read_noise_below_zero_is_cut():
    spectra = numpy.where(numpy.arange(40) == 5, -0.1, 1.0)[None]
    assert reference_of_region("a", spectra, ENERGY, numpy.array([True])).spectrum[5] == 0


def test_file_on_other_channels_keeps_its_counts():
    own = Axis(200, 80.0, 0.5, "eV")
    spectrum = numpy.exp(-0.5 * ((own.values() - 120.0) / 3.0) ** 2)
    found = reference_of_array("peak", spectrum, own, ENERGY)
    assert found.spectrum.sum() == pytest.approx(spectrum.sum(), rel=1e-6)
    assert found.spectrum @ ENERGY.values() / found.spectrum.sum() == pytest.approx(120.0, abs=1e-6)
    same = reference_of_array("same", STEP, ENERGY, ENERGY)
    numpy.testing.assert_allclose(same.spectrum, STEP, atol=1e-9)


@pytest.mark.parametrize(
    ("spectrum", "own", "message"),
    [
        (STEP[:30], ENERGY, "want \\(n, 40\\)"),
        (STEP[:30], Axis(30, 100.0, 1.0, "eV"), "choose a longer one"),
        (STEP, Axis(40, 105.0, 1.0, "eV"), "covers 104.5 to 144.5 eV"),
        (STEP, Axis(40, 100.0, 1.0, "meV"), "calibrate"),
        (-STEP, ENERGY, "none below 0"),
        (0 * STEP, ENERGY, "some above"),
        (STEP * numpy.nan, ENERGY, "not finite"),
        (numpy.ones((2, 40)), ENERGY, "choose a longer one"),
    ],
)
def test_bad_files_are_refused(spectrum, own, message):
    with pytest.raises(InputError, match=message):
        reference_of_array("a", spectrum, own, ENERGY)


@pytest.mark.parametrize("mask", [numpy.zeros(3, bool), numpy.ones(2, bool), numpy.ones(3), numpy.ones((3, 1), bool)])
def test_bad_regions_are_refused(mask):
    with pytest.raises(InputError, match="at least one True"):
        reference_of_region("a", numpy.ones((3, 40)), ENERGY, mask)


def test_the_two_that_are_too_alike_are_named():
    nearly = SLOPE * (1 + 1e-3 * numpy.sin(numpy.arange(40)))
    given = [Reference("background", SLOPE), Reference("Ce M", STEP), Reference("carbon", 7 * nearly)]
    with pytest.raises(InputError, match="'background' and 'carbon' are too alike"):
        stacked(given, 40)
    assert stacked(given[:2], 40).shape == (2, 40)


def test_wrong_numbers_of_references_and_channels_are_refused():
    with pytest.raises(InputError, match="0 references"):
        stacked([], 40)
    with pytest.raises(InputError, match="7 references"):
        stacked([Reference(str(k), numpy.roll(STEP, k)) for k in range(7)], 40)
    with pytest.raises(InputError, match="40 channels and the spectra have 39"):
        stacked([Reference("a", STEP)], 39)
    with pytest.raises(InputError, match="one spectrum"):
        Reference("a", numpy.ones((2, 2)))


@pytest.mark.parametrize("lag", [0.0, 0.1])
@pytest.mark.parametrize(("dose", "size"), [(300.0, 60), (1000.0, 15), (5000.0, 5)])
def test_amounts_of_references_from_few_counts_are_not_made_even(dose, size, lag):
    energy = Axis(200, 170.0, 0.5, "eV", "E")
    away = energy.values() - 200
    shapes = numpy.stack((numpy.exp(-away / 60), numpy.where(away > 0, 0.5 * numpy.exp(-away / 50), 0)))
    inside, wrong = [], []
    for seed in range(12):
        rng = numpy.random.default_rng(seed)
        amounts = numpy.stack((numpy.ones(600), rng.uniform(0, 1.5, 600)))
        amounts[1, :size], amounts[1, size : 2 * size] = 0.0, 1.0
        expected = dose / shapes[0].sum() * amounts.T @ shapes
        twice = rng.poisson(lag * expected)  # electrons that count in the next channel, too
        counts = (rng.poisson((1 - 2 * lag) * expected) + twice + numpy.roll(twice, 1, 1)).astype(numpy.float32)
        noise = NoiseModel(1.0, 0.0, (lag,))
        masks = [numpy.arange(600) // size == number for number in (0, 1)]
        given = [reference_of_region(str(k), counts, energy, mask) for k, mask in enumerate(masks)]
        found = unmix(counts, energy, given, noise, negative=True)
        wanted = numpy.stack((amounts[0] - amounts[1], amounts[1]))  # the second region holds both
        z = ((found.amplitudes - wanted) / found.sigma)[:, 2 * size :]
        inside.append((abs(z) < 1).mean())
        wrong.append(z.mean(1))
    assert 0.63 < numpy.mean(inside) < 0.73, numpy.mean(inside)
    assert abs(numpy.mean(wrong, 0)).max() < 0.3, numpy.mean(wrong, 0)


def test_regions_of_too_few_counts_are_refused():
    counts = numpy.random.default_rng(1).poisson(0.2, (40, 40)).astype(numpy.float32)
    given = [reference_of_region(str(k), counts, ENERGY, numpy.arange(40) // 3 == k) for k in (0, 1)]
    with pytest.raises(InputError, match="mark more positions"):
        unmix(counts, ENERGY, given, NoiseModel())
