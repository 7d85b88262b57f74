"""Weighted principal components: what an operator would use instead of this package, as well as it can be done.

Arrays are ``(n, E)``: spectra of all positions in scan order. ``visible`` has the same shape; pixels where it is
False are not used, and are estimated from the others.
"""

from __future__ import annotations

import math
import typing

import numpy
import numpy.typing
import scipy.linalg

from udvd_core.errors import InputError
from udvd_core.lowrank.edge import noise_edge, noise_powers
from udvd_core.metrics import psnr
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Counts = numpy.typing.NDArray[numpy.floating]
Bool = numpy.typing.NDArray[numpy.bool_]

ROUNDS = 12  # of regressions, at most
PRIOR = 0.1  # of full shrinkage: a row invents no loading that its visible pixels say nothing about
SETTLED = 0.02  # change of imputed pixels per round, in units of their noise, below which no more is needed
MOST = 32  # components


def mean_product(data: Counts, visible: Bool | None = None) -> tuple[Array, Array]:
    """Level of every position (n,), 1 on average, and mean spectrum (E,), counts, whose product fits best.

    Without hidden pixels these are the row and column sums; with some, the Poisson likelihood is
    maximised in turn (iterative proportional fitting).
    """
    seen = numpy.ones(1) if visible is None else visible
    level, spectrum = numpy.ones(len(data)), numpy.zeros(data.shape[1])
    shown = numpy.asarray(data * seen, dtype=numpy.float64)
    weight = numpy.broadcast_to(seen, data.shape).astype(numpy.float64)
    for _ in range(1 if visible is None else 3):
        spectrum = numpy.maximum(shown.sum(0) / numpy.maximum(level @ weight, 1e-12), 0.0)
        level = numpy.maximum(shown.sum(1) / numpy.maximum(weight @ spectrum, 1e-12), 0.0)
    mean = float(level.mean()) or 1.0
    return level / mean, spectrum * mean


class Components:
    """Scaled counts with hidden pixels imputed, and their leading directions; its methods change it.

    Parameters
    ----------
    data : array, shape (n, E), counts
    noise : NoiseModel
        Noise has unit variance after scaling, as far as it is a product of a row and a column.
    visible : bool array, shape (n, E), or None

    Notes
    -----
    Keenan and Kotula (2004): rows are divided by the root of the mean image, columns by that of the mean spectrum.
    Hidden pixels start from the product of both; then loadings and spectra are regressed on visible pixels in turn
    (PCA with missing values; Tipping and Bishop 1999), which converges in few rounds where replacing hidden
    pixels by the estimate takes hundreds: the zero-loss peak of a spectrum may be hidden. Not centred.
    """

    def __init__(self, data: Counts, noise: NoiseModel, visible: Bool | None) -> None:
        self.noise, self.visible = noise, visible
        level, spectrum = mean_product(data, visible)
        columns = noise.gain * numpy.maximum(spectrum, 1.0 / len(data)) + noise.read_variance
        rows = noise.gain * numpy.maximum(level * spectrum.mean(), 1.0 / data.shape[1]) + noise.read_variance
        self.scale: Array = numpy.sqrt(rows / rows.mean())[:, None] * numpy.sqrt(columns)
        shown = data if visible is None else numpy.where(visible, data, level[:, None] * spectrum)
        self.scaled: Array = shown / self.scale

    def leading(self, most: int) -> tuple[Array, Array]:
        """Largest singular values (r,), falling, and their right vectors (E, r)."""
        tall = self.scaled.shape[0] >= self.scaled.shape[1]
        gram = self.scaled.T @ self.scaled if tall else self.scaled @ self.scaled.T
        first = max(0, len(gram) - most)
        values, vectors = scipy.linalg.eigh(gram, subset_by_index=(first, len(gram) - 1))
        singular = numpy.sqrt(numpy.maximum(values[::-1], 0.0))
        vectors = vectors[:, ::-1]
        return singular, vectors if tall else self.scaled.T @ vectors / numpy.maximum(singular, 1e-30)

    def impute(self, vectors: Array) -> Array:
        """Scaled estimate (n, E) at the rank of the vectors (E, r), which are improved on the way."""
        if self.visible is None or self.visible.all():
            return (self.scaled @ vectors) @ vectors.T
        hidden, change, estimate = ~self.visible, math.inf, self.scaled
        shown, seen = numpy.where(self.visible, self.scaled, 0.0), self.visible.astype(numpy.float64)
        sizes = numpy.linalg.norm(self.scaled @ vectors, axis=0)
        for _ in range(ROUNDS):
            if change < SETTLED:
                break
            maps, sizes, _ = numpy.linalg.svd(_regress(shown, seen, vectors, sizes), full_matrices=False)
            vectors, sizes, _ = numpy.linalg.svd(_regress(shown.T, seen.T, maps, sizes), full_matrices=False)
            estimate = _regress(shown, seen, vectors, sizes) @ vectors.T
            new = estimate[hidden]
            change = math.sqrt(float(((new - self.scaled[hidden]) ** 2).mean()))
            self.scaled[hidden] = new
        return estimate

    def threshold(self) -> float:
        """Singular value that a component must exceed to be worth keeping.

        Notes
        -----
        The edge of noise (`udvd_core.lowrank.edge.noise_edge`) times what Gavish and Donoho (2014) found best for
        cutting off: ``lambda(beta) / (1 + sqrt(beta))``. Imputed pixels carry no noise, which lowers it.
        """
        n, channels = self.scaled.shape
        lags: tuple[float, ...] = getattr(self.noise, "correlation", ())
        seen = 1.0
        if self.visible is not None:
            seen = max(float(self.visible.mean()), 1e-6)
            both = (float((self.visible[:, k:] & self.visible[:, :-k]).mean()) for k in range(1, len(lags) + 1))
            lags = tuple(value * share / seen for value, share in zip(lags, both, strict=True))
        beta = min(n, channels) / max(n, channels)
        best = math.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + math.sqrt(beta**2 + 14 * beta + 1)))
        edge, _ = noise_edge(n, noise_powers(numpy.full(channels, seen), lags))
        return float(math.sqrt(edge) * best / (1 + math.sqrt(beta)))


