"""The guide of a scan: better than PCA that knows the answer, live as well as at the end, nothing made up."""

import numpy
import pytest
from recorded import recorded

from udvd_core.axes import Axis
from udvd_core.buffer import FrameBuffer
from udvd_core.guide import Guide
from udvd_core.guided import GuideModel
from udvd_core.lowrank.profile import lit_rows
from udvd_core.metrics import psnr
from udvd_core.models import open_model
from udvd_core.noise import NoiseModel
from udvd_core.settings import ScanSpec, Training
from udvd_core.simulate import (
    simulate_blank,
    simulate_dispersive,
    simulate_domains,
    simulate_flake,
    simulate_hbn,
    simulate_particles,
    simulate_plasmon,
    simulate_wedge,
)

SPECTRA = NoiseModel(1.2, 0.0, (0.09,))
FRAMES = NoiseModel(1.0, 0.0, (0.1,), (0.1,))


def guide_of(counts, shape, noise=SPECTRA, known=None):
    guide = Guide(lambda n: counts[n], shape, counts.shape[1:])
    guide.start(numpy.arange(len(counts)) if known is None else known, noise)
    while not guide.settled:
        guide.step()
    return guide


def pca_that_knows(counts, truth):
    """Best PSNR that Poisson-weighted principal components reach at any rank."""
    y, t = counts[:, 0].astype(float), truth[:, 0]
    best = 0.0
    for rows in (numpy.ones(len(y)), y.sum(1) / y.sum(1).mean()):
        scale = numpy.sqrt(numpy.maximum(rows, 1e-3)[:, None] * numpy.maximum(y.mean(0), 1e-3 * y.mean()))
        u, s, v = numpy.linalg.svd(y / scale, full_matrices=False)
        best = max(best, *(psnr((u[:, :r] * s[:r]) @ v[:r] * scale, t) for r in range(1, 13)))
    return best


@pytest.mark.parametrize(
    ("simulate", "dose", "margin"),
    [
        (simulate_hbn, 312, 3),
        (simulate_hbn, 5000, 3),
        (simulate_hbn, 80000, 3),
        (simulate_domains, 5000, 3),
        (simulate_flake, 20000, 2),
        (simulate_particles, 5000, 2),
        (simulate_wedge, 5000, 2),
        (simulate_plasmon, 5000, 2),
    ],
)
def test_above_pca_that_knows_the_answer(simulate, dose, margin):
    counts, truth = recorded(simulate, counts=dose)
    found = guide_of(counts, (24, 24)).frames(numpy.arange(576))
    assert psnr(found, truth) > pca_that_knows(counts, truth) + margin


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pure_noise_gives_the_flat_mean(seed):
    counts, truth = recorded(simulate_blank, counts=2000, seed=seed)
    guide = guide_of(counts, (24, 24))
    found = guide.frames(numpy.arange(576))[:, 0]
    error = (found - counts.mean(0)) / numpy.sqrt(truth[:, 0])
    assert guide.rank == 1
    assert numpy.sqrt(numpy.mean(error**2)) < 2 / numpy.sqrt(576)


def test_frames_gain_30_db_and_more_than_profile_times_spectrum():
    counts, truth = recorded(simulate_hbn, (16, 16), 192, 30000, q_rows=48)
    found = guide_of(counts, (16, 16), FRAMES).frames(numpy.arange(256))
    profile = counts.mean(0) / counts.mean(0).sum(0)
    separable = profile * truth.sum(1, keepdims=True)
    assert psnr(found, truth) > psnr(counts, truth) + 30
    assert psnr(found, truth) > psnr(separable, truth) + 3


def test_dispersion_is_kept():
    counts, truth = recorded(simulate_dispersive, (16, 16), 192, 20000, q_rows=32)
    found = guide_of(counts, (16, 16), FRAMES).frames(numpy.arange(256))
    assert psnr(found, truth) > psnr(counts, truth) + 22


def test_frames_that_no_fit_saw_are_denoised_nearly_as_well():
    counts, truth = recorded(simulate_hbn, counts=5000)
    guide = guide_of(counts, (24, 24), known=numpy.arange(384))
    new = guide.frames(numpy.arange(576))
    whole = guide_of(counts, (24, 24)).frames(numpy.arange(576))
    assert guide.fitted == 384
    assert psnr(new, truth) > psnr(whole, truth) - 1.0
    numpy.testing.assert_array_equal(guide.frames(numpy.arange(400, 420)), new[400:420])


@pytest.mark.parametrize("shape", [(576,), (4, 12, 12), (1, 576), (576, 1)])
def test_every_kind_of_scan(shape):
    counts, truth = recorded(simulate_hbn, counts=5000)
    found = guide_of(counts, shape).frames(numpy.arange(576))
    assert psnr(found, truth) > psnr(counts, truth) + 12


@pytest.mark.parametrize(
    "counts",
    [
        numpy.zeros((6, 1, 40), numpy.float32),
        numpy.ones((1, 1, 40), numpy.float32),
        numpy.full((5, 1, 40), numpy.nan, numpy.float32),
        numpy.full((5, 1, 1), 7, numpy.float32),
        numpy.full((5, 3, 9), -2, numpy.float32),
        numpy.full((5, 1, 40), 3e9, numpy.float32),
    ],
)
def test_odd_counts_end_in_finite_numbers(counts):
    found = guide_of(counts, (len(counts),)).frames(numpy.arange(len(counts)))
    assert found.shape == counts.shape and numpy.isfinite(found).all()


