"""Maps of a line in a window: its position, its width, the ratio of two lines, and shifts from a region."""

from __future__ import annotations

import dataclasses
import math

import numpy
import scipy.ndimage

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.covariance import Covariance
from udvd_core.maps.peaks import fit_lines
from udvd_core.maps.scoring import Array, Bools, Doubles, check_spectra
from udvd_core.noise import NoiseModel

DENOISED = (
    "of denoised spectra sigma tells how far positions differ by chance: all positions, widths and ratios together may"
    " be off by some hundredths of an eV, or a percent or two"
)
"""What `fit_lines` cannot know of spectra that were smoothed along E."""
ENDS = 0.1  # of the window, on either side, that the background is guessed from
SMOOTH = 1.5  # channels
NARROW = 0.6  # of the distance between two lines: as wide as they are thought to be at most


@dataclasses.dataclass(frozen=True)
class LineMap:
    """One quantity of a line at n positions.

    Attributes
    ----------
    name, units : str
        For example ``"position"``, in ``"eV"``; a ratio has no units.
    values, sigma : array, shape (n,)
        The quantity and its standard error: infinite where the line is not clear, NaN where errors are not known.
    """

    name: str
    units: str
    values: Doubles
    sigma: Doubles

    @property
    def clear(self) -> Bools:
        """Where the line is clear, shape (n,)."""
        return ~numpy.isinf(self.sigma)


def surroundings(energy: Axis, window: tuple[float, float]) -> tuple[slice, Axis]:
    """Channels that fits in a window need, as much again on either side, and their energies.

    Raises
    ------
    InputError
        When the window covers no channel.
    """
    part = energy.window(*window)
    size = part.stop - part.start
    near = slice(max(part.start - size, 0), min(part.stop + size, energy.size))
    offset = energy.offset + energy.scale * near.start
    return near, dataclasses.replace(energy, size=near.stop - near.start, offset=offset)


def line_maps(
    spectra: Array,
    energy: Axis,
    window: tuple[float, float],
    errors: NoiseModel | Covariance | None,
    *,
    step: bool = False,
) -> tuple[LineMap, LineMap]:
    """Position and full width at half maximum of the highest line in a window, eV.

    Parameters
    ----------
    spectra : array, shape (n, E)
        Counts of the whole scan, nothing taken off.
    energy : Axis
        Energy loss, eV.
    window : (float, float)
        Energy loss that is fitted, eV: the line with some background on both sides.
    errors : NoiseModel or Covariance or None
        The measured noise of recorded counts, or what is known of the errors of denoised ones; None where nothing
        is.
    step : bool
        Whether the background steps up at the line, as at an edge.

    Raises
    ------
    InputError
        As `udvd_core.maps.peaks.fit_lines`.
    """
    place, fwhm = _guessed(spectra, energy, window)
    found = fit_lines(spectra, energy, window, [place], fwhm, step=step, errors=errors)
    return (
        _line_map("position", "eV", found.position[0], found.shift_sigma, errors),
        _line_map("width", "eV", found.fwhm[0], found.fwhm[0] * found.broadening_sigma, errors),
    )


def ratio_map(
    spectra: Array,
    energy: Axis,
    window: tuple[float, float],
    lines: tuple[float, float],
    errors: NoiseModel | Covariance | None,
) -> LineMap:
    """Counts of one line by those of another, each on a step of the background, as white lines are.

    Parameters
    ----------
    spectra, energy, window, errors
        As for `line_maps`.
    lines : (float, float)
        About where the two lie, eV, for example 883 and 901 for Ce M5 by M4.

    Raises
    ------
    InputError
        As `udvd_core.maps.peaks.fit_lines`, or when the lines are one.
    """
    apart = abs(lines[1] - lines[0])
    if apart < 2 * energy.scale:
        raise InputError(f"the lines are at {lines[0]:g} and {lines[1]:g} eV; want two, some channels apart")
    fwhm = min(_guessed(spectra, energy, window)[1], NARROW * apart)
    found = fit_lines(spectra, energy, window, lines, fwhm, step=True, errors=errors)
    values, sigma = found.ratio(0, 1)
    return _line_map("ratio", "", values, sigma, errors)


