"""``udvd assess``: its table, its machine-readable line, its refusals."""

import json

import numpy
import pytest

from udvd_core import cli
from udvd_core.commands import assess
from udvd_core.detector import Detector
from udvd_core.simulate import simulate_hbn


def run(capsys, *arguments):
    code = cli.main(["assess", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assess")
    sample = simulate_hbn((16, 16), 256, counts=4000.0, q_rows=8)
    recording = Detector(0.25, seed=2).record(sample)
    frames, truth = recording.frames(), recording.truth()
    edge = sample.parts[1].weight[..., None] * sample.parts[1].spectrum
    for name, data in (
        ("frames", frames),
        ("spectra", frames.sum(2)),
        ("truth", truth),
        ("truth_frames", recording.truth_frames()),
        ("no_edge", (truth - edge).astype(numpy.float32)),
        ("short", truth[..., :-1]),
        ("small", truth[:4]),
    ):
        numpy.save(folder / f"{name}.npy", data)
    return folder


def test_models_are_compared(files, capsys):
    code, out, err = run(capsys, files / "spectra.npy", "--energy", "100:0.8")
    assert (code, err) == (0, "")
    assert "256 positions" not in out
    assert "16 x 16 positions, 100.0 to 304.0 eV" in out
    assert "0x1 is hidden" in out
    assert "mean spectrum               0.00 +- 0.00" in out
    assert out.splitlines()[-1].startswith("guide")
    assert "  guided  " in out and "udvd" not in out
    assert "predicts held-out counts best" in out


@pytest.mark.parametrize("denoised", ["truth", "truth_frames"])
def test_a_right_scan_passes(files, capsys, denoised):
    code, out, _ = run(capsys, files / "frames.npy", files / f"{denoised}.npy", "--energy", "100:0.8", "--json")
    values = json.loads(out.splitlines()[-1])
    assert code == 0
    assert values["hidden"]["radius"] == [1, 1]
    assert values["noise"]["gain"] == pytest.approx(1.2, abs=0.04)
    assert not any(check["off"] for check in values["residual"])
    assert values["bias"]["found"] == []
    assert values["verdict"].startswith("Nothing speaks against this result")
    assert {model["name"] for model in values["models"]} >= {"mean spectrum", "smoothing", "PCA, best rank"}


def test_a_wrong_scan_is_named(files, capsys):
    code, out, _ = run(capsys, files / "spectra.npy", files / "no_edge.npy", "--energy", "100:0.8")
    assert code == 0
    assert out.splitlines()[-1].startswith("Do not trust 18")
    assert "eV at all positions (signal is missing" in out.splitlines()[-1]


def test_the_papers_network_is_scored_when_asked(files, capsys):
    _, out, _ = run(capsys, files / "spectra.npy", "--udvd", "2", "--json")
    scores = {model["name"]: model["likelihood"] for model in json.loads(out.splitlines()[-1])["models"]}
    assert scores["guide"] > scores["udvd"] and scores["guided"] > scores["PCA, automatic rank"]


@pytest.mark.parametrize(
    ("denoised", "message"),
    [("short", "want the same positions and channels"), ("small", "want the same"), ("absent", "does not exist")],
)
def test_bad_input_is_one_line(files, capsys, denoised, message):
    code, out, err = run(capsys, files / "spectra.npy", files / f"{denoised}.npy")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_faulty_pixels_are_left_out(tmp_path, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(assess, "candidates", lambda *_: {"guide": lambda data, mask: seen.append(mask) or data})
    monkeypatch.setattr(assess.importlib.util, "find_spec", lambda name: None)
    sample = simulate_hbn((16, 16), 200, counts=20000.0, q_rows=1)
    spoiled = Detector(0.25, dead_pixels=2, gap_columns=(90, 91), seed=2).record(sample)
    numpy.save(tmp_path / "raw.npy", spoiled.spectra())
    numpy.save(tmp_path / "truth.npy", Detector(0.25).record(sample).truth())
    code, out, _ = run(capsys, tmp_path / "raw.npy", tmp_path / "truth.npy")
    assert code == 0
    assert "masked" in out
    assert not seen[0][:, 90:92].any()
    assert out.splitlines()[-1].startswith("Nothing speaks against")
