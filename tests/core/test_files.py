"""Files: what goes in comes out, nothing half-written, every bad file refused in one line."""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import h5py
import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.files import Scan, check_output, formats, read_scan, write_scan
from udvd_core.files.scan import check_counts, parse_energy, plain

Y, X = Axis(3, 0.0, 0.1, "nm", "y"), Axis(4, 1.0, 0.1, "nm", "x")
T, Q = Axis(5, 0.0, 2.0, "s", "t"), Axis(2, 0.0, 0.5, "mrad", "q")
E = Axis(16, 100.0, 0.8, "eV", "E")
METADATA = {
    "hardware_source": {"counts_per_electron": 1.0, "modes": ["a", "b"], "nothing": None, "deep": [{"x": 2}]},
    "session": {"site": "Zürich"},
}
PROVENANCE = {"model": "udvd", "steps": 12, "hidden": [0, 1], "weights": None}


def make_scan(*axes: Axis) -> Scan:
    shape = tuple(axis.size for axis in axes)
    data = numpy.random.default_rng(0).poisson(3.0, shape).astype(numpy.float32)
    return Scan(data, axes, METADATA, "Spectrum Image 1 µ")


SCANS = {"line": (X, E), "map": (Y, X, E), "frames": (Y, X, Q, E)}


def needs_library(suffix: str) -> None:
    if suffix in (".hspy", ".dm3", ".dm4"):
        pytest.importorskip("rsciio")
    if suffix == ".zspy":
        pytest.importorskip("zarr", "2.0")


@pytest.mark.filterwarnings("ignore:The NestedDirectoryStore:FutureWarning")
@pytest.mark.parametrize("suffix", sorted(formats.WRITERS))
@pytest.mark.parametrize("kind", SCANS)
def test_round_trip(tmp_path, suffix, kind):
    needs_library(suffix)
    scan = make_scan(*SCANS[kind])
    path = tmp_path / f"out{suffix}"
    for _ in range(2):  # the second replaces the first
        write_scan(path, scan, PROVENANCE)
    found = read_scan(path)
    numpy.testing.assert_array_equal(found.data, scan.data)
    assert found.axes == scan.axes
    assert found.title == scan.title
    assert found.metadata["udvd"] == PROVENANCE
    assert {key: found.metadata[key] for key in METADATA} == METADATA
    left = {item.name for item in tmp_path.iterdir()}
    assert left == {path.name} | ({"out.npy.json"} if suffix == ".npy" else set())


@pytest.mark.parametrize("axes", [(X, Q, E), (T, Y, X, E), (T, Y, X, Q, E)])
def test_hyperspy_tells_rows_from_positions(tmp_path, axes):
    needs_library(".hspy")
    write_scan(tmp_path / "a.hspy", make_scan(*axes), {})
    assert read_scan(tmp_path / "a.hspy").axes == axes


@pytest.mark.parametrize("suffix", [".h5", ".nhdf", ".ndata", ".npz", ".npy"])
@pytest.mark.parametrize("axes", [(T, E), (T, Q, E), (T, Y, X, E), (X, Q, E), (T, Y, X, Q, E)])
def test_sequences_and_lines_of_frames(tmp_path, suffix, axes):
    path = tmp_path / f"out{suffix}"
    write_scan(path, make_scan(*axes), {})
    found = read_scan(path)
    assert found.axes == axes
    assert found.scan_shape == tuple(axis.size for axis in axes if axis.name in "tyx")
    assert found.frame_shape == (2 if Q in axes else 1, 16)


def test_frames_are_copied_in_scan_order(tmp_path):
    scan = make_scan(Y, X, Q, E)
    write_scan(tmp_path / "a.npy", scan, {})
    frames = read_scan(tmp_path / "a.npy").frames(5, 7)
    assert frames.dtype == numpy.float32
    assert frames.flags.writeable
    numpy.testing.assert_array_equal(frames, scan.data.reshape(12, 2, 16)[5:7])
    assert make_scan(Y, X, E).frames(0, 12).shape == (12, 1, 16)


def test_large_arrays_are_mapped(tmp_path):
    for suffix in (".npy", ".h5", ".nhdf"):
        write_scan(tmp_path / f"a{suffix}", make_scan(Y, X, E), {})
        assert isinstance(read_scan(tmp_path / f"a{suffix}").data, numpy.memmap)


