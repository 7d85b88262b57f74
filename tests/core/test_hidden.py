"""Pairs of pixels with counts, and the hidden set that follows."""

import numpy
import pytest

from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.hidden import choose_hidden, pair_test, rates
from udvd_core.noise import NoiseModel
from udvd_core.simulate import simulate_flake, simulate_hbn

HALF_LIT = numpy.where(numpy.arange(128)[:, None] < 64, 0.054, 0.0) + numpy.zeros((128, 256))


def test_pairs_are_counted_along_each_axis():
    frames = numpy.zeros((2, 3, 4))
    frames[0, 0, :3] = 1, 5, 2
    frames[1, :, 3] = 1
    test = pair_test(frames, numpy.full((3, 4), 0.1))
    assert (test.q.measured, test.energy.measured) == (2, 2)
    chance = (1 - numpy.exp(-0.1)) ** 2
    assert (test.q.expected, test.energy.expected) == pytest.approx((16 * chance, 18 * chance))
    assert test.filled == pytest.approx(1 - numpy.exp(-0.1))


def test_half_lit_frame_is_no_spreading(rng):
    """One rate for the whole frame finds twice the pairs that it expects; local rates do not."""
    frames = rng.poisson(HALF_LIT, (8, 128, 256))
    local, uniform = pair_test(frames, HALF_LIT), pair_test(frames, numpy.full_like(HALF_LIT, 0.027))
    assert not (local.q.shared or local.energy.shared)
    assert uniform.q.shared and uniform.energy.measured > 1.8 * uniform.energy.expected


def test_error_is_the_scatter(rng):
    rate = HALF_LIT[40:90, :50] * 5
    tests = [pair_test(rng.poisson(rate, (2, *rate.shape)), rate) for _ in range(300)]
    for axis in ("q", "energy"):
        pairs = [getattr(test, axis) for test in tests]
        pulls = [(p.measured - p.expected) / p.error for p in pairs]
        assert numpy.std(pulls) == pytest.approx(1.0, abs=0.15)
        assert abs(numpy.mean(pulls)) < 0.25


@pytest.mark.parametrize("simulate", [simulate_hbn, simulate_flake])
def test_spreading_is_found_only_where_it_is(simulate):
    sample = simulate((12, 12), 256, counts=400, q_rows=12, seed=3)
    for share in (0.25, 0.0):
        frames = Detector(spreading=share).record(sample).frames().reshape(144, 12, 256)
        test = pair_test(frames, rates(frames))
        assert test.useful
        assert (test.q.shared, test.energy.shared) == (share > 0, share > 0)
        hidden = choose_hidden(NoiseModel(), test, frame_shape=(12, 256))
        assert hidden.radius == ((1, 1) if share else (0, 0))
        assert ("pairs where chance makes" in hidden.reason) == (share > 0)


def test_bright_frames_say_nothing(rng):
    frames = rng.poisson(9.0, (2, 8, 64))
    test = pair_test(frames, numpy.full((8, 64), 9.0))
    assert not test.useful
    assert choose_hidden(NoiseModel(), test, frame_shape=(8, 64)).radius == (0, 0)
    assert not pair_test(numpy.zeros((2, 8, 64)), numpy.zeros((8, 64))).useful


@pytest.mark.parametrize(
    ("along_e", "along_q", "shape", "radius"),
    [
        ((), (), (16, 256), (0, 0)),
        ((0.09,), (), (1, 256), (0, 1)),
        ((0.09,), (0.1,), (16, 256), (1, 1)),
        ((), (0.1,), (16, 256), (1, 1)),
        ((0.09,), (0.1,), (1, 256), (0, 1)),
        ((0.47, 0.15, 0.08), (), (1, 256), (0, 3)),
        ((0.47, 0.001, 0.08, 0.005), (0.3, 0.1), (2, 256), (1, 3)),
        ((0.47, 0.15, 0.08), (), (1, 2), (0, 1)),
        ((-0.2,), (), (1, 256), (0, 1)),
        ((0.005,), (), (1, 256), (0, 0)),
    ],
)
def test_hidden_set_covers_what_is_shared(along_e, along_q, shape, radius):
    noise = NoiseModel(correlation=along_e, correlation_q=along_q)
    hidden = choose_hidden(noise, frame_shape=shape)
    assert hidden.radius == radius
    assert f"{radius[0]}x{radius[1]} is hidden" in hidden.reason


def test_reason_has_the_figures():
    hidden = choose_hidden(NoiseModel(correlation=(0.09,)), frame_shape=(1, 99))
    assert hidden.reason == (
        "neighbouring channels share noise: correlation 0.09 at lag 1, none beyond (charge spreading); 0x1 is hidden"
    )
    hidden = choose_hidden(NoiseModel(correlation=(0.42, 0.09)), frame_shape=(1, 99))
    assert "correlation 0.42, 0.09 at lags 1 to 2, none beyond; 0x2" in hidden.reason
    assert choose_hidden(NoiseModel(), frame_shape=(4, 9)).reason == (
        "neighbouring pixels share no noise; 0x0 is hidden"
    )


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5), (3, 3, 4)])
def test_rates_must_fit(shape):
    with pytest.raises(InputError, match="rates have shape"):
        pair_test(numpy.zeros((2, 3, 4)), numpy.zeros(shape))
