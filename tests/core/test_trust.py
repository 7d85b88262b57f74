"""What is said of a result: right ones are trusted, wrong ones are named, where they are wrong."""

import functools
import math
import types

import numpy
import pytest
import scipy.ndimage

from udvd_core.axes import Axis
from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.metrics import psnr
from udvd_core.noise import NoiseModel
from udvd_core.simulate import simulate_blank, simulate_hbn
from udvd_core.split import Split
from udvd_core.trust import (
    bias,
    compare,
    difference,
    findings,
    heldout,
    likelihoods,
    paired_difference,
    quasi_likelihood,
    unsupervised_psnr,
    verdict,
    whiteness,
)
from udvd_core.trust.baselines import Family

SHAPE = (20, 20)
SPREAD = NoiseModel(1.2, 0.0, (1 / 12,))  # a quarter of the electrons counted twice, summed over q


@functools.cache
def recorded(simulate=simulate_hbn):
    sample = simulate(SHAPE, 256, energy=Axis(256, 100.0, 1.6, "eV", "E"), counts=5000.0, q_rows=1)
    recording = Detector(0.25, seed=1).record(sample)
    data, truth = (a.reshape(400, 256).astype(float) for a in (recording.spectra(), recording.truth()))
    return data, truth, sample


def checked(denoised, noise=SPREAD, simulate=simulate_hbn):
    data, _, sample = recorded(simulate)
    return verdict((), whiteness(data, denoised, SHAPE, noise), bias(data, denoised, SHAPE, noise), sample.energy)


# --- likelihood


@pytest.mark.parametrize("noise", [NoiseModel(), NoiseModel(37.0, 900.0)])
def test_the_true_mean_scores_best_also_with_negative_counts(noise):
    rng = numpy.random.default_rng(0)
    counts = noise.gain * rng.poisson(0.5, 200_000) + math.sqrt(noise.read_variance) * rng.normal(size=200_000)
    mean = 0.5 * noise.gain
    scores = [likelihoods(counts, numpy.full(200_000, k * mean), noise).mean() for k in (0.8, 0.9, 1.0, 1.1, 1.2)]
    assert numpy.argmax(scores) == 2


def test_a_perfect_prediction_scores_zero_and_poisson_is_the_known_formula():
    counts, mean = numpy.array([0.0, 1.0, 5.0]), numpy.array([0.5, 2.0, 5.0])
    assert (likelihoods(counts[1:], counts[1:], NoiseModel(3.0, 2.0)) == 0).all()
    expected = counts * numpy.log(mean) - mean - numpy.array([0, -1, 5 * math.log(5) - 5])
    numpy.testing.assert_allclose(likelihoods(counts, mean, NoiseModel()), expected)


def test_estimates_below_zero_are_bad_and_finite():
    data, truth, _ = recorded()
    held = Split(0).masks(range(400), (1, 256))[0][:, 0]
    good, bad = (quasi_likelihood(data, estimate, SPREAD, held) for estimate in (truth, -truth))
    assert math.isfinite(bad)
    assert bad < good - 1
    with pytest.raises(InputError, match="do not go together"):
        quasi_likelihood(data, truth, SPREAD, held & False)


def test_error_of_a_difference_is_its_scatter():
    rng = numpy.random.default_rng(0)
    found = []
    for _ in range(300):
        pixels = rng.poisson(20, 200).astype(float)
        common = 100 * rng.normal(size=200)
        found.append(paired_difference(common + 0.1 * pixels + rng.normal(size=200), common, pixels))
    means, errors = numpy.array(found).T
    assert means.mean() == pytest.approx(0.1, abs=0.001)
    assert errors.mean() == pytest.approx(means.std(), rel=0.15)


# --- models on held-out counts


@functools.cache
def scores(simulate):
    data, truth, _ = recorded(simulate)
    models = {"truth": lambda shown, visible: truth, "raw": lambda shown, visible: shown}
    return {score.name: score for score in compare(data, SHAPE, models, Split(0), SPREAD)}


def test_pca_beats_smoothing_beats_mean_and_nothing_beats_the_truth():
    found = scores(simulate_hbn)
    order = ("truth", "PCA, automatic rank", "smoothing", "mean spectrum")
    for better, worse in zip(order, order[1:], strict=False):
        gain, error = found[better].better_than(found[worse])
        assert gain > 3 * error, (better, worse)
    assert found["PCA, automatic rank"].setting == "rank 2"
    assert found["raw"].likelihood < found["smoothing"].likelihood
    assert "truth predicts held-out counts best" in verdict(list(found.values()))


def test_nothing_is_found_where_nothing_is():
    found = scores(simulate_blank)
    for name in ("smoothing", "PCA, automatic rank", "PCA, best rank"):
        assert found[name].gain < 2 * found[name].error
    told = verdict([found[name] for name in ("mean spectrum", "smoothing", "PCA, best rank")])
    assert told.startswith("Trust no difference between positions")