def test_bare_npy(tmp_path):
    path = tmp_path / "a.npy"
    numpy.save(path, numpy.ones((3, 4, 16), dtype=numpy.uint16))
    assert read_scan(path).energy == Axis(16, 0.0, 1.0, "", "E")
    assert read_scan(path, "-20:0.5").energy == Axis(16, -20.0, 0.5, "eV", "E")


def test_npz_as_instruments_leave_it(tmp_path):
    path = tmp_path / "a.npz"
    numpy.savez(path, data=numpy.ones((4, 16)), energy_eV=100 + 0.8 * numpy.arange(16), source="lab")
    scan = read_scan(path)
    assert scan.energy.scale == pytest.approx(0.8)
    assert scan.metadata == {"source": "lab"}
    assert read_scan(path, "5:1").energy.offset == 5.0


@pytest.mark.parametrize(("units", "factor"), [("eV", 1.0), ("meV", 1e-3), ("keV", 1e3)])
def test_energy_is_always_in_ev(tmp_path, units, factor):
    path = tmp_path / "a.h5"
    write_scan(path, make_scan(Y, X, Axis(16, 3.0, 2.0, units, "E")), {})
    energy = read_scan(path).energy
    assert (energy.offset, energy.scale, energy.units) == (3.0 * factor, 2.0 * factor, "eV")


def test_other_units_need_the_energy_option(tmp_path):
    path = tmp_path / "a.h5"
    write_scan(path, make_scan(Y, X, Axis(16, 3.0, 2.0, "nm", "E")), {})
    with pytest.raises(InputError, match="--energy"):
        read_scan(path)
    assert read_scan(path, "100:1").energy.units == "eV"


# --- files of Nion Swift itself


def swift_item(data):
    from nion.data import Calibration, DataAndMetadata

    calibrations = [Calibration.Calibration(0, 0.1, "nm")] * 2 + [Calibration.Calibration(100, 0.8, "eV")]
    return DataAndMetadata.new_data_and_metadata(
        data,
        Calibration.Calibration(0, 1, "counts"),
        calibrations,
        metadata={"hardware_source": {"signal_type": "eels"}},
        data_descriptor=DataAndMetadata.DataDescriptor(False, 2, 1),
    )


@pytest.mark.parametrize("suffix", [".h5", ".ndata"])
def test_files_swift_wrote(tmp_path, suffix):
    pytest.importorskip("nion.swift")
    from nion.swift.model import DataItem, HDF5Handler, NDataHandler

    data = numpy.random.default_rng(0).poisson(3.0, (3, 4, 16)).astype(numpy.float32)
    item = DataItem.new_data_item(swift_item(data))
    item.title = "Spectrum Image µ"
    properties = item.write_to_dict()
    item.close()
    path = tmp_path / f"item{suffix}"
    handler_type = HDF5Handler.HDF5Handler if suffix == ".h5" else NDataHandler.NDataHandler
    handler = handler_type(str(path))
    handler.write_data(data, datetime.datetime.now())
    handler.write_properties(properties, datetime.datetime.now())
    handler.close()
    scan = read_scan(path)
    numpy.testing.assert_array_equal(scan.data, data)
    assert scan.axes == (Axis(3, 0.0, 0.1, "nm", "y"), Axis(4, 0.0, 0.1, "nm", "x"), E)
    assert scan.title == "Spectrum Image µ"
    assert scan.metadata == {"hardware_source": {"signal_type": "eels"}}


@pytest.mark.parametrize("suffix", [".h5", ".ndata"])
def test_swift_reads_our_files(tmp_path, suffix):
    pytest.importorskip("nion.swift")
    from nion.swift.model import DataItem, HDF5Handler, NDataHandler

    scan = make_scan(Y, X, Q, E)
    path = tmp_path / f"item{suffix}"
    write_scan(path, scan, PROVENANCE)
    handler_type = HDF5Handler.HDF5Handler if suffix == ".h5" else NDataHandler.NDataHandler
    handler = handler_type(str(path))
    properties = handler.read_properties()
    numpy.testing.assert_array_equal(numpy.asarray(handler.read_data()), scan.data)
    handler.close()
    item = DataItem.DataItem()
    item.begin_reading()
    item.read_from_dict(properties)
    item.finish_reading()
    assert item.title == scan.title
    assert (item.collection_dimension_count, item.datum_dimension_count) == (2, 2)
    assert [c.units for c in item.dimensional_calibrations] == ["nm", "nm", "mrad", "eV"]
    assert item.metadata["udvd"] == PROVENANCE
    assert item.session_metadata == METADATA["session"]
    item.close()


