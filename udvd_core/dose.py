"""Dose meter: what the counts of a map have reached, and what another pass over the area would bring."""

from __future__ import annotations

import dataclasses
import math

import numpy
import numpy.typing

from udvd_core.errors import InputError

Values = numpy.typing.NDArray[numpy.floating]

ROSE = 5.0
"""Contrast to noise from which on features are seen reliably (Rose 1948)."""
DETECTED = 4.0  # standard errors of the ratio, which are 2 of its square
LIMIT = 2.0  # standard errors up to which there may be contrast
FAR = 100  # passes that nobody makes


@dataclasses.dataclass(frozen=True)
class Dose:
    """Contrast to noise of a map.

    Attributes
    ----------
    name : str
        For example ``"B K"``.
    ratio, error : float
        Standard deviation of the map over positions without noise, divided by the noise of a position; 0 where noise
        explains the whole of it. Standard error.
    passes : int
        Passes over the area so far.
    """

    name: str
    ratio: float
    error: float
    passes: int = 1

    @property
    def next_gain(self) -> float:
        """Factor by which one more pass improves the ratio."""
        return math.sqrt(1.0 + 1.0 / self.passes)

    @property
    def detected(self) -> bool:
        """Whether the map shows anything beyond noise."""
        return self.ratio > DETECTED * self.error

    def passes_for(self, ratio: float) -> int | None:
        """Further passes that a ratio takes, 0 if it is reached; None where nothing is seen yet."""
        if not self.detected:
            return None
        return max(0, math.ceil(self.passes * (ratio / self.ratio) ** 2 - 1e-9) - self.passes)

    @property
    def sentence(self) -> str:
        """For the operator."""
        after = f"after {self.passes} {'pass' if self.passes == 1 else 'passes'}"
        if not self.detected:
            limit = self.ratio + LIMIT * self.error
            return f"{self.name}: no contrast beyond noise {after} (below {limit:.2f} times the noise)."
        text = f"{self.name}: contrast {self.ratio:.1f} times the noise {after}"
        missing = self.passes_for(ROSE) or 0
        if missing == 0:
            return f"{text}, enough to see features reliably; another pass gives {self.ratio * self.next_gain:.1f}."
        many = f"more than {FAR}" if missing > FAR else str(missing)
        return (
            f"{text}; another pass gives {self.ratio * self.next_gain:.1f},"
            f" {many} more reach {ROSE:g} (reliable to the eye)."
        )


def signal_to_noise(values: Values, sigma: Values | float, name: str = "map", passes: int = 1) -> Dose:
    """Contrast to noise of a map.

    Parameters
    ----------
    values : array, shape (y, x) or any other, counts
        A map; positions that are not finite are missing.
    sigma : float or array that fits the shape, counts
        Standard deviation of the noise of every position, after denoising for a denoised map.
    name : str
    passes : int
        Passes over the area that the map is the sum or mean of.

    Raises
    ------
    InputError
        When fewer than two positions have a value and a sigma above 0, or passes are below 1.

    Notes
    -----
    Variance over positions less the mean noise variance is that of the sample; n passes divide the noise by sqrt(n).
    """
    noise = numpy.broadcast_to(numpy.asarray(sigma, numpy.float64), numpy.shape(values))
    used = numpy.isfinite(values) & numpy.isfinite(noise) & (noise > 0)
    count = int(used.sum())
    if count < 2 or passes < 1:
        raise InputError(
            f"map {name} has {count} positions with noise and {passes} passes; want at least 2 positions and 1 pass"
        )
    power = float((noise[used] ** 2).mean())
    seen = float(numpy.var(numpy.asarray(values, numpy.float64)[used], ddof=1)) / power
    ratio = math.sqrt(max(seen - 1.0, 0.0))
    spread = math.sqrt(2.0 / (count - 1)) * (1.0 + 2.0 * ratio**2) ** 0.5  # of the noise part of `seen`
    error = spread / (2.0 * ratio) if ratio**2 > spread else math.sqrt(spread) / 2.0
    return Dose(name, ratio, error, passes)
