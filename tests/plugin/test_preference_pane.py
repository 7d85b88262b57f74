"""The pane in Swift's Preferences dialog, and the test of the engine."""

from __future__ import annotations

import json
import subprocess
import sys

import psutil
import pytest
from nion.ui import PreferencesDialog

from nionswift_plugin.udvd_live import companion as companion_module
from nionswift_plugin.udvd_live import engine_check, preference_pane, preferences
from udvd_core.errors import UdvdError


@pytest.fixture
def pane(bare_swift, plug_in_settings):
    """The fields, as the dialog shows them."""
    made = preference_pane.PaneHandler(plug_in_settings, bare_swift.document_controller.event_loop)
    yield made
    made.close()


@pytest.fixture
def companion(bare_swift, plug_in_settings):
    """A companion with a real engine that nobody has to wait for."""
    made = companion_module.companion_of(bare_swift.document_model)
    yield made
    made.close()


def test_swift_lists_the_pane(swift):
    panes = PreferencesDialog.PreferencesManager().preference_pane_delegates
    found = next(each for each in panes if each.identifier == "udvd-live")
    widget = found.build(swift.document_controller.ui, swift.document_controller.event_loop)
    assert found.label == "UDVD Live Denoising"
    widget.close()


def test_what_is_right_is_kept_and_told_to_the_companion(companion, pane, plug_in_settings):
    pane.typed("budget_s", "25")
    pane.typed("cameras", "ela_camera, orca")
    pane.map_sigmas_model.value = True
    pane.device_chosen(None, 1)
    kept = json.loads(plug_in_settings.read_text())
    assert kept["training"]["budget_s"] == 25 and kept["cameras"] == ["ela_camera", "orca"]
    assert kept["map_sigmas"] is True and kept["training"]["device"] == "cpu"
    assert companion.preferences == preferences.load(plug_in_settings)
    assert pane.told_model.value == ""


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("budget_s", "soon", "want a number"),
        ("budget_s", "-3", "want 0 or more"),
        ("memory_gib", "0", "want more than 0"),
        ("python", "/no/such/python", "there is no program"),
        ("certificates", "/no/such/folder", "there is no folder"),
        ("engine", "http://gpu:8786", "want tls://HOST:PORT"),
    ],
)
def test_what_is_wrong_is_said_and_not_kept(pane, plug_in_settings, name, text, says):
    before = preferences.load(plug_in_settings)
    pane.typed(name, text)
    assert says in pane.told_model.value.replace("\n", " ")
    assert preferences.load(plug_in_settings) == before
    pane.typed("disk_gib", "100")
    assert pane.told_model.value == "" and preferences.load(plug_in_settings).training.disk_bytes == 100 << 30


def test_another_engine_is_started_once_no_scan_needs_the_old_one(companion, pane):
    first = companion.engine
    pane.typed("python", sys.executable)
    companion.tick()
    assert companion.engine is not first and not psutil.pid_exists(first.pid)
    pane.typed("engine", "tls://gpu:8786")
    companion.tick()
    assert companion.engine is None and "no certificates for tls://gpu:8786" in companion.trouble


def test_fields_show_what_was_chosen():
    chosen = preference_pane.changed(preferences.Preferences(), "memory_gib", "2.5")
    assert preference_pane.shown(chosen, "memory_gib") == "2.5"
    assert [preference_pane.shown(chosen, name) for name in ("python", "engine", "cameras")] == ["", "", ""]
    with pytest.raises(UdvdError, match="want a number"):
        preference_pane.changed(chosen, "disk_gib", "")


def test_the_test_button_says_what_it_found(bare_swift, pane, plug_in_settings):
    pane.test_clicked(None)
    assert pane.testing_model.value == "Testing …"
    bare_swift.pump_until(lambda: pane.testing_model.value == "Test", 90)
    python = preferences.load(plug_in_settings).python or sys.executable
    version = subprocess.check_output([python, "-c", "import sys; print(sys.version.split()[0])"], text=True).strip()
    assert f"Python {version}" in pane.told_model.value and "torch" in pane.told_model.value


def test_a_program_that_is_no_python_is_said(tmp_path):
    program = tmp_path / "python3"
    program.write_text("#!/bin/sh\necho no\n")
    program.chmod(0o755)
    told = engine_check.check(preferences.Preferences(python=str(program)))
    assert "does not run the engine" in told and str(program) in told


def test_missing_torch_is_said_with_the_command():
    facts = {"python": "3.11.7", "packages": {"torch": None}, "devices": [], "weights": {"a": "b"}}
    told = "\n".join(engine_check.told("/usr/bin/python3", facts))
    assert "guide alone" in told and 'python3" -m pip install "nionswift-udvd[engine]"' in told
