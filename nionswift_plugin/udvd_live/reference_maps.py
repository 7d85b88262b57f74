"""How much of reference spectra every position holds: references are regions that are marked on the scan."""

from __future__ import annotations

import gettext
import typing

import numpy
from nion.swift.model import DataItem, Graphics, Symbolic

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.references import MOST, reference_of_region
from udvd_core.maps.unmix import unmix
from udvd_core.settings import Window

from .averages import region_names
from .map_results import MapResults, create_results, read_spectra
from .map_windows import ends_of
from .scan_errors import scan_of

_ = gettext.gettext

REFERENCES_ID = "udvd.references"
REGIONS = tuple(f"region_{number}" for number in range(1, MOST + 1))
MAPS = tuple(f"map_{number}" for number in range(1, MOST + 1))


class ReferencesComputation(MapResults):
    """Inputs: `scan`; `window`, an interval; `region_1` and so on. Results: `map_1` and so on, with their sigmas."""

    label = _("UDVD References")
    inputs: typing.ClassVar = {
        "scan": {"label": _("Spectrum Image")},
        "window": {"label": _("Energy Loss")},
        **{name: {"label": f"Reference {number}"} for number, name in enumerate(REGIONS, 1)},
    }
    outputs: typing.ClassVar = {name: {"label": f"Map {number}"} for number, name in enumerate(MAPS, 1)}

    def execute(self, **kwargs: typing.Any) -> None:
        """Take every spectrum apart; references that cannot be told apart become the computation's error."""
        given = self._computation._computation
        scan, window = given.get_input("scan"), given.get_input("window")
        found = {key: given.get_input(name) for key, name in zip(MAPS, REGIONS, strict=True) if name in kwargs}
        regions = {key: region for key, region in found.items() if region is not None}
        ends = ends_of(window, scan_of(scan)[1])
        data = read_spectra(scan, lambda energy: _channels(energy, ends))
        if len(data.shape) != 2:
            raise InputError(f"{scan.title!r} has no rows and columns to mark regions on; select a spectrum image")
        masks = [region.get_mask(data.shape) > 0 for region in regions.values()]
        names = region_names(list(regions.values()))
        references = [
            reference_of_region(name, data.values, data.energy, mask.reshape(-1))
            for name, mask in zip(names, masks, strict=True)
        ]
        amounts = unmix(data.values, data.energy, references, data.known)
        sigma = numpy.full_like(amounts.sigma, numpy.nan) if data.known is None else amounts.sigma
        for row, (key, name, mask) in enumerate(zip(regions, names, masks, strict=True)):
            caption = f"1 is as much as the mean spectrum of {name!r}, {mask.sum()} positions, whose error is in sigma."
            facts = {**data.facts(caption), "references": names, "window": ends}
            facts["independent"] = False  # the references' errors are the same everywhere
            values, error = (each[row].reshape(data.shape) for each in (amounts.amplitudes, sigma))
            self.put(key, scan, name, "ref.", values, error, facts)


def create_references(
    document_model: typing.Any,
    scan: DataItem.DataItem,
    window: Graphics.IntervalGraphic,
    regions: typing.Sequence[Graphics.Graphic],
) -> list[DataItem.DataItem]:
    """Make an item for each region, with the computation that fills them; on the main thread."""
    computation = document_model.create_computation()
    computation.create_input_item("scan", Symbolic.make_item(scan))
    computation.create_input_item("window", Symbolic.make_item(window))
    for name, region in zip(REGIONS, regions, strict=False):
        computation.create_input_item(name, Symbolic.make_item(region))
    computation.processing_id = REFERENCES_ID
    names = dict(zip(MAPS, region_names(regions), strict=False))
    return create_results(document_model, computation, scan, names)


def _channels(energy: Axis, ends: Window) -> tuple[slice, Axis]:
    part = energy.window(*ends)
    return part, Axis(part.stop - part.start, energy.offset + energy.scale * part.start, energy.scale, "eV", "E")


def register() -> None:
    """Let Swift make such maps, also those of projects that it opens."""
    Symbolic.register_computation_type(REFERENCES_ID, typing.cast(typing.Any, ReferencesComputation))


def unregister() -> None:
    """Take it back."""
    Symbolic._computation_types.pop(REFERENCES_ID, None)
