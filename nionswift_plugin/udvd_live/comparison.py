"""Raw and denoised spectrum of one position in one plot, with the sigma of the denoised one and a mean of raw frames.

One point on the raw and on the denoised spectrum image, linked, so that moving either moves both.
"""

from __future__ import annotations

import gettext
import math
import typing

import numpy
import numpy.typing
from nion.data import Calibration, DataAndMetadata
from nion.swift import Facade
from nion.swift.model import Connection, DataItem, Graphics, Symbolic

from udvd_core.errors import InputError

from . import uncertainties
from .maps_computation import base_title, create_item, extended
from .pairs import Pair
from .scan_errors import read, scan_of
from .scan_item import OURS, ScanLayout

_ = gettext.gettext

COMPARISON_ID = "udvd.comparison"
COMPARISON = "comparison"
NEIGHBOURS = 25
RAW, DENOISED, LOW, HIGH, MEAN = range(5)
"""Rows of the result."""
LAYERS: tuple[dict[str, typing.Any], ...] = (
    {"data_row": DENOISED, "label": "Denoised", "stroke_color": "#0050C8", "stroke_width": 2},
    {"data_row": HIGH, "label": "+ sigma", "stroke_color": "#6CB4F0", "stroke_width": 1},
    {"data_row": LOW, "label": "\N{MINUS SIGN} sigma", "stroke_color": "#6CB4F0", "stroke_width": 1},
    {"data_row": MEAN, "label": "Raw, mean around", "stroke_color": "#E69F00", "stroke_width": 1},
    {"data_row": RAW, "label": "Raw", "stroke_color": "#B0B0B0", "stroke_width": 1},
)
"""How they are drawn, the foremost first. Lines and no filled band: Swift fills down to zero."""
POINT_COLOUR = "#0050C8"

Array = numpy.typing.NDArray[numpy.float32]


class ComparisonComputation:
    """Inputs: `raw`, `denoised`, `position` (a point on the denoised one), `neighbours`. Result: `comparison`."""

    label = _("UDVD Comparison with Raw")
    inputs: typing.ClassVar = {
        "raw": {"label": _("Raw")},
        "denoised": {"label": _("Denoised")},
        "position": {"label": _("Position")},
        "neighbours": {"label": _("Raw Frames in Mean")},
    }
    outputs: typing.ClassVar = {COMPARISON: {"label": _("Comparison")}}

    def __init__(self, computation: Facade.Computation, **kwargs: typing.Any) -> None:
        self._computation = computation
        self._result: DataAndMetadata.DataAndMetadata | None = None

    def execute(self, neighbours: int, **kwargs: typing.Any) -> None:
        """Read the spectra; on a thread."""
        given = self._computation._computation
        pair = Pair(given.get_input("raw"), given.get_input("denoised"))
        with pair.raw.data_ref(), pair.denoised.data_ref():
            rows, ours = compare(pair, tuple(given.get_input("position").position), neighbours)
        self._result = DataAndMetadata.new_data_and_metadata(
            rows,
            intensity_calibration=pair.denoised.intensity_calibration,
            dimensional_calibrations=[Calibration.Calibration(), pair.denoised.dimensional_calibrations[-1]],
            metadata={OURS: ours},
            data_descriptor=DataAndMetadata.DataDescriptor(False, 0, 2),
        )

    def commit(self) -> None:
        """Hand them over; the caption says which position it is."""
        item = self._computation._computation.get_output(COMPARISON)
        if self._result is not None and item is not None:
            self._computation.set_referenced_xdata(COMPARISON, self._result)
            item.caption = self._result.metadata[OURS]["caption"]


def compare(pair: Pair, point: tuple[float, ...], neighbours: int) -> tuple[Array, dict[str, typing.Any]]:
    """Spectra of a position of a raw scan and its denoised item, whose data are held.

    Parameters
    ----------
    pair : Pair
        With rows and columns.
    point : (float, float)
        Position as fractions (y, x) of the scan.
    neighbours : int
        How many raw frames around it to average, as nearly as a square within the scan allows.

    Returns
    -------
    rows : array, shape (5, E), counts
        Raw, denoised, denoised minus and plus its standard error (NaN where that is not known), mean of raw.
    facts : dict
        For the metadata.

    Raises
    ------
    InputError
        When the two do not fit each other.
    """
    layout, _energy = scan_of(pair.denoised)
    raw_layout, _energy = scan_of(pair.raw)
    check(pair)
    y, x = (min(max(int(at * n), 0), n - 1) for at, n in zip(point, layout.scan_shape, strict=True))
    number = y * layout.scan_shape[1] + x
    denoised = read(pair.denoised, layout, number, number + 1)[0]
    (rows, columns), spectra = _around(pair.raw, raw_layout, y, x, neighbours)
    raw = spectra[y - rows.start, x - columns.start]
    known = uncertainties.load(pair.denoised, layout.count, layout.frame_shape[1])
    sigma = numpy.full(raw.size, numpy.nan) if known is None else known.sigma(numpy.array([number]))[0]
    averaged = spectra.shape[0] * spectra.shape[1]
    caption = (
        f"Row {y}, column {x}. Mean of {averaged} raw frames, rows {rows.start} to {rows.stop - 1}, columns"
        f" {columns.start} to {columns.stop - 1}."
    )
    if known is None:
        caption += " Sigma is not known: no errors are kept for this denoised item, or it is not final yet."
    facts = {
        "kind": COMPARISON,
        "caption": caption,
        "source_uuid": str(pair.denoised.uuid),
        "position": [y, x],
        "averaged": averaged,
        "base_title": base_title(pair.denoised),
    }
    result = numpy.stack((raw, denoised, denoised - sigma, denoised + sigma, spectra.mean((0, 1))))
    return result.astype(numpy.float32), facts