def test_choosing_among_many_settings_makes_no_score_better_than_it_is(monkeypatch):
    data, truth, _ = recorded()
    noisy = [truth * (1 + 0.01 * numpy.random.default_rng(1000 + seed).normal(size=truth.shape)) for seed in range(60)]
    luck = Family("luck", lambda data, visible, k: noisy[k], tuple(lambda b, k=k: [k] for k in range(60)), str)
    monkeypatch.setattr(heldout, "smoothing", lambda scan_shape: luck)
    models = {"one": lambda shown, visible: noisy[0], "best": lambda shown, visible: noisy[chosen]}
    chosen = 0
    chosen = int(compare(data, SHAPE, models, Split(0), SPREAD)[1].setting)
    found = {score.name: score for score in compare(data, SHAPE, models, Split(0), SPREAD)}
    assert found["best"].better_than(found["one"])[0] > 0
    assert found["luck"].likelihood < found["best"].likelihood


def test_models_see_nothing_of_what_is_held_out():
    data, _, _ = recorded()
    split, seen = Split(0), []

    def spy(shown, visible):
        seen.append((shown, visible))
        return shown

    compare(data, SHAPE, {"spy": spy}, split, SPREAD)
    spoiled = numpy.where(split.masks(range(400), (1, 256))[1][:, 0], data, 1e6)
    one = compare(data, SHAPE, {}, split, SPREAD)
    two = compare(spoiled, SHAPE, {"spy": spy}, split, SPREAD)
    assert (seen[0][0] == seen[1][0]).all()
    assert [score.setting for score in one][2] == [score.setting for score in two][2]
    assert not seen[0][0][~seen[0][1]].any()


def test_missing_values_and_masked_channels_are_left_out():
    data, truth, _ = recorded()
    gap = data.copy()
    gap[:, 100:110] = numpy.nan
    gap[7] = numpy.nan
    found = {s.name: s for s in compare(gap, SHAPE, {"truth": lambda shown, visible: truth}, Split(0), SPREAD)}
    assert found["truth"].likelihood == pytest.approx(scores(simulate_hbn)["truth"].likelihood, rel=0.1)
    assert found["truth"].pixels[7] == 0
    assert found["PCA, automatic rank"].setting == "rank 2"


def test_models_that_fail_are_named():
    data, _, _ = recorded()
    with pytest.raises(InputError, match="model odd gave shape"):
        compare(data, SHAPE, {"odd": lambda shown, visible: shown[:, :-1]}, Split(0), SPREAD)
    with pytest.raises(InputError, match="too few to hold out"):
        compare(data[:1, :2], (1, 1), {}, Split(3, 0.001), SPREAD)


# --- finished scans


def test_the_truth_is_trusted_and_its_residual_is_noise():
    data, truth, _ = recorded()
    white, found = whiteness(data, truth, SHAPE, SPREAD), bias(data, truth, SHAPE, SPREAD)
    assert not any(check.off for check in white.checks)
    assert white.energy[0].value == pytest.approx(1 / 12, abs=0.02)
    assert white.noise_left < 0.02
    assert found.found == ()
    assert all(value == pytest.approx(1.0, abs=0.12) for name, value in found.rms.items() if not name.startswith("all"))
    assert checked(truth).startswith("Nothing speaks against this result")


def test_spreading_that_is_not_allowed_for_looks_like_signal():
    _, truth, _ = recorded()
    assert checked(truth, NoiseModel()) != checked(truth)
    wide = [bias(recorded()[0], truth, SHAPE, noise).rms["1 x 64"] for noise in (SPREAD, NoiseModel(1.2))]
    assert wide[0] == pytest.approx(1.0, abs=0.04)
    assert wide[1] == pytest.approx(math.sqrt(SPREAD.window_factor(64)), abs=0.04)
    plain = types.SimpleNamespace(gain=1.2, read_variance=0.0, variance=SPREAD.variance)
    assert checked(truth, plain) != checked(truth)  # a model that knows no correlation still works


def test_a_missing_edge_is_named():
    data, truth, sample = recorded()
    part = sample.parts[-1]
    without = truth - (part.weight[..., None] * part.spectrum).reshape(400, 256)
    told = checked(without)
    assert told.startswith("Do not trust 401 to 4")
    assert "at all positions (signal is missing" in told
    assert checked(2 * truth - without).startswith("Do not trust 401 to 4")
    assert "signal was made up" in checked(2 * truth - without)


def test_an_atom_that_is_missing_is_named_where_it_is():
    data, truth, _ = recorded()
    wrong = truth.copy()
    wrong[7 * 20 + 11, 100:164] = 0.5 * wrong[7 * 20 + 11, 100:164]
    told = checked(wrong)
    assert "at y 7, x 11 (signal is missing" in told or "at y 4 to 7, x 8 to 11" in told
    (only,) = findings(bias(data, wrong, SHAPE, SPREAD))
    assert only.channels.start < 164 and only.channels.stop > 100


