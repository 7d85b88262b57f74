"""Time and memory of the guide from 8 x 8 to 256 x 256 positions, of one more row, and of whole frames.

Every case runs in a process of its own, so that its peak memory is its own: the scan, the libraries and all. One JSON
line per case; ``--quick`` runs small ones.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
import typing

import numpy
import numpy.typing
from scans import SPREADING, guide_of, settle, with_threads

from udvd_core.axes import Axis
from udvd_core.buffer import FrameBuffer
from udvd_core.detector import Detector
from udvd_core.guided import GuideModel
from udvd_core.simulate import Sample, simulate_hbn

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

Array = numpy.typing.NDArray[numpy.floating[typing.Any]]
Index = numpy.typing.NDArray[numpy.int64]
Facts = dict[str, typing.Any]

SIZES = (8, 16, 32, 64, 128, 256)
ROWS_BEFORE = (8, 32, 128, 256)
ROWS_ADDED = 3
CHANNELS, COUNTS = 1024, 1000.0
FRAMES, Q_ROWS, FRAME_COUNTS = (32, 32), 128, 3500.0
"""Counts per frame: a mean of 0.027 per pixel, as in the paper's data."""


class Spectra:
    """h-BN spectra of any number of positions, row by row: never the expected counts of the whole scan at once."""

    def __init__(self, size: tuple[int, int]) -> None:
        maps = simulate_hbn(size, energy=Axis(8, 100.0, 60.0, "eV", "E"), counts=COUNTS, q_rows=1)
        self.sample: Sample = simulate_hbn((1, 1), energy=Axis(CHANNELS, 100.0, 0.5, "eV", "E"), q_rows=1)
        self._weights = numpy.stack([part.weight for part in maps.parts], -1)
        self._spectra = numpy.stack([part.spectrum for part in self.sample.parts])

    def rate(self, row: int) -> Array:
        """Expected electrons of a scan row, shape (x, E)."""
        return numpy.asarray(self._weights[row] @ self._spectra)

    def put(self, buffer: FrameBuffer, row: int) -> None:
        """Count one scan row into a buffer."""
        counts = quick_counts(self.rate(row), numpy.random.default_rng([0, row]))
        buffer.put(row * len(counts), counts[:, None])


def quick_counts(rate: Array, rng: numpy.random.Generator) -> numpy.typing.NDArray[numpy.float32]:
    """Counts of spectra (n, E), all at once, with the statistics of ``Detector(SPREADING)`` with one row.

    Doubles whose direction is chosen at random are independent Poisson counts for each direction.
    """
    first = rate / (1 + SPREADING)
    counts = rng.poisson(first * (1 - SPREADING)) + 2 * rng.poisson(first * SPREADING / 2)  # along q: in the same row
    for target, source in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        doubles = rng.poisson(first * SPREADING / 4)
        counts += doubles
        counts[:, target] += doubles[:, source]
    return counts.astype(numpy.float32)


def quick_truth(rate: Array) -> Array:
    """Expected counts of `quick_counts`."""
    expected = rate * (1 + SPREADING / 2)
    expected[:, 1:] += SPREADING / 4 * rate[:, :-1]
    expected[:, :-1] += SPREADING / 4 * rate[:, 1:]
    return typing.cast(Array, expected / (1 + SPREADING))


def peak_mb() -> float | None:
    """Peak memory of this process, MB; None on Windows."""
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def fitted(model: GuideModel) -> Facts:
    """Let a guide settle, denoise everything in batches, and say how long that took."""
    begin = time.perf_counter()
    steps = settle(model)
    settled = time.perf_counter()
    count = model.neighbours.shape[0]
    for start in range(0, count, model.batch):
        model.denoise(numpy.arange(start, min(start + model.batch, count)))
    end = time.perf_counter()
    spent = {"settle_s": round(settled - begin, 3), "denoise_s": round(end - settled, 3)}
    return {**spent, "steps": steps, "rank": model.guide.rank, "peak_mb": peak_mb()}


def gain_db(model: GuideModel, buffer: FrameBuffer, numbers: Index, truth: Array) -> float:
    """How far some denoised frames are nearer to their truth than the counts."""
    raw, estimate = (((frames - truth) ** 2).mean() for frames in (buffer.frames(numbers), model.denoise(numbers)))
    return round(10 * math.log10(raw / estimate), 2)


