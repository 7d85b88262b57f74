"""Models compared by how well they predict counts that none of them has seen."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing

from udvd_core.errors import InputError
from udvd_core.noise import NoiseModel
from udvd_core.split import Split
from udvd_core.trust.baselines import Family, mean_spectrum, pca_automatic, pca_ranks, smoothing
from udvd_core.trust.likelihood import floor, likelihoods, paired_difference

Array = numpy.typing.NDArray[numpy.float64]
Counts = numpy.typing.NDArray[numpy.floating]
Bool = numpy.typing.NDArray[numpy.bool_]
Candidate = typing.Callable[[Counts, Bool], numpy.typing.NDArray[numpy.floating]]
Told = typing.Callable[[float, str], None]

MEAN = "mean spectrum"


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """How well one model predicts held-out counts.

    Attributes
    ----------
    name, setting : str
        The model, and what was chosen for it.
    likelihood : float
        Mean log quasi-likelihood per held-out pixel, 0 for a prediction that is never wrong.
    gain, error : float
        How much better per pixel than the mean spectrum, and the standard error of this difference.
    sums, pixels : array, shape (n,)
        Likelihood summed over the held-out pixels of every position, and how many they are.
    """

    name: str
    setting: str
    likelihood: float
    gain: float
    error: float
    sums: Array
    pixels: Array

    def better_than(self, other: Score) -> tuple[float, float]:
        """Difference to another model per pixel, and its standard error."""
        return paired_difference(self.sums, other.sums, self.pixels)


@dataclasses.dataclass(frozen=True)
class _Judge:
    """Held-out counts, one value per held-out pixel in scan order."""

    counts: Array
    least: Array
    held: Bool
    noise: NoiseModel

    def losses(self, estimate: numpy.typing.NDArray[numpy.floating]) -> Array:
        return likelihoods(self.counts, estimate[self.held], self.noise, self.least)

    @property
    def position(self) -> numpy.typing.NDArray[numpy.int64]:
        return numpy.nonzero(self.held)[0]


def compare(
    data: Counts,
    scan_shape: tuple[int, ...],
    candidates: typing.Mapping[str, Candidate],
    split: Split,
    noise: NoiseModel,
    told: Told = lambda share, note: None,
) -> list[Score]:
    """Score the mean spectrum, smoothing, PCA and further models on held-out counts.

    Parameters
    ----------
    data : array, shape (n, E), counts
        Spectra in scan order. Values that are not finite are missing.
    scan_shape : tuple of int
        Positions along every scan axis.
    candidates : mapping of name to callable
        ``(data, visible) -> estimate (n, E)``. They get the data with hidden pixels set to 0 and a mask
        of those that are visible.
    split : Split
        Which pixels are held out.
    noise : NoiseModel
    told : callable
        Is told how far it is, from 0 to 1, and what comes next.

    Returns
    -------
    list of Score
        The mean spectrum first, then in the order in which they ran.

    Notes
    -----
    The setting of smoothing and of PCA is chosen on one half of the positions and scored on the other, and the
    reverse, so that the choice makes no score look better than it is.
    """
    shown, visible, judge = _hidden_from_all(data, scan_shape, split, noise)
    base = judge.losses(mean_spectrum(shown, visible))
    results = [_score(MEAN, "", base, base, judge)]
    families = (smoothing(scan_shape), pca_automatic(noise), pca_ranks(data.shape, noise))
    steps = len(families) + len(candidates)
    for number, family in enumerate(families):
        told(number / steps, family.name)
        losses, setting = _search(family, shown, visible, judge)
        results.append(_score(family.name, setting, losses, base, judge))
    for number, (name, candidate) in enumerate(candidates.items(), len(families)):
        told(number / steps, name)
        estimate = numpy.asarray(candidate(shown.copy(), visible))
        if estimate.shape != data.shape or not numpy.isfinite(estimate[judge.held]).all():
            raise InputError(
                f"model {name} gave shape {estimate.shape} or values that are not finite; want {data.shape}"
            )
        results.append(_score(name, "", judge.losses(estimate), base, judge))
    return results


def _hidden_from_all(
    data: Counts, scan_shape: tuple[int, ...], split: Split, noise: NoiseModel
) -> tuple[Array, Bool, _Judge]:
    """What models may see, a mask of it, and who knows the rest."""
    if data.ndim != 2 or data.shape[0] != math.prod(scan_shape):
        raise InputError(f"spectra have shape {data.shape}; a scan of {scan_shape} wants (n, E)")
    finite = numpy.isfinite(data)
    held, visible = (mask[:, 0] & finite for mask in split.masks(range(len(data)), (1, data.shape[1])))
    if not held.any() or not visible.any():
        raise InputError(f"spectra of shape {data.shape} are too few to hold out {split.share:.0%}: take a larger scan")
    shown = numpy.where(visible, data, 0).astype(numpy.float64)
    least = numpy.broadcast_to(floor(shown, visible), data.shape)
    return shown, visible, _Judge(data[held].astype(numpy.float64), least[held], held, noise)


def _search(family: Family, shown: Array, visible: Bool, judge: _Judge) -> tuple[Array, str]:
    """Likelihoods with the setting chosen on the other half of the positions; also the overall choice in words."""
    tried: dict[typing.Any, Array] = {}
    best = None
    for path in family.paths:
        falling, last = 0, -numpy.inf
        for setting in path(best):
            if setting not in tried:
                tried[setting] = judge.losses(family.estimate(shown, visible, setting))
            value = float(tried[setting].mean())
            falling = falling + 1 if value < last else 0
            last = max(value, last)
            if falling == 2:
                break
        best = max(tried, key=lambda setting: tried[setting].mean())
    even = judge.position % 2 == 0
    result = numpy.empty_like(tried[best])
    for mine, other in ((even, ~even), (~even, even)):
        chosen = max(tried, key=lambda setting: tried[setting][other].sum())
        result[mine] = tried[chosen][mine]
    return result, family.words(best)


def _score(name: str, setting: str, losses: Array, base: Array, judge: _Judge) -> Score:
    count = len(judge.held)
    pixels = numpy.bincount(judge.position, minlength=count).astype(numpy.float64)
    sums, base_sums = (numpy.bincount(judge.position, v, count).astype(numpy.float64) for v in (losses, base))
    gain, error = paired_difference(sums, base_sums, pixels)
    return Score(name, setting, float(losses.mean()), gain, error, sums, pixels)