def shift_map(position: Array, sigma: Array, region: Bools) -> tuple[Doubles, Doubles]:
    """How far a line lies above where it lies in a region.

    Parameters
    ----------
    position, sigma : array, any equal shape
        Position of the line, eV, and its standard error, as of `LineMap`.
    region : bool array, same shape
        Positions that it is compared with: all of them for the scan's mean.

    Returns
    -------
    values, sigma : array, same shape
        Shift, eV, with the error of the region's mean in sigma; 0 and infinite where the line is not clear.

    Raises
    ------
    InputError
        When the line is clear nowhere in the region.

    Notes
    -----
    The mean is weighted by one over sigma squared where sigma is known.
    """
    there = region & ~numpy.isinf(sigma)
    if region.shape != position.shape or not there.any():
        raise InputError(
            f"the line is clear at none of the {int(region.sum())} positions that are compared with;"
            " choose a region where it is"
        )
    known = numpy.isfinite(sigma[there]).all() and (sigma[there] > 0).all()
    weights = numpy.zeros(position.shape)
    weights[there] = sigma[there].astype(numpy.float64) ** -2 if known else 1.0
    weights /= weights.sum()
    clear = ~numpy.isinf(sigma)
    mean = float((weights * numpy.where(clear, position, 0.0)).sum())
    own = numpy.where(clear, sigma, 0.0).astype(numpy.float64) ** 2
    variance = own * (1 - 2 * weights) + (weights**2 * own).sum()
    return (
        numpy.where(clear, position - mean, 0.0),
        numpy.where(clear, numpy.sqrt(numpy.maximum(variance, 0.0)), numpy.inf),
    )


def guess_line(spectrum: Doubles, energy: Axis, window: tuple[float, float]) -> tuple[float, float]:
    """About where the highest line of a spectrum (E,) in a window lies and how wide it is at half maximum, eV.

    What is highest over an exponential through both ends of the window.

    Raises
    ------
    InputError
        When the window covers too few channels or counts.
    """
    part = energy.window(*window)
    counts, at = spectrum[part].astype(numpy.float64), energy.values()[part]
    if counts.size < 5 or counts.sum() <= 0:
        raise InputError(
            f"window {window[0]:g} to {window[1]:g} eV holds {counts.size} channels and {counts.sum():.4g} counts;"
            " want a line with background on both sides: choose another window"
        )
    ends = max(int(ENDS * counts.size), 1)
    low, high = (math.log(max(float(each.mean()), 1e-3)) for each in (counts[:ends], counts[-ends:]))
    rest = counts - numpy.exp(numpy.interp(at, (at[0], at[-1]), (low, high)))
    top = int(rest.argmax())
    below = rest < rest[top] / 2
    left = top - int(numpy.argmax(below[top::-1])) if below[:top].any() else 0
    right = top + int(numpy.argmax(below[top:])) if below[top:].any() else counts.size - 1
    widest = 0.5 * (window[1] - window[0])
    return float(at[top]), min(max((right - left - 1) * energy.scale, energy.scale), widest)


def clearest_line(spectrum: Doubles, energy: Axis) -> tuple[float, float]:
    """About where the line of a whole spectrum (E,) lies that stands out most clearly, and its width, eV.

    The peak with the highest prominence by its counting error, once counts are smoothed; the middle of the axis
    where there is none.
    """
    from scipy.signal import find_peaks, peak_widths  # here: with it comes scipy.stats, which is slow to load

    counts = scipy.ndimage.gaussian_filter1d(spectrum.astype(numpy.float64), SMOOTH)
    peaks, facts = find_peaks(counts, prominence=0.0)
    if not peaks.size:
        return energy.offset + energy.scale * energy.size / 2, 2 * SMOOTH * abs(energy.scale)
    clear = facts["prominences"] / numpy.sqrt(numpy.maximum(counts[peaks], 1e-9))
    best = peaks[clear.argmax()]
    width = peak_widths(counts, [best])[0][0] * abs(energy.scale)
    return float(energy.values()[best]), float(width)


def _guessed(spectra: Array, energy: Axis, window: tuple[float, float]) -> tuple[float, float]:
    """`guess_line` for the sum of spectra."""
    check_spectra(spectra, energy)
    return guess_line(spectra.sum(axis=0, dtype=numpy.float64), energy, window)


def _line_map(
    name: str, units: str, values: Doubles, sigma: Doubles, errors: NoiseModel | Covariance | None
) -> LineMap:
    if errors is None:
        sigma = numpy.where(numpy.isinf(sigma), numpy.inf, numpy.nan)
    return LineMap(name, units, values, sigma)
