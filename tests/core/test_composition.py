"""Atomic percent and its errors against a Monte Carlo of its own, and what it refuses."""

import numpy
import pytest

from udvd_core.errors import InputError
from udvd_core.maps.composition import Factor, composition, covariance_of, parse_factor
from udvd_core.maps.presets import Lines

COUNTS = numpy.array([4000.0, 900.0, 300.0])
SIGMA = numpy.array([90.0, 60.0, 45.0])
NAMES = ("B K", "N K", "O K")
K = numpy.array([1.0, 3.2, 8.0])
FACTORS = tuple(Factor(name, value) for name, value in zip(NAMES, K, strict=True))
TRUTH = 100 * K * COUNTS / (K * COUNTS).sum()


def separate(sigma):
    """Of maps that share nothing."""
    return covariance_of(sigma, NAMES[: len(sigma)])


def check(found, truth, sigma):
    """No bias, though errors that grow with the share leave one in the mean of z."""
    assert abs(found.mean() - truth) < 4 * found.std() / found.size**0.5
    assert ((found - truth) / sigma).std() == pytest.approx(1.0, abs=0.03)


def test_shares_and_their_errors(rng):
    counts = rng.normal(COUNTS[:, None], SIGMA[:, None], (3, 20_000))
    found = composition(counts, separate(numpy.broadcast_to(SIGMA[:, None], counts.shape)), FACTORS)
    for row in range(3):
        check(found.values[row], TRUTH[row], found.sigma[row])
    assert (found.common == 0).all()
    numpy.testing.assert_allclose(found.values.sum(0), 100.0)


def test_noise_that_is_strong_makes_no_bias(rng):
    """The plain ratio of these counts is off by 0.9 percent points, some 20 times its error."""
    truth, sigma = numpy.array([100.0, 100.0]), numpy.array([30.0, 10.0])
    counts = rng.normal(truth[:, None], sigma[:, None], (2, 100_000))
    factors = (Factor("a", 1.0), Factor("b", 1.0))
    found = composition(counts, separate(numpy.broadcast_to(sigma[:, None], counts.shape)), factors)
    plain = 100 * counts[0] / counts.sum(0)
    assert plain.mean() == pytest.approx(49.0, abs=0.2)
    assert found.values[0].mean() == pytest.approx(50.0, abs=0.25)


def test_errors_that_maps_share_count(rng):
    covariance = numpy.diag(SIGMA**2)
    covariance[0, 1] = covariance[1, 0] = -0.8 * SIGMA[0] * SIGMA[1]
    counts = rng.multivariate_normal(COUNTS, covariance, 20_000).T
    many = numpy.broadcast_to(covariance[..., None], (3, 3, counts.shape[1]))
    found = composition(counts, many, FACTORS)
    for row in range(3):
        check(found.values[row], TRUTH[row], found.sigma[row])
    alone = composition(counts, separate(numpy.broadcast_to(SIGMA[:, None], counts.shape)), FACTORS)
    assert alone.sigma[0].mean() < 0.93 * found.sigma[0].mean(), "without it the error would be too small"


def test_lines_that_were_taken_off_make_maps_share_errors(rng):
    """Gd is what is left of a window with both, so that it falls where Ce rises."""
    lines = Lines("Ce", "Gd", 10.0, 0.0)
    cerium = rng.normal(8000.0, 300.0, 20_000)
    gadolinium = rng.normal(1000.0 + 800.0, 20.0, 20_000) - cerium / 10.0
    sigma = numpy.array([300.0, numpy.hypot(20.0, 30.0)])[:, None] * numpy.ones(20_000)
    factors = (Factor("Gd", 2.0), Factor("Ce", 1.0))
    covariance = covariance_of(sigma[::-1], ("Gd", "Ce"), [lines, Lines("Ce", "O", 3.0, 0.0)])
    numpy.testing.assert_allclose(covariance[0, 1, 0], numpy.cov(gadolinium, cerium)[0, 1], rtol=0.05)
    found = composition(numpy.stack((gadolinium, cerium)), covariance, factors)
    check(found.values[0], 20.0, found.sigma[0])


def test_errors_of_factors_are_common_to_all_positions(rng):
    errors = numpy.array([0.0, 0.2, 0.9])
    factors = tuple(Factor(f.name, f.value, e) for f, e in zip(FACTORS, errors, strict=True))
    found = composition(COUNTS[:, None, None], numpy.zeros((3, 3, 1, 1)), factors)
    k = rng.normal(K, errors, (100_000, 3))
    drawn = 100 * k * COUNTS / (k * COUNTS).sum(1, keepdims=True)
    numpy.testing.assert_allclose(found.common[:, 0, 0], drawn.std(0), rtol=0.02)
    assert (found.sigma == 0).all() and (found.total() == found.common).all()


def test_where_there_is_nothing_no_share_is_claimed():
    counts = numpy.array([[0.0, -20.0, 20.0, 500.0, 0.0], [0.0, 5.0, 5.0, 500.0, 500.0]])
    sigma = numpy.full((2, 5), 10.0)
    sigma[0, 4] = numpy.inf  # a spectrum that could not be mapped
    found = composition(counts, separate(sigma), FACTORS[:2])
    assert (found.values[:, [0, 1, 2, 4]] == 0).all() and numpy.isinf(found.sigma[:, [0, 1, 2, 4]]).all()
    assert (found.common[:, 0] == 0).all()
    assert found.values[:, 3].sum() == pytest.approx(100) and numpy.isfinite(found.sigma[:, 3]).all()


def test_unknown_errors_stay_unknown_and_the_share_is_there():
    found = composition(COUNTS[:, None], separate(numpy.full((3, 1), numpy.nan)), FACTORS)
    numpy.testing.assert_allclose(found.values[:, 0], TRUTH)
    assert numpy.isnan(found.sigma).all()


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("N K=2.1", Factor("N K", 2.1)),
        (" N K = 2.1 ", Factor("N K", 2.1)),
        ("N K=2.1+-0.1", Factor("N K", 2.1, 0.1)),
        ("Ce-M5 = 1e-3 \u00b1 1e-4", Factor("Ce-M5", 1e-3, 1e-4)),
    ],
)
def test_factors_as_text(text, factor):
    assert parse_factor(text) == factor


@pytest.mark.parametrize("text", ["N K", "N K=", "=2", "N K=a", "N K=2+-", "N K=2+-b", "N K=2 3"])
def test_other_texts_are_refused(text):
    with pytest.raises(InputError, match="want a map's name and a number"):
        parse_factor(text)


@pytest.mark.parametrize("text", ["a=0", "a=-1", "a=nan", "a=inf", "a=1+--1", "a=1+-nan"])
def test_factors_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="want a number above 0"):
        parse_factor(text)


@pytest.mark.parametrize(("number", "maps", "errors"), [(1, 1, 1), (2, 3, 3), (3, 3, 2)])
def test_numbers_must_agree(number, maps, errors):
    with pytest.raises(InputError, match="a factor for each"):
        composition(numpy.ones((maps, 4)), numpy.ones((errors, errors, 4)), FACTORS[:number])
