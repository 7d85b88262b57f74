"""Reference spectra: what an overlap is taken apart into."""

from __future__ import annotations

import dataclasses
import typing

import numpy

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.scoring import Array, Bools, Doubles, check_spectra

MOST = 6
ALIKE = 0.01  # smallest singular value of spectra of unit length; of two, 1e-4 short of equal direction


@dataclasses.dataclass(frozen=True)
class Reference:
    """One reference spectrum.

    Attributes
    ----------
    name : str
        For example ``"Ce M"``.
    spectrum : array, shape (E,)
        Counts per channel, none negative; its scale is the unit of the amplitudes.
    mask : bool array, shape (n,), optional
        Positions of the scan whose mean it is, so that it has a share of their errors; without it the spectrum
        comes from elsewhere and is taken as exact.
    """

    name: str
    spectrum: Doubles
    mask: Bools | None = None

    def __post_init__(self) -> None:
        spectrum = self.spectrum
        if spectrum.ndim != 1 or not numpy.isfinite(spectrum).all():
            raise InputError(
                f"reference {self.name!r} has shape {spectrum.shape}; want one spectrum (E,) of finite values"
            )
        if spectrum.min() < 0 or spectrum.max() <= 0:
            raise InputError(
                f"reference {self.name!r} runs from {spectrum.min():g} to {spectrum.max():g} counts;"
                " want none below 0 and some above: take a spectrum that no background was taken off too far"
            )


def reference_of_region(name: str, spectra: Array, energy: Axis, mask: Bools) -> Reference:
    """Mean spectrum of marked positions; read noise may leave it below 0, which counts as 0.

    Parameters
    ----------
    name : str
        What it is called.
    spectra : array, shape (n, E)
        Counts.
    energy : Axis
        Energy loss, eV.
    mask : bool array, shape (n,)
        Marked positions. Their noise is in the reference, and the same in all amplitudes, whose sigma holds it:
        mark many.

    Raises
    ------
    InputError
        When shapes differ, or no position is marked or the marked ones hold no counts.
    """
    check_spectra(spectra, energy)
    if mask.shape != spectra.shape[:1] or mask.dtype != numpy.bool_ or not mask.any():
        raise InputError(
            f"region of reference {name!r} has shape {mask.shape} and marks {int(mask.sum())} positions;"
            f" want one True or False for each of {len(spectra)} positions, at least one True"
        )
    return Reference(name, numpy.maximum(spectra[mask].mean(axis=0, dtype=numpy.float64), 0.0), mask)


def reference_of_array(name: str, spectrum: Array, own: Axis, energy: Axis) -> Reference:
    """Reference from a file, brought onto the channels of a scan.

    Parameters
    ----------
    name : str
        What it is called.
    spectrum : array, shape (E,)
        Counts per channel of `own`.
    own, energy : Axis
        Energy loss of the reference and of the scan, eV.

    Raises
    ------
    InputError
        When shape or units do not fit, or the reference does not cover the scan's energy range.

    Notes
    -----
    Its running sum is interpolated, so that counts in any window are kept.
    """
    values = numpy.asarray(spectrum, dtype=numpy.float64)
    check_spectra(values[None] if values.ndim == 1 else values, own)
    check_spectra(numpy.zeros((1, energy.size)), energy)
    borders = energy.offset + energy.scale * (numpy.arange(energy.size + 1) - 0.5)
    at = own.offset + own.scale * (numpy.arange(own.size + 1) - 0.5)
    slack = 1e-6 * energy.scale
    if values.ndim != 1 or at[0] > borders[0] + slack or at[-1] < borders[-1] - slack:
        raise InputError(
            f"reference {name!r} covers {at[0]:g} to {at[-1]:g} eV; want at least {borders[0]:g} to"
            f" {borders[-1]:g} eV: choose a longer one or a narrower window"
        )
    summed = numpy.concatenate(([0.0], numpy.cumsum(values)))
    return Reference(name, numpy.diff(numpy.interp(borders, at, summed)))


def stacked(references: typing.Sequence[Reference], channels: int) -> Doubles:
    """References as an array (K, E), once they can be told apart.

    Raises
    ------
    InputError
        When there are none or more than 6, their channels differ, or some are too alike.
    """
    if not 1 <= len(references) <= MOST:
        raise InputError(f"{len(references)} references are given; want 1 to {MOST}")
    for reference in references:
        if reference.spectrum.size != channels:
            raise InputError(
                f"reference {reference.name!r} has {reference.spectrum.size} channels and the spectra have"
                f" {channels}; want the same: bring it onto the scan's energy axis"
            )
    matrix = numpy.stack([r.spectrum for r in references]).astype(numpy.float64)
    scaled = matrix / numpy.sqrt(numpy.maximum(matrix.mean(0), 1e-3 * matrix.mean()))
    scaled /= numpy.linalg.norm(scaled, axis=1, keepdims=True)
    left, strengths, _ = numpy.linalg.svd(scaled, full_matrices=False)
    if len(references) > channels or strengths[-1] < ALIKE:
        one, two = sorted(numpy.argsort(abs(left[:, -1]))[-2:])
        raise InputError(
            f"references {references[one].name!r} and {references[two].name!r} are too alike to be told apart"
            " in this window: drop one, or choose a wider window"
        )
    return matrix
