"""``udvd assess``: how far a scan, or its denoised copy, can be trusted."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import pathlib
import typing

import numpy
import numpy.typing

from udvd_core.buffer import FrameBuffer
from udvd_core.camera import Camera, measure_camera
from udvd_core.candidates import candidates
from udvd_core.commands.outcome import Outcome, Progress
from udvd_core.errors import InputError
from udvd_core.files import Scan, read_scan
from udvd_core.hidden import choose_hidden
from udvd_core.split import Split
from udvd_core.trust import Bias, Score, Whiteness, bias, compare, verdict, whiteness
from udvd_core.trust.findings import in_words

Array = numpy.typing.NDArray[numpy.float64]
Bool = numpy.typing.NDArray[numpy.bool_]

BLOCK_BYTES = 64 << 20
WHOLE = 0.997  # share of a channel's rows that must count right for the channel to be checked
SHOWN = 20  # regions in the machine-readable line


@dataclasses.dataclass(frozen=True)
class Assessed:
    """All that was found; `white` and `found` are None without a denoised scan."""

    scan: Scan
    camera: Camera
    split: Split
    scores: list[Score]
    white: Whiteness | None
    found: Bias | None
    verdict: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd assess``."""
    parser.add_argument("raw", metavar="RAW", help="raw scan: .npy .npz .nhdf .h5 .ndata .hspy .zspy .dm3 .dm4")
    parser.add_argument("denoised", metavar="DENOISED", nargs="?", help="the same scan denoised, spectra or frames")
    parser.add_argument(
        "--udvd",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="score the paper's network too, after so much learning",
    )
    parser.add_argument("--energy", metavar="OFFSET:STEP", help="energy axis in eV, for files without one")


def run(args: argparse.Namespace) -> Outcome:
    """Assess a scan."""
    path = pathlib.Path(args.raw)
    raw = read_scan(path, args.energy)
    denoised = None if args.denoised is None else read_scan(args.denoised, args.energy)
    if denoised is not None and (denoised.scan_shape, denoised.energy.size) != (raw.scan_shape, raw.energy.size):
        raise InputError(
            f"{args.denoised} has shape {denoised.data.shape} and {path} {raw.data.shape};"
            " want the same positions and channels, with or without q"
        )
    with Progress(f"assessing {path.name}") as progress:
        result = assess(raw, denoised, progress, args.udvd)
    return Outcome(_text(result), _values(result))


def assess(raw: Scan, denoised: Scan | None, progress: Progress, udvd_s: float = 0.0) -> Assessed:
    """Measure the camera, compare models on held-out counts, and check a denoised scan if there is one.

    Frames are summed over q; channels in which pixels do not count right are left out.
    """
    progress.update(0.0, "measuring the noise")
    camera, spectra = _camera(raw), _spectra(raw)
    usable = camera.defects.usable.mean(0) >= WHOLE
    if not usable.any():
        raise InputError("no channel of the scan counts right in all its rows; is the detector illuminated?")
    guard = choose_hidden(camera.summed, frame_shape=(1, raw.energy.size)).radius[1]
    split = Split.guarded(0, (0, max(1, guard)))
    models = candidates(raw.scan_shape, camera.summed, udvd_s)
    if importlib.util.find_spec("torch") is None:
        models = {"guide": models["guide"]}
    scores = compare(
        numpy.where(usable, spectra, numpy.nan),
        raw.scan_shape,
        models,
        split,
        camera.summed,
        lambda share, note: progress.update(0.1 + 0.8 * share, note),
    )
    white = found = None
    if denoised is not None:
        progress.update(0.9, "checking the denoised scan")
        other = _spectra(denoised)
        white = whiteness(spectra[:, usable], other[:, usable], raw.scan_shape, camera.summed)
        found = bias(spectra * usable, other * usable, raw.scan_shape, camera.summed)
    return Assessed(raw, camera, split, scores, white, found, verdict(scores, white, found, raw.energy))


