"""PSNR of the guide, the models and what a user would pick instead, on simulated scans; one JSON line per result.

Resumable: lines are appended to ``--output``, and what stands there already is not computed again, so that the long
matrix can run in pieces and in several processes (``--shard``). ``--table`` and ``--check`` read the file.

PCA, smoothing and known spectra look at the truth for their settings, which no user can: the best of all ranks, of
all widths, of two scalings. The networks get ``--budget`` seconds of processor time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import sys
import time
import typing

import numpy
import numpy.typing
import scipy.ndimage
from quality_table import append_line, check, read_lines, table
from scans import FLAT, KINDS, Scan, buffer_of, guide_of, record, run_session, settle, with_threads

from udvd_core.camera import measure_camera
from udvd_core.pca import automatic_rank, weighted_pca

Array = numpy.typing.NDArray[numpy.floating[typing.Any]]
Facts = dict[str, typing.Any]
Result = tuple[Array, Facts]

MOST_RANK = 32
WIDTHS = (0.0, 0.4, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0, 5.0, 8.0)
NETWORK_SCANS = (("hbn", 5000), ("domains", 5000))


def raw(scan: Scan, options: argparse.Namespace) -> Result:
    """The counts."""
    return scan.counts, {}


def pca_automatic(scan: Scan, options: argparse.Namespace) -> Result:
    """Weighted PCA whose rank comes from the noise as measured on the scan."""
    noise, flat = measure_camera(buffer_of(scan)).noise, scan.counts.reshape(scan.sample.count, -1)
    rank = automatic_rank(flat, noise)
    return weighted_pca(flat, rank, noise=noise).reshape(scan.counts.shape), {"rank": rank}


def pca_search(scan: Scan, widths: tuple[float, ...]) -> Result:
    """The best of all ranks, of scaling by channel or by channel and position, and of widths of smoothed loadings."""
    data = scan.counts.reshape(scan.sample.count, -1).astype(numpy.float64)
    most = min(MOST_RANK, *data.shape)
    level = numpy.maximum(data.mean(1, keepdims=True) / data.mean(), 1e-3)
    channels = numpy.sqrt(numpy.maximum(data.mean(0), 1.0 / len(data)))
    best, facts, highest, regions = scan.counts, Facts(), -numpy.inf, dict[str, float]()
    for scaling, scale in (("channels", channels), ("both", numpy.sqrt(level) * channels)):
        left, values, right = numpy.linalg.svd(data / scale, full_matrices=False)
        maps = (left * values)[:, :most].reshape(*scan.sample.scan_shape, most)
        for width in widths:
            loadings = scipy.ndimage.gaussian_filter(maps, (width, width, 0)).reshape(-1, most)
            estimate = numpy.zeros_like(data)
            for rank in range(1, most + 1):
                estimate += numpy.outer(loadings[:, rank - 1], right[rank - 1])
                counts = numpy.maximum(estimate * scale, 0.0).reshape(scan.counts.shape)
                scores = scan.scores(counts)
                regions = {name: max(value, regions.get(name, value)) for name, value in scores.items()}
                if scores["whole"] > highest:
                    best, highest = counts, scores["whole"]
                    facts = {"rank": rank, "scaling": scaling, "width": width}
    return best, {**facts, "psnr_best_per_region": regions}


def pca_oracle(scan: Scan, options: argparse.Namespace) -> Result:
    """Weighted PCA at the rank and scaling that are best for the truth."""
    return pca_search(scan, (0.0,))


def pca_smoothed(scan: Scan, options: argparse.Namespace) -> Result:
    """The same, its loadings smoothed over positions by the best width; the rank may be another."""
    return pca_search(scan, WIDTHS)


def gaussian(scan: Scan, options: argparse.Namespace) -> Result:
    """The counts smoothed over positions and channels by the best widths."""
    best, widths = (-numpy.inf, scan.counts), (0.0, 0.0)
    for positions in WIDTHS:
        smooth = scipy.ndimage.gaussian_filter(scan.counts, (positions, positions, 0))
        for channels in WIDTHS:
            estimate = scipy.ndimage.gaussian_filter1d(smooth, channels, axis=-1) if channels else smooth
            score = -float(((estimate - scan.truth) ** 2).mean())
            if score > best[0]:
                best, widths = (score, estimate), (positions, channels)
    return best[1], {"width": widths}


def known_spectra(scan: Scan, options: argparse.Namespace) -> Result | None:
    """Weighted least squares on the true spectra of the parts; weights of the mean spectrum, or of a first fit."""
    if not len(scan.parts):
        return None
    data, parts = scan.counts.reshape(scan.sample.count, -1).astype(numpy.float64), scan.parts
    spectrum, level = numpy.maximum(data.mean(0), 1.0 / len(data)), data.mean(1, keepdims=True) / data.mean()
    variance, tried = numpy.broadcast_to(spectrum, data.shape), []
    for _ in range(2):
        normal = numpy.einsum("ke,ne,le->nkl", parts, 1 / variance, parts, optimize=True)
        loadings = numpy.linalg.solve(normal, ((data / variance) @ parts.T)[..., None])[..., 0]
        estimate = numpy.maximum(loadings @ parts, 0.0)
        tried.append(estimate.reshape(scan.counts.shape))
        variance = numpy.maximum(estimate, 0.1 * numpy.maximum(level, 1e-3) * spectrum)
    whole = [scan.scores(one)["whole"] for one in tried]
    return tried[int(numpy.argmax(whole))], {"rank": len(parts)}


def guide(scan: Scan, options: argparse.Namespace) -> Result:
    """The guide, learned until it settles."""
    model = guide_of(scan.sample, buffer_of(scan), scan.sample.scan_shape)
    steps = settle(model)
    estimate = model.denoise(numpy.arange(scan.sample.count))
    return estimate.reshape(scan.counts.shape), {"rank": model.guide.rank, "steps": steps}


def guided(scan: Scan, options: argparse.Namespace) -> Result | None:
    """The guide with its correction network, as `udvd denoise` runs it."""
    return run_session(scan, model="guided", device="cpu", budget_s=options.budget)


def udvd(scan: Scan, options: argparse.Namespace) -> Result | None:
    """The blindspot network from scratch."""
    return run_session(scan, model="udvd", device="cpu", budget_s=options.budget)


METHODS: dict[str, typing.Callable[[Scan, argparse.Namespace], Result | None]] = {
    f.__name__: f for f in (raw, pca_automatic, pca_oracle, pca_smoothed, gaussian, known_spectra, guide, guided, udvd)
}


def result_of(method: str, scan: Scan, options: argparse.Namespace) -> Facts | None:
    """One method on one scan: seconds and PSNR of every region."""
    begin, busy = time.perf_counter(), time.process_time()
    found = METHODS[method](scan, options)
    if found is None:
        return None
    estimate, facts = found
    facts = {"seconds": round(time.perf_counter() - begin, 2), "cpu_s": round(time.process_time() - busy, 2)} | facts
    if scan.kind in FLAT:
        facts["over_flat"] = round(scan.over_flat(estimate), 3)
    return {**facts, "psnr": scan.scores(estimate)}


def run(options: argparse.Namespace) -> None:
    """Compute what is missing in the file; scans in turn, all methods on each."""
    scans = [(kind, d, s) for kind in options.kinds for d in options.doses or KINDS[kind].doses for s in options.seeds]
    part, parts = (int(n) for n in options.shard.split("/"))
    shape = [*options.size, options.channels]
    lines = [line for line in read_lines(options.output) if line["shape"] == shape]
    done = {(line["kind"], line["dose"], line["seed"], line["method"]) for line in lines}
    for (kind, dose, seed), method in itertools.product(scans[part::parts], options.methods):
        if (kind, dose, seed, method) in done or (method == "udvd" and (kind, dose) not in NETWORK_SCANS):
            continue
        scan = record(kind, dose, seed, tuple(options.size), options.channels)
        result = result_of(method, scan, options)
        if result is None:
            continue
        key = {"kind": kind, "dose": dose, "seed": seed, "method": method, "shape": shape}
        line = json.dumps({**key, "threads": options.threads, **result})
        append_line(options.output, line)
        print(line, flush=True)


def main() -> None:
    """Run what is missing, or show what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="FILE.jsonl")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--doses", nargs="+", type=float, help="counts per spectrum; default: those of each kind")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--size", nargs=2, type=int, default=(32, 32), metavar=("Y", "X"))
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--budget", type=float, default=60.0, help="processor seconds for guided and udvd")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="every Nth scan only, from the Ith on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print a Markdown table of the file, mean over seeds")
    parser.add_argument("--check", action="store_true", help="compare margins with the limits; exit 1 where one fails")
    parser.add_argument("--judged", default="guide", choices=METHODS, help="method that --check looks at")
    options = parser.parse_args()
    lines = read_lines(options.output)
    if options.table:
        print(table(lines, list(METHODS)))
    if options.check:
        sys.exit(not check(lines, options.judged))
    if not options.table:
        with_threads(options.threads)
        run(options)


if __name__ == "__main__":
    main()
