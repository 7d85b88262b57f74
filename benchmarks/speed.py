"""Speed per pixel of the guide and the correction network against our exact copy of the paper's network, one run.

The paper's network gets frames as they are, without its padding to a square. One JSON object: pixels a second of each,
FLOP per pixel forward, and ratios. A whole fit of the guide is compared with one training step of the network.
"""

from __future__ import annotations

import argparse
import json
import time
import typing

import numpy
import numpy.typing
import torch
from scans import SPREADING, guide_of, settle, with_threads
from torch.utils.flop_counter import FlopCounterMode

from udvd_core.blindspot import paper_network, parameter_count
from udvd_core.buffer import FrameBuffer
from udvd_core.detector import Detector
from udvd_core.guided import GuideModel
from udvd_core.lowrank.profile import lit_rows
from udvd_core.simulate import simulate_hbn
from udvd_core.split import Split

try:
    from udvd_core.correction.corrector import Corrector
    from udvd_core.correction.gate import Gate
    from udvd_core.correction.network import CorrectionNetwork
except ImportError:  # a version without it
    CorrectionNetwork = None  # type: ignore[assignment, misc]

Facts = dict[str, typing.Any]
Index = numpy.typing.NDArray[numpy.int64]
Tensors = tuple[torch.Tensor, ...]

Q_ROWS, CHANNELS = 64, 256
COUNTS = 5000.0
CORRECTION_ROWS = 32
"""Spectra that go through the correction network at once: on a CPU it is fastest when they stay in the cache."""


def recorded(size: tuple[int, int]) -> tuple[GuideModel, FrameBuffer]:
    """A scan of whole frames, and its guide before it learned anything."""
    sample = simulate_hbn(size, CHANNELS, counts=COUNTS, q_rows=Q_ROWS)
    recording, count = Detector(SPREADING).record(sample), size[0] * size[1]
    buffer = FrameBuffer(count, (Q_ROWS, CHANNELS))
    for number in range(count):
        buffer.put(number, recording.frame(number)[None])
    return guide_of(sample, buffer, size, frames=True), buffer


def in_batches(estimate: typing.Callable[[Index], object], count: int, batch: int) -> float:
    """Pixels a second of an estimate of all frames."""
    begin = time.perf_counter()
    for start in range(0, count, batch):
        estimate(numpy.arange(start, min(start + batch, count)))
    return round(count * Q_ROWS * CHANNELS / (time.perf_counter() - begin))


def guide_speed(model: GuideModel, count: int) -> Facts:
    """A fit of the guide until it settles, then the frames of all positions."""
    begin = time.perf_counter()
    steps = settle(model)
    fit = time.perf_counter() - begin
    return {
        "frames": count,
        "rank": model.guide.rank,
        "steps": steps,
        "forward_pixels_per_s": in_batches(model.guide.frames, count, model.batch),
        "forward_and_q_sums_pixels_per_s": in_batches(model.denoise, count, model.batch),
        "fit_pixels_per_s": round(count * Q_ROWS * CHANNELS / fit),
    }


def network_speed(network: torch.nn.Module, inputs: Tensors, pixels: int, seconds: float) -> Facts:
    """Pixels a second and FLOP per pixel of a network that estimates so many pixels from its inputs."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def forward() -> None:
        with torch.inference_mode():
            network(*inputs)

    def step() -> None:
        optimizer.zero_grad()
        network(*inputs).square().mean().backward()
        optimizer.step()

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    return {
        "pixels_at_once": pixels,
        "parameters": parameter_count(network),
        "flop_per_pixel": round(counter.get_total_flops() / pixels),
        "forward_pixels_per_s": round(pixels / seconds_of(forward, seconds)),
        "training_pixels_per_s": round(pixels / seconds_of(step, seconds)),
    }


def seconds_of(once: typing.Callable[[], None], seconds: float) -> float:
    """Mean time of one call, over so many seconds; the first call is slower and does not count."""
    once()
    begin, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < seconds:
        once()
        calls += 1
    return elapsed / calls


def correction_speed(model: GuideModel, buffer: FrameBuffer, size: tuple[int, int], seconds: float) -> Facts | None:
    """The correction network alone; then on the scan: judged, applied to all frames with guide and inputs.

    None in a version without it. The weights are random, and the gate is opened, as it would close otherwise.
    """
    if CorrectionNetwork is None or model.camera is None:
        return None
    network, known = CorrectionNetwork(), numpy.arange(size[0] * size[1])
    inputs = [torch.randn(CORRECTION_ROWS, n, CHANNELS) for n in (1, network.around.in_channels)]
    facts = network_speed(network, tuple(inputs), CORRECTION_ROWS * CHANNELS, seconds)
    corrector = Corrector(CorrectionNetwork(), size, model.guide.frame_shape, torch.device("cpu"))
    lit = lit_rows(buffer.mean())

    def read(numbers: numpy.typing.NDArray[numpy.int64]) -> numpy.typing.NDArray[numpy.float32]:
        return buffer.frames(numbers)[:, lit]

    noise, begin = model.camera.noise, time.perf_counter()
    corrector.judge(read, known, noise, Split.guarded(0, model.camera.hidden.radius))
    facts["judged_s"] = round(time.perf_counter() - begin, 2)
    corrector.gate = Gate(numpy.ones((1, 1, 1)), 0.0)
    begin = time.perf_counter()
    corrector.adapt(read, model.guide, known, noise)
    facts["adapted_s"] = round(time.perf_counter() - begin, 2)
    speed = in_batches(
        lambda numbers: corrector.correct(read, model.guide, numbers, known, noise),
        known.size,
        known.size,
    )
    return {**facts, "corrected_pixels_per_s": speed}


def ratios(guide: Facts, correction: Facts | None, paper: Facts) -> Facts:
    """How many times faster than the paper's network; corrected frames are guide, inputs and network together."""
    forward, training = paper["forward_pixels_per_s"], paper["training_pixels_per_s"]
    found = {
        "guide_forward": guide["forward_pixels_per_s"] / forward,
        "guide_forward_and_q_sums": guide["forward_and_q_sums_pixels_per_s"] / forward,
        "guide_fit_by_training_step": guide["fit_pixels_per_s"] / training,
    }
    if correction is not None:
        found |= {
            "correction_forward": correction["forward_pixels_per_s"] / forward,
            "corrected_frames": correction["corrected_pixels_per_s"] / forward,
            "correction_training_step": correction["training_pixels_per_s"] / training,
            "correction_flop": paper["flop_per_pixel"] / correction["flop_per_pixel"],
        }
    return {name: round(value, 1) for name, value in found.items()}


def main() -> None:
    """Measure all, one after the other on the same machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs=2, type=int, default=(32, 32), metavar=("Y", "X"), help="positions")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to measure each network, each way")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with_threads(options.threads)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    size = (options.size[0], options.size[1])
    model, buffer = recorded(size)
    guide = guide_speed(model, size[0] * size[1])
    correction = correction_speed(model, buffer, size, options.seconds)
    frames = torch.randn(1, 9, Q_ROWS, CHANNELS)
    paper = network_speed(paper_network(9, (1, 1)), (frames,), Q_ROWS * CHANNELS, options.seconds)
    shown = {"threads": options.threads, "torch": torch.__version__, "device": "cpu", "frame": [Q_ROWS, CHANNELS]}
    found = {"guide": guide, "correction": correction, "paper": paper}
    print(json.dumps({**shown, **found, "times_faster_than_paper": ratios(guide, correction, paper)}))


if __name__ == "__main__":
    main()
