"""What the benchmarks share: simulated scans behind the full detector, what is scored, ways to run a model."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
import time
import typing

import numpy
import numpy.typing

from udvd_core import simulate
from udvd_core.buffer import FrameBuffer
from udvd_core.detector import Detector
from udvd_core.errors import SettingsError
from udvd_core.guided import GuideModel
from udvd_core.metrics import psnr
from udvd_core.session import Session
from udvd_core.settings import ScanSpec, Training
from udvd_core.simulate import Sample

Array = numpy.typing.NDArray[numpy.floating[typing.Any]]
Windows = dict[str, tuple[float, float]]

SPREADING = 0.25
DARK_POSITION, DARK_CHANNEL = 0.1, 0.01
"""Positions and channels below these parts of the brightest are dark."""
HBN: Windows = {"B K": (190, 210), "N K": (400, 420)}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of scan: how to simulate it, at which mean counts per spectrum, what to look at (eV)."""

    make: typing.Callable[..., Sample]
    doses: tuple[float, ...]
    windows: Windows
    gain_spread: float = 0.0


def flickering(*args: typing.Any, seed: int = 0, **options: typing.Any) -> Sample:
    """A blank whose beam changes by 3 % from position to position, and by as much from row to row."""
    sample = simulate.simulate_blank(*args, seed=seed, **options)
    rng = numpy.random.default_rng([seed, 3])
    rows, columns = sample.scan_shape
    factor = (1 + 0.03 * rng.normal(size=(rows, columns))) * (1 + 0.03 * rng.normal(size=(rows, 1)))
    return dataclasses.replace(sample, name="flicker", spectra=sample.spectra * factor[..., None])


KINDS = {
    "hbn": Kind(simulate.simulate_hbn, (312, 1250, 5000, 20000, 80000), HBN),
    "domains": Kind(simulate.simulate_domains, (1250, 5000, 20000), HBN),
    "flake": Kind(simulate.simulate_flake, (2000, 20000), {**HBN, "C K": (284, 310)}),
    "phonon": Kind(
        simulate.simulate_phonon, (3000, 30000), {"TA": (0.05, 0.09), "LA": (0.12, 0.14), "TO-LO": (0.14, 0.2)}
    ),
    "particles": Kind(
        simulate.simulate_particles,
        (1250, 5000, 20000),
        {"Ti L": (455, 475), "O K": (528, 550), "Fe L": (704, 728)},
    ),
    "wedge": Kind(
        simulate.simulate_wedge, (5000,), {"zero loss": (-2, 2), "plasmon": (17, 29), "second plasmon": (38, 54)}
    ),
    "plasmon": Kind(
        simulate.simulate_plasmon, (5000,), {"zero loss": (-2, 2), "plasmon": (13, 23), "second plasmon": (31, 42)}
    ),
    "dopants": Kind(simulate.simulate_dopants, (20000,), {"Ce M": (878, 908), "Gd M": (1180, 1225)}),
    "blank": Kind(simulate.simulate_blank, (5000,), HBN),
    "pattern": Kind(simulate.simulate_blank, (5000,), HBN, gain_spread=0.05),
    "flicker": Kind(flickering, (5000,), HBN),
}
FLAT = ("blank", "pattern", "flicker")


@dataclasses.dataclass(frozen=True)
class Scan:
    """One recorded scan: `counts` and `truth` (y, x, E), spectra of the sample's parts (k, E) as the detector sees
    them, and what to score: the index of each region.
    """

    kind: str
    sample: Sample
    counts: Array
    truth: Array
    parts: Array
    regions: dict[str, typing.Any]

    def scores(self, estimate: Array) -> dict[str, float]:
        """PSNR of every region, dB."""
        return {name: round(psnr(estimate, self.truth, region), 2) for name, region in self.regions.items()}

    def over_flat(self, estimate: Array) -> float:
        """Mean squared error by that of the mean spectrum of all positions; without the level where the beam flickers.

        1 is the statistical error of a flat mean; what a denoiser makes up adds to it.
        """
        if self.kind == "flicker":
            levels = self.truth.sum(-1, keepdims=True) / numpy.maximum(estimate.sum(-1, keepdims=True), 1e-9)
            estimate = estimate * levels
        variance = (1 + 2 * SPREADING) / (1 + SPREADING) * self.truth.mean()
        return float(((estimate - self.truth) ** 2).mean() / variance * self.sample.count)


