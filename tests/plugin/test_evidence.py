"""Export Evidence... in a real Swift: what is in the folder, and that nothing is overwritten or left half-written."""

from __future__ import annotations

import hashlib
import json
import pathlib

import numpy
import pairs
import PIL.Image
import pytest

from nionswift_plugin.udvd_live import assessment, difference, evidence, evidence_menu, pictures
from nionswift_plugin.udvd_live.task_window import CancelledError, Task
from udvd_core.errors import EngineError
from udvd_core.files import read_scan
from udvd_core.files.__main__ import main as convert

PROVENANCE = {"model": "guided", "weights_sha256": "abc", "settings": {"model": "guided", "budget_s": 10.0}}


@pytest.fixture
def swift(bare_swift, tmp_path, monkeypatch):
    """An empty Swift with the menu entries."""
    monkeypatch.setenv("UDVD_SETTINGS", str(tmp_path / "settings.json"))
    evidence_menu.register()
    yield bare_swift
    pairs.select(bare_swift)
    bare_swift.pump(0.1)
    evidence_menu.unregister()


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "evidence"
    found.mkdir()
    return found


@pytest.fixture
def quick(monkeypatch):
    """Converts in this process: a child takes a second to start."""

    def run(module, arguments, tell, python, note):
        assert module == "udvd_core.files" and convert(arguments) == 0
        tell(1.0, note)
        return ""

    monkeypatch.setattr(assessment, "run_child", run)


def add_pair(swift, **more):
    pair = pairs.add_pair(swift, **more)
    facts = pair.denoised.metadata["udvd"]
    pair.denoised.metadata = {"udvd": {**facts, "provenance": PROVENANCE, "versions": {"numpy": "2"}}}
    return pair


def exported(swift, pair, folder):
    shown = evidence_menu.export_to(swift.document_controller, pair, folder)
    swift.pump_until(lambda: not shown.task.running and shown.button_model.value == "Close", 60)
    assert not shown.task.failed, shown.task.text
    shown.close_window()
    return shown


def with_plots(swift, pair):
    model = swift.document_model
    plot = evidence_menu.comparison.create_comparison(model, pair)
    made = difference.create_differences(model, pair)
    pairs.computed(swift, plot, *made)


@pytest.mark.slow
def test_the_folder_holds_everything(swift, folder):
    pair = add_pair(swift)
    before = pair.raw.data[...].copy()
    with_plots(swift, pair)
    exported(swift, pair, folder)
    (made,) = folder.iterdir()
    assert made.name == "Scan 1 evidence"
    names = {path.name for path in made.iterdir()}
    assert names == {
        *("evidence.json", "raw.hspy", "denoised.hspy", "raw sum.png", "denoised sum.png"),
        "Scan 1 (Compared with Raw, Denoised).png",
        "Scan 1 (Difference in Sigma, all channels, Denoised).png",
    }
    facts = json.loads((made / "evidence.json").read_text("utf-8"))
    raw = pair.raw.data[...]
    assert facts["scans"]["raw"]["sha256"] == hashlib.sha256(raw.astype("<f4").tobytes()).hexdigest()
    assert facts["settings"] == PROVENANCE["settings"] and facts["weights_sha256"] == "abc"
    assert facts["versions"] == {"numpy": "2"} and facts["not_written"] == [] and facts["assessed"] is False
    for name, digest in facts["files"].items():
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == digest
    for label, item in (("raw", pair.raw), ("denoised", pair.denoised)):
        scan = read_scan(made / f"{label}.hspy")
        numpy.testing.assert_array_equal(scan.data, item.data[...])
        assert scan.energy.units == "eV" and scan.title == item.title
    assert "provenance" in read_scan(made / "denoised.hspy").metadata["udvd"]
    assert numpy.array_equal(pair.raw.data[...], before) and "udvd" not in pair.raw.metadata


def test_a_second_export_goes_beside_the_first(swift, folder, quick):
    pair = add_pair(swift)
    first = exported(swift, pair, folder)
    content = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    second = exported(swift, pair, folder)
    assert "Scan 1 evidence 2" in second.task.text and "Scan 1 evidence 2" not in first.task.text
    assert sorted(path.name for path in folder.iterdir()) == ["Scan 1 evidence", "Scan 1 evidence 2"]
    assert all(path.read_bytes() == held for path, held in content.items())


def test_the_assessment_is_there_where_it_was_made(swift, folder, quick):
    pair = add_pair(swift)
    values = {
        **{"verdict": "Trust it.", "noise": {"gain": 1.0, "read_variance": 0.0}, "hidden": {"reason": "none"}},
        **{"defects": "", "models": [], "dose": []},
    }
    assessment.store(pair, values)
    exported(swift, pair, folder)
    (made,) = folder.iterdir()
    assert (made / "assessment.txt").read_text("utf-8").startswith("Trust it.")
    assert json.loads((made / "evidence.json").read_text("utf-8"))["assessment"]["verdict"] == "Trust it."


