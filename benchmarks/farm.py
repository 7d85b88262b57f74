"""Equal scans over the workers of one GPU machine, on loopback and mutual TLS: wall time by workers; one JSON line.

The queue is that of ``udvd denoise`` and does what Swift's does: as many scans are open as there are workers, the next
begins when one has ended. ``guide`` ends when it has fitted what there is, so that its time is work; of models that
learn until their budget is used up, wall time alone says nothing, and the steps that were made are given beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.engine import certificates
from udvd_core.engine.cluster import ClusterEngine
from udvd_core.engine.farm import Feed, work_off
from udvd_core.settings import ScanSpec, Training

Array = numpy.typing.NDArray[numpy.float32]
Facts = dict[str, typing.Any]

CHANNELS = 1028
PORT = 19786


def make_scan(size: int) -> Array:
    """Poisson counts, shape (size * size, 1, E), of two materials whose shares vary over the scan."""
    rng = numpy.random.default_rng(20261124)
    energy = numpy.arange(CHANNELS) / CHANNELS
    spectra = numpy.stack([4 * numpy.exp(-3 * energy), 2 * numpy.exp(-(((energy - 0.5) / 0.1) ** 2)) + 0.2])
    share = (numpy.indices((size, size)).sum(0) / (2 * size)).reshape(-1, 1)
    return rng.poisson(share * spectra[0] + (1 - share) * spectra[1])[:, None].astype(numpy.float32)


def time_all(engine: ClusterEngine, specs: list[ScanSpec], frames: Array) -> Facts:
    """Seconds until all scans are final."""
    begin = time.perf_counter()
    done = list(work_off(engine, [Feed(spec, lambda start, stop: frames[start:stop]) for spec in specs]))
    seconds = time.perf_counter() - begin
    for feed in done:
        if feed.finished is None or (feed.final > 1).any():
            raise SystemExit(feed.failure or f"{feed.spec.scan_id}: a frame has two final results")
    steps = [feed.finished.step for feed in done if feed.finished]
    final = [int(feed.final.sum()) for feed in done]
    return {"seconds": round(seconds, 2), "steps": steps, "frames": specs[0].count, "final": final}


@contextlib.contextmanager
def gpu_machine(folder: pathlib.Path, gpu: pathlib.Path, workers: int) -> typing.Iterator[str]:
    """Address of ``udvd serve`` with so many workers, a thread each."""
    command = [sys.executable, "-m", "udvd_core", "serve", "--host", "127.0.0.1", "--port", str(PORT)]
    command += ["--certs", str(gpu), "--workers", str(workers), "--allow-root"]
    log = folder / f"serve.{workers}.log"
    with log.open("wb") as file:
        machine = subprocess.Popen(command, stderr=file, stdout=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        while "ready:" not in log.read_text():
            if machine.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        yield f"tls://127.0.0.1:{PORT}"
    finally:
        machine.send_signal(signal.SIGTERM)
        machine.wait()


def measure(options: argparse.Namespace, folder: pathlib.Path) -> Facts:
    """Wall time of the same scans by the number of workers."""
    gpu, swift = certificates.make(folder / "certs", ["127.0.0.1", "swift"])
    frames = make_scan(options.size)
    training = Training(model=options.model, device=options.device, budget_s=options.budget)
    energy = Axis(CHANNELS, 0.0, 0.5, "eV", "E")

    def specs(name: str, count: int) -> list[ScanSpec]:
        shape = (options.size, options.size)
        return [ScanSpec(f"{name} {n}", shape, (1, CHANNELS), energy, training=training) for n in range(count)]

    result: Facts = {}
    for workers in options.workers:
        with gpu_machine(folder, gpu, workers) as address, contextlib.closing(ClusterEngine(address, swift)) as engine:
            time_all(engine, specs("first", workers), frames)  # imports, and what else is done once
            if engine.workers != workers:
                raise SystemExit(f"the engine sees {engine.workers} workers; want {workers}")
            runs = [time_all(engine, specs(f"run {n}", options.scans), frames) for n in range(options.repeats)]
            best = min(runs, key=lambda run: float(run["seconds"]))
            result[f"{workers} workers"] = {**best, "all_s": [run["seconds"] for run in runs]}
    alone = result[f"{options.workers[0]} workers"]["seconds"]
    for facts in result.values():
        facts["speed_up"] = round(alone / facts["seconds"], 2)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--scans", type=int, default=4)
    parser.add_argument("--size", type=int, default=64, help="positions along each side of the scans")
    parser.add_argument("--model", default="guide")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for each scan")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, pathlib.Path(folder))
    facts = {"model": options.model, "scans": options.scans, "size": options.size, "device": options.device}
    print(json.dumps({"cores": os.cpu_count(), **facts, **result}))


if __name__ == "__main__":
    main()
