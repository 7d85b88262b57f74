"""Tiles of a large frame whose middle parts equal the same parts of the whole, and batches of few sizes."""

from __future__ import annotations

import dataclasses
import itertools

GRID = 4
"""The network halves its frames twice: tiles start and end on multiples of this, from both ends."""

HALO = 145
"""Pixels around a tile that its middle can see: 72 in each of two U-Nets and the hidden pixel itself. A hidden radius
comes on top."""


@dataclasses.dataclass(frozen=True)
class Tile:
    """One stretch of an axis: read `outer`, keep `inner`."""

    outer: slice
    inner: slice

    @property
    def kept(self) -> slice:
        """`inner` counted from the start of `outer`."""
        return slice(self.inner.start - self.outer.start, self.inner.stop - self.outer.start)


def tiles(size: int, length: int, halo: int = HALO) -> list[Tile]:
    """Cover an axis with tiles.

    Parameters
    ----------
    size : int
        Pixels of the axis.
    length : int
        Pixels to keep of each tile, at least 1.
    halo : int
        Pixels read beyond the kept ones on either side, where there are any.

    Returns
    -------
    list of Tile
        Their inner parts cover the axis once, in order. Outer parts start a multiple of `GRID`
        from the start of the axis and end one from its end.
    """
    result = []
    for start in range(0, size, length):
        stop = min(start + length, size)
        first = max(0, start - halo) // GRID * GRID
        last = size - max(0, size - stop - halo) // GRID * GRID
        result.append(Tile(slice(first, last), slice(start, stop)))
    return result


def batches(count: int, most: int) -> list[slice]:
    """Cover `count` frames with batches of `most`, and what is left with powers of two.

    oneDNN compiles its convolutions for each size of a batch and keeps a thousand of them, some 20 MB; and while a scan
    runs, frames come in any number.
    """
    sizes = [most] * (count // most)
    left = count % most
    sizes += [1 << bit for bit in reversed(range(left.bit_length())) if left >> bit & 1]
    ends = itertools.accumulate(sizes)
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
