"""How many pixels around its own a blindspot network must not see, because they share its noise."""

from __future__ import annotations

import dataclasses
import math

import numpy
import numpy.typing

from udvd_core.errors import InputError
from udvd_core.noise import RELEVANT, SIGNIFICANT, NoiseModel

Array = numpy.typing.NDArray[numpy.floating]

SPARSE = 0.5  # share of pixels with counts above which pairs of them say nothing


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Adjacent pairs of pixels along one axis of which both have counts.

    Attributes
    ----------
    measured : int
        Pairs in all frames.
    expected, error : float
        Pairs without charge spreading, and their standard deviation.
    correlation : float
        Of having counts, between neighbours; the shared share of the noise where counts are sparse.
    """

    measured: int
    expected: float
    error: float
    correlation: float

    @property
    def shared(self) -> bool:
        """Whether neighbours have counts together more often than chance explains."""
        return self.measured - self.expected > SIGNIFICANT * self.error and self.correlation > RELEVANT


@dataclasses.dataclass(frozen=True)
class PairTest:
    """Pairs along q and along E, and the share of pixels that is expected to have counts."""

    q: Pairs
    energy: Pairs
    filled: float

    @property
    def useful(self) -> bool:
        """Whether counts are sparse enough for pairs to say anything."""
        return self.energy.expected + self.q.expected > 0 and self.filled < SPARSE


@dataclasses.dataclass(frozen=True)
class Hidden:
    """Hidden radius along q and E, pixels, and one sentence that says why."""

    radius: tuple[int, int]
    reason: str


def rates(frames: Array) -> Array:
    """Expected counts ``(n, q, E)`` of every frame: the mean frame, scaled to the frame's own total."""
    mean = frames.mean(0, dtype=numpy.float64)
    whole = float(mean.sum())
    total = frames.sum((1, 2), dtype=numpy.float64) / whole if whole > 0 else numpy.ones(len(frames))
    return numpy.asarray(total[:, None, None] * mean, numpy.float32)


def pair_test(frames: Array, rate: Array) -> PairTest:
    """Count adjacent pairs of pixels with counts, and those that chance makes.

    Parameters
    ----------
    frames : array, shape (n, q, E), integral counts
    rate : array, shape (q, E) or (n, q, E)
        Expected counts per pixel, for example `rates` of many frames. One rate for all frames reports
        spreading where the beam current or the thickness changes from frame to frame.

    Raises
    ------
    InputError
        When the shapes do not fit.

    Notes
    -----
    Test of the UDVD paper (its equation 4), with local rates: ``sum of (1 - exp(-li)) (1 - exp(-lj))``.
    With one rate for the whole frame, as in the paper, any structure looks like spreading. The error is
    that of the count, with the covariance of two pairs that have a pixel in common.
    """
    if frames.ndim != 3 or rate.shape not in (frames.shape, frames.shape[1:]):
        raise InputError(f"rates have shape {rate.shape}; frames of shape {frames.shape} want (q, E) or (n, q, E)")
    found = []
    for axis in (1, 2):
        sums = numpy.zeros(5)
        for number, frame in enumerate(frames):
            chance = -numpy.expm1(-numpy.maximum(rate[number] if rate.ndim == 3 else rate, 0).astype(numpy.float64))
            sums += _sums(frame > 0, chance, axis - 1)
        measured, expected, variance, single, filled = sums
        correlation = (measured - expected) / single if single > 0 else 0.0
        found.append(Pairs(int(measured), float(expected), math.sqrt(variance), float(correlation)))
    return PairTest(found[0], found[1], float(filled / max(frames.size, 1)))


def _sums(lit: numpy.typing.NDArray[numpy.bool_], chance: Array, axis: int) -> Array:
    """Of one frame: pairs, expected pairs, their variance, the variance of single pixels, expected pixels with counts.

    `chance` is that of a pixel to have counts, shape (q, E).
    """
    lit, chance = numpy.moveaxis(lit, axis, 0), numpy.moveaxis(chance, axis, 0)
    first, second = chance[:-1], chance[1:]
    both = first * second
    triple = chance[:-2] * chance[1:-1] * (1 - chance[1:-1]) * chance[2:]
    single = numpy.sqrt(first * (1 - first) * second * (1 - second))
    pairs = numpy.count_nonzero(lit[:-1] & lit[1:])
    return numpy.array([pairs, both.sum(), (both * (1 - both)).sum() + 2 * triple.sum(), single.sum(), chance.sum()])


def choose_hidden(noise: NoiseModel, test: PairTest | None = None, *, frame_shape: tuple[int, int]) -> Hidden:
    """Choose the hidden radius from what neighbouring pixels share.

    Parameters
    ----------
    noise : NoiseModel
        With the correlation of the noise, see `udvd_core.noise.measure_noise`.
    test : PairTest or None
        Says more than the correlation where counts are sparse.
    frame_shape : (int, int)
        ``(q, E)``; with one row nothing is hidden along q.
    """
    lags = [
        max((lag for lag, value in enumerate(values, 1) if abs(value) > RELEVANT), default=0)
        for values in (noise.correlation_q, noise.correlation)
    ]
    words = [
        _words(name, values, reach)
        for name, values, reach in zip(
            ("rows", "channels"), (noise.correlation_q, noise.correlation), lags, strict=True
        )
    ]
    if test is not None and test.useful:
        for axis, pairs in enumerate((test.q, test.energy)):
            if pairs.shared and not lags[axis]:
                lags[axis] = 1
                words[axis] = (
                    f"neighbouring {('rows', 'channels')[axis]} share counts:"
                    f" {pairs.measured} pairs where chance makes {pairs.expected:.0f} +- {pairs.error:.0f}"
                )
    if lags[0] and frame_shape[0] > 1:
        lags[1] = max(lags[1], 1)  # what spreads along q spreads to the corners too
    radius = (min(lags[0], frame_shape[0] - 1), min(lags[1], frame_shape[1] - 1))
    told = [text for axis, text in enumerate(words) if text and frame_shape[axis] > 1]
    if not told:
        told = ["neighbouring pixels share no noise"]
    return Hidden(radius, f"{'; '.join(told)}; {radius[0]}x{radius[1]} is hidden")


def _words(name: str, values: tuple[float, ...], reach: int) -> str:
    """What the correlation says, with its figures."""
    if not reach:
        return ""
    figures = ", ".join(f"{value:.2f}" for value in values[:reach])
    at = "lag 1" if reach == 1 else f"lags 1 to {reach}"
    cause = " (charge spreading)" if reach == 1 and values[0] < 0.2 else ""
    return f"neighbouring {name} share noise: correlation {figures} at {at}, none beyond{cause}"
