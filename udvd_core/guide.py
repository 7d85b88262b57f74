"""The guide of one scan while it arrives: a low-rank estimate that is extended by every frame and refitted."""

from __future__ import annotations

import dataclasses
import typing

import numpy
import numpy.typing

from udvd_core.lowrank.factors import smooth_maps
from udvd_core.lowrank.fit import LowRankFit
from udvd_core.lowrank.place import Place
from udvd_core.lowrank.profile import profile
from udvd_core.lowrank.scaled import Read
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.lowrank.whiten import whiten
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]
Bool = numpy.typing.NDArray[numpy.bool_]

BAND = 16
"""Rows of positions that a map is smoothed over when frames are added; the fit smooths all."""


class Guide:
    """Low-rank estimate of the frames of a scan that came so far.

    Adding frames costs the same however many there are; a fit goes over all of them, in steps.

    Parameters
    ----------
    read : callable
        Frames of some numbers, shape (n, q, E), counts; NaN is missing.
    scan_shape : tuple of int
        Positions of the whole scan.
    frame_shape : (int, int)
        ``(q, E)``.
    """

    def __init__(self, read: Read, scan_shape: tuple[int, ...], frame_shape: tuple[int, int]) -> None:
        self._read, self._shape, self.frame_shape = read, scan_shape, frame_shape
        count = int(numpy.prod(scan_shape))
        self._intensity = numpy.zeros(count)
        self._loadings = self._maps = numpy.zeros((count, 0))
        self._mapped = numpy.zeros(count, bool)
        self._fit: LowRankFit | None = None
        self._noise = NoiseModel()
        self._expected: _Expected | None = None
        self.fitted = 0
        """Frames that the last fit saw."""
        self.mark = object()
        """Another one after every step of a fit."""

    @property
    def rank(self) -> int:
        """Components, 0 before the first fit."""
        return self._maps.shape[1]

    @property
    def settled(self) -> bool:
        """Whether the fit of the frames that it saw has ended."""
        return self._fit is not None and self._fit.settled

    def start(self, known: Index, noise: NoiseModel, base: Guide | None = None) -> None:
        """Begin a new fit, of the frames with these numbers.

        `base` is a settled guide of the same frames summed over q, which must not change any more: its spectra,
        spread over q as `udvd_core.lowrank.profile` says, are taken for known, and only what differs from them is
        fitted.
        """
        scaled = whiten(self._read, Place.of(self._shape, known), noise, self.frame_shape)
        self._noise = noise
        if base is not None:
            self._expected = _Expected(base, profile(scaled.half_sums(), noise))
            scaled = scaled.less(self._expected.frames)
        self._fit = LowRankFit(scaled, noise, least=1 if base is None else 0)
        self.fitted = known.size
        self._take()

    def step(self) -> None:
        """One step of the fit that `start` began."""
        if self._fit is not None and not self._fit.settled:
            self._fit.step()
            self._take()

    def frames(self, numbers: Index, lines: slice = slice(None)) -> Singles:
        """Estimated frames, shape (n, q, E), counts; frames that no fit saw are added first.

        `lines` picks detector rows.
        """
        fit = self._begun()
        new = numbers[~self._mapped[numbers]]
        if new.size:
            self._extend(new)
        spectra = fit.factors.spectra.astype(numpy.float32).reshape(-1, *self.frame_shape)[:, lines]
        frames = self._maps[numbers].astype(numpy.float32) @ spectra.reshape(len(spectra), -1)
        frames = frames.reshape(numbers.size, *spectra.shape[1:])
        frames *= self.sigma(numbers, lines)
        if self._expected is not None:
            frames += self._expected.frames(numbers, lines)
        return typing.cast(Singles, frames)

    def sigma(self, numbers: Index, lines: slice = slice(None)) -> Singles:
        """Noise of one recorded frame, standard deviation in counts, shape (n, q, E); frames that `frames` knows."""
        return self.light(numbers) * self._begun().scaled.scale.reshape(self.frame_shape)[lines]

    def light(self, numbers: Index) -> Singles:
        """Square root of the light of each position relative to the mean, shape (n, 1, 1)."""
        return numpy.sqrt(self._intensity[numbers]).astype(numpy.float32)[:, None, None]

    def error(self, numbers: Index) -> Singles:
        """Standard error of `frames`, counts, shape (n, q, E).

        Calibrated on simulated scans: 65 to 80 % of the voxels lie within one, `tests/core/test_guide.py`.
        """
        own = self.uncertainty.sigma(numbers).reshape(-1, *self.frame_shape)
        if self._expected is None:
            return own
        return typing.cast(Singles, numpy.hypot(own, self._expected.error(numbers)))

    @property
    def uncertainty(self) -> Uncertainty:
        """What the frames may be off, apart from what the spectra that guide them are."""
        fit = self._begun()
        scaled, factors = fit.scaled, fit.factors
        known = Uncertainty(
            scaled.place.numbers,
            scaled.intensity,
            scaled.scale,
            factors.spectra,
            factors.risk,
            factors.weights,
            factors.spectrum_risk,
            1.0 + 2.0 * sum(self._noise.correlation),
        )
        return known if fit.residual is None else dataclasses.replace(known, **fit.residual._asdict())

    def regressed(self, numbers: Index, counts: Singles, visible: Bool) -> Singles:
        """Frames as visible pixels alone predict them, starting from the guide; shapes (n, q, E), counts.

        Each frame is regressed on the spectra, with its denoised loadings as a prior of unit variance.
        """
        factors, n = self._begun().factors, numbers.size
        start, scale = self.frames(numbers), self.sigma(numbers)
        spectra = factors.spectra.astype(numpy.float32)
        shown = visible.reshape(n, -1).astype(numpy.float32)
        rest = ((counts - start) / scale).reshape(n, -1) * shown
        products = (spectra[:, None] * spectra).reshape(-1, spectra.shape[1])
        normal = (shown @ products.T).reshape(n, len(spectra), -1) + numpy.eye(len(spectra), dtype=numpy.float32)
        change = numpy.linalg.solve(normal, (rest @ spectra.T)[..., None])[..., 0]
        return start + (change @ spectra).reshape(start.shape) * scale

    def _begun(self) -> LowRankFit:
        if self._fit is None:
            raise RuntimeError("a guide needs `start` before it can estimate frames")
        return self._fit

    def _take(self) -> None:
        """Take maps and intensities over from the fit; frames that it did not see wait for `_extend`."""
        fit, self.mark = self._begun(), object()
        numbers = fit.scaled.place.numbers
        self._loadings = numpy.zeros((self._mapped.size, fit.factors.rank))
        self._maps = numpy.zeros_like(self._loadings)
        self._loadings[numbers], self._maps[numbers] = fit.factors.loadings, fit.factors.maps
        self._intensity[numbers] = fit.scaled.intensity
        self._mapped[:] = False
        self._mapped[numbers] = True

    def _extend(self, new: Index) -> None:
        """Add frames: loadings from the spectra of the fit, maps smoothed over the rows around them."""
        fit = self._begun()
        inner = int(numpy.prod(self._shape[1:]))
        start, end = int(new.min()) // inner, int(new.max()) // inner + 1
        place = Place.of((end - start, *self._shape[1:]), new - start * inner)
        rows, self._intensity[new] = fit.scaled.foreign(new, self._noise, place)
        self._loadings[new] = rows @ fit.factors.basis.T.astype(numpy.float32)
        self._mapped[new] = True
        first, last = max(0, start - BAND), min(self._shape[0], end + BAND)
        around = first * inner + numpy.flatnonzero(self._mapped[first * inner : last * inner])
        place = Place.of((last - first, *self._shape[1:]), around - first * inner)
        maps, _ = smooth_maps(self._loadings[around], place)
        self._maps[new] = maps[numpy.searchsorted(around, new)]


class _Expected(typing.NamedTuple):
    """Frames that the spectra of `base` predict, spread over q as `share`, (q, E), says."""

    base: Guide
    share: Singles

    def frames(self, numbers: Index, lines: slice = slice(None)) -> Singles:
        """Predicted frames, shape (n, q, E), counts."""
        return self.base.frames(numbers) * self.share[lines]

    def error(self, numbers: Index) -> Singles:
        """Their standard error as far as the spectra are off, counts."""
        return self.base.error(numbers) * self.share
