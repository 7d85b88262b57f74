"""``udvd pretrain``: makes the weights of the correction network from simulated scans."""

from __future__ import annotations

import argparse
import multiprocessing
import pathlib
import time
import typing

import numpy

from udvd_core.commands.outcome import Outcome, Progress
from udvd_core.errors import InputError

Result = typing.TypeVar("Result")

HELD_OUT = 12
"""One in so many scans is not learned from; the card tells what the network gains on them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd pretrain``; the defaults are those of the shipped weights."""
    parser.add_argument("--output", metavar="FILE", required=True, help="weights: .safetensors; a card is put beside")
    parser.add_argument("--scans", type=int, default=600, metavar="N", help="simulated scans (default: 600)")
    parser.add_argument("--steps", type=int, default=20000, metavar="N", help="steps of training (default: 20000)")
    parser.add_argument("--seed", type=int, default=7, help="seed of scans, weights and batches (default: 7)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that simulate (default: 1)")


def run(args: argparse.Namespace) -> Outcome:
    """Simulate scans, fit their guides, train, and write weights and card."""
    target = pathlib.Path(args.output)
    if target.suffix != ".safetensors" or not target.absolute().parent.is_dir():
        raise InputError(f"--output is {target}; want a .safetensors file in a folder that exists")
    if args.scans < 2 or args.steps < 1 or args.seed < 0 or args.workers < 1:
        got = f"{args.scans} scans, {args.steps} steps, seed {args.seed}, {args.workers} workers"
        raise InputError(f"got {got}; want at least 2, 1, 0 and 1")
    import torch

    from udvd_core.correction import training, weights
    from udvd_core.correction.network import CorrectionNetwork, flops_per_pixel

    begin = time.monotonic()
    lessons: list[training.Lesson] = []
    seeds = [[args.seed, number] for number in range(args.scans)]
    with Progress("simulating scans") as progress:
        for one in _mapped(training.lesson, seeds, args.workers):
            lessons.append(one)
            progress.update(len(lessons) / args.scans, f"{len(lessons)} of {args.scans}")
    simulated = time.monotonic() - begin
    held, learned = lessons[::HELD_OUT], [one for k, one in enumerate(lessons) if k % HELD_OUT]
    torch.manual_seed(args.seed)
    network = CorrectionNetwork()
    with Progress("training") as progress:
        training.pretrain(
            network,
            learned,
            args.steps,
            args.seed,
            lambda step, error: progress.update(step / args.steps, f"step {step}, error {error:.3f} of the guide's"),
        )
    gains = numpy.array([training.gain_db(network, one) for one in held])
    card: dict[str, typing.Any] = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "flop_per_pixel": flops_per_pixel(network),
        "trained_on": "scans drawn by udvd_core.simulate.variety, recorded by udvd_core.simulate.cameras",
        "scans": len(learned),
        "spectra": sum(len(one.missing) for one in learned),
        "steps": args.steps,
        "seed": args.seed,
        "seconds": {"simulating": round(simulated), "training": round(time.monotonic() - begin - simulated)},
        "held_out": {
            "scans": len(held),
            "gain_db": {name: round(float(numpy.quantile(gains, q)), 2) for name, q in QUANTILES.items()},
        },
        "command": f"udvd pretrain --scans {args.scans} --steps {args.steps} --seed {args.seed}",
    }
    card["sha256"] = weights.save(target, network, card)
    median = card["held_out"]["gain_db"]["median"]
    text = f"{target}: {args.steps} steps on {len(learned)} scans; {median} dB above the guide on {len(held)} others"
    return Outcome(text, {"output": str(target), **card})


def _mapped(
    work: typing.Callable[[list[int]], Result], seeds: list[list[int]], workers: int
) -> typing.Iterator[Result]:
    """Results of some work in the order of its seeds, made by so many processes."""
    if workers == 1:
        yield from map(work, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(work, seeds)


QUANTILES = {"lowest": 0.0, "tenth": 0.1, "median": 0.5, "nine_tenths": 0.9, "highest": 1.0}
