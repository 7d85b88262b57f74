"""A counting detector: turns the expected electrons of a sample into recorded frames.

An electron that lands near a pixel border is counted in both pixels. With a share `p` of such
doubles, a channel summed over q has ``(1 + 2p) / (1 + p)`` times the variance of Poisson counts
and a wide window ``(1 + 3p) / (1 + p)`` times: 1.2 and 1.4 for the default, as in the paper's data.
"""

from __future__ import annotations

import dataclasses
import functools
import typing

import numpy
import numpy.typing

from udvd_core.errors import InputError
from udvd_core.simulate import Sample

Array = numpy.typing.NDArray[numpy.float64]
Counts = numpy.typing.NDArray[numpy.float32]

NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))  # steps in (q, E)


@dataclasses.dataclass(frozen=True)
class Detector:
    """Faults and seed of a counting detector.

    Attributes
    ----------
    spreading : float
        Probability that an electron is counted in one of the four neighbours too. As many are
        missed at the threshold as are doubled, so that the mean stays.
    gain_spread : float
        Relative spread of the pixels' sensitivity (fixed pattern), for example 0.05.
    dead_pixels : int
        Number of pixels that always count zero.
    gap_columns, gap_rows : tuple of int
        Channels and detector rows between the chips, which count zero.
    seed : int
        Seed of the pixel pattern and of the counts.
    """

    spreading: float = 0.25
    gain_spread: float = 0.0
    dead_pixels: int = 0
    gap_columns: tuple[int, ...] = ()
    gap_rows: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.spreading <= 1:
            raise InputError(f"charge spreading is {self.spreading}; want a probability from 0 to 1")
        if not 0 <= self.gain_spread < 1 or self.dead_pixels < 0:
            raise InputError(
                f"gain spread is {self.gain_spread} and dead pixels are {self.dead_pixels};"
                " want a spread from 0 to below 1 and at least 0 pixels"
            )

    def record(self, sample: Sample) -> Recording:
        """Point this detector at a sample; nothing is drawn before it is asked for."""
        return Recording(sample, self)


@dataclasses.dataclass(frozen=True)
class Recording:
    """What one detector counts on one sample, position by position.

    The frame at flat position `i` depends only on the sample, the detector and `i`.
    """

    sample: Sample
    detector: Detector

    def __post_init__(self) -> None:
        rows, channels = self.sample.frame_shape
        for name, indices, limit in (
            ("gap rows", self.detector.gap_rows, rows),
            ("gap columns", self.detector.gap_columns, channels),
        ):
            if any(not 0 <= index < limit for index in indices):
                raise InputError(f"{name} are {indices}; want indices from 0 to {limit - 1}")
        if self.detector.dead_pixels > rows * channels:
            raise InputError(f"{self.detector.dead_pixels} dead pixels on {rows} x {channels} pixels; want fewer")

    @functools.cached_property
    def gain(self) -> Array:
        """Sensitivity of every pixel, shape (q, E), 1 on average."""
        rng = numpy.random.default_rng([self.detector.seed, 0, 1])
        spread = rng.normal(1.0, self.detector.gain_spread, self.sample.frame_shape)
        return typing.cast(Array, numpy.maximum(spread, 0.0))

    @functools.cached_property
    def alive(self) -> numpy.typing.NDArray[numpy.bool_]:
        """Whether a pixel counts, shape (q, E): False for dead pixels and chip gaps."""
        alive = numpy.ones(self.sample.frame_shape, dtype=numpy.bool_)
        rng = numpy.random.default_rng([self.detector.seed, 0, 2])
        dead = rng.choice(alive.size, self.detector.dead_pixels, replace=False)
        alive.reshape(-1)[dead] = False
        alive[list(self.detector.gap_rows), :] = False
        alive[:, list(self.detector.gap_columns)] = False
        return alive

    @functools.cached_property
    def _response(self) -> Array:
        """First counts per electron, shape (q, E)."""
        return self.gain / (1.0 + self.detector.spreading)

    def frame(self, index: int) -> Counts:
        """Counts at flat position `index`, shape (q, E), float32."""
        rate = self._response * self.sample.rate(index)
        rng = numpy.random.default_rng([self.detector.seed, index])
        share = self.detector.spreading
        counts = rng.poisson(rate * (1.0 - share))
        if share:
            doubles = rng.poisson(rate * share)
            counts += doubles
            _add_neighbours(counts, doubles, rng)
        return typing.cast(Counts, (counts * self.alive).astype(numpy.float32))

    def spectrum(self, index: int) -> Counts:
        """Counts at flat position `index` summed over q, shape (E,), float32."""
        return typing.cast(Counts, self.frame(index).sum(axis=0))

    def truth_frame(self, index: int) -> Array:
        """Expected counts at flat position `index`, shape (q, E)."""
        first = self._response * self.sample.rate(index)
        expected = first.copy()
        for step in NEIGHBOURS:
            target, source = _moved(step, first.shape)
            expected[target] += self.detector.spreading / len(NEIGHBOURS) * first[source]
        return expected * self.alive

    def spectra(self) -> Counts:
        """Counts of the whole scan summed over q, shape (y, x, E), float32."""
        return self._stack(self.spectrum)

    def frames(self) -> Counts:
        """Counts of the whole scan, shape (y, x, q, E), float32."""
        return self._stack(self.frame)

    def truth(self) -> Counts:
        """Expected counts of the whole scan summed over q, shape (y, x, E), float32."""
        return self._stack(lambda index: self.truth_frame(index).sum(axis=0))

    def truth_frames(self) -> Counts:
        """Expected counts of the whole scan, shape (y, x, q, E), float32."""
        return self._stack(self.truth_frame)

    def _stack(self, read: typing.Callable[[int], numpy.typing.NDArray[typing.Any]]) -> Counts:
        first = numpy.asarray(read(0))
        result = numpy.empty((self.sample.count, *first.shape), dtype=numpy.float32)
        for index in range(self.sample.count):
            result[index] = read(index)
        return result.reshape(*self.sample.scan_shape, *first.shape)


def _moved(step: tuple[int, int], shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where counts go and where they come from, for one step in (q, E).

    One detector row stands for all rows of a camera that sums them: a step along q stays in it.
    """
    pairs = []
    for distance, size in zip(step, shape, strict=True):
        if distance == 0 or size == 1:
            pairs.append((slice(None), slice(None)))
        elif distance > 0:
            pairs.append((slice(distance, None), slice(None, -distance)))
        else:
            pairs.append((slice(None, distance), slice(-distance, None)))
    (q_target, q_source), (e_target, e_source) = pairs
    return (q_target, e_target), (q_source, e_source)


def _add_neighbours(
    counts: numpy.typing.NDArray[numpy.int64], doubles: numpy.typing.NDArray[numpy.int64], rng: numpy.random.Generator
) -> None:
    """Count every double once more in one of its four neighbours, chosen at random; changes `counts`."""
    where = numpy.nonzero(doubles)
    shares = rng.multinomial(doubles[where], [1.0 / len(NEIGHBOURS)] * len(NEIGHBOURS))
    for step, share in zip(NEIGHBOURS, shares.T, strict=True):
        second = numpy.zeros_like(counts)
        second[where] = share
        target, source = _moved(step, counts.shape)
        counts[target] += second[source]
