"""How sure a map is: the variance of weighted sums of channels, whatever the data went through before.

A map is a function of the spectrum. Its gradient, one weight per channel used, is all that is asked of the
errors: recorded counts have `CountingCovariance`; denoised data have `DenoisedCovariance`, because their
errors are neither independent nor Poisson.
"""

from __future__ import annotations

import dataclasses
import typing

import numpy
import numpy.typing

from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[typing.Any]
Doubles = numpy.typing.NDArray[numpy.float64]
Index = numpy.typing.NDArray[numpy.int64]


class Covariance(typing.Protocol):
    """What is known of the errors of spectra, position by position."""

    def variance(self, weights: Doubles, channels: Index, positions: slice | Index) -> Doubles:
        """Variance of the sums ``(weights * spectra[positions, channels]).sum(1)``.

        Parameters
        ----------
        weights : array, shape (n, channels used)
            Weights of the channels at every position of `positions`; some rows may be all zero.
        channels : integer array, shape (channels used,)
            Their numbers along the whole energy axis, all different, in any order.
        positions : slice or integer array
            Flat positions of the scan, n of them; of a slice start and stop are given, the step is 1.

        Returns
        -------
        array, shape (n,), float64, counts squared
            Not negative, finite.
        """
        ...


@dataclasses.dataclass(frozen=True)
class CountingCovariance:
    """Errors of recorded counts: variance by the mean, neighbouring channels correlated.

    Attributes
    ----------
    noise : NoiseModel
        Gain, read variance and correlation along E, measured on the scan.
    expected : array, shape (positions, E), counts
        Expected counts. The recorded ones do: the variance is linear in them, so they make it uncertain
        but not wrong on average.

    Notes
    -----
    Neighbours share the arithmetic mean of their variances times the correlation, which is what electrons that
    count twice do. A variance is at least what one electron would give, spread evenly over the channels.
    """

    noise: NoiseModel
    expected: Array

    def variance(self, weights: Doubles, channels: Index, positions: slice | Index) -> Doubles:
        """As `Covariance.variance`."""
        counts = self.expected[positions][:, channels]
        power = weights * weights
        least = self.noise.gain**2 * power.mean(axis=1)
        order = numpy.argsort(channels)
        for lag, correlation in enumerate(self.noise.correlation, 1):
            at = numpy.minimum(numpy.searchsorted(channels, channels + lag, sorter=order), channels.size - 1)
            first = numpy.flatnonzero(channels[order[at]] == channels + lag)
            second = order[at[first]]
            shared = correlation * weights[:, first] * weights[:, second]
            power[:, first] += shared
            power[:, second] += shared
        variance = self.noise.gain * numpy.einsum("nc,nc->n", power, counts)
        variance += self.noise.read_variance * power.sum(axis=1)
        return typing.cast(Doubles, numpy.maximum(variance, least))


@dataclasses.dataclass(frozen=True)
class DenoisedCovariance:
    """Errors that denoising left.

    Attributes
    ----------
    uncertainty : Uncertainty
        What the model knows of them.
    numbers : integer array, shape (positions,)
        Frame of every position.
    first : int
        Channel of the whole axis that is channel 0 here, where spectra were cut to what a map needs.
    """

    uncertainty: Uncertainty
    numbers: Index
    first: int = 0

    def variance(self, weights: Doubles, channels: Index, positions: slice | Index) -> Doubles:
        """As `Covariance.variance`."""
        return self.uncertainty.variance(weights, channels + self.first, self.numbers[positions])

    def compared(
        self,
        weights: Doubles,
        channels: Index,
        positions: slice | Index,
        amounts: Doubles,
        regions: typing.Sequence[typing.Any],
    ) -> Doubles:
        """Variance of sums over spectra less amounts (n, K) of mean spectra, each of a region (bool, all positions)."""
        chosen = [self.numbers[region] for region in regions]
        return self.uncertainty.compared(weights, channels + self.first, self.numbers[positions], amounts, chosen)


@dataclasses.dataclass(frozen=True)
class Unknown:
    """Errors that nothing is known of: no variance, so that nothing is taken off for it."""

    def variance(self, weights: Doubles, channels: Index, positions: slice | Index) -> Doubles:
        """As `Covariance.variance`."""
        return numpy.zeros(len(weights))


def cut(errors: NoiseModel | Covariance | None, first: int) -> NoiseModel | Covariance | None:
    """What is known of the errors of spectra that were cut to channels from `first` on."""
    if isinstance(errors, DenoisedCovariance):
        return dataclasses.replace(errors, first=errors.first + first)
    return errors


def parameter_covariance(errors: Covariance, response: Doubles, channels: Index, positions: slice | Index) -> Doubles:
    """Covariance of fitted parameters, shape (m, P, P).

    Parameters
    ----------
    errors : Covariance
        What is known of the errors of all spectra.
    response : array, shape (m, P, E)
        Derivatives of the parameters of every spectrum by its counts.
    channels : integer array, shape (E,)
        The channels.
    positions : slice or integer array
        The m spectra.
    """
    size = response.shape[1]
    first, second = numpy.triu_indices(size)
    variance = numpy.array(
        [
            errors.variance(response[:, i] + response[:, j], channels, positions)
            for i, j in zip(first, second, strict=True)
        ]
    ).T
    own = variance[:, first == second] / 4  # of a parameter with itself: 4 times
    result = numpy.empty((len(response), size, size))
    result[:, first, second] = result[:, second, first] = (variance - own[:, first] - own[:, second]) / 2
    return result
