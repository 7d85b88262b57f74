"""``udvd denoise`` with several scans: each into a file of its own name, and a bad one costs the others nothing."""

import json
import pathlib

import numpy
import pytest

from udvd_core import cli
from udvd_core.axes import Axis
from udvd_core.files import Scan, read_scan, write_scan

E = Axis(16, 100.0, 0.8, "eV", "E")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, and its scans: rows of counts, each with another level."""
    monkeypatch.chdir(tmp_path)

    def write(name, level=3.0):
        data = numpy.random.default_rng(int(level)).poisson(level, (3, 4, 16)).astype(numpy.float32)
        scan = Scan(data, (Axis(3, 0.0, 0.1, "nm", "y"), Axis(4, 1.0, 0.1, "nm", "x"), E), {}, name)
        pathlib.Path(name).parent.mkdir(exist_ok=True)
        write_scan(name, scan, {})
        return scan

    return write


@pytest.fixture
def denoise(capsys):
    """Run the command without a model, which gives the counts back; exit code, last line, lines of errors."""

    def run(*words):
        code = cli.main(["denoise", *words, "--model", "raw", "--budget", "5", "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err.splitlines()

    return run


def test_each_scan_goes_into_a_file_of_its_name(here, denoise):
    scans = {name: here(name, level) for name, level in (("a.nhdf", 3), ("b.npz", 5), ("old/c.ndata", 7))}
    code, told, errors = denoise(*scans, "--output", "2026.11.28")
    assert (code, errors, told["failed"]) == (0, [], {})
    assert sorted(path.name for path in pathlib.Path("2026.11.28").iterdir()) == ["a.nhdf", "b.npz", "c.ndata"]
    for name, scan in scans.items():
        result = read_scan(pathlib.Path("2026.11.28", pathlib.Path(name).name))
        numpy.testing.assert_array_equal(result.data, scan.data)
        assert result.axes == scan.axes
    assert [each["final"] for each in told["scans"]] == [12, 12, 12]


def test_bad_scans_are_told_one_by_one_and_the_others_are_done(here, denoise):
    here("a.npz"), here("d.npz")
    numpy.save("nan.npy", numpy.full((3, 4, 16), numpy.nan))
    pathlib.Path("cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    pathlib.Path("notes.txt").write_text("two scans at 60 keV")
    bad = {
        "nan.npy": "192 values that are NaN",
        "cut.h5": "is it a whole .h5 file?",
        "gone.npz": "does not exist",
        "notes.txt": "suffix '.txt'",
    }
    code, told, errors = denoise("a.npz", *bad, "d.npz", "--output", "out")
    assert code == 2 and len(errors) == len(bad)
    for (name, reason), line in zip(bad.items(), errors, strict=True):
        assert line.startswith("udvd: ") and name in line and reason in line and reason in told["failed"][name]
    assert sorted(path.name for path in pathlib.Path("out").iterdir()) == ["a.npz", "d.npz"]
    assert [pathlib.Path(each["output"]).name for each in told["scans"]] == ["a.npz", "d.npz"]


def test_where_all_scans_are_bad_no_engine_is_started(here, denoise, monkeypatch):
    monkeypatch.setattr("udvd_core.commands.denoise._engine_type", lambda *_: pytest.fail)
    code, told, errors = denoise("x.npy", "y.npy", "--output", "out")
    assert (code, told["scans"], len(errors)) == (2, [], 2)


def test_patterns_that_the_console_left_alone_are_expanded(here, denoise):
    here("a 1.npz"), here("a 2.npz"), here("b.npz")
    assert denoise("a*.npz", "--output", "out")[0] == 0
    assert sorted(path.name for path in pathlib.Path("out").iterdir()) == ["a 1.npz", "a 2.npz"]
    code, told, errors = denoise("c*.npz", "--output", "out")
    assert (code, told) == (2, None) and errors == ["udvd: no file is called c*.npz; give the paths of scans"]


def test_a_single_scan_may_go_into_a_folder_too(here, denoise):
    here("a.npz")
    pathlib.Path("out").mkdir()
    assert denoise("a.npz", "--output", "out")[0] == 0
    assert read_scan("out/a.npz").energy == E


def test_standard_errors_go_into_folders(here, capsys):
    here("a.npz", 30), here("b.npz", 40)
    folders = ["--output", "out", "--sigma", "sigma", "--uncertainty", "doubt"]
    assert cli.main(["denoise", "a.npz", "b.npz", *folders, "--model", "guide", "--budget", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[-1] == "2 of 2 scans denoised"
    for folder in ("out", "sigma", "doubt"):
        assert sorted(path.name for path in pathlib.Path(folder).iterdir()) == ["a.npz", "b.npz"]
    assert (read_scan("sigma/a.npz").data > 0).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.npz", "b.npz", "--output", "out.npz"], "--output is out.npz; want a folder for several scans"),
        (["a.npz", "b.npz", "--output", "a.npz"], "--output is a.npz; want a folder"),
        (["a.npz", "b.npz", "--output", "no/out"], "folder no/out cannot be made"),
        (["a.npz", "b.npz", "--output", "."], "is the scan itself"),
        (["old/a.npz", "a.npz", "old/c.npz", "--output", "old"], "a.npz would be written for 2 scans"),
        (["old/../a.npz", "old/c.npz", "--output", "old"], "c.npz is the scan itself"),
        (["a.npz", "old/a.npz", "--output", "out"], "a.npz would be written for 2 scans"),
        (["a.npz", "a.npz", "--output", "out"], "a.npz would be written for 2 scans"),
        (["b.npz", "old/b.npz", "--output", "old"], "b.npz would be written for 2 scans"),
    ],
)
def test_nothing_is_written_over(here, denoise, words, message):
    for name in ("a.npz", "b.npz", "old/a.npz", "old/b.npz", "old/c.npz"):
        here(name)
    before = {path: path.read_bytes() for path in pathlib.Path().rglob("*.npz")}
    code, told, errors = denoise(*words)
    assert (code, told, len(errors)) == (2, None, 1) and message in errors[0]
    assert {path: path.read_bytes() for path in pathlib.Path().rglob("*.npz")} == before
