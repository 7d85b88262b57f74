"""A core-loss map as a computation of Swift: drag its windows and it is made again.

Swift runs `MapComputation.execute` on a thread whenever the scan or an interval has changed, and `commit` on the main
thread. The windows are interval graphics on a picked spectrum, as those of Nion's own EELS tools.
"""

from __future__ import annotations

import dataclasses
import gettext
import typing

import numpy
import numpy.typing
from nion.data import Calibration, DataAndMetadata
from nion.swift import Facade
from nion.swift.model import DataItem, Graphics, Symbolic

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.core_loss import EdgeMap, core_loss
from udvd_core.settings import MapWindow

from .scan_errors import blocks, errors_of, scan_of
from .scan_item import OURS

_ = gettext.gettext

MAP_ID = "udvd.map"
UNNAMED = "Signal"
MAP, SIGMA = "map", "sigma"
"""The two results, and the kinds of item in their metadata."""

Doubles = numpy.typing.NDArray[numpy.float64]


class MapComputation:
    """Inputs: `scan`; `signal` and `backgrounds`, intervals on a spectrum of it; `model`. Results: `map`, `sigma`."""

    label = _("UDVD Map")
    inputs: typing.ClassVar = {
        "scan": {"label": _("Spectrum Image")},
        "signal": {"label": _("Signal")},
        "backgrounds": {"label": _("Background Fit")},
        "model": {"label": _("Background Model")},
    }
    outputs: typing.ClassVar = {MAP: {"label": _("Map")}, SIGMA: {"label": _("Sigma")}}

    def __init__(self, computation: Facade.Computation, **kwargs: typing.Any) -> None:
        self._computation = computation
        self._results: dict[str, DataAndMetadata.DataAndMetadata] = {}

    def execute(self, model: str, **kwargs: typing.Any) -> None:
        """Make the map; what is wrong with its windows becomes the computation's error."""
        given = self._computation._computation
        scan, signal, backgrounds = (given.get_input(name) for name in ("scan", "signal", "backgrounds"))
        window = window_of(signal, [each for each in backgrounds if each is not None], model, scan_of(scan)[1])
        with scan.data_ref():
            values, sigma, facts = make_map(scan, window)
        for kind, data in ((SIGMA, sigma), (MAP, values)):  # what depends on the map finds its sigma made
            ours = {**facts, "kind": kind, "title": title_of(scan, window.name, kind), "computation": str(given.uuid)}
            self._results[kind] = _xdata(scan, data, ours)

    def commit(self) -> None:
        """Hand over what was made; a title that the operator has not changed follows the signal's label."""
        for kind, xdata in self._results.items():
            item = self._computation._computation.get_output(kind)
            if item is not None and item.title == item.metadata.get(OURS, {}).get("title"):
                item.title = xdata.metadata[OURS]["title"]
            self._computation.set_referenced_xdata(kind, xdata)


def window_of(
    signal: Graphics.IntervalGraphic,
    backgrounds: typing.Sequence[Graphics.IntervalGraphic],
    model: str,
    energy: Axis,
) -> MapWindow:
    """The map that intervals on a spectrum with these energies mark.

    Raises
    ------
    SettingsError
        When an interval has no width, or the background model is not known.
    """
    fitted = tuple(_energies(each.interval, energy) for each in backgrounds)
    return MapWindow((signal.label or "").strip() or UNNAMED, _energies(signal.interval, energy), fitted, model)


def make_map(scan: DataItem.DataItem, window: MapWindow) -> tuple[Doubles, Doubles, dict[str, typing.Any]]:
    """Map a spectrum image whose data are held.

    Returns
    -------
    values, sigma : array, shape of the scan
        Counts, and their standard error, NaN where it is not known.
    facts : dict
        For the metadata of both.

    Raises
    ------
    InputError
        When windows cannot be used, or nothing at all was counted in one.
    """
    layout, energy = scan_of(scan)
    EdgeMap(window, energy)  # what is wrong with it comes before any work
    errors = errors_of(scan, layout, energy)
    values, sigma = numpy.zeros((2, layout.count))
    total = numpy.zeros(energy.size)
    for start, spectra in blocks(scan, layout):
        part = slice(start, start + len(spectra))
        known = None if errors.covariance is None else errors.covariance(start, spectra)
        values[part], sigma[part] = (each[0] for each in core_loss(spectra, energy, (window,), known))
        total += spectra.sum(axis=0, dtype=numpy.float64)
    for low, high in (window.signal, *window.background):
        if not total[energy.window(low, high)].any():
            raise InputError(
                f"no position has any counts from {low:g} to {high:g} eV, a window of {window.name!r}:"
                " drag it to where the spectrum is"
            )
    channels = energy.window(*window.signal)
    facts = {
        "map": dataclasses.asdict(window),
        "channels": channels.stop - channels.start,
        "sigma": errors.origin,
        "independent": errors.independent,
        "source_uuid": str(scan.uuid),
        "source_title": scan.title,
        "base_title": base_title(scan),
    }
    return values.reshape(layout.scan_shape), sigma.reshape(layout.scan_shape), facts


