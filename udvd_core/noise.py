"""What a camera's noise looks like, measured on the scan itself."""

from __future__ import annotations

import dataclasses

import numpy
import numpy.typing
import scipy.optimize

Array = numpy.typing.NDArray[numpy.floating]


@dataclasses.dataclass(frozen=True)
class NoiseModel:
    """Variance of a pixel as ``gain * mean + read_variance``; Poisson counts have gain 1, read 0.

    Attributes
    ----------
    gain : float
        Counts per detected electron, as far as noise tells.
    read_variance : float
        Variance without any signal, counts squared.
    """

    gain: float = 1.0
    read_variance: float = 0.0

    def variance(self, mean: Array) -> Array:
        """Variance at a mean, counts squared, same shape; never zero."""
        floor = 1e-3 * max(float(numpy.mean(numpy.abs(mean))), 1e-6)
        return self.gain * numpy.maximum(mean, floor) + self.read_variance


def fit_noise(mean: Array, variance: Array, bins: int = 64) -> NoiseModel:
    """Fit gain and read variance to the mean and variance of many pixels.

    Parameters
    ----------
    mean, variance : array, any equal shape
        Counts, and counts squared, per pixel. A variance that contains some signal gives a gain
        that is too large, never too small.
    bins : int
        Pixels are averaged in so many groups of equal size, ordered by mean.

    Returns
    -------
    NoiseModel
        ``NoiseModel(1, 0)`` where nothing was counted.

    Notes
    -----
    Non-negative least squares with relative weights; the photon-transfer method of Janesick.
    """
    order = numpy.argsort(mean, axis=None)
    groups = numpy.array_split(order, min(bins, order.size))
    x = numpy.array([mean.ravel()[g].mean() for g in groups])
    y = numpy.array([variance.ravel()[g].mean() for g in groups])
    used = y > 0
    if not used.any():
        return NoiseModel()
    weight = 1 / y[used]
    columns = numpy.stack((numpy.maximum(x[used], 0), numpy.ones(int(used.sum()))), 1)
    (gain, read), _ = scipy.optimize.nnls(columns * weight[:, None], y[used] * weight)
    if gain == 0 and read == 0:
        return NoiseModel()
    return NoiseModel(float(gain), float(read))
