"""All maps of a preset from spectra: core losses without overlaps, or phonons along with the zero-loss peak."""

from __future__ import annotations

import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.maps.core_loss import core_loss, shared_error
from udvd_core.maps.covariance import Covariance
from udvd_core.maps.overlap import Ratio, subtract_lines
from udvd_core.maps.phonon import aligned_counts, phonon_maps
from udvd_core.maps.presets import Lines, Preset
from udvd_core.maps.zero_loss import zero_loss
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[typing.Any]
Doubles = numpy.typing.NDArray[numpy.float64]


def preset_maps(
    spectra: Array, energy: Axis, preset: Preset, errors: NoiseModel | Covariance | None
) -> tuple[Doubles, Doubles]:
    """Maps of a preset with their standard errors.

    Parameters
    ----------
    spectra : array, shape (n, E)
        Spectra in counts. Core losses are a matter of each spectrum alone, so that a scan may come in parts;
        phonons are aligned by the peak and the tail of all spectra, so that it must come whole.
    energy : Axis
        Energy loss, eV.
    preset : Preset
        The maps.
    errors : NoiseModel or Covariance or None
        As for `udvd_core.maps.core_loss.core_loss`.

    Returns
    -------
    values, sigma : array, shape (maps, n), float64
        Counts in every window, less background, tail and overlapping lines, and their standard error; NaN where
        it is not known. Where lines were taken off, sigma holds the error of their ratio, which does not average
        away; of recorded phonons it holds that of the zero-loss peak's position.

    Raises
    ------
    InputError
        When the shapes do not fit, or windows cannot be used.
    """
    if preset.tail:
        return _phonons(spectra, energy, preset, errors)
    values, sigma = core_loss(spectra, energy, preset.maps, errors)
    for lines in preset.lines:
        _take_off(lines, values, sigma, spectra, energy, preset, errors)
    return values, sigma


def _take_off(
    lines: Lines,
    values: Doubles,
    sigma: Doubles,
    spectra: Array,
    energy: Axis,
    preset: Preset,
    errors: NoiseModel | Covariance | None,
) -> None:
    """Take lines off the map that they overlap, in place."""
    names = [window.name for window in preset.maps]
    overlap, major = names.index(lines.overlap), names.index(lines.major)
    shared = shared_error(spectra, energy, (preset.maps[overlap], preset.maps[major]), errors)
    known = numpy.isfinite(sigma[overlap] + sigma[major])
    own = numpy.where(known, sigma, 0.0)
    ratio = Ratio(lines.ratio, lines.sigma).inverse()
    left = subtract_lines(values[overlap], own[overlap], values[major], own[major], ratio, shared)
    values[overlap], sigma[overlap] = left.values, numpy.where(known, left.total(), numpy.nan)


def _phonons(
    spectra: Array, energy: Axis, preset: Preset, errors: NoiseModel | Covariance | None
) -> tuple[Doubles, Doubles]:
    """Windows above 0 eV less the tail of the zero-loss peak, others as they are, all aligned by the peak."""
    recorded = isinstance(errors, NoiseModel)
    peak = zero_loss(spectra, energy, errors if isinstance(errors, NoiseModel) else None)
    known = numpy.isfinite(peak.sigma)  # elsewhere the position is the median, and may be off as all others are
    off = numpy.where(known, peak.sigma, peak.position.std()) if recorded else 0.0
    above = [window.signal[0] > 0 for window in preset.maps]
    values, sigma = numpy.zeros((2, len(preset.maps), len(spectra)))
    for chosen in (True, False):
        rows = [row for row, each in enumerate(above) if each is chosen]
        if rows:
            windows = [preset.maps[row].signal for row in rows]
            if chosen:
                found = phonon_maps(spectra, energy, windows, preset.tail, peak.position, errors, off)
            else:
                found = aligned_counts(spectra, energy, windows, peak.position, errors, off)
            values[rows], sigma[rows] = found.values, found.sigma
    return values, sigma
