"""Low rank with known noise: shrinkage, the edge of noise, whitening, and fits of whole scans."""

import numpy
import pytest
import scipy.ndimage
from recorded import recorded

from udvd_core.lowrank.coarse import Coarse
from udvd_core.lowrank.edge import noise_edge, noise_powers
from udvd_core.lowrank.factors import correlated, smooth_maps
from udvd_core.lowrank.fit import LowRankFit
from udvd_core.lowrank.place import Place
from udvd_core.lowrank.shrink import shrink, smooth
from udvd_core.lowrank.whiten import whiten
from udvd_core.noise import NoiseModel
from udvd_core.simulate import simulate_blank, simulate_flake, simulate_hbn, simulate_phonon

SPECTRA = NoiseModel(1.2, 0.0, (0.09,))


def lattice(size):
    return 3 * numpy.cos(numpy.arange(size) * 1.1)[:, None] * numpy.cos(numpy.arange(size) * 0.7)


def squared(x):
    return float(numpy.mean(numpy.square(x)))


def test_a_lattice_keeps_its_shape_and_loses_its_noise(rng):
    truth = lattice(32)
    result = smooth(truth + rng.normal(size=truth.shape), (4, 8, 16))
    assert squared(result.estimate - truth) < 0.15


@pytest.mark.parametrize("shape", [(1024,), (32, 32), (4, 12, 12), (200, 160)])
def test_noise_alone_shrinks_to_nearly_nothing(rng, shape):
    assert squared(smooth(rng.normal(size=shape), (4, 8, 16)).estimate) < 0.02


@pytest.mark.parametrize("block", [4, 8])
@pytest.mark.parametrize("truth", [lattice(48), numpy.zeros((48, 48)), numpy.sign(lattice(48))])
def test_the_estimated_risk_is_near_the_error(rng, block, truth):
    result = shrink(truth + rng.normal(size=truth.shape), (block, block))
    assert result.risk == pytest.approx(squared(result.estimate - truth), abs=0.15)


@pytest.mark.parametrize("truth", [lattice(32) / 2, numpy.outer(numpy.ones(32), 2 * (numpy.arange(32) > 15))])
def test_every_smoothed_map_is_told_its_error(rng, truth):
    place, column = Place.of((32, 32), numpy.arange(1024)), truth.reshape(-1, 1)
    wrong, told = [], []
    for _ in range(6):
        maps, risk = smooth_maps(column + rng.normal(size=(1024, 2)), place)
        wrong.append(numpy.mean((maps - column) ** 2, 0))
        told.append(risk.mean(0))
    ratio = numpy.array(told) / numpy.mean(wrong, 0)
    assert ratio[:, 1].min() > 0.8  # Stein's estimate alone scatters down to half
    assert ratio[:, 1].mean() < 1.35
    assert ratio[:, 0].min() > 0.7 and 0.8 < ratio[:, 0].mean() < 1.5


def test_a_map_that_hardly_varies_is_not_told_an_error_of_many_times_that(rng):
    place, strong = Place.of((32, 32), numpy.arange(1024)), lattice(32).reshape(-1)
    wrong, told = 0.0, 0.0
    for _ in range(8):
        noise = rng.normal(size=(1024, 2))
        maps, risk = smooth_maps(noise + numpy.stack((strong, numpy.ones(1024)), -1), place)
        wrong, told = wrong + squared(maps[:, 1] - 1.0), told + risk[:, 1].mean()
    assert 0.5 < told / wrong < 2.5  # what the blocks expect is four times as much


def test_the_error_is_told_larger_where_single_atoms_are_than_where_nothing_is(rng):
    atoms = numpy.zeros((32, 32))
    atoms[rng.integers(2, 30, 6), rng.integers(2, 30, 6)] = 12.0
    near = scipy.ndimage.maximum_filter(atoms, 5) > 0
    flat, place = rng.normal(size=(32, 32)), Place.of((32, 32), numpy.arange(1024))
    wrong, told = numpy.zeros((32, 32)), numpy.zeros((32, 32))
    for _ in range(12):
        column = atoms + rng.normal(size=atoms.shape)
        maps, risk = smooth_maps(numpy.stack((flat, column), -1).reshape(-1, 2), place)
        wrong += (maps[:, 1].reshape(32, 32) - atoms) ** 2 / 12
        told += risk[:, 1].reshape(32, 32) / 12
    for part in (near, ~near):
        assert 0.5 < told[part].mean() / wrong[part].mean() < 2.5, (told[part].mean(), wrong[part].mean())
    assert told[near].mean() > 3 * told[~near].mean()