def _blocks(scan: Scan) -> typing.Iterator[tuple[int, numpy.typing.NDArray[numpy.float32]]]:
    step = max(1, BLOCK_BYTES // (4 * scan.frame_shape[0] * scan.frame_shape[1]))
    for start in range(0, scan.count, step):
        yield start, scan.frames(start, min(start + step, scan.count))


def _camera(scan: Scan) -> Camera:
    buffer = FrameBuffer(scan.count, scan.frame_shape)
    try:
        for start, frames in _blocks(scan):
            buffer.put(start, frames)
        return measure_camera(buffer)
    finally:
        buffer.close()


def _spectra(scan: Scan) -> Array:
    """Spectra in scan order, summed over q, shape (n, E), counts."""
    return numpy.concatenate([frames.sum(1, dtype=numpy.float64) for _, frames in _blocks(scan)])


def _text(result: Assessed) -> str:
    """A short table and the verdict."""
    scan, noise = result.scan, result.camera.summed
    size = " x ".join(str(n) for n in scan.scan_shape)
    shares = ", ".join(f"{value:.2f}" for value in noise.correlation) or "none"
    lines = [
        f"{scan.title}: {size} positions, {in_words(slice(0, scan.energy.size), scan.energy)}",
        f"noise: gain {noise.gain:.2f}, read variance {noise.read_variance:.2g}, correlation along E {shares}",
        f"hidden set: {result.camera.hidden.reason}",
        f"pixels: {result.camera.defects.summary or 'none faulty'}",
        f"held-out counts ({result.split.share:.1%} of the pixels), per 1000 pixels above the mean spectrum:",
        *(f"  {s.name:<22}{1e3 * s.gain:>10.2f} +- {1e3 * s.error:<8.2f}{s.setting}".rstrip() for s in result.scores),
    ]
    if result.white is not None and result.found is not None:
        lines.append("residual, raw minus denoised in units of the noise (noise alone gives):")
        lines += [
            f"  {c.name:<28}{c.value:>8.3f} ({c.expected:.3f} +- {c.error:.3f}){' !' if c.off else ''}"
            for c in result.white.checks
        ]
        lines.append(f"sums over {result.found.tests} regions, largest deviation {result.found.worst:.1f} sigma:")
        lines.append("  rms " + ", ".join(f"{name} {value:.2f}" for name, value in result.found.rms.items()))
        lines.append("  (positions along a side x channels; noise alone gives 1, what follows the raw counts less)")
    return "\n".join([*lines, result.verdict])


def _values(result: Assessed) -> dict[str, typing.Any]:
    """All figures for ``--json``."""
    camera = result.camera
    values: dict[str, typing.Any] = {
        "scan_shape": list(result.scan.scan_shape),
        "frame_shape": list(result.scan.frame_shape),
        "noise": dataclasses.asdict(camera.summed),
        "hidden": {"radius": list(camera.hidden.radius), "reason": camera.hidden.reason},
        "defects": camera.defects.summary,
        "split": dataclasses.asdict(result.split),
        "models": [
            {"name": s.name, "setting": s.setting, "likelihood": s.likelihood, "gain": s.gain, "error": s.error}
            for s in result.scores
        ],
        "verdict": result.verdict,
    }
    if result.white is not None and result.found is not None:
        values["residual"] = [{**dataclasses.asdict(check), "off": check.off} for check in result.white.checks]
        values["noise_left"] = result.white.noise_left
        values["bias"] = {
            "tests": result.found.tests,
            "worst": result.found.worst,
            "rms": result.found.rms,
            "regions": len(result.found.found),
            "found": [
                {
                    "positions": [[at.start, at.stop] for at in region.positions],
                    "channels": [region.channels.start, region.channels.stop],
                    "energy": in_words(region.channels, result.scan.energy),
                    "sigma": region.sigma,
                    "share": region.share,
                }
                for region in result.found.found[:SHOWN]
            ],
        }
    return values