IMPORT_INTO_SWIFT = """
import json, sys, numpy
from nion.swift import Application, Facade
from nion.swift.test import TestContext
from nion.ui import TestUI
Facade.initialize()
application = Application.Application(TestUI.UserInterface(), set_global=False)
with TestContext.create_memory_context() as context:
    controller = context.create_document_controller()
    controller.receive_files([sys.argv[1]])
    (item,) = controller.document_model.data_items
    units = [calibration.units for calibration in item.dimensional_calibrations]
    found = [item.title, numpy.asarray(item.data).tolist(), units, item.metadata["udvd"]["hidden"]]
print(json.dumps(found))
"""


def test_swift_imports_our_nhdf(tmp_path):
    pytest.importorskip("nion.swift")
    scan = make_scan(Y, X, E)
    write_scan(tmp_path / "item.nhdf", scan, PROVENANCE)
    child = [sys.executable, "-c", IMPORT_INTO_SWIFT, str(tmp_path / "item.nhdf")]  # Swift leaves threads behind
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == [scan.title, scan.data.tolist(), ["nm", "nm", "eV"], PROVENANCE["hidden"]]


@pytest.mark.parametrize("version", [3, 4])
def test_digital_micrograph(tmp_path, version):
    utilities = pytest.importorskip("nionswift_plugin.DM_IO.dm3_image_utils")
    pytest.importorskip("rsciio")
    data = numpy.random.default_rng(0).poisson(3.0, (3, 4, 16)).astype(numpy.float32)
    path = tmp_path / f"a.dm{version}"
    with path.open("wb") as file:
        utilities.save_image(swift_item(data), file, version)
    scan = read_scan(path)
    numpy.testing.assert_array_equal(scan.data, data)
    assert scan.energy.units == "eV"
    assert scan.energy.offset == pytest.approx(100.0)
    assert scan.energy.scale == pytest.approx(0.8)
    assert [axis.name for axis in scan.axes] == ["y", "x", "E"]
    json.dumps(scan.metadata)


# --- what is refused


def save(path: pathlib.Path, data: numpy.ndarray, allow_pickle: bool = False) -> pathlib.Path:
    numpy.save(path, data, allow_pickle=allow_pickle)
    return path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (numpy.ones(16), "has 1 dimensions"),
        (numpy.float32(3), "has 0 dimensions"),
        (numpy.ones((2,) * 5), "has 5 dimensions"),
        (numpy.ones((0, 16)), "is empty"),
        (numpy.zeros((2, 16)), "nothing but zeros"),
        (numpy.ones((2, 16), dtype=complex), "type complex128"),
        (numpy.full((2, 16), "a"), "want counts"),
        (numpy.array([[{}, 1]], dtype=object), "cannot be read"),
    ],
)
def test_bad_arrays(tmp_path, data, message):
    with pytest.raises(InputError, match=message) as caught:
        read_scan(save(tmp_path / "a.npy", data, allow_pickle=True))
    assert "\n" not in str(caught.value)


def test_not_finite_says_how_many_and_where(tmp_path):
    data = numpy.ones((3, 4, 16))
    data[1, 2, 7] = numpy.nan
    data[2, 0, 0] = -numpy.inf
    with pytest.raises(InputError, match=r"2 values that are NaN or infinite, the first at \(1, 2, 7\)"):
        read_scan(save(tmp_path / "a.npy", data))


def test_not_finite_is_found_in_any_block(monkeypatch):
    monkeypatch.setattr("udvd_core.files.scan.BLOCK_BYTES", 256)
    data = numpy.ones((3, 4, 16))
    data[2, 3, 15] = numpy.nan
    with pytest.raises(InputError, match=r"1 values .* \(2, 3, 15\)"):
        check_counts(data, "a")