def create_map(
    document_model: typing.Any,
    scan: DataItem.DataItem,
    signal: Graphics.IntervalGraphic,
    backgrounds: typing.Sequence[Graphics.IntervalGraphic],
    model: str = MapWindow.model,
) -> tuple[DataItem.DataItem, DataItem.DataItem]:
    """Make the items of a map and its sigma, with the computation that fills them; on the main thread."""
    name = (signal.label or "").strip() or UNNAMED
    items = [create_item(document_model, scan, {"kind": kind}, title_of(scan, name, kind)) for kind in (MAP, SIGMA)]
    computation = document_model.create_computation()
    computation.create_input_item("scan", Symbolic.make_item(scan))
    computation.create_input_item("signal", Symbolic.make_item(signal))
    computation.create_input_item("backgrounds", Symbolic.make_item_list(backgrounds))
    computation.create_variable("model", value_type=Symbolic.ComputationVariableType.STRING, value=model)
    computation.processing_id = MAP_ID
    for kind, item in zip((MAP, SIGMA), items, strict=True):
        computation.create_output_item(kind, Symbolic.make_item(item))
    document_model.append_computation(computation)
    return items[0], items[1]


def create_item(
    document_model: typing.Any, source: DataItem.DataItem, ours: dict[str, typing.Any], title: str
) -> DataItem.DataItem:
    """Add an empty data item for a computation's result, which the follower of scans leaves alone."""
    item = DataItem.DataItem()
    item.title = title
    item.metadata = {OURS: {**ours, "title": title}}  # before it is added: a follower must not follow it
    document_model.append_data_item(item)
    item.session_metadata = dict(source.session_metadata)
    return item


def array_of(item: DataItem.DataItem) -> numpy.typing.NDArray[typing.Any]:
    """Data of a small item, in memory; no values where it has none."""
    with item.data_ref() as held:
        return numpy.zeros(0) if held.data is None else numpy.array(held.data[...])


def title_of(scan: DataItem.DataItem, name: str, kind: str) -> str:
    """``Spectrum Image EELS 12 (B K, Denoised)`` from the denoised item, ``(B K, Raw)`` from the raw one."""
    return extended(base_title(scan), name if kind == MAP else f"{name} sigma")


def base_title(item: DataItem.DataItem) -> str:
    """What titles of results from a scan, or from a map of it, begin with; a raw scan is marked as raw."""
    if OURS in item.metadata:
        return str(item.metadata[OURS].get("base_title") or item.title)
    return extended(item.title, "Raw")


def extended(title: str, label: str) -> str:
    """A title with one more word, the first in the brackets at its end: data panels are narrow."""
    head, bracket, rest = title.rpartition(" (")
    return f"{head} ({label}, {rest}" if bracket and rest.endswith(")") else f"{title} ({label})"


def _energies(interval: tuple[float, float], energy: Axis) -> tuple[float, float]:
    """Ends of an interval, given in fractions of the axis, in eV; it may be dragged across itself."""
    ends = [energy.offset + energy.scale * round(energy.size * end, 6) for end in interval]
    return min(ends), max(ends)


def _xdata(scan: DataItem.DataItem, data: Doubles, ours: dict[str, typing.Any]) -> DataAndMetadata.DataAndMetadata:
    """Positions as a line, an image, or a sequence of images, with counts that say over how much they are summed."""
    number = ours["channels"]
    counts = Calibration.Calibration(units=f"counts in {number} channel{'s' * (number != 1)}")
    return DataAndMetadata.new_data_and_metadata(
        data.astype(numpy.float32),
        intensity_calibration=counts,
        dimensional_calibrations=list(scan.dimensional_calibrations[: data.ndim]),
        metadata={OURS: ours},
        data_descriptor=DataAndMetadata.DataDescriptor(data.ndim == 3, 0, min(data.ndim, 2)),
    )


def register() -> None:
    """Let Swift make such maps, also those of projects that it opens."""
    Symbolic.register_computation_type(MAP_ID, typing.cast(typing.Any, MapComputation))


def unregister() -> None:
    """Take it back."""
    Symbolic._computation_types.pop(MAP_ID, None)
