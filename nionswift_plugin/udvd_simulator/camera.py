"""The camera device: counts electrons as the scan moves, at the dwell time that was asked for."""

from __future__ import annotations

import dataclasses
import math
import threading
import typing

import numpy
from nion.data import DataAndMetadata
from nion.device_kit import CameraDevice
from nion.instrumentation import camera_base
from nion.utils import Registry

from . import calibration, playback, sections, sources

CAMERA_ID = "udvd_simulated_eels_camera"

_LONGEST_UPDATE_S = 0.25
_SCAN_START_S = 5.0
_SCAN_POLL_S = 0.01
_DEFAULT_EXPOSURES_MS = (50.0, 100.0, 200.0)


@dataclasses.dataclass(eq=False)
class CameraModule:
    """What Swift looks for in its registry; it copies `priority` to the hardware source.

    Above the default of 50, so that ``eels_camera_hardware_source`` is this camera even when the
    simulated microscope has registered its own (20).
    """

    camera_device: SimulatedCamera
    camera_settings: CameraDevice.CameraSettings
    priority: int = 60
    hardware_source: typing.Any = None


def make_settings() -> CameraDevice.CameraSettings:
    """Settings of the three profiles, unbinned."""
    settings = CameraDevice.CameraSettings(CAMERA_ID)
    for index, exposure_ms in enumerate(_DEFAULT_EXPOSURES_MS):
        settings.set_frame_parameters(index, camera_base.CameraFrameParameters(exposure_ms=exposure_ms, binning=1))
    return settings


