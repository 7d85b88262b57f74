"""What a fit leaves in a scan: noise, structure that was too weak to be found, and what smoothing took off spectra."""

from __future__ import annotations

import typing

import numpy
import numpy.typing

from udvd_core.lowrank.factors import SPECTRUM_SIZES, Factors
from udvd_core.lowrank.place import Place
from udvd_core.lowrank.scaled import Scaled
from udvd_core.lowrank.shrink import smooth
from udvd_core.lowrank.uncertainty import PLAIN
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]

PART, MOST_WAVES = 16, 64
"""One in so many spatial frequencies is kept, the lowest; and at most so many."""
CLEAR = 5.0
"""The weakest map stands clear where it varies so many times more than it may be off."""
SEEN = 0.55
"""What a residual has beyond noise counts from so many standard errors on. Where the weakest map that was found
stands clear, others would have been found with it, and only what is plain to see counts."""
RESOLVED = 1.4
"""A spectrum is resolved whose mean square is so many times its expected squared error."""


class Residual(typing.NamedTuple):
    """The part of a residual that a map can be asked about without the scan.

    Attributes
    ----------
    left : array, shape (k, pixels)
        Its amplitudes in the lowest spatial frequencies, scaled; of noise they have that of one recorded frame.
    spread : array, shape (pixels,)
        Noise of a scaled pixel as the residual shows it, standard deviation; 1 where the noise model is right.
    seen : float
        From so many of its standard errors on, what is beyond noise counts.
    bent : array, shape (s, pixels)
        What smoothing takes off the spectra of `Factors.weights`, scaled.
    share : array, shape (r, s)
        How much of those spectra each component's is.
    resolved : bool
        Whether the weakest of those spectra is more than its error.
    """

    left: Array
    spread: Array
    seen: float
    bent: Array
    share: Array
    resolved: bool


def residual(scaled: Scaled, factors: Factors, noise: NoiseModel) -> Residual:
    """Residual of a fit without its level, one pass over the scan; cost ``frames x pixels x (k + r)``."""
    waves = _cosines(scaled.place)
    amplitudes, power = numpy.zeros((waves.shape[1], scaled.scale.size)), numpy.zeros(scaled.scale.size)
    for part, rows in scaled.blocks():
        left = rows - factors.raw_rows(part)
        amplitudes += waves[part].T @ left
        power += (left.astype(numpy.float64) ** 2).sum(0)
    taken = (factors.spectra**2).sum(0)  # of the noise, by the loadings
    spread = numpy.sqrt(power / len(waves) + taken)
    seen = PLAIN if _stands_clear(factors) else SEEN
    of_spectra = factors.weights.T @ factors.maps
    spectra = of_spectra @ factors.spectra / scaled.spread.reshape(-1)
    weak = (spectra[1:] ** 2).mean(1) / factors.spectrum_risk[1:]
    resolved = bool(weak.size) and bool((weak > RESOLVED).all())
    bent = (_smoothed(spectra, noise) - spectra) * scaled.spread.reshape(-1)
    share = numpy.asarray(numpy.linalg.pinv(of_spectra), dtype=numpy.float64)
    return Residual(amplitudes, spread, seen, bent, share, resolved)


def _smoothed(spectra: Array, noise: NoiseModel) -> Array:
    """Spectra smoothed once more, which takes off them about what it took off the truth (Tukey 1977)."""
    again = [smooth(values, SPECTRUM_SIZES, noise.correlation).estimate for values in spectra]
    return numpy.reshape(again, spectra.shape)


def _stands_clear(factors: Factors) -> bool:
    """Whether the weakest map is far from going unseen; the strongest, which there always is, tells nothing."""
    varies, off = factors.maps[:, 1:].var(0), factors.risk[:, 1:].mean(0)
    return bool(varies.size) and bool((varies > CLEAR * off).all())


def _cosines(place: Place) -> numpy.typing.NDArray[numpy.float32]:
    """The lowest cosines over positions but the constant one, each of norm 1, shape (known, k)."""
    grid = numpy.stack(numpy.meshgrid(*(numpy.arange(n) for n in place.shape), indexing="ij"), -1)
    grid = grid.reshape(-1, len(place.shape))
    size = min(MOST_WAVES, place.numbers.size // PART)
    order = numpy.argsort(((grid / place.shape) ** 2).sum(1), kind="stable")[1 : max(size, 1)]
    phases = numpy.pi * (grid[place.numbers] + 0.5) / place.shape
    waves = numpy.prod(numpy.cos(phases[:, None] * grid[order]), -1)
    norm = numpy.sqrt((waves**2).sum(0))
    return numpy.asarray(waves / numpy.maximum(norm, 1e-9), numpy.float32)
