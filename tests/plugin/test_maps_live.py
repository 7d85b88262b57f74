"""Maps of a scan that real Swift acquired and the plug-in denoised, also after the project was opened again."""

from __future__ import annotations

import numpy
import pytest
from live import run_to_done
from nion.swift import Application
from nion.swift.model import Symbolic

from nionswift_plugin.udvd_live import background_models, map_menu, uncertainties
from nionswift_plugin.udvd_live.map_choices import Choice
from nionswift_plugin.udvd_live.map_view import haadf_of
from nionswift_plugin.udvd_simulator import acquire, headless
from udvd_core.maps.presets import Preset
from udvd_core.settings import MapWindow

CORE = MapWindow("Core", (135.0, 145.0), ((105.0, 130.0),))


def select(swift, item):
    display = swift.document_model.get_display_item_for_data_item(item)
    swift.document_controller.select_display_items_in_data_panel([display])
    swift.document_controller.data_panel_focused()


def made_by(swift, name):
    (found,) = (each for each in swift.document_model.computations if each.processing_id == name)
    return found


@pytest.mark.parametrize("plug_in_settings", [{"maps": [], "training": {"budget_s": 4}}], indirect=True)
def test_the_map_of_a_denoised_scan_knows_its_sigma_and_outlives_the_project(swift, companion, tmp_path, caplog):
    acquisition = acquire.acquire_spectrum_image(swift, (6, 5), 20)
    raw = acquisition.wait()
    denoised = run_to_done(swift, companion).items[0]
    assert uncertainties.load(denoised, 30, raw.data_shape[-1]).risk.size > 0

    select(swift, denoised)
    (item,) = map_menu.map_selected(swift.document_controller, Choice("", Preset("core", (CORE,))))
    computation = made_by(swift, "udvd.map")
    sigma = computation.get_output("sigma")
    swift.pump_until(lambda: sigma.data_shape, 20)
    assert item.title == f"{raw.title} (Core, Denoised)" and item.session_metadata == raw.session_metadata
    assert numpy.isfinite(sigma.data[...]).all() and (sigma.data[...] > 0).all()
    assert "HAADF" in haadf_of(item, swift.data_items).title
    select(swift, item)
    beside = map_menu.map_raw(swift.document_controller)[0]
    swift.pump_until(lambda: beside.data_shape, 20)
    assert (beside.data[...] - item.data[...]).std() > sigma.data[...].mean()
    select(swift, item)
    view = map_menu.view_maps(swift.document_controller)
    swift.pump_until(lambda: view.data_shape, 20)
    before, number = item.data[...].copy(), len(swift.data_items)
    assert companion.current.recording.item is raw and not companion.ignored, "maps are no scans"
    swift.close()
    assert not [record for record in caplog.records if record.exc_info]

    with headless.HeadlessSwift(tmp_path / "swift", skip_plug_ins=["nionswift_plugin.udvd_simulator"]) as again:
        assert "udvd.map" in Symbolic._computation_types and map_menu.build_menu in Application.app.menu_handlers
        assert background_models._models[0].title == "Power Law (Poisson)"
        assert len(again.data_items) == number
        (item,) = again.find("(Core, Denoised)")
        assert numpy.array_equal(item.data[...], before)
        computation = next(each for each in again.document_model.computations if item in each.output_items)
        (view,) = again.find("significance")
        signal = computation.get_input("signal")
        signal.interval = (signal.interval[0], signal.interval[1] + 0.05)
        again.pump_until(lambda: not numpy.array_equal(item.data[...], before), 20)
        assert numpy.isfinite(computation.get_output("sigma").data[...]).all(), "errors were kept with the project"
        signal.label = "Other"
        again.pump_until(lambda: "Other" in view.caption, 20)
    assert "udvd.map" not in Symbolic._computation_types


@pytest.mark.parametrize("plug_in_settings", [{"maps": [], "training": {"model": "raw"}}], indirect=True)
def test_a_map_of_a_running_scan_grows_with_it(swift, companion, shutter):
    shutter.hold(15)
    acquisition = acquire.acquire_spectrum_image(swift, (6, 5), 20)
    shutter.pump_to(swift, companion, 15, lambda job: job.items and job.status and job.status.denoised == 15)
    select(swift, acquisition.item)
    (item,) = map_menu.map_selected(swift.document_controller, Choice("", Preset("core", (CORE,))))
    swift.pump_until(lambda: item.data_shape, 20)
    swift.pump_until(lambda: item.data[:3].all(), 20)
    assert not item.data[3:].any()
    shutter.open()
    raw = acquisition.wait()
    swift.pump_until(lambda: item.data[...].all(), 20)
    sigma = made_by(swift, "udvd.map").get_output("sigma")
    run_to_done(swift, companion)
    assert "(Core, Raw" in item.title and raw.data_shape[:2] == item.data_shape
    # 30 spectra are too few to measure noise
    assert numpy.isnan(sigma.data[...]).all() and not item.is_live
