"""The correction network at work on the guide of one scan: judged on held-out counts, then applied."""

from __future__ import annotations

import copy
import functools
import math
import typing

import numpy
import numpy.typing
import torch

from udvd_core.blind import BlindFit
from udvd_core.correction.blocks import Frames, Piece, pieces
from udvd_core.correction.gate import CLOSED, Gate, judge
from udvd_core.correction.inputs import common, left_over, residual
from udvd_core.correction.network import CorrectionNetwork
from udvd_core.device import halving, mixed_precision, placed
from udvd_core.guide import Guide
from udvd_core.lowrank.scaled import Read
from udvd_core.noise import NoiseModel
from udvd_core.split import Split
from udvd_core.tiling import batches
from udvd_core.trust.likelihood import floor, likelihoods

Array = numpy.typing.NDArray[numpy.float32]
Bool = numpy.typing.NDArray[numpy.bool_]
Index = numpy.typing.NDArray[numpy.int64]

JUDGED_PIXELS = 1 << 22
"""So many pixels, of whole rows of the scan, are judged at most."""
COMMON_PIXELS = 1 << 17
"""So many tell what the network adds at all positions alike: 2 rows of 32 x 512 were as good as all 32."""
BATCH_PIXELS = 1 << 13
"""Pixels that go through the network at once: few, so that they stay in the cache of a CPU."""
CUDA_PIXELS = 1 << 21