@pytest.mark.parametrize("suffix", sorted(formats.READERS))
@pytest.mark.parametrize("content", [b"", b"not what it says it is\n" * 9])
def test_damaged_files(tmp_path, suffix, content):
    needs_library(suffix)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_scan(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".nhdf", ".ndata", ".hspy"])
def test_truncated_files(tmp_path, suffix):
    needs_library(suffix)
    path = tmp_path / f"a{suffix}"
    write_scan(path, make_scan(Axis(64, name="y"), X, E), {})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError):
        read_scan(path)


def test_missing_and_unknown(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_scan(tmp_path / "none.npy")
    with pytest.raises(InputError, match=r"suffix '\.tif'; \.npy, .* can be read"):
        read_scan(tmp_path / "a.tif")
    with pytest.raises(InputError, match="can be written"):
        check_output(tmp_path / "a.dm3")
    with pytest.raises(InputError, match="folder .* does not exist"):
        check_output(tmp_path / "no" / "a.npy")
    with pytest.raises(InputError, match="is a folder"):
        (tmp_path / "b.npy").mkdir()
        check_output(tmp_path / "b.npy")
    with pytest.raises(InputError, match="cannot be read"):
        read_scan(tmp_path / "b.npy")


def test_archives_without_data(tmp_path):
    numpy.savez(tmp_path / "a.npz", spectrum=numpy.ones((2, 4)))
    with pytest.raises(InputError, match="holds spectrum; want an array called 'data'"):
        read_scan(tmp_path / "a.npz")
    numpy.savez(tmp_path / "b.npz", data=numpy.ones((2, 4)), energy_eV=[1, 2, 4, 8])
    with pytest.raises(InputError, match="not evenly spaced"):
        read_scan(tmp_path / "b.npz")
    numpy.savez(tmp_path / "c.npz", data=numpy.ones((2, 4)), energy_eV=numpy.arange(5.0))
    with pytest.raises(InputError, match="want the same"):
        read_scan(tmp_path / "c.npz")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["entry/data/data_000001"] = numpy.ones((2, 4))
    with pytest.raises(InputError, match="0 data items"):
        read_scan(tmp_path / "d.h5")
    with zipfile.ZipFile(tmp_path / "e.ndata", "w") as archive:
        archive.writestr("metadata.json", "{}")
    with pytest.raises(InputError, match="cannot be read"):
        read_scan(tmp_path / "e.ndata")


def test_a_sidecar_that_does_not_fit(tmp_path):
    write_scan(tmp_path / "a.npy", make_scan(Y, X, E), {})
    numpy.save(tmp_path / "a.npy", numpy.ones((2, 16)))
    with pytest.raises(InputError, match=r"a\.npy\.json does not describe"):
        read_scan(tmp_path / "a.npy")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    write_scan(path, make_scan(Y, X, E), {})
    before = path.read_bytes()

    def fail(temporary, scan):
        temporary.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setitem(formats.WRITERS, ".npy", fail)
    with pytest.raises(InputError, match="No space left on device"):
        write_scan(path, make_scan(X, E), {})
    assert path.read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.npy", "a.npy.json"]


@pytest.mark.parametrize("spec", ["", "100", "100:", "a:b", "1:2:3", "100:0", "nan:1", "1:inf"])
def test_bad_energy(spec):
    with pytest.raises(InputError):
        parse_energy(spec, 16)


def test_metadata_becomes_plain():
    value = {1: numpy.float32(2), "a": (numpy.arange(2), b"x", None), "o": pathlib.PurePosixPath("p")}
    assert plain(value) == {"1": 2.0, "a": [[0, 1], "x", None], "o": "p"}


@pytest.mark.skipif("UDVD_MEASURED_DATA" not in os.environ, reason="UDVD_MEASURED_DATA names no folder")
def test_measured_scan():
    scan = read_scan(pathlib.Path(os.environ["UDVD_MEASURED_DATA"]) / "oxide_interface_TiOMnLa_si_6x49.npz")
    assert scan.scan_shape == (49, 6)
    assert scan.energy == Axis(1024, 350.0, 0.5, "eV", "E")
    assert scan.metadata["metadata"]["beam_energy"] == 200.0
