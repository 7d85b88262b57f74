"""Acquire in a `HeadlessSwift` what an operator acquires by hand, without waiting for it."""

from __future__ import annotations

import time
import typing

from nion.data import Calibration
from nion.instrumentation import Acquisition, DataChannel, camera_base, stem_controller
from nion.swift import Facade
from nion.utils import Model, Registry

from . import headless

if typing.TYPE_CHECKING:
    from nion.swift.model import DataItem


class Running:
    """A running acquisition.

    Attributes
    ----------
    error : str or None
        What Swift told the user, when it failed.
    aborted : bool
        Whether `abort` was called while it ran.
    seconds : float or None
        From its start until Swift had ended it.
    """

    def __init__(self, swift: headless.HeadlessSwift, title: str) -> None:
        self.error: str | None = None
        self.aborted = False
        self.seconds: float | None = None
        self._swift = swift
        self._title = title
        self._done = False
        self._before = {item.uuid for item in swift.data_items}
        self._abort: typing.Callable[[], object] = lambda: None
        self._keep: typing.Any = None
        self._when_done: typing.Callable[[], object] = lambda: None
        self._started_s = time.perf_counter()
        notifications = Registry.get_component("notification-source")
        self._listener = notifications.notify_event.listen(self._notified) if notifications else None

    @property
    def is_done(self) -> bool:
        """Whether Swift has ended it, for whatever reason; pump until then."""
        return self._done

    @property
    def new_items(self) -> list[DataItem.DataItem]:
        """All data items since the start, results of followers included."""
        return [item for item in self._swift.data_items if item.uuid not in self._before]

    @property
    def item(self) -> DataItem.DataItem | None:
        """The camera's data item; None until Swift's main loop has made it."""
        items = [item for item in self.new_items if item.title.startswith(self._title) and "udvd" not in item.metadata]
        return items[0] if items else None

    @property
    def raw(self) -> DataItem.DataItem:
        """The camera's data item.

        Raises
        ------
        RuntimeError
            When there is none yet.
        """
        item = self.item
        if item is None:
            raise RuntimeError(f"no data item {self._title!r} yet; pump Swift's main loop first")
        return item

    def abort(self) -> None:
        """Ask Swift to abort, as the button does."""
        self.aborted = self.aborted or not self._done
        self._abort()

    def wait(self, timeout: float = 60.0) -> DataItem.DataItem:
        """Run Swift's main loop until it has ended and all data are in the item, which is returned.

        Raises
        ------
        TimeoutError
            When it has not ended after `timeout` seconds.
        """
        self._swift.pump_until(lambda: self._done, timeout)
        self._swift.pump(0.05)
        self._swift.pump_until(lambda: self.item is None or not self.item.is_live, timeout)
        return self.raw

    def _begun(self, abort: typing.Callable[[], object], keep: typing.Any) -> Running:
        self._abort, self._keep = abort, keep
        return self

    def _finished(self) -> None:
        self.seconds = time.perf_counter() - self._started_s
        self._done = True
        self._listener = self._keep = None
        self._abort = lambda: None
        self._when_done()

    def _notified(self, notification: typing.Any) -> None:
        if notification.notification_type_id == "nion.acquisition.error":
            self.error = str(notification.text)


def acquire_spectrum_image(
    swift: headless.HeadlessSwift,
    shape: tuple[int, int] = (32, 32),
    dwell_ms: float = 50.0,
    *,
    frames: bool = False,
    scan_count: int = 1,
    section_height: int | None = None,
) -> Running:
    """Start a spectrum image as the Spectrum Imaging panel does.

    Parameters
    ----------
    swift : HeadlessSwift
        An open one.
    shape : (int, int)
        Positions along y and x.
    dwell_ms : float
        Exposure per position, ms.
    frames : bool
        Keep whole frames ``(q, E)``; else spectra, summed over q.
    scan_count : int
        Repeat the scan so often, into one sequence item.
    section_height : int or None
        Acquire so many rows at a time, as line-wise drift correction does.
    """
    from nionswift_plugin.nion_instrumentation_ui import ScanAcquisition

    scan, camera = _hardware(dwell_ms)
    specifier = stem_controller.ScanSpecifier()
    specifier.size = (shape[0], shape[1])
    specifier.scan_count = scan_count
    controller = ScanAcquisition.ScanAcquisitionController(
        Facade.get_api("~1.0", "~1.0"),
        Facade.DocumentWindow(swift.document_controller),
        Facade.HardwareSource(scan),
        Facade.HardwareSource(camera),
        specifier,
    )
    acquisition = Running(swift, "Spectrum Image EELS")

    def state_changed(state: typing.Any) -> None:
        if state == ScanAcquisition.SequenceState.idle:
            acquisition._finished()

    listener = controller.acquisition_state_changed_event.listen(state_changed)
    processing = ScanAcquisition.ScanAcquisitionProcessing
    controller.start(
        processing.NONE if frames else processing.SUM_PROJECT,
        ScanAcquisition.ScanProcessing(True, False),
        section_height_override=section_height,
    )
    return acquisition._begun(controller.cancel, (controller, listener))


