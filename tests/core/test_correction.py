"""The correction network: blind on every length, gated by held-out counts, weights that are what they say."""

import json
import math

import numpy
import pytest
import torch
from recorded import recorded

from udvd_core import cli
from udvd_core.axes import Axis
from udvd_core.blind import blind_guide
from udvd_core.buffer import FrameBuffer
from udvd_core.corrected import GuidedModel
from udvd_core.correction import training, weights
from udvd_core.correction.blocks import pieces
from udvd_core.correction.gate import CLOSED, Gate, judge
from udvd_core.correction.inputs import CHANNELS, HALO, common, left_over, residual, surroundings
from udvd_core.correction.network import CorrectionNetwork, flops_per_pixel
from udvd_core.errors import WeightsError
from udvd_core.metrics import psnr
from udvd_core.noise import NoiseModel
from udvd_core.settings import ScanSpec, Training
from udvd_core.simulate import simulate_blank, simulate_domains, simulate_flake, simulate_hbn
from udvd_core.split import Split

POISSON = NoiseModel()


def random_network(hidden=1):
    torch.manual_seed(3)
    network = CorrectionNetwork(hidden).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def seen_by(network, channels, at):
    """Which own residuals the correction of one channel depends on."""
    own = torch.randn(1, 1, channels, dtype=torch.float64, requires_grad=True)
    around = torch.randn(1, CHANNELS, channels, dtype=torch.float64)
    network(own, around)[0, at].backward()
    return own.grad[0, 0] != 0


