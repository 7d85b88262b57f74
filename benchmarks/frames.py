"""Whole frames (q, E): PSNR of the guide and the default model against raw and against profile times spectrum.

Core losses of h-BN, where q is separable from E, at two of the paper's doses; and dispersive frames, where q carries
physics. Illuminated rows are scored. Sums over q of the result stand beside the result from input summed over q. One
JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import typing

import numpy
import numpy.typing
from scans import SPREADING, Scan, run_session, with_threads

from udvd_core.axes import Axis
from udvd_core.detector import Detector, Recording
from udvd_core.metrics import psnr
from udvd_core.pca import weighted_pca
from udvd_core.session import Session
from udvd_core.settings import ScanSpec, Training
from udvd_core.simulate import Sample, simulate_dispersive, simulate_hbn

Array = numpy.typing.NDArray[numpy.floating[typing.Any]]
Facts = dict[str, typing.Any]

DOSES = {"hbn": (14200.0, 250000.0), "dispersive": (2800.0, 20000.0)}
"""Electrons per frame. h-BN: of the paper's recorded frames, 0.027 per pixel of 512 x 1028, and simulated at 10 pA and
4 ms. Dispersive: of its phonon scan, 4.5 fA and 100 ms, and more."""
MOST_RANK, MODELS = 24, ("guide", "guided")


def sample_of(kind: str, dose: float, seed: int, options: argparse.Namespace) -> Sample:
    """What a perfect detector would see; the energy range is the same for any number of channels."""
    size, (rows, channels) = tuple(options.size), options.frame
    if kind == "hbn":
        axis = Axis(channels, 100.0, 512.0 / channels, "eV", "E")
        return simulate_hbn(size, energy=axis, counts=dose, q_rows=rows, seed=seed)
    axis = Axis(channels, -0.05, 0.256 / channels, "eV", "E")
    return simulate_dispersive(size, energy=axis, counts=dose, q_rows=rows, seed=seed)


def score(estimate: Array, recording: Recording, rows: Array) -> float:
    """PSNR over illuminated rows, dB, without the truth of the whole scan in memory; estimate (n, q, E)."""
    error, peak, count = 0.0, 0.0, 0
    for index, frame in enumerate(estimate):
        truth = recording.truth_frame(index)[rows]
        error += float(((frame[rows] - truth) ** 2).sum(dtype=numpy.float64))
        peak, count = max(peak, float(truth.max())), count + truth.size
    return round(10 * numpy.log10(peak**2 * count / error), 2)


def separable(frames: Array, spectra: Array, truth: Array) -> tuple[Array, int]:
    """Mean profile times spectrum, (n, q, E); PCA of the spectra at the rank that is best for the truth."""
    data = spectra.astype(numpy.float64)
    tried = {rank: weighted_pca(data, rank) for rank in range(1, MOST_RANK + 1)}
    rank = min(tried, key=lambda r: float(((tried[r] - truth) ** 2).mean()))
    return with_profile(frames, tried[rank]), rank


def with_profile(frames: Array, spectra: Array) -> Array:
    """Spectra (n, E) spread over q as all frames together are, (n, q, E)."""
    profile = frames.sum((0, 2), dtype=numpy.float64)
    return (profile / profile.sum())[:, None].astype(numpy.float32) * spectra[:, None].astype(numpy.float32)


def denoised(sample: Sample, frames: Array, model: str, budget: float) -> tuple[Array, Facts]:
    """Frames (n, q, E) through a session whose clock is processor time."""
    training = Training(model=model, device="cpu", frames=True, budget_s=budget)
    spec = ScanSpec("frames", sample.scan_shape, sample.frame_shape, sample.energy, training=training)
    worker, begin = Session(spec, clock=time.process_time), time.process_time()
    estimate = numpy.zeros_like(frames)
    worker.push(0, frames)
    worker.finish()
    while not worker.done:
        for part in worker.advance(1.0):
            estimate[part.start : part.start + len(part.data)] = part.data
    told = worker.provenance()
    facts = {name: told[name] for name in ("rank", "correction_share", "correction_gain", "hidden") if name in told}
    facts |= {"cpu_s": round(time.process_time() - begin, 1), "not_final": sample.count - worker.final}
    worker.close()
    return estimate, facts


def compare(kind: str, dose: float, seed: int, options: argparse.Namespace) -> Facts:
    """All methods on one scan."""
    sample = sample_of(kind, dose, seed, options)
    recording = Detector(SPREADING, seed=seed).record(sample)
    frames = recording.frames().reshape(sample.count, *sample.frame_shape)
    truth, spectra = recording.truth(), frames.sum(1)
    flat, rows = truth.reshape(spectra.shape), sample.profile > 0
    scan = Scan(kind, sample, spectra.reshape(truth.shape), truth, numpy.zeros((0, spectra.shape[1])), {})
    result: Facts = {"kind": kind, "dose": dose, "seed": seed, "per_pixel": round(float(frames.mean()), 4)}
    result["raw"] = {"psnr": score(frames, recording, rows), "summed": round(psnr(spectra, flat), 2)}
    estimate, rank = separable(frames, spectra, flat)
    facts = {"psnr": score(estimate, recording, rows), "summed": round(psnr(estimate.sum(1), flat), 2), "rank": rank}
    result["separable"] = facts
    for model in options.models:
        estimate, facts = denoised(sample, frames, model, options.budget)
        facts = {"psnr": score(estimate, recording, rows), "summed": round(psnr(estimate.sum(1), flat), 2)} | facts
        at_once = run_session(scan, model=model, device="cpu")
        if at_once is not None:
            facts["from_summed_input"] = round(psnr(at_once[0], truth), 2)
            by_profile = with_profile(frames, at_once[0].reshape(spectra.shape))
            facts["summed_input_by_profile"] = score(by_profile, recording, rows)
        facts["over_raw"] = round(facts["psnr"] - result["raw"]["psnr"], 2)
        facts["over_separable"] = round(facts["psnr"] - result["separable"]["psnr"], 2)
        result[model] = facts
    return result


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=DOSES, default=list(DOSES))
    parser.add_argument("--doses", nargs="+", type=float, help="electrons per frame; default: those of each kind")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--size", nargs=2, type=int, default=(16, 16), metavar=("Y", "X"))
    parser.add_argument("--frame", nargs=2, type=int, default=(128, 512), metavar=("Q", "E"))
    parser.add_argument("--large", action="store_true", help="32 x 32 frames of 128 x 1024")
    parser.add_argument("--budget", type=float, default=120.0, help="processor seconds per model")
    options = parser.parse_args()
    with_threads(1)
    if options.large:
        options.size, options.frame = (32, 32), (128, 1024)
    scans = [(kind, dose) for kind in options.kinds for dose in options.doses or DOSES[kind]]
    begin, runs = time.perf_counter(), []
    for (kind, dose), seed in itertools.product(scans, options.seeds):
        runs.append(compare(kind, dose, seed, options))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    facts = {"size": options.size, "frame": options.frame, "seconds": round(time.perf_counter() - begin)}
    json.dump({**facts, "scans": runs}, sys.stdout)


if __name__ == "__main__":
    main()