class Corrector:
    """Adds to the guide what the network finds, as far as held-out counts support it.

    Parameters
    ----------
    network : CorrectionNetwork
        Pretrained; stays as it is.
    scan_shape : tuple of int
        ``(n,)``, ``(y, x)`` or ``(t, y, x)``; the pages of the last do not see each other.
    frame_shape : (int, int)
        ``(q, E)``.
    device : torch.device
        Where the network computes.
    """

    def __init__(
        self,
        network: CorrectionNetwork,
        scan_shape: tuple[int, ...],
        frame_shape: tuple[int, int],
        device: torch.device,
    ) -> None:
        self._network = placed(copy.deepcopy(network), device).eval()
        self._grid = (scan_shape[-2], scan_shape[-1]) if len(scan_shape) > 1 else (1, scan_shape[0])
        self._shape, self.frame_shape, self._device = scan_shape, frame_shape, device
        self._left = numpy.zeros((4, *frame_shape), numpy.float32)
        self._common = numpy.zeros(frame_shape, numpy.float32)
        """What the network would add at all positions alike: the scan's counts know that better, so it is taken off."""
        self._pixels = BATCH_PIXELS if device.type == "cpu" else CUDA_PIXELS
        self._adapted: object = None
        """`Guide.mark` of the guide that these two are of."""
        self.gate: Gate = CLOSED
        self.judged = 0
        """Frames that were there at the last judgement."""
        self.heldout = math.nan
        """Log-likelihood of guide and correction per thousand held-out pixels, above that of the mean frame."""

    def judge(self, read: Read, known: Index, noise: NoiseModel, split: Split, base: Guide | None = None) -> None:
        """Set the gate on held-out pixels; all steps of `judging` at once."""
        for _ in self.judging(read, known, noise, split, base):
            pass

    def judging(
        self, read: Read, known: Index, noise: NoiseModel, split: Split, base: Guide | None = None
    ) -> typing.Iterator[None]:
        """Judge the correction on a guide that never saw the held-out pixels, in steps of limited length.

        Parameters
        ----------
        read : callable
            Frames of some numbers, shape (n, q, E), counts; NaN is missing.
        known : array of int
            Frames that are there.
        noise : NoiseModel
            Of the frames.
        split : Split
            Held-out pixels; its guard along E is hidden from the network.
        base : Guide or None
            As for `Guide.start`.
        """
        numbers = self._middle_rows(known, JUDGED_PIXELS)
        held, visible = split.masks(numbers, self.frame_shape)
        counts = read(numbers)
        fit = BlindFit(counts, visible, numbers, self._shape, noise, base)
        while not fit.settled:
            yield
            fit.step()
        yield
        self._pass(counts, held & numpy.isfinite(counts), visible, numbers, fit.guide, noise, split)
        self.judged, self._adapted = known.size, None

    def fits(self, guide: Guide) -> bool:
        """Whether `adapt` has nothing to do for this guide as it is."""
        return self._adapted is guide.mark or not self.gate.share.any()

    def adapt(self, read: Read, guide: Guide, known: Index, noise: NoiseModel) -> None:
        """Look at what this guide leaves; the gate stays. A guide of more frames leaves less, and something else.

        Not for whole frames, where a pixel tells little: as they were judged they gain, 0.3 dB instead of -0.2.
        """
        if self.frame_shape[0] == 1:
            numbers = self._middle_rows(known, JUDGED_PIXELS)
            counts, some = read(numbers), self._middle_rows(numbers, COMMON_PIXELS)
            self._left = self._left_over(counts, numbers, guide, noise)
            self._common = common(self._added(counts, numbers, some, guide, noise), guide.light(some))
        self._adapted = guide.mark

    @torch.inference_mode()
    def correct(self, read: Read, guide: Guide, numbers: Index, known: Index, noise: NoiseModel) -> Array:
        """Corrected frames of these numbers, shape (n, q, E), counts; as the guide has them where it is not adapted."""
        estimate = guide.frames(numbers)
        if self._adapted is not guide.mark or not self.gate.share.any():
            return estimate

        def frames(wanted: Index, rows: slice) -> tuple[Array, Array, Array]:
            return read(wanted)[:, rows], guide.frames(wanted, rows), guide.sigma(wanted, rows)

        correction = self._correction(numbers, known, frames, noise)
        place = numpy.unravel_index(numbers % math.prod(self._grid), self._grid)
        share = self.gate.of((place[0], place[1]), self._grid, estimate.shape[2])
        correction -= guide.light(numbers) * self._common
        correction *= share
        correction *= guide.sigma(numbers)
        estimate += correction
        return estimate

    def _pass(
        self, counts: Array, held: Bool, visible: Bool, numbers: Index, guide: Guide, noise: NoiseModel, split: Split
    ) -> None:
        """Set the gate."""
        self._network.hidden = split.guard[1]
        estimate, sigma = guide.frames(numbers), guide.sigma(numbers)
        seen = numpy.where(visible, counts, numpy.float32(numpy.nan))
        self._left = self._left_over(seen, numbers, guide, noise)
        correction, light = self._added(seen, numbers, numbers, guide, noise), guide.light(numbers)
        if self.frame_shape[0] == 1:  # a pixel of whole frames has too few counts to be known better
            correction -= light * common(correction, light)
        place = numpy.unravel_index(numbers % math.prod(self._grid), self._grid)
        self.gate = judge(residual(counts, estimate, sigma), correction, held, (place[0], place[1]), self._grid)
        self.heldout = _over_mean(counts, estimate, held, visible, noise) + self.gate.gain

    @torch.inference_mode()
    def _added(self, seen: Array, numbers: Index, wanted: Index, guide: Guide, noise: NoiseModel) -> Array:
        """What the network would add to the wanted ones of these frames, in units of the noise, shape (n, q, E)."""
        estimate, sigma = guide.frames(numbers), guide.sigma(numbers)
        where = numpy.searchsorted(numbers, numpy.arange(numbers[-1] + 1))

        def frames(ones: Index, rows: slice) -> tuple[Array, Array, Array]:
            at = where[ones]
            return seen[at, rows], estimate[at, rows], sigma[at, rows]

        return self._correction(wanted, numbers, frames, noise)

    def _left_over(self, seen: Array, numbers: Index, guide: Guide, noise: NoiseModel) -> Array:
        """What the guide leaves in whole rows of frames, shape (4, q, E)."""
        z = residual(seen, guide.frames(numbers), guide.sigma(numbers))
        width = self._grid[1]
        rows = numpy.unique(numbers // width)
        grid = numpy.zeros((rows.size * width, *self.frame_shape), numpy.float32)
        grid[numpy.searchsorted(rows, numbers // width) * width + numbers % width] = z
        return left_over(grid.reshape(rows.size, width, *self.frame_shape), noise)

    def _middle_rows(self, known: Index, pixels: int) -> Index:
        """Frames of whole rows from the middle of what is there, so many pixels at most; one row at least."""
        row = self._grid[1]
        most = max(row, pixels // math.prod(self.frame_shape) // row * row)
        start = max(0, (known.size - most) // 2)
        return known[start : start + most]

    def _correction(self, numbers: Index, known: Index, frames: Frames, noise: NoiseModel) -> Array:
        """What the network would add, in units of the noise, shape (n, q, E)."""
        result = numpy.zeros((numbers.size, *self.frame_shape), numpy.float32)
        for piece in pieces(numbers, known, self._grid, frames, self._left, noise):
            found, self._pixels = halving(functools.partial(self._found, piece), self._pixels)
            result[piece.chosen, piece.rows] = found.numpy().reshape(piece.chosen.size, -1, result.shape[2])
        return result

    def _found(self, piece: Piece, pixels: int) -> torch.Tensor:
        """Corrections of a piece, so many pixels at once."""
        with mixed_precision(self._device):
            found = [self._network(own, around).float().cpu() for _, own, around in self._batches(piece, pixels)]
        return torch.cat(found)

    def _batches(self, piece: Piece, pixels: int) -> typing.Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Spectra that go through the network together, on its device."""
        for part in batches(len(piece.own), max(1, pixels // piece.own.shape[2])):
            own, around = (torch.from_numpy(x[part]).to(self._device) for x in (piece.own, piece.around))
            yield part, own, around


def _over_mean(counts: Array, estimate: Array, held: Bool, visible: Bool, noise: NoiseModel) -> float:
    """Log-likelihood per thousand held-out pixels above that of the mean of the visible ones; all (n, q, E)."""
    if not held.any():
        return math.nan
    seen = visible & numpy.isfinite(counts)
    shown = numpy.where(seen, counts, numpy.float32(0.0))
    mean = shown.sum(0) / numpy.maximum(seen.sum(0), 1)
    least = floor(shown.reshape(len(shown), -1), seen.reshape(len(seen), -1)).reshape(mean.shape)
    spread = [numpy.broadcast_to(one, counts.shape)[held] for one in (estimate, mean, least)]
    of_estimate, of_mean = (likelihoods(counts[held], one, noise, spread[2]).mean() for one in spread[:2])
    return float(1000.0 * (of_estimate - of_mean))
