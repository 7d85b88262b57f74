"""Error of an estimate from independent recordings of the same scan, without a truth."""

from __future__ import annotations

import dataclasses
import math

import numpy
import numpy.typing

from udvd_core.errors import InputError

Values = numpy.typing.NDArray[numpy.floating]


@dataclasses.dataclass(frozen=True)
class UnsupervisedPsnr:
    """Error of an estimate against the unknown truth.

    Attributes
    ----------
    mse, mse_error : float
        Mean squared error and its standard error, counts squared; may fall below 0 by chance.
    psnr, low, high : float
        PSNR in dB and its range of one standard error; infinite where the error cannot be told from 0.
    peak : float
        Counts that PSNR refers to.
    """

    mse: float
    mse_error: float
    psnr: float
    low: float
    high: float
    peak: float


def unsupervised_psnr(estimate: Values, *copies: Values, peak: float | None = None) -> UnsupervisedPsnr:
    """PSNR of an estimate from two or more noisy copies that it has not seen.

    Parameters
    ----------
    estimate : array, shape (n, ...), counts
        The first axis are positions, from whose scatter the error comes.
    copies : arrays of the same shape, counts
        Independent of each other and of what the estimate was made from, for example other frames (t, y, x).
    peak : float or None
        Largest value of the truth, counts; None takes the largest mean of the copies, which noise makes too large
        where counts are few.

    Raises
    ------
    InputError
        When there are fewer than two copies, shapes differ or there is no signal.

    Notes
    -----
    uMSE of Marcos-Morales et al. (2023) is ``mean((a - f)^2) - mean((b - c)^2) / 2``: a copy differs from the estimate
    by error and noise, two copies differ by noise alone. Every copy can take the part of every other;
    the mean over all of these is ``mean((abar - f)^2) - mean(s^2) / k`` with the mean abar and the sample variance
    s^2 of k copies. It has the same expectation and a much smaller error.
    """
    if len(copies) < 2 or any(copy.shape != estimate.shape for copy in copies) or estimate.ndim < 1:
        raise InputError(
            f"got an estimate of shape {estimate.shape} and copies {[copy.shape for copy in copies]};"
            " want at least two copies of the estimate's shape"
        )
    stack = numpy.stack([numpy.asarray(copy, numpy.float64) for copy in copies])
    mean = stack.mean(0)
    top = float(mean.max()) if peak is None else peak
    if not top > 0:
        raise InputError(f"the largest value is {top:g} counts; PSNR needs one above 0")
    each = (mean - estimate) ** 2 - stack.var(0, ddof=1) / len(copies)
    positions = each.reshape(len(each), -1).mean(1)
    mse = float(positions.mean())
    error = float(positions.std(ddof=1)) / math.sqrt(len(positions)) if len(positions) > 1 else math.inf

    def decibel(value: float) -> float:
        return 10 * math.log10(top**2 / value) if value > 0 else math.inf

    return UnsupervisedPsnr(mse, error, decibel(mse), decibel(mse + error), decibel(mse - error), top)
