"""What tests of maps in Swift share: scans to map, what an operator does, and when Swift is done."""

from __future__ import annotations

import contextlib
import math

import numpy
from nion.data import Calibration, DataAndMetadata
from nion.swift.model import DataItem, Symbolic
from nion.utils import Registry

from nionswift_plugin.udvd_live import map_menu
from nionswift_plugin.udvd_live.map_choices import Choice
from udvd_core.axes import Axis
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.core_loss import core_loss
from udvd_core.maps.presets import Preset
from udvd_core.settings import MapWindow

SHAPE, CHANNELS = (12, 10), 128
ENERGY = Axis(CHANNELS, 100.0, 1.0, "eV", "E")
EDGE = MapWindow("Edge", (150.0, 180.0), ((110.0, 145.0),))
LATE = MapWindow("Late", (200.0, 215.0), ((110.0, 145.0),))
ON = numpy.zeros(SHAPE, bool)
ON[3:9, 2:8] = True
DENOISED = {"udvd": {"kind": "denoised"}}


@contextlib.contextmanager
def knowing_maps(bare_swift, monkeypatch):
    """An empty Swift that knows the maps, and `busy` as long as it computes one."""
    running = []

    class Executor(Symbolic.RegisteredComputationExecutor):
        def __init__(self, *arguments):
            running.append(self)
            super().__init__(*arguments)

        def close(self):
            super().close()
            running.remove(self)

    monkeypatch.setattr(Symbolic, "RegisteredComputationExecutor", Executor)
    model = bare_swift.document_model
    monkeypatch.setattr(
        bare_swift, "busy", lambda: running or any(each.needs_update for each in model.computations), raising=False
    )
    map_menu.register()
    yield bare_swift
    inspect_nothing(bare_swift)
    map_menu.unregister()


@contextlib.contextmanager
def notifications():
    """Texts of what the operator is told."""
    texts = []
    source = Registry.get_component("notification-source")
    listener = source.notify_event.listen(lambda notification: texts.append(notification.text))
    yield texts
    listener.close()


def counts(seed=0, strength=6.0):
    values = ENERGY.values()
    expected = 20 * (values / 100) ** -3 + strength * ON[..., None] * (values >= 150) * (values / 150) ** -4
    return numpy.random.default_rng(seed).poisson(expected).astype(numpy.float32)


def add_scan(swift, data=None, metadata=None, title="Scan EELS 1", energy=(100.0, 1.0, "eV"), **more):
    data = counts() if data is None else data
    nm = [Calibration.Calibration(1, 0.5, "nm")] * (data.ndim - 1)
    item = DataItem.DataItem(**more)
    item.title = title
    item.set_xdata(
        DataAndMetadata.new_data_and_metadata(
            data,
            dimensional_calibrations=[*nm, Calibration.Calibration(*energy)],
            data_descriptor=DataAndMetadata.DataDescriptor(data.ndim == 4, 2, 1),
            metadata=metadata or {},
        )
    )
    swift.document_model.append_data_item(item)
    return item


def select(swift, *items):
    displays = [swift.document_model.get_display_item_for_data_item(item) for item in items]
    swift.document_controller.select_display_items_in_data_panel(displays)
    swift.document_controller.data_panel_focused()


def inspect_nothing(swift):
    """Before items are deleted: Swift's inspector may have an update of the selected one in its queue."""
    select(swift)
    settle(swift)


def computation_of(swift, item):
    (found,) = (each for each in swift.document_model.computations if item in each.output_items)
    return found


def settle(swift):
    """Run Swift until nothing is left to compute."""
    quiet = 0

    def done():
        nonlocal quiet
        quiet = 0 if swift.busy() else quiet + 1
        return quiet > 5

    swift.pump_until(done, 20)


def set_counts(scan, data):
    """Other data of the same form."""
    old = scan.xdata
    scan.set_xdata(
        DataAndMetadata.new_data_and_metadata(
            data, dimensional_calibrations=old.dimensional_calibrations, data_descriptor=old.data_descriptor
        )
    )


def mapped(swift, scan, *windows):
    """Maps of a scan as the menu makes them."""
    select(swift, scan)
    made = map_menu.map_selected(swift.document_controller, Choice("test", Preset("test", windows or (EDGE,))))
    settle(swift)
    return made


def sigma_item(swift, item):
    return computation_of(swift, item).get_output("sigma")


def signal_of(swift, item):
    return computation_of(swift, item).get_input("signal")


def expected(scan, window=EDGE, known=None):
    spectra = numpy.asarray(scan.data[...]).reshape(-1, CHANNELS)
    values, sigma = core_loss(spectra, ENERGY, [window], known)
    return values[0].reshape(scan.data_shape[:-1]), sigma[0].reshape(scan.data_shape[:-1])


def some_uncertainty(count=SHAPE[0] * SHAPE[1]):
    rng = numpy.random.default_rng(1)
    return Uncertainty(
        numpy.arange(count),
        numpy.ones(count),
        numpy.full(CHANNELS, 3.0, numpy.float32),
        rng.normal(size=(2, CHANNELS)),
        numpy.full((count, 2), (0.5, 0.2)),
        rng.normal(size=(count, 2)) / math.sqrt(count),
        numpy.array([0.1, 0.3]),
    )