def _regress(shown: Array, seen: Array, vectors: Array, sizes: Array) -> Array:
    """Loadings (n, r) of rows (n, E) on orthonormal vectors (E, r) of singular values `sizes` (r,).

    Hidden pixels are 0 in `shown` and in `seen`, which is 1 elsewhere.
    """
    rank = vectors.shape[1]
    products = (vectors[:, :, None] * vectors[:, None, :]).reshape(-1, rank * rank)
    prior = numpy.diag(PRIOR * len(shown) / numpy.maximum(sizes**2, 1e-30))
    normal = (seen @ products).reshape(-1, rank, rank) + prior
    return typing.cast(Array, numpy.linalg.solve(normal, (shown @ vectors)[..., None])[..., 0])


def weighted_pca(data: Counts, rank: int, visible: Bool | None = None, noise: NoiseModel | None = None) -> Array:
    """Estimate of counts from `rank` weighted principal components.

    Parameters
    ----------
    data : array, shape (n, E), counts
    rank : int
        Number of components, the mean included.
    visible : bool array, shape (n, E), or None
        None uses every pixel.
    noise : NoiseModel or None
        None stands for Poisson counts.

    Returns
    -------
    array, shape (n, E), counts
        Hidden pixels included.

    Raises
    ------
    InputError
        When the rank is not between 1 and the smaller side.
    """
    if not 1 <= rank <= min(data.shape):
        raise InputError(f"rank is {rank}; want 1 to {min(data.shape)} for spectra of shape {data.shape}")
    components = Components(data, noise or NoiseModel(), visible)
    return components.impute(components.leading(rank)[1]) * components.scale


def automatic_rank(data: Counts, noise: NoiseModel | None = None, visible: Bool | None = None) -> int:
    """Number of components, at least 1, that stand out of the noise; arguments as for `weighted_pca`.

    Notes
    -----
    Known noise, its gain and its correlation along E included; see `Components.threshold`. With hidden
    pixels the components found so far impute them before the next is looked for: what was imputed
    badly would look like a component.
    """
    components = Components(data, noise or NoiseModel(), visible)
    threshold = components.threshold()
    most = min(MOST, len(data), int(data.shape[1]))
    for rank in range(1, most + 1):
        singular, vectors = components.leading(most if visible is None else rank)
        found = max(1, int((singular > threshold).sum()))
        if visible is None or found < rank:
            return found
        components.impute(vectors[:, :rank])
    return most


def oracle_rank(
    data: Counts, truth: Counts, ranks: typing.Iterable[int], noise: NoiseModel | None = None
) -> tuple[int, float]:
    """Rank with the best PSNR against a known truth (n, E), and that PSNR in dB: no operator can know it."""
    components = Components(data, noise or NoiseModel(), None)
    wanted = sorted(ranks)
    if not wanted or wanted[0] < 1 or wanted[-1] > min(data.shape):
        raise InputError(f"ranks are {wanted}; want some from 1 to {min(data.shape)}")
    _, vectors = components.leading(wanted[-1])
    scores = {rank: psnr(components.impute(vectors[:, :rank]) * components.scale, truth) for rank in wanted}
    best = max(scores, key=scores.__getitem__)
    return best, scores[best]
