"""Where the zero-loss peak lies at every position of a scan; the spectra themselves are never moved."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy
import scipy.special

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.line_shape import FWHM_PER_SIGMA
from udvd_core.maps.scoring import Array, Bools, Doubles, check_spectra, fit, standard_error
from udvd_core.noise import NoiseModel

REACH = 1.5  # full widths at half maximum on either side of the peak that are fitted
PASSES = 2  # the second time with the peak's shape from spectra that are aligned better
FEWEST = 3.0  # counts in the peak


@dataclasses.dataclass(frozen=True)
class ZeroLoss:
    """Zero-loss peaks of n spectra.

    Attributes
    ----------
    position : array, shape (n,)
        Energy loss at which the axis shows the peak, eV; the scan's median where none was found.
    sigma : array, shape (n,)
        Standard error of `position`, eV; infinite where no peak was found.
    counts, counts_sigma : array, shape (n,)
        Counts in the fitted peak, its tails included, and their standard error; 0 and infinite where
        no peak was found.
    fwhm : float
        Full width at half maximum that all of them share, eV.
    """

    position: Doubles
    sigma: Doubles
    counts: Doubles
    counts_sigma: Doubles
    fwhm: float


def zero_loss(spectra: Array, energy: Axis, noise: NoiseModel | None = None) -> ZeroLoss:
    """Find the zero-loss peak of every spectrum, to a fraction of a channel.

    Parameters
    ----------
    spectra : array, shape (n, E)
        Counts; the highest peak of their sum is taken for the zero-loss peak.
    energy : Axis
        Energy loss, eV.
    noise : NoiseModel, optional
        Noise of the counts; Poisson without it.

    Raises
    ------
    InputError
        When the spectra do not fit the axis, or no peak lies inside its range.

    Notes
    -----
    Poisson likelihood with a pseudo-Voigt peak integrated over every channel. Width and mixing are
    properties of the instrument: they come from all spectra together, so a few dozen counts suffice for
    the rest, height and position. Start: the window as wide as the peak that holds most counts.
    """
    check_spectra(spectra, energy)
    noise = noise or NoiseModel()
    width = _width(spectra.mean(axis=0, dtype=numpy.float64), energy)
    channel = _rough(spectra, width)
    for _ in range(PASSES):
        reach = max(3, math.ceil(REACH * width))
        counts, inside, first = _gathered(spectra, channel, reach)
        at = numpy.arange(-reach, reach + 1, dtype=numpy.float64)
        whole = inside.all(1) if inside.all(1).any() else numpy.ones(len(spectra), dtype=numpy.bool_)
        mean = counts[whole].mean(0, keepdims=True)
        start = numpy.array([[math.log(max(mean.sum(), 1e-9)), 0.0, math.log(width), -2.0]])
        common = fit(mean * whole.sum(), at, _peak, start + [math.log(whole.sum()), 0, 0, 0], noise).parameters[0]
        blur = FWHM_PER_SIGMA**2 * float(numpy.var(channel - first - reach))  # of a sum aligned by whole channels
        common[2] = 0.5 * math.log(max(math.exp(2 * common[2]) - blur, 1.0))
        total = (counts * inside).sum(1)
        begin = numpy.stack((numpy.log(numpy.maximum(total, 0.5)), channel - first - reach), 1)
        found = fit(counts, at, functools.partial(_fixed, held=common[2:]), begin, noise, inside=inside)
        place = first + reach + found.parameters[:, 1]
        known = found.converged & (total > FEWEST * noise.gain) & (abs(place - channel) < reach)
        width = math.exp(common[2])
        channel = numpy.where(known, place, numpy.median(place[known]) if known.any() else channel.mean())
    return _result(found.parameters, found.covariance, known, channel, width, energy)


def _result(
    parameters: Doubles, covariance: Doubles, known: Bools, channel: Doubles, width: float, energy: Axis
) -> ZeroLoss:
    sigma = standard_error(covariance[:, 1, 1], known) * energy.scale
    counts = numpy.where(known, numpy.exp(parameters[:, 0]), 0.0)
    error = standard_error(covariance[:, 0, 0], known) * numpy.where(known, counts, 1.0)
    return ZeroLoss(energy.offset + energy.scale * channel, sigma, counts, error, width * energy.scale)


def _width(mean: Doubles, energy: Axis) -> float:
    """Full width at half maximum of the highest peak of the mean spectrum, channels."""
    top = int(mean.argmax())
    low = numpy.flatnonzero(mean[:top] < 0.5 * mean[top])
    high = numpy.flatnonzero(mean[top:] < 0.5 * mean[top])
    if mean[top] <= 0 or not low.size or not high.size:
        raise InputError(
            f"no zero-loss peak lies between {energy.offset:g} and {energy.values()[-1]:g} eV:"
            " want a scan whose energy range holds it, with both of its sides"
        )
    return max(2.0, float(top + high[0] - low[-1] - 1))


def _rough(spectra: Array, width: float) -> Doubles:
    """Channel around which a window as wide as the peak holds most counts; mean over equals, shape (n,)."""
    box = min(2 * round(width / 2) + 1, spectra.shape[1])
    result = numpy.empty(len(spectra))
    for low in range(0, len(spectra), 4096):
        summed = numpy.cumsum(spectra[low : low + 4096], axis=1, dtype=numpy.float64)
        held = numpy.concatenate((summed[:, box - 1 : box], summed[:, box:] - summed[:, :-box]), 1)
        best = held >= held.max(1, keepdims=True) - 1e-9
        result[low : low + 4096] = best @ numpy.arange(held.shape[1]) / best.sum(1) + box // 2
    return result


def _gathered(spectra: Array, channel: Doubles, reach: int) -> tuple[Doubles, Bools, Doubles]:
    """Channels around each peak (n, 2 reach + 1), which of them exist, and the first one's number (n,)."""
    first = numpy.round(channel).astype(numpy.int64) - reach
    at = first[:, None] + numpy.arange(2 * reach + 1)
    inside = (at >= 0) & (at < spectra.shape[1])
    counts = numpy.take_along_axis(spectra, numpy.clip(at, 0, spectra.shape[1] - 1), 1).astype(numpy.float64)
    return counts, inside, first.astype(numpy.float64)


