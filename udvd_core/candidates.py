"""This package's models as candidates: fitted on visible pixels only, judged on the others."""

from __future__ import annotations

import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.blind import blind_guide
from udvd_core.noise import NoiseModel
from udvd_core.settings import ScanSpec, Training
from udvd_core.split import Split
from udvd_core.trust import Candidate

Array = numpy.typing.NDArray[numpy.float64]
Counts = numpy.typing.NDArray[numpy.floating]
Bool = numpy.typing.NDArray[numpy.bool_]

SEED = 1
"""Of the pixels that the correction holds out for itself, among those that it may see."""


def candidates(scan_shape: tuple[int, ...], noise: NoiseModel, udvd_s: float = 0.0) -> dict[str, Candidate]:
    """Models by name, each ``(data (n, E), visible (n, E)) -> estimate (n, E)``, counts.

    Parameters
    ----------
    scan_shape : tuple of int
        Positions; n in all.
    noise : NoiseModel
        Of the spectra.
    udvd_s : float
        Seconds that the paper's network may learn; 0 leaves it out.
    """

    def guide(data: Counts, visible: Bool) -> Array:
        counts, shown, numbers = _frames(data, visible)
        fitted = blind_guide(counts, shown, numbers, scan_shape, noise)
        return fitted.frames(numbers)[:, 0].astype(numpy.float64)

    def guided(data: Counts, visible: Bool) -> Array:
        return _corrected(data, visible, scan_shape, noise)

    def udvd(data: Counts, visible: Bool) -> Array:
        return _learned(data, visible, scan_shape, udvd_s)

    found: dict[str, Candidate] = {"guide": guide, "guided": guided}
    return {**found, "udvd": udvd} if udvd_s > 0 else found


def _frames(data: Counts, visible: Bool) -> tuple[numpy.typing.NDArray[numpy.float32], Bool, typing.Any]:
    """Spectra as frames of one row, hidden pixels NaN; visible pixels alike; frame numbers."""
    counts = numpy.where(visible, data, numpy.nan).astype(numpy.float32)[:, None]
    return counts, visible[:, None], numpy.arange(len(data))


def _corrected(data: Counts, visible: Bool, scan_shape: tuple[int, ...], noise: NoiseModel) -> Array:
    """The guide with its correction, tuned and gated on visible pixels alone."""
    import torch

    from udvd_core.correction import weights
    from udvd_core.correction.corrector import Corrector

    counts, shown, numbers = _frames(data, visible)
    fitted = blind_guide(counts, shown, numbers, scan_shape, noise)
    corrector = Corrector(weights.load()[0], scan_shape, (1, data.shape[1]), torch.device("cpu"))
    reach = max([lag for lag, value in enumerate(noise.correlation, 1) if value], default=0)
    corrector.judge(lambda n: counts[n], numbers, noise, Split.guarded(SEED, (0, reach)))
    corrector.adapt(lambda n: counts[n], fitted, numbers, noise)
    corrected = corrector.correct(lambda n: counts[n], fitted, numbers, numbers, noise)
    return corrected[:, 0].astype(numpy.float64)


def _learned(data: Counts, visible: Bool, scan_shape: tuple[int, ...], budget: float) -> Array:
    """The paper's network after some seconds of learning; what is not visible it takes for missing."""
    from udvd_core.session import Session

    counts, _, _ = _frames(data, visible)
    channels = data.shape[1]
    spec = ScanSpec(
        "assess", scan_shape, (1, channels), Axis(channels), training=Training("udvd", budget_s=budget, seed=SEED)
    )
    session, result = Session(spec), numpy.zeros(data.shape)
    try:
        session.push(0, counts)
        session.finish()
        while not session.done:
            for block in session.advance(1.0):
                result[block.start : block.start + len(block.data)] = block.data
    finally:
        session.close()
    return result
