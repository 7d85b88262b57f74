"""The light of every position: how bright it is, as its noise needs to be known."""

from __future__ import annotations

import numpy
import numpy.typing

from udvd_core.lowrank.place import Place
from udvd_core.lowrank.shrink import smooth_counts

Array = numpy.typing.NDArray[numpy.float64]

DOUBT = 2.0
"""So many times as much variance is taken for noise."""
LIT = 0.125
"""So much of that variance is added: where light is told too low, noise passes for signal."""


def smooth_light(values: Array, unit: float, place: Place) -> Array:
    """Light of the positions of a place, from values, shape (known,), whose variance is `unit` times themselves.

    Notes
    -----
    Maps see counts over light. What noise the light holds is missing in them, with its sign changed, smoothed away
    there, and comes back with the light: half of it stays in the result. What the light does not hold maps find. So
    only what is plain to see stays in the light (docs/decisions/0011).
    """
    unit = DOUBT * unit
    return place.gather(smooth_counts(place.spread(values), unit, place.sizes)) + LIT * unit