def _peak(energy: Doubles, parameters: Doubles) -> tuple[Doubles, Doubles]:
    """Pseudo-Voigt; parameters log counts, position, log width (channels) and logit of the Lorentzian share."""
    counts, position = numpy.exp(parameters[:, :1]), parameters[:, 1:2]
    fwhm, share = numpy.exp(parameters[:, 2:3]), scipy.special.expit(parameters[:, 3:4])
    sigma, gamma = fwhm / FWHM_PER_SIGMA, fwhm / 2
    low, high = energy - 0.5 - position, energy + 0.5 - position
    gauss = scipy.special.ndtr(high / sigma) - scipy.special.ndtr(low / sigma)
    lorentz = (numpy.arctan(high / gamma) - numpy.arctan(low / gamma)) / math.pi
    at_low, at_high = (_density(e, sigma, gamma, share) for e in (low, high))
    mixed = (1 - share) * gauss + share * lorentz
    slopes = (mixed, at_low - at_high, low * at_low - high * at_high, share * (1 - share) * (lorentz - gauss))
    return counts * mixed, counts[..., None] * numpy.stack(slopes, 1)


def _fixed(energy: Doubles, parameters: Doubles, held: Doubles) -> tuple[Doubles, Doubles]:
    """The peak with width and share held; parameters log counts and position (channels)."""
    full = numpy.concatenate((parameters, numpy.broadcast_to(held, (len(parameters), 2))), 1)
    mean, slopes = _peak(energy, full)
    return mean, slopes[:, :2]


def _density(e: Doubles, sigma: Doubles, gamma: Doubles, share: Doubles) -> Doubles:
    gauss = numpy.exp(-0.5 * (e / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    return (1 - share) * gauss + share * gamma / math.pi / (e**2 + gamma**2)
