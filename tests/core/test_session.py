"""A scan from its first frame to its final result, with the machine's clock and with one of our own."""

import math
import subprocess
import sys
import time

import numpy
import pytest
from torchless import NO_TORCH

from udvd_core import session as session_module
from udvd_core import udvd
from udvd_core.axes import Axis
from udvd_core.detector import Detector
from udvd_core.errors import InputError, SettingsError
from udvd_core.metrics import psnr
from udvd_core.session import Session
from udvd_core.settings import ScanSpec, Training
from udvd_core.simulate import simulate_hbn


def spec_for(scan_shape=(4, 5), frame_shape=(1, 40), **training):
    training = {"device": "cpu", "width": 2, "budget_s": 10.0, **training}
    return ScanSpec(
        "a",
        scan_shape,
        frame_shape,
        Axis(frame_shape[1], 100.0, 1.0, "eV", "E"),
        (),
        Training(**{"model": "udvd", **training}),
    )


def frames_for(spec, rng, level=20.0):
    return rng.poisson(level, (spec.count, *spec.frame_shape)).astype(numpy.float32)


class Result:
    """What came out of a session, frame by frame."""

    def __init__(self, spec):
        self.data = numpy.full((spec.count, *spec.output_shape), numpy.nan, numpy.float32)
        self.times = numpy.zeros(spec.count, int)
        self.final = numpy.zeros(spec.count, int)
        self.step = numpy.full(spec.count, -1)

    def take(self, blocks):
        for block in blocks:
            span = slice(block.start, block.start + len(block.data))
            assert not self.final[span].any(), "a final frame came again"
            assert block.data.dtype == numpy.float32
            self.data[span] = block.data
            self.times[span] += 1
            self.final[span] += block.final
            self.step[span] = block.step
        return self


def drive(session, result=None, slice_s=0.02):
    """Finish, and advance until done."""
    result = result or Result(session.spec)
    session.finish()
    while not session.done:
        result.take(session.advance(slice_s))
    assert session.advance(slice_s) == []
    return result


def denoise_whole(spec, frames, steps=2, clock=time.monotonic):
    """Learn for so many steps, then finish; see `settled`."""
    session = Session(spec, clock=clock)
    session.push(0, frames)
    for _ in range(steps):
        session.model.learn()
    result = drive(session)
    return session, result


@pytest.fixture
def settled(monkeypatch):
    """Let the network count as settled at once, so that no test that does not learn waits for its budget."""
    monkeypatch.setattr(udvd, "PATIENCE", 0)
    monkeypatch.setattr(udvd, "JUDGE_EVERY", 5)


@pytest.mark.parametrize(
    ("scan_shape", "frame_shape", "frames"),
    [
        ((4, 5), (1, 40), False),
        ((1,), (1, 40), False),
        ((1, 1), (3, 8), True),
        ((1, 7), (1, 40), False),
        ((7, 1), (1, 40), False),
        ((6,), (1, 40), False),
        ((2, 3, 3), (1, 40), False),
        ((3, 1, 1), (1, 40), False),
        ((3, 4), (5, 12), False),
        ((3, 4), (5, 12), True),
        ((5,), (4, 12), True),
        ((2, 2), (1, 1), False),
        ((2, 2), (2, 1), True),
        ((3, 3), (12, 2), True),
    ],
    ids=str,
)
def test_every_frame_comes_out_and_is_final_once(settled, rng, scan_shape, frame_shape, frames):
    spec = spec_for(scan_shape, frame_shape, frames=frames)
    session, result = denoise_whole(spec, frames_for(spec, rng))
    assert (result.final == 1).all()
    assert (session.received, session.denoised, session.final) == (spec.count,) * 3
    assert numpy.isfinite(result.data).all()
    assert result.data.shape == (spec.count, *(frame_shape if frames else frame_shape[1:]))
    session.close()


def test_the_final_result_is_one_pass_with_the_final_weights(rng):
    spec = spec_for((6, 6), budget_s=1.5, learning_rate=1e-2)
    session, result = denoise_whole(
        spec, steps=0, frames=frames_for(spec, rng) * numpy.linspace(0.2, 2, 40, dtype=numpy.float32)
    )
    numbers = numpy.arange(spec.count)
    assert session.model.steps > 5
    assert set(result.step) == {session.model.steps}
    numpy.testing.assert_allclose(result.data, session.model.denoise(numbers)[:, 0], rtol=1e-5)
    facts = session.provenance()
    assert (facts["frames_final"], facts["frames_received"], facts["steps"]) == (36, 36, session.model.steps)


