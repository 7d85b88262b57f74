"""Background models: what they recover, how little noise shifts them, and their gradient."""

import typing

import numpy
import pytest

from udvd_core.errors import InputError
from udvd_core.maps.background import Background
from udvd_core.maps.families import FAMILIES, family

ENERGY = 100.0 + 0.8 * numpy.arange(512)
FIT = ENERGY[(ENERGY >= 150) & (ENERGY < 186)]
SIGNAL = ENERGY[(ENERGY >= 190) & (ENERGY < 230)]
TRUE: dict[str, tuple[typing.Callable[[numpy.ndarray], numpy.ndarray], float]] = {
    "power_law": (lambda e: (e / 168.0) ** -3.2, -3.2),
    "power_law_double": (lambda e: (e / 168.0) ** -3.2, -3.2),
    "log_polynomial": (lambda e: (e / 168.0) ** -3.2, -3.2),
    "exponential": (lambda e: numpy.exp((168.0 - e) / 50.0), -1 / 50.0),
    "linear": (lambda e: 1 - (e - 168.0) / 200.0, -1 / 200.0),
}


def test_every_model_is_tried_here():
    assert set(TRUE) == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_recovers_its_own_parameters(name):
    shape, slope = TRUE[name]
    levels = numpy.array([0.3, 5.0, 1e6])
    found = Background(family(name), FIT, SIGNAL).fit(levels[:, None] * shape(FIT), lambda w: numpy.zeros(len(w)))
    numpy.testing.assert_allclose(found.counts, levels[:, None] * shape(SIGNAL), rtol=1e-6)
    middle = 1 / shape(numpy.array((FIT[0] + FIT[-1]) / 2)) if name == "linear" else 1.0
    numpy.testing.assert_allclose(found.slope, slope * middle, rtol=1e-6)


@pytest.mark.parametrize("slope", [-12.0, -6.0, -0.5, 0.0, 1.0])
def test_any_exponent_is_found_from_windows_in_any_order(slope):
    energies = numpy.concatenate((ENERGY[100:110][::-1], ENERGY[60:75]))
    found = Background(family("power_law"), energies, SIGNAL).fit((energies[None] / 168.0) ** slope)
    assert found.slope == pytest.approx([slope], abs=1e-6)


def test_the_likelihood_is_highest_at_the_slope_found():
    counts = numpy.random.default_rng(0).poisson(20.0 * TRUE["linear"][0](FIT), (50, FIT.size)).astype(float)
    for name, line in (("power_law", lambda s: s * numpy.log(FIT)), ("exponential", lambda s: s * FIT)):
        slope = Background(family(name), FIT, SIGNAL).fit(counts).slope[:, None]
        step = 1e-5 * numpy.abs(slope).max()
        assert_peak(counts, [numpy.exp(line(slope + d)) for d in (-step, 0.0, step)])
    slope = Background(family("linear"), FIT, SIGNAL).fit(counts).slope[:, None]
    assert_peak(counts, [1 + (slope + d) * (FIT - (FIT[0] + FIT[-1]) / 2) for d in (-1e-6, 0.0, 1e-6)])


def assert_peak(counts, shapes):
    shares = [shape / shape.sum(1, keepdims=True) for shape in shapes]
    below, at, above = ((counts * numpy.log(share)).sum(1) for share in shares)
    assert (at > below).all()
    assert (at > above).all()


@pytest.mark.parametrize("name", ["power_law", "exponential", "linear"])
@pytest.mark.parametrize(("level", "tolerance"), [(1.2, 0.01), (2.0, 0.01), (5.6, 0.005), (50.0, 0.002)])
def test_noise_does_not_shift_the_mean(name, level, tolerance):
    # At 1.2 counts per channel 30 % of the channels are zero. The tolerance is 3 to 4 standard errors or more.
    shape = TRUE[name][0]
    counts = numpy.random.default_rng(1).poisson(level * shape(FIT), (40_000, FIT.size))
    if level == 1.2:
        assert (counts == 0).mean() == pytest.approx(0.3, abs=0.01)
    found = Background(family(name), FIT, SIGNAL).fit(counts).counts
    assert found.sum(1).mean() == pytest.approx(level * shape(SIGNAL).sum(), rel=tolerance)
    assert found[:, -5:].mean() == pytest.approx(level * shape(SIGNAL[-5:]).mean(), rel=2.5 * tolerance)


@pytest.mark.parametrize("name", ["power_law", "exponential", "linear"])
def test_a_dozen_counts_still_give_the_sum(name):
    shape = TRUE[name][0]
    counts = numpy.random.default_rng(1).poisson(0.3 * shape(FIT), (40_000, FIT.size))
    found = Background(family(name), FIT, SIGNAL).fit(counts).counts.sum(1)
    assert found.mean() == pytest.approx(0.3 * shape(SIGNAL).sum(), rel=0.06)


