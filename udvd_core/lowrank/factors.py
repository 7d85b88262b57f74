"""Maps times spectra: what a scan repeats, each factor denoised with its own known noise."""

from __future__ import annotations

import dataclasses
import typing

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
AVERAGED, STRONGEST = 0.72, 0.9
"""Error of what was smoothed by what its blocks expect one by one: averaging takes off the rest. Measured 0.65 to 0.85
of found maps, 0.86 to 1 of the strongest; 0.7 to 0.8 of the strongest spectrum, 0.5 to 0.7 of others."""
OUTSTANDING = 0.3
"""Prior spread of the share of a map's error that lies where the map stands out, around none."""
FLAT = 2.0
"""A map is off by so many times what it varies by at most: all that it shows may be noise, and as much be missing."""


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
    risk : array, shape (known, r)
        Expected squared error of the denoised loadings.
    weights : array, shape (known, s)
        Orthonormal maps that the spectra were regressed on.
    spectrum_risk : array, shape (s,)
        Expected squared error of those spectra, averaged over pixels.
    """

    maps: Array
    spectra: Array
    basis: Array
    loadings: Array
    risk: Array
    weights: Array
    spectrum_risk: Array

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
    `udvd_core.lowrank.shrink.smooth` removes it. What a frame's own noise put into the spectra would come back
    in its loadings, and does harm where pixels are many and frames few; it is taken off. Cost per round:
    ``4 x frames x pixels x r``.
    """
    for _ in range(rounds):
        maps, _ = smooth_maps(loadings, scaled.place)
        orthonormal, _ = numpy.linalg.qr(maps)
        found = _spectra(scaled, orthonormal, noise)
        loadings = scaled.project(found.basis) - orthonormal @ found.own
    _, _, turn = numpy.linalg.svd(loadings - loadings.mean(0), full_matrices=False)
    loadings = loadings @ turn.T
    maps, risk = smooth_maps(loadings, scaled.place)
    weights = orthonormal @ found.turn
    return Factors(maps, turn @ found.spectra, turn @ found.basis, loadings, risk, weights, found.risk)


def nothing(factors: Factors) -> Factors:
    """The same components with nothing in them."""
    return dataclasses.replace(
        factors,
        maps=numpy.zeros_like(factors.maps),
        loadings=numpy.zeros_like(factors.loadings),
        basis=numpy.zeros_like(factors.basis),
        risk=numpy.zeros_like(factors.risk),
        spectrum_risk=numpy.zeros_like(factors.spectrum_risk),
    )


def smooth_maps(loadings: Array, place: Place) -> tuple[Array, Array]:
    """Denoise maps of unit noise, shape (known, r), strongest first; also their expected squared errors, (known, r).

    Notes
    -----
    Stein's estimate has a noise of its own, which may say next to nothing of a flat map; what the mixture expects,
    the mean answer to a sample's own noise, has little, and is up to a third too large. Of the strongest map the mean
    of both counts, of others the larger one (docs/decisions/0008).
    """
    result, risk = numpy.empty_like(loadings), numpy.empty_like(loadings)
    for k, values in enumerate(loadings.T):
        level = values.mean()
        shrunk = smooth(place.spread(values - level), place.sizes)
        result[:, k] = place.gather(shrunk.estimate) + level
        answer = numpy.clip(place.gather(shrunk.answer), 1.0 / values.size, 1.0)  # of a loading to its own noise
        error = _error(shrunk.risk, float(answer.mean()), None if k == 0 else float(result[:, k].var()))
        risk[:, k] = error * _places(values, result[:, k], answer, error)
    return result, risk


def _error(stein: float, expected: float, varies: float | None) -> float:
    """Mean squared error of a smoothed map that varies so much; None for the strongest."""
    if varies is None:
        return max(0.5 * (stein + STRONGEST * expected), AVERAGED * expected)
    return min(AVERAGED * max(stein, expected), FLAT * varies)


def _places(raw: Array, smoothed: Array, answer: Array, error: float) -> Array:
    """Squared error of a map over the positions by its mean `error`, shape (known,).

    Notes
    -----
    Where a map lies still its error is the noise that comes through, the square of the answer. What stands out, as
    single atoms do, is shrunk, and smeared over its block. How much of the error lies there Stein's estimate tells,
    position by position, regressed on the difference of both; where maps stand out is itself drawn by noise, which is
    taken off (Stein's lemma twice). The noise of that regression, 2 per position, shrinks it towards none.
    """
    still: Array = answer**2 / (answer**2).mean()
    out, left = smoothed - numpy.median(smoothed), raw - smoothed
    near = 1.0 / (1.0 + out**2)
    level = float((1.0 - near).mean())
    if level * error <= 0.0:
        return still
    stands: Array = (1.0 - near) / level
    slope, bend = 2.0 * out * near**2 / level, (2.0 - 6.0 * out**2) * near**3 / level
    stein = left**2 - 1.0 + 2.0 * answer
    there = (stands * stein + bend * answer**2 - 2.0 * slope * answer * left).sum()
    differs = error * (stands - still)
    seen = error * (there - (still * stein).sum()) - error * (differs * (still - 1.0)).sum()
    share = min(max(float(seen / ((differs**2).sum() + 2.0 / OUTSTANDING**2)), 0.0), 1.0)
    return numpy.asarray((1.0 - share) * still + share * stands)


class _Spectra(typing.NamedTuple):
    """Spectra of orthonormal maps.

    `basis` (r, pixels) gives raw loadings of unit noise, `spectra` (r, pixels) go with them; `own` (maps, r) is how
    much of its own noise each frame finds in its raw loadings, per value of its maps; the maps times `turn` have
    spectra whose expected squared error is `risk`.
    """

    basis: Array
    spectra: Array
    own: Array
    turn: Array
    risk: Array


def _spectra(scaled: Scaled, maps: Array, noise: NoiseModel) -> _Spectra:
    """Regress a scan on orthonormal maps (known, r) and denoise what comes out."""
    shape, spread = scaled.frame_shape, scaled.spread.reshape(-1)
    spectra = scaled.regress(maps)
    turn, _, _ = numpy.linalg.svd(spectra, full_matrices=False)
    spectra, answer, risk = turn.T @ spectra / spread, numpy.empty(len(spectra)), numpy.empty(len(spectra))
    for k, values in enumerate(spectra):
        if shape[0] == 1:
            shrunk = smooth(values, SPECTRUM_SIZES, noise.correlation)
        else:
            shrunk = smooth(values.reshape(shape), FRAME_SIZES, noise.correlation, noise.correlation_q)
        spectra[k], answer[k] = shrunk.estimate.reshape(-1), min(max(shrunk.answer.mean(), 0.0), 1.0)
        risk[k] = AVERAGED * max(shrunk.risk, 0.5 * answer[k])
    spectra *= spread
    directions, into = _orthonormal(spectra)
    covariance = directions @ correlated(directions, shape, noise).T
    lower = numpy.linalg.cholesky(0.5 * (covariance + covariance.T))
    own = scaled.scale.size * (turn * answer) @ numpy.linalg.solve(lower, into).T
    return _Spectra(numpy.linalg.solve(lower, directions), lower.T @ directions, own, turn, risk)


def _orthonormal(rows: Array) -> tuple[Array, Array]:
    """Orthonormal rows that span those of (r, pixels), and the matrix that makes them; at least one."""
    left, singular, right = numpy.linalg.svd(rows, full_matrices=False)
    kept = singular > max(1e-9 * singular[0], 1e-30)
    if not kept.any():
        return right[:1], numpy.zeros((1, len(rows)))
    return right[kept], (left[:, kept] / singular[kept]).T


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
