"""How far a scan can be trusted while it is denoised: what an operator wants to see beside the picture.

Cheap on purpose: of every frame that was denoised only sums over a few dozen energy windows are kept, recorded and
denoised; the tests of `udvd_core.trust` run on these.
"""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.zero_loss import zero_loss
from udvd_core.noise import NoiseModel
from udvd_core.settings import ScanSpec
from udvd_core.trust.bias import bias
from udvd_core.trust.verdict import verdict

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]
Doubles = numpy.typing.NDArray[numpy.float64]

GOOD, CARE, BAD = "good", "care", "bad"
WINDOWS = 32
FEWEST = 48
"""Frames below which nothing is said."""
DRIFT = 0.25
"""Drift of the zero-loss peak that is worth an alarm, in full widths at half maximum; and at least a channel."""
ZERO_LOSS_CHANNELS = 8
"""Channels on either side of zero from which on a scan is taken to hold the zero-loss peak."""


@dataclasses.dataclass(frozen=True)
class Trust:
    """What is known of a result so far.

    Attributes
    ----------
    light : str
        `GOOD`, `CARE`, `BAD`, or empty while too little has come to say.
    sentence : str
        Why, for the operator.
    psnr : float or None
        Peak signal-to-noise ratio that the standard errors of the result promise, dB; None where unknown. A proxy:
        what the standard errors do not know (too weak to be found) is not in it.
    heldout : float or None
        Log-likelihood per thousand held-out pixels above that of the mean spectrum; None where not judged.
    alarm : str
        What is wrong with the scan itself; empty if nothing.
    """

    light: str = ""
    sentence: str = ""
    psnr: float | None = None
    heldout: float | None = None
    alarm: str = ""


class Monitor:
    """Watches one scan.

    Parameters
    ----------
    spec : ScanSpec
        The scan.
    """

    def __init__(self, spec: ScanSpec) -> None:
        self._shape, self._energy = spec.scan_shape, spec.energy
        self._starts = numpy.unique(numpy.arange(WINDOWS) * spec.energy.size // WINDOWS)
        self._width = max(1, spec.energy.size // self._starts.size)
        self._recorded = numpy.full((spec.count, self._starts.size), numpy.nan, numpy.float32)
        self._denoised = numpy.zeros_like(self._recorded)
        self._peak = 0.0
        self._drift = _Drift(spec.scan_shape[-1], spec.energy) if _holds_zero_loss(spec.energy) else None

    def saw(self, numbers: Index, recorded: Array, denoised: Array) -> None:
        """Take frames that were denoised, spectra summed over q, each (n, E), counts; again replaces."""
        new = numpy.isnan(self._recorded[numbers, 0])
        counts = numpy.nan_to_num(recorded, nan=0.0, posinf=0.0, neginf=0.0)
        self._recorded[numbers] = numpy.add.reduceat(counts, self._starts, axis=1)
        self._denoised[numbers] = numpy.add.reduceat(denoised, self._starts, axis=1)
        self._peak = max(self._peak, float(denoised.max(initial=0.0)))
        if self._drift is not None and new.any():
            self._drift.saw(numbers[new], counts[new])

    def trust(self, noise: NoiseModel | None, sigma: typing.Callable[[Index], Array] | None, heldout: float) -> Trust:
        """Judge what was seen.

        Parameters
        ----------
        noise : NoiseModel or None
            Of recorded spectra; None where it is not known yet.
        sigma : callable or None
            Standard errors of denoised spectra of some numbers, (n, E), counts.
        heldout : float
            See `Trust`; NaN where not judged.
        """
        known = numpy.flatnonzero(~numpy.isnan(self._recorded[:, 0]))
        psnr = None if sigma is None or not known.size else self._psnr(sigma(known[:: max(1, known.size // 64)]))
        gain = None if math.isnan(heldout) else heldout
        alarm = "" if self._drift is None else self._drift.alarm(noise)
        if noise is None or known.size < FEWEST:
            return Trust("", "Too early to say", psnr, gain, alarm)
        light, sentence = self._verdict(known, noise)
        if light == GOOD and heldout <= 0:
            sentence = "Held-out counts are predicted no better than by the mean spectrum: positions look alike so far."
        if light == GOOD and (alarm or heldout <= 0):
            light = CARE
        return Trust(light, sentence, psnr, gain, alarm)

    def _psnr(self, sigma: Array) -> float | None:
        power = float((sigma**2).mean(dtype=numpy.float64))
        return 10.0 * math.log10(self._peak**2 / power) if power > 0 and self._peak > 0 else None

    def _verdict(self, known: Index, noise: NoiseModel) -> tuple[str, str]:
        """Light and sentence from sums over regions of the rows that are complete, or of all frames in a line."""
        row = self._shape[-1]
        rows = numpy.flatnonzero(numpy.bincount(known // row, minlength=len(self._recorded) // row) == row)
        at = (rows[:, None] * row + numpy.arange(row)).ravel()
        shape = (int(rows.size), row) if rows.size > 1 else (int(known.size),)
        at = at if rows.size > 1 else known
        slow = noise.window_factor(self._width)
        wide = NoiseModel(gain=noise.gain * slow, read_variance=noise.read_variance * self._width * slow)
        energy = self._energy
        windows = Axis(self._starts.size, energy.offset, energy.scale * self._width, energy.units, energy.name)
        found = bias(self._recorded[at], self._denoised[at], shape, wide)
        return (BAD if found.found else GOOD), verdict(found=found, energy=windows)


class _Drift:
    """Position of the zero-loss peak in the sums of scan rows."""

    def __init__(self, row: int, energy: Axis) -> None:
        self._row, self._energy = row, energy
        self._sums: dict[int, Doubles] = {}
        self._counts: dict[int, int] = {}

    def saw(self, numbers: Index, recorded: Array) -> None:
        """Add recorded spectra (n, E), counts, that are new."""
        for row in numpy.unique(numbers // self._row).tolist():
            here = recorded[numbers // self._row == row]
            self._sums[row] = self._sums.get(row, 0.0) + here.sum(0, dtype=numpy.float64)
            self._counts[row] = self._counts.get(row, 0) + len(here)

    def alarm(self, noise: NoiseModel | None) -> str:
        """A sentence where the peak moved between the rows that are complete; empty if it did not."""
        whole = sorted(row for row, count in self._counts.items() if count == self._row)
        if len(whole) < 2:
            return ""
        try:
            found = zero_loss(numpy.array([self._sums[row] for row in whole]), self._energy, noise)
        except InputError:
            return ""
        seen = numpy.isfinite(found.sigma)
        if seen.sum() < 2:
            return ""
        position = found.position[seen]
        moved = float(position.max() - position.min())
        if moved < max(DRIFT * found.fwhm, abs(self._energy.scale)):
            return ""
        unit, factor = ("meV", 1e3) if found.fwhm < 0.2 else ("eV", 1.0)
        return f"The zero-loss peak has drifted by {moved * factor:.3g} {unit}; its width is {found.fwhm * factor:.3g}"


def _holds_zero_loss(energy: Axis) -> bool:
    margin = ZERO_LOSS_CHANNELS * abs(energy.scale)
    values = energy.values()
    return bool(values.min() <= -margin and values.max() >= margin)