@functools.lru_cache(1)
def record(kind: str, dose: float, seed: int, size: tuple[int, int], channels: int) -> Scan:
    """Simulate a scan and count its electrons."""
    entry = KINDS[kind]
    sample = entry.make(size, channels, counts=dose, q_rows=1, seed=seed)
    detector = Detector(SPREADING, gain_spread=entry.gain_spread, seed=seed)
    recording = detector.record(sample)
    parts = numpy.zeros((0, channels))
    if sample.parts:
        spectra = numpy.stack([part.spectrum for part in sample.parts])
        parts = detector.record(dataclasses.replace(sample, spectra=spectra, parts=())).truth().astype(numpy.float64)
    truth = recording.truth()
    regions: dict[str, typing.Any] = {"whole": None}
    for name, (low, high) in entry.windows.items():
        if high < sample.energy.values()[-1]:  # fewer channels than by default may not reach so far
            regions[name] = (..., sample.energy.window(low, high))
    light, spectrum = truth.sum(-1), truth.mean((0, 1))
    dark = {
        "dark positions": light < DARK_POSITION * light.max(),
        "dark channels": (..., numpy.flatnonzero(spectrum < DARK_CHANNEL * spectrum.max())),
    }
    regions |= {name: region for name, region in dark.items() if truth[region].size}
    return Scan(kind, sample, recording.spectra(), truth, parts, regions)


def guide_of(sample: Sample, buffer: FrameBuffer, scan_shape: tuple[int, ...], frames: bool = False) -> GuideModel:
    """The guide of the frames in a buffer, nothing learned yet."""
    training = Training(model="guide", frames=frames)
    return GuideModel(ScanSpec("benchmark", scan_shape, buffer.frame_shape, sample.energy, training=training), buffer)


def settle(model: GuideModel) -> int:
    """Let a guide learn until nothing is left to find; returns its steps."""
    while not model.settled:
        model.learn()
    return model.steps


def buffer_of(scan: Scan) -> FrameBuffer:
    """A buffer with all spectra of a scan."""
    buffer = FrameBuffer(scan.sample.count, (1, scan.counts.shape[-1]))
    buffer.put(0, scan.counts.reshape(-1, *buffer.frame_shape))
    return buffer


def run_session(scan: Scan, **settings: typing.Any) -> tuple[Array, dict[str, typing.Any]] | None:
    """A whole scan through a session whose clock is processor time; None where this version lacks the model."""
    try:
        training = Training(**settings)
    except SettingsError:
        return None
    shape = scan.counts.shape
    spec = ScanSpec("benchmark", shape[:2], (1, shape[2]), scan.sample.energy, training=training)
    worker = Session(spec, clock=time.process_time)
    estimate = numpy.zeros((spec.count, shape[2]), numpy.float32)
    try:
        if worker.provenance()["model"] != training.model:
            return None
        worker.push(0, scan.counts.reshape(-1, 1, shape[2]))
        worker.finish()
        while not worker.done:
            for part in worker.advance(1.0):
                estimate[part.start : part.start + len(part.data)] = part.data
        told = {**worker.provenance(), "frames_denoised": worker.denoised}
    finally:
        worker.close()
    for name in ("settings", "defects", "hidden_reason"):
        told.pop(name, None)
    shown = {"budget_s": training.budget_s, **{k: told[k] for k in ("rank", "steps") if k in told}}
    return estimate.reshape(shape), {**shown, "told": told}


def with_threads(threads: int) -> None:
    """Go on with this number of threads in all libraries: they read it when they are loaded, so in a new process."""
    wanted = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    if os.environ.get("OMP_NUM_THREADS") == str(threads):
        return
    command = [sys.executable, *sys.orig_argv[1:]]
    raise SystemExit(subprocess.run(command, env={**os.environ, **wanted}, check=False).returncode)
