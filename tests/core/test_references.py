"""Reference spectra from regions and files, and whether they can be told apart."""

import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.references import Reference, reference_of_array, reference_of_region, stacked

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