def test_what_could_not_be_written_is_said_and_the_rest_is_there(swift, folder, monkeypatch):
    def missing(*arguments):
        raise EngineError("rsciio is not installed: pip install it")

    monkeypatch.setattr(assessment, "run_child", missing)
    shown = exported(swift, add_pair(swift), folder)
    (made,) = folder.iterdir()
    facts = json.loads((made / "evidence.json").read_text("utf-8"))
    assert len(facts["not_written"]) == 2 and "rsciio is not installed" in shown.task.text
    assert (made / "raw sum.png").exists()


def test_cancelled_leaves_nothing(swift, folder, quick, monkeypatch):
    pair = add_pair(swift)

    class Impatient(Task):
        def report(self, share, note):
            if share > 0.9:
                raise CancelledError

    task = Impatient(evidence.work(pair, swift.document_model, folder, None))
    task.start()
    task.wait()
    assert task.failed and "Cancelled" in task.text and not list(folder.iterdir())


def test_no_folder_chosen_does_nothing(swift, monkeypatch):
    window = swift.document_controller
    monkeypatch.setattr(window.ui, "get_existing_directory_dialog", lambda title, folder: ("", ""))
    pairs.select(swift, add_pair(swift).denoised)
    assert evidence_menu.export_evidence(window, window.selected_display_items) is None


def test_names_of_scans_become_names_of_folders(tmp_path):
    assert evidence.new_folder(tmp_path, 'a/b\\c:d*"?').name == "a_b_c_d_ evidence"
    assert evidence.new_folder(tmp_path, " .. ").name == "scan evidence"
    names: set[str] = set()
    assert [evidence.unused(name, names) for name in ("B K", "b k", "x/y", "B K")] == [
        *("B K.png", "b k 2.png", "x_y.png", "B K 3.png"),
    ]


# pictures


def pixels(path: pathlib.Path):
    return numpy.asarray(PIL.Image.open(path).convert("RGB")).astype(int)


def test_a_map_is_drawn_to_scale(tmp_path):
    values = numpy.zeros((4, 8))
    values[1, 2], values[3, 7] = 10.0, 5.0
    pictures.save_map(tmp_path / "map.png", values, "Map", "counts", (0.5, "nm"))
    found = pixels(tmp_path / "map.png")
    corner = (2 * pictures.MARGIN + pictures.FONT_SIZE, pictures.MARGIN)
    at = [found[corner[0] + 80 * y + 40, corner[1] + 80 * x + 40, 0] for y, x in ((1, 2), (3, 7), (0, 0))]
    assert at == [255, 127, 0]
    below = found[corner[0] + 4 * 80 + pictures.MARGIN + 2]
    bar = int((below[:, 0] == 0).sum())
    assert 1.0 / 0.5 * 80 <= bar <= 1.0 / 0.5 * 80 + 60, "1 nm, 2 positions of 80 pixels, and part of its label"


def test_differences_have_zero_in_the_middle(tmp_path):
    values = numpy.array([[-1.0, 0.0], [0.0, 4.0]])
    pictures.save_map(tmp_path / "map.png", values, "Difference", "sigma", (1.0, ""), around_zero=1.0)
    found = pixels(tmp_path / "map.png")
    top, left = 2 * pictures.MARGIN + pictures.FONT_SIZE, pictures.MARGIN
    assert found[top + 160, left + 480, 0] == 127 and found[top + 160, left + 160, 0] == 95


@pytest.mark.parametrize("values", [numpy.full((3, 5), numpy.nan), numpy.ones((1, 1)), numpy.zeros((300, 2))])
def test_any_map_can_be_drawn(tmp_path, values):
    pictures.save_map(tmp_path / "map.png", values, "A very long title " * 5, "counts in 30 channels", (1.0, "nm"))
    assert min(pixels(tmp_path / "map.png").shape[:2]) > 100


def test_spectra_are_drawn_in_their_colours_and_unknown_ones_left_out(tmp_path):
    energies = 100 + numpy.arange(64.0)
    line = numpy.where(energies < 130, 5.0, numpy.nan)
    curves = [
        pictures.Curve("Denoised", line, "#0000ff", 2),
        pictures.Curve("Raw", 10 * numpy.ones(64), "#ff0000", 1),
        pictures.Curve("+ sigma", numpy.full(64, numpy.nan), "#00ff00", 1),
    ]
    pictures.save_spectra(tmp_path / "plot.png", energies, curves, "Scan", "counts")
    found = pixels(tmp_path / "plot.png")
    blue, red, green = ((found == colour).all(-1) for colour in ((0, 0, 255), (255, 0, 0), (0, 255, 0)))
    assert not green.any() and red.any()
    columns = numpy.flatnonzero(blue[pictures.PLOT[1] // 2 - 60 :].any(0))
    assert columns.max() < 0.6 * pictures.PLOT[0], "the line ends where its values do"


def test_a_plot_of_nothing_is_empty(tmp_path):
    unknown = pictures.Curve("x", numpy.full(4, numpy.nan), "#00ff00", 1)
    pictures.save_spectra(tmp_path / "plot.png", numpy.arange(4.0), [unknown], "", "")
    assert (tmp_path / "plot.png").exists()


def test_ticks_are_round():
    assert pictures.ticks(0, 10) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert pictures.ticks(99.9, 160.1) == [100, 110, 120, 130, 140, 150, 160]
    assert pictures.ticks(3, 3) == [3] and pictures.nice(0.7) == 0.5