@pytest.mark.parametrize("hidden", [0, 1, 3])
@pytest.mark.parametrize("channels", [5, 64, 301])
def test_no_correction_sees_its_own_pixel_nor_the_hidden_ones(hidden, channels):
    network = random_network(hidden)
    for at in {0, 1, channels // 2, channels - 1}:
        seen = seen_by(network, channels, at)
        assert not seen[max(0, at - hidden) : at + hidden + 1].any()
        if hidden + 1 <= at:
            assert seen[at - hidden - 1]
        if at + hidden + 1 < channels:
            assert seen[at + hidden + 1]


def test_at_most_100_kflop_per_pixel():
    assert flops_per_pixel(CorrectionNetwork()) <= 100_000


def test_surroundings_do_not_hold_the_own_position(rng):
    z, guide = rng.normal(size=(9, 11, 1, 20)).astype(numpy.float32), numpy.full((9, 11, 1, 20), 5, numpy.float32)
    sigma, left = numpy.sqrt(guide), numpy.zeros((4, 1, 20), numpy.float32)
    before = surroundings(z, guide, sigma, left, POISSON)
    z[4, 5] += 100
    after = surroundings(z, guide, sigma, left, POISSON)
    numpy.testing.assert_allclose(after[4, 5], before[4, 5], atol=2e-4)
    assert abs(after[4, 4] - before[4, 4]).max() > 10  # its neighbour sees all of it


def test_what_is_left_over_is_zero_for_noise_and_more_for_structure(rng):
    noise = rng.normal(size=(24, 24, 1, 200)).astype(numpy.float32)
    assert abs(left_over(noise, POISSON)).mean() < 0.2
    masked = noise * (rng.random(noise.shape) > 0.3)
    assert abs(left_over(masked, POISSON)).mean() < 0.2
    structure = noise + 0.5 * numpy.sin(numpy.arange(24) / 4)[:, None, None, None]
    assert left_over(structure.astype(numpy.float32), POISSON)[2].mean() > 1


@pytest.mark.parametrize("grid", [(12, 10), (1, 120), (120, 1)])
def test_pieces_equal_the_whole_scan(rng, grid):
    y, x = grid
    counts = rng.poisson(5, (2 * y * x, 2, 16)).astype(numpy.float32)
    guide, sigma = numpy.full_like(counts, 5), numpy.full_like(counts, 2)
    left = numpy.zeros((4, 2, 16), numpy.float32)
    known = numpy.arange(2 * y * x)
    wanted = numpy.concatenate((known[7:31], known[y * x + 3 : y * x + 9]))
    z = residual(counts, guide, sigma)
    whole = numpy.concatenate(
        [surroundings(*(a.reshape(2, y, x, 2, 16)[page] for a in (z, guide, sigma)), left, POISSON) for page in (0, 1)]
    ).reshape(-1, 2, CHANNELS, 16)
    got = numpy.empty((wanted.size, 2, CHANNELS, 16), numpy.float32)
    for piece in pieces(
        wanted, known, grid, lambda n, rows: (counts[n][:, rows], guide[n][:, rows], sigma[n][:, rows]), left, POISSON
    ):
        got[piece.chosen, piece.rows] = piece.around.reshape(piece.chosen.size, -1, CHANNELS, 16)
        numpy.testing.assert_array_equal(
            piece.own.reshape(piece.chosen.size, -1, 16), z[wanted[piece.chosen], piece.rows]
        )
    numpy.testing.assert_allclose(got, whole[wanted], atol=1e-4)


def test_pieces_with_gaps_see_nothing_where_nothing_came(rng):
    counts = rng.poisson(5, (120, 1, 16)).astype(numpy.float32)
    known = numpy.delete(numpy.arange(60), [13, 25])

    def frames(numbers, rows):
        shape = (numbers.size, 1, 16)
        return counts[numbers], numpy.full(shape, 5, numpy.float32), numpy.ones(shape, numpy.float32)

    for piece in pieces(known, known, (12, 10), frames, numpy.zeros((4, 1, 16), numpy.float32), POISSON):
        assert numpy.isfinite(piece.around).all() and len(piece.own) == known.size


@pytest.mark.parametrize(("truth", "expected"), [(1.0, 1.0), (0.0, 0.0), (-1.0, 0.0), (0.4, 0.4)])
def test_the_gate_lets_pass_what_held_out_counts_support(rng, truth, expected):
    correction = rng.normal(0, 0.3, (400, 1, 200)).astype(numpy.float32)
    missing = (truth * correction + rng.normal(size=correction.shape)).astype(numpy.float32)
    held = rng.random(correction.shape) < 0.2
    place = numpy.unravel_index(numpy.arange(400), (20, 20))
    gate = judge(missing, correction, held, place, (20, 20))
    assert gate.share.mean() == pytest.approx(expected, abs=0.15)
    assert gate.of(place, (20, 20), 200).shape == (400, 1, 200)


def test_the_gate_opens_where_the_correction_is_right_and_closes_elsewhere(rng):
    correction = rng.normal(0, 0.5, (400, 1, 160)).astype(numpy.float32)
    right = numpy.arange(160) < 80
    missing = (correction * numpy.where(right, 1, -0.2) + rng.normal(size=correction.shape)).astype(numpy.float32)
    place = numpy.unravel_index(numpy.arange(400), (20, 20))
    share = judge(missing, correction, rng.random(correction.shape) < 0.2, place, (20, 20)).of(place, (20, 20), 160)
    assert share[..., right].mean() > 0.8 and share[..., ~right].mean() < 0.2


def test_a_gate_without_a_judgement_stays_closed(rng):
    nothing = numpy.zeros((4, 1, 8), numpy.float32)
    place = (numpy.zeros(4, int), numpy.arange(4))
    assert judge(nothing, nothing, numpy.zeros(nothing.shape, bool), place, (1, 4)) is CLOSED
    assert judge(nothing, nothing + numpy.nan, nothing == 0, place, (1, 4)) is CLOSED


def model_of(counts, shape, **options):
    spec = ScanSpec(
        "a", shape, counts.shape[1:], Axis(counts.shape[2], 100, 1, "eV", "E"), (), Training(device="cpu", **options)
    )
    buffer = FrameBuffer(spec.count, spec.frame_shape)
    buffer.put(0, counts)
    model = GuidedModel(spec, buffer)
    while not model.settled:
        model.learn()
    return model


@pytest.mark.parametrize(("simulate", "least"), [(simulate_domains, 0.1), (simulate_hbn, -0.1), (simulate_blank, -0.1)])
def test_the_correction_wins_where_a_scan_is_not_low_rank_and_loses_nowhere(simulate, least):
    counts, truth = recorded(simulate, counts=5000, seed=11)
    model = model_of(counts, (24, 24))
    numbers = numpy.arange(576)
    guide, guided = psnr(model.guide.frames(numbers), truth), psnr(model.denoise(numbers), truth)
    assert guided - guide > least, model.provenance()


def test_frames_are_corrected_and_keep_their_sums():
    counts, truth = recorded(simulate_domains, (12, 12), 96, 30000, q_rows=12)
    model = model_of(counts, (12, 12), frames=True)
    found = model.denoise(numpy.arange(144))
    assert psnr(found, truth) > psnr(counts, truth) + 20
    assert psnr(found.sum(1), truth.sum(1)) > psnr(counts.sum(1), truth.sum(1)) + 10


def test_pure_noise_does_not_return_through_the_guide_that_judges():
    """At held-out pixels the error of the blind guide has nothing in common with the noise there."""
    counts, truth = recorded(simulate_blank, counts=2000, seed=4)
    numbers = numpy.arange(576)
    held, visible = Split(0, 0.1, (0, 1)).masks(numbers, (1, 256))
    noise = NoiseModel(1.2, 0.0, (0.09,))
    guide = blind_guide(counts, visible, numbers, (24, 24), noise)
    error, own = (guide.frames(numbers) - truth)[held], (counts - truth)[held]
    error, own = error / numpy.sqrt(truth[held]), own / numpy.sqrt(truth[held])
    spread = math.sqrt((error**2).mean() * (own**2).mean() / held.sum())
    assert abs((error * own).mean()) < 4 * spread


def test_shipped_weights_are_those_of_their_card():
    network, digest = weights.load()
    card = json.loads(weights.SHIPPED.with_suffix(".json").read_text())
    assert digest == card["sha256"] and card["scans"] >= 100 and card["held_out"]["gain_db"]["median"] > 0
    assert network.last.weight.abs().max() > 0


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not a file of tensors", "holds no correction network"), (b"", "holds no correction network")],
)
def test_damaged_weights_are_refused(tmp_path, content, words):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        weights.load(path)


