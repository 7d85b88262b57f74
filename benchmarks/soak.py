"""Scans back to back for a long time: does any process keep memory or handles? One JSON line.

Scans of all models go in turn through a GPU machine of this computer (``udvd serve``, loopback, mutual TLS 1.3), whose
connection a child of this process holds as Swift's child does, and through a local engine. After each scan the private
memory and the open handles of all processes are read. What counts is the median of the last quarter against that of
the first, after a time to warm up; everything runs on, nothing is started anew.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
import typing

import numpy
import numpy.typing
import psutil
from farm import gpu_machine

from udvd_core.axes import Axis
from udvd_core.engine import certificates
from udvd_core.engine.local import LocalEngine
from udvd_core.engine.protocol import Failed, Finished, Resend
from udvd_core.settings import MODELS, MapWindow, ScanSpec, Training

Array = numpy.typing.NDArray[numpy.float32]
Facts = dict[str, typing.Any]

SIDE, ROWS, CHANNELS = 16, 4, 256
BATCH = 16
BUDGET_S = 5.0
WARM_UP = 1 / 12
PARTS = {"scheduler": "dask_scheduler", "nanny": "dask_worker", "worker": "spawn_main", "udvd serve": "serve"}
"""Processes of the GPU machine by a word of their command lines."""


def make_frames() -> Array:
    """Poisson counts, shape (n, q, E), of two materials whose shares vary over the scan."""
    energy = numpy.arange(CHANNELS) / CHANNELS
    spectra = numpy.stack([4 * numpy.exp(-3 * energy), 2 * numpy.exp(-(((energy - 0.5) / 0.1) ** 2)) + 0.2])
    share = (numpy.indices((SIDE, SIDE)).sum(0) / (2 * SIDE)).reshape(-1, 1, 1)
    mean = (share * spectra[0] + (1 - share) * spectra[1]) * numpy.ones((1, ROWS, 1))
    return numpy.random.default_rng(20261128).poisson(mean).astype(numpy.float32)


def run_scan(engine: LocalEngine, spec: ScanSpec, frames: Array, others: typing.Iterable[LocalEngine]) -> list[str]:
    """Take a scan through an engine; returns what went wrong. The others are heard: else they take Swift for dead."""
    engine.open(spec)
    at, told, wrong = 0, False, list[str]()
    while True:
        while at < spec.count and engine.push(spec.scan_id, at, frames[at : at + BATCH]):
            at += BATCH
        if at >= spec.count and not told:
            told = True
            engine.finish(spec.scan_id)
        for other in others:
            other.poll()
        for event in engine.poll():
            if isinstance(event, Resend):
                at, told = 0, False
                wrong.append(f"{spec.scan_id}, frames again: {event.reason}")
            if isinstance(event, Failed):
                return [*wrong, f"{spec.scan_id}, failed: {event.reason}"]
            if isinstance(event, Finished):
                late = event.final < spec.count
                return [*wrong, f"{spec.scan_id}, {event.final} of {spec.count} frames final"] if late else wrong
        time.sleep(0.005)


def find_parts(engines: dict[str, LocalEngine]) -> dict[str, psutil.Process]:
    """All processes by what they are."""
    me = psutil.Process()
    found = {"console": me, **{name: psutil.Process(engine.pid) for name, engine in engines.items()}}
    for each in me.children(recursive=True):
        words = each.cmdline()
        for name, word in PARTS.items():
            if any(part == word or part.endswith("." + word) or word in part.split("(")[0].split() for part in words):
                found[name] = each
    return found


def look(process: psutil.Process) -> tuple[float, float, int]:
    """Private memory, MB, resident memory, MB, and open handles of a process.

    Private is what the process wrote itself: pages of a library count as its own, too, once nobody else has it loaded.
    """
    memory = process.memory_info()
    if sys.platform == "win32":
        return memory.private / 2**20, memory.rss / 2**20, process.num_handles()
    private = sum(each.anonymous for each in process.memory_maps())
    return private / 2**20, memory.rss / 2**20, process.num_fds()


def compare(samples: list[tuple[float, float, int]], times: list[float], end: float) -> Facts:
    """First and last quarter after the warm-up, and medians over the whole time to see the way between them."""
    begin = WARM_UP * end
    quarter = (end - begin) / 4

    def medians(low: float, high: float) -> list[float]:
        chosen = [sample for sample, at in zip(samples, times, strict=True) if low <= at <= high]
        return [statistics.median(values) for values in zip(*chosen, strict=True)] if chosen else [float("nan")] * 3

    first, last = medians(begin, begin + quarter), medians(end - quarter, end)
    course = [round(medians(end * part / 12, end * (part + 1) / 12)[0], 1) for part in range(12)]
    return {
        "private_mb": [round(first[0], 1), round(last[0], 1)],
        "growth_percent": round(100 * (last[0] / first[0] - 1), 2),
        "resident_mb": [round(first[1], 1), round(last[1], 1)],
        "handles": [first[2], last[2]],
        "most_handles": max(sample[2] for sample in samples),
        "private_mb_by_twelfths": course,
    }


def soak(engines: dict[str, LocalEngine], minutes: float) -> Facts:
    """Scan after scan until the time is up."""
    frames, energy = make_frames(), Axis(CHANNELS, 100.0, 0.5, "eV", "E")
    window = MapWindow("edge", (160.0, 180.0), ((120.0, 150.0),))
    times: list[float] = []
    samples: dict[str, list[tuple[float, float, int]]] = {}
    parts: dict[str, psutil.Process] = {}
    wrong: list[str] = []
    begin = said = time.monotonic()
    for number, (model, place) in enumerate(itertools.cycle(itertools.product(MODELS, engines))):
        training = Training(model=model, frames=model == "raw", device="cpu", width=2, budget_s=BUDGET_S)
        spec = ScanSpec(f"{model} {place} {number}", (SIDE, SIDE), (ROWS, CHANNELS), energy, (window,), training)
        wrong += run_scan(engines[place], spec, frames, [engines[each] for each in engines if each != place])
        if not parts:  # by now all have begun
            parts, begin = find_parts(engines), time.monotonic()
        times.append(time.monotonic() - begin)
        for name, process in parts.items():
            samples.setdefault(name, []).append(look(process))
        if time.monotonic() - said > 60:
            said = time.monotonic()
            sizes = {name: round(each[-1][0]) for name, each in samples.items()}
            print(f"{times[-1]:.0f} s, {number + 1} scans, private MB {sizes}", file=sys.stderr, flush=True)
        if times[-1] > 60 * minutes:
            break
    facts = {name: compare(values, times, times[-1]) for name, values in samples.items()}
    return {"minutes": minutes, "scans": len(times), "wrong": wrong, **facts}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        gpu, swift = certificates.make(place / "certs", ["127.0.0.1", "swift"])
        with gpu_machine(place, gpu, 1) as address:
            with contextlib.closing(LocalEngine(cluster=(address, str(swift)))) as there:
                with contextlib.closing(LocalEngine()) as here:
                    result = soak({"child with the connection": there, "local engine": here}, options.minutes)
    print(json.dumps({"cores": os.cpu_count(), **result}))


if __name__ == "__main__":
    main()
