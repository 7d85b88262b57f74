"""Up to three maps in one picture: each in its colour, grey where none of them is sure."""

from __future__ import annotations

import gettext
import math
import typing

import numpy
import numpy.typing
from nion.data import DataAndMetadata
from nion.swift import Facade
from nion.swift.model import DataItem, Symbolic

from udvd_core.errors import InputError

from .maps_computation import MAP, SIGMA, array_of, base_title, create_item, extended
from .scan_item import OURS

_ = gettext.gettext

VIEW_ID = "udvd.map_view"
MAP_INPUTS = ("map_1", "map_2", "map_3")
SIGNIFICANCE = 3.0
COLOURS = {"orange": (230, 159, 0), "sky blue": (86, 180, 233), "bluish green": (0, 158, 115)}
"""Red, green, blue; told apart by all kinds of colour vision (Okabe and Ito)."""
GREY = 50
FULL_PERCENTILE = 99.5
DARKEST = 0.15  # of the HAADF image, so that maps are seen there, too

Array = numpy.typing.NDArray[typing.Any]
Bytes = numpy.typing.NDArray[numpy.uint8]


class MapViewComputation:
    """Inputs: one to three maps, `significance`, `over_haadf`. Result: `view`, an RGB image.

    Each map is an input of its own: Swift cannot delete what is left when one of a list of items has gone. Sigmas and
    HAADF image are looked up, so that nothing goes with them.
    """

    label = _("UDVD Maps with Significance")
    inputs: typing.ClassVar = {
        "map_1": {"label": _("Map 1")},
        "map_2": {"label": _("Map 2")},
        "map_3": {"label": _("Map 3")},
        "significance": {"label": _("Grey below Sigmas")},
        "over_haadf": {"label": _("Over HAADF")},
    }
    outputs: typing.ClassVar = {"view": {"label": _("View")}}

    def __init__(self, computation: Facade.Computation, **kwargs: typing.Any) -> None:
        self._computation = computation
        self._view: DataAndMetadata.DataAndMetadata | None = None

    def execute(self, significance: float, over_haadf: bool, **kwargs: typing.Any) -> None:
        """Compose the picture."""
        given = self._computation._computation
        maps = [given.get_input(name) for name in MAP_INPUTS if name in kwargs]
        library = maps[0].project.data_items
        pictures = [array_of(each) for each in maps]
        if {picture.ndim for picture in pictures} != {2} or len({picture.shape for picture in pictures}) > 1:
            raise InputError("the maps are not images of one shape, or not made yet; select maps of one scan")
        known = [sigma_of(each, library) for each in maps]
        haadf = haadf_of(maps[0], library) if over_haadf else None
        light = None if haadf is None else array_of(haadf)
        rgb, full = compose(pictures, known, significance, light)
        caption = describe(maps, known, full, significance, light is not None)
        if over_haadf and light is None:
            caption += "\nNo image of the same scan is in this project."
        self._view = DataAndMetadata.new_data_and_metadata(
            rgb,
            dimensional_calibrations=list(maps[0].dimensional_calibrations),
            metadata={OURS: {"kind": "view", "caption": caption}},
        )

    def commit(self) -> None:
        """Hand it over, with what its colours mean."""
        item = self._computation._computation.get_output("view")
        if self._view is not None and item is not None:
            self._computation.set_referenced_xdata("view", self._view)
            if item.caption != (caption := self._view.metadata[OURS]["caption"]):
                item.caption = caption


def compose(
    maps: typing.Sequence[Array], sigmas: typing.Sequence[Array | None], significance: float, light: Array | None
) -> tuple[Bytes, list[float]]:
    """Colour up to three maps into one picture.

    Parameters
    ----------
    maps : sequence of array, shape (y, x), counts
        Each adds its colour, the brighter the more counts; nothing below zero.
    sigmas : sequence of array or None
        Their standard errors, shape (y, x); None or NaN where not known, and nothing can be told to be noise.
    significance : float
        A map shows where it is at least so many sigmas.
    light : array, shape (y, x), or None
        An image that gives the brightness, in grey where no map shows.

    Returns
    -------
    rgb : array, shape (y, x, 3), uint8
        In Swift's order: blue, green, red.
    full : list of float
        Counts at which each colour is full; NaN for a map that shows nowhere.
    """
    shape = maps[0].shape
    colours = numpy.array(list(COLOURS.values())[: len(maps)], dtype=float)
    colours *= min(255.0 / colours.sum(axis=0).max(), 1.0)  # all of them full is no more than white
    colour, covered, full = numpy.zeros((*shape, 3)), numpy.zeros(shape), []
    shown = numpy.zeros(shape, bool)
    for values, sigma, rgb in zip(maps, sigmas, colours, strict=True):
        sure = numpy.isfinite(values) & (values > 0)
        if sigma is not None:
            with numpy.errstate(invalid="ignore"):  # an infinite sigma times 0
                sure &= ~(values < significance * sigma)  # not by ">=": NaN is not known
        top = float(numpy.percentile(values[sure], FULL_PERCENTILE)) if sure.any() else math.nan
        part = numpy.where(sure, numpy.minimum(values / top, 1.0), 0.0) if sure.any() else numpy.zeros(shape)
        colour += part[..., None] * rgb
        covered = numpy.maximum(covered, part)
        shown |= sure
        full.append(top)
    if light is None:
        picture = numpy.where(shown[..., None], colour, float(GREY))
    else:
        picture = _brightness(light)[..., None] * (colour + (1.0 - covered[..., None]) * 200.0)
    return numpy.clip(picture, 0, 255).astype(numpy.uint8)[..., ::-1].copy(), full