def test_4d_frames_are_summed_before_anything_else(settled, rng):
    spec = spec_for((3, 4), (5, 12))
    summed = spec_for((3, 4), (1, 12))
    frames = frames_for(spec, rng)
    (one, _), (two, _) = denoise_whole(spec, frames), denoise_whole(summed, frames.sum(1, keepdims=True))
    numbers = numpy.arange(12)
    numpy.testing.assert_array_equal(one._buffer.frames(numbers), two._buffer.frames(numbers))
    assert one.provenance()["summed_over_q"] and not two.provenance()["summed_over_q"]


@pytest.mark.parametrize("frames_wanted", [False, True])
@pytest.mark.parametrize("shape", [(1, 4, 12), (1, 6, 12), (1, 1, 12), (1, 5, 11), (5, 12), (12,)], ids=str)
def test_frames_of_another_shape_are_refused(shape, frames_wanted):
    session = Session(spec_for((3, 4), (5, 12), frames=frames_wanted))
    with pytest.raises(InputError, match=r"wants \(n, \*\(5, 12\)\)"):
        session.push(0, numpy.ones(shape, numpy.float32))
    assert session.received == 0


@pytest.mark.parametrize("start", [-1, 11, 12, 99])
def test_frames_beyond_the_scan_are_refused(start):
    session = Session(spec_for((3, 4), (1, 12)))
    with pytest.raises(InputError, match="do not lie in a scan of 12 frames"):
        session.push(start, numpy.ones((2, 1, 12), numpy.float32))
    assert session.received == 0


def test_finish_without_any_frame():
    session = Session(spec_for())
    assert session.resting and session.advance(0.1) == []
    session.finish()
    assert session.done and session.advance(0.1) == []
    assert (session.received, session.final) == (0, 0)


def test_a_scan_that_was_cut_short(settled, rng):
    spec = spec_for((4, 5))
    session = Session(spec)
    session.push(0, frames_for(spec, rng)[:7])
    result = drive(session)
    assert result.final.tolist() == [1] * 7 + [0] * 13


HOSTILE = {
    "zeros": lambda frames: numpy.zeros_like(frames),
    "constant": lambda frames: numpy.full_like(frames, 3),
    "saturated": lambda frames: numpy.where(numpy.arange(frames.shape[-1]) == 7, 65535, frames),
    "one saturated": lambda frames: numpy.where(numpy.arange(frames.size).reshape(frames.shape) == 47, 1e9, frames),
    "huge": lambda frames: frames * 1e9,
    "tiny": lambda frames: frames * 1e-9,
    "nan": lambda frames: numpy.where(numpy.arange(frames.size).reshape(frames.shape) % 7 == 0, numpy.nan, frames),
    "nan channel": lambda frames: numpy.where(numpy.arange(frames.shape[-1]) == 7, numpy.nan, frames),
    "nan frame": lambda frames: numpy.where(numpy.arange(len(frames))[:, None, None] == 3, numpy.nan, frames),
    "all nan": lambda frames: numpy.full_like(frames, numpy.nan),
    "infinite": lambda frames: numpy.where(
        numpy.arange(frames.size).reshape(frames.shape) % 11 == 0, -numpy.inf, frames
    ),
    "fractional and slightly negative": lambda frames: frames * 0.37 - 1.8,
    "all negative": lambda frames: -frames,
}


@pytest.mark.parametrize(
    ("kind", "frame_shape"),
    [(kind, (1, 40)) for kind in HOSTILE] + [(kind, (3, 12)) for kind in ("one saturated", "nan", "all nan", "zeros")],
)
def test_any_values_give_finite_results(settled, rng, kind, frame_shape):
    spec = spec_for((4, 5), frame_shape, frames=True, learning_rate=1e-2)
    clean = frames_for(spec, rng, 5.0)
    session, result = denoise_whole(spec, HOSTILE[kind](clean).astype(numpy.float32), steps=11)  # two judgements
    assert session.final == spec.count
    assert numpy.isfinite(result.data).all()
    if kind == "zeros":
        assert abs(result.data).max() < 1e-3
    if kind in ("constant", "fractional and slightly negative"):
        assert result.data.mean() == pytest.approx(HOSTILE[kind](clean).mean(), rel=0.2, abs=0.15)
    if "negative" in kind:
        assert result.data.min() < 0  # a clamp would make a bias
    assert ("not finite" in session.note) == ("nan" in kind or kind == "infinite")


