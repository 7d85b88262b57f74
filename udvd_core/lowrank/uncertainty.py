"""What a low-rank estimate may be off: of every voxel, and of every sum over channels that a map is."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing
import scipy.fft

Array = numpy.typing.NDArray[numpy.float64]
Singles = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]
Bool = numpy.typing.NDArray[numpy.bool_]

CUT = 6.0
"""Frequencies along E beyond so many times the mean one are left out."""
SHAPE = 2.8
"""Error of a spectrum in sums over channels by what smoothing left of its noise: lines, where sums look, are
smoothed less than the rest, or change their shape."""
SLOWEST = 0.4
"""Of the slowest part of its noise smoothing leaves so much, measured on maps over wide windows."""
OWN = 2.0
"""The error of a resolved spectrum is in the squared answer of a sum to its loading so many times too often."""
PLAIN = 3.0
"""What a residual has beyond noise is plain to see from so many standard errors on. Where others would have been found,
or a sum answers to no weaker component, only that counts."""
LEAST_NOISE = 0.05
"""Share of a sum's noise that components leave in the residual, at least."""


def _nothing() -> Array:
    return numpy.zeros((0, 0))


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """Errors of denoised frames: of each map of a component, and of each spectrum.

    Attributes
    ----------
    numbers : array of int, shape (known,)
        Frames that were fitted, increasing.
    intensity : array, shape (known,)
        Noise variance of each, relative to the mean.
    scale : array, shape (pixels,)
        Noise of a recorded pixel at intensity 1, standard deviation in counts.
    spectra : array, shape (r, pixels)
        Components, in units of that noise.
    risk : array, shape (known, r)
        Expected squared error of their loadings.
    weights : array, shape (known, s)
        Orthonormal maps that the spectra were regressed on.
    spectrum_risk : array, shape (s,)
        Expected squared error of those spectra, averaged over pixels, in units of the noise of one.
    slow : float
        Noise of a sum over many channels, variance relative to channels that share none.
    left : array, shape (k, pixels)
        Residual of the fit in k spatial frequencies, with the noise of one recorded frame; empty where not measured.
    spread : array, shape (pixels,)
        Noise of a scaled pixel in the residual, standard deviation; empty where not measured, which counts as 1.
    seen : float
        What the residual of a sum has beyond noise counts from so many of its standard errors on.
    bent : array, shape (s, pixels)
        What smoothing takes off those spectra, scaled; empty where not measured.
    share : array, shape (r, s)
        How much of those spectra each component's is; empty where not measured.
    resolved : bool
        Whether the weakest of those spectra is more than its error.

    Notes
    -----
    An error of a loading is an error all along the component's spectrum. An error of a spectrum is what smoothing
    along E left of white noise: the slow part of it, up to a frequency that gives `SHAPE` times `spectrum_risk`; and
    what it took off the signal, in that very sum. What it left is in the answer of the sum to the loading as well, and
    there goes against the loading's own error: taken off `OWN` times. From spectra that are not resolved smoothing took
    as much as it left, so what it took is put back and what it left taken off once.
    Components that were too weak to be found count by what the residual of the very sum has beyond its noise, the
    same at all positions; where single atoms are lost in it, no sigma tells. Calibrated on simulated scans,
    `benchmarks/coverage.py`.
    """

    numbers: Index
    intensity: Array
    scale: Singles
    spectra: Array
    risk: Array
    weights: Array
    spectrum_risk: Array
    slow: float = 1.0
    left: Array = dataclasses.field(default_factory=_nothing)
    spread: Array = dataclasses.field(default_factory=_nothing)
    seen: float = 0.0
    bent: Array = dataclasses.field(default_factory=_nothing)
    share: Array = dataclasses.field(default_factory=_nothing)
    resolved: bool = False
    _covariances: dict[bytes, list[Array]] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    """Of the spectra's errors, by the channels that were asked for."""

    def relative(self, numbers: Index) -> Singles:
        """Standard error of denoised frames in units of the noise of the recorded ones, shape (n, pixels).

        A frame that was not fitted has that of the next that was.
        """
        at = self._at(numbers)
        of_maps = self.risk[at] @ self.spectra**2
        of_spectra = numpy.multiply.outer(self.weights[at] ** 2 @ self.spectrum_risk, self._spread_of(slice(None)) ** 2)
        return typing.cast(Singles, numpy.sqrt(of_maps + of_spectra).astype(numpy.float32))

    def sigma(self, numbers: Index) -> Singles:
        """The same in counts."""
        light = numpy.sqrt(self.intensity[self._at(numbers)])[:, None].astype(numpy.float32)
        return typing.cast(Singles, self.relative(numbers) * light * self.scale)

    def variance(self, weights: Array, channels: Index, numbers: Index) -> Array:
        """Variance of weighted sums over channels of denoised spectra, counts squared, shape (n,).

        Parameters
        ----------
        weights : array, shape (n, m)
            Of each spectrum's channels, the gradient of a map.
        channels : array of int, shape (m,)
            Which they are.
        numbers : array of int, shape (n,)
            The spectra.
        """
        at = self._at(numbers)
        return self._of_sums(weights, channels, self.risk[at], self.weights[at]) * self.intensity[at]

    def compared(
        self, weights: Array, channels: Index, numbers: Index, amounts: Array, regions: typing.Sequence[Index]
    ) -> Array:
        """Variance of such sums over spectra less amounts of the mean spectra of regions, shape (n,).

        Parameters
        ----------
        weights, channels, numbers
            As for `variance`.
        amounts : array, shape (n, K)
            How much of each mean is taken off.
        regions : sequence of K arrays of int
            Frames of each region.

        Notes
        -----
        All positions share the errors of spectra. Those of loadings, smoothed as maps, are the less in a mean the
        more positions it is of, as those that smoothing began with.
        """
        at = self._at(numbers)
        light, risk = numpy.sqrt(self.intensity), self.risk[at]
        maps = self.weights[at]
        for amount, region in zip(amounts.T[..., None], map(self._at, regions), strict=True):
            maps = maps - amount * (light[region, None] * self.weights[region]).mean(0) / light[at, None]
            least = numpy.minimum(self.risk[region].mean(0), self.slow / region.size) * self.intensity[region].mean()
            risk = risk + amount**2 * least / self.intensity[at, None]
        return self._of_sums(weights, channels, risk, maps) * self.intensity[at]

    def _of_sums(self, weights: Array, channels: Index, risk: Array, maps: Array) -> Array:
        """Variance of sums at intensity 1 from risks of loadings, (n, r), and maps of spectra, (n, s)."""
        scaled = weights * self.scale[channels]
        noisy = scaled * self._spread_of(channels)
        answers = scaled @ self.spectra[:, channels].T
        own = self._own(noisy, channels)
        bent = scaled @ self.bent[:, channels].T if self.bent.size else numpy.zeros_like(own)
        found, none = self._found(answers, own, bent)
        result: Array = (found * risk).sum(1) + (maps**2 * (own + bent**2)).sum(1)
        if self.left.size:
            result += self._missed(scaled, noisy, channels, (answers**2).sum(1), none)
        return result

    def _missed(self, scaled: Array, noisy: Array, channels: Index, taken: Array, none: Bool) -> Array:
        """Variance of sums from components that were not found, shape (n,); `taken` of the noise by those that were."""
        noise = self._noise(noisy, channels)
        expected = numpy.maximum(noise - taken, LEAST_NOISE * noise)
        beyond = ((scaled @ self.left[:, channels].T) ** 2 - expected[:, None]).sum(1)
        least = numpy.where(none, PLAIN, self.seen)
        seen = beyond > least * math.sqrt(2.0 * len(self.left)) * expected
        return numpy.where(seen, beyond, 0.0) / self.numbers.size

    def _own(self, noisy: Array, channels: Index) -> Array:
        """Variance of sums (n, m) over channels of each spectrum, left of its noise, shape (n, s)."""
        key = channels.tobytes()
        if key not in self._covariances:
            self._covariances[key] = [self._covariance(channels, SHAPE * risk) for risk in self.spectrum_risk]
        each = [((noisy @ covariance) * noisy).sum(1) for covariance in self._covariances[key]]
        return numpy.reshape(each, (len(each), len(noisy))).T

    def _found(self, answers: Array, own: Array, bent: Array) -> tuple[Array, Bool]:
        """Squared answers (n, r) of sums to loadings, without errors of spectra; whether none is to weaker ones."""
        if not self.share.size:
            return answers**2, numpy.zeros(len(answers), dtype=bool)
        added = own @ (self.share**2).T
        if self.resolved:
            found = numpy.maximum(answers**2 - OWN * added, 0.0)
            return found, (found[:, 1:] == 0.0).all(1)
        back = answers - bent @ self.share.T
        return numpy.maximum(back**2 - added, 0.0), numpy.zeros(len(answers), dtype=bool)

    def _spread_of(self, channels: Index | slice) -> Array:
        """Noise of scaled channels, 1 where it was not measured."""
        return (self.spread if self.spread.size else numpy.ones(self.scale.size))[channels]

    def _noise(self, noisy: Array, channels: Index) -> Array:
        """Noise variance of sums (n, m) over a recorded spectrum, all of the correlation with the next channel."""
        order = numpy.argsort(channels)
        each = noisy[:, order]
        first = numpy.flatnonzero(numpy.diff(channels[order]) == 1)
        shared = (each[:, first] * each[:, first + 1]).sum(1)
        power = (each**2).sum(1)
        return typing.cast(Array, numpy.maximum(power + (self.slow - 1.0) * shared, LEAST_NOISE * power))

    def packed(self) -> Singles:
        """All of it in one row of numbers, which can travel; `unpacked` is the inverse."""
        sizes = self.numbers.size, self.scale.size, len(self.spectra), self.spectrum_risk.size
        measured = self.spread.size > 0, len(self.left), len(self.bent)
        parts = (self.numbers, self.intensity, self.scale, self.spectra, self.risk, self.weights, self.spectrum_risk)
        rest = self.spread, self.left, self.bent, self.share
        return numpy.concatenate(
            [sizes, measured, [self.slow, self.seen, self.resolved], *(numpy.ravel(part) for part in (*parts, *rest))]
        ).astype(numpy.float32)

    @staticmethod
    def unpacked(values: Singles) -> Uncertainty:
        """Rebuild what `packed` made.

        Raises
        ------
        ValueError
            When the numbers are something else, or of another version.
        """
        known, pixels, rank, maps, spread, waves, bent = (int(size) for size in values[:7])
        shapes: tuple[tuple[int, ...], ...]
        shapes = ((known,), (known,), (pixels,), (rank, pixels), (known, rank), (known, maps), (maps,))
        shapes += ((spread * pixels,), (waves, pixels), (bent, pixels), (rank if bent else 0, bent))
        ends = 10 + numpy.cumsum([math.prod(shape) for shape in shapes])
        if ends[-1] != values.size:
            raise ValueError(f"{values.size} numbers, want {ends[-1]}: of another version; denoise the scan again")
        parts = [
            values[end - math.prod(shape) : end].reshape(shape).astype(numpy.float64)
            for end, shape in zip(ends, shapes, strict=True)
        ]
        numbers, intensity, scale, spectra, risk, weights, spectrum_risk, spreads, left, taken, share = parts
        return Uncertainty(
            numbers.astype(numpy.int64),
            intensity,
            scale.astype(numpy.float32),
            spectra,
            risk,
            weights,
            spectrum_risk,
            slow=float(values[7]),
            left=left,
            spread=spreads,
            seen=float(values[8]),
            bent=taken,
            share=share,
            resolved=bool(values[9]),
        )

    def _covariance(self, channels: Index, risk: float) -> Array:
        """Covariance of what smoothing left of a spectrum's noise, between some channels, (m, m)."""
        size, share = self.scale.size, min(risk / self.slow, 1.0)
        slowest = max(SLOWEST, share)
        wanted = share / slowest * size
        frequency = numpy.arange(min(size, math.ceil(CUT * wanted) + 1))
        passes = 1.0 / (1.0 + (frequency / max(wanted * 4.0 / math.pi, 1e-9)) ** 2)
        passes *= math.sqrt(slowest * wanted / (passes**2).sum())
        chosen = numpy.zeros((channels.size, size))
        chosen[numpy.arange(channels.size), channels] = 1.0
        rows = scipy.fft.dct(chosen, axis=1, norm="ortho")[:, : frequency.size].T
        rows = passes[:, None] * rows
        return numpy.asarray(self.slow * (rows.T @ rows))

    def _at(self, numbers: Index) -> Index:
        return numpy.searchsorted(self.numbers, numbers).clip(0, self.numbers.size - 1)
