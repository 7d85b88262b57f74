"""Training: it learns, it keeps the best, it survives bad numbers, it never learns from held-out pixels."""

import math

import numpy
import pytest
import scipy.ndimage
import torch

from udvd_core import checkpoint, inference, udvd
from udvd_core.axes import Axis
from udvd_core.blindspot import BlindspotNetwork, paper_network
from udvd_core.buffer import FrameBuffer
from udvd_core.device import choose_device
from udvd_core.errors import EngineError, WeightsError
from udvd_core.framing import GRID, LINE
from udvd_core.settings import ScanSpec, Training
from udvd_core.trainer import MOST_ROLLBACKS, Trainer
from udvd_core.udvd import UdvdModel


def small_trainer(learning_rate=3e-3):
    torch.manual_seed(0)
    network = BlindspotNetwork(LINE, (0, 1), 4, True)
    for weight in network.parameters():
        torch.nn.init.kaiming_normal_(weight, a=0.1)
    return Trainer(network, learning_rate)


def small_batch(frames=4):
    """Windows of a smooth signal with unit noise, targets, and a weight of one everywhere."""
    torch.manual_seed(1)
    signal = 3 * torch.sin(torch.arange(24) / 3).expand(frames, 5, 1, 24)
    windows = signal + torch.randn(frames, 5, 1, 24)
    return windows, windows[:, 2], torch.ones(frames, 1, 24)


def weights(network):
    return torch.cat([weight.detach().flatten() for weight in network.state_dict().values()]).clone()


def test_loss_falls():
    trainer, batch = small_trainer(), small_batch()
    losses = [trainer.step(*batch) for _ in range(60)]
    assert trainer.steps == 60
    assert numpy.mean(losses[-10:]) < 0.6 * numpy.mean(losses[:5])
    assert numpy.mean(losses[-10:]) < trainer.loss < losses[0]


def test_the_best_weights_are_a_copy_that_later_steps_leave_alone():
    """In the published code they are live references to the last ones."""
    trainer, batch = small_trainer(), small_batch()
    for _ in range(10):
        trainer.step(*batch)
    trainer.judge(*batch)
    before, score = weights(trainer.best), trainer.held_out
    for _ in range(10):
        trainer.step(*batch)
    assert not torch.equal(weights(trainer.network), before)
    assert torch.equal(weights(trainer.best), before)
    trainer.judge(batch[0], batch[1] + 100, batch[2])  # judged as far worse: nothing changes
    assert torch.equal(weights(trainer.best), before)
    assert (trainer.held_out, trainer.stale) == (score, 1)
    trainer.judge(*batch)
    assert not torch.equal(weights(trainer.best), before)
    assert trainer.held_out < score and trainer.stale == 0
    assert not any(a is b for a, b in zip(trainer.best.parameters(), trainer.network.parameters(), strict=True))


