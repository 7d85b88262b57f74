"""How sure phonon maps are: errors of counts through window and tail, errors of the zero-loss peak's position."""

from __future__ import annotations

import typing

import numpy

from udvd_core.axes import Axis
from udvd_core.maps.covariance import Covariance, Unknown
from udvd_core.maps.scoring import Array, Bools, Doubles, Fit, shifted
from udvd_core.noise import NoiseModel


def propagated(errors: Covariance | None, weights: Doubles, columns: slice, part: slice) -> Doubles:
    """Variance of sums over channels of some spectra, shape (k, m).

    Parameters
    ----------
    errors : Covariance or None
        What is known of the errors of all spectra; of nothing the variance is 0.
    weights : array, shape (k, m, E)
        Of each sum, for every spectrum and channel.
    columns, part : slice
        The E channels and the m spectra.
    """
    channels = numpy.arange(columns.start, columns.stop)
    return numpy.array([(errors or Unknown()).variance(each, channels, part) for each in weights])


def of_position(
    maps: typing.Callable[[Doubles, Doubles], Doubles],
    spectra: Array,
    energy: Axis,
    position: Doubles,
    sigma: Doubles | float,
) -> Doubles:
    """Variance of maps from the errors of the zero-loss position, shape (windows, n), or (1, 1) without any.

    Parameters
    ----------
    maps : callable
        Maps (windows, k) of spectra (k, E) whose peak lies at positions (k,).
    spectra : array, shape (n, E)
        Counts: how bright each spectrum is. By how much a map changes where its windows move, their mean tells.
    energy : Axis
        Energy loss, eV.
    position, sigma : array, shape (n,), eV
        Where the peaks lie, and the standard error.
    """
    if not numpy.any(sigma):
        return numpy.zeros((1, 1))
    values, mean = energy.values(), spectra.mean(axis=0, dtype=numpy.float64)
    moved = numpy.stack([numpy.interp(values + shift * energy.scale, values, mean) for shift in (-0.5, 0.5)])
    first, second = maps(moved, numpy.repeat(numpy.median(position), 2)).T
    light = numpy.maximum(spectra.sum(axis=1, dtype=numpy.float64), 0.0) / max(mean.sum(), 1e-9)
    found: Doubles = ((second - first)[:, None] / energy.scale * light * sigma) ** 2
    return found


def excess_of(
    mean: Doubles, slopes: Doubles, covariance: Doubles, found: Fit, inside: Bools, noise: NoiseModel
) -> Doubles:
    """What errors add to an expected tail to second order, at most half of it, shape (m, E).

    Parameters
    ----------
    mean, slopes : array, shape (m, E) and (m, P, E)
        The tail and its derivatives.
    covariance : array, shape (m, P, P)
        Of the errors of its parameters.
    found : Fit
        The fit, whose own covariance is that of counts with `noise`.
    inside : bool array, shape (m, E)
        Channels that were fitted.
    noise : NoiseModel
        Noise that the fit took for granted.
    """
    gain, shift = shifted(noise)
    powers = slopes / mean[:, None]
    spread: Doubles = (powers * (covariance @ powers)).sum(1)
    score = slopes @ (inside * spread * mean / (mean + shift))[..., None]
    bias = -0.5 / gain * (found.covariance @ score)[..., 0]
    relative: Doubles = 0.5 * spread + (powers * bias[..., None]).sum(1)
    return numpy.clip(relative, -0.5, 0.5) * mean
