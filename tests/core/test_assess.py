"""``udvd assess``: its table, its machine-readable line, its refusals."""

import json

import numpy
import pytest

from udvd_core import cli
from udvd_core.axes import Axis
from udvd_core.commands import assess
from udvd_core.commands.assess_report import in_text, in_values
from udvd_core.commands.outcome import Progress
from udvd_core.detector import Detector
from udvd_core.files import Scan
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


def test_the_dose_meter_tells_what_more_passes_bring(files, capsys):
    code, out, _ = run(
        capsys, files / "spectra.npy", "--energy", "100:0.8", "--signal", "190:210", "--signal", "290:300", "--json"
    )
    values = json.loads(out.splitlines()[-1])["dose"]
    assert code == 0 and [dose["name"] for dose in values] == ["190.4 to 209.6 eV", "290.4 to 299.2 eV"]
    bright, weak = (dose["ratio"] for dose in values)
    assert bright > weak and values[0]["passes"] == 1
    assert "another pass gives" in values[0]["sentence"]


def test_passes_of_the_same_area_give_an_error_without_a_truth():
    sample = simulate_hbn((12, 12), 128, counts=3000.0, q_rows=1, seed=1)
    passes = [Detector(0.25, seed=n).record(sample) for n in range(4)]
    raw = numpy.stack([one.frames().sum(2) for one in passes])
    truth = passes[0].truth()
    axes = (Axis(4, name="t"), Axis(12, name="y"), Axis(12, name="x"), Axis(128, 100.0, 0.8, "eV", "E"))
    result = assess.assess(Scan(raw, axes), None, Progress("assessing"))
    values = in_values(result)
    found = values["passes"]
    assert "first pass against the others, guide: PSNR" in in_text(result)
    assert found["raw"]["mse"] == pytest.approx(((raw[0] - truth) ** 2).mean(), rel=0.05)
    assert found["guide"]["psnr"] > found["raw"]["psnr"] + 8
    assert values["dose"][0]["passes"] == 4


def test_the_difference_is_written_in_sigma(files, tmp_path, capsys):
    target = tmp_path / "difference.npy"
    code, _, _ = run(capsys, files / "spectra.npy", files / "truth.npy", "--energy", "100:0.8", "--difference", target)
    found = numpy.load(target)
    assert code == 0 and found.shape == (16, 16, 256) and found.std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--difference", "x.npy"), "needs the denoised scan"),
        (("--signal", "7"), "want A:B"),
        (("--signal", "900:910"), "choose a window inside it"),
    ],
)
def test_odd_requests_are_refused(files, capsys, arguments, words):
    code, _, err = run(capsys, files / "spectra.npy", "--energy", "100:0.8", *arguments)
    assert code == 2 and words in err
