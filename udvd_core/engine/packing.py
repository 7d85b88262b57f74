"""Frames as few bytes for the way to another machine: blosc2, LZ4 after shuffling bits, one thread."""

from __future__ import annotations

import dataclasses

import blosc2
import numpy
import numpy.typing

Array = numpy.typing.NDArray[numpy.float32]

LEVEL = 5


@dataclasses.dataclass(frozen=True)
class Packed:
    """Frames `start` and following, shape (n, q, E), packed."""

    start: int
    shape: tuple[int, ...]
    kind: str
    data: bytes


def pack(start: int, frames: Array) -> Packed:
    """Pack frames, shape (n, q, E), counts; whole counts travel as such, nothing is rounded."""
    exact = _whole(frames)
    kind = str(exact.dtype)
    if not exact.size:
        return Packed(start, frames.shape, kind, b"")
    data = blosc2.compress2(
        exact,
        typesize=exact.itemsize,
        codec=blosc2.Codec.LZ4,
        clevel=LEVEL,
        filters=[blosc2.Filter.BITSHUFFLE],
        filters_meta=[0],
        nthreads=1,
    )
    return Packed(start, frames.shape, kind, data)


def unpack(packed: Packed) -> Array:
    """Frames again, float32."""
    data = blosc2.decompress2(packed.data, nthreads=1) if packed.data else b""
    return numpy.frombuffer(data, packed.kind).reshape(packed.shape).astype(numpy.float32)


def _whole(frames: Array) -> numpy.typing.NDArray[numpy.generic]:
    """Frames in the smallest kind of number that holds them exactly: uint16, uint32 or float32."""
    frames = numpy.ascontiguousarray(frames, numpy.float32)
    if frames.size:
        low, high = float(frames.min()), float(frames.max())  # NaN where one is among them, and then neither holds
        if 0 <= low and high < 2**32:
            whole = frames.astype(numpy.uint16 if high < 2**16 else numpy.uint32)
            if numpy.array_equal(whole, frames):
                return whole
    return frames
