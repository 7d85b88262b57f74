"""Live equals offline: PSNR against rows seen, and after the last row against the same scan given at once.

Rows come at a pace of processor time; the engine works in between, as beside a microscope. The whole goes as one JSON
object. The clock skips what the engine leaves idle, so that a busy machine changes nothing and nobody waits.
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
from scans import KINDS, Scan, record, run_session, with_threads

from udvd_core.metrics import psnr
from udvd_core.session import Session
from udvd_core.settings import ScanSpec, Training

Array = numpy.typing.NDArray[numpy.floating[typing.Any]]
Facts = dict[str, typing.Any]

SCANS = (("hbn", 5000.0), ("domains", 5000.0), ("flake", 20000.0))
LIMIT = 0.5
"""Live may end this much below offline, dB."""


class PacedClock:
    """Processor time, and what was skipped on purpose."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return time.process_time() + self.skipped

    def skip_to(self, when: float) -> None:
        """Nothing happens until then."""
        self.skipped += max(0.0, when - self())


def live(scan: Scan, model: str, pace: float, budget: float) -> tuple[Array, Facts]:
    """Push row by row; PSNR of all rows received whenever the next is due, and the final estimate."""
    rows, columns, channels = scan.counts.shape
    training = Training(model=model, device="cpu", budget_s=budget)
    spec = ScanSpec("live", (rows, columns), (1, channels), scan.sample.energy, training=training)
    clock, curve, raw = PacedClock(), [], []
    worker = Session(spec, clock=clock)
    estimate, due = numpy.zeros((spec.count, channels), numpy.float32), clock()

    def take(seconds: float) -> None:
        for part in worker.advance(seconds):
            estimate[part.start : part.start + len(part.data)] = part.data

    late = 0.0
    for row in range(rows):
        worker.push(row * columns, scan.counts[row][:, None])
        due += pace
        while clock() < due and not worker.resting:
            take(due - clock())
        late = max(late, clock() - due)
        clock.skip_to(due)
        due = clock()  # a microscope would not wait; here no more than what one piece of work takes
        seen = (row + 1) * columns
        truth = scan.truth.reshape(spec.count, -1)[:seen]
        curve.append(round(psnr(estimate[:seen], truth), 2))
        raw.append(round(psnr(scan.counts.reshape(spec.count, -1)[:seen], truth), 2))
    worker.finish()
    begin = clock()
    while not worker.done:
        take(1.0)
    facts = {"rows_raw": raw, "rows": curve, "latest_s": round(late, 2), "finish_s": round(clock() - begin, 2)}
    told = worker.provenance()
    facts |= {name: told[name] for name in ("rank", "correction_share") if name in told}
    facts["settled"] = worker.model.settled
    worker.close()
    return estimate.reshape(scan.counts.shape), facts


def compare(kind: str, dose: float, seed: int, options: argparse.Namespace) -> Facts:
    """Live and offline on one scan, for every model."""
    scan = record(kind, dose, seed, tuple(options.size), options.channels)
    result: Facts = {"kind": kind, "dose": dose, "seed": seed, "raw": scan.scores(scan.counts)}
    for model in options.models:
        estimate, facts = live(scan, model, options.pace, options.budget)
        offline = run_session(scan, model=model, device="cpu", budget_s=options.budget)
        if offline is None:
            raise SystemExit(f"model {model!r} is not available in this version")
        told = offline[1]["told"]
        facts |= {f"offline_{name}": told[name] for name in ("rank", "correction_share") if name in told}
        scores, at_once = scan.scores(estimate), scan.scores(offline[0])
        least = min(scores[name] - at_once[name] for name in scores)
        facts |= {"live": scores, "offline": at_once, "behind": round(at_once["whole"] - scores["whole"], 2)}
        facts |= {"behind_most_of_all_regions": round(-least, 2), "within": at_once["whole"] - scores["whole"] < LIMIT}
        result[model] = facts
    return result


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="default: hbn, domains and flake")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=["guide", "guided"], choices=("guide", "guided", "pca", "udvd"))
    parser.add_argument("--pace", type=float, default=0.3, help="processor seconds per scan row")
    parser.add_argument("--budget", type=float, default=10.0, help="processor seconds after the last row")
    parser.add_argument("--size", nargs=2, type=int, default=(32, 32), metavar=("Y", "X"))
    parser.add_argument("--channels", type=int, default=512)
    options = parser.parse_args()
    with_threads(1)
    begin = time.perf_counter()
    scans = [(kind, KINDS[kind].doses[-1]) for kind in options.kinds] if options.kinds else SCANS
    runs = [compare(kind, dose, seed, options) for (kind, dose), seed in itertools.product(scans, options.seeds)]
    facts = {
        "pace_s_per_row": options.pace,
        "budget_s": options.budget,
        "size": options.size,
        "seconds": round(time.perf_counter() - begin),
    }
    worst = {model: max(run[model]["behind"] for run in runs) for model in options.models}
    json.dump({**facts, "behind_most_dB": worst, "limit_dB": LIMIT, "scans": runs}, sys.stdout)


if __name__ == "__main__":
    main()
