"""The simulated camera in a real Swift: what is acquired is exactly what the source gives."""

from __future__ import annotations

import json
import logging
import pathlib
import threading
import time
import typing

import numpy
import pytest
from nion.instrumentation import camera_base
from nion.utils import Registry

from nionswift_plugin.udvd_simulator import acquire, camera, headless, playback, registration, sources
from udvd_core import files
from udvd_core.axes import Axis
from udvd_core.errors import InputError, SettingsError

pytestmark = [pytest.mark.swift, pytest.mark.timeout(120)]

Array = numpy.typing.NDArray[typing.Any]


@pytest.fixture(autouse=True)
def plug_in_settings(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Nothing is followed here, so that no engine starts."""
    path = tmp_path / "udvd.json"
    path.write_text(json.dumps({"follow": False}))
    monkeypatch.setenv("UDVD_SETTINGS", str(path))
    return path


def data_of(item: typing.Any) -> Array:
    return numpy.array(item.data[:])


def expected(read: typing.Callable[[int], Array], *shape: int) -> Array:
    frames = numpy.array([read(index) for index in range(int(numpy.prod(shape)))])
    return frames.reshape(*shape, *frames.shape[1:])


def test_spectra_are_exactly_the_source(swift: headless.HeadlessSwift, source: sources.FrameSource) -> None:
    acquisition = acquire.acquire_spectrum_image(swift, (6, 5), 20)
    item = acquisition.wait()
    assert item.title == "Spectrum Image EELS 1"
    assert data_of(item).dtype == numpy.float32
    assert numpy.array_equal(data_of(item), expected(source.spectrum, 6, 5))
    energy = item.dimensional_calibrations[-1]
    assert (energy.offset, energy.scale, energy.units) == (source.energy.offset, source.energy.scale, "eV")
    assert item.intensity_calibration.units == "counts"
    hardware = item.metadata["hardware_source"]
    assert hardware["signal_type"] == "eels"
    assert hardware["counts_per_electron"] == 1
    assert hardware["exposure"] == pytest.approx(0.02)
    (haadf,) = swift.find("Spectrum Image HAADF")
    assert (data_of(haadf) != 0).all(axis=1).all()
    assert acquisition.error is None


def test_frames_sum_to_the_spectra_and_repeat(swift: headless.HeadlessSwift, source: sources.FrameSource) -> None:
    frames = data_of(acquire.acquire_spectrum_image(swift, (6, 5), 5, frames=True).wait())
    spectra = data_of(acquire.acquire_spectrum_image(swift, (6, 5), 5).wait())
    again = data_of(acquire.acquire_spectrum_image(swift, (6, 5), 12).wait())
    assert numpy.array_equal(frames, expected(source.frame, 6, 5))
    assert numpy.array_equal(frames.sum(axis=2), spectra)
    assert numpy.array_equal(spectra, again)


def test_a_scan_larger_than_the_source_repeats_the_sample_not_the_noise(swift: headless.HeadlessSwift) -> None:
    data = data_of(acquire.acquire_spectrum_image(swift, (13, 7), 2).wait())
    assert len(numpy.unique(data.reshape(13 * 7, -1), axis=0)) == 13 * 7


@pytest.mark.parametrize("section_height", [None, 2, 4])
def test_repeated_scans_in_sections(
    swift: headless.HeadlessSwift, source: sources.FrameSource, section_height: int | None
) -> None:
    for scan_count in (2, 1):
        acquisition = acquire.acquire_spectrum_image(
            swift, (6, 5), 4, scan_count=scan_count, section_height=section_height
        )
        data = data_of(acquisition.wait())
        assert numpy.array_equal(data.reshape(scan_count, 6, 5, -1), expected(source.spectrum, scan_count, 6, 5))


@pytest.mark.calm
def test_abort_keeps_what_was_acquired_and_the_next_scan_begins_anew(
    swift: headless.HeadlessSwift, source: sources.FrameSource
) -> None:
    acquisition = acquire.acquire_spectrum_image(swift, (20, 20), 10, section_height=2)
    swift.pump_until(lambda: acquisition.item is not None and acquisition.item.is_live)
    swift.pump(1.2)
    start = time.perf_counter()
    acquisition.abort()
    data = data_of(acquisition.wait())
    assert time.perf_counter() - start < 1.0
    assert acquisition.aborted and acquisition.error is None
    acquired = (data > 0).any(axis=-1).ravel()
    assert 5 < acquired.sum() < 400
    data = data_of(acquire.acquire_spectrum_image(swift, (6, 5), 4, section_height=2).wait())
    assert numpy.array_equal(data, expected(source.spectrum, 6, 5))


def test_lines_and_sequences(swift: headless.HeadlessSwift, source: sources.FrameSource) -> None:
    item = acquire.acquire_line_scan(swift, 10, 5).wait()
    assert item.data_shape == (1, 10, 64)
    item = acquire.acquire_sequence(swift, 40, 4).wait()
    assert item.is_sequence and item.collection_dimension_count == 0
    assert numpy.array_equal(data_of(item), expected(source.spectrum, 40))
    item = acquire.acquire_sequence(swift, 10, 4, line=True, frames=True).wait()
    assert not item.is_sequence and item.collection_dimension_count == 1
    assert numpy.array_equal(data_of(item), expected(source.frame, 10))


def test_the_dwell_time_is_kept_and_data_come_in_pieces(swift: headless.HeadlessSwift) -> None:
    positions: list[int] = []
    original = swift.document_model.update_data_item_partial

    def spy(item: typing.Any, metadata: typing.Any, xdata: typing.Any, source: typing.Any, target: typing.Any) -> None:
        if "EELS" in item.title:
            positions.append(int(numpy.prod([part.stop - part.start for part in target[:1]])))
        original(item, metadata, xdata, source, target)

    swift.document_model.update_data_item_partial = spy  # type: ignore[method-assign]
    acquisition = acquire.acquire_spectrum_image(swift, (8, 8), 50)
    acquisition.wait()
    assert acquisition.seconds == pytest.approx(8 * (8 + 2) * 0.05 + 0.2, rel=0.2)
    assert len(positions) >= 3 * 4


def test_live_view(swift: headless.HeadlessSwift, source: sources.FrameSource) -> None:
    hardware = Registry.get_component("eels_camera_hardware_source")
    hardware.start_playing()
    images: list[typing.Any] = []
    thread = threading.Thread(target=lambda: images.extend(hardware.get_next_xdatas_to_finish(10)))
    thread.start()
    swift.pump_until(lambda: len(images) == 2)
    thread.join()
    hardware.stop_playing()
    swift.pump_until(lambda: not hardware.is_playing)
    frame, spectrum = images
    assert frame.data_shape == source.shape
    assert numpy.array_equal(frame.data.sum(axis=0), spectrum.data)
    assert frame.dimensional_calibrations[-1].units == "eV"


@pytest.mark.parametrize("simulator_config", [{"source": "recorded.npz"}], indirect=True)
def test_a_recorded_scan_of_spectra_plays_exactly(
    simulator_config: sources.SimulatorConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UDVD_SIMULATOR", simulator_config.to_json())
    recorded = numpy.random.default_rng(0).normal(3, 2, (3, 4, 32)).astype(numpy.float32)
    numpy.savez("recorded.npz", data=recorded, energy_eV=350 + 0.5 * numpy.arange(32))
    with headless.HeadlessSwift(tmp_path / "swift") as swift:
        item = acquire.acquire_spectrum_image(swift, (3, 4), 5).wait()
        assert numpy.array_equal(data_of(item), recorded)
        assert item.dimensional_calibrations[-1].offset == pytest.approx(350)
        tiled = data_of(acquire.acquire_spectrum_image(swift, (4, 9), 5).wait())
        assert numpy.array_equal(tiled, numpy.tile(recorded, (2, 3, 1))[:4, :9])
        frames = data_of(acquire.acquire_spectrum_image(swift, (3, 4), 5, frames=True).wait())
        assert numpy.array_equal(frames[:, :, 0], recorded)


@pytest.mark.parametrize("text", [None, '{"source": "gold"}'])
def test_without_a_usable_description_swift_has_its_own_camera(
    text: str | None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is None:
        monkeypatch.delenv("UDVD_SIMULATOR", raising=False)
    else:
        monkeypatch.setenv("UDVD_SIMULATOR", text)
    with caplog.at_level(logging.ERROR), headless.HeadlessSwift(tmp_path / "swift"):
        hardware = Registry.get_component("eels_camera_hardware_source")
        assert hardware.hardware_source_id == "usim_eels_camera"
    assert len([record for record in caplog.records if record.name.endswith("registration")]) == (1 if text else 0)


def test_opening_again_finds_the_data_and_leaves_nothing_behind(
    simulator_config: sources.SimulatorConfig,
    source: sources.FrameSource,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UDVD_SIMULATOR", simulator_config.to_json())
    before = set(threading.enumerate())
    with headless.HeadlessSwift(tmp_path / "swift") as swift:
        hardware = Registry.get_component("eels_camera_hardware_source")
        assert hardware.hardware_source_id == camera.CAMERA_ID
        acquire.acquire_spectrum_image(swift, (6, 5), 4).wait()
    assert set(threading.enumerate()) == before
    for kind in ("camera_module", "hardware_source", "stem_controller", "scan_module", "document_model", "application"):
        assert not Registry.get_components_by_type(kind), kind
    with headless.HeadlessSwift(tmp_path / "swift") as swift:
        (item,) = swift.find("Spectrum Image EELS")
        assert numpy.array_equal(data_of(item), expected(source.spectrum, 6, 5))


def test_plug_ins_can_be_left_out(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UDVD_SIMULATOR", sources.SimulatorConfig(size=(2, 2), channels=16).to_json())
    skipped = ("nionswift_plugin.udvd_simulator", "nionswift_plugin.udvd_live")
    with headless.HeadlessSwift(tmp_path / "swift", skip_plug_ins=skipped) as swift:
        assert Registry.get_component("eels_camera_hardware_source").hardware_source_id == "usim_eels_camera"
        assert swift.project_path.is_file()


def test_an_error_while_open_still_closes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError), headless.HeadlessSwift(tmp_path / "swift") as swift:
        raise ZeroDivisionError
    assert not Registry.get_components_by_type("application")
    with pytest.raises(RuntimeError, match="not open"):
        _ = swift.document_controller


# without Swift


@pytest.mark.parametrize("text", [None, "", "{not json", '{"colour": 1}', '{"source": "gold"}', '{"size": 3}'])
def test_a_description_that_cannot_be_used_is_told_in_one_line(
    text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    registration.register_from_environment({} if text is None else {registration.ENVIRONMENT_VARIABLE: text})
    assert not Registry.get_components_by_type("camera_module")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (1 if text else 0) and all("\n" not in message for message in messages)


def test_description_round_trip_and_errors() -> None:
    config = sources.SimulatorConfig(source="phonon", counts=3000, seed=7, size=(3, 4), q_rows=2, channels=256)
    assert sources.SimulatorConfig.from_json(config.to_json()) == config
    assert json.loads(config.to_json()) == config.describe()
    for text in ("[1]", '{"seed": "x"}', '{"counts": 0}', '{"size": [0, 3]}', '{"q_rows": 0}'):
        with pytest.raises(SettingsError):
            sources.SimulatorConfig.from_json(text)
    with pytest.raises(InputError, match="does not exist"):
        sources.build_source(sources.SimulatorConfig(source="missing.npz"))


def recorded_source(*shape: int) -> sources.RecordedSource:
    data = numpy.random.default_rng(1).poisson(3, shape).astype(numpy.uint16)
    names = {2: "xE", 3: "yxE", 4: "yxqE"}[len(shape)]
    axes = [Axis(size, name=name) for size, name in zip(shape, names, strict=True)]
    return sources.RecordedSource(files.Scan(data, tuple(axes)))


def test_recorded_lines_spectra_and_frames() -> None:
    assert recorded_source(7, 20).scan_shape == (1, 7)
    spectra, frames = recorded_source(3, 4, 20), recorded_source(3, 4, 5, 20)
    assert (spectra.scan_shape, spectra.shape) == ((3, 4), (1, 20))
    assert (frames.scan_shape, frames.shape) == ((3, 4), (5, 20))
    for source in (spectra, frames):
        assert source.frame(13).dtype == source.spectrum(13).dtype == numpy.float32
        assert numpy.array_equal(source.frame(13), source.frame(1))
        assert numpy.array_equal(source.frame(1).sum(axis=0), source.spectrum(1))


def test_simulated_repeats_have_new_noise() -> None:
    source = sources.build_source(sources.SimulatorConfig(size=(2, 3), q_rows=2, channels=64))
    assert numpy.array_equal(source.frame(7), source.frame(7))
    assert not numpy.array_equal(source.frame(1), source.frame(7))


def test_virtual_detectors_sum_whole_frames() -> None:
    source = recorded_source(3, 4, 5, 20)
    device = camera.SimulatedCamera(source, {})
    parameters = camera_base.CameraFrameParameters(exposure_ms=1, processing="sum_masked")
    parameters.active_masks = [camera_base.Mask(), camera_base.Mask()]
    partial = device.acquire_sequence_begin(parameters, 12)
    while not partial.is_complete:
        partial = device.acquire_sequence_continue(update_period=0.1)
    device.acquire_sequence_end()
    totals = expected(lambda index: source.frame(index).sum(), 12)
    assert numpy.array_equal(partial.xdata.data, numpy.stack([totals, totals], axis=1))
    with pytest.raises(RuntimeError, match="has not begun"):
        device.acquire_sequence_continue()


def test_registering_twice_replaces_and_removing_twice_is_harmless() -> None:
    registration.register(recorded_source(2, 2, 5))
    registration.register(recorded_source(2, 2, 5))
    assert len(Registry.get_components_by_type("camera_module")) == 1
    registration.unregister()
    registration.unregister()
    assert not Registry.get_components_by_type("camera_module")


def test_window_indices_are_flat_where_the_shapes_agree_and_unique_elsewhere() -> None:
    window = playback.ScanWindow(5, 2, first_row=2, repeat=1, height=6, source_shape=(6, 5))
    assert [window.source_index(count) for count in range(9)] == [None, None, 40, 41, 42, 43, 44, None, None]
    indices = [
        playback.ScanWindow(7, 0, 0, repeat, 8, (3, 4)).source_index(count)
        for repeat in range(3)
        for count in range(56)
    ]
    assert len(set(indices)) == 3 * 56


def test_readout_gives_what_is_due_and_no_more() -> None:
    now = [0.0]
    readout = playback.Readout(lambda count: numpy.full(2, count + 1, numpy.float32), (10, 2), 0.5, lambda: now[0])
    assert readout.due() == 0 and readout.wait_s(1) == 0
    readout.start()
    now[0] = 1.9
    assert readout.fill(1) == 3 and readout.filled == 3 and not readout.is_complete
    assert readout.wait_s(9) == pytest.approx(5 - 1.9)
    now[0] = 99
    assert readout.fill(1) == 7 and readout.is_complete and readout.wait_s(9) == 0
    assert numpy.array_equal(readout.data[:, 0], numpy.arange(1, 11))
