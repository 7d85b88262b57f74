"""Averages of a map over its columns or over regions that are marked on it, with their errors."""

from __future__ import annotations

import gettext
import typing

import numpy
import numpy.typing
from nion.data import Calibration, DataAndMetadata
from nion.swift import Facade
from nion.swift.model import DataItem, Graphics, Symbolic

from udvd_core.errors import InputError

from .map_view import name_of, sigma_of
from .maps_computation import array_of, base_title, create_item, extended
from .scan_item import OURS

_ = gettext.gettext

AVERAGES_ID = "udvd.averages"
REGIONS = ("rect-graphic", "ellipse-graphic")
LAYERS = (
    {"data_row": 2, "label": "+ sigma", "fill_color": None, "stroke_color": "#222", "stroke_width": 1.5},
    {"data_row": 1, "label": "\N{MINUS SIGN} sigma", "fill_color": None, "stroke_color": "#222", "stroke_width": 1.5},
    {"data_row": 0, "label": "Average", "fill_color": "#1E90FF"},
)
"""How the rows of the result are drawn, the foremost first."""
INDEPENDENT = "Sigma: the errors of positions are independent, so it falls with the root of their number."
SHARED = (
    "Sigma is an upper limit, the mean of the sigmas: positions share errors, of denoising or of a ratio of lines, so"
    " that it may not fall with their number."
)
UNKNOWN = "Sigma is not known."

Array = numpy.typing.NDArray[typing.Any]
Doubles = numpy.typing.NDArray[numpy.float64]
Masks = numpy.typing.NDArray[numpy.bool_]


class AveragesComputation:
    """Inputs: `map`, `sigmas` (one or none), `regions` (else columns). Result: `averages`, minus and plus sigma."""

    label = _("UDVD Averages of Map")
    inputs: typing.ClassVar = {
        "map": {"label": _("Map")},
        "regions": {"label": _("Regions")},
    }
    outputs: typing.ClassVar = {"averages": {"label": _("Averages")}}

    def __init__(self, computation: Facade.Computation, **kwargs: typing.Any) -> None:
        self._computation = computation
        self._averages: DataAndMetadata.DataAndMetadata | None = None

    def execute(self, **kwargs: typing.Any) -> None:
        """Average."""
        given = self._computation._computation
        item: DataItem.DataItem = given.get_input("map")
        regions = [each for each in given.get_input("regions") if each is not None]
        values = array_of(item)
        if values.ndim != 2:
            raise InputError(f"{item.title!r} is no image; select a map with rows and columns")
        if regions:
            masks = numpy.stack([region.get_mask(values.shape) > 0 for region in regions])
            axis, names = Calibration.Calibration(1.0, 1.0), region_names(regions)
        else:
            masks = numpy.zeros((values.shape[1], *values.shape), bool)
            masks[numpy.arange(len(masks)), :, numpy.arange(len(masks))] = True
            axis, names = item.dimensional_calibrations[1], [f"Column {n}" for n in range(len(masks))]
        independent = bool(item.metadata.get(OURS, {}).get("independent"))
        found = region_sigma(values, sigma_of(item, item.project.data_items), masks, independent)
        units = item.intensity_calibration.units if item.intensity_calibration else ""
        note = INDEPENDENT if independent else SHARED
        lines = [
            f"{name} ({mask.sum()} positions): {average:,.4g} \N{PLUS-MINUS SIGN} {error:,.3g} {units}"
            for name, mask, average, error in zip(names, masks, *found, strict=True)
        ]
        if not numpy.isfinite(found[1]).any():
            note, lines = UNKNOWN, [line.replace(" \N{PLUS-MINUS SIGN} nan", "") for line in lines]
        average, error = found
        self._averages = DataAndMetadata.new_data_and_metadata(
            numpy.stack((average, average - error, average + error)).astype(numpy.float32),
            intensity_calibration=item.intensity_calibration,
            dimensional_calibrations=[Calibration.Calibration(), axis],
            metadata={OURS: {"kind": "averages", "caption": "\n".join([*(lines if regions else []), note])}},
            data_descriptor=DataAndMetadata.DataDescriptor(False, 0, 2),
        )

    def commit(self) -> None:
        """Hand them over; the caption tells the averages of regions in numbers."""
        item = self._computation._computation.get_output("averages")
        if self._averages is not None and item is not None:
            self._computation.set_referenced_xdata("averages", self._averages)
            if item.caption != (caption := self._averages.metadata[OURS]["caption"]):
                item.caption = caption


def region_sigma(values: Array, sigma: Array | None, masks: Masks, independent: bool) -> tuple[Doubles, Doubles]:
    """Averages over sets of positions, and their standard errors.

    Parameters
    ----------
    values, sigma : array, shape (y, x), counts
        The map and its standard error, None or NaN where that is not known. A position whose value is missing has an
        infinite one and is left out.
    masks : array, shape (sets, y, x), bool
        Which positions each set has.
    independent : bool
        Whether positions share no errors, as those of a raw scan. Where they do, how much is not known from the
        map, and what comes is what it would be at most: the mean of the sigmas (by Cauchy and Schwarz).

    Returns
    -------
    averages, errors : array, shape (sets,)
        Errors are NaN where they are not known.

    Raises
    ------
    InputError
        When a set has no position.
    """
    known = numpy.full(values.shape, numpy.nan) if sigma is None else sigma.astype(numpy.float64)
    there = masks & numpy.isfinite(values) & ~numpy.isinf(known)
    numbers = there.sum((1, 2))
    if not numbers.all():
        raise InputError(
            f"region {int(numpy.argmin(numbers)) + 1} of {len(masks)} has no position of the map; move it or make it"
            " larger"
        )
    averages = numpy.where(there, values, 0.0).sum((1, 2)) / numbers
    if independent:
        return averages, numpy.sqrt(numpy.where(there, known**2, 0.0).sum((1, 2))) / numbers
    return averages, numpy.where(there, known, 0.0).sum((1, 2)) / numbers


def region_names(regions: typing.Sequence[Graphics.Graphic]) -> list[str]:
    """Labels of regions, or their numbers."""
    return [(region.label or "").strip() or f"Region {number}" for number, region in enumerate(regions, 1)]


def create_averages(
    document_model: typing.Any, item: DataItem.DataItem, regions: typing.Sequence[Graphics.Graphic]
) -> DataItem.DataItem:
    """Make the item of averages, with the computation that fills it, shown as a line plot; on the main thread."""
    title = extended(base_title(item), f"{name_of(item)} {'regions' if regions else 'columns'}")
    result = create_item(document_model, item, {"kind": "averages"}, title)
    display = document_model.get_display_item_for_data_item(result)
    display.display_type = "line_plot"
    display._set_display_layer_properties(0, **LAYERS[0])
    for layer in LAYERS[1:]:
        display._add_display_layer_for_data_item(result, **layer)
    display.set_display_property("legend_position", "outer-right")
    computation = document_model.create_computation()
    computation.create_input_item("map", Symbolic.make_item(item))
    computation.create_input_item("regions", Symbolic.make_item_list(list(regions)))
    computation.processing_id = AVERAGES_ID
    computation.create_output_item("averages", Symbolic.make_item(result))
    document_model.append_computation(computation)
    return result


def register() -> None:
    """Let Swift make such averages, also those of projects that it opens."""
    Symbolic.register_computation_type(AVERAGES_ID, typing.cast(typing.Any, AveragesComputation))


def unregister() -> None:
    """Take it back."""
    Symbolic._computation_types.pop(AVERAGES_ID, None)
