"""The guide of a scan: everything that its frames have in common, found without a truth and without a network.

Main path: scale the counts to unit noise (`whiten`), find the components beyond the edge of noise, refine maps
and spectra in turn (`factors`), then look for weaker ones where they live (`search`) until none is left.
"""

from __future__ import annotations

import numpy
import numpy.typing
import scipy.linalg

from udvd_core.lowrank.coarse import Coarse
from udvd_core.lowrank.edge import noise_edge
from udvd_core.lowrank.factors import nothing, refine
from udvd_core.lowrank.residual import Residual, residual
from udvd_core.lowrank.scaled import Scaled
from udvd_core.lowrank.search import find_component
from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]

MARGIN = 1.02
"""Singular values above the edge of noise by this factor are signal."""
MOST_COMPONENTS = 24
MOST_FOUND = 6
"""Components that are looked for below the edge."""
ROUNDS = 2


class LowRankFit:
    """A low-rank estimate of a scan that improves step by step.

    Parameters
    ----------
    scaled : Scaled
        Counts in units of their noise.
    noise : NoiseModel
        Its correlation between channels and rows.
    least : int
        1 where there is always a component, the mean; 0 where all may be known already.

    Notes
    -----
    Cost: ``frames x columns^2`` once for the covariance of the columns, then ``frames x pixels x rank`` a dozen
    times, each step a third of it.
    """

    def __init__(self, scaled: Scaled, noise: NoiseModel, least: int = 1) -> None:
        self.scaled, self._noise, self._least = scaled, noise, least
        self._coarse = Coarse.of(scaled.variance, scaled.spread, noise)
        self._searches = 0
        self.settled = False
        self.residual: Residual | None = None
        """Of spectra, once settled: weaker components are then part of their errors."""
        self._nothing = False
        self.factors = refine(scaled, self._beyond_noise(), noise, ROUNDS)
        if self._nothing:
            self.factors = nothing(self.factors)

    def step(self) -> None:
        """Look for one more component below the edge of noise; `settled` when there is none."""
        found = None if self._searches >= MOST_FOUND else find_component(self.scaled, self.factors, self._coarse)
        if found is None:
            self.settled = True
            spectra = self.scaled.frame_shape[0] == 1
            self.residual = residual(self.scaled, self.factors, self._noise) if spectra else None
            return
        self._searches += 1
        known = [] if self._nothing else [self.factors.loadings]
        self._nothing = False
        loadings: Array = numpy.column_stack((*known, found))
        self.factors = refine(self.scaled, loadings, self._noise, ROUNDS)

    def _beyond_noise(self) -> Array:
        """Raw loadings (known, r) of the components beyond the edge of noise, at least one."""
        columns = self._coarse.shape[0] * self._coarse.shape[1]
        gram = numpy.zeros((columns, columns))
        for _, rows in self.scaled.blocks():
            part = self._coarse.rows(rows)
            gram += part.T @ part
        edge, _ = noise_edge(self.scaled.place.numbers.size, self._coarse.powers)
        first = max(0, columns - MOST_COMPONENTS)
        values, vectors = scipy.linalg.eigh(gram, subset_by_index=(first, columns - 1))
        beyond = int((values > MARGIN**2 * edge).sum())
        self._nothing, rank = self._least == 0 and beyond == 0, max(1, beyond)
        basis = vectors[:, ::-1][:, :rank].astype(numpy.float32)
        return numpy.concatenate(
            [(self._coarse.rows(rows) @ basis).astype(numpy.float64) for _, rows in self.scaled.blocks()]
        )
