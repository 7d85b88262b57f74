"""What commands ask of a scan in a file: its frames in blocks, its camera, its hash."""

from __future__ import annotations

import hashlib
import pathlib
import typing

import numpy
import numpy.typing

from udvd_core.buffer import FrameBuffer
from udvd_core.camera import Camera, measure_camera
from udvd_core.files import Scan

BLOCK_BYTES = 64 << 20


def blocks(scan: Scan) -> typing.Iterator[tuple[int, numpy.typing.NDArray[numpy.float32]]]:
    """First number and frames ``(n, q, E)`` of one block of frames after the other, in scan order, counts."""
    step = max(1, BLOCK_BYTES // (4 * scan.frame_shape[0] * scan.frame_shape[1]))
    for start in range(0, scan.count, step):
        yield start, scan.frames(start, min(start + step, scan.count))


def camera_of(scan: Scan) -> Camera:
    """Measure the camera on the whole scan."""
    buffer = FrameBuffer(scan.count, scan.frame_shape)
    try:
        for start, frames in blocks(scan):
            buffer.put(start, frames)
        return measure_camera(buffer)
    finally:
        buffer.close()


def sha256(path: pathlib.Path) -> str | None:
    """Hash of a file; None for formats that are folders."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
