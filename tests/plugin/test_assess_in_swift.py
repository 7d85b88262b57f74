"""Assess Denoising... in a real Swift: a child process, a window with the verdict, and what is kept."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time

import numpy
import pairs
import pytest

from nionswift_plugin.udvd_live import assessment, evidence_menu, scan_files, task_window
from nionswift_plugin.udvd_live.task_window import CancelledError, Task
from udvd_core.errors import EngineError, InputError
from udvd_core.files import read_scan


@pytest.fixture
def swift(bare_swift, tmp_path, monkeypatch):
    """An empty Swift with the menu entries; temporary files are in the test's folder."""
    monkeypatch.setenv("UDVD_SETTINGS", str(tmp_path / "settings.json"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    evidence_menu.register()
    yield bare_swift
    pairs.select(bare_swift)
    bare_swift.pump(0.1)
    evidence_menu.unregister()


def opened(swift, pair):
    pairs.select(swift, pair.denoised)
    window = swift.document_controller
    return evidence_menu.assess_denoising(window, window.selected_display_items)


def ended(swift, shown):
    swift.pump_until(lambda: not shown.task.running and shown.button_model.value == "Close", 110)


def leftovers(tmp_path):
    return list((tmp_path / "temporary").iterdir())


@pytest.mark.slow
def test_the_verdict_comes_first_and_is_kept_with_the_denoised_item(swift, tmp_path):
    pair = pairs.add_pair(swift)
    before = pair.raw.data[...].copy()
    shown = opened(swift, pair)
    notes, shares = [], []

    def over():
        notes.append(shown.note_model.value)
        shares.append(shown.share_model.value)
        return shown.button_model.value == "Close"

    swift.pump_until(over, 110)
    kept = pair.denoised.metadata["udvd"]["assessment"]
    assert shown.note_model.value == kept["verdict"] and not shown.task.failed
    assert any(note.startswith("Assessing, ") and "guide" in note for note in notes), set(notes)
    assert len(set(shares)) > 3 and shares == sorted(shares)
    text = shown.text_model.value
    assert text.startswith("Scan 1 (Denoised)") and "MODELS" in text and "guide" in text and "BIAS" in text
    assert {each["name"] for each in kept["models"]} >= {"guide"} and kept["scan_shape"] == [8, 6]
    assert kept["version"] and kept["created"] and pair.denoised.metadata["udvd"]["source_uuid"] == str(pair.raw.uuid)
    assert not leftovers(tmp_path)
    assert "udvd" not in pair.raw.metadata and numpy.array_equal(pair.raw.data[...], before)
    shown.close_window()


def test_cancel_ends_the_child_and_keeps_nothing(swift, tmp_path, monkeypatch):
    started = []
    start = subprocess.Popen

    def slow(command, **options):
        started.append(start([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[0]

    monkeypatch.setattr(assessment.subprocess, "Popen", slow)
    pair = pairs.add_pair(swift)
    shown = opened(swift, pair)
    swift.pump_until(lambda: shown.note_model.value.startswith("Assessing"), 20)
    assert shown.button_model.value == "Cancel"
    shown.clicked(None)
    ended(swift, shown)
    assert started[0].poll() is not None and shown.note_model.value.startswith("Cancelled")
    assert "assessment" not in pair.denoised.metadata["udvd"] and not leftovers(tmp_path)
    shown.close_window()


def test_closing_the_window_cancels(swift, monkeypatch):
    go_on = threading.Event()

    def work(task):
        while not go_on.wait(0.01):
            task.report(0.5, "at work")
        return "done"

    shown = task_window.TaskWindow(swift.document_controller, "Test", Task(work))
    swift.pump_until(lambda: shown.note_model.value == "at work", 10)
    shown.close_window()
    swift.pump_until(lambda: not shown.task.running, 10)
    assert shown.task.failed and not go_on.is_set()


def test_swift_goes_on_while_it_writes(swift, monkeypatch):
    """The main thread never waits for the worker: it runs while the worker is held."""
    hold = threading.Event()
    write = scan_files.write_npy
    monkeypatch.setattr(assessment, "write_npy", lambda *arguments: hold.wait(20) and write(*arguments))
    monkeypatch.setattr(assessment, "run_child", lambda *arguments: '{"verdict": "x"}')
    monkeypatch.setattr(assessment, "in_text", lambda values, title: values["verdict"])
    shown = opened(swift, pairs.add_pair(swift))
    swift.pump(0.3)
    assert shown.task.running
    hold.set()
    ended(swift, shown)
    assert shown.note_model.value == "x"
    shown.close_window()


def test_a_scan_that_still_runs_is_refused(swift):
    pair = pairs.add_pair(swift)
    pair.denoised.increment_data_ref_count()
    with swift.document_model.item_transaction(pair.denoised), pytest.raises(InputError, match="still being filled"):
        assessment.check_ended(pair)
    pair.denoised.decrement_data_ref_count()
    assessment.check_ended(pair)


def run(code, tell=lambda share, note: None, python=None):
    """Run a program as `run_child` does; its module is a file's name for Python."""
    return assessment.run_child("timeit", ["-n", "1", "-r", "1", code], tell, python, "Working")


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        (
            "import os; os.write(2, b'udvd: no counts; want some'); os._exit(2)",
            InputError,
            "^no counts; want some",
        ),
        ("import os; os.write(2, b'out of luck'); os._exit(3)", EngineError, "code 3: out of luck"),
    ],
)
def test_what_the_child_says_is_the_error(code, error, said):
    with pytest.raises(error, match=said):
        run(code)


def test_what_the_child_says_of_its_progress_is_told_and_no_complaint():
    told = []
    run(
        "import os, time; os.write(2, b'progress 0.25 measuring the noise\\n'); time.sleep(0.5)",
        lambda share, note: told.append((share, note)),
    )
    assert told[-1][0] == 0.25 and told[-1][1].endswith(" s: measuring the noise")


def test_a_missing_interpreter_is_said(tmp_path):
    with pytest.raises(EngineError, match="does not exist"):
        run("pass", python=str(tmp_path / "none"))


def test_the_child_is_ended_when_it_is_cancelled():
    def tell(share, note):
        raise CancelledError

    begin = time.monotonic()
    with pytest.raises(CancelledError):
        run("import time; time.sleep(60)", tell)
    assert time.monotonic() - begin < 50


def test_errors_of_a_task_are_its_text():
    def fail(task):
        raise InputError("got this, want that; do so")

    task = Task(fail)
    task.start()
    task.wait()
    assert task.failed and task.text == "got this, want that; do so"


# files


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_the_file_is_the_scan(swift, tmp_path, frames, large, monkeypatch):
    monkeypatch.setattr(scan_files, "BLOCK_BYTES", 4 * 64 * 7)
    pair = pairs.add_pair(swift, frames=frames, large_format=large)
    shares = []
    written = scan_files.write_npy(pair.raw, tmp_path / "raw.npy", shares.append)
    found = read_scan(tmp_path / "raw.npy")
    numpy.testing.assert_array_equal(found.data, pair.raw.data[...])
    assert found.has_rows is frames and found.title == "Scan 1"
    assert [axis.name for axis in found.axes] == ["y", "x", *(["q"] if frames else []), "E"]
    assert (found.energy.offset, found.energy.scale, found.energy.units) == (100.0, 1.0, "eV")
    assert [axis.units for axis in found.scan_axes] == ["nm", "nm"]
    assert written.sha256 == hashlib.sha256(pair.raw.data[...].astype("<f4").tobytes()).hexdigest()
    numpy.testing.assert_allclose(written.summed, pair.raw.data[...].reshape(8, 6, -1).sum(-1))
    assert len(shares) > 5 and shares[-1] == 1.0 and shares == sorted(shares)


def test_a_full_disk_is_said_before_anything_is_written(swift, tmp_path, monkeypatch):
    monkeypatch.setattr(scan_files, "SPARE_BYTES", 1 << 60)
    with pytest.raises(InputError, match="0 MB to spare"):
        scan_files.write_npy(pairs.add_pair(swift).raw, tmp_path / "raw.npy", lambda share: None)
    assert not (tmp_path / "raw.npy").exists()


def test_the_text_has_all_that_counts():
    values = json.loads(
        """{"verdict": "Trust it.", "noise": {"gain": 1.0, "read_variance": 0.5}, "hidden": {"reason": "no spreading"},
        "defects": "", "models": [{"name": "guide", "setting": "rank 3", "gain": 0.012, "error": 0.001}],
        "residual": [{"name": "variance", "value": 0.8, "expected": 1.0, "error": 0.01, "off": true}],
        "bias": {"tests": 7, "worst": 4.5, "rms": {"4 x 8": 0.9}, "found": [{"energy": "5 to 9 eV", "sigma": -4.5,
        "positions": [[0, 3], [2, 4]]}]}, "dose": [{"sentence": "enough"}]}"""
    )
    text = assessment.in_text(values, "Scan 7")
    assert text.startswith("Trust it.\n\nScan 7\n")
    for part in ("guide rank 3:  +12.00 \N{PLUS-MINUS SIGN} 1.00", "variance:  0.800", "<- off", "none faulty"):
        assert part in text
    assert "5 to 9 eV:  -4.5 sigma, positions 0 to 2 x 2 to 3" in text and text.endswith("DOSE, enough")
    assert "RESIDUAL" not in assessment.in_text({k: v for k, v in values.items() if k != "residual"}, "")
