"""Weighted PCA: the rank it finds, what it predicts of pixels it has not seen."""

import functools

import numpy
import pytest

from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.metrics import psnr
from udvd_core.noise import NoiseModel
from udvd_core.pca import automatic_rank, mean_product, oracle_rank, weighted_pca
from udvd_core.simulate import simulate_blank, simulate_hbn, simulate_wedge
from udvd_core.split import Split

SPREAD = NoiseModel(1.2, 0.0, (1 / 12,))  # a quarter of the electrons counted twice, summed over q


@functools.cache
def recorded(simulate, spreading=0.25, counts=5000.0):
    recording = Detector(spreading, seed=1).record(simulate((20, 20), 256, counts=counts, q_rows=1))
    return recording.spectra().reshape(400, 256), recording.truth().reshape(400, 256)


@functools.cache
def masks():
    held, visible = Split(0).masks(range(400), (1, 256))
    return held[:, 0], visible[:, 0]


def test_automatic_rank_is_that_of_the_oracle():
    data, truth = recorded(simulate_hbn)
    rank, best = oracle_rank(data, truth, range(1, 9), SPREAD)
    assert rank == 2
    assert automatic_rank(data, SPREAD) == 2
    assert psnr(weighted_pca(data, 2, noise=SPREAD), truth) == pytest.approx(best)
    assert best > psnr(data, truth) + 13


def test_flat_noise_with_spreading_has_rank_one():
    data, _ = recorded(simulate_blank)
    assert automatic_rank(data, SPREAD) == 1
    assert automatic_rank(3 * data, NoiseModel()) > 5  # what ignoring a gain costs


def test_correlation_alone_moves_the_edge():
    rng = numpy.random.default_rng(0)
    noise = rng.normal(size=(800, 402))
    mixed = 50 + (noise[:, :-2] + noise[:, 1:-1] + noise[:, 2:]) / numpy.sqrt(3)
    assert automatic_rank(mixed, NoiseModel(0.0, 1.0, (2 / 3, 1 / 3))) == 1
    assert automatic_rank(mixed, NoiseModel(0.0, 1.0)) > 5


def test_gain_changes_nothing():
    data, _ = recorded(simulate_hbn)
    scaled = NoiseModel(1.2 * 40, 0.0, SPREAD.correlation)
    assert automatic_rank(40 * data, scaled) == 2
    numpy.testing.assert_allclose(
        weighted_pca(40 * data, 2, noise=scaled), 40 * weighted_pca(data, 2, noise=SPREAD), rtol=1e-5, atol=1e-3
    )


def test_hidden_pixels_are_predicted_from_the_others():
    data, truth = recorded(simulate_hbn)
    held, visible = masks()
    assert automatic_rank(data, SPREAD, visible) == 2
    error = (weighted_pca(data, 2, visible, SPREAD) - truth) ** 2
    full = (weighted_pca(data, 2, noise=SPREAD) - truth) ** 2
    assert error[held].mean() < 2 * full[held].mean()
    assert error[visible].mean() < 1.3 * full[visible].mean()


def test_hidden_pixels_are_not_looked_at():
    data, _ = recorded(simulate_hbn)
    _, visible = masks()
    spoiled = numpy.where(visible, data, 1e6)
    for rank in (1, 3):
        assert (weighted_pca(data, rank, visible) == weighted_pca(spoiled, rank, visible)).all()
    assert automatic_rank(data, SPREAD, visible) == automatic_rank(spoiled, SPREAD, visible)


def test_a_hidden_zero_loss_peak_is_found_again():
    data, truth = recorded(simulate_wedge)
    held, visible = masks()
    peak = held & (truth > 0.5 * truth.max(1, keepdims=True))
    assert peak.sum() > 20
    error = numpy.abs(weighted_pca(data, 3, visible, SPREAD) / truth - 1)[peak]
    assert numpy.median(error) < 0.1


def test_mean_product_of_a_product_with_gaps_is_exact():
    rng = numpy.random.default_rng(0)
    level, spectrum = rng.uniform(0.5, 1.5, 40), rng.uniform(1, 100, 60)
    found = mean_product(numpy.outer(level, spectrum), rng.random((40, 60)) > 0.2)
    numpy.testing.assert_allclose(numpy.outer(*found), numpy.outer(level, spectrum), rtol=0.01)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (5, 3)])
def test_small_and_dark_scans(shape):
    for data in (numpy.zeros(shape), numpy.eye(*shape), -numpy.eye(*shape)):
        assert numpy.isfinite(weighted_pca(data, min(shape))).all()
        visible = numpy.ones(shape, bool)
        visible[-1] = False
        assert numpy.isfinite(weighted_pca(data, 1, visible)).all()
        assert 1 <= automatic_rank(data, None, visible) <= min(shape)


def test_impossible_ranks_are_refused():
    with pytest.raises(InputError, match="rank is 0"):
        weighted_pca(numpy.ones((4, 4)), 0)
    with pytest.raises(InputError, match="want some from 1 to 4"):
        oracle_rank(numpy.ones((4, 4)), numpy.ones((4, 4)), [5])
