"""Tiles of a large frame whose middle parts equal the same parts of the whole."""

from __future__ import annotations

import dataclasses

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
