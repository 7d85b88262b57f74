"""Maps times spectra: what a scan repeats, each factor denoised with its own known noise."""

from __future__ import annotations

import dataclasses

import numpy
import numpy.typing

from udvd_core.lowrank.place import Place
from udvd_core.lowrank.scaled import Scaled
from udvd_core.lowrank.shrink import smooth
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]

SPECTRUM_SIZES, FRAME_SIZES = (8, 16, 32), (4, 8, 16)


@dataclasses.dataclass(frozen=True)
class Factors:
    """A low-rank estimate of a scaled scan.

    Attributes
    ----------
    maps : array, shape (known, r)
        Denoised loadings, in units of their noise.
    spectra : array, shape (r, pixels)
        What one unit of a loading adds to a scaled frame.
    basis : array, shape (r, pixels)
        A scaled frame times its transpose is a raw loading with noise of unit variance.
    loadings : array, shape (known, r)
        Raw loadings.
    answer : array, shape (r,)
        How much of its own raw loading is in a denoised one, on average.
    """

    maps: Array
    spectra: Array
    basis: Array
    loadings: Array
    answer: Array

    @property
    def rank(self) -> int:
        """Number of maps."""
        return int(self.maps.shape[1])

    def rows(self, part: slice | Index) -> Singles:
        """Scaled frames at some places, shape (n, pixels)."""
        return self.maps[part].astype(numpy.float32) @ self.spectra.astype(numpy.float32)

    def raw_rows(self, part: slice | Index) -> Singles:
        """The same with raw loadings: scaled frames projected on the spectra."""
        return self.loadings[part].astype(numpy.float32) @ self.spectra.astype(numpy.float32)


def refine(scaled: Scaled, loadings: Array, noise: NoiseModel, rounds: int) -> Factors:
    """Improve maps and spectra in turn, from raw loadings of shape (known, r).

    Notes
    -----
    Each half step is a regression on the other, denoised, factor; its noise is then known exactly and
    `udvd_core.lowrank.shrink.smooth` removes it. Cost per round: ``4 x frames x pixels x r``.
    """
    for _ in range(rounds):
        maps, _ = smooth_maps(loadings, scaled.place)
        basis, spectra = _spectra(scaled, maps, noise)
        loadings = scaled.project(basis)
    _, _, turn = numpy.linalg.svd(loadings - loadings.mean(0), full_matrices=False)
    basis, spectra, loadings = turn @ basis, turn @ spectra, loadings @ turn.T
    maps, answer = smooth_maps(loadings, scaled.place)
    return Factors(maps, spectra, basis, loadings, answer)


def smooth_maps(loadings: Array, place: Place) -> tuple[Array, Array]:
    """Denoise maps of unit noise, shape (known, r); also how much of its own value is left in each, (r,)."""
    result, answer = numpy.empty_like(loadings), numpy.empty(loadings.shape[1])
    for k, values in enumerate(loadings.T):
        level = values.mean()
        shrunk = smooth(place.spread(values - level), place.sizes)
        result[:, k] = place.gather(shrunk.estimate) + level
        answer[k] = min(max(shrunk.divergence, 1.0 / values.size), 1.0)
    return result, answer


def _spectra(scaled: Scaled, maps: Array, noise: NoiseModel) -> tuple[Array, Array]:
    """Basis that gives raw loadings of unit noise, and the spectra that go with them, both (r, pixels)."""
    shape = scaled.frame_shape
    orthonormal, _ = numpy.linalg.qr(maps)
    spectra = scaled.regress(orthonormal)
    turn, _, _ = numpy.linalg.svd(spectra, full_matrices=False)
    spectra = turn.T @ spectra
    for k, values in enumerate(spectra):
        if shape[0] == 1:
            spectra[k] = smooth(values, SPECTRUM_SIZES, noise.correlation).estimate
        else:
            spectra[k] = smooth(values.reshape(shape), FRAME_SIZES, noise.correlation).estimate.reshape(-1)
    q, triangle = numpy.linalg.qr(spectra.T)
    kept = numpy.abs(numpy.diag(triangle)) > 1e-9 * max(float(numpy.abs(triangle).max()), 1e-30)
    directions = q.T[kept] if kept.any() else q.T[:1]
    covariance = directions @ correlated(directions, shape, noise).T
    lower = numpy.linalg.cholesky(0.5 * (covariance + covariance.T))
    return numpy.linalg.solve(lower, directions), lower.T @ directions


def correlated(rows: Array, shape: tuple[int, ...], noise: NoiseModel) -> Array:
    """Rows (r, pixels) times the correlation matrix of the noise between pixels."""
    result = rows.reshape(-1, *shape)
    for axis, lags in ((2, noise.correlation), (1, noise.correlation_q)):
        summed = result.copy()
        for lag, value in enumerate(lags, 1):
            if lag < shape[axis - 1]:
                moved = numpy.moveaxis(result, axis, 0)
                target = numpy.moveaxis(summed, axis, 0)
                target[lag:] += value * moved[:-lag]
                target[:-lag] += value * moved[lag:]
        result = summed
    return result.reshape(rows.shape)
