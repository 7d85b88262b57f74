"""A map as a computation of Swift: drag its windows and it is made again.

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
from nion.swift.model import DataItem, Symbolic

from udvd_core.errors import InputError
from udvd_core.maps.core_loss import EdgeMap
from udvd_core.maps.preset_maps import preset_maps
from udvd_core.maps.presets import Preset

from .map_windows import Drawn, add_inputs, drawn_of
from .scan_errors import blocks, errors_of, scan_of
from .scan_item import OURS

_ = gettext.gettext

MAP_ID = "udvd.map"
MAP, SIGMA = "map", "sigma"
"""The two results, and the kinds of item in their metadata."""

Doubles = numpy.typing.NDArray[numpy.float64]


class MapComputation:
    """Inputs: `scan`, and those of `map_windows.add_inputs`, intervals on a spectrum of it. Results: `map`, `sigma`."""

    label = _("UDVD Map")
    inputs: typing.ClassVar = {
        "scan": {"label": _("Spectrum Image")},
        "signal": {"label": _("Signal")},
        "backgrounds": {"label": _("Background Fit")},
        "model": {"label": _("Background Model")},
        "preset": {"label": _("Preset")},
        "major": {"label": _("Signal of Main Lines")},
        "major_backgrounds": {"label": _("Background Fit of Main Lines")},
        "major_model": {"label": _("Background Model of Main Lines")},
        "ratio": {"label": _("Main by Overlapping Lines")},
        "ratio_sigma": {"label": _("Error of Their Ratio")},
    }
    outputs: typing.ClassVar = {MAP: {"label": _("Map")}, SIGMA: {"label": _("Sigma")}}

    def __init__(self, computation: Facade.Computation, **kwargs: typing.Any) -> None:
        self._computation = computation
        self._results: dict[str, DataAndMetadata.DataAndMetadata] = {}

    def execute(self, **kwargs: typing.Any) -> None:
        """Make the map; what is wrong with its windows becomes the computation's error."""
        given = self._computation._computation
        scan, drawn = given.get_input("scan"), drawn_of(given)
        if drawn is None:
            raise InputError("the window of the signal has gone; map the scan anew")
        with scan.data_ref():
            values, sigma, facts = make_map(scan, drawn.to_preset(scan_of(scan)[1]))
        for kind, data in ((SIGMA, sigma), (MAP, values)):  # what depends on the map finds its sigma made
            ours = {**facts, "kind": kind, "title": title_of(scan, drawn.name, kind), "computation": str(given.uuid)}
            self._results[kind] = _xdata(scan, data, ours)

    def commit(self) -> None:
        """Hand over what was made; a title that the operator has not changed follows the signal's label."""
        given = self._computation._computation
        if self._results and (drawn := drawn_of(given)) is not None:
            drawn.relabel(scan_of(given.get_input("scan"))[1])
        for kind, xdata in self._results.items():
            hand_over(self._computation, kind, xdata)


def hand_over(computation: Facade.Computation, output: str, xdata: DataAndMetadata.DataAndMetadata) -> None:
    """Give a map or its sigma to its item, with the title, unless the operator chose one, and the map's caption.

    What has not changed is not set again: Swift writes the whole project for every property.
    """
    item = computation._computation.get_output(output)
    if item is None:
        return
    ours = xdata.metadata[OURS]
    if item.title == item.metadata.get(OURS, {}).get("title"):
        item.title = ours["title"]
    computation.set_referenced_xdata(output, xdata)
    if ours["kind"] == MAP and item.caption != (caption := ours.get("caption", "")):
        item.caption = caption


def make_map(scan: DataItem.DataItem, preset: Preset) -> tuple[Doubles, Doubles, dict[str, typing.Any]]:
    """Map a spectrum image whose data are held.

    Parameters
    ----------
    scan : DataItem
        Raw or denoised.
    preset : Preset
        Its first map is made; the others are what that needs.

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
    window = preset.maps[0]
    for each in () if preset.tail else preset.maps:
        EdgeMap(each, energy)  # what is wrong with it comes before any work
    errors = errors_of(scan, layout, energy)
    values, sigma = numpy.zeros((2, layout.count))
    total = numpy.zeros(energy.size)
    parts = blocks(scan, layout, errors.defects)
    if preset.tail:  # the peak and its tail are those of all spectra
        parts = iter([(0, numpy.concatenate([spectra for _, spectra in parts]))])
    for start, spectra in parts:
        part = slice(start, start + len(spectra))
        known = None if errors.covariance is None else errors.covariance(start)
        values[part], sigma[part] = (each[0] for each in preset_maps(spectra, energy, preset, known))
        total += spectra.sum(axis=0, dtype=numpy.float64)
    for low, high in () if preset.tail else (window.signal, *window.background):
        if not total[energy.window(low, high)].any():
            raise InputError(
                f"no position has any counts from {low:g} to {high:g} eV, a window of {window.name!r}:"
                " drag it to where the spectrum is"
            )
    channels = energy.window(*window.signal)
    facts = {
        "map": dataclasses.asdict(window),
        "preset": preset.to_dict(),
        "channels": channels.stop - channels.start,
        "sigma": errors.origin,
        "caption": errors.filled,
        "independent": errors.independent and not preset.lines,  # the error of a ratio is the same everywhere
        "source_uuid": str(scan.uuid),
        "source_title": scan.title,
        "base_title": base_title(scan),
    }
    return values.reshape(layout.scan_shape), sigma.reshape(layout.scan_shape), facts


def create_map(
    document_model: typing.Any, scan: DataItem.DataItem, drawn: Drawn
) -> tuple[DataItem.DataItem, DataItem.DataItem]:
    """Make the items of a map and its sigma, with the computation that fills them; on the main thread."""
    titles = [(kind, title_of(scan, drawn.name, kind)) for kind in (MAP, SIGMA)]
    items = [create_item(document_model, scan, {"kind": kind}, title) for kind, title in titles]
    computation = document_model.create_computation()
    computation.create_input_item("scan", Symbolic.make_item(scan))
    add_inputs(computation, drawn)
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