def test_one_spark_does_not_spoil_its_channel(settled, rng):
    spec = spec_for((4, 5), frames=True)
    frames = frames_for(spec, rng, 5.0)
    frames[1, 0, 7] = 65535
    _, result = denoise_whole(spec, frames)
    others = numpy.delete(result.data, 1, 0)
    assert abs(others - 5).max() < 10


def test_denoising_gains_on_a_simulated_scan():
    sample = simulate_hbn((16, 16), 128, energy=Axis(128, 150.0, 1.0, "eV", "E"), counts=1500.0, q_rows=4)
    recording = Detector().record(sample)
    raw, truth = recording.spectra().reshape(256, 1, 128), recording.truth().reshape(256, 128)
    spec = ScanSpec("a", (16, 16), (1, 128), sample.energy, (), Training(model="udvd", device="cpu", budget_s=5.0))
    session, result = denoise_whole(spec, raw, steps=0, clock=time.process_time)
    before, after = psnr(raw[:, 0], truth), psnr(result.data, truth)
    mean = psnr(numpy.broadcast_to(raw.mean(0), truth.shape), truth)
    assert session.model.steps > 20
    assert after > before + 5
    assert after > mean - 0.1  # what it starts from
    facts = session.provenance()
    assert facts["steps"] == session.model.steps and math.isfinite(facts["held_out"])


def test_resumed_from_a_checkpoint_goes_on_counting(rng, tmp_path):
    spec = spec_for(budget_s=1.0)
    frames = frames_for(spec, rng)
    first = Session(spec)
    first.push(0, frames)
    while first.model.steps < 8:
        first.advance(0.05)
    first.save(str(tmp_path / "a.safetensors"))
    steps = first.model.steps
    second = Session(spec, str(tmp_path / "a.safetensors"))
    assert second.model.steps == steps
    second.push(0, frames)
    result = drive(second)
    assert result.step.min() > steps


