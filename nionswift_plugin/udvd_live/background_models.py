"""Background models by Poisson likelihood for Nion's own EELS menus and computations.

Nion's tools find them in its registry beside its own models. They hand over energies and counts only, so the
noise is taken to be that of counted electrons; sigma is a matter of `udvd_core.maps.core_loss`. Several fit
intervals are fitted jointly; drawn on both sides of a signal they make a double window.
"""

from __future__ import annotations

import typing

import numpy
import numpy.typing
from nion.eels_analysis import BackgroundModel
from nion.swift.model import Schema
from nion.utils import Registry

from udvd_core.maps.background import Background
from udvd_core.maps.families import FAMILIES, Family

Array = numpy.typing.NDArray[typing.Any]

ROLE = "background-model"
OFFERED = ("power_law", "exponential", "linear")
CHUNK = 1 << 20  # values that are worked on at once


class PoissonBackgroundModel(BackgroundModel.AbstractBackgroundModel):  # type: ignore[misc]
    """One of `udvd_core.maps.families.FAMILIES` as Nion's tools want it."""

    def __init__(self, name: str, family: Family) -> None:
        super().__init__(f"{name}_poisson_background_model", f"{family.title} (Poisson)")
        self.package_title = "UDVD"
        self._family = family

    def _perform_fits(self, xs: Array, yss: Array, fs: Array, es: Array | None) -> Array:
        """Backgrounds ``(m, n)`` at energies `fs` ``(n,)`` of counts `yss` ``(m, L)`` at energies `xs` ``(L,)``.

        Runs on a thread of Nion's computations. `es`, the spectrum that is shown, would only be a start for the fit.
        """
        background = Background(self._family, xs, fs)
        result = numpy.empty((len(yss), fs.size), dtype=numpy.float32)
        rows = max(CHUNK // max(fs.size, xs.size, 1), 1)
        for start in range(0, len(yss), rows):
            result[start : start + rows] = background.fit(yss[start : start + rows]).counts
        return result


_models = [PoissonBackgroundModel(name, FAMILIES[name]) for name in OFFERED]


def register() -> None:
    """Offer the models to Nion's tools."""
    for model in _models:
        Registry.register_component(model, {ROLE})


def unregister() -> None:
    """Take them back."""
    for model in _models:
        Registry.unregister_component(model)
        if Schema.get_entity_type(model.background_model_id) is not None:  # Nion's tools made it and leave it behind
            Schema.unregister_entity_type(model.background_model_id)
