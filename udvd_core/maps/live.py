"""Maps of a part of a scan while it runs; windows follow the zero-loss peak where the spectra show it."""

from __future__ import annotations

import typing

import numpy

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.core_loss import core_loss
from udvd_core.maps.covariance import Covariance
from udvd_core.maps.phonon import aligned_counts
from udvd_core.maps.scoring import Array, Doubles
from udvd_core.maps.zero_loss import zero_loss
from udvd_core.noise import NoiseModel
from udvd_core.settings import MapWindow

FARTHEST = 2.0
"""Full widths of the zero-loss peak that it may lie off 0 eV; what lies farther off may be a plasmon."""


def live_maps(
    denoised: Array,
    recorded: Array,
    energy: Axis,
    windows: typing.Sequence[MapWindow],
    errors: Covariance | None,
    noise: NoiseModel | None,
) -> Doubles:
    """Denoised maps and their standard errors, and the same of the recorded counts, shape (maps, 4, n).

    Parameters
    ----------
    denoised, recorded : array, shape (n, E)
        Spectra of the same positions, counts; what is not finite in `recorded` is missing.
    energy : Axis
        Energy loss.
    windows : sequence of MapWindow
        The maps. Those without a background follow the zero-loss peak of each denoised spectrum, where the energy
        range holds it and they stay inside the range. Those with a background do not: edges are far wider than
        its drift.
    errors : Covariance or None
        What is known of the errors of the denoised spectra.
    noise : NoiseModel or None
        Noise of the recorded ones.

    Raises
    ------
    InputError
        As `udvd_core.maps.core_loss.core_loss`.

    Notes
    -----
    The tail of the zero-loss peak is not taken off: its fit is held by the whole scan, which is not there yet.
    """
    values = numpy.stack(
        (*core_loss(denoised, energy, windows, errors), *core_loss(recorded, energy, windows, noise)), axis=1
    )
    following = [row for row, window in enumerate(windows) if not window.background]
    position = _position(denoised, energy) if following else None
    if position is not None:
        missing = ~numpy.isfinite(recorded)
        counted = numpy.where(missing, 0.0, recorded)
        for row in following:
            low, high = windows[row].signal
            try:
                ours = aligned_counts(denoised, energy, [(low, high)], position, errors)
                theirs = aligned_counts(counted, energy, [(low, high)], position, noise)
            except InputError:  # at some position it leaves the range
                continue
            used = abs(energy.values() - (low + high) / 2 - position[:, None]) < (high - low + energy.scale) / 2
            lost = (missing & used).any(axis=1)
            values[row] = numpy.concatenate((ours.values, ours.sigma, theirs.values, theirs.sigma))
            values[row, 2:, lost] = (0.0, numpy.inf)
    return values


def _position(spectra: Array, energy: Axis) -> Doubles | None:
    """Where the zero-loss peak of every spectrum lies, eV; None where they do not show it."""
    if energy.units != "eV" or energy.scale <= 0 or not energy.offset < 0 < energy.values()[-1]:
        return None
    try:
        peak = zero_loss(spectra, energy)
    except InputError:
        return None
    return peak.position if abs(float(numpy.median(peak.position))) < FARTHEST * peak.fwhm else None