class Clock:
    """Seconds that pass only where a model says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class SlowModel:
    """A model that takes a set time for everything; a denoised frame tells the steps behind it."""

    name, device, learned, note = "slow", "none", "", ""
    learns, ready, instant = False, True, False

    def __init__(self, spec, clock, step_s=0.05, frame_s=0.001, batch=4, settled_at=math.inf, abreast_at=math.inf):
        self._clock, self._shape, self._step_s, self._frame_s = clock, spec.frame_shape, step_s, frame_s
        self.batch, self.steps, self._settled_at, self._abreast_at = batch, 0, settled_at, abreast_at
        at = numpy.arange(spec.count)
        self.neighbours = numpy.stack((at - 1, at, numpy.where(at + 1 < spec.count, at + 1, -1)), 1)
        self.calls = []

    @property
    def settled(self):
        return self.steps >= self._settled_at

    @property
    def abreast(self):
        return self.settled or self.steps >= self._abreast_at

    def learn(self):
        self._clock.now += self._step_s
        self.steps += 1

    def denoise(self, numbers, quick=False):
        self._clock.now += self._frame_s * len(numbers)
        self.calls.append(numbers.tolist())
        return numpy.full((len(numbers), *self._shape), self.steps, numpy.float32)

    def save(self, path):
        pass

    def provenance(self):
        return {}


@pytest.fixture
def slow_session(monkeypatch):
    """Make a session on a clock and a model of our own."""

    def make(spec=None, **speed):
        clock = Clock()
        spec = spec or spec_for((20,), (1, 4), budget_s=10.0)
        monkeypatch.setattr(session_module, "open_model", lambda *_: SlowModel(spec, clock, **speed))
        session = Session(spec, clock=clock)
        return session, clock, numpy.ones((spec.count, *spec.frame_shape), numpy.float32)

    return make


def test_rows_come_out_as_they_come_in_and_again_when_their_neighbours_have_come(slow_session):
    session, _, frames = slow_session()
    session.push(0, frames[:4])
    result = Result(session.spec).take(session.advance(0.001))
    assert result.times.tolist() == [1] * 4 + [0] * 16
    session.push(4, frames[4:8])
    again = Result(session.spec)
    for _ in range(20):
        again.take(session.advance(0.05))
    assert again.times[4:8].all() and not again.times[8:].any()
    assert again.times[3], "its neighbour 4 has come since"
    assert session.model.calls.index([4, 5, 6, 7]) <= 2, "new rows do not wait for others"


def test_a_settled_model_denoises_again_only_what_has_new_neighbours(slow_session):
    session, _, frames = slow_session(settled_at=0)
    result = Result(session.spec)
    for start in (0, 4, 12):
        session.push(start, frames[start : start + 4])
        for _ in range(20):
            result.take(session.advance(0.05))
        assert session.resting
    assert result.times[3] == 2 and result.times.max() == 2  # others may fill its batch
    assert result.times[4:].tolist() == [1] * 4 + [0] * 4 + [1] * 4 + [0] * 4


def test_results_are_refreshed_while_nothing_comes(slow_session):
    session, clock, frames = slow_session()
    session.push(0, frames)
    result = Result(session.spec)
    while clock.now < 1010:
        result.take(session.advance(0.1))
    assert (result.times >= 3).all() and not result.final.any()
    assert result.step.min() > 0.8 * session.model.steps
    assert session.model.steps > 100, "learning has its share"


def test_nothing_is_left_to_do_once_the_model_has_settled(slow_session):
    session, clock, frames = slow_session(settled_at=5)
    session.push(0, frames)
    result = Result(session.spec)
    for _ in range(100):
        result.take(session.advance(0.1))
    assert session.resting and result.times.all()
    at = clock.now
    assert session.advance(5.0) == [] and clock.now == at
    assert (drive(session, result).final == 1).all()
    assert clock.now < at + 1, "a settled model does not use up the budget"


def test_a_model_abreast_of_the_frames_rests_once_they_are_shown_and_learns_on_after_the_last(slow_session):
    session, clock, frames = slow_session(abreast_at=5, settled_at=9)
    session.push(0, frames[:12])
    result = Result(session.spec)
    for _ in range(50):
        result.take(session.advance(0.1))
    at = clock.now
    assert session.resting and session.model.steps == 5 and result.step[:12].tolist() == [5] * 12
    assert session.advance(5.0) == [] and clock.now == at, "it takes a core and gives nothing"
    session.push(12, frames[12:14])
    clock.now = at + 0.5
    assert not session.resting, "new frames are to be shown"
    result.take(session.advance(0.1))
    assert session.resting and result.step[12:14].tolist() == [5, 5] and session.model.steps == 5
    assert (drive(session, result).final[:14] == 1).all() and session.model.steps == 9


def test_a_fit_waits_a_preview_after_the_last_one_unless_the_scan_is_whole(slow_session):
    session, clock, frames = slow_session(abreast_at=3)
    session.push(0, frames[:12])
    while not session.resting:
        session.advance(0.1)
    session.model._abreast_at, at = 6, clock.now  # what came since calls for a fit
    assert session.resting and session.advance(1.0) == [] and session.model.steps == 3
    clock.now = at + session.spec.training.preview_s
    while not session.resting:
        session.advance(0.1)
    assert session.model.steps == 6
    session.model._abreast_at = 9
    session.push(12, frames[12:])
    session.advance(0.5)
    assert session.model.steps > 6, "nothing follows that could wait"


def test_a_few_new_frames_wait_half_a_preview_for_others_and_a_batch_does_not(slow_session):
    session, clock, frames = slow_session(settled_at=0)
    session.push(0, frames[:1])
    assert len(session.advance(0.1)) == 1, "the very first do not wait"
    session.push(3, frames[3:6])  # not beside what was shown, which would be renewed
    at = clock.now
    assert session.resting and session.advance(1.0) == [] and clock.now == at
    session.push(6, frames[6:7])
    assert not session.resting, "there is a batch of them"
    session.advance(0.1)
    assert session.resting and session.denoised == 5
    session.push(9, frames[9:10])
    assert session.resting
    clock.now += 0.5 * session.spec.training.preview_s
    assert not session.resting
    session.advance(0.1)
    assert session.resting and session.denoised == 6


def test_the_last_frames_of_a_scan_do_not_wait(slow_session):
    session, clock, frames = slow_session(settled_at=0)
    session.push(0, frames[:12])
    session.advance(1.0)
    session.push(14, frames[14:15])
    clock.now += 10.0
    session.advance(1.0)
    session.push(16, frames[16:])
    session.advance(1.0)
    assert session.resting and session.denoised == 17
    session.push(12, frames[12:14])
    session.push(15, frames[15:16])
    assert not session.resting, "nothing follows them"
    session.advance(1.0)
    assert session.denoised == 20


def test_a_paused_session_that_has_shown_all_frames_rests(slow_session):
    session, _, frames = slow_session()
    session.push(0, frames[:8])
    while session.model.steps < 3:
        session.advance(0.05)
    session.paused = True
    result = Result(session.spec)
    for _ in range(20):
        result.take(session.advance(0.1))
    assert session.resting and session.model.steps == 3
    session.push(8, frames[8:12])
    assert not session.resting
    assert result.take(session.advance(0.1)).times[8:12].tolist() == [1] * 4 and session.resting


@pytest.mark.parametrize("started", ["while the scan ran", "with finish"])
@pytest.mark.parametrize(
    ("step_s", "frame_s", "all_final"),
    [
        (0.05, 0.001, True),
        (3.0, 0.05, True),
        (7.0, 0.01, True),
        (0.05, 0.3, True),
        (0.05, 1.0, False),
        (2.0, 4.0, False),
    ],
)
def test_finish_keeps_its_budget_however_slow_the_machine(slow_session, step_s, frame_s, all_final, started):
    session, clock, frames = slow_session(step_s=step_s, frame_s=frame_s)
    session.push(0, frames)
    result = Result(session.spec)
    if started == "while the scan ran":
        while session.model.steps < 3:
            result.take(session.advance(0.1))
    begin = clock.now
    drive(session, result)
    piece = 4 * frame_s  # what cannot be interrupted: one batch
    assert clock.now - begin <= 10.0 + piece
    assert (result.final <= 1).all() and result.final.any()
    assert (session.final == session.received) is all_final
    assert session.final == result.final.sum()
    if all_final:
        assert clock.now - begin <= 10.0
        assert result.step.min() == session.model.steps
    assert session.denoised == (result.times > 0).sum(), "denoised frames were counted but not given out"
    if frame_s < 0.01 and step_s < 1:
        assert clock.now - begin > 6.0, "the budget was not used for learning"


def test_no_budget_still_gives_something(slow_session):
    session, _, frames = slow_session(spec_for((20,), (1, 4), budget_s=0.0))
    session.push(0, frames)
    result = drive(session)
    assert 0 < result.final.sum() <= 20 and session.done


def test_finishing_twice_does_not_add_time(slow_session):
    session, clock, frames = slow_session()
    session.push(0, frames)
    session.finish()
    for _ in range(50):
        session.advance(0.1)
    session.finish()
    drive(session)
    assert clock.now <= 1010.0


def test_duplicates_are_counted_once_and_the_rest_is_left_alone(rng):
    spec = spec_for((2, 5))
    frames = frames_for(spec, rng)
    session = Session(spec)
    assert session.push(5, frames[5:]) == 5
    assert session.push(3, frames[3:7]) == 2
    assert session.push(5, frames[5:] * 100) == 0
    assert session.push(0, frames) == 3
    assert session.push(0, frames[:0]) == 0
    numpy.testing.assert_array_equal(session._buffer.frames(numpy.arange(10)), frames)


WITHOUT_TORCH = """
import numpy
from udvd_core.axes import Axis
from udvd_core.session import Session
from udvd_core.settings import ScanSpec, Training
spec = ScanSpec("a", (2, 3), (1, 4), Axis(4, 1.0, 1.0, "eV", "E"), (), Training(model=MODEL, budget_s=1.0))
session = Session(spec)
frames = numpy.arange(24, dtype=numpy.float32).reshape(6, 1, 4)
frames[2, 0, 1] = numpy.nan
session.push(0, frames)
session.finish()
result = numpy.zeros((6, 4))
while not session.done:
    for block in session.advance(1.0):
        result[block.start : block.start + len(block.data)] = block.data
