"""Flicker of the beam current: a common factor per scan row or per position that is not the sample."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing
import scipy.fft
import scipy.ndimage
import scipy.optimize

from udvd_core.errors import InputError
from udvd_core.noise import SIGNIFICANT, NoiseModel, window_factor

Array = numpy.typing.NDArray[numpy.float64]

MEDIAN_OF_SQUARE = 0.4549  # of a normal variable, squared
KERNEL = numpy.array([1.0, -4.0, 6.0, -4.0, 1.0])  # blind to whatever is smooth over 5 positions
MEDIAN_ERROR = 2.33  # relative standard error of a median of squares, times the root of their number
OVERLAP = 2.63  # windows of the kernel, per axis, that know as much as one that overlaps none
MOST = 4.0  # relative variance
TAPERED = 1.94  # the same for frequencies after a Hann taper, which keeps reflections sharp
SMALLEST = 0.003  # a smaller sigma is not seen in maps, and may be what is left of a lattice
CLEARLY = 8.0  # times the variance of columns, themselves not even
LEAST = 8  # positions along an axis


@dataclasses.dataclass(frozen=True)
class Flicker:
    """Relative standard deviations of the beam current, 0 where it is not beyond 4 standard errors.

    Attributes
    ----------
    row, row_error : float
        From scan row to scan row.
    position, position_error : float
        From position to position.
    """

    row: float = 0.0
    row_error: float = 0.0
    position: float = 0.0
    position_error: float = 0.0

    @property
    def sentence(self) -> str:
        """What to tell the operator; empty without flicker."""
        told = []
        if self.row:
            told.append(f"by {100 * self.row:.2g} % from row to row: stripes in maps are not the sample")
        if self.position:
            told.append(f"by {100 * self.position:.2g} % from position to position: speckle in maps is not the sample")
        return f"the beam flickers {', and '.join(told)}" if told else ""


def total_variance(totals: Array, noise: NoiseModel, frame_shape: tuple[int, int]) -> Array:
    """Variance of counts per position, same shape: that of ``q E`` pixels that share noise as `noise` says."""
    rows, channels = frame_shape
    shared = window_factor(noise.correlation, channels) * window_factor(noise.correlation_q, rows)
    return (noise.gain * numpy.maximum(totals, 1.0) + noise.read_variance * rows * channels) * shared


def measure_flicker(
    totals: Array, scan_shape: tuple[int, ...], noise: NoiseModel, frame_shape: tuple[int, int]
) -> Flicker:
    """Measure what the beam current does to the counts of a scan, beyond counting noise.

    Parameters
    ----------
    totals : array, shape (n,) or `scan_shape`
        Counts per position, summed over q and E.
    scan_shape : tuple of int
        ``(y, x)``, or ``(x,)`` for a line. Needs 8 positions along one axis, along both for rows.
    noise : NoiseModel
        Of a pixel.
    frame_shape : (int, int)
        ``(q, E)``.

    Notes
    -----
    Flicker is white: alike at every place and at every spatial frequency. So its variance is estimated
    twice, as the median over places of squared fourth differences, which few edges of the sample do not
    move, and as the median over the upper frequencies of a cosine transform, which few reflections of a
    lattice do not move; the smaller counts. Of the row factor, what the columns show as well is taken
    off. Of the factor per position, nothing is reported when middle frequencies hold more than twice the
    excess of the highest: then it is the sample, blurred by the probe. Single atoms narrower than a scan
    step cannot be told from flicker, nor strong fringes along the rows, 3 to 4 rows apart.
    """
    if totals.size != math.prod(scan_shape) or not 1 <= len(scan_shape) <= 2:
        raise InputError(f"{totals.size} positions do not fill a scan of {scan_shape}; want (y, x) or (x,)")
    counts = numpy.nan_to_num(totals.astype(numpy.float64)).reshape(-1, scan_shape[-1])
    if max(counts.shape) < LEAST or counts.mean() <= 0:
        return Flicker()
    variance = total_variance(counts, noise, frame_shape)
    position = _positions(counts, variance)
    row = Excess(0.0, 0.0, 0.0)
    if min(counts.shape) >= LEAST:
        variance = variance + position.significant * counts**2
        row = _less(*(_factors(counts.sum(axis), variance.sum(axis)) for axis in (1, 0)))
    return Flicker(row.sigma, row.sigma_error, position.sigma, position.sigma_error)


class Excess(typing.NamedTuple):
    """Relative variance beyond counting noise, its standard error, and that error where there is no excess."""

    value: float
    error: float
    error_of_none: float

    @property
    def significant(self) -> float:
        """The value, or 0."""
        return self.value if self.value > max(SIGNIFICANT * self.error_of_none, SMALLEST**2) else 0.0

    @property
    def sigma(self) -> float:
        """Its root, 0 where it is not significant."""
        return math.sqrt(self.significant)

    @property
    def sigma_error(self) -> float:
        """Standard error of the root; without excess, the root that the error would allow."""
        return self.error / (2 * self.sigma) if self.sigma else math.sqrt(self.error_of_none)


def _less(row: Excess, column: Excess) -> Excess:
    """What rows show more than columns; where columns vary, rows must vary far more than by chance."""
    if row.value < CLEARLY * column.significant:
        return row._replace(value=0.0)
    errors = (math.hypot(row.error, column.error), math.hypot(row.error_of_none, column.error))
    return Excess(row.value - column.value, *errors)


def _positions(counts: Array, variance: Array) -> Excess:
    """Excess of single positions ``(y, x)``; none where it is not white."""
    axes = tuple(axis for axis in (0, 1) if counts.shape[axis] >= LEAST)
    place = _at_places(counts, variance, axes)
    level = scipy.ndimage.gaussian_filter(counts, [2.0 * (axis in axes) for axis in (0, 1)], mode="nearest")
    where = numpy.meshgrid(*(numpy.arange(n) / n for n in counts.shape), indexing="ij")
    lowest = numpy.minimum.reduce([where[axis] for axis in axes])
    high = _at_frequencies(counts, level, variance, lowest >= 0.5, axes)
    middle = _at_frequencies(counts, level, variance, (lowest >= 0.2) & (lowest < 0.5), axes)
    white = min(place, high)
    if middle.value > 2 * white.value + SIGNIFICANT * middle.error_of_none:
        return white._replace(value=0.0)
    return white


def _factors(counts: Array, variance: Array) -> Excess:
    """Excess of a profile of counts ``(n,)`` along one scan axis."""
    level = scipy.ndimage.gaussian_filter1d(counts, 2.0, mode="nearest")
    upper = numpy.arange(counts.size) >= counts.size / 3
    return min(_at_places(counts, variance, (0,)), _at_frequencies(counts, level, variance, upper, (0,)))


def _at_places(counts: Array, variance: Array, axes: tuple[int, ...]) -> Excess:
    """Excess as the median over places of squared fourth differences along `axes`."""
    inner = tuple(slice(2, -2) if axis in axes else slice(None) for axis in range(counts.ndim))

    def seen(values: Array, kernel: Array) -> Array:
        for axis in axes:
            values = scipy.ndimage.convolve1d(values, kernel, axis=axis)
        return values[inner]

    square = seen(counts, KERNEL) ** 2
    noise, light = seen(variance, KERNEL**2), numpy.maximum(seen(counts**2, KERNEL**2), 1e-12)
    number = square.size / OVERLAP ** len(axes)
    return _solved(lambda value: square / (noise + value * light), noise / light, number)


def _at_frequencies(
    counts: Array, level: Array, variance: Array, where: numpy.typing.NDArray[numpy.bool_], axes: tuple[int, ...]
) -> Excess:
    """Excess as the median of the power at some frequencies of a cosine transform along `axes`."""
    level = numpy.maximum(level, 1e-6 * level.mean())
    taper = numpy.ones(counts.shape)
    for axis in axes:
        hann = numpy.sin(numpy.pi * (numpy.arange(counts.shape[axis]) + 0.5) / counts.shape[axis]) ** 2
        hann = hann / numpy.sqrt((hann**2).mean())
        taper *= numpy.expand_dims(hann, tuple(other for other in range(counts.ndim) if other != axis))

    def power(value: float) -> Array:
        unit = taper * (counts - level) / numpy.sqrt(variance + value * level**2)
        return typing.cast(Array, scipy.fft.dctn(unit, norm="ortho", axes=axes)[where] ** 2)

    return _solved(power, variance / level**2, where.sum() / TAPERED ** len(axes))


def _solved(power: typing.Callable[[float], Array], noise: Array, number: float) -> Excess:
    """The relative variance that makes `power` that of unit noise; `noise` is that of counting."""

    def beyond(value: float) -> float:
        return float(numpy.median(power(value))) - MEDIAN_OF_SQUARE

    value = 0.0
    if beyond(0.0) > 0:
        value = float(scipy.optimize.brentq(beyond, 0.0, MOST, xtol=1e-9)) if beyond(MOST) < 0 else MOST
    relative, counting = MEDIAN_ERROR / math.sqrt(number), float(numpy.median(noise))
    return Excess(value, relative * (counting + value), relative * counting)