def test_weights_that_were_changed_or_pickled_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, CorrectionNetwork(), {"scans": 1})
    assert weights.load(path)[0].last.weight.abs().max() == 0
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="changed or is damaged"):
        weights.load(path)
    with pytest.raises(WeightsError, match="tensors only"):
        weights.load(tmp_path / "w.pth")


def test_without_usable_weights_the_guide_stands_and_says_so(monkeypatch, tmp_path):
    counts, _ = recorded(simulate_hbn, (8, 8), 64)
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "none.safetensors")
    model = model_of(counts, (8, 8))
    assert "the guide alone" in model.note and "cannot be read" in model.note
    numpy.testing.assert_array_equal(model.denoise(numpy.arange(64)), model.guide.frames(numpy.arange(64)).clip(0))
    with pytest.raises(WeightsError):
        model_of(counts, (8, 8), weights=str(tmp_path / "none.safetensors"))


def test_pretraining_learns(monkeypatch):
    monkeypatch.setattr(training, "POSITIONS", (10, 13))
    monkeypatch.setattr(training, "CHANNELS", (128,))
    lessons = [training.lesson([1, k]) for k in range(6)]
    assert all(
        numpy.isfinite(x.astype(numpy.float32)).all() for one in lessons for x in (one.own, one.around, one.missing)
    )
    torch.manual_seed(0)
    network, told = CorrectionNetwork(), []
    assert training.gain_db(network, lessons[0]) == 0
    training.pretrain(network, lessons, 60, 0, lambda step, error: told.append(error))
    assert len(told) == 60 and told[-1] < 1
    assert HALO == 4


def test_the_command_rebuilds_weights(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(training, "POSITIONS", (8, 10))
    monkeypatch.setattr(training, "CHANNELS", (128,))
    path = tmp_path / "w.safetensors"
    digests = []
    for _ in range(2):
        assert cli.main(["pretrain", "--output", str(path), "--scans", "3", "--steps", "4", "--json"]) == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert told["scans"] == 2 and told["held_out"]["scans"] == 1
        digests.append(weights.load(path)[1])
    assert digests[0] == digests[1] == told["sha256"]
    assert cli.main(["pretrain", "--output", str(tmp_path / "no" / "w.safetensors")]) == 2
    assert "in a folder that exists" in capsys.readouterr().err


def test_a_judgement_of_few_rows_does_no_harm_to_a_guide_of_all():
    """Where the computer is too busy to judge again, what passed early neither stays as it was nor costs anything."""
    counts, truth = recorded(simulate_flake, (32, 32), 512, 20000)
    buffer, numbers = FrameBuffer(1024, (1, 512)), numpy.arange(1024)
    spec = ScanSpec("t", (32, 32), (1, 512), Axis(512), training=Training(device="cpu"))
    model = GuidedModel(spec, buffer)
    buffer.put(0, counts[:384])
    while not model.settled:
        model.learn()
    assert model._correctors[0].gate.share.mean() > 0.5
    buffer.put(384, counts[384:])
    model.guide.start(numbers, model.camera.noise)
    while not model.guide.settled:
        model.guide.step()
    guide = model.guide.frames(numbers)
    numpy.testing.assert_array_equal(model.denoise(numbers), guide.clip(0))
    model.learn()
    corrected = model.denoise(numbers)
    assert abs(corrected - guide.clip(0)).max() > 0
    assert psnr(corrected, truth) > psnr(guide, truth) - 0.05


def test_the_correction_leaves_alone_what_all_positions_share(rng):
    """A network that wants to add the same everywhere adds nothing: a fixed pattern, too, stays as the counts tell."""
    counts, _ = recorded(simulate_blank, counts=5000, seed=6)
    counts = rng.poisson(counts * (1 + 0.05 * rng.normal(size=counts.shape[1:]))).astype(numpy.float32)
    model = model_of(counts, (24, 24))
    numbers = numpy.arange(576)
    light, corrector = model.guide.light(numbers), model._correctors[0]
    corrector.gate = Gate(numpy.ones((1, 1, 1)), 0.0)

    def shared():
        added = (model.denoise(numbers) - model.guide.frames(numbers)) / model.guide.sigma(numbers)
        return numpy.sqrt(numpy.square(common(added, light)).mean())

    taken_off = shared()
    corrector._common = numpy.zeros_like(corrector._common)
    assert taken_off < 0.25 * shared()
