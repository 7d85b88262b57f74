"""Core-loss maps: counts in a window, less a background fitted to each spectrum, each with its sigma."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.background import Background
from udvd_core.maps.covariance import CountingCovariance, Covariance
from udvd_core.maps.families import Family, family
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[typing.Any]
Doubles = numpy.typing.NDArray[numpy.float64]
Index = numpy.typing.NDArray[numpy.int64]
Window = tuple[float, float]

EV = {"eV": 1.0, "meV": 1e-3, "keV": 1e3}
CHUNK, LEAST_ROWS = 1 << 14, 64  # values of a window at once, in blocks that the allocator keeps: twice as fast


@dataclasses.dataclass(frozen=True)
class EdgeWindows:
    """The windows of one core-loss map, eV.

    Attributes
    ----------
    name : str
        What the map is called, for example ``"B K"``.
    signal : (float, float)
        Window that is summed: channels whose energy lies in [low, high).
    fit : tuple of (float, float)
        Windows where the background is fitted, jointly; without any the signal is summed plainly.
    model : str
        Background model, one of `udvd_core.maps.families.FAMILIES`.
    """

    name: str
    signal: Window
    fit: tuple[Window, ...] = ()
    model: str = "power_law"


def core_loss(
    spectra: Array, energy: Axis, edges: typing.Sequence[EdgeWindows], errors: NoiseModel | Covariance
) -> tuple[Doubles, Doubles]:
    """Maps of several edges with their standard errors, in one pass over the spectra.

    Parameters
    ----------
    spectra : array, shape (n, E)
        Spectra in counts, recorded or denoised.
    energy : Axis
        Energy loss, size E, in eV, meV or keV; it may descend.
    edges : sequence of EdgeWindows
        The maps; windows in eV.
    errors : NoiseModel or Covariance
        The measured noise of recorded counts, or what is known of the errors of denoised ones.

    Returns
    -------
    values, sigma : array, shape (edges, n), float64
        Counts summed over the channels of the signal window, less the background, and their standard error.
        A spectrum with a value that is not finite in its windows gives 0 and an infinite sigma.

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
    covariance = CountingCovariance(errors, spectra) if isinstance(errors, NoiseModel) else errors
    values, sigma = numpy.zeros((2, len(maps), len(spectra)))
    rows = max(CHUNK // max((m.channels.size for m in maps), default=1), LEAST_ROWS)
    for start in range(0, len(spectra), rows):
        part = slice(start, min(start + rows, len(spectra)))
        for row, each in enumerate(maps):
            values[row, part], sigma[row, part] = each.measure(spectra[part], covariance, part)
    return values, sigma


class EdgeMap:
    """One map as a function of the spectrum.

    Attributes
    ----------
    channels : integer array, shape (channels used,)
        Channels of the fit windows, then those of the signal window.
    """

    def __init__(self, edge: EdgeWindows, energy: Axis) -> None:
        axis = in_ev(energy)
        signal = window_channels(axis, edge.signal, f"signal window of {edge.name!r}")
        fit = [window_channels(axis, window, f"fit window of {edge.name!r}") for window in edge.fit]
        fitted = numpy.unique(numpy.concatenate([*fit, numpy.empty(0, dtype=numpy.int64)]))
        model = family(edge.model)
        if numpy.isin(signal, fitted).any():
            raise InputError(
                f"signal window {_text(edge.signal)} of {edge.name!r} overlaps a fit window"
                f" ({', '.join(map(_text, edge.fit))}); the background would be fitted to the signal: move them apart"
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
        When it is reversed, leaves the axis, or is narrower than a channel and falls between two.
    """
    low, high = window
    values, step = energy.values(), abs(energy.scale)
    if not -math.inf < low < high < math.inf:
        raise InputError(f"{what} is {_text(window)}; want the lower energy first, and some width")
    if low < values.min() - step or high > values.max() + 1.001 * step:
        raise InputError(
            f"{what} is {_text(window)} and leaves the energy axis, which has {values.min():g} to {values.max():g} eV:"
            " choose a window inside it"
        )
    found = energy.window(low, high)
    return numpy.arange(found.start, found.stop)


def _check_both_sides(edge: EdgeWindows, model: Family) -> None:
    low, high = edge.signal
    if len(edge.fit) != 2 or min(f[1] for f in edge.fit) > low or max(f[0] for f in edge.fit) < high:
        raise InputError(
            f"{edge.name!r} has {len(edge.fit)} fit windows ({', '.join(map(_text, edge.fit))}) and the"
            f" signal window {_text(edge.signal)}; {model.title!r} wants one below the signal and one above"
        )


def _text(window: Window) -> str:
    return f"{window[0]:g} to {window[1]:g} eV"
