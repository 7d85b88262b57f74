"""Faulty pixels of a camera, found in the mean frame of a scan, and what to do about them.

A blindspot network takes a fixed pattern for signal: it is the same in every frame. Whatever is
sharper than the spectrometer can make is no signal.
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing

import numpy
import numpy.typing
import scipy.ndimage

from udvd_core.errors import InputError
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Frames = numpy.typing.NDArray[numpy.floating]
Bool = numpy.typing.NDArray[numpy.bool_]
Error = typing.Callable[..., Array]

SIGMAS = 6.0  # statistical errors that a pixel is off
HIGH, LOW = 1.5, 0.5  # times what its surroundings let expect
PAIR = 2.0  # the same for two channels side by side, which a narrow peak may be too
ALONE = 0.25  # of the excess, at most, in the pixel beside; a peak 3 channels wide has half
GAP, GAP_WIDTH = 0.05, 8  # times the light beside a gap between chips; channels
MEDIAN_OF_SQUARE = 0.4549  # of a normal variable, squared
SIXTH = numpy.array([[1, -6, 15, -20, 15, -6, 1]])
ROWS = 5  # from which on a pixel is compared along q


@dataclasses.dataclass(frozen=True)
class Defects:
    """Faulty pixels.

    Attributes
    ----------
    usable : array of bool, shape (q, E)
    summary : str
        For example ``"2 dead, 1 hot pixel, 6 junction columns masked"``.
    pattern : float
        Relative spread of the sensitivity from pixel to pixel, beyond statistics and without masked pixels.
    """

    usable: Bool
    summary: str
    pattern: float


def find_defects(mean: Array, noise: NoiseModel, frames: int) -> Defects:
    """Find faulty pixels in a mean frame.

    Parameters
    ----------
    mean : array, shape (q, E), counts
    noise : NoiseModel
        Of one frame.
    frames : int
        How many `mean` is the mean of.

    Notes
    -----
    With 5 rows or more a pixel is compared with the rows beside at its energy and with the channels beside
    in its row; only one that is off both is faulty, so no feature of the spectrum is, however sharp. Whole
    rows and columns, and spectra, are compared along one axis: only what is too sharp for a peak of 3
    channels is faulty. The pattern comes from differences of the logarithm, fourth along E and first along
    q, in which a product of a spectrum and a profile along q cancels; for one row from sixth differences.
    """
    values = numpy.nan_to_num(mean.astype(numpy.float64), posinf=0, neginf=0)

    def error(level: Array, pixels: int = 1) -> Array:
        """Standard error of a mean over frames of so many pixels; of one count, at least."""
        light = noise.gain * numpy.maximum(level, 0) + noise.read_variance * pixels
        return numpy.sqrt((light + noise.gain**2 / max(frames, 1)) / max(frames, 1))

    if len(values) < ROWS:
        high, low = (numpy.stack(rows) for rows in zip(*(_lines(row, error) for row in values), strict=True))
        whole, lines = numpy.zeros_like(high), []
    else:
        gaps = [_gaps(values, axis, error) for axis in (0, 1)]
        even = fill(values[None], ~(gaps[0][None, :] | gaps[1][:, None]))[0]
        high, low = _pixels(even, error)
        clean = fill(even[None], ~(high | low))[0]
        junctions = [_junctions(clean, axis, error) for axis in (0, 1)]
        whole = (gaps[0] | junctions[0])[None, :] | (gaps[1] | junctions[1])[:, None]
        names = ("junction column", "gap column", "junction row", "gap row")
        lines = list(zip((junctions[0], gaps[0], junctions[1], gaps[1]), names, strict=True))
    usable = ~(high | low | whole)
    found = [(low & ~whole, "dead pixel"), (high & ~whole, "hot pixel"), *lines]
    return Defects(usable, _summary(found), _pattern(values, error(values), usable))


def _summary(found: list[tuple[Bool, str]]) -> str:
    counted = [(int(which.sum()), name) for which, name in found if which.any()]
    text = ", ".join(f"{number} {name}{'s' * (number != 1)}" for number, name in counted)
    text = re.sub(r"dead pixels?, (\d+ hot)", r"dead, \1", text)
    return f"{text} masked" if text else "no defects"


def _pixels(values: Array, error: Error) -> tuple[Bool, Bool]:
    """Pixels too high and too low, by two estimates from the surroundings that know sharp spectra."""
    tiny = 1e-6 * abs(values).mean() + 1e-12
    beside = numpy.maximum(scipy.ndimage.median_filter(values, (1, 9), mode="mirror"), tiny)
    by_row = beside * scipy.ndimage.median_filter(values / beside, (7, 1), mode="mirror")
    row = numpy.maximum(values.sum(1, keepdims=True), tiny)
    by_profile = row * scipy.ndimage.median_filter(values / row, (7, 1), mode="mirror")
    lower, upper = numpy.minimum(by_row, by_profile), numpy.maximum(numpy.maximum(by_row, by_profile), beside)
    along = [scipy.ndimage.maximum_filter(values, footprint=f, mode="mirror") for f in ([[1, 0, 1]], [[1], [0], [1]])]
    alone = numpy.minimum(*along) - lower < ALONE * (values - lower)
    high = (values > HIGH * upper) & (values - upper > SIGMAS * error(values)) & alone
    low = (values < LOW * lower) & (lower - values > SIGMAS * error(lower))
    return high, low


def _gaps(values: Array, axis: int, error: Error) -> Bool:
    """Rows (axis 1) or columns (axis 0) that are too low."""
    low = _lines(values.sum(axis), error, values.shape[axis])[1]
    if axis == 1:  # what is dark at the rim is not lit
        low &= numpy.logical_or.accumulate(~low) & numpy.logical_or.accumulate(~low[::-1])[::-1]
    return low


def _junctions(values: Array, axis: int, error: Error) -> Bool:
    """Rows (axis 1) or columns (axis 0) that are too high, in every third of the light."""
    light = numpy.cumsum(values.sum(1 - axis).clip(0))
    cuts = numpy.searchsorted(light, light[-1] * numpy.array([1, 2]) / 3)
    parts = [part for part in numpy.split(values, cuts, axis) if part.size]
    high = [_lines(part.sum(axis), error, part.shape[axis])[0] for part in parts]
    return numpy.asarray(numpy.logical_and.reduce(high))


def _lines(values: Array, error: Error, pixels: int = 1) -> tuple[Bool, Bool]:
    """Of sums over so many pixels, shape (E,): one or two too high or low for a peak of 3; dark gaps of up to 8."""
    size = values.size
    high, low = numpy.zeros(size, bool), numpy.zeros(size, bool)
    if size < 16:
        return high, low
    padded = numpy.pad(values, 12, mode="reflect")
    for width in range(1, GAP_WIDTH + 1):
        windows = numpy.lib.stride_tricks.sliding_window_view(padded[8:], width + 8)[:size]
        left, beside = numpy.median(windows[:, :3], 1), windows[:, [3, -4]]
        right, core = numpy.median(windows[:, -3:], 1), windows[:, 4:-4]
        less, more = numpy.minimum(left, right), numpy.maximum(left, right)
        top, bottom = core.min(1), core.max(1)
        up = (top > (HIGH, PAIR)[width > 1] * more) & (top - more > SIGMAS * error(top, pixels))
        up &= (beside.max(1) - less < ALONE * (top - less)) & (width <= 2)
        down = (bottom < LOW * less) & (less - bottom > SIGMAS * error(less, pixels))
        dark = bottom < GAP * beside.min(1)
        down &= dark | ((more - beside.min(1) < ALONE * (more - bottom)) & (width <= 2))
        for start, marks in ((up, high), (down, low)):
            for shift in range(width):
                marks[shift:] |= start[: size - shift]
    return high, low


def _pattern(values: Array, error: Array, usable: Bool) -> float:
    """Relative spread of the sensitivity, from what is left of the logarithm beyond statistics."""
    kernel = numpy.array([[1, -4, 6, -4, 1], [-1, 4, -6, 4, -1]]) if len(values) > 1 else SIXTH
    if values.shape[1] < kernel.shape[1]:
        return 0.0
    good = usable & (values > 5 * error)
    safe = numpy.where(good, values, 1.0)
    whole = _weighted(~good, kernel**2) == 0
    square = _weighted(numpy.log(safe), kernel)[whole] ** 2
    expected = _weighted((error / safe) ** 2, kernel**2)[whole]
    if square.size < 32:
        return 0.0
    ratio = float(numpy.median(square / expected)) / MEDIAN_OF_SQUARE
    if ratio < 1 + 4 * 3 / math.sqrt(square.size):  # 3: standard error of such a ratio, overlap included
        return 0.0
    excess = numpy.median(square) / MEDIAN_OF_SQUARE - numpy.median(expected)
    return math.sqrt(max(float(excess), 0.0) / float((kernel**2).sum()))


def _weighted(values: numpy.typing.NDArray[typing.Any], kernel: numpy.typing.NDArray[numpy.int64]) -> Array:
    """Sum of values (q, E) times a kernel, wherever that lies wholly among them."""
    windows = numpy.lib.stride_tricks.sliding_window_view(values, kernel.shape)
    return numpy.asarray(numpy.einsum("qekl,kl->qe", windows, kernel), dtype=numpy.float64)


def fill(frames: Frames, usable: Bool) -> Frames:
    """Replace masked pixels by what their usable neighbours let expect.

    Linear along E between the nearest usable channels, the nearest at the ends; rows without any usable
    pixel linear along q. Returns a copy.

    Parameters
    ----------
    frames : array, shape (n, q, E), counts
    usable : array of bool, shape (q, E)
        Without any usable pixel nothing is changed.
    """
    if frames.shape[1:] != usable.shape:
        raise InputError(f"mask has shape {usable.shape}; frames of shape {frames.shape} want {frames.shape[1:]}")
    result = frames.copy()
    lit = numpy.asarray(usable.any(1))
    for row in numpy.flatnonzero(lit & ~usable.all(1)):
        _fill_along(result[:, row, :], numpy.asarray(usable[row]))
    if lit.any() and not lit.all():
        for channel in range(frames.shape[2]):
            _fill_along(result[:, :, channel], lit)
    return result


def _fill_along(values: Frames, usable: Bool) -> None:
    """Interpolate ``(n, size)`` where not usable; changes `values`."""
    good, bad = numpy.flatnonzero(usable), numpy.flatnonzero(~usable)
    after = numpy.searchsorted(good, bad)
    left, right = good[numpy.maximum(after - 1, 0)], good[numpy.minimum(after, good.size - 1)]
    share = numpy.clip((bad - left) / numpy.maximum(right - left, 1), 0, 1).astype(values.dtype)
    values[:, bad] = values[:, left] * (1 - share) + values[:, right] * share


def flat_field(frames: Frames, flat: Array) -> Frames:
    """Divide by a flat field, normalised to median 1; pixels that it does not light become missing (NaN).

    Parameters
    ----------
    frames : array, shape (n, q, E), counts
    flat : array, shape (q, E)
        Mean frame under even light, less its dark frame.

    Raises
    ------
    InputError
        When the shape does not fit, or the flat is dark.
    """
    if flat.shape != frames.shape[1:]:
        raise InputError(
            f"the flat field has shape {flat.shape}; these frames are {frames.shape[1:]} (q, E):"
            " give a flat of the same camera, binning and readout area"
        )
    lit = numpy.isfinite(flat) & (flat > 0)
    if not lit.any():
        raise InputError("the flat field has no counts above 0; give the mean frame under even light")
    relative = numpy.where(lit, flat / numpy.median(flat[lit]), numpy.nan)
    return typing.cast(Frames, (frames / relative).astype(numpy.float32))
