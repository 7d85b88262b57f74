"""The command line: what it writes, and that every mistake is one line and exit code 2."""

import io
import json
import os
import pathlib
import subprocess
import sys

import numpy
import pytest

from udvd_core import cli
from udvd_core.axes import Axis
from udvd_core.commands import denoise
from udvd_core.commands.outcome import Progress
from udvd_core.engine import farm
from udvd_core.engine.protocol import Block, Failed, Finished, Resend, Status
from udvd_core.files import Scan, read_scan, write_scan
from udvd_core.metrics import psnr

Y, X, Q = Axis(3, 0.0, 0.1, "nm", "y"), Axis(4, 1.0, 0.1, "nm", "x"), Axis(2, 0.0, 0.5, "mrad", "q")
E = Axis(16, 100.0, 0.8, "eV", "E")


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *arguments) -> str:
    """Run a command that must fail; its one line."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("udvd: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def write(path: pathlib.Path, *axes: Axis) -> Scan:
    data = numpy.random.default_rng(0).poisson(3.0, tuple(axis.size for axis in axes)).astype(numpy.float32)
    scan = Scan(data, axes, {"hardware_source": {"signal_type": "eels"}}, "SI 12")
    write_scan(path, scan, {})
    return scan


class FakeEngine:
    """Doubles every frame; refuses every other push, wants all again once, may give up or stop early."""

    failure = ""
    unfinished = 0
    workers = 1

    def open(self, spec):
        self.spec = spec
        self.frames = {}
        self.calls = 0
        self.lost = False
        self.finished = False

    def push(self, scan_id, start, frames):
        self.calls += 1
        if self.calls % 2:
            return False
        assert frames.dtype == numpy.float32
        assert frames.shape[1:] == self.spec.frame_shape
        self.frames.update(enumerate(frames, start))
        return True

    def finish(self, scan_id):
        self.finished = True

    def abort(self, scan_id):
        raise NotImplementedError

    def poll(self):
        name, count = self.spec.scan_id, self.spec.count
        if self.failure and self.frames:
            return [Failed(name, self.failure)]
        if not self.lost and self.frames:
            self.lost, self.frames = True, {}
            return [Resend(name, "restarted")]
        if not self.finished or len(self.frames) < count:
            return [Status(name, len(self.frames), 0, 0, 0, "", "cpu", "udvd")]
        frames = numpy.stack([self.frames[index] for index in range(count)])
        data = 2 * (frames if self.spec.training.frames else frames.sum(axis=1))
        maps = numpy.zeros((0, 2, count), numpy.float32)
        done = count - self.unfinished
        return [
            Block(name, 0, 7 * data[:done], maps[..., :done], False, 1),
            Block(name, 0, data[:done], maps[..., :done], True, 9),
            Finished(name, count, done, 9, {"model": "udvd", "loss": float("nan")}),
        ]

    def describe(self):
        return "fake"

    def close(self):
        self.closed = True


@pytest.fixture
def fake(monkeypatch):
    class Engine(FakeEngine):
        pass

    monkeypatch.setattr(denoise, "_engine_type", lambda *_: Engine)
    monkeypatch.setattr(farm, "PUSH_FRAMES", 5)
    return Engine


@pytest.mark.parametrize("suffix", [".nhdf", ".npy"])
def test_denoise_keeps_axes_and_metadata(tmp_path, capsys, fake, suffix):
    scan = write(tmp_path / f"in{suffix}", Y, X, E)
    code, out, _ = run(capsys, "denoise", tmp_path / f"in{suffix}", "--output", tmp_path / f"out{suffix}", "--json")
    assert code == 0
    last = json.loads(out.splitlines()[-1])
    assert (last["frames"], last["final"], last["warning"]) == (12, 12, "")
    assert last["provenance"]["loss"] is None
    result = read_scan(tmp_path / f"out{suffix}")
    numpy.testing.assert_array_equal(result.data, 2 * scan.data)
    assert result.axes == scan.axes
    assert result.title == "SI 12 (Denoised)"
    assert result.metadata["hardware_source"] == {"signal_type": "eels"}
    assert result.metadata["udvd"]["model"] == "udvd"
    assert len(result.metadata["udvd"]["input"]["sha256"]) == 64


def test_frames_are_summed_unless_asked_for(tmp_path, capsys, fake):
    scan = write(tmp_path / "in.h5", Y, X, Q, E)
    assert run(capsys, "denoise", tmp_path / "in.h5", "--output", tmp_path / "sum.h5")[0] == 0
    result = read_scan(tmp_path / "sum.h5")
    assert result.axes == (Y, X, E)
    numpy.testing.assert_array_equal(result.data, 2 * scan.data.sum(axis=2))
    assert run(capsys, "denoise", tmp_path / "in.h5", "--output", tmp_path / "all.h5", "--frames")[0] == 0
    result = read_scan(tmp_path / "all.h5")
    assert result.axes == scan.axes
    numpy.testing.assert_array_equal(result.data, 2 * scan.data)


def test_frames_that_were_not_reached_are_raw_and_said_so(tmp_path, capsys, fake):
    fake.unfinished = 3
    scan = write(tmp_path / "in.npy", Y, X, E)
    code, _, err = run(capsys, "denoise", tmp_path / "in.npy", "--output", tmp_path / "out.npy")
    assert code == 0
    assert err.startswith("udvd: warning: 9 of 12 frames were made final")
    assert err.count("\n") == 1
    result = numpy.load(tmp_path / "out.npy")
    numpy.testing.assert_array_equal(result[2, 1:], scan.data[2, 1:])
    numpy.testing.assert_array_equal(result[:2], 2 * scan.data[:2])


def test_a_failing_engine_writes_nothing(tmp_path, capsys, fake):
    fake.failure = "out of memory on cuda:0"
    write(tmp_path / "in.npz", Y, X, E)
    assert "out of memory on cuda:0" in refused(capsys, "denoise", tmp_path / "in.npz", "--output", tmp_path / "o.npz")
    assert not (tmp_path / "o.npz").exists()


def test_interruption_is_one_line(tmp_path, capsys, fake, monkeypatch):
    write(tmp_path / "in.npz", Y, X, E)

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeEngine, "poll", interrupt)
    code, _, err = run(capsys, "denoise", tmp_path / "in.npz", "--output", tmp_path / "o.npz")
    assert (code, err.count("\n")) == (130, 1)
    assert not (tmp_path / "o.npz").exists()


def test_a_fault_of_ours_is_one_line_too(tmp_path, capsys, fake, monkeypatch):
    write(tmp_path / "in.npz", Y, X, E)
    monkeypatch.setattr(FakeEngine, "open", lambda self, spec: 1 / 0)
    assert "ZeroDivisionError" in refused(capsys, "denoise", tmp_path / "in.npz", "--output", tmp_path / "o.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "magic"], "invalid choice: 'magic'"),
        (["--blind", "3"], "want auto or QxE"),
        (["--blind", "1x-1"], "want auto or QxE"),
        (["--energy", "abc"], "want OFFSET:STEP in eV"),
        (["--engine", "tls://gpu:8786"], "needs --certs FOLDER"),
        (["--engine", "tcp://gpu:8786"], "want tls://HOST:PORT"),
        (["--engine", "cloud"], "want inline, local or tls://HOST:PORT"),
        (["--budget", "-1"], "want 0 or more"),
        (["--budget", "inf"], "want seconds"),
        (["--budget", "soon"], "invalid float value"),
        (["--weights", "none.pth"], "do not exist"),
        (["--frames"], "--frames needs frames"),
        (["--sigma", "s.npy", "--model", "udvd"], "--sigma is known for --model guided and guide, not for udvd"),
        (["--uncertainty", "u.npz", "--model", "raw"], "--uncertainty is known for --model guided and guide"),
        (["--uncertainty", "u.npy"], "want an .npz file"),
        (["--turbo"], "unrecognized arguments: --turbo"),
    ],
)
def test_denoise_refuses(tmp_path, capsys, monkeypatch, options, message):
    write(tmp_path / "in.npy", Y, X, E)
    real = denoise._engine_type
    monkeypatch.setattr(
        denoise, "_engine_type", lambda name, certs: real(name, certs) if name not in denoise.ENGINES else pytest.fail
    )
    assert message in refused(capsys, "denoise", tmp_path / "in.npy", "--output", tmp_path / "out.npy", *options)
    assert not (tmp_path / "out.npy").exists()


def test_standard_errors_do_not_take_the_place_of_another_file(tmp_path, capsys):
    write(tmp_path / "in.npy", Y, X, E)
    write(tmp_path / "in.npz", Y, X, E)
    out = ("--output", tmp_path / "out.npz")
    for source, options in (
        ("in.npy", ("--sigma", tmp_path / "in.npy")),
        ("in.npz", ("--sigma", tmp_path / "out.npz")),
        ("in.npz", ("--uncertainty", tmp_path / "in.npz")),
        ("in.npy", ("--uncertainty", tmp_path / "out.npz")),
        ("in.npy", ("--uncertainty", tmp_path / "s.npz", "--sigma", tmp_path / "s.npz")),
    ):
        assert "file of this run already" in refused(capsys, "denoise", tmp_path / source, *out, *options)
    assert sorted(path.name for path in tmp_path.glob("*.np?")) == ["in.npy", "in.npz"]


def test_errors_that_nobody_knows_are_not_written_and_that_is_said(tmp_path, capsys, fake):
    write(tmp_path / "in.npy", Y, X, E)
    options = ("--output", tmp_path / "out.npy", "--uncertainty", tmp_path / "u.npz", "--sigma", tmp_path / "s.npy")
    code, _, err = run(capsys, "denoise", tmp_path / "in.npy", *options)
    assert code == 0 and "errors are not known" in err and "s.npy and" in err and "u.npz not written" in err
    assert not list(tmp_path.glob("[us].*"))


def test_standard_errors_are_written_beside_the_result(tmp_path, capsys):
    counts = numpy.random.default_rng(0).poisson(numpy.linspace(2, 30, 64), (8, 9, 64)).astype(numpy.float32)
    numpy.save(tmp_path / "in.npy", counts)
    targets = ("--output", tmp_path / "out.npy", "--sigma", tmp_path / "sigma.npy")
    code, _, err = run(capsys, "denoise", tmp_path / "in.npy", *targets, "--model", "guide", "--energy", "100:1")
    assert (code, err) == (0, "")
    wrong = numpy.load(tmp_path / "out.npy") - numpy.linspace(2, 30, 64)
    sigma = numpy.load(tmp_path / "sigma.npy")
    assert sigma.shape == counts.shape and 0.5 < (wrong / sigma).std() < 1.6
    assert sigma.mean() < 0.5 * numpy.sqrt(counts.mean())


def test_denoise_refuses_bad_files_before_an_engine_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(denoise, "_engine_type", lambda *_: pytest.fail)
    numpy.save(tmp_path / "nan.npy", numpy.full((3, 4, 16), numpy.nan))
    write(tmp_path / "good.npy", Y, X, E)
    cases = {
        ("nan.npy", "out.npy"): "192 values that are NaN",
        ("missing.npy", "out.npy"): "does not exist",
        ("good.npy", "out.xyz"): "can be written",
        ("good.npy", "no/out.npy"): "does not exist; create it",
        ("good.npy", "good.npy"): "is the scan itself",
    }
    for (source, target), message in cases.items():
        assert message in refused(capsys, "denoise", tmp_path / source, "--output", tmp_path / target)


# --- simulate and info


def test_simulate_writes_scan_and_truth(tmp_path, capsys):
    options = ["--size", "5,6", "--channels", "64", "--q-rows", "4", "--counts", "2000", "--seed", "3", "--json"]
    files = ["--output", tmp_path / "a.nhdf", "--truth", tmp_path / "t.nhdf"]
    code, out, err = run(capsys, "simulate", "h-bn", *files, *options)
    assert (code, err) == (0, "")
    last = json.loads(out.splitlines()[-1])
    assert last["shape"] == [5, 6, 64]
    scan, truth = read_scan(tmp_path / "a.nhdf"), read_scan(tmp_path / "t.nhdf")
    assert scan.axes == truth.axes
    assert (scan.energy.offset, scan.energy.scale, scan.energy.units) == (100.0, 0.8, "eV")
    assert truth.data.sum(axis=-1).mean() == pytest.approx(2000, rel=0.05)  # spreading loses some at the borders
    assert scan.data.sum(axis=-1).mean() == pytest.approx(truth.data.sum(axis=-1).mean(), rel=0.02)
    assert 15 < psnr(scan.data, truth.data) < 45
    assert scan.metadata["udvd"]["seed"] == 3
    again = [tmp_path / "b.npy" if name == tmp_path / "a.nhdf" else name for name in files]
    assert run(capsys, "simulate", "h-bn", *again, *options)[0] == 0
    numpy.testing.assert_array_equal(numpy.load(tmp_path / "b.npy"), scan.data)


def test_simulate_frames_of_phonons_by_current_and_dwell_time(tmp_path, capsys):
    options = ["--size", "3,4", "--q-rows", "4", "--current", "4.5e-3", "--dwell", "100", "--frames"]
    code, _, _ = run(
        capsys, "simulate", "phonon", "--output", tmp_path / "a.h5", "--truth", tmp_path / "t.h5", *options
    )
    assert code == 0
    scan, truth = read_scan(tmp_path / "a.h5"), read_scan(tmp_path / "t.h5")
    assert scan.has_rows
    assert scan.data.shape == truth.data.shape == (3, 4, 4, 512)
    assert truth.data.sum(axis=(-1, -2)).mean() == pytest.approx(2809, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["iron"], "invalid choice: 'iron'"),
        (["h-bn", "--size", "32"], "want NY,NX"),
        (["h-bn", "--size", "0,4"], "both at least 1"),
        (["h-bn", "--counts", "0"], "want a number above 0"),
        (["h-bn", "--counts", "nan"], "want a number above 0"),
        (["h-bn", "--counts", "5", "--dwell", "3", "--current", "1"], "give either --counts"),
        (["h-bn", "--dwell", "3"], "--current and --dwell together"),
        (["h-bn", "--channels", "0"], "at least 2 channels"),
        (["h-bn", "--seed", "-1"], "a seed from 0"),
        (["h-bn", "--q-rows", "0"], "want at least 1"),
        (["h-bn", "--spreading", "2"], "want a probability"),
    ],
)
def test_simulate_refuses(tmp_path, capsys, options, message):
    assert message in refused(capsys, "simulate", *options, "--output", tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())


def test_simulate_wants_two_files(tmp_path, capsys):
    same = tmp_path / "a.npy"
    assert "want two files" in refused(capsys, "simulate", "h-bn", "--output", same, "--truth", same)


def test_info(capsys):
    pytest.importorskip("torch")
    code, out, _ = run(capsys, "info", "--json")
    assert code == 0
    values = json.loads(out.splitlines()[-1])
    assert values["parameters"] == {"udvd, 9 frames": 2_116_752, "udvd, 5 frames": 2_123_664}
    assert values["devices"][0].startswith("cpu")
    assert values["models"] == ["guided", "guide", "udvd", "pca", "raw"]
    assert "2,116,752" in run(capsys, "info")[1]


def test_info_without_torch(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    code, out, _ = run(capsys, "info", "--json")
    assert code == 0
    values = json.loads(out)
    assert values["models"] == ["guide", "pca", "raw"]
    assert "only guide, pca, raw work" in values["note"]


@pytest.mark.parametrize("command", ["", "denoise", "map", "simulate", "info"])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as caught:
        cli.main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert "--help" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["frobnicate"], ["denoise"], ["map"], ["simulate", "h-bn"], ["info", "extra"]]
)
def test_wrong_usage_is_one_line(capsys, arguments):
    assert "--help" in refused(capsys, *arguments)


def test_as_a_program(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(cli.__file__).parent.parent)}

    def program(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False, cwd=tmp_path
        )

    done = program("-m", "udvd_core", "denoise", "none.npy", "--output", "out.npy")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    heavy = "sorted({'torch', 'distributed', 'dask', 'rsciio', 'nion'} & set(sys.modules))"
    done = program("-c", f"import sys, udvd_core.cli; print({heavy})")
    assert done.stdout == "[]\n", done.stderr


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_drawn_on_a_terminal_only():
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with Progress("denoising", stream) as progress:
            progress.update(0.5, "step 3")
    assert "denoising [##############..............] step 3" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()
    assert file.getvalue() == ""


# --- with the real engine


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_raw_through_a_real_engine(tmp_path, capsys, engine):
    if engine == "local":
        pytest.importorskip("torch")
    scan = write(tmp_path / "in.nhdf", Y, X, Q, E)
    options = ["--model", "raw", "--budget", "5", "--json", "--engine", engine]
    code, out, err = run(capsys, "denoise", tmp_path / "in.nhdf", "--output", tmp_path / "out.nhdf", *options)
    assert (code, err) == (0, "")
    assert json.loads(out.splitlines()[-1])["final"] == 12
    numpy.testing.assert_allclose(read_scan(tmp_path / "out.nhdf").data, scan.data.sum(axis=2))


def test_denoising_helps(tmp_path, capsys):
    pytest.importorskip("torch")
    files = ["--output", tmp_path / "a.npy", "--truth", tmp_path / "t.npy"]
    simulated = ["simulate", "h-bn", "--size", "12,12", "--channels", "128", "--counts", "3000"]
    assert run(capsys, *simulated, *files)[0] == 0
    options = ["--output", tmp_path / "d.npy", "--budget", "8", "--device", "cpu"]
    assert run(capsys, "denoise", tmp_path / "a.npy", *options)[0] == 0
    raw, truth, result = (read_scan(tmp_path / f"{name}.npy").data for name in "atd")
    assert psnr(result, truth) > psnr(raw, truth) + 3


@pytest.mark.skipif("UDVD_MEASURED_DATA" not in os.environ, reason="UDVD_MEASURED_DATA names no folder")
def test_measured_scan(tmp_path, capsys):
    path = pathlib.Path(os.environ["UDVD_MEASURED_DATA"]) / "oxide_interface_TiOMnLa_si_6x49.npz"
    options = ["--model", "raw", "--budget", "5"]
    assert run(capsys, "denoise", path, "--output", tmp_path / "out.nhdf", *options)[0] == 0
    scan, result = read_scan(path), read_scan(tmp_path / "out.nhdf")
    numpy.testing.assert_allclose(result.data, scan.data, rtol=1e-5)
    assert result.axes == scan.axes
    assert result.metadata["licence"] == scan.metadata["licence"]