def acquire_line_scan(
    swift: headless.HeadlessSwift, length: int = 32, dwell_ms: float = 50.0, *, frames: bool = False
) -> Running:
    """Start a scan along the line that Swift draws by default; its item has positions ``(1, length)``.

    Arguments as for `acquire_spectrum_image`.
    """
    scan, _ = _hardware(dwell_ms)
    scan.line_scan_enabled = True
    acquisition = acquire_spectrum_image(swift, (1, length), dwell_ms, frames=frames)
    acquisition._when_done = lambda: setattr(scan, "line_scan_enabled", False)
    return acquisition


def acquire_sequence(
    swift: headless.HeadlessSwift,
    count: int = 32,
    dwell_ms: float = 50.0,
    *,
    frames: bool = False,
    line: bool = False,
) -> Running:
    """Start a sequence of spectra of the camera alone, without the scan.

    Parameters
    ----------
    swift : HeadlessSwift
        An open one.
    count : int
        Number of spectra.
    dwell_ms : float
        Exposure per spectrum, ms.
    frames : bool
        Keep whole frames ``(q, E)``; else spectra, summed over q.
    line : bool
        Make an item with one collection dimension, as a line scan; else a sequence.
    """
    _, camera = _hardware(dwell_ms)
    parameters = camera.get_frame_parameters(0)
    parameters.processing = None if frames else "sum_project"
    delegate = camera_base.CameraDeviceSequenceStreamDelegate(camera, parameters)
    stream: Acquisition.DataStream = camera_base.CameraDataStream(camera, parameters, delegate)
    if not frames:
        stream = Acquisition.FramedDataStream(stream, operator=Acquisition.SumOperator(axis=0))
    if line:
        stream = Acquisition.CollectedDataStream(stream, (count,), (Calibration.Calibration(0, 0.1, "nm"),))
    else:
        stream = Acquisition.SequenceDataStream(stream, count)
    names = {channel: "EELS" for channel in stream.channels}
    is_running: Model.PropertyModel[bool] = Model.PropertyModel(False)
    progress: Model.PropertyModel[int] = Model.PropertyModel(0)
    acquisition = Running(swift, "Sequence EELS")
    Acquisition.session_manager.begin_acquisition(swift.document_model)
    running = Acquisition.start_acquire(
        stream,
        "Sequence",
        names,
        _DataItems(swift),
        None,
        progress,
        is_running,
        swift.document_controller.event_loop,
        acquisition._finished,
    )
    return acquisition._begun(running.abort_acquire, (running, progress, is_running))


class _DataItems:
    """Gives Swift the channel that writes data items."""

    def __init__(self, swift: headless.HeadlessSwift) -> None:
        self._document_model = swift.document_model

    def get_data_channel(self, title_base: str, channel_names: typing.Any, **kwargs: typing.Any) -> typing.Any:
        return DataChannel.DataItemDataChannel(self._document_model, title_base, channel_names)


def _hardware(dwell_ms: float) -> tuple[typing.Any, typing.Any]:
    """Swift's scan and EELS camera, the camera set to the dwell time."""
    scan = Registry.get_component("scan_hardware_source")
    camera = Registry.get_component("eels_camera_hardware_source")
    if scan is None or camera is None:
        raise RuntimeError("this Swift has no scan or no EELS camera; install nionswift-usim")
    parameters = camera.get_frame_parameters(0)
    parameters.exposure_ms = dwell_ms
    camera.set_frame_parameters(0, parameters)
    return scan, camera
