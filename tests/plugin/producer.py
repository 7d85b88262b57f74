"""A scan without a microscope: blocks are written into a data item as Swift's acquisition does, in any order."""

from __future__ import annotations

import gc
import importlib.util
import json
import math
import os
import threading

import numpy
from nion.data import Calibration, DataAndMetadata
from nion.instrumentation import Acquisition, DataChannel

from nionswift_plugin.udvd_live.companion import Companion
from nionswift_plugin.udvd_live.job import Phase
from udvd_core.engine.inline import InlineEngine
from udvd_core.engine.local import LocalEngine

EELS = {"hardware_source": {"signal_type": "eels", "hardware_source_id": "fake"}}
RAW = {"model": "raw", "budget_s": 5}
"""With the model 'raw' a result equals what was recorded: every frame must be in its place."""

NM, MRAD = Calibration.Calibration(1, 0.5, "nm"), Calibration.Calibration(0, 2, "mrad")


class Producer:
    """One live raw item; `write` blocks of it, then `end`.

    Parameters
    ----------
    swift : HeadlessSwift
    data : array, shape (*positions, E) or (*positions, q, E)
        What the whole scan will be.
    """

    def __init__(self, swift, data, *, datum=1, sequence=False, metadata=EELS, energy=(100.0, 1.0, "eV")):
        self.data = data
        self._document_model = swift.document_model
        self._positions = data.shape[: data.ndim - datum]
        self._channel = Acquisition.Channel("fake")
        self._metadata = DataAndMetadata.DataMetadata(
            data_shape=data.shape,
            data_dtype=numpy.dtype(numpy.float32),
            intensity_calibration=Calibration.Calibration(units="counts"),
            dimensional_calibrations=[NM] * len(self._positions)
            + [MRAD] * (datum - 1)
            + [Calibration.Calibration(*energy)],
            data_descriptor=DataAndMetadata.DataDescriptor(sequence, len(self._positions) - sequence, datum),
            metadata=metadata,
        )
        Acquisition.session_manager.begin_acquisition(swift.document_model)
        self._items = DataChannel.DataItemDataChannel(swift.document_model, "Scan", {self._channel: "EELS"})
        self._items.prepare({self._channel: Acquisition.DataStreamInfo(self._metadata, 0.1)})
        self.item = self._items.get_data_item(self._channel)

    def write(self, start, stop):
        """Write positions `start` to `stop` in scan order, of one row or whole rows; on a thread of its own."""
        size = math.prod(self.data.shape[len(self._positions) :])
        self.write_box(*Acquisition.simple_unravel_flat_slice(slice(start * size, stop * size), self.data.shape))

    def write_box(self, where):
        """Write a box of the whole data, as `DataChannel.DataItemDataChannel.update_data` does."""
        block = DataAndMetadata.new_data_and_metadata(self.data, data_descriptor=self._metadata.data_descriptor)
        update = self._document_model.update_data_item_partial
        thread = threading.Thread(target=update, args=(self.item, self._metadata, block, where, where))
        thread.start()
        thread.join()

    def write_rows(self, first=0, last=None):
        """Write whole rows one by one."""
        row = self._positions[-1]
        for y in range(first, math.prod(self._positions[:-1]) if last is None else last):
            self.write(y * row, (y + 1) * row)

    def end(self):
        """The acquisition lets go of the item."""
        self._items = None
        gc.collect()


def engine_here(chosen):
    """An engine in this thread; a child for a network where there is no torch, as with scripts/test-newest."""
    if chosen.training.model in ("guided", "udvd") and importlib.util.find_spec("torch") is None:
        return LocalEngine(os.environ.get("UDVD_ENGINE_PYTHON"))
    return InlineEngine()


def follow(swift, folder, *, make_engine=engine_here, exact=True, maps=(), training=RAW, **more):
    """A companion for a `swift` without the plug-in; its engine is in the same thread where it can be. `pump` it."""
    settings = folder / "companion.json"
    settings.write_text(json.dumps({"maps": list(maps), "training": training, **more}))
    return Companion(swift.document_model, settings, make_engine=make_engine, exact=exact)


def pump(swift, companion, until=lambda: True, least=4):
    """Run Swift's main loop with the companion until a condition holds, and for some turns at least."""
    turns = iter(range(least))

    def turn():
        companion.tick()
        return next(turns, None) is None and until()

    swift.pump_until(turn, 90)


def finish(swift, companion, jobs=1):
    """Run until so many jobs are done; returns the last."""
    pump(swift, companion, lambda: [job.phase for job in companion.jobs].count(Phase.DONE) >= jobs)
    return companion.jobs[-1]


def spectra(*shape, seed=0, counts=5.0):
    """Poisson counts, float32."""
    return numpy.random.default_rng(seed).poisson(counts, shape).astype(numpy.float32)
