"""Counts in an energy window, with a power-law background fitted to each spectrum.

A power law ``A E^-r`` is an exponential family in ``log E``, so the Poisson likelihood is highest
where the mean of ``log E`` under the model equals its mean over the counts. That turns the fit
into one look-up per spectrum, exact, without iterations and without logarithms of counts.
"""

from __future__ import annotations

import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.settings import MapWindow

Array = numpy.typing.NDArray[typing.Any]
Doubles = numpy.typing.NDArray[numpy.float64]

EXPONENTS = numpy.linspace(-2.0, 14.0, 1601)  # r that are looked up; measured ones are 2 to 6


def map_values(
    spectra: Array, energy: Axis, windows: typing.Sequence[MapWindow]
) -> numpy.typing.NDArray[numpy.float32]:
    """Counts of every map at every position.

    Parameters
    ----------
    spectra : array, shape (n, E)
        Spectra in counts; fractional and slightly negative values are fine.
    energy : Axis
        Energy loss, eV, size E.
    windows : sequence of MapWindow
        The maps.

    Returns
    -------
    array, shape (maps, n), float32
        Counts in the signal window, less the background where one is fitted. A spectrum without
        counts gives 0.

    Raises
    ------
    InputError
        When the shapes do not fit, a window is not on the axis, or a background window has
        fewer than two channels or energies of 0 eV and below.
    """
    if spectra.ndim != 2 or spectra.shape[1] != energy.size:
        raise InputError(f"spectra have shape {spectra.shape}; want (n, {energy.size}), as the energy axis")
    result = numpy.zeros((len(windows), spectra.shape[0]), dtype=numpy.float32)
    for row, window in zip(result, windows, strict=True):
        signal = energy.window(*window.signal)
        row[:] = spectra[:, signal].sum(axis=1, dtype=numpy.float64)
        if window.background is not None:
            fit = energy.window(*window.background)
            row -= _background(numpy.asarray(spectra[:, fit], dtype=numpy.float64), energy, fit, signal, window.name)
    return result


def _background(counts: Doubles, energy: Axis, fit: slice, signal: slice, name: str) -> Doubles:
    """Counts of the extrapolated power law in the signal window, shape (n,).

    The extrapolation is not linear in the counts, so noise shifts its mean by ``h'' Var / 2``;
    that shift, small above a few hundred counts in the fit window, is taken off.
    """
    values = energy.values()
    lowest = float(min(values[fit].min(), values[signal].min()))
    if lowest <= 0 or counts.shape[1] < 2:
        raise InputError(
            f"background of map {name!r} covers {counts.shape[1]} channels from {lowest:g} eV;"
            " a power law needs at least two, all above 0 eV"
        )
    reference = float(values[fit].mean())
    log_fit, log_signal = numpy.log(values[fit] / reference), numpy.log(values[signal] / reference)
    mean, variance, ratio, curvature = _tables(log_fit, log_signal)
    total = counts.sum(axis=1)
    usable = total > 0
    some = total[usable]
    at = (counts[usable] @ log_fit) / some
    factor = numpy.interp(at, mean, ratio)
    shift = 0.5 * numpy.interp(at, mean, curvature * variance) / some
    background = numpy.zeros(counts.shape[0])
    background[usable] = some * (factor - numpy.clip(shift, -0.5 * factor, 0.5 * factor))
    return background


def _tables(log_fit: Doubles, log_signal: Doubles) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """What is looked up, for every exponent and ordered by the first.

    Mean and variance of log E over the fit window, the background in the signal window per count
    in the fit window, and its second derivative by that mean.
    """
    r = EXPONENTS[::-1]
    weight = numpy.exp(-r[:, None] * log_fit)
    total = weight.sum(axis=1)
    mean = (weight @ log_fit) / total
    variance = (weight @ log_fit**2) / total - mean**2
    ratio = numpy.exp(-r[:, None] * log_signal).sum(axis=1) / total
    curvature = numpy.gradient(numpy.gradient(ratio, mean), mean)
    return mean, variance, ratio, curvature
