"""Maps of a line as computations of Swift: position and width, shift from a region, the ratio of two lines."""

from __future__ import annotations

import gettext
import typing

import numpy
from nion.swift.model import DataItem, Graphics, Symbolic

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.line_maps import DENOISED, clearest_line, line_maps, ratio_map, shift_map, surroundings
from udvd_core.noise import NoiseModel
from udvd_core.settings import Window

from .averages import region_names
from .map_results import MapResults, Spectra, create_results, read_spectra
from .map_view import sigma_of
from .map_windows import ends_of
from .maps_computation import array_of
from .scan_errors import read, scan_of

_ = gettext.gettext

LINE_ID, RATIO_ID, SHIFT_ID = "udvd.line", "udvd.line_ratio", "udvd.line_shift"
REGIONS = tuple(f"region_{number}" for number in range(1, 7))
"""Inputs for regions, each of its own: Swift cannot delete what is left when one of a list has gone."""
COLOUR = "#F0F"
SAMPLE = 64
"""Spectra in the middle of the scan that a window is proposed from."""
MARGIN = 1.5  # widths of the line that a proposed window has on either side
FEWEST = 8  # channels that it has there
COMMON = (
    "Positions may all be off by the same amount, about 0.1 eV where the line is not Gaussian: compare positions,"
    " or map the shift from a region. Sigma is infinite where the line is not clear."
)


class LineComputation(MapResults):
    """Inputs: `scan`; `window`, an interval; `step`. Results: `position`, `width`, eV, with their sigmas."""

    label = _("UDVD Line Position and Width")
    inputs: typing.ClassVar = {
        "scan": {"label": _("Spectrum Image")},
        "window": {"label": _("Line")},
        "step": {"label": _("Background Steps up at Line")},
    }
    outputs: typing.ClassVar = {key: {"label": key} for key in ("position", "width")}

    def execute(self, step: bool, **kwargs: typing.Any) -> None:
        """Fit the line at every position; what is wrong with its window becomes the computation's error."""
        scan, window = (self._computation._computation.get_input(name) for name in ("scan", "window"))
        ends = ends_of(window, scan_of(scan)[1])
        data = read_spectra(scan, lambda energy: surroundings(energy, ends))
        for each in line_maps(data.values, data.energy, ends, data.known, step=step):
            facts = {**data.facts(_note(COMMON if each.name == "position" else "", data)), "line": ends, "step": step}
            values, sigma = each.values.reshape(data.shape), each.sigma.reshape(data.shape)
            self.put(each.name, scan, _label(window, each.name), each.units, values, sigma, facts)


class RatioComputation(MapResults):
    """Inputs: `scan`; `window`, an interval; `line_1`, `line_2`, channels. Results: `ratio` and its sigma."""

    label = _("UDVD White-Line Ratio")
    inputs: typing.ClassVar = {
        "scan": {"label": _("Spectrum Image")},
        "window": {"label": _("Lines")},
        "line_1": {"label": _("Line 1")},
        "line_2": {"label": _("Line 2")},
    }
    outputs: typing.ClassVar = {"ratio": {"label": _("Ratio")}}

    def execute(self, **kwargs: typing.Any) -> None:
        """Fit both lines at every position."""
        names = ("scan", "window", "line_1", "line_2")
        scan, window, one, two = (self._computation._computation.get_input(name) for name in names)
        energy = scan_of(scan)[1]
        ends = ends_of(window, energy)
        places = (_place(one, energy), _place(two, energy))
        data = read_spectra(scan, lambda energy: surroundings(energy, ends))
        found = ratio_map(data.values, data.energy, ends, places, data.known)
        labels = [
            (each.label or "").strip() or f"{place:.4g} eV" for each, place in zip((one, two), places, strict=True)
        ]
        values, sigma = (each.reshape(data.shape) for each in (found.values, found.sigma))
        caption = (
            f"Counts of the line near {places[0]:.4g} eV by those of the line near {places[1]:.4g} eV, each on a step"
            " of the background. 0, with infinite sigma, where they are not clear."
        )
        facts = {**data.facts(_note(caption, data)), "line": ends, "lines": places}
        self.put("ratio", scan, f"{labels[0]} by {labels[1]}", "", values, sigma, facts)


class ShiftComputation(MapResults):
    """Inputs: `position`, a map of a line; regions on it. Results: `shift` from their mean, eV, and its sigma."""

    label = _("UDVD Line Shift")
    inputs: typing.ClassVar = {
        "position": {"label": _("Line Position")},
        **{name: {"label": f"Region {number}"} for number, name in enumerate(REGIONS, 1)},
    }
    outputs: typing.ClassVar = {"shift": {"label": _("Shift")}}

    def execute(self, **kwargs: typing.Any) -> None:
        """Take the mean position in the regions, or that of the whole scan, off the map."""
        given = self._computation._computation
        item = given.get_input("position")
        regions = [region for name in REGIONS if name in kwargs and (region := given.get_input(name)) is not None]
        values, sigma = array_of(item), sigma_of(item, item.project.data_items)
        if values.ndim != 2 or sigma is None:
            raise InputError(f"{item.title!r} is no map of a line's position, or not made yet; select one")
        mask = numpy.ones(values.shape, numpy.bool_)
        if regions:
            mask = numpy.any([region.get_mask(values.shape) > 0 for region in regions], axis=0)
        shift, error = shift_map(values.astype(numpy.float64), sigma.astype(numpy.float64), mask)
        ours = item.metadata.get("udvd", {})
        origin = ", ".join(region_names(regions)) or "the whole scan"
        facts = {key: ours[key] for key in ("sigma", "line", "step") if key in ours}
        facts |= {
            "independent": False,
            "caption": f"Shift from the mean position in {origin}, whose error is in sigma.",
        }
        name = str(ours.get("map", {}).get("name", "")).replace("position", "shift") or "shift"
        self.put("shift", item, name, "eV", shift, error, facts)


