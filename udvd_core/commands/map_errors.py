"""Spectra of a scan in a file as ``udvd map`` takes them, and what is known of their errors."""

from __future__ import annotations

import argparse
import typing

import numpy
import numpy.typing

from udvd_core.commands.error_files import read_uncertainty
from udvd_core.commands.outcome import Progress
from udvd_core.commands.scans import blocks, camera_of
from udvd_core.defects import Defects, fill
from udvd_core.files import Scan
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.covariance import Covariance, DenoisedCovariance
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[typing.Any]
Bools = numpy.typing.NDArray[numpy.bool_]
Doubles = numpy.typing.NDArray[numpy.float64]
Errors = NoiseModel | Uncertainty | None


def is_denoised(scan: Scan) -> bool:
    """Whether this program made the scan from another one, so that its noise is not that of counting."""
    ours = scan.metadata.get("udvd")
    return isinstance(ours, dict) and ("simulated" not in ours or bool(ours.get("truth")))


def errors_of(args: argparse.Namespace, scan: Scan, progress: Progress) -> tuple[Errors, Defects | None, str]:
    """What is known of the errors of the spectra, the faulty pixels of a raw scan, and a sentence for the user."""
    if args.uncertainty is not None:
        return read_uncertainty(args.uncertainty, scan), None, ""
    if is_denoised(scan):
        told = f"{args.input} is denoised, and its errors are not those of counting: sigma is NaN"
        return None, None, f"{told}; give --uncertainty FILE, which udvd denoise writes"
    progress.update(0.0, "measuring the noise")
    camera = camera_of(scan)
    if camera.defects.usable.all():
        return camera.summed, None, ""
    return camera.summed, camera.defects, f"{camera.defects.summary}: filled from their neighbours"


def known_at(errors: Errors, part: slice) -> NoiseModel | Covariance | None:
    """What is known of the errors of some positions."""
    return (
        DenoisedCovariance(errors, numpy.arange(part.start, part.stop)) if isinstance(errors, Uncertainty) else errors
    )


def summed(frames: Array, defects: Defects | None) -> Array:
    """Frames (n, q, E) summed over q, shape (n, E), once faulty pixels are filled."""
    return typing.cast(Array, (frames if defects is None else fill(frames, defects.usable)).sum(axis=1))


def spectra_of(scan: Scan, defects: Defects | None = None, part: slice = slice(None)) -> Array:
    """All spectra, or some of their channels, shape (n, E): those in the file where nothing is to sum or to fill."""
    if not scan.has_rows and defects is None:
        return scan.data.reshape(scan.count, scan.energy.size)[:, part]
    return numpy.concatenate([summed(frames, defects)[:, part] for _, frames in blocks(scan)])
