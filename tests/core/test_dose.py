"""The dose meter: contrast to noise, and what more passes bring."""

import math

import numpy
import pytest

from udvd_core.dose import Dose, signal_to_noise


def maps(contrast, n=1000, seed=0, size=(32, 32)):
    rng = numpy.random.default_rng(seed)
    signal = numpy.tile(numpy.repeat((-contrast, contrast), 4), size[0] * size[1] // 8).reshape(size)
    return signal + rng.normal(size=(n, *size))


@pytest.mark.parametrize("contrast", [0.5, 1.0, 3.0])
def test_ratio_and_its_error(contrast):
    doses = [signal_to_noise(one, 1.0) for one in maps(contrast)]
    ratios = numpy.array([dose.ratio for dose in doses])
    assert ratios.mean() == pytest.approx(contrast, rel=0.03)
    assert numpy.mean([dose.error for dose in doses]) == pytest.approx(ratios.std(), rel=0.25)


def test_noise_alone_is_rarely_taken_for_contrast():
    doses = [signal_to_noise(one, 1.0) for one in maps(0.0)]
    assert numpy.mean([dose.detected for dose in doses]) < 0.05


def test_sigma_may_differ_from_place_to_place():
    values, sigma = maps(2.0, 1)[0], numpy.ones((32, 32))
    values[0, 0], values[1, 1], sigma[1, 1] = numpy.nan, 1e9, 0.0
    assert signal_to_noise(values, sigma).ratio == pytest.approx(2.0, rel=0.1)


def test_more_passes():
    dose = Dose("B K", 2.0, 0.1, passes=4)
    assert dose.next_gain == pytest.approx(math.sqrt(5 / 4))
    assert dose.passes_for(4.0) == 12
    assert dose.passes_for(1.0) == 0
    assert Dose("B K", 0.1, 0.2).passes_for(5.0) is None


@pytest.mark.parametrize(
    ("dose", "sentence"),
    [
        (
            Dose("B K", 2.0, 0.1),
            "B K: contrast 2.0 times the noise after 1 pass; another pass gives 2.8, 6 more reach 5",
        ),
        (Dose("B K", 6.0, 0.1, 2), "after 2 passes, enough to see features reliably; another pass gives 7.3"),
        (Dose("N K", 0.1, 0.1), "N K: no contrast beyond noise after 1 pass (below 0.30 times the noise)"),
        (Dose("N K", 0.2, 0.02), "more than 100 more reach 5"),
    ],
)
def test_sentence(dose, sentence):
    assert sentence in dose.sentence


def test_empty_maps_are_refused():
    with pytest.raises(ValueError, match="want at least 2 positions"):
        signal_to_noise(numpy.full((2, 2), numpy.nan), 1.0)