def test_missing_frames_and_pixels_do_no_harm():
    counts, truth = recorded(simulate_hbn, counts=5000)
    counts[5, 0, 30:60] = numpy.nan
    known = numpy.delete(numpy.arange(576), [40, 41, 300])
    found = guide_of(counts, (24, 24), known=known).frames(known)
    assert psnr(found, truth[known]) > 48


@pytest.mark.parametrize(
    ("simulate", "dose"),
    [(simulate_hbn, 5000), (simulate_domains, 5000), (simulate_flake, 20000), (simulate_blank, 2000)],
)
def test_the_standard_error_of_a_voxel_is_calibrated(simulate, dose):
    counts, truth = recorded(simulate, counts=dose, seed=5)
    guide = guide_of(counts, (24, 24))
    numbers = numpy.arange(576)
    z = (guide.frames(numbers) - truth) / guide.error(numbers)
    assert 0.7 < numpy.sqrt((z**2).mean()) < 1.4
    assert 0.6 < (abs(z) < 1).mean() < 0.85


def test_the_result_after_the_last_row_is_that_of_the_whole_scan():
    counts, truth = recorded(simulate_particles, counts=5000)
    live = Guide(lambda n: counts[n], (24, 24), (1, 256))
    for rows in range(1, 25):
        known = numpy.arange(24 * rows)
        if rows in (1, 3, 8, 20, 24):
            live.start(known, SPECTRA)
        live.frames(known[-24:])
    while not live.settled:
        live.step()
    whole = guide_of(counts, (24, 24))
    numbers = numpy.arange(576)
    assert abs(psnr(live.frames(numbers), truth) - psnr(whole.frames(numbers), truth)) < 0.1


def test_rows_without_light_are_left_out_and_come_back_as_the_mean(rng):
    """A detector of 40 rows of which 14 are lit: as good as from those alone, and of the whole shape."""
    lit, truth = recorded(simulate_domains, (12, 12), 96, 30000, q_rows=12)
    counts, whole = numpy.zeros((144, 40, 96), numpy.float32), numpy.zeros((144, 40, 96))
    counts[:, 14:26], whole[:, 14:26] = lit, truth
    counts[:, ::13] += rng.poisson(2e-5, counts[:, ::13].shape)
    found, alone = (denoised_frames(c, (12, 12)) for c in (counts, lit))
    assert found[1] < 20 and found[0].shape == counts.shape
    assert abs(psnr(found[0], whole) - psnr(alone[0], truth) - 10 * numpy.log10(40 / 12)) < 0.3
    assert found[0][:, :10].sum() < 1e-3 * found[0].sum()


@pytest.mark.parametrize("name", ["guide", "guided"])
@pytest.mark.parametrize(("fitted", "waits", "more"), [(200, 250, 251), (4, 5, 6), (240, None, 256)])
def test_a_fit_waits_until_there_are_a_quarter_more_frames_but_not_when_they_are_the_last(name, fitted, waits, more):
    counts, _ = recorded(simulate_hbn, (16, 16), 96, 3000)
    spec = ScanSpec("a", (16, 16), (1, 96), Axis(96), (), Training(name, device="cpu"))
    buffer = FrameBuffer(spec.count, spec.frame_shape)
    model = open_model(spec, buffer, None)
    for frames in (fitted, more):
        buffer.put(0, counts[:frames])
        assert not model.abreast
        while not model.abreast:
            model.learn()
        assert model.settled and model.guide.fitted == frames
        if waits and frames < waits:
            buffer.put(0, counts[:waits])
            assert model.abreast and not model.settled, "a fit for so few more"


def denoised_frames(counts, shape):
    """Frames as the guide denoises them, and how many rows it fitted."""
    spec = ScanSpec("a", shape, counts.shape[1:], Axis(counts.shape[2]), (), Training("guide", frames=True))
    buffer = FrameBuffer(spec.count, spec.frame_shape)
    buffer.put(0, counts)
    model = GuideModel(spec, buffer)
    while not model.settled:
        model.learn()
    return model.denoise(numpy.arange(len(counts))), model.guide.frame_shape[0]


@pytest.mark.parametrize(
    ("light", "rows"),
    [
        ([0, 0, 5, 9, 5, 0], slice(2, 5)),
        ([0, 0, 0], slice(0, 3)),
        ([1, 1, 1], slice(0, 3)),
        ([-0.1, 0.1, 900, 0, 900, -0.2], slice(2, 5)),
        ([3], slice(0, 1)),
    ],
)
def test_lit_rows(light, rows):
    assert lit_rows(numpy.repeat(numpy.array(light, float)[:, None], 4, 1)) == rows


def test_counts_of_nearly_empty_channels_are_kept(rng):
    energy = numpy.arange(400)
    tail = numpy.where(energy < 150, 4 * numpy.exp(-energy / 15), 0.003)  # electrons
    bright = 1 + 0.3 * numpy.sin(numpy.arange(24) / 4)
    expected = numpy.repeat(bright, 24)[:, None, None] * tail
    counts = rng.poisson(expected).astype(numpy.float32)
    guide = Guide(lambda n: counts[n], (24, 24), (1, 400))
    guide.start(numpy.arange(576), NoiseModel())
    while not guide.settled:
        guide.step()
    kept = guide.frames(numpy.arange(576))[:, 0, 160:].sum()
    recorded = counts[:, 0, 160:].sum()
    assert abs(kept - recorded) < 3 * numpy.sqrt(recorded), (kept, recorded)
