"""``udvd simulate``: a scan with known truth, as a counting detector records it."""

from __future__ import annotations

import argparse
import pathlib
import re
import typing

import numpy

import udvd_core
from udvd_core.axes import Axis
from udvd_core.commands.outcome import Outcome, Progress
from udvd_core.detector import Detector, Recording
from udvd_core.errors import InputError
from udvd_core.files import Scan, check_output, write_scan
from udvd_core.simulate import Sample, electrons, simulate_hbn, simulate_phonon

SAMPLES: dict[str, tuple[typing.Callable[..., Sample], float]] = {
    "h-bn": (simulate_hbn, 5000.0),
    "phonon": (simulate_phonon, 3000.0),
}
Array = numpy.typing.NDArray[typing.Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd simulate``."""
    parser.add_argument(
        "sample",
        metavar="SAMPLE",
        choices=tuple(SAMPLES),
        help="h-bn (core losses) or phonon (off-axis, with zero-loss peak)",
    )
    parser.add_argument(
        "--output", metavar="OUT", required=True, help="recorded scan: .npy .npz .nhdf .h5 .ndata .hspy .zspy"
    )
    parser.add_argument("--truth", metavar="OUT2", help="expected counts of the same scan, without noise")
    parser.add_argument(
        "--counts", type=float, metavar="N", help="mean electrons per spectrum (default: 5000, phonon 3000)"
    )
    parser.add_argument("--current", type=float, metavar="PA", help="beam current on the detector, pA, with --dwell")
    parser.add_argument("--dwell", type=float, metavar="MS", help="time per position, ms, with --current")
    parser.add_argument("--seed", type=int, default=0, help="seed of defects, pixels and counts (default: 0)")
    parser.add_argument("--size", default="32,32", metavar="NY,NX", help="scan positions (default: 32,32)")
    parser.add_argument("--channels", type=int, default=512, help="energy channels (default: 512)")
    parser.add_argument("--q-rows", type=int, default=16, help="detector rows along q (default: 16)")
    parser.add_argument(
        "--spreading", type=float, default=0.25, help="share of electrons counted twice (default: 0.25)"
    )
    parser.add_argument(
        "--gain-spread", type=float, default=0.0, help="relative spread of pixel sensitivity (default: 0)"
    )
    parser.add_argument("--dead-pixels", type=int, default=0, help="pixels that count nothing (default: 0)")
    parser.add_argument("--frames", action="store_true", help="write frames (y, x, q, E) and not their sums over q")


def run(args: argparse.Namespace) -> Outcome:
    """Simulate a scan into one file, and its truth into another."""
    target = pathlib.Path(args.output)
    truth = None if args.truth is None else pathlib.Path(args.truth)
    for path in (target, truth):
        if path is not None:
            check_output(path)
    if truth is not None and truth.absolute() == target.absolute():
        raise InputError(f"--output and --truth are both {target}; want two files")
    if args.channels < 2 or args.seed < 0:
        raise InputError(
            f"got {args.channels} channels and seed {args.seed}; want at least 2 channels and a seed from 0"
        )
    counts = _counts(args)
    simulate, _ = SAMPLES[args.sample]
    sample = simulate(_size(args.size), args.channels, counts=counts, q_rows=args.q_rows, seed=args.seed)
    detector = Detector(args.spreading, args.gain_spread, args.dead_pixels, seed=args.seed)
    recording = detector.record(sample)
    facts = _facts(args, sample, counts)
    read = recording.frame if args.frames else recording.spectrum
    data = _collect(read, recording, f"simulating {sample.name}")
    write_scan(target, _scan(data, sample, args.frames, ""), facts)
    if truth is not None:
        expected = _collect(_truth(recording, args.frames), recording, "computing the truth")
        write_scan(truth, _scan(expected, sample, args.frames, " (Truth)"), {**facts, "truth": True})
    values = {
        **facts,
        "output": str(target),
        "truth": args.truth,
        "shape": list(data.shape),
        "mean": float(data.sum() / sample.count),
    }
    return Outcome(f"{target}: {sample.name}, {data.shape}, {values['mean']:.1f} counts per position", values)


def _counts(args: argparse.Namespace) -> float:
    """Electrons per spectrum from ``--counts`` or from current and dwell time."""
    if args.current is None and args.dwell is None:
        return SAMPLES[args.sample][1] if args.counts is None else float(args.counts)
    if args.counts is not None or args.current is None or args.dwell is None:
        raise InputError("give either --counts, or --current and --dwell together")
    return electrons(args.current, args.dwell)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6}),(\d{1,6})", text)
    if not found:
        raise InputError(f"--size is {text!r}; want NY,NX, for example 32,32")
    return int(found[1]), int(found[2])


def _facts(args: argparse.Namespace, sample: Sample, counts: float) -> dict[str, typing.Any]:
    """How the scan was made, for its metadata."""
    return {
        "program": f"nionswift-udvd {udvd_core.__version__}",
        "simulated": sample.name,
        "counts": counts,
        "seed": args.seed,
        "q_rows": args.q_rows,
        "spreading": args.spreading,
        "gain_spread": args.gain_spread,
        "dead_pixels": args.dead_pixels,
    }


def _truth(recording: Recording, frames: bool) -> typing.Callable[[int], Array]:
    return recording.truth_frame if frames else lambda index: recording.truth_frame(index).sum(axis=0)


def _collect(read: typing.Callable[[int], Array], recording: Recording, label: str) -> Array:
    """Read every position with a progress bar; shape (y, x, E) or (y, x, q, E), float32."""
    sample = recording.sample
    shape = numpy.shape(read(0))
    data = numpy.empty((sample.count, *shape), dtype=numpy.float32)
    with Progress(label) as progress:
        for index in range(sample.count):
            data[index] = read(index)
            progress.update((index + 1) / sample.count, f"{index + 1} of {sample.count}")
    return data.reshape(*sample.scan_shape, *shape)


def _scan(data: Array, sample: Sample, frames: bool, suffix: str) -> Scan:
    rows = sample.profile.size
    q = (Axis(rows, -(rows - 1) / 2, 1.0, "", "q"),) if frames else ()
    metadata = {"hardware_source": {"signal_type": "eels", "counts_per_electron": 1.0}}
    return Scan(data, (*sample.scan_axes, *q, sample.energy), metadata, f"{sample.name}{suffix}")