def test_the_shift_follows_the_variance_of_the_slope():
    # A camera that gives four counts per electron: noise is four times that of Poisson counts.
    shape = TRUE["power_law"][0]
    electrons = numpy.random.default_rng(2).poisson(1.2 * shape(FIT), (40_000, FIT.size))
    background = Background(family("power_law"), FIT, SIGNAL)
    expected = 4 * 1.2 * shape(SIGNAL).sum()
    assert background.fit(4 * electrons).counts.sum(1).mean() > 1.03 * expected
    right = background.fit(4 * electrons, lambda w: (w**2 * 16 * electrons).sum(1)).counts.sum(1).mean()
    assert right == pytest.approx(expected, rel=0.012)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_is_that_of_finite_differences(name):
    background = Background(family(name), FIT, SIGNAL)
    counts = 1e4 * TRUE[name][0](FIT)
    if name != "linear":  # its gradient is the expected one, equal where there is no noise
        counts = numpy.random.default_rng(3).poisson(counts).astype(float)
    gradient = background.fit(counts[None]).gradient[0]
    step = 1.0
    moved = counts + step * numpy.concatenate((numpy.eye(FIT.size), -numpy.eye(FIT.size)))
    up, down = background.fit(moved).counts.sum(1).reshape(2, -1)
    numpy.testing.assert_allclose(gradient, (up - down) / 2 / step, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_empty_sparse_and_negative_spectra_are_safe(name):
    rng = numpy.random.default_rng(4)
    counts = numpy.zeros((6, FIT.size))
    counts[1, 0] = 1.0
    counts[2, -1] = 1.0  # all counts at the far end: a steep rise is not believed
    counts[3] = rng.normal(-0.5, 0.1, FIT.size)
    counts[4] = rng.normal(0.001, 1.0, FIT.size)
    counts[5] = rng.poisson(0.3, FIT.size) + rng.normal(0, 0.01, FIT.size)
    found = Background(family(name), FIT, SIGNAL).fit(counts)
    for values in (found.counts, found.gradient, found.slope):
        assert numpy.isfinite(values).all()
    for empty in (0, 3):
        assert not found.counts[empty].any()
        assert not found.gradient[empty].any()
    if name != "linear":
        assert (found.counts[[1, 2, 5]] >= 0).all()
        assert found.counts[2].max() < 2.0


def test_what_vanishes_far_away_has_a_finite_gradient():
    """Two channels fitted, all counts in the first: at 600 eV more the exponential is below what a number can be."""
    background = Background(family("exponential"), ENERGY[:2], ENERGY[:2] + 600.0)
    found = background.fit(numpy.array([[50.0, 0.0], [50.0, 50.0]]))
    assert not found.counts[0].any() and found.counts[1].all()
    assert numpy.isfinite(found.gradient).all()


def test_two_sides_pin_a_background():
    sides = numpy.concatenate((FIT, ENERGY[(ENERGY >= 232) & (ENERGY < 250)]))
    shape = TRUE["power_law"][0]
    rng = numpy.random.default_rng(5)
    one, both = (
        Background(family("power_law_double"), e, SIGNAL).fit(rng.poisson(5.6 * shape(e), (4000, e.size))).counts.sum(1)
        for e in (FIT, sides)
    )
    assert both.std() < 0.5 * one.std()
    assert both.mean() == pytest.approx(5.6 * shape(SIGNAL).sum(), rel=0.005)


def test_a_signal_below_the_fit_window_is_extrapolated_too():
    shape = TRUE["power_law"][0]
    found = Background(family("power_law"), SIGNAL, FIT).fit(1e3 * shape(SIGNAL[None]), lambda w: numpy.zeros(len(w)))
    numpy.testing.assert_allclose(found.counts[0], 1e3 * shape(FIT), rtol=1e-6)
    one_count = numpy.zeros((1, SIGNAL.size))
    one_count[0, 0] = 1.0
    assert Background(family("power_law"), SIGNAL, FIT).fit(one_count).counts.max() <= 1e3


def test_energies_below_zero_are_for_lines_in_energy_only():
    below = numpy.linspace(-5.0, 5.0, 20)
    assert Background(family("exponential"), below, SIGNAL).fit(numpy.ones((1, 20))).counts.shape == (1, SIGNAL.size)
    for fit, wanted in ((below, SIGNAL), (SIGNAL, below)):
        with pytest.raises(InputError, match="above 0 eV only"):
            Background(family("power_law"), fit, wanted)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="want one of power_law"):
        family("parabola")
    with pytest.raises(InputError, match="at least two"):
        Background(family("linear"), FIT[:1], SIGNAL)