assert session.final == 6
assert numpy.isfinite(result).all() and result.shape == (6, 4)
if MODEL == "raw":
    assert (result == numpy.nan_to_num(frames[:, 0])).all(), result
assert session.provenance()["model"] == {"guided": "guide"}.get(MODEL, MODEL)
assert ("the guide alone: torch is not installed" in session.note) == (MODEL == "guided")
"""


@pytest.mark.parametrize("model", ["raw", "pca", "guide", "guided"])
def test_models_that_need_no_torch(model):
    code = f"{NO_TORCH}MODEL = {model!r}\n{WITHOUT_TORCH}"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_an_unknown_model_is_refused():
    with pytest.raises(SettingsError, match="'magic'"):
        Training(model="magic")


def test_as_many_frames_are_denoised_at_once_as_a_small_part_of_the_memory_holds(rng):
    spec = spec_for((4, 8), (16, 64), model="raw", frames=True, memory_bytes=32 * 3 * 4 * 16 * 64)
    session, data = Session(spec), frames_for(spec_for((4, 8), (16, 64)), rng)
    session.push(0, data)
    session.finish()
    parts = session.advance(10.0)
    assert [len(part.data) for part in parts] == [3, 3], "and what was denoised is given out soon"
    result = drive(session, Result(spec).take(parts))
    numpy.testing.assert_array_equal(result.data, data)
    session.close()
