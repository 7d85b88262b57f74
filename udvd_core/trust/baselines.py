"""What every model must beat: the mean spectrum, smoothing, principal components.

A family is one method with a setting; the setting is chosen by held-out counts. All see visible pixels only.
"""

from __future__ import annotations

import dataclasses
import typing

import numpy
import numpy.typing
import scipy.ndimage

from udvd_core.noise import NoiseModel
from udvd_core.pca import automatic_rank, weighted_pca

Array = numpy.typing.NDArray[numpy.float64]
Counts = numpy.typing.NDArray[numpy.floating]
Bool = numpy.typing.NDArray[numpy.bool_]
Width = tuple[float, float]

POSITION_WIDTHS = (0.0, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0)
CHANNEL_WIDTHS = (0.0, 0.7, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0, 10.0)
RANKS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24)


def mean_spectrum(data: Counts, visible: Bool) -> Array:
    """The mean spectrum at every position, shape (n, E)."""
    shown = visible.sum(0)
    overall = float((data * visible).sum()) / max(int(shown.sum()), 1)
    spectrum = numpy.where(shown > 0, (data * visible).sum(0, dtype=numpy.float64) / numpy.maximum(shown, 1), overall)
    return numpy.broadcast_to(spectrum, data.shape)


def smooth(data: Counts, visible: Bool, scan_shape: tuple[int, ...], width: Width) -> Array:
    """Gaussian smoothing over positions and channels that leaves hidden pixels out, shape (n, E).

    Parameters
    ----------
    width : (float, float)
        Standard deviation along every scan axis, positions, and along E, channels.

    Notes
    -----
    Normalised convolution (Knutsson and Westin 1993); where nothing is near, the mean spectrum.
    """
    sigma = (*(width[0] if size > 1 else 0.0 for size in scan_shape), width[1])
    shape = (*scan_shape, data.shape[1])
    near, weight = (
        scipy.ndimage.gaussian_filter(values.astype(numpy.float32).reshape(shape), sigma, mode="constant", truncate=3.0)
        for values in (data * visible, visible)
    )
    found = near / numpy.maximum(weight, 1e-4)
    return numpy.where(weight > 1e-3, found, mean_spectrum(data, visible).reshape(shape)).reshape(data.shape)


@dataclasses.dataclass(frozen=True)
class Family:
    """A method whose setting is searched along a path, and how a setting is called.

    Attributes
    ----------
    name : str
    estimate : callable
        ``(data, visible, setting) -> (n, E)``.
    paths : callable
        From the best setting so far, None at first, to the settings to try next, in order of
        strength; no settings end the search.
    words : callable
        A setting in words.
    """

    name: str
    estimate: typing.Callable[[Counts, Bool, typing.Any], Array]
    paths: tuple[typing.Callable[[typing.Any], typing.Sequence[typing.Any]], ...]
    words: typing.Callable[[typing.Any], str]


def smoothing(scan_shape: tuple[int, ...]) -> Family:
    """Gaussian smoothing, its widths searched in turn."""

    def along_channels(best: Width | None) -> list[Width]:
        return [(best[0] if best else 1.0, width) for width in CHANNEL_WIDTHS]

    def along_positions(best: Width | None) -> list[Width]:
        return [(width, best[1] if best else 1.0) for width in POSITION_WIDTHS if width or not best or best[1]]

    return Family(
        "smoothing",
        lambda data, visible, width: smooth(data, visible, scan_shape, width),
        (along_positions, along_channels, along_positions),
        lambda width: f"Gaussian, sigma {width[0]:g} (positions) x {width[1]:g} (channels)",
    )


def pca_ranks(shape: tuple[int, int], noise: NoiseModel) -> Family:
    """Principal components, their number searched upwards."""
    ranks = [rank for rank in RANKS if rank <= min(shape)]
    return Family(
        "PCA, best rank",
        lambda data, visible, rank: weighted_pca(data, rank, visible, noise),
        (lambda best: ranks,),
        lambda rank: f"rank {rank}",
    )


def pca_automatic(noise: NoiseModel) -> Family:
    """Principal components, as many as stand out of the noise."""
    found: list[int] = []

    def estimate(data: Counts, visible: Bool, setting: None) -> Array:
        found[:] = [automatic_rank(data, noise, visible)]
        return weighted_pca(data, found[0], visible, noise)

    return Family("PCA, automatic rank", estimate, (lambda best: [None],), lambda setting: f"rank {found[0]}")
