"""How far an estimate is from a known truth."""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing

from udvd_core.errors import InputError

Array = numpy.typing.NDArray[typing.Any]
Region = slice | tuple[slice | int, ...] | numpy.typing.NDArray[numpy.bool_]


def psnr(estimate: Array, truth: Array, region: Region | None = None) -> float:
    """Peak signal-to-noise ratio ``10 log10(max(truth)^2 / MSE)``, dB.

    Parameters
    ----------
    estimate, truth : array, same shape, same units
        For example spectra ``(y, x, E)`` in counts.
    region : slice, tuple of slices, bool array or None
        What is compared: illuminated rows, an energy window; None compares all.

    Returns
    -------
    float
        Infinite where both are equal.

    Raises
    ------
    InputError
        When the shapes differ, the region is empty or the truth is nowhere above zero.
    """
    if numpy.shape(estimate) != numpy.shape(truth):
        raise InputError(
            f"estimate has shape {numpy.shape(estimate)} and truth {numpy.shape(truth)}; want the same shape"
        )
    expected = _part(truth, region)
    if not expected.size:
        raise InputError(f"the region covers nothing of shape {numpy.shape(truth)}; choose one inside it")
    peak = float(expected.max())
    if not peak > 0:
        raise InputError(f"the largest value of the truth is {peak:g}; PSNR needs one above 0")
    error = float(numpy.mean((_part(estimate, region) - expected) ** 2))
    return math.inf if error == 0 else 10.0 * math.log10(peak**2 / error)


def _part(values: Array, region: Region | None) -> numpy.typing.NDArray[numpy.float64]:
    """The compared part in double precision."""
    chosen = values if region is None else values[region]
    return numpy.asarray(chosen, dtype=numpy.float64)
