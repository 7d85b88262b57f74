"""Phonon maps: counts in windows of meV, each spectrum by its own zero of energy, less the zero-loss tail."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.covariance import Covariance, Unknown, parameter_covariance
from udvd_core.maps.phonon_errors import excess_of, of_position, propagated
from udvd_core.maps.scoring import Array, Bools, Doubles, check_spectra, fit
from udvd_core.noise import NoiseModel, window_factor

Window = tuple[float, float]
Place = tuple[Doubles, Doubles, Doubles, Bools]  # of some spectra: counts, loss, share of each window, fitted channels
SPREAD = (1.0, 0.25)  # standard deviation of a position's exponent and curvature around those of the scan
CHUNK = 2048  # positions
POISSON = NoiseModel()


@dataclasses.dataclass(frozen=True)
class WindowMaps:
    """Maps of some windows.

    Attributes
    ----------
    values, sigma : array, shape (windows, n)
        Counts in every window, and their standard error; NaN where nothing is known of the errors.
    """

    values: Doubles
    sigma: Doubles


def aligned_counts(
    spectra: Array,
    energy: Axis,
    windows: typing.Sequence[Window],
    position: Doubles,
    errors: NoiseModel | Covariance | None = POISSON,
    position_sigma: Doubles | float = 0.0,
) -> WindowMaps:
    """Counts in windows that move with the zero-loss peak; of a window around 0 eV, the zero-loss map.

    Parameters
    ----------
    spectra : array, shape (n, E)
        Counts. They are not moved: of a channel that a window's edge cuts, its share counts.
    energy : Axis
        Energy loss as recorded, eV.
    windows : sequence of (low, high)
        Energy loss from the zero-loss peak, eV.
    position : array, shape (n,)
        Where the zero-loss peak lies, eV, as from `udvd_core.maps.zero_loss.zero_loss`.
    errors : NoiseModel or Covariance or None
        Noise of recorded counts, Poisson without it; what is known of the errors of denoised ones; None where
        nothing is.
    position_sigma : array, shape (n,), or float
        Standard error of `position`, eV.

    Raises
    ------
    InputError
        When the spectra do not fit the axis, or a window leaves its range at any position.

    Notes
    -----
    Of recorded counts sigma holds their noise, at least that of a single one. By how much a map changes where its
    windows move, the mean spectrum tells, as bright as each spectrum is.
    """
    check_spectra(spectra, energy)
    columns = _columns(energy, windows, position)
    values = numpy.empty((len(windows), len(spectra)))
    variance = numpy.empty_like(values)
    for part, (counts, _, shares, _) in _places(spectra, energy, windows, (), position, columns):
        if isinstance(errors, NoiseModel):
            values[:, part], variance[:, part] = _sums(counts, shares, errors)
        else:
            values[:, part] = numpy.einsum("wne,ne->wn", shares, counts)
            variance[:, part] = propagated(errors, shares, columns, part)
    variance += of_position(
        lambda mean, place: aligned_counts(mean, energy, windows, place, None).values,
        spectra,
        energy,
        position,
        position_sigma,
    )
    return WindowMaps(values, numpy.sqrt(variance) if errors else numpy.full(values.shape, numpy.nan))


def phonon_maps(
    spectra: Array,
    energy: Axis,
    windows: typing.Sequence[Window],
    tail: typing.Sequence[Window],
    position: Doubles,
    errors: NoiseModel | Covariance | None = POISSON,
    position_sigma: Doubles | float = 0.0,
    order: int = 1,
) -> WindowMaps:
    """Counts in windows less the tail of the zero-loss peak.

    Parameters
    ----------
    spectra, energy, windows, position, errors, position_sigma
        As for `aligned_counts`.
    tail : sequence of (low, high)
        Windows where the tail is fitted, on either side of the phonons, energy loss in eV.
    order : int
        Of the polynomial in log energy loss that the log of the tail is: 1 is a power law.

    Raises
    ------
    InputError
        As for `aligned_counts`; also where a tail window reaches 0 eV, overlaps a window, or the tail
        windows hold too few channels or no counts at all.

    Notes
    -----
    Poisson likelihood at every position. The exponent is held to that of the sum of all positions with a
    standard deviation of 1, the curvature with 0.25, for positions with a handful of counts. What noise adds to the
    mean of the extrapolated tail to second order is taken off: half its curvature times the covariance,
    and the bias of the parameters (Cordeiro and McCullagh 1991). Of denoised spectra sigma comes from the
    gradient of the map by the counts, through window and tail.
    """
    check_spectra(spectra, energy)
    noise = errors if isinstance(errors, NoiseModel) else POISSON
    _check_tail(windows, tail, order)
    columns = _columns(energy, [*windows, *tail], position)
    common = _common(spectra, energy, tail, position, order, noise)
    values = numpy.empty((len(windows), len(spectra)))
    variance = numpy.empty_like(values)
    precision = numpy.array([0.0, *(spread**-2 for spread in SPREAD[:order])])
    for part, (counts, loss, shares, inside) in _places(spectra, energy, windows, tail, position, columns):
        start = _as_bright(common, counts, loss, inside)
        found = fit(counts, loss, _polynomial, start, noise, inside=inside, precision=precision)
        mean, slopes = _polynomial(loss, found.parameters)
        gradient = shares.swapaxes(0, 1) @ slopes.swapaxes(1, 2)
        summed, spread = _sums(counts, shares, noise)
        if isinstance(errors, NoiseModel):
            covariance = found.covariance
            variance[:, part] = spread + (gradient * (gradient @ covariance)).sum(2).T
        else:  # without correlation the covariance is the inverse of the information
            response = found.covariance @ numpy.where(inside, slopes.swapaxes(0, 1) / mean, 0.0).swapaxes(0, 1)
            channels = numpy.arange(columns.start, columns.stop)
            covariance = parameter_covariance(errors or Unknown(), response, channels, part)
            variance[:, part] = propagated(errors, shares - (gradient @ response).swapaxes(0, 1), columns, part)
        excess = excess_of(mean, slopes, covariance, found, inside, noise)
        values[:, part] = summed - numpy.einsum("wne,ne->wn", shares, mean - excess)
    variance += of_position(
        lambda mean, place: phonon_maps(mean, energy, windows, tail, place, None, order=order).values,
        *(spectra, energy, position, position_sigma),
    )
    return WindowMaps(values, numpy.sqrt(variance) if errors else numpy.full(values.shape, numpy.nan))


def _check_tail(windows: typing.Sequence[Window], tail: typing.Sequence[Window], order: int) -> None:
    """Refuse what no tail can be fitted to."""
    if order not in (1, 2):
        raise InputError(f"the polynomial of the zero-loss tail has order {order}; want 1 or 2")
    if not tail:
        raise InputError("no window for the zero-loss tail is given; want one on either side of the phonons")
    for low, high in [*windows, *tail]:
        if low <= 0:
            raise InputError(
                f"window {1e3 * low:g} to {1e3 * high:g} meV reaches the zero-loss peak's own position;"
                " a tail can be taken off above 0 meV only"
            )
    for low, high in tail:
        for other in windows:
            if low < other[1] - 1e-9 and other[0] < high - 1e-9:
                raise InputError(
                    f"tail window {1e3 * low:g} to {1e3 * high:g} meV overlaps window"
                    f" {1e3 * other[0]:g} to {1e3 * other[1]:g} meV: fit the tail where no phonon is"
                )


def _columns(energy: Axis, windows: typing.Sequence[Window], position: Doubles) -> slice:
    """Channels that the windows need at one position or another."""
    if not numpy.isfinite(position).all():
        raise InputError("a zero-loss position is not finite; want one for every spectrum, eV")
    half = energy.scale / 2
    first, last = energy.offset - half, energy.offset + energy.scale * energy.size - half
    for low, high in windows:
        if not -math.inf < low < high < math.inf:
            raise InputError(f"window is {1e3 * low:g} to {1e3 * high:g} meV; want a low and a higher energy loss")
        if low + position.min() < first - 1e-9 or high + position.max() > last + 1e-9:
            raise InputError(
                f"window {1e3 * low:g} to {1e3 * high:g} meV leaves the energy range"
                f" {1e3 * (first - position.min()):g} to {1e3 * (last - position.max()):g} meV that all positions"
                " share: choose a window inside it"
            )
    low = min((w[0] for w in windows), default=0.0) + position.min()
    high = max((w[1] for w in windows), default=0.0) + position.max()
    begin = max(0, math.floor((low - first) / energy.scale + 1e-9))
    return slice(begin, min(energy.size, math.ceil((high - first) / energy.scale - 1e-9)))


def _places(
    spectra: Array,
    energy: Axis,
    windows: typing.Sequence[Window],
    tail: typing.Sequence[Window],
    position: Doubles,
    columns: slice,
) -> typing.Iterator[tuple[slice, Place]]:
    """Positions in chunks, with shares of shape (windows, m, E)."""
    values, half = energy.values()[columns], energy.scale / 2
    for low in range(0, len(spectra), CHUNK):
        part = slice(low, min(low + CHUNK, len(spectra)))
        loss = values - position[part, None]
        shares = numpy.zeros((len(windows), *loss.shape))
        for share, (a, b) in zip(shares, windows, strict=True):
            share[:] = numpy.minimum(loss + half, b) - numpy.maximum(loss - half, a)
        inside = numpy.zeros(loss.shape, dtype=numpy.bool_)
        for a, b in tail:
            inside |= (loss >= a) & (loss < b)
        counts = spectra[part, columns].astype(numpy.float64)
        yield part, (counts, loss, numpy.clip(shares / energy.scale, 0.0, 1.0), inside)


def _sums(counts: Doubles, shares: Doubles, noise: NoiseModel) -> tuple[Doubles, Doubles]:
    """Counts of every window and their variance, both (windows, m)."""
    summed = numpy.einsum("wne,ne->wn", shares, counts)
    squared = (shares**2).sum(2)
    seen = numpy.maximum(numpy.einsum("wne,ne->wn", shares**2, counts), noise.gain)
    factor = numpy.array([window_factor(noise.correlation, max(1, round(float(s.mean())))) for s in squared])
    return summed, factor[:, None] * (noise.gain * seen + noise.read_variance * squared)


def _common(
    spectra: Array, energy: Axis, tail: typing.Sequence[Window], position: Doubles, order: int, noise: NoiseModel
) -> Doubles:
    """Tail of the sum of all spectra at their median position, parameters of shape (1, order + 1)."""
    loss = energy.values() - numpy.median(position)
    inside = numpy.zeros(loss.shape, dtype=numpy.bool_)
    for low, high in tail:
        inside |= (loss >= low) & (loss < high)
    counts = spectra.sum(axis=0, dtype=numpy.float64)[inside]
    if inside.sum() <= order + 1 or counts.sum() <= 0:
        raise InputError(
            f"the windows of the zero-loss tail hold {inside.sum()} channels and {counts.sum():g} counts;"
            f" want more than {order + 1} channels with counts: widen them"
        )
    start = numpy.zeros((1, order + 1))
    start[0, :2] = math.log(counts.mean()), -2.0
    noise = NoiseModel(noise.gain, noise.read_variance * len(spectra))
    start[0] = fit(counts[None], loss[inside], _polynomial, start, noise).parameters[0]
    start[0, 0] -= math.log(len(spectra))
    return start


def _as_bright(common: Doubles, counts: Doubles, loss: Doubles, inside: Bools) -> Doubles:
    """The common tail with the counts that each spectrum has inside the tail windows, shape (m, order + 1)."""
    start = numpy.repeat(common, len(counts), 0)
    expected = (_polynomial(loss, start)[0] * inside).sum(1)
    start[:, 0] += numpy.log(numpy.maximum((counts * inside).sum(1), 0.5) / expected)
    return start


def _polynomial(loss: Doubles, parameters: Doubles) -> tuple[Doubles, Doubles]:
    """Tail whose log is a polynomial in log energy loss, 1 at 0.1 eV; also its derivatives."""
    log = numpy.log(numpy.maximum(loss, 1e-4) / 0.1)
    powers = log[:, None] ** numpy.arange(parameters.shape[1])[:, None]
    mean = numpy.exp(numpy.clip((powers * parameters[..., None]).sum(1), -60.0, 60.0))
    return mean, powers * mean[:, None]