def create_line(
    document_model: typing.Any, scan: DataItem.DataItem, window: Graphics.IntervalGraphic, step: bool = False
) -> list[DataItem.DataItem]:
    """Make the items of a line's position and width, with the computation that fills them; on the main thread."""
    computation = document_model.create_computation()
    computation.create_input_item("scan", Symbolic.make_item(scan))
    computation.create_input_item("window", Symbolic.make_item(window))
    computation.create_variable("step", value_type=Symbolic.ComputationVariableType.BOOLEAN, value=step)
    computation.processing_id = LINE_ID
    names = {key: _label(window, key) for key in LineComputation.outputs}
    return create_results(document_model, computation, scan, names)


def create_ratio(
    document_model: typing.Any,
    scan: DataItem.DataItem,
    window: Graphics.IntervalGraphic,
    lines: tuple[Graphics.ChannelGraphic, Graphics.ChannelGraphic],
) -> list[DataItem.DataItem]:
    """Make the item of the ratio of two lines, with the computation that fills it; on the main thread."""
    computation = document_model.create_computation()
    computation.create_input_item("scan", Symbolic.make_item(scan))
    computation.create_input_item("window", Symbolic.make_item(window))
    for name, each in zip(("line_1", "line_2"), lines, strict=True):
        computation.create_input_item(name, Symbolic.make_item(each))
    computation.processing_id = RATIO_ID
    return create_results(document_model, computation, scan, {"ratio": "ratio"})


def create_shift(
    document_model: typing.Any, position: DataItem.DataItem, regions: typing.Sequence[Graphics.Graphic]
) -> list[DataItem.DataItem]:
    """Make the item of a line's shift from regions, with the computation that fills it; on the main thread."""
    computation = document_model.create_computation()
    computation.create_input_item("position", Symbolic.make_item(position))
    for name, region in zip(REGIONS, regions, strict=False):
        computation.create_input_item(name, Symbolic.make_item(region))
    computation.processing_id = SHIFT_ID
    return create_results(document_model, computation, position, {"shift": "shift"})


def interval(ends: Window, energy: Axis, label: str) -> Graphics.IntervalGraphic:
    """A window to be drawn on a spectrum, eV."""
    graphic = Graphics.IntervalGraphic()
    low, high = sorted((end - energy.offset) / energy.scale / energy.size for end in ends)
    graphic.interval = (max(low, 0.0), min(high, 1.0))
    graphic.label, graphic.graphic_id, graphic.stroke_color = label, "line", COLOUR
    return graphic


def channel(place: float, energy: Axis, label: str) -> Graphics.ChannelGraphic:
    """A line to be drawn on a spectrum, eV."""
    graphic = Graphics.ChannelGraphic()
    graphic.position = (place - energy.offset) / energy.scale / energy.size
    graphic.label, graphic.stroke_color = label, COLOUR
    return graphic


def propose(scan: DataItem.DataItem) -> tuple[Window, tuple[float, float]]:
    """A window around the clearest line of spectra in the middle of a scan, and places for two lines in it, eV.

    Something to begin with, which the operator drags to the line that is meant.
    """
    layout, energy = scan_of(scan)
    first = max(layout.count - SAMPLE, 0) // 2
    with scan.data_ref():
        spectrum = read(scan, layout, first, min(first + SAMPLE, layout.count)).sum(0, dtype=numpy.float64)
    place, fwhm = clearest_line(spectrum, energy)
    low, high = sorted((float(energy.values()[0]), float(energy.values()[-1])))
    half = min(max(MARGIN * fwhm, FEWEST * abs(energy.scale)), (high - low) / 4)
    middle = min(max(place, low + half), high - half)
    return (middle - half, middle + half), (place, place + half / 2)


def _place(graphic: Graphics.ChannelGraphic, energy: Axis) -> float:
    return float(energy.offset + energy.scale * energy.size * graphic.position)


def _note(caption: str, data: Spectra) -> str:
    """The caption, with what sigma does not hold of denoised spectra."""
    if data.known is None or isinstance(data.known, NoiseModel):
        return caption
    return f"{caption} {DENOISED[0].upper()}{DENOISED[1:]}.".strip()


def _label(window: Graphics.IntervalGraphic, name: str) -> str:
    return f"{(window.label or '').strip() or 'Line'} {name}"


def register() -> None:
    """Let Swift make such maps, also those of projects that it opens."""
    for name, kind in ((LINE_ID, LineComputation), (RATIO_ID, RatioComputation), (SHIFT_ID, ShiftComputation)):
        Symbolic.register_computation_type(name, typing.cast(typing.Any, kind))


def unregister() -> None:
    """Take it back."""
    for name in (LINE_ID, RATIO_ID, SHIFT_ID):
        Symbolic._computation_types.pop(name, None)
