"""Core-loss maps: counts in a window, less a background fitted to each spectrum, each with its sigma."""

from __future__ import annotations

import dataclasses
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.background import Background
from udvd_core.maps.covariance import CountingCovariance, Covariance, Unknown
from udvd_core.maps.families import Family, family
from udvd_core.noise import NoiseModel
from udvd_core.settings import MapWindow, Window

Array = numpy.typing.NDArray[typing.Any]
Doubles = numpy.typing.NDArray[numpy.float64]
Index = numpy.typing.NDArray[numpy.int64]

EV = {"eV": 1.0, "meV": 1e-3, "keV": 1e3}
CHUNK, LEAST_ROWS = 1 << 14, 64  # values of a window at once, in blocks that the allocator keeps: twice as fast


def core_loss(
    spectra: Array, energy: Axis, edges: typing.Sequence[MapWindow], errors: NoiseModel | Covariance | None
) -> tuple[Doubles, Doubles]:
    """Maps of several edges with their standard errors, in one pass over the spectra.

    Parameters
    ----------
    spectra : array, shape (n, E)
        Spectra in counts, recorded or denoised.
    energy : Axis
        Energy loss, size E, in eV, meV or keV; it may descend.
    edges : sequence of MapWindow
        The maps; windows in eV.
    errors : NoiseModel or Covariance or None
        The measured noise of recorded counts, or what is known of the errors of denoised ones; None where
        nothing is.

    Returns
    -------
    values, sigma : array, shape (edges, n), float64
        Counts summed over the channels of the signal window, less the background, and their standard error.
        A spectrum with a value that is not finite in its windows gives 0 and an infinite sigma. Where nothing is
        known of the errors, sigma is NaN, and the shift that noise causes is not taken off.

    Raises
    ------
    InputError
        When the shapes do not fit, the axis is not calibrated, or windows cannot be used.

    Notes
    -----
    Sigma is that of quasi-likelihood ("sandwich"): the gradient of the map through fit and extrapolation, with the
    covariance of the errors, not the one that the fit assumes.
    """
    if spectra.ndim != 2 or spectra.shape[1] != energy.size:
        raise InputError(f"spectra have shape {spectra.shape}; want (n, {energy.size}), as the energy axis")
    maps = [EdgeMap(edge, energy) for edge in edges]
    covariance = _covariance(errors, spectra)
    values, sigma = numpy.zeros((2, len(maps), len(spectra)))
    rows = max(CHUNK // max((m.channels.size for m in maps), default=1), LEAST_ROWS)
    for start in range(0, len(spectra), rows):
        part = slice(start, min(start + rows, len(spectra)))
        for row, each in enumerate(maps):
            values[row, part], sigma[row, part] = each.measure(spectra[part], covariance, part)
    if errors is None:
        sigma[:] = numpy.nan
    return values, sigma


class EdgeMap:
    """One map as a function of the spectrum.

    Attributes
    ----------
    channels : integer array, shape (channels used,)
        Channels of the fit windows, then those of the signal window.
    """

    def __init__(self, edge: MapWindow, energy: Axis) -> None:
        axis = in_ev(energy)
        signal = window_channels(axis, edge.signal, f"signal window of {edge.name!r}")
        fit = [window_channels(axis, window, f"fit window of {edge.name!r}") for window in edge.background]
        fitted = numpy.unique(numpy.concatenate([*fit, numpy.empty(0, dtype=numpy.int64)]))
        model = family(edge.model)
        if numpy.isin(signal, fitted).any():
            raise InputError(
                f"signal window {_text(edge.signal)} of {edge.name!r} overlaps a fit window"
                f" ({', '.join(map(_text, edge.background))}); the background would be fitted to the signal:"
                " move them apart"
            )
        if model.both_sides:
            _check_both_sides(edge, model)
        self.channels: Index = numpy.concatenate((fitted, signal))
        self._fitted = fitted.size
        values = axis.values()
        self._background = Background(model, values[fitted], values[signal]) if fitted.size else None

    def linearise(self, spectra: Array, covariance: Covariance, positions: slice) -> tuple[Doubles, Doubles]:
        """Value and gradient of the map.

        Parameters
        ----------
        spectra : array, shape (n, E), finite counts
            Those of `positions`.
        covariance : Covariance
            Their errors, which decide how much noise shifts the extrapolation.
        positions : slice
            Flat positions of the scan.

        Returns
        -------
        values : array, shape (n,)
            Counts of the signal, less the background.
        weights : array, shape (n, channels used)
            Derivative of the values by the counts in `channels`: 1 in the signal window.
        """
        counts = spectra[:, self.channels].astype(numpy.float64)
        values = counts[:, self._fitted :].sum(axis=1)
        weights = numpy.ones(counts.shape)
        if self._background is not None:
            channels = self.channels[: self._fitted]
            fitted = self._background.fit(
                counts[:, : self._fitted], lambda slope: covariance.variance(slope, channels, positions)
            )
            values -= fitted.counts.sum(axis=1)
            weights[:, : self._fitted] = -fitted.gradient
        return values, weights

    def measure(self, spectra: Array, covariance: Covariance, positions: slice) -> tuple[Doubles, Doubles]:
        """Value and sigma of the map, shape (n,) each; arguments as for `linearise`, values may be missing."""
        missing = numpy.logical_not(numpy.isfinite(spectra[:, self.channels]).all(axis=1))
        if missing.any():
            spectra = numpy.where(missing[:, None], 0, spectra)
        values, weights = self.linearise(spectra, covariance, positions)
        variance = covariance.variance(weights, self.channels, positions)
        return values, numpy.where(missing, numpy.inf, numpy.sqrt(variance))


def shared_error(
    spectra: Array, energy: Axis, pair: tuple[MapWindow, MapWindow], errors: NoiseModel | Covariance | None
) -> Doubles:
    """Covariance of the errors of two maps, shape (n,), counts squared; 0 where nothing is known of the errors.

    Parameters are those of `core_loss`, with two maps. The errors of denoised spectra reach over all
    channels, so that maps share them which have no channel in common.
    """
    maps = [EdgeMap(edge, energy) for edge in pair]
    covariance = _covariance(errors, spectra)
    channels = numpy.union1d(maps[0].channels, maps[1].channels)
    result = numpy.zeros(len(spectra))
    rows = max(CHUNK // channels.size, LEAST_ROWS)
    for start in range(0, len(spectra), rows):
        part = slice(start, min(start + rows, len(spectra)))
        weights = numpy.zeros((2, part.stop - start, channels.size))
        for weight, each in zip(weights, maps, strict=True):
            weight[:, numpy.searchsorted(channels, each.channels)] = each.linearise(spectra[part], covariance, part)[1]
        both, difference = (covariance.variance(w, channels, part) for w in (weights.sum(0), weights[0] - weights[1]))
        result[part] = (both - difference) / 4
    return result


def in_ev(energy: Axis) -> Axis:
    """The same axis in eV.

    Raises
    ------
    InputError
        When its units are none of eV, meV and keV.
    """
    if energy.units not in EV:
        raise InputError(
            f"the energy axis has units {energy.units!r}; want one of {', '.join(EV)}: calibrate the energy axis"
        )
    factor = EV[energy.units]
    return dataclasses.replace(energy, offset=energy.offset * factor, scale=energy.scale * factor, units="eV")


def window_channels(energy: Axis, window: Window, what: str) -> Index:
    """Numbers of the channels of a window, which must lie on the axis as a whole; both in eV.

    Raises
    ------
    InputError
        When it leaves the axis, or is narrower than a channel and falls between two.
    """
    low, high = window
    values, step = energy.values(), abs(energy.scale)
    if low < values.min() - step or high > values.max() + 1.001 * step:
        raise InputError(
            f"{what} is {_text(window)} and leaves the energy axis, which has {values.min():g} to {values.max():g} eV:"
            " choose a window inside it"
        )
    found = energy.window(low, high)
    return numpy.arange(found.start, found.stop)


def _covariance(errors: NoiseModel | Covariance | None, spectra: Array) -> Covariance:
    if isinstance(errors, NoiseModel):
        return CountingCovariance(errors, spectra)
    return Unknown() if errors is None else errors


def _check_both_sides(edge: MapWindow, model: Family) -> None:
    low, high = edge.signal
    if (
        len(edge.background) != 2
        or min(f[1] for f in edge.background) > low
        or max(f[0] for f in edge.background) < high
    ):
        raise InputError(
            f"{edge.name!r} has {len(edge.background)} fit windows ({', '.join(map(_text, edge.background))}) and the"
            f" signal window {_text(edge.signal)}; {model.title!r} wants one below the signal and one above"
        )


def _text(window: Window) -> str:
    return f"{window[0]:g} to {window[1]:g} eV"
