"""What a camera's noise looks like, measured on the scan itself."""

from __future__ import annotations

import dataclasses

import numpy
import numpy.typing
import scipy.optimize

Array = numpy.typing.NDArray[numpy.floating]

REWEIGHTED = 4


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
    Non-negative least squares; the photon-transfer method of Janesick. The weights are relative to the
    fitted variance: relative to the measured one they favour what is low by chance, a third too low
    after 20 frames.
    """
    order = numpy.argsort(mean, axis=None)
    groups = numpy.array_split(order, min(bins, order.size))
    x = numpy.array([mean.ravel()[g].mean() for g in groups])
    y = numpy.array([variance.ravel()[g].mean() for g in groups])
    used = (x > 0) | (y > 0)  # elsewhere nothing was ever counted
    if not (y > 0).any():
        return NoiseModel()
    columns = numpy.stack((numpy.maximum(x[used], 0), numpy.ones(int(used.sum()))), 1)
    expected = numpy.maximum(columns[:, 0], 1e-3 * columns[:, 0].mean() + 1e-12)
    for _ in range(REWEIGHTED):
        (gain, read), _ = scipy.optimize.nnls(columns / expected[:, None], y[used] / expected)
        if gain == 0 and read == 0:
            return NoiseModel()
        fitted = columns @ (gain, read)
        expected = numpy.maximum(fitted, 1e-3 * fitted.mean())
    return NoiseModel(float(gain), float(read))
