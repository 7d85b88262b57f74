"""Which pixels of a scan are held out: kept from every model, to judge it by afterwards."""

from __future__ import annotations

import dataclasses
import typing

import numpy
import numpy.typing
import scipy.ndimage

from udvd_core.errors import InputError

Bool = numpy.typing.NDArray[numpy.bool_]
Index = numpy.typing.NDArray[numpy.int64]

MOST_GUARDED = 0.2  # share of pixels that hold-out and guard may cost together


@dataclasses.dataclass(frozen=True)
class Split:
    """A random choice of pixels, the same for every model that is compared.

    Attributes
    ----------
    seed : int
        The choice depends on it and on the number of the frame only, in whatever order frames come.
    share : float
        Share of the pixels that are held out.
    guard : (int, int)
        Radius along q and E within which noise is shared with a held-out pixel (charge spreading). What
        lies within is shown to no model, and not scored either.
    """

    seed: int = 0
    share: float = 0.05
    guard: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if self.seed < 0 or not 0 < self.share < 1 or min(self.guard) < 0:
            raise InputError(
                f"split has seed {self.seed}, share {self.share} and guard {self.guard};"
                " want a seed and a guard from 0 and a share between 0 and 1"
            )

    @staticmethod
    def guarded(seed: int, guard: tuple[int, int]) -> Split:
        """Split whose guard costs no more than a fifth of the pixels: the wider the guard, the fewer are held out."""
        cost = (2 * guard[0] + 1) * (2 * guard[1] + 1)
        return Split(seed, min(0.05, MOST_GUARDED / cost), guard)

    def held(self, number: int, frame_shape: tuple[int, int]) -> Bool:
        """Held-out pixels of a frame, shape (q, E)."""
        drawn = numpy.random.default_rng([self.seed, number]).random(frame_shape, numpy.float32)
        return drawn < self.share

    def visible(self, number: int, frame_shape: tuple[int, int]) -> Bool:
        """Pixels that models may see, shape (q, E): none within the guard radius of one that is held out."""
        return self._beyond_guard(self.held(number, frame_shape))

    def masks(self, numbers: typing.Sequence[int] | Index, frame_shape: tuple[int, int]) -> tuple[Bool, Bool]:
        """Held-out and visible pixels of several frames, both of shape (n, q, E)."""
        held = numpy.zeros((len(numbers), *frame_shape), numpy.bool_)
        visible = numpy.zeros_like(held)
        for k, number in enumerate(numbers):
            held[k] = self.held(int(number), frame_shape)
            visible[k] = self._beyond_guard(held[k])
        return held, visible

    def _beyond_guard(self, held: Bool) -> Bool:
        size = tuple(2 * radius + 1 for radius in self.guard)
        near: Bool = scipy.ndimage.maximum_filter(held, size, mode="constant", cval=False)
        return ~near