def spectra_case(size: int) -> Facts:
    """A square scan of spectra."""
    spectra, begin = Spectra((size, size)), time.perf_counter()
    buffer = FrameBuffer(size * size, (1, CHANNELS))
    for row in range(size):
        spectra.put(buffer, row)
    counted = time.perf_counter() - begin
    model = guide_of(spectra.sample, buffer, (size, size))
    facts = {"shape": [size, size, CHANNELS], "count_s": round(counted, 2), **fitted(model)}
    row, truth = size // 2, quick_truth(spectra.rate(size // 2))[:, None]
    return {**facts, "gain_db": gain_db(model, buffer, row * size + numpy.arange(size), truth)}


def rows_case(before: int, width: int) -> Facts:
    """Some scan rows are there and fitted; what the next ones cost, counting aside."""
    size = (before + ROWS_ADDED, width)
    spectra, buffer = Spectra(size), FrameBuffer(size[0] * width, (1, CHANNELS))
    for row in range(before):
        spectra.put(buffer, row)
    model = guide_of(spectra.sample, buffer, size)
    settle(model)
    spent = []
    for row in range(before, size[0]):
        spectra.put(buffer, row)
        begin = time.perf_counter()
        model.guide.frames(numpy.arange(row * width, (row + 1) * width))
        spent.append(round(time.perf_counter() - begin, 4))
    return {
        "rows_before": before,
        "row": [width, CHANNELS],
        "add_row_s": statistics.median(spent),
        "each_s": spent,
        "rank": model.guide.rank,
    }


def frames_case(size: tuple[int, int], q_rows: int) -> Facts:
    """Whole frames (q, E), with the detector of `udvd_core.detector`."""
    axis = Axis(CHANNELS, 100.0, 0.5, "eV", "E")
    recording = Detector(SPREADING).record(simulate_hbn(size, energy=axis, counts=FRAME_COUNTS, q_rows=q_rows))
    buffer, begin = FrameBuffer(size[0] * size[1], (q_rows, CHANNELS)), time.perf_counter()
    for number in range(size[0] * size[1]):
        buffer.put(number, recording.frame(number)[None])
    counted = time.perf_counter() - begin
    model = guide_of(recording.sample, buffer, size, frames=True)
    facts = {"shape": [*size, q_rows, CHANNELS], "count_s": round(counted, 2), **fitted(model)}
    some = numpy.arange(0, size[0] * size[1], max(1, size[0] * size[1] // 16))
    return {**facts, "gain_db": gain_db(model, buffer, some, numpy.stack([recording.truth_frame(n) for n in some]))}


def case(name: str, numbers: list[int]) -> Facts:
    """One case by its name, as a process of its own is told."""
    if name == "spectra":
        return spectra_case(*numbers)
    return rows_case(*numbers) if name == "rows" else frames_case((numbers[0], numbers[1]), numbers[2])


def main() -> None:
    """Run all cases, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES, help="positions along each axis, spectra")
    parser.add_argument("--rows", nargs="*", type=int, default=ROWS_BEFORE, help="rows there before another is added")
    parser.add_argument("--width", type=int, default=256, help="positions of such a row")
    parser.add_argument("--frames", nargs="*", type=int, default=[*FRAMES, Q_ROWS], help="y x q of whole frames")
    parser.add_argument("--quick", action="store_true", help="small cases only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--case", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with_threads(options.threads)
    if options.case:
        print(json.dumps(case(options.case[0], [int(n) for n in options.case[1:]])))
        return
    if options.quick:
        options.sizes, options.rows, options.width, options.frames = (8, 16, 32), (8, 32), 32, [8, 8, 16]
    cases = [["spectra", n] for n in options.sizes] + [["rows", n, options.width] for n in options.rows]
    for one in [*cases, ["frames", *options.frames]] if options.frames else cases:
        command = [sys.executable, __file__, "--threads", str(options.threads), "--case", *map(str, one)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip()[-300:]}
        print(json.dumps({"case": one[0], "threads": options.threads, **found}), flush=True)


if __name__ == "__main__":
    main()
