"""Random maps over the positions of a scan."""

from __future__ import annotations

import typing

import numpy
import numpy.typing
import scipy.ndimage

Array = numpy.typing.NDArray[numpy.float64]


def domains(size: tuple[int, int], number: int, rng: numpy.random.Generator) -> numpy.typing.NDArray[numpy.int64]:
    """Number of the nearest of some random points at every position, shape `size`: Voronoi domains."""
    y, x = numpy.mgrid[: size[0], : size[1]]
    points = rng.uniform(0, 1, (number, 2)) * numpy.array(size)
    distance = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    return typing.cast("numpy.typing.NDArray[numpy.int64]", distance.argmin(-1))


def blurred(size: tuple[int, int], sigma: float, rng: numpy.random.Generator) -> Array:
    """Smooth random map of unit spread within -3 to 3, `sigma` positions wide."""
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=size), sigma, mode="wrap")
    noise -= noise.mean()
    return typing.cast(Array, numpy.clip(noise / max(noise.std(), 1e-12), -3.0, 3.0))


def discs(size: tuple[int, int], number: int, smallest: float, largest: float, rng: numpy.random.Generator) -> Array:
    """Projected thickness of random spheres, radii in positions, seen by a probe one position wide; at most about 1."""
    y, x = numpy.mgrid[: size[0], : size[1]]
    result = numpy.zeros(size)
    for _ in range(number):
        centre, radius = rng.uniform(0, 1, 2) * numpy.array(size), rng.uniform(smallest, largest)
        square = radius**2 - (y - centre[0]) ** 2 - (x - centre[1]) ** 2
        result += numpy.sqrt(numpy.maximum(square, 0.0)) / largest
    return typing.cast(Array, scipy.ndimage.gaussian_filter(result, 1.0 / 2.355))