def test_a_score_that_is_no_number_is_no_improvement():
    trainer, batch = small_trainer(), small_batch()
    trainer.step(*batch)
    before = weights(trainer.best)
    assert math.isnan(trainer.judge(batch[0], batch[1] * math.nan, batch[2]))
    assert torch.equal(weights(trainer.best), before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_numbers_roll_back_and_at_last_freeze(bad):
    trainer, batch = small_trainer(4e-3), small_batch()
    for _ in range(7):
        trainer.step(*batch)
    trainer.judge(*batch)
    best = weights(trainer.best)
    poisoned = (batch[0].clone(), batch[1], batch[2])
    poisoned[0][0, 2, 0, 5] = bad
    for number in range(1, MOST_ROLLBACKS + 2):
        assert not trainer.frozen
        trainer.step(*batch)
        assert math.isnan(trainer.step(*poisoned))
        assert trainer.rollbacks == number
        assert trainer.learning_rate == pytest.approx(4e-3 / 2**number)
        assert torch.equal(weights(trainer.network), best)
        assert torch.equal(weights(trainer.best), best)
    assert trainer.frozen
    steps = trainer.steps
    assert math.isnan(trainer.step(*batch))
    assert trainer.steps == steps
    assert torch.isfinite(trainer.best.estimate(batch[0])).all()


def spec_for(scan_shape=(4, 5), frame_shape=(1, 40), **training):
    training = {"device": "cpu", "width": 4, **training}
    return ScanSpec(
        "a",
        scan_shape,
        frame_shape,
        Axis(frame_shape[1], 100.0, 1.0, "eV", "E"),
        (),
        Training(**{"model": "udvd", **training}),
    )


def model_for(spec, rng, received=None, frames=None):
    """Model with a full buffer, or with the frames `received` only, and with random weights that do something."""
    buffer = FrameBuffer(spec.count, spec.frame_shape)
    if frames is None:
        frames = rng.poisson(
            30 + 20 * numpy.sin(numpy.arange(spec.frame_shape[1]) / 5), (spec.count, *spec.frame_shape)
        )
    for number in range(spec.count) if received is None else received:
        buffer.put(number, frames[number : number + 1].astype(numpy.float32))
    model = UdvdModel(spec, buffer)
    torch.manual_seed(2)
    for weight in model._trainer.best.parameters():
        torch.nn.init.kaiming_normal_(weight, a=0.1)
    return model, buffer


@pytest.mark.parametrize(
    ("frame_shape", "hidden"), [((1, 200), (0, 1)), ((6, 40), (1, 1)), ((6, 40), (0, 0)), ((6, 40), (2, 3))]
)
def test_held_out_pixels_are_never_targets(rng, frame_shape, hidden):
    spec = spec_for(frame_shape=frame_shape, hidden=hidden)
    model, _ = model_for(spec, rng)
    numbers = numpy.arange(spec.count)
    windows, target, weight = model._batch(numbers, held_out=False, crop=False)
    _, _, held = model._batch(numbers, held_out=True, crop=False)
    held = held.numpy().astype(bool)
    assert 0.03 < held.mean() < 0.07
    target = (target + 0.123).requires_grad_()  # so that no residual is 0 by chance
    model._trainer.step(windows, target, weight)
    used = target.grad.numpy() != 0
    assert not used[held].any()
    near = scipy.ndimage.binary_dilation(held, numpy.ones((1, 2 * hidden[0] + 1, 2 * hidden[1] + 1)))
    assert not used[near].any(), "a target within the hidden radius of a held-out pixel may carry its spread charge"
    assert used[~near].all()
    assert all((model._batch(numbers, held_out=True, crop=False)[2].numpy() == held).all() for _ in range(2))


def test_held_out_pixels_stay_where_they_are_in_a_crop(rng, monkeypatch):
    monkeypatch.setattr(udvd, "LARGEST_CROP", (3, 16))
    spec = spec_for(frame_shape=(6, 40))
    frames = rng.permutation(spec.count * 240).reshape(spec.count, 6, 40) + 1000.0
    model, _ = model_for(spec, rng, frames=frames)
    numbers = numpy.arange(spec.count)
    whole = model._batch(numbers, held_out=False, crop=False)
    corners = set()
    for _ in range(30):
        part = model._batch(numbers, held_out=False, crop=True)
        assert part[1].shape == (spec.count, 3, 16)
        ((_, q, e),) = (whole[1][:1] == part[1][0, 0, 0]).nonzero().tolist()
        corners.add((q, e))
        for one, other in zip(whole, part, strict=True):
            torch.testing.assert_close(one[..., q : q + 3, e : e + 16], other, rtol=0, atol=0)
    assert {q for q, _ in corners} == {0, 1, 2, 3}
    assert len(corners) > 10


@pytest.mark.parametrize("scan_shape", [(3, 3), (5,), (2, 2, 2), (1, 1)], ids=str)
@pytest.mark.parametrize(("frame_shape", "hidden"), [((1, 12), (0, 1)), ((4, 6), (1, 1))])
@pytest.mark.parametrize("partly", [False, True])
def test_a_denoised_pixel_does_not_know_its_own_counts(rng, scan_shape, frame_shape, hidden, partly):
    """Neighbours that are outside the scan or have not come must not bring the hidden pixels back."""
    spec = spec_for(scan_shape, frame_shape, hidden=hidden)
    received = range(0, spec.count, 2) if partly else range(spec.count)
    model, buffer = model_for(spec, rng, received)
    for number in received:
        before = model.denoise(numpy.array([number]))
        for q, e in ((0, 0), (frame_shape[0] - 1, 5), (0, frame_shape[1] - 1)):
            kept = buffer._frames[number].copy()
            near = numpy.s_[max(0, q - hidden[0]) : q + hidden[0] + 1, max(0, e - hidden[1]) : e + hidden[1] + 1]
            buffer._frames[number][near] += 50
            after = model.denoise(numpy.array([number]))
            buffer._frames[number] = kept
            assert after[0, q, e] == pytest.approx(before[0, q, e], rel=1e-5)
            assert abs(after - before).max() > 0.01


def test_a_neighbour_of_a_spectrum_counts_where_it_has_come(rng):
    spec = spec_for((5, 5), (1, 12))
    model, buffer = model_for(spec, rng, [0, 12, 24])
    alone = model.denoise(numpy.array([12]))
    windows, _ = model._windows(numpy.array([12]), model._standard)
    assert [bool(frame.any()) for frame in windows[0]] == [k == GRID.centre for k in range(9)]
    buffer.put(6, numpy.full((1, 1, 12), 70, numpy.float32))
    model._known = 4  # the standardisation stays, so that only the window changes
    assert abs(model.denoise(numpy.array([12])) - alone).max() > 0.01


def test_missing_pixels_are_no_targets_and_give_finite_results(rng):
    spec = spec_for()
    frames = rng.poisson(30, (spec.count, 1, 40)).astype(float)
    frames[:, 0, 7] = numpy.nan
    frames[3, 0, 11] = numpy.inf
    model, _ = model_for(spec, rng, frames=frames)
    windows, target, weight = model._batch(numpy.arange(spec.count), held_out=False, crop=False)
    assert torch.isfinite(windows).all() and torch.isfinite(target).all()
    assert not weight[:, 0, 7].any() and weight[3, 0, 11] == 0
    for _ in range(30):
        model.learn()
    assert math.isfinite(model._trainer.loss) and math.isfinite(model._trainer.held_out)
    assert numpy.isfinite(model.denoise(numpy.arange(spec.count))).all()


def test_saved_and_gone_on_from(tmp_path, rng):
    spec = spec_for()
    model, buffer = model_for(spec, rng)
    for _ in range(30):
        model.learn()
    model.save(str(tmp_path / "a.safetensors"))
    again = UdvdModel(spec, buffer, str(tmp_path / "a.safetensors"))
    assert again.steps == 30
    numbers = numpy.arange(spec.count)
    numpy.testing.assert_allclose(again.denoise(numbers), model.denoise(numbers), rtol=1e-6)
    assert again.provenance()["weights_sha256"] == model.provenance()["weights_sha256"]
    again.learn()
    assert again.steps == 31


def test_a_new_network_gives_the_mean_frame(rng):
    spec = spec_for()
    model, buffer = model_for(spec, rng)
    fresh = UdvdModel(spec, buffer)
    expected = numpy.broadcast_to(buffer.mean(), (spec.count, 1, 40))
    numpy.testing.assert_allclose(fresh.denoise(numpy.arange(spec.count)), expected, rtol=1e-5)


def test_published_weights_work_on_counts(tmp_path, rng):
    torch.manual_seed(3)
    torch.save(dict(enumerate(paper_network().state_dict().values())), tmp_path / "a.pth")
    spec = spec_for((3, 3), (4, 10), weights=str(tmp_path / "a.pth"), frames=True)
    buffer = FrameBuffer(9, (4, 10))
    buffer.put(0, rng.poisson(5, (9, 4, 10)).astype(numpy.float32))
    model = UdvdModel(spec, buffer)
    model.learn()
    result = model.denoise(numpy.arange(9))
    assert numpy.isfinite(result).all() and (result >= 0).all()
    model.save(str(tmp_path / "b.safetensors"))
    assert UdvdModel(spec, buffer, str(tmp_path / "b.safetensors"))._published


def test_weights_of_another_kind_of_scan_are_refused(tmp_path, rng):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, BlindspotNetwork(LINE, (0, 1), 4, True))
    with pytest.raises(WeightsError, match="windows of 5 frames.*needs 9"):
        UdvdModel(spec_for((4, 5), weights=str(path)), FrameBuffer(20, (1, 40)))
    assert UdvdModel(spec_for((5,), weights=str(path), hidden=(0, 2)), FrameBuffer(5, (1, 40)))._network.hidden == (
        0,
        2,
    )


@pytest.mark.parametrize("name", ["cuda:64", "tpu", "meta", "mps", "cpu:x", "", "cuda:-1", "cuda:99999999999"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(EngineError, match=f"'{name}'"):
        choose_device(name)


def test_auto_is_some_device():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu").type == "cpu"


def test_a_batch_too_large_for_the_device_is_halved(rng, monkeypatch):
    spec = spec_for()
    model, _ = model_for(spec, rng)
    whole = model.denoise(numpy.arange(spec.count))
    plain = inference.denoise

    def little_memory(network, windows, **options):
        if len(windows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(network, windows, **options)

    monkeypatch.setattr(inference, "denoise", little_memory)
    numpy.testing.assert_allclose(model.denoise(numpy.arange(spec.count)), whole, rtol=1e-5)
    assert 1 <= model.batch <= 3
    monkeypatch.setattr(inference, "denoise", lambda *_, **__: little_memory(None, range(9)))
    with pytest.raises(EngineError, match="does not hold a single frame"):
        model.denoise(numpy.arange(2))