class SimulatedCamera(camera_base.CameraDevice3):
    """A counting EELS camera that plays a `FrameSource` in real time.

    No thread: Swift's acquisition thread asks for what is due (`acquire_synchronized_continue`),
    and it is filled in there. The raw data depend on the source and the position alone, never on
    the timing.
    """

    camera_id = CAMERA_ID
    camera_type = "eels"
    camera_name = "UDVD Simulated EELS Camera"
    signal_type = "eels"

    def __init__(self, source: sources.FrameSource, description: typing.Mapping[str, typing.Any]) -> None:
        self._source = source
        self._description = dict(description)
        self._exposure_s = _DEFAULT_EXPOSURES_MS[0] / 1000
        self._index_stack: typing.Sequence[typing.Any] = ()
        self._readout: playback.Readout | None = None
        self._xdata: DataAndMetadata.DataAndMetadata | None = None
        self._scan_device: typing.Any = None
        self._section = sections.SectionTracker()
        self._cancel = threading.Event()
        self._stop_live = threading.Event()
        self._live_frames = 0

    def close(self) -> None:
        """End whatever runs."""
        self._cancel.set()
        self._stop_live.set()

    # what the camera is

    @property
    def sensor_dimensions(self) -> tuple[int, int]:
        """Detector rows and channels (q, E)."""
        return self._source.shape

    @property
    def readout_area(self) -> tuple[int, int, int, int]:
        """Top, left, bottom, right in pixels; always the whole detector."""
        return (0, 0, *self._source.shape)

    @readout_area.setter
    def readout_area(self, readout_area_TLBR: tuple[int, int, int, int]) -> None:  # noqa: N803
        pass

    @property
    def flip(self) -> bool:
        """Never."""
        return False

    @flip.setter
    def flip(self, do_flip: bool) -> None:
        pass

    @property
    def binning_values(self) -> list[int]:
        """No binning."""
        return [1]

    def get_expected_dimensions(self, binning: int) -> tuple[int, int]:
        """Detector rows and channels (q, E), whatever the binning."""
        return self._source.shape

    def validate_frame_parameters(
        self, frame_parameters: camera_base.CameraFrameParameters
    ) -> camera_base.CameraFrameParameters:
        """The same without binning."""
        validated = camera_base.CameraFrameParameters(frame_parameters.as_dict())
        validated.binning = 1
        return validated

    def set_frame_parameters(self, frame_parameters: camera_base.CameraFrameParameters) -> None:
        """Take over the exposure time."""
        self._exposure_s = max(1e-6, frame_parameters.exposure_ms / 1000)

    def get_camera_calibrator(
        self, *, instrument_controller: typing.Any, **kwargs: typing.Any
    ) -> calibration.SourceCalibrator:
        """Calibrations of the source."""
        return calibration.SourceCalibrator(self._source)

    # live view

    def start_live(self) -> None:
        """Begin the live view."""
        self._stop_live.clear()

    def stop_live(self) -> None:
        """End the live view; a waiting `acquire_image` returns at once."""
        self._stop_live.set()

    def acquire_image(self) -> dict[str, typing.Any]:
        """The next frame after one exposure, shape (q, E), counts."""
        self._stop_live.wait(self._exposure_s)
        return {"data": self._source.frame(self._live_frames), "properties": {"frame_number": self._next_live_frame()}}

    def _next_live_frame(self) -> int:
        self._live_frames += 1
        return self._live_frames

    # synchronized with the scan

    def acquire_synchronized_prepare(
        self, camera_frame_parameters: typing.Any, collection_shape: tuple[int, ...], **kwargs: typing.Any
    ) -> None:
        """Remember where in a series the coming scan, or section of one, stands."""
        self._index_stack = kwargs.get("index_stack", ())

    def acquire_synchronized_begin(
        self, camera_frame_parameters: typing.Any, collection_shape: tuple[int, ...], **kwargs: typing.Any
    ) -> camera_base.PartialData:
        """Allocate ``(rows, flyback + columns)`` frames; the clock starts with the scan."""
        stem_controller = Registry.get_component("stem_controller")
        scan_controller = getattr(stem_controller, "scan_controller", None)
        self._scan_device = getattr(scan_controller, "scan_device", None)
        return self._begin(camera_frame_parameters, collection_shape)

    def acquire_synchronized_continue(
        self, *, update_period: float = 1.0, **kwargs: typing.Any
    ) -> camera_base.PartialData:
        """Wait for at most `update_period` seconds and return what is due by then."""
        return self._continue(update_period)

    def acquire_synchronized_end(self, **kwargs: typing.Any) -> None:
        """Let go of the scan."""
        if self._readout is not None and not self._readout.is_complete:
            self._section.reset()
        self._end()

    def acquire_synchronized_cancel(self) -> None:
        """Return from a waiting continue at once."""
        self._cancel.set()
        self._section.reset()

    # a sequence without a scan

    def acquire_sequence_prepare(self, camera_frame_parameters: typing.Any, count: int, **kwargs: typing.Any) -> None:
        """Remember where in a series the coming sequence stands."""
        self._index_stack = kwargs.get("index_stack", ())

    def acquire_sequence_begin(
        self, camera_frame_parameters: typing.Any, count: int, **kwargs: typing.Any
    ) -> camera_base.PartialData:
        """Allocate `count` frames; the clock starts with the first continue."""
        self._scan_device = None
        return self._begin(camera_frame_parameters, (count,), first_frame=kwargs.get("first_frame"))

    def acquire_sequence_continue(self, *, update_period: float = 1.0, **kwargs: typing.Any) -> camera_base.PartialData:
        """Wait for at most `update_period` seconds and return what is due by then."""
        return self._continue(update_period)

    def acquire_sequence_end(self, **kwargs: typing.Any) -> None:
        """Let go of the sequence."""
        self._end()

    def acquire_sequence_cancel(self) -> None:
        """Return from a waiting continue at once; Swift aborts synchronized acquisition with this one, too."""
        self.acquire_synchronized_cancel()

    def acquire_single_begin(self, camera_frame_parameters: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """One frame; each call gives the next one."""
        return super().acquire_single_begin(camera_frame_parameters, first_frame=self._next_live_frame() - 1, **kwargs)

    # all of them

    def _begin(
        self, parameters: typing.Any, collection_shape: tuple[int, ...], first_frame: int | None = None
    ) -> camera_base.PartialData:
        self._cancel.clear()
        self.set_frame_parameters(parameters)
        index_stack, self._index_stack = self._index_stack, ()
        datum_shape, read = self._reader(parameters)
        window: playback.ScanWindow | None = None

        def make(count: int) -> playback.Array | None:
            nonlocal window
            if first_frame is not None:
                return read(first_frame + count)
            if window is None:
                window = self._section.next_window(
                    collection_shape,
                    index_stack,
                    getattr(self._scan_device, "current_frame_parameters", None),
                    self._source.scan_shape,
                )
            index = window.source_index(count)
            return None if index is None else read(index)

        shape = (math.prod(collection_shape), *datum_shape)
        self._readout = playback.Readout(make, shape, self._exposure_s)
        self._xdata = DataAndMetadata.new_data_and_metadata(
            self._readout.data.reshape(*collection_shape, *datum_shape),
            data_descriptor=DataAndMetadata.DataDescriptor(False, len(collection_shape), len(datum_shape)),
            metadata={"hardware_source": {"udvd_simulator": self._description}},
        )
        return self._partial_data()

    def _reader(self, parameters: typing.Any) -> tuple[tuple[int, ...], typing.Callable[[int], playback.Array]]:
        """Shape of one readout and what reads it, for the processing that Swift asks for."""
        shape = self._source.shape
        if parameters.processing == "sum_project":
            return shape[1:], self._source.spectrum
        if parameters.processing == "sum_masked":
            masks = numpy.array([mask.get_mask_array(shape) for mask in parameters.active_masks] or [numpy.ones(shape)])
            return (len(masks),), lambda index: (self._source.frame(index) * masks).sum(axis=(1, 2))
        return shape, self._source.frame

    def _continue(self, update_period: float) -> camera_base.PartialData:
        readout = self._running_readout()
        if not self._cancel.is_set():
            if not readout.is_started:
                self._wait_for_scan()
                readout.start()
            period_s = min(update_period, _LONGEST_UPDATE_S)
            self._cancel.wait(readout.wait_s(period_s))
            new = readout.fill(period_s)
            advance_pixel = getattr(self._scan_device, "advance_pixel", None)
            if callable(advance_pixel):  # the simulated scan moves with the camera, flyback included
                for _ in range(new):
                    advance_pixel()
        return self._partial_data()

    def _end(self) -> None:
        self._readout = None
        self._xdata = None
        self._scan_device = None

    def _wait_for_scan(self) -> None:
        """Until the scan device has begun its frame; pixels clocked before that would be lost."""
        for _ in range(int(_SCAN_START_S / _SCAN_POLL_S)):
            if getattr(self._scan_device, "is_scanning", True) or self._cancel.wait(_SCAN_POLL_S):
                return

    def _running_readout(self) -> playback.Readout:
        if self._readout is None:
            raise RuntimeError("the simulated camera was asked to continue an acquisition that has not begun")
        return self._readout

    def _partial_data(self) -> camera_base.PartialData:
        readout, cancelled = self._running_readout(), self._cancel.is_set()
        xdata = typing.cast(DataAndMetadata.DataAndMetadata, self._xdata)
        return camera_base.PartialData(xdata, cancelled or readout.is_complete, cancelled, None, readout.filled)
