"""Brings panels, dialogues and states of ours onto the screen, for pictures of them."""

from __future__ import annotations

import dataclasses
import pathlib
import types
import typing

import numpy
from nion.data import Calibration, DataAndMetadata
from nion.swift.model import DataItem, Graphics
from nion.utils import Geometry

from nionswift_plugin.udvd_live import eels_menu, evidence_menu, maps_computation, pairs, preference_pane, preferences
from nionswift_plugin.udvd_live.queue_file import Settings
from nionswift_plugin.udvd_simulator import acquire
from udvd_core.monitor import BAD, Trust
from udvd_core.settings import Training

from . import look

LONG = "Spectrum Image EELS 12 of h-BN on holey carbon, second area, after the bake-out of Tuesday"
SIZE = 12


def add_scan(
    model: typing.Any, title: str, edges: typing.Sequence[float] = (188.0,), offset: float = 150.0, step: float = 1.0
) -> DataItem.DataItem:
    """A spectrum image of counts with edges at these energies, eV, that are twice as high in its right half."""
    energies = offset + step * numpy.arange(256.0)
    spectrum = 40 * (energies[0] / energies) ** 3
    half = numpy.ones((SIZE, SIZE, 1))
    half[:, SIZE // 2 :] = 2
    counts = spectrum + half * sum(20 * (energies >= edge) * (edge / energies) ** 3 for edge in edges)
    for edge in edges:
        counts = counts + half * 30 * numpy.exp(-(((energies - edge - 3) / 2) ** 2))
    item = DataItem.DataItem()
    item.title = title
    nm = Calibration.Calibration(0, 0.1, "nm")
    item.set_xdata(
        DataAndMetadata.new_data_and_metadata(
            numpy.random.default_rng(1).poisson(counts).astype(numpy.float32),
            dimensional_calibrations=[nm, nm, Calibration.Calibration(offset, step, "eV")],
            data_descriptor=DataAndMetadata.DataDescriptor(False, 2, 1),
        )
    )
    model.append_data_item(item)
    return item


def acquire_scan(window: typing.Any, dwell_ms: float) -> typing.Any:
    """Start a scan as Swift's own panel does, without the panel."""
    model = window.document_model
    return acquire.acquire_spectrum_image(
        types.SimpleNamespace(document_controller=window, data_items=model.data_items), (SIZE, SIZE), dwell_ms
    )


def empty(window: typing.Any) -> None:
    """Show nothing in the display panels."""
    for panel in window.workspace_controller.display_panels:
        panel.set_display_panel_display_item(None)


def mark(model: typing.Any, item: DataItem.DataItem, *boxes: tuple[float, float, float, float]) -> None:
    """Draw rectangles on an item: top, left, height, width in parts of it."""
    for top, left, height, width in boxes:
        region = Graphics.RectangleGraphic()
        region.bounds = Geometry.FloatRect(Geometry.FloatPoint(top, left), Geometry.FloatSize(height, width))
        model.get_display_item_for_data_item(item).add_graphic(region)


def guarded(window: typing.Any, action: typing.Callable[..., typing.Any], *arguments: typing.Any) -> None:
    """Do what a menu entry does, as the menu does it."""
    eels_menu.guarded(lambda window: action(window, *arguments), window)


def select(window: typing.Any, *items: typing.Any) -> None:
    """Select items in the data panel."""
    model = window.document_model
    window.select_display_items_in_data_panel([model.get_display_item_for_data_item(item) for item in items])
    window.data_panel_focused()


def worst(job: typing.Any) -> None:
    """Put the longest of what engine and monitor say into a job that is over; in earnest it takes a bad scan."""
    trust = Trust(
        BAD,
        "Do not trust 284.5 to 290.25 eV and 401 to 409 eV: the result deviates from the raw counts by more than noise",
        50.7,
        12.0,
        "The zero-loss peak drifts by 0.35 eV. 3 pixels saturate at 65535 counts; 12 frames were left out as sparks",
    )
    job.status = dataclasses.replace(
        job.status,
        trust=trust,
        learned="12 components found, 0.034 of the correction passes held-out counts; learning for 38 s, 4096 steps",
        hidden="1x1 is hidden, as charge spreads to 0.12 along E and 0.04 along q, measured on 144 frames",
        note="Fed again from the raw item: the engine ended unexpectedly with exit status -9; started again",
    )
    job.history[:] = [dataclasses.replace(trust, psnr=20.0 + n, heldout=float(n % 7)) for n in range(40)]


def queue(reprocessor: typing.Any, item: DataItem.DataItem, budget_s: float) -> str:
    """Queue a scan for reprocessing."""
    training = Training(budget_s=budget_s)
    return str(reprocessor.add([item], Settings(training, (), ("value",), False)))


def denoised(model: typing.Any, raw: DataItem.DataItem) -> typing.Any:
    """The denoised item of a scan."""
    return next(
        each
        for each in model.data_items
        if each.metadata.get("udvd", {}).get("source_uuid") == str(raw.uuid)
        and each.metadata["udvd"]["kind"] == "denoised"
    )


def maps_of(model: typing.Any, scan: DataItem.DataItem) -> list[DataItem.DataItem]:
    """Maps that were made of a scan from the menu, the first two of different names."""
    made = [each.get_output("map") for each in model.computations if each.processing_id == maps_computation.MAP_ID]
    return [each for each in made if each.metadata["udvd"].get("source_uuid") == str(scan.uuid)][:2]


def export(window: typing.Any, item: DataItem.DataItem) -> None:
    """Export the evidence for an item into a folder of the home folder, which the menu would ask for."""
    display = window.document_model.get_display_item_for_data_item(item)
    evidence_menu.export_to(window, pairs.pair_shown([display], window.document_model), pathlib.Path.home())


def show_pane(root: typing.Any) -> None:
    """Select our pane in Swift's preferences."""
    panes = next(each for each in look.shown(root) if type(each).__name__ == "StringListWidget")
    panes.current_index = list(panes.items).index(preference_pane.Pane.label)


def fill(pane: typing.Any, label: str, text: str) -> None:
    """Put a text into a field of the preferences, as it is typed."""
    field = look.field_in(pane, label)
    field.text = text
    field.on_text_edited(text)


def other_python(chosen: preferences.Preferences, python: str) -> preferences.Preferences:
    """Preferences with another interpreter."""
    return dataclasses.replace(chosen, python=python)