def describe(
    maps: typing.Sequence[DataItem.DataItem],
    sigmas: typing.Sequence[Array | None],
    full: typing.Sequence[float],
    significance: float,
    over_haadf: bool,
) -> str:
    """What the colours of a picture mean, a line for each map and one for grey."""
    lines, unknown = [], []
    for item, sigma, top, colour in zip(maps, sigmas, full, COLOURS, strict=False):
        name = name_of(item)
        units = item.intensity_calibration.units if item.intensity_calibration else ""
        shows = f"full at {top:,.4g} {units or 'counts'}" if math.isfinite(top) else "nowhere significant"
        lines.append(f"{colour.capitalize()}: {name}, {shows}.")
        if sigma is None or not numpy.isfinite(sigma).any():
            unknown.append(name)
    grey = "Grey, as HAADF" if over_haadf else "Grey"
    lines.append(f"{grey}: no map reaches {significance:g} sigma.")
    if unknown:
        lines.append(f"Sigma not known, shown wherever above zero: {', '.join(unknown)}.")
    return "\n".join(lines)


def sigma_of(item: DataItem.DataItem, library: typing.Iterable[DataItem.DataItem]) -> Array | None:
    """Standard error of a map from among these items: the one of the same computation; None where there is none."""
    for each in list(library):
        if is_sigma_of(each, item):
            found = array_of(each)
            return found if found.shape == item.data_shape else None
    return None


def is_sigma_of(sigma: DataItem.DataItem, item: DataItem.DataItem) -> bool:
    """Whether one computation made both."""
    ours, theirs = item.metadata.get(OURS, {}), sigma.metadata.get(OURS, {})
    made_by = ours.get("computation")
    return made_by is not None and theirs.get("kind") == SIGMA and theirs.get("computation") == made_by


def is_map(item: DataItem.DataItem | None) -> bool:
    """Whether an item is a map of ours."""
    return item is not None and item.metadata.get(OURS, {}).get("kind") == MAP


def name_of(item: DataItem.DataItem) -> str:
    """What a map shows."""
    return str(item.metadata.get(OURS, {}).get("map", {}).get("name") or item.title)


def haadf_of(item: DataItem.DataItem, library: typing.Iterable[DataItem.DataItem]) -> DataItem.DataItem | None:
    """The HAADF image, or another image, that was recorded in the same scan as a map."""
    same = _scan_marks(item)
    found = [
        each
        for each in list(library)
        if OURS not in each.metadata and each.data_shape == item.data_shape and same & _scan_marks(each)
    ]
    return next((each for each in found if "HAADF" in each.title), found[0] if found else None)


def create_view(
    document_model: typing.Any, maps: typing.Sequence[DataItem.DataItem], significance: float = SIGNIFICANCE
) -> DataItem.DataItem:
    """Make the item of a picture, with the computation that fills it; on the main thread.

    Parameters
    ----------
    maps : sequence of DataItem
        One to three maps of one scan.
    """
    title = extended(base_title(maps[0]), f"{' + '.join(map(name_of, maps))} significance")
    view = create_item(document_model, maps[0], {"kind": "view"}, title)
    computation = document_model.create_computation()
    for name, item in zip(MAP_INPUTS, maps, strict=False):
        computation.create_input_item(name, Symbolic.make_item(item))
    kinds = Symbolic.ComputationVariableType
    computation.create_variable("significance", value_type=kinds.REAL, value=significance)
    computation.create_variable("over_haadf", value_type=kinds.BOOLEAN, value=False)
    computation.processing_id = VIEW_ID
    computation.create_output_item("view", Symbolic.make_item(view))
    document_model.append_computation(computation)
    return view


def _brightness(light: Array) -> Array:
    """An image between its darkest and its brightest parts as factors up to 1."""
    low, high = (float(each) for each in numpy.nanpercentile(light, (1, 99)))
    relative = numpy.clip((light - low) / (high - low), 0, 1) if high > low else numpy.ones(light.shape)
    return numpy.nan_to_num(DARKEST + (1 - DARKEST) * relative, nan=DARKEST)


def _scan_marks(item: DataItem.DataItem) -> set[tuple[str, str]]:
    """What items of one scan have in common: Swift's scan id; the number of the acquisition within the project."""
    metadata = item.metadata
    scan = metadata.get("scan") or metadata.get("source_metadata", {}).get("scan", {})
    marks = {
        "scan": scan.get("scan_id"),
        "number": item.session_metadata.get("project_acquisition_index"),
    }
    return {(key, str(value)) for key, value in marks.items() if value}


def register() -> None:
    """Let Swift make such pictures, also those of projects that it opens."""
    Symbolic.register_computation_type(VIEW_ID, typing.cast(typing.Any, MapViewComputation))


def unregister() -> None:
    """Take it back."""
    Symbolic._computation_types.pop(VIEW_ID, None)