def test_of_atoms_that_are_barely_found_sigma_tells_where_they_are(rng):
    """Atoms as wide as a probe. By the answer to noise it is told 0.6 of what it is near them, 1.5 between."""
    atoms = numpy.zeros((32, 32))
    atoms[rng.integers(2, 30, 12), rng.integers(2, 30, 12)] = 30.0
    atoms = scipy.ndimage.gaussian_filter(atoms, 0.8)
    near, place = scipy.ndimage.maximum_filter(atoms, 3) > 0.5, Place.of((32, 32), numpy.arange(1024))
    wrong, told = numpy.zeros((32, 32)), numpy.zeros((32, 32))
    for _ in range(12):
        maps, risk = smooth_maps((atoms + rng.normal(size=atoms.shape)).reshape(-1, 1), place)
        wrong += (maps.reshape(32, 32) - atoms) ** 2 / 12
        told += risk.reshape(32, 32) / 12
    assert 0.7 < told[near].mean() / wrong[near].mean() < 1.2
    assert 0.8 < told[~near].mean() / wrong[~near].mean() < 1.3


def test_of_a_lattice_the_error_is_told_alike_everywhere(rng):
    truth, place = lattice(32), Place.of((32, 32), numpy.arange(1024))
    for _ in range(4):
        _, risk = smooth_maps((truth + rng.normal(size=truth.shape)).reshape(-1, 1), place)
        assert numpy.quantile(risk, 0.9) < 3 * numpy.quantile(risk, 0.1)


def test_the_answer_is_that_to_a_samples_own_noise(rng):
    truth = lattice(32)
    x = truth + rng.normal(size=truth.shape)
    step = 0.05 * rng.choice((-1, 1), size=x.shape)
    answer = numpy.mean(step * (shrink(x + step, (8, 8)).estimate - shrink(x, (8, 8)).estimate)) / 0.05**2
    assert shrink(x, (8, 8)).answer.mean() == pytest.approx(answer, abs=0.1)


def test_known_correlation_is_not_taken_for_signal(rng):
    kernel = numpy.array([0.1, 1.0, 0.1])
    noise = numpy.convolve(rng.normal(size=4096), kernel, "same") / numpy.sqrt(squared(kernel) * 3)
    lag = 2 * 0.1 / (3 * squared(kernel))
    blind, told = (squared(smooth(noise, (16, 32), c).estimate) for c in ((), (lag,)))
    assert told < 0.25 * blind


def test_known_correlation_along_both_axes_is_not_taken_for_signal(rng):
    noise = rng.normal(size=(130, 514))
    for axis in (0, 1):
        noise = noise + 0.2 * (numpy.roll(noise, 1, axis) + numpy.roll(noise, -1, axis))
    noise = noise[1:-1, 1:-1] / 1.08
    lags = (0.4 / 1.08, 0.04 / 1.08)
    along_e, along_both = (squared(smooth(noise, (4, 8), *told).estimate) for told in ((lags,), (lags, lags)))
    assert along_both < 0.25 * along_e


@pytest.mark.parametrize("values", [numpy.ones((1, 1)), numpy.ones(1), numpy.zeros((1, 7)), numpy.full((3, 2), 1e9)])
def test_tiny_and_huge_arrays_pass(values):
    result = smooth(values, (4, 8, 16))
    assert result.estimate.shape == values.shape and numpy.isfinite(result.estimate).all()