@pytest.mark.parametrize(
    ("sigma", "words"),
    [((0, 0, 3), "Do not trust 196 to 201 eV at all positions"), ((2, 2, 0), "structure was smoothed away")],
)
def test_too_smooth_scans_are_named(sigma, words):
    _, truth, _ = recorded()
    smooth = scipy.ndimage.gaussian_filter(truth.reshape(*SHAPE, 256), sigma).reshape(400, 256)
    told = checked(smooth)
    assert told.startswith("Do not trust")
    assert words in told


def test_noise_that_came_through_is_named():
    data, truth, _ = recorded()
    assert "still holds about 100% of the noise" in checked(data)
    assert "fine texture is no signal" in checked(0.5 * (data + truth))


def test_weak_structure_over_the_whole_scan_shows_in_the_correlations():
    data, truth, _ = recorded()
    wave = 0.3 * numpy.sqrt(SPREAD.variance(truth)) * numpy.cos(numpy.arange(400) // 20 / 3)[:, None]
    white = whiteness(data, truth + wave * numpy.sign(numpy.sin(numpy.arange(256) * 0.37)), SHAPE, SPREAD)
    assert white.scan[0].off
    assert white.scan[0].value > 0.02


def test_false_alarms_are_rare_in_sparse_scans():
    rng = numpy.random.default_rng(0)
    mean = numpy.outer(rng.uniform(0.5, 1.5, 100), 0.3 * numpy.exp(-numpy.arange(128) / 20))
    alarms = sum(bool(bias(rng.poisson(mean), mean, (10, 10), NoiseModel()).found) for _ in range(200))
    assert alarms <= 6


def test_dark_beside_bright_is_no_alarm_and_counts_out_of_nothing_are():
    mean = numpy.full((100, 64), 1000.0)
    mean[:, :32] = 1e-5
    data = numpy.random.default_rng(0).poisson(mean)
    data[3, 4], data[70, 20] = 1, 1
    assert bias(data, mean, (10, 10), NoiseModel()).found == ()
    data[50:60, 4] = 2
    (worst, *_) = bias(data, mean, (10, 10), NoiseModel()).found
    assert worst.sigma > 5 and worst.channels.start <= 4 < worst.channels.stop
    assert bias(data, -mean, (10, 10), NoiseModel()).found


@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 2, 3), (1, 1)])
def test_every_kind_of_scan(shape):
    rng = numpy.random.default_rng(0)
    count = math.prod(shape)
    data, mean = rng.poisson(9.0, (count, 30)), numpy.full((count, 30), 9.0)
    assert len(whiteness(data, mean, shape, NoiseModel()).scan) == sum(size > 1 for size in shape)
    told = verdict((), whiteness(data, mean, shape, NoiseModel()), bias(data, 3 * mean, shape, NoiseModel()))
    assert told.startswith("Do not trust channels 0 to 29")


def test_difference_is_in_units_of_the_noise():
    data, truth, _ = recorded()
    assert difference(data, truth, SPREAD).std() == pytest.approx(1.0, abs=0.02)
    with pytest.raises(InputError, match="want the same scan"):
        difference(data, truth[:5], SPREAD)
    with pytest.raises(InputError, match="want .n, E. of one scan"):
        bias(data, truth, (3, 3), SPREAD)


# --- independent copies


def test_unsupervised_psnr_is_that_against_the_truth():
    rng = numpy.random.default_rng(0)
    truth = rng.uniform(2, 20, (300, 64))
    estimate = truth + rng.normal(0, 0.5, truth.shape)
    found = unsupervised_psnr(estimate, *rng.poisson(truth, (3, *truth.shape)), peak=truth.max())
    assert found.low < found.psnr < found.high
    assert found.psnr == pytest.approx(psnr(estimate, truth), abs=3 * (found.high - found.low))
    assert found.high - found.low < 2


def test_error_of_unsupervised_psnr_is_its_scatter_and_smaller_than_with_copies_in_fixed_parts():
    rng = numpy.random.default_rng(0)
    truth = rng.uniform(2, 20, (100, 16))
    found, fixed = [], []
    for _ in range(200):
        a, b, c = rng.poisson(truth, (3, *truth.shape))
        found.append(unsupervised_psnr(truth, a, b, c))
        fixed.append(((a - truth) ** 2).mean() - ((b - c) ** 2).mean() / 2)
    mse = numpy.array([one.mse for one in found])
    error = numpy.mean([one.mse_error for one in found])
    assert abs(mse.mean()) < 4 * error / math.sqrt(200)
    assert error == pytest.approx(mse.std(), rel=0.2)
    assert mse.std() < 0.5 * numpy.std(fixed)


def test_copies_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="at least two copies"):
        unsupervised_psnr(numpy.ones((3, 3)), numpy.ones((3, 3)))
