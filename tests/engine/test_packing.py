"""Frames come out of their packing as they went in, whatever they hold."""

import numpy
import pytest

from udvd_core.engine.packing import pack, unpack


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("uint16", lambda frames: frames),
        ("uint32", lambda frames: frames + 70000),
        ("float32", lambda frames: frames + 0.5),
        ("float32", lambda frames: frames - 1),
        ("float32", lambda frames: numpy.where(frames > 3, numpy.nan, frames)),
        ("float32", lambda frames: frames * 1e12),
        ("uint16", lambda frames: frames[:0]),
        ("uint16", lambda frames: numpy.asfortranarray(frames)[:, ::-1]),
    ],
    ids=["counts", "many", "fractions", "negative", "nan", "huge", "none", "strided"],
)
def test_nothing_is_changed(rng, kind, change):
    frames = change(rng.poisson(1.0, (7, 3, 50)).astype(numpy.float32)).astype(numpy.float32)
    packed = pack(11, frames)
    assert (packed.start, packed.kind if frames.size else kind) == (11, kind)
    back = unpack(packed)
    assert back.dtype == numpy.float32
    numpy.testing.assert_array_equal(back, frames)


def test_sparse_counts_become_small(rng):
    frames = rng.poisson(0.03, (16, 64, 128)).astype(numpy.float32)
    assert len(pack(0, frames).data) < frames.nbytes / 30