@pytest.mark.parametrize("lag", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("dark", [0, 200, 290])
def test_the_edge_of_noise_is_where_noise_ends(rng, lag, dark):
    """Also where many channels are dark and hold less noise than others."""
    share = (1 - numpy.sqrt(1 - 4 * lag**2)) / (2 * lag) if lag else 0.0
    variances = numpy.where(numpy.arange(300) < dark, 0.1, 1.0)
    edge, spread = noise_edge(700, noise_powers(variances, (lag,)))
    found = []
    for _ in range(20):
        noise = rng.normal(size=(700, 301))
        noise = (noise[:, 1:] + share * noise[:, :-1]) / numpy.sqrt(1 + share**2)
        found.append(numpy.linalg.norm(noise * numpy.sqrt(variances), 2) ** 2)
    beyond = (numpy.array(found) - edge) / spread
    assert beyond.mean() == pytest.approx(-1.2, abs=0.9)  # Tracy and Widom
    assert beyond.max() < 4 < (1.25**2 * min(found) - edge) / spread


@pytest.mark.parametrize("simulate", [simulate_flake, simulate_hbn])
def test_whitened_noise_has_unit_variance_in_bright_and_dark_rows(simulate):
    counts, truth = recorded(simulate, counts=20000.0)
    place = Place.of((24, 24), numpy.arange(576))
    scaled = whiten(lambda n: counts[n], place, SPECTRA, (1, 256))
    noise = (counts - truth)[:, 0] / (numpy.sqrt(scaled.intensity)[:, None] * scaled.scale)
    bright = scaled.intensity > numpy.median(scaled.intensity)
    assert squared(noise[bright]) == pytest.approx(1, abs=0.1)
    assert 0.5 < squared(noise[~bright]) < 1.2  # the darkest count as a little brighter
    numpy.testing.assert_allclose(scaled.counts(slice(0, 9), scaled.rows(slice(0, 9))), counts[:9, 0], atol=1e-2)


@pytest.mark.parametrize("counts", [300.0, 3000.0])
def test_light_that_hardly_differs_from_noise_holds_none_of_it(counts):
    recording, _ = recorded(simulate_blank, counts=counts)
    scaled = whiten(lambda n: recording[n], Place.of((24, 24), numpy.arange(576)), SPECTRA, (1, 256))
    assert scaled.intensity.std() < 0.05 * counts**-0.5


def test_channels_that_hardly_differ_from_noise_hold_none_of_it(rng):
    """In units of the noise of their mean 0.002 is left; smoothed with their known noise, 0.006 to 0.12."""
    counts = rng.poisson(5.0, (576, 1, 256)).astype(numpy.float32)
    scaled = whiten(lambda n: counts[n], Place.of((24, 24), numpy.arange(576)), NoiseModel(1.0, 0.0, ()), (1, 256))
    assert scaled.variance.std() / scaled.variance.mean() < 0.005 * (5 * 576) ** -0.5


def rank_of(counts):
    scaled = whiten(lambda n: counts[n], Place.of((32, 32), numpy.arange(1024)), SPECTRA, (1, 512))
    fit = LowRankFit(scaled, SPECTRA)
    while not fit.settled:
        fit.step()
    return fit.factors.rank


def test_dark_channels_do_not_hide_a_component():
    """Most channels beyond the phonons hold next to nothing, and less noise than they are scaled by."""
    recordings = [recorded(simulate_phonon, (32, 32), 512, 8000.0, seed=seed)[0] for seed in (0, 4)]
    assert [rank_of(counts) for counts in recordings] == [3, 3]


def test_beside_vacuum_noise_does_not_pass_for_a_component():
    """The few bright positions weigh most where channels are told their brightness; their noise is not one of many."""
    recordings = [recorded(simulate_flake, (32, 32), 512, 2000.0, seed=seed)[0] for seed in range(4)]
    assert max(rank_of(counts) for counts in recordings) == 2


def test_rows_that_come_after_a_fit_have_their_light_smoothed_and_on_the_same_scale():
    counts, truth = recorded(simulate_phonon, (32, 32), 512, 3000.0)
    first, later = numpy.arange(512), numpy.arange(512, 640)
    counts[later], truth[later] = (each[later] for each in recorded(simulate_phonon, (32, 32), 512, 6000.0))
    scaled = whiten(lambda n: counts[n], Place.of((32, 32), first), SPECTRA, (1, 512))
    _, light = scaled.foreign(later, SPECTRA, Place.of((4, 32), later - 512))
    expected = (truth[:, 0] / scaled.scale**2).mean(1)
    ratio = light / scaled.intensity.mean() / (expected[later] / expected[first].mean())
    assert ratio.mean() == pytest.approx(1.0, abs=0.05) and ratio.std() < 0.05


def test_missing_pixels_take_the_mean_of_their_channel():
    counts, _ = recorded(simulate_blank)
    broken = counts.copy()
    broken[7, 0, 50] = numpy.nan
    place = Place.of((24, 24), numpy.arange(576))
    scaled = whiten(lambda n: broken[n], place, SPECTRA, (1, 256))
    rows = scaled.rows(slice(0, 20))
    assert numpy.isfinite(rows).all()
    assert 0.3 * counts.mean() < scaled.counts(slice(7, 8), rows[7:8])[0, 50] < 3 * counts.mean()


def test_a_place_fills_missing_positions_with_their_neighbours():
    place = Place.of((4, 3), numpy.array([0, 1, 2, 4, 6]))
    assert place.shape == (3, 3)
    spread = place.spread(numpy.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert spread.reshape(-1)[[0, 1, 2, 4, 6]].tolist() == [1, 2, 3, 4, 5]
    assert numpy.isfinite(spread).all() and spread[2, 2] in (4.0, 5.0)
    assert place.gather(spread).tolist() == [1, 2, 3, 4, 5]


def test_coarse_frames_keep_unit_noise_where_charge_spreads(rng):
    counts, truth = recorded(simulate_hbn, (12, 12), 300, 40000.0, q_rows=32)
    noise = NoiseModel(1.0, 0.0, (0.1,), (0.1,))
    place = Place.of((12, 12), numpy.arange(144))
    scaled = whiten(lambda n: counts[n], place, noise, (32, 300))
    coarse = Coarse.of(scaled.variance, scaled.spread, noise)
    assert coarse.shape[0] * coarse.shape[1] <= 1024
    rows = (counts - truth).reshape(144, -1) / (numpy.sqrt(scaled.intensity)[:, None] * scaled.scale)
    assert squared(coarse.rows(rows.astype(numpy.float32))) == pytest.approx(1, abs=0.06)


def test_correlated_rows_are_the_product_with_the_correlation_matrix(rng):
    rows = rng.normal(size=(2, 12))
    matrix = numpy.eye(12) + 0.3 * (numpy.eye(12, k=1) + numpy.eye(12, k=-1))
    numpy.testing.assert_allclose(correlated(rows, (1, 12), NoiseModel(1, 0, (0.3,))), rows @ matrix)
