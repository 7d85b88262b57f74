"""``udvd assess``: how far a scan, or its denoised copy, can be trusted."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import pathlib
import typing

import numpy
import numpy.typing

import udvd_core
from udvd_core.candidates import candidates
from udvd_core.commands.assess_report import Assessed, in_text, in_values
from udvd_core.commands.outcome import Outcome, Progress
from udvd_core.commands.scans import blocks, camera_of
from udvd_core.dose import Dose, signal_to_noise
from udvd_core.errors import InputError
from udvd_core.files import Scan, check_output, read_scan, write_scan
from udvd_core.hidden import choose_hidden
from udvd_core.noise import NoiseModel
from udvd_core.split import Split
from udvd_core.trust import UnsupervisedPsnr, bias, compare, difference, unsupervised_psnr, verdict, whiteness
from udvd_core.trust.findings import in_words

Array = numpy.typing.NDArray[numpy.float64]

WHOLE = 0.997  # share of a channel's rows that must count right for the channel to be checked


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
    parser.add_argument(
        "--signal",
        action="append",
        default=[],
        metavar="A:B",
        help="dose meter of the counts from A to B eV: contrast over noise, and what more passes bring; repeatable",
    )
    parser.add_argument("--difference", metavar="FILE", help="write raw minus denoised in units of the noise")
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
    windows = [_window(raw, text) for text in args.signal]
    if args.difference is not None:
        if denoised is None:
            raise InputError("--difference needs the denoised scan too: udvd assess RAW DENOISED --difference FILE")
        check_output(args.difference)
    with Progress(f"assessing {path.name}") as progress:
        result = assess(raw, denoised, progress, args.udvd, windows)
    if args.difference is not None:
        write_scan(args.difference, _difference(result), {"program": f"nionswift-udvd {udvd_core.__version__}"})
    return Outcome(in_text(result), in_values(result))


def assess(
    raw: Scan, denoised: Scan | None, progress: Progress, udvd_s: float = 0.0, windows: typing.Sequence[slice] = ()
) -> Assessed:
    """Measure the camera, compare models on held-out counts, and check a denoised scan if there is one.

    Frames are summed over q; channels in which pixels do not count right are left out. `windows` are channels whose
    sums the dose meter looks at; all of them without any.
    """
    progress.update(0.0, "measuring the noise")
    camera, spectra = camera_of(raw), _spectra(raw)
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
    white = found = rest = None
    if denoised is not None:
        progress.update(0.9, "checking the denoised scan")
        other = _spectra(denoised)
        rest = difference(spectra, other, camera.summed)
        white = whiteness(spectra[:, usable], other[:, usable], raw.scan_shape, camera.summed)
        found = bias(spectra * usable, other * usable, raw.scan_shape, camera.summed)
    doses = [_dose(raw, spectra, camera.summed, window) for window in windows or [slice(0, raw.energy.size)]]
    passes = _passes(raw, spectra, camera.summed)
    sentence = verdict(scores, white, found, raw.energy)
    return Assessed(raw, camera, split, scores, doses, passes, white, found, rest, sentence)


def _window(scan: Scan, text: str) -> slice:
    """Channels of ``A:B`` in eV."""
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"--signal is {text!r}; want A:B in {scan.energy.units or 'channels'}") from None
    return scan.energy.window(low, high)


def _dose(scan: Scan, spectra: Array, noise: NoiseModel, window: slice) -> Dose:
    """Dose meter of a sum over channels, passes added up."""
    passes = scan.scan_shape[0] if len(scan.scan_shape) == 3 else 1
    values = spectra[:, window].sum(1).reshape(passes, -1).sum(0)
    variance = noise.gain * numpy.maximum(values, 0.0) + passes * (window.stop - window.start) * noise.read_variance
    sigma = numpy.sqrt(noise.window_factor(window.stop - window.start) * numpy.maximum(variance, noise.gain))
    return signal_to_noise(values, sigma, in_words(window, scan.energy), passes)


def _passes(scan: Scan, spectra: Array, noise: NoiseModel) -> dict[str, UnsupervisedPsnr]:
    """Error of the first pass, raw and by the guide, from the passes after it; nothing for fewer than three."""
    if len(scan.scan_shape) != 3 or scan.scan_shape[0] < 3:
        return {}
    first, *others = spectra.reshape(scan.scan_shape[0], -1, scan.energy.size)
    everything = numpy.ones(first.shape, numpy.bool_)
    guide = candidates(scan.scan_shape[1:], noise)["guide"](first, everything)
    return {name: unsupervised_psnr(one, *others) for name, one in (("raw", first), ("guide", guide))}


def _difference(result: Assessed) -> Scan:
    """Raw minus denoised as a scan of spectra, in units of the noise."""
    scan = result.scan
    axes = (*scan.scan_axes, scan.energy)
    values = numpy.asarray(result.difference, numpy.float32).reshape(tuple(axis.size for axis in axes))
    return dataclasses.replace(scan, data=values, axes=axes, title=f"{scan.title} (Difference in Sigma)")


def _spectra(scan: Scan) -> Array:
    """Spectra in scan order, summed over q, shape (n, E), counts."""
    return numpy.concatenate([frames.sum(1, dtype=numpy.float64) for _, frames in blocks(scan)])
