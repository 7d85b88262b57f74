"""``udvd map``: its maps are those of the library, its sigma is never that of other errors, its refusals."""

import json

import h5py
import numpy
import pytest

from udvd_core import cli
from udvd_core.axes import Axis
from udvd_core.commands import scans
from udvd_core.commands.error_files import read_uncertainty
from udvd_core.detector import Detector
from udvd_core.files import Scan, read_scan, write_scan
from udvd_core.maps.core_loss import core_loss
from udvd_core.maps.covariance import DenoisedCovariance
from udvd_core.maps.overlap import Ratio, subtract_lines
from udvd_core.maps.phonon import aligned_counts, phonon_maps
from udvd_core.maps.preset_maps import preset_maps
from udvd_core.maps.presets import BUILT_IN
from udvd_core.maps.zero_loss import zero_loss
from udvd_core.noise import NoiseModel
from udvd_core.settings import MapWindow
from udvd_core.simulate import simulate_hbn, simulate_phonon

Y, X = Axis(12, 0.0, 0.1, "nm", "y"), Axis(10, 0.0, 0.1, "nm", "x")
BORON = MapWindow("B K", (190.0, 230.0), ((150.0, 186.0),))
WINDOWS = ("--signal", "190:230", "--background", "150:186")


def run(capsys, *arguments):
    code = cli.main(["map", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *arguments):
    """Run a command that must fail; its one line."""
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("udvd: ")
    return err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scans of h-BN, raw as frames and spectra, with their sums in `.npy`, and denoised with its uncertainty."""
    folder = tmp_path_factory.mktemp("map")
    sample = simulate_hbn((12, 10), 256, counts=4000.0, q_rows=4)
    recording = Detector(0.25, seed=2).record(sample)
    frames = recording.frames()
    axes = (Y, X, Axis(4, name="q"), sample.energy)
    write_scan(folder / "frames.h5", Scan(frames, axes, {}, "SI 12"), {"simulated": "h-bn"})
    numpy.save(folder / "raw.npy", frames.sum(2))
    numpy.save(folder / "truth.npy", recording.truth())
    options = ("--model", "guide", "--energy", "100:0.8", "--uncertainty", folder / "u.npz")
    given = ("denoise", folder / "raw.npy", "--output", folder / "denoised.npy", *options)
    assert cli.main([str(argument) for argument in given]) == 0
    return folder


def spectra(folder, name="raw"):
    scan = read_scan(folder / f"{name}.npy", "100:0.8")
    return scan.data.reshape(120, 256), scan.energy


def test_a_map_is_two_images_counts_and_their_standard_error(folder, tmp_path, capsys):
    out = tmp_path / "map.npy"
    code, text, err = run(capsys, folder / "raw.npy", "--energy", "100:0.8", "--output", out, *WINDOWS)
    assert (code, err) == (0, "")
    assert "190 to 230 eV, 120 positions" in text and "median sigma" in text
    counts, energy = spectra(folder)
    noise = scans.camera_of(read_scan(folder / "raw.npy")).summed
    assert noise.gain > 1.1 and noise.correlation, "spreading is measured"
    values, sigma = core_loss(counts, energy, [BORON], noise)
    found = numpy.load(out)
    assert (found.shape, found.dtype) == ((2, 12, 10), numpy.float32)
    numpy.testing.assert_allclose(found[0].ravel(), values[0], rtol=1e-5, atol=1e-3)
    numpy.testing.assert_allclose(found[1].ravel(), sigma[0], rtol=1e-5)
    truth, _ = core_loss(*spectra(folder, "truth"), [BORON], NoiseModel(0.0))
    z = (values - truth) / sigma
    assert abs(z.mean()) < 0.3 and 0.8 < z.std() < 1.2


def test_blocks_are_no_matter_and_frames_are_summed(folder, tmp_path, capsys, monkeypatch):
    whole, parts = tmp_path / "whole.npy", tmp_path / "parts.npy"
    assert run(capsys, folder / "frames.h5", "--output", whole, *WINDOWS)[0] == 0
    monkeypatch.setattr(scans, "BLOCK_BYTES", 7 * 4 * 4 * 256)
    assert run(capsys, folder / "frames.h5", "--output", parts, *WINDOWS)[0] == 0
    numpy.testing.assert_allclose(numpy.load(parts), numpy.load(whole), rtol=1e-5)
    expected, _ = core_loss(*spectra(folder), [BORON], scans.camera_of(read_scan(folder / "frames.h5")).summed)
    numpy.testing.assert_allclose(numpy.load(whole)[0].ravel(), expected[0], rtol=1e-5, atol=1e-3)


def test_without_a_background_the_window_is_summed_plainly(folder, tmp_path, capsys):
    out = tmp_path / "map.npy"
    assert run(capsys, folder / "frames.h5", "--output", out, "--signal", "190:230")[0] == 0
    counts, energy = spectra(folder)
    numpy.testing.assert_allclose(numpy.load(out)[0].ravel(), counts[:, energy.window(190, 230)].sum(1))


def test_several_windows_and_another_model(folder, tmp_path, capsys):
    out = tmp_path / "map.npy"
    options = ("--signal", "190:210", "--background", "150:186", "270:300", "--method", "power_law_double")
    assert run(capsys, folder / "frames.h5", "--output", out, *options)[0] == 0
    window = MapWindow("double", (190.0, 210.0), ((150.0, 186.0), (270.0, 300.0)), "power_law_double")
    values, _ = core_loss(*spectra(folder), [window], scans.camera_of(read_scan(folder / "frames.h5")).summed)
    numpy.testing.assert_allclose(numpy.load(out)[0].ravel(), values[0], rtol=1e-5, atol=1e-3)


def test_swift_and_hyperspy_see_two_images(folder, tmp_path, capsys):
    for suffix in (".h5", ".hspy", ".npz"):
        if suffix == ".hspy":
            pytest.importorskip("rsciio")
        assert run(capsys, folder / "frames.h5", "--output", tmp_path / f"map{suffix}", *WINDOWS)[0] == 0
    with h5py.File(tmp_path / "map.h5") as file:
        properties = json.loads(file["data"].attrs["properties"])
        data = file["data"][...]
    assert properties["title"] == "SI 12 (190 to 230 eV)"
    names = ("is_sequence", "collection_dimension_count", "datum_dimension_count")
    assert [properties[name] for name in names] == [True, 0, 2]
    assert [c["units"] for c in properties["dimensional_calibrations"]] == ["", "nm", "nm"]
    assert properties["metadata"]["udvd"]["map"]["signal"] == [190.0, 230.0]
    assert properties["metadata"]["udvd"]["noise"]["gain"] > 1.1
    with numpy.load(tmp_path / "map.npz") as archive:
        assert set(archive) == {"data", "scan"}
        numpy.testing.assert_array_equal(archive["data"], data)
    from rsciio.hspy import file_reader

    (signal,) = file_reader(str(tmp_path / "map.hspy"))
    axes = [(axis["name"], axis["navigate"]) for axis in signal["axes"]]
    assert axes == [("map", True), ("y", False), ("x", False)]
    assert signal["metadata"]["Signal"]["signal_type"] == ""


def test_a_preset_gives_one_file_for_each_map(folder, tmp_path, capsys):
    counts, energy = spectra(folder)
    wide = numpy.repeat(counts, 2, 1).reshape(12, 10, 512)
    numpy.save(tmp_path / "raw.npy", wide)
    options = ("--energy", "100:0.8", "--preset", "h-BN core loss", "--json")
    code, text, _ = run(capsys, tmp_path / "raw.npy", "--output", tmp_path / "maps.npy", *options)
    assert code == 0
    made = json.loads(text)["maps"]
    assert [entry["name"] for entry in made] == ["B K", "N K"]
    assert sorted(path.name for path in tmp_path.glob("maps*.npy")) == ["maps_B_K.npy", "maps_N_K.npy"]
    noise = scans.camera_of(read_scan(tmp_path / "raw.npy")).summed
    values, sigma = core_loss(wide.reshape(120, 512), Axis(512, 100, 0.8, "eV", "E"), BUILT_IN[0].maps, noise)
    for row, entry in enumerate(made):
        found = numpy.load(entry["output"]).reshape(2, 120)
        numpy.testing.assert_allclose(found, [values[row], sigma[row]], rtol=1e-5, atol=1e-3)
        assert entry["mean"] == pytest.approx(values[row].mean(), rel=1e-4)


def test_overlapping_lines_are_taken_off(tmp_path, capsys, rng):
    energy = Axis(512, 790.0, 1.0, "eV", "E")
    values = energy.values()
    cerium = 40 * ((values > 883) & (values < 950)) + 5 * ((values > 1180) & (values < 1240))
    counts = rng.poisson(40 * (values / 800) ** -3 + cerium, (12, 10, 512)).astype(numpy.float32)
    numpy.save(tmp_path / "raw.npy", counts)
    options = ("--energy", "790:1", "--preset", "Gd-doped ceria")
    assert run(capsys, tmp_path / "raw.npy", "--output", tmp_path / "m.npy", *options)[0] == 0
    noise = scans.camera_of(read_scan(tmp_path / "raw.npy")).summed
    maps, sigma = core_loss(counts.reshape(120, 512), energy, BUILT_IN[1].maps, noise)
    expected = subtract_lines(maps[1], sigma[1], maps[0], sigma[0], Ratio(10.3, 0.1).inverse())
    major, overlap = (numpy.load(tmp_path / f"m_{name}.npy").reshape(2, 120) for name in ("Ce_M45", "Gd_M45"))
    numpy.testing.assert_allclose(major[0], maps[0], rtol=1e-5)
    numpy.testing.assert_allclose(overlap[0], expected.values, rtol=1e-4, atol=1e-2)
    numpy.testing.assert_allclose(overlap[1], expected.total(), rtol=1e-3)
    assert overlap[0].mean() < maps[1].mean() - 200


def test_phonons_move_with_the_zero_loss_peak(tmp_path, capsys):
    sample = simulate_phonon((8, 9), 600, counts=20_000.0, q_rows=1)
    counts = Detector(0.0, seed=1).record(sample).spectra()
    scan = Scan(counts, (Axis(8, name="y"), Axis(9, name="x"), sample.energy), {}, "SI 3")
    write_scan(tmp_path / "raw.h5", scan, {"simulated": "phonons"})
    preset, flat = BUILT_IN[2], counts.reshape(72, -1)
    code, _, err = run(capsys, tmp_path / "raw.h5", "--output", tmp_path / "m.npy", "--preset", preset.name)
    assert (code, err) == (0, "")
    noise = scans.camera_of(scan).summed
    position = zero_loss(flat, sample.energy, noise).position
    bands = phonon_maps(flat, sample.energy, [w.signal for w in preset.maps[:3]], preset.tail, position, noise)
    peak = aligned_counts(flat, sample.energy, [preset.maps[3].signal], position, noise)
    for name, value, error in zip(
        ("TA", "LA", "TO-LO", "zero_loss"),
        (*bands.values, *peak.values),
        (*bands.sigma, *peak.sigma),
        strict=True,
    ):
        numpy.testing.assert_allclose(numpy.load(tmp_path / f"m_{name}.npy").reshape(2, -1), [value, error], rtol=1e-4)
    options = ("--output", tmp_path / "denoised.h5", "--model", "guide", "--uncertainty", tmp_path / "u.npz")
    assert cli.main([str(argument) for argument in ("denoise", tmp_path / "raw.h5", *options)]) == 0
    given = (tmp_path / "denoised.h5", "--output", tmp_path / "d.npy", "--preset", preset.name)
    code, _, err = run(capsys, *given)
    assert code == 0 and "sigma is NaN; give --uncertainty FILE" in err
    values, sigma = numpy.load(tmp_path / "d_TO-LO.npy")
    assert numpy.isfinite(values).all() and numpy.isnan(sigma).all()
    assert run(capsys, *given, "--uncertainty", tmp_path / "u.npz")[0] == 0
    denoised = read_scan(tmp_path / "denoised.h5")
    errors = DenoisedCovariance(read_uncertainty(tmp_path / "u.npz", denoised), numpy.arange(72))
    values, sigma = preset_maps(denoised.data.reshape(72, -1), denoised.energy, preset, errors)
    for name, value, error in zip(("TA", "LA", "TO-LO", "zero_loss"), values, sigma, strict=True):
        numpy.testing.assert_allclose(numpy.load(tmp_path / f"d_{name}.npy").reshape(2, -1), [value, error], rtol=1e-4)


def test_faulty_pixels_are_filled_and_named(folder, tmp_path, capsys):
    scan = read_scan(folder / "frames.h5")
    options = ("--signal", "190:230")
    assert run(capsys, folder / "frames.h5", "--output", tmp_path / "whole.npy", *options)[0] == 0
    harmed = scan.data.astype(numpy.float32).sum(2)
    harmed[..., 120], harmed[..., 125] = 0, 5000  # one channel without counts, one hot, both in the window
    numpy.save(tmp_path / "harmed.npy", harmed)
    given = ("--energy", "100:0.8", "--output", tmp_path / "filled.npy", *options)
    code, text, err = run(capsys, tmp_path / "harmed.npy", *given, "--json")
    assert code == 0 and "1 dead, 1 hot pixel masked: filled from their neighbours" in err
    assert json.loads(text)["provenance"]["defects"] == "1 dead, 1 hot pixel masked"
    whole, filled = (numpy.load(tmp_path / f"{name}.npy") for name in ("whole", "filled"))
    assert abs(filled[0] - whole[0]).mean() < 0.3 * whole[1].mean()
    harmed[..., 125] = 0
    assert (whole[0] - harmed[..., 113:163].sum(-1)).mean() > whole[1].mean(), "it matters"


def test_a_denoised_scan_has_the_errors_that_denoising_left(folder, tmp_path, capsys):
    out = tmp_path / "map.npy"
    given = (folder / "denoised.npy", "--output", out, *WINDOWS, "--uncertainty", folder / "u.npz")
    code, text, err = run(capsys, *given)
    assert (code, err) == (0, "") and "median sigma" in text
    scan = read_scan(folder / "denoised.npy")
    errors = DenoisedCovariance(read_uncertainty(folder / "u.npz", scan), numpy.arange(120))
    values, sigma = core_loss(scan.data.reshape(120, 256), scan.energy, [BORON], errors)
    found = numpy.load(out).reshape(2, 120)
    numpy.testing.assert_allclose(found, [values[0], sigma[0]], rtol=1e-5, atol=1e-3)
    counting = core_loss(*spectra(folder), [BORON], NoiseModel(1.2, 0.0, (0.09,)))[1]
    assert numpy.median(found[1]) < 0.7 * numpy.median(counting)
    truth, _ = core_loss(*spectra(folder, "truth"), [BORON], NoiseModel(0.0))
    assert 0.5 < ((found[0] - truth[0]) / found[1]).std() < 1.5


@pytest.mark.parametrize("suffix", [".npy", ".h5", ".npz", ".nhdf", ".ndata"])
def test_a_denoised_scan_gets_no_other_sigma(folder, tmp_path, capsys, suffix):
    source, out = tmp_path / f"denoised{suffix}", tmp_path / "map.npy"
    scan = read_scan(folder / "denoised.npy")
    write_scan(source, scan, scan.metadata["udvd"])
    code, text, err = run(capsys, source, "--output", out, *WINDOWS)
    assert code == 0 and "sigma not known" in text
    assert err.startswith("udvd: warning: ") and "sigma is NaN; give --uncertainty FILE" in err
    values, sigma = numpy.load(out).reshape(2, 120)
    assert numpy.isnan(sigma).all()
    expected, _ = core_loss(scan.data.reshape(120, 256), scan.energy, [BORON], None)
    numpy.testing.assert_allclose(values, expected[0], rtol=1e-5, atol=1e-3)
    _, text, _ = run(capsys, source, "--output", out, *WINDOWS, "--json")
    assert json.loads(text)["maps"][0]["sigma"] is None


def test_simulated_counts_are_raw_and_their_truth_is_not(tmp_path, capsys):
    size = ("--size", "6,7", "--channels", "256", "--q-rows", "2")
    files = ("--output", tmp_path / "raw.h5", "--truth", tmp_path / "truth.h5")
    assert cli.main([str(argument) for argument in ("simulate", "h-bn", *files, *size)]) == 0
    known = {}
    for name in ("raw", "truth"):
        run(capsys, tmp_path / f"{name}.h5", "--output", tmp_path / f"{name}.npy", *WINDOWS)
        known[name] = numpy.isfinite(numpy.load(tmp_path / f"{name}.npy")[1]).all()
    assert known == {"raw": True, "truth": False}


@pytest.mark.parametrize("shape", [(9, 64), (1, 64), (1, 1, 64), (2, 3, 4, 64)], ids=str)
def test_lines_and_scans_of_few_positions(tmp_path, capsys, rng, shape):
    numpy.save(tmp_path / "raw.npy", rng.poisson(9.0, shape).astype(numpy.uint16))
    options = ("--energy", "100:1", "--signal", "140:150", "--background", "110:135")
    assert run(capsys, tmp_path / "raw.npy", "--output", tmp_path / "m.npy", *options)[0] == 0
    found = numpy.load(tmp_path / "m.npy")
    assert found.shape == (2, *(shape[:-2] if len(shape) == 4 else shape[:-1]))
    assert numpy.isfinite(found).all() and (found[1] > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--signal", "900:950"], "900 to 950 eV and leaves the energy axis, which has 100 to 304 eV"),
        (["--signal", "290:320"], "leaves the energy axis"),
        (["--signal", "190:230", "--background", "50:70"], "fit window of '190 to 230 eV' is 50 to 70 eV and leaves"),
        (["--signal", "190:230", "--background", "150:200"], "overlaps a fit window"),
        (["--signal", "230:190"], "the lower energy first"),
        (["--signal", "190:190"], "the lower energy first"),
        (["--signal", "190:230", "--background", "186:150"], "the lower energy first"),
        (["--signal", "190:230", "--background", "150:150.9"], "a line needs at least two: widen the fit window"),
        (["--signal", "190.1:190.3"], "covers no channel"),
        (["--signal", "190"], "--signal is '190'; want two energies in eV"),
        (["--signal", "a:b"], "--signal is 'a:b'; want two energies in eV"),
        (["--signal", "nan:200"], "the lower energy first"),
        (["--signal", "190:230", "--background", "150"], "--background is '150'; want two energies in eV"),
        (["--signal", "190:230", "--background", "150:186", "--method", "spline"], "invalid choice: 'spline'"),
        (["--signal", "190:230", "--background", "150:186", "--method", "power_law_double"], "one below the signal"),
        (["--signal", "190:230", "--method", "linear"], "give --background C:D"),
        (["--preset", "h-BN"], "'h-BN' is not known; want one of 'h-BN core loss', 'Gd-doped ceria', 'h-BN phonons'"),
        (["--preset", "h-BN core loss"], "leaves the energy axis"),
        (["--preset", "h-BN phonons"], "no zero-loss peak"),
        (["--preset", "h-BN phonons", "--background", "150:186"], "go with --signal"),
        (["--preset", "h-BN phonons", "--signal", "150:186"], "not allowed with argument"),
        ([], "one of the arguments --signal --preset --line --references is required"),
        ([*WINDOWS, "--uncertainty", "none.npz"], "none.npz does not exist"),
    ],
)
def test_what_cannot_be_mapped_is_one_sentence_and_no_file(folder, tmp_path, capsys, options, message):
    assert message in refused(capsys, folder / "frames.h5", "--output", tmp_path / "map.npy", *options)
    assert not list(tmp_path.iterdir())


def test_windows_without_any_counts_are_refused(tmp_path, capsys, rng):
    for name, dark in (("signal", slice(40, 50)), ("background", slice(10, 35))):
        counts = rng.poisson(9.0, (5, 6, 64))
        counts[..., dark] = 0
        numpy.save(tmp_path / f"{name}.npy", counts)
        options = ("--energy", "100:1", "--signal", "140:150", "--background", "110:135")
        error = refused(capsys, tmp_path / f"{name}.npy", "--output", tmp_path / "m.npy", *options)
        assert f"counts from {100 + dark.start} to {100 + dark.stop} eV" in error and "choose another window" in error


@pytest.mark.parametrize(
    ("units", "message"), [("", "give --energy OFFSET:STEP in eV"), ("nm", "want energy loss in eV")]
)
def test_an_axis_that_is_not_in_energy_is_refused(tmp_path, capsys, units, message):
    scan = Scan(numpy.ones((2, 3, 64), numpy.float32), (Axis(2), Axis(3), Axis(64, 100.0, 1.0, units, "E")))
    write_scan(tmp_path / "raw.h5", scan, {})
    options = ("--output", tmp_path / "m.npy", "--signal", "140:150")
    assert message in refused(capsys, tmp_path / "raw.h5", *options)
    assert run(capsys, tmp_path / "raw.h5", *options, "--energy", "100:1")[0] == 0


def test_other_units_of_energy_are_converted(tmp_path, capsys, rng):
    axes = (Axis(3), Axis(4), Axis(64, 100_000.0, 1000.0, "meV", "E"))
    counts = rng.poisson(9.0, (3, 4, 64)).astype(numpy.float32)
    write_scan(tmp_path / "raw.npy", Scan(counts, axes), {"simulated": "noise"})
    assert run(capsys, tmp_path / "raw.npy", "--output", tmp_path / "m.npy", "--signal", "140:150")[0] == 0
    numpy.testing.assert_array_equal(numpy.load(tmp_path / "m.npy")[0], counts[..., 40:50].sum(-1))


def test_the_scan_is_never_overwritten_and_foreign_files_are_no_uncertainty(folder, tmp_path, capsys, rng):
    source = folder / "raw.npy"
    assert "is the scan itself" in refused(capsys, source, "--output", source, *WINDOWS)
    numpy.savez(tmp_path / "other.npz", data=numpy.ones(3))
    given = (folder / "denoised.npy", "--output", tmp_path / "m.npy", *WINDOWS, "--uncertainty")
    assert "holds no uncertainty" in refused(capsys, *given, tmp_path / "other.npz")
    assert "holds no uncertainty" in refused(capsys, *given, source)
    numpy.save(tmp_path / "small.npy", rng.poisson(9.0, (3, 4, 256)))
    given = (tmp_path / "small.npy", "--energy", "100:0.8", "--output", tmp_path / "m.npy", *WINDOWS)
    error = refused(capsys, *given, "--uncertainty", folder / "u.npz")
    assert "120 spectra with 256 channels and the scan has 12 with 256" in error
