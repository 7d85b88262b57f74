"""A raw scan and its denoised item in a bare Swift, for tests of what compares them."""

from __future__ import annotations

import math

import numpy
from nion.data import Calibration, DataAndMetadata
from nion.swift.model import DataItem
from nion.utils import Registry

from nionswift_plugin.udvd_live import uncertainties
from nionswift_plugin.udvd_live.pairs import Pair
from udvd_core.lowrank.uncertainty import Uncertainty

SHAPE, CHANNELS = (8, 6), 64


def truth():
    """Expected counts, shape (y, x, E): a falling background, and more of an edge to the right."""
    energy = 100.0 + numpy.arange(CHANNELS)
    edge = numpy.linspace(0, 20, SHAPE[1])[:, None] * (energy >= 130)
    return numpy.broadcast_to(40 * (energy / 100) ** -2 + edge, (*SHAPE, CHANNELS))


def add_scan(swift, data, title, metadata=None, units="counts", **more):
    """Add a spectrum image with axes in nm and eV."""
    item = DataItem.DataItem(**more)
    item.title = title
    nm = [Calibration.Calibration(1, 0.5, "nm")] * 2
    rows = [Calibration.Calibration()] * (data.ndim - 3)
    item.set_xdata(
        DataAndMetadata.new_data_and_metadata(
            numpy.asarray(data, numpy.float32),
            intensity_calibration=Calibration.Calibration(units=units),
            dimensional_calibrations=[*nm, *rows, Calibration.Calibration(100.0, 1.0, "eV")],
            data_descriptor=DataAndMetadata.DataDescriptor(False, 2, data.ndim - 2),
            metadata=metadata or {},
        )
    )
    swift.document_model.append_data_item(item)
    return item


def denoised_of(raw, **more):
    """Metadata of a denoised item."""
    return {"udvd": {"kind": "denoised", "source_uuid": str(raw.uuid), "state": "final", **more}}


def add_pair(swift, seed=0, frames=False, **more):
    """A raw scan of Poisson counts and its denoised item, which holds the truth."""
    counts = numpy.random.default_rng(seed).poisson(truth())
    if frames:
        counts = numpy.stack((counts // 2, counts - counts // 2), axis=2)
    raw = add_scan(swift, counts, "Scan 1", **more)
    return Pair(raw, add_scan(swift, truth(), "Scan 1 (Denoised)", denoised_of(raw), **more))


def keep_errors(item):
    """Errors of a denoised item, kept as a job keeps them; returns them."""
    rng = numpy.random.default_rng(1)
    count = math.prod(SHAPE)
    known = Uncertainty(
        numpy.arange(count),
        numpy.ones(count),
        numpy.full(CHANNELS, 3.0, numpy.float32),
        rng.normal(size=(2, CHANNELS)),
        numpy.full((count, 2), (0.5, 0.2)),
        rng.normal(size=(count, 2)) / math.sqrt(count),
        numpy.array([0.1, 0.3]),
    )
    uncertainties.keep([item], known.packed())
    return known


def select(swift, *items):
    """Select items in Swift's data panel."""
    displays = [swift.document_model.get_display_item_for_data_item(item) for item in items]
    swift.document_controller.select_display_items_in_data_panel(displays)
    swift.document_controller.data_panel_focused()


def computed(swift, *items):
    """Run Swift until computed items have data."""
    swift.pump_until(lambda: all(item.data_shape for item in items), 20)


def computation_of(swift, item):
    """The computation that makes an item."""
    (found,) = (each for each in swift.document_model.computations if item in each.output_items)
    return found


def listen(texts):
    """Add what the operator is told to a list, as long as what this returns is held."""
    source = Registry.get_component("notification-source")
    return source.notify_event.listen(lambda notification: texts.append(notification.text))
