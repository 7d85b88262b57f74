"""Trust while a scan runs: what the light, the sentence and the alarm say."""

from __future__ import annotations

import math

import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.engine.inline import InlineEngine
from udvd_core.engine.protocol import Finished, Status
from udvd_core.monitor import BAD, CARE, GOOD, Monitor
from udvd_core.noise import NoiseModel
from udvd_core.settings import ScanSpec, Training

SHAPE, CHANNELS = (8, 12), 200
RNG = numpy.random.default_rng(7)


def spec(energy: Axis | None = None, **training: object) -> ScanSpec:
    """A scan of `SHAPE`."""
    energy = energy or Axis(CHANNELS, 100.0, 0.5, "eV", "E")
    return ScanSpec("scan", SHAPE, (1, energy.size), energy, training=Training(**training))  # type: ignore[arg-type]


def truth() -> numpy.ndarray:
    """Spectra (n, E) of two kinds, counts."""
    energy = numpy.arange(CHANNELS)
    smooth = 40.0 * numpy.exp(-energy / 80.0)
    kind = (numpy.arange(math.prod(SHAPE)) % 2)[:, None]
    return (smooth + kind * 20.0 * (energy > 90)).astype(numpy.float32)


def watched(result: numpy.ndarray, recorded: numpy.ndarray, energy: Axis | None = None) -> Monitor:
    """A monitor that saw all frames."""
    monitor = Monitor(spec(energy))
    monitor.saw(numpy.arange(len(result)), recorded, result)
    return monitor


def test_the_truth_is_trusted() -> None:
    recorded = RNG.poisson(truth()).astype(numpy.float32)
    trust = watched(truth(), recorded).trust(NoiseModel(), None, 3.0)
    assert trust.light == GOOD
    assert trust.sentence.startswith("Nothing speaks against")
    assert trust.alarm == ""


def test_a_result_that_lost_an_edge_is_not() -> None:
    recorded = RNG.poisson(truth()).astype(numpy.float32)
    wrong = truth()
    wrong[1::2] = wrong[0]
    trust = watched(wrong, recorded).trust(NoiseModel(), None, 3.0)
    assert trust.light == BAD
    low, high = 145.0, 200.0
    assert "eV" in trust.sentence and any(str(at) in trust.sentence for at in range(int(low) - 2, int(high) + 1))


def test_what_is_no_better_than_the_mean_wants_care() -> None:
    recorded = RNG.poisson(truth()).astype(numpy.float32)
    trust = watched(truth(), recorded).trust(NoiseModel(), None, -0.1)
    assert trust.light == CARE and "mean spectrum" in trust.sentence


def test_nothing_is_said_of_a_few_frames() -> None:
    monitor = Monitor(spec())
    monitor.saw(numpy.arange(20), truth()[:20], truth()[:20])
    trust = monitor.trust(NoiseModel(), None, math.nan)
    assert trust.light == "" and trust.sentence == "Too early to say"


def test_psnr_is_that_of_the_standard_errors() -> None:
    monitor = watched(truth(), truth())
    sigma = numpy.full((1, CHANNELS), 0.4, numpy.float32)
    trust = monitor.trust(NoiseModel(), lambda numbers: numpy.repeat(sigma, len(numbers), 0), 1.0)
    assert trust.psnr == pytest.approx(20 * math.log10(float(truth().max()) / 0.4), abs=1e-3)


@pytest.mark.parametrize(("moved", "alarms"), [(0.0, False), (0.05, True)])
def test_drift_of_the_zero_loss_peak(moved: float, alarms: bool) -> None:
    axis = Axis(200, -0.2, 0.002, "eV", "E")
    drift = numpy.linspace(0.0, moved, SHAPE[0])[:, None, None]
    peak = 50.0 * numpy.exp(-0.5 * ((axis.values() - drift) / 0.02) ** 2)
    spectra = numpy.broadcast_to(peak, (*SHAPE, 200)).reshape(-1, 200)
    recorded = RNG.poisson(spectra).astype(numpy.float32)
    trust = watched(spectra.astype(numpy.float32), recorded, axis).trust(NoiseModel(), None, 1.0)
    assert bool(trust.alarm) == alarms
    if alarms:
        assert "zero-loss peak has drifted" in trust.alarm and "meV" in trust.alarm
        assert trust.light == CARE


def test_a_session_tells_trust_and_hidden_set() -> None:
    recorded = RNG.poisson(truth()).astype(numpy.float32)
    engine = InlineEngine()
    engine.open(spec(model="guided", device="cpu", budget_s=20.0))
    engine.push("scan", 0, recorded[:, None])
    engine.finish("scan")
    told: list[Status] = []
    done = False
    while not done:
        for event in engine.poll():
            told += [event] if isinstance(event, Status) else []
            done |= isinstance(event, Finished)
    engine.close()
    trust = told[-1].trust
    assert trust.light == GOOD
    assert trust.psnr > 30 and trust.heldout > 0
    assert "is hidden" in told[-1].hidden


def test_finish_now_makes_the_last_pass_at_once() -> None:
    recorded = RNG.poisson(truth()).astype(numpy.float32)
    engine = InlineEngine()
    engine.open(spec(model="guided", device="cpu", budget_s=300.0))
    engine.push("scan", 0, recorded[:, None])
    engine.finish("scan", now=True)
    events = []
    while not any(isinstance(event, Finished) for event in events):
        events = engine.poll()
    finished = next(event for event in events if isinstance(event, Finished))
    assert finished.final == len(recorded) and finished.provenance["correction_share"] == 0.0
    engine.close()


def test_a_paused_session_learns_nothing_but_denoises() -> None:
    recorded = RNG.poisson(truth()).astype(numpy.float32)
    engine = InlineEngine()
    engine.open(spec(model="guided", device="cpu"))
    engine.pause("scan", True)
    engine.push("scan", 0, recorded[:48, None])
    first = [event for _ in range(4) for event in engine.poll() if isinstance(event, Status)]
    engine.push("scan", 48, recorded[48:, None])
    later = [event for _ in range(6) for event in engine.poll() if isinstance(event, Status)]
    assert first[-1].denoised == 48 and later[-1].denoised == len(recorded)
    assert later[-1].step == first[-1].step
    engine.pause("scan", False)
    on = [event for _ in range(6) for event in engine.poll() if isinstance(event, Status)]
    assert on[-1].step > later[-1].step
    engine.close()