def check(pair: Pair) -> None:
    """Refuse a pair without the same rows, columns and channels, or with denoised frames.

    Raises
    ------
    InputError
        Says which.
    """
    layout, _energy = scan_of(pair.denoised)
    raw_layout, _energy = scan_of(pair.raw)
    if layout.datum_dimensions != 1 or len(layout.scan_shape) != 2:
        raise InputError(
            f"{pair.denoised.title!r} has shape {pair.denoised.data_shape}; want spectra in rows and columns"
        )
    if (layout.scan_shape, layout.frame_shape[1]) != (raw_layout.scan_shape, raw_layout.frame_shape[1]):
        raise InputError(
            f"{pair.raw.title!r} has shape {pair.raw.data_shape} and {pair.denoised.title!r}"
            f" {pair.denoised.data_shape}; want the same positions and channels"
        )


def _around(
    raw: DataItem.DataItem, layout: ScanLayout, y: int, x: int, count: int
) -> tuple[tuple[slice, slice], Array]:
    """A square of about `count` raw spectra around a position, moved inward at the borders."""
    side = max(round(math.sqrt(max(count, 1))), 1)
    spans = []
    for at, size in zip((y, x), layout.scan_shape, strict=True):
        start = min(max(at - side // 2, 0), max(size - side, 0))
        spans.append(slice(start, min(start + side, size)))
    rows, columns = spans
    width = layout.scan_shape[1]
    lines = [
        read(raw, layout, row * width + columns.start, row * width + columns.stop)
        for row in range(rows.start, rows.stop)
    ]
    return (rows, columns), numpy.stack(lines)


def create_comparison(
    document_model: typing.Any, pair: Pair, point: tuple[float, float] = (0.5, 0.5)
) -> DataItem.DataItem:
    """Make the plot with the computation that fills it, and the linked points; on the main thread.

    Deleting the plot takes both points with it. A raw scan of frames shows one frame and no map, so it has no point.

    Raises
    ------
    InputError
        When the two do not fit each other.
    """
    check(pair)
    with document_model.transaction_context():  # else Swift writes the whole project for every property
        return _create(document_model, pair, point)


def _create(document_model: typing.Any, pair: Pair, point: tuple[float, float]) -> DataItem.DataItem:
    title = extended(base_title(pair.denoised), "Compared with Raw")
    plot = create_item(
        document_model, pair.denoised, {"kind": COMPARISON, "source_uuid": str(pair.denoised.uuid)}, title
    )
    _draw(document_model.get_display_item_for_data_item(plot), plot)
    marked = document_model.get_display_item_for_data_item(pair.denoised)
    position = _point(marked, point)
    if scan_of(pair.raw)[0].datum_dimensions == 1:
        twin = _point(document_model.get_display_item_for_data_item(pair.raw), point)
        twin.source = typing.cast(typing.Any, plot)  # goes with it
        document_model.append_connection(
            Connection.PropertyConnection(position, "position", twin, "position", parent=plot)
        )
    computation = document_model.create_computation()
    computation.create_input_item("raw", Symbolic.make_item(pair.raw))
    computation.create_input_item("denoised", Symbolic.make_item(pair.denoised))
    computation.create_input_item("position", Symbolic.make_item(position))
    whole = Symbolic.ComputationVariableType.INTEGRAL
    computation.create_variable("neighbours", value_type=whole, value=NEIGHBOURS)
    computation.processing_id = COMPARISON_ID
    computation.create_output_item(COMPARISON, Symbolic.make_item(plot))
    document_model.append_computation(computation)
    return plot


def _point(display: typing.Any, at: tuple[float, float]) -> Graphics.PointGraphic:
    point = Graphics.PointGraphic()
    point.position = at
    point.label, point.stroke_color = _("Compare"), POINT_COLOUR
    display.add_graphic(point)
    return point


def _draw(display: typing.Any, plot: DataItem.DataItem) -> None:
    """Make a display a line plot with a layer for each spectrum."""
    display.display_type = "line_plot"
    first, *others = ({"fill_color": None, **layer} for layer in LAYERS)
    display._set_display_layer_properties(0, **first)
    for layer in others:
        display._add_display_layer_for_data_item(plot, **layer)
    display.set_display_property("legend_position", "top-right")


def register() -> None:
    """Let Swift make such plots, also those of projects that it opens."""
    Symbolic.register_computation_type(COMPARISON_ID, typing.cast(typing.Any, ComparisonComputation))


def unregister() -> None:
    """Take it back."""
    Symbolic._computation_types.pop(COMPARISON_ID, None)
