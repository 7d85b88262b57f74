"""``udvd map`` of lines, references, measured overlaps and atomic percent: against truths, and its refusals."""

import json

import numpy
import pytest
import scipy.special
from test_map_command import refused, run

from udvd_core.axes import Axis
from udvd_core.commands import map_references
from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.files import Scan, write_scan
from udvd_core.maps.line_maps import clearest_line, guess_line, line_maps, shift_map
from udvd_core.noise import NoiseModel
from udvd_core.simulate import simulate_dopants

SHAPE = (16, 18)
ENERGY = Axis(96, 170.0, 0.5, "eV", "E")
FWHM = 3.0


def line(place, fwhm=FWHM, energy=ENERGY):
    """A Gaussian of unit area at places (...), integrated over channels."""
    scale = fwhm / (2 * numpy.sqrt(2 * numpy.log(2)))
    away = energy.values() - numpy.asarray(place)[..., None]
    return scipy.special.ndtr((away + energy.scale / 2) / scale) - scipy.special.ndtr((away - energy.scale / 2) / scale)


def spread(counts, rng):
    """Counts of a camera where every tenth electron is seen in the next channel, too."""
    more = rng.binomial(counts[..., :-1], 0.1)
    counts = counts.astype(float)
    counts[..., 1:] += more
    return counts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scan whose line shifts by 0.8 eV between its halves and is missing in three rows; cerium with a dopant."""
    folder, rng = tmp_path_factory.mktemp("lines"), numpy.random.default_rng(5)
    there = numpy.ones(SHAPE)
    there[:3] = 0.0
    shift = numpy.where(numpy.arange(SHAPE[1]) < 9, -0.4, 0.4) * numpy.ones(SHAPE)
    expected = 12 * numpy.exp(-(ENERGY.values() - 185) / 40) + 900 * there[..., None] * line(193.0 + shift)
    write_scan(
        folder / "line.h5",
        Scan(spread(rng.poisson(expected), rng), (*(Axis(n) for n in SHAPE), ENERGY), {}, "SI 7"),
        {"simulated": "line"},
    )
    numpy.save(folder / "shift.npy", shift)
    sample = simulate_dopants((20, 20), counts=60_000.0, q_rows=1)
    counts = Detector(0.25, seed=1).record(sample).spectra()
    axes = (Axis(20), Axis(20), sample.energy)
    write_scan(folder / "cerium.h5", Scan(counts, axes), {"simulated": "dopants"})
    return folder


def maps(folder, capsys, tmp_path, name, *options):
    """What a command made, by name, and what it said."""
    code, text, err = run(capsys, folder / name, "--output", tmp_path / "m.npy", *options, "--json")
    assert code == 0, err
    said = json.loads(text)
    return {each["name"]: numpy.load(each["output"]) for each in said["maps"]}, said


def test_position_width_and_shift_of_a_line(folder, capsys, tmp_path):
    found, said = maps(folder, capsys, tmp_path, "line.h5", "--line", "180:206")
    assert list(found) == ["position", "width", "shift"]
    assert (tmp_path / "m_shift.npy").exists() and not (tmp_path / "m.npy").exists()
    assert {each["units"] for each in said["maps"]} == {"eV"}
    truth = numpy.load(folder / "shift.npy")[3:]
    position, sigma = found["position"]
    z = (position[3:] - 193.0 - 0.5 * 0.1 / 1.1 - truth) / sigma[3:]  # the second channel pulls all of them
    assert abs(z.mean()) < 0.2 and 0.9 < z.std() < 1.1
    assert numpy.isinf(sigma[:3]).mean() > 0.9, "where there is no line it has no position"
    width, error = (each[3:] for each in found["width"])
    z = (width - FWHM) / error
    assert abs(z.mean()) < 0.4 and 0.9 < z.std() < 1.1
    shift, error = (each[3:] for each in found["shift"])
    assert abs(((shift - truth) / error).std() - 1) < 0.1
    assert [each["clear"] for each in said["maps"]] == [int(numpy.isfinite(sigma).sum())] * 3
    assert said["provenance"]["line"] == [180.0, 206.0] and said["provenance"]["noise"]["correlation"]


def test_a_shift_from_a_region(folder, capsys, tmp_path):
    found, _ = maps(folder, capsys, tmp_path, "line.h5", "--line", "180:206", "--relative-to", "3:16,0:9")
    shift = found["shift"][0][3:]
    assert shift[:, :9].mean() == pytest.approx(0.0, abs=0.02)
    assert shift[:, 9:].mean() == pytest.approx(0.8, abs=0.03)


def test_the_error_of_a_shift_holds_that_of_the_region(rng):
    sigma = rng.uniform(0.1, 0.5, 12)
    region = numpy.arange(12) < 4
    drawn = rng.normal(5.0, sigma, (20_000, 12))
    shifts = numpy.array([shift_map(each, sigma, region)[0] for each in drawn])
    numpy.testing.assert_allclose(shifts.std(0), shift_map(drawn[0], sigma, region)[1], rtol=0.03)
    with pytest.raises(InputError, match="clear at none of the 4 positions"):
        shift_map(drawn[0], numpy.where(region, numpy.inf, sigma), region)


def test_frames_give_the_same_as_their_sums(folder, capsys, tmp_path):
    rng = numpy.random.default_rng(1)
    frames = rng.poisson(6 + 200 * line(numpy.full((6, 7, 3), 193.0)))
    for name, data, axes in (("frames", frames, (Axis(3, name="q"),)), ("sums", frames.sum(2), ())):
        scan = Scan(data, (Axis(6, name="y"), Axis(7, name="x"), *axes, ENERGY))
        write_scan(tmp_path / f"{name}.h5", scan, {"simulated": "line"})
    found = [maps(tmp_path, capsys, tmp_path, f"{name}.h5", "--line", "180:206")[0] for name in ("frames", "sums")]
    numpy.testing.assert_allclose(found[0]["position"][0], found[1]["position"][0], atol=1e-4)


@pytest.mark.parametrize("fwhm", [1.2, 3.0, 6.0])
@pytest.mark.parametrize("rise", [0.0, 15.0])
def test_lines_are_found_whatever_their_width(rng, fwhm, rise):
    expected = 20 + rise * numpy.cumsum(line(193.0, fwhm)) + 900 * line(numpy.full(200, 193.0), fwhm)
    spectra = rng.poisson(expected).astype(numpy.float32)
    place, width = guess_line(spectra.sum(0), ENERGY, (180.0, 206.0))
    assert abs(place - 193.0) < 0.6 and 0.5 < width / fwhm < 1.6
    position, wide = line_maps(spectra, ENERGY, (180.0, 206.0), NoiseModel(), step=rise > 0)
    assert position.values.mean() == pytest.approx(193.0, abs=0.1)
    assert wide.values.mean() == pytest.approx(fwhm, rel=0.06)


def test_the_clearest_line_of_a_spectrum_is_proposed(rng):
    values = ENERGY.values()
    steep = rng.poisson(2000 * (values / 170) ** -8 + 900 * line(numpy.array(199.0), 4.0))
    place, width = clearest_line(steep, ENERGY)
    assert abs(place - 199) < 2 and 2 < width < 8
    assert clearest_line(numpy.zeros(96), ENERGY)[0] == 194.0


def test_white_line_ratio_of_cerium(folder, capsys, tmp_path):
    found, said = maps(folder, capsys, tmp_path, "cerium.h5", "--line", "850:930", "--ratio", "883:901")
    values, sigma = found["ratio"]
    assert (tmp_path / "m.npy").exists() and said["maps"][0]["units"] == ""
    sample = simulate_dopants((20, 20), counts=60_000.0, q_rows=1)
    write_scan(tmp_path / "truth.h5", Scan(sample.spectra, (Axis(20), Axis(20), sample.energy)), {"simulated": "d"})
    clean, _ = maps(tmp_path, capsys, tmp_path, "truth.h5", "--line", "850:930", "--ratio", "883:901")
    z = (values - clean["ratio"][0]) / sigma
    assert abs(numpy.mean(z)) < 0.3 and 0.8 < numpy.std(z) < 1.2


def test_references_from_regions_of_the_scan_and_from_files(folder, capsys, tmp_path):
    regions = ("none=0:3,0:18", "left=3:16,0:9", "right=3:16,9:18")
    found, said = maps(folder, capsys, tmp_path, "line.h5", "--references", *regions, "--within", "180:206")
    assert list(found) == ["none", "left", "right"] and {each["units"] for each in said["maps"]} == {"ref."}
    assert said["warning"] == ""
    for name, own in (("left", numpy.s_[3:, :9]), ("right", numpy.s_[3:, 9:]), ("none", numpy.s_[:3])):
        values, sigma = found[name]
        assert values[own].mean() == pytest.approx(1.0, abs=0.05), name
        assert ((values[own] - 1) / sigma[own]).std() < 1.15 and (values >= 0).all()
    assert abs(found["left"][0][3:, 9:]).mean() < 0.2
    spectra = {"back": 12 * numpy.exp(-(ENERGY.values() - 185) / 40), "line": line(193.0) * 900}
    for name, spectrum in spectra.items():
        numpy.save(tmp_path / f"{name}.npy", spectrum)
    files = [tmp_path / f"{name}.npy" for name in spectra]
    found, said = maps(folder, capsys, tmp_path, "line.h5", "--references", *files)
    assert found["back"][0].mean() == pytest.approx(1.1, abs=0.02), "each tenth electron counts twice"
    assert found["line"][0][:3].mean() < 0.02 and said["warning"] == ""
    numpy.save(tmp_path / "back.npy", spectra["back"][:50])
    assert "has no energies and 50 channels, the scan 96" in refused(
        capsys, folder / "line.h5", "--output", tmp_path / "m.npy", "--references", *files
    )


def test_a_denoised_scan_has_maps_of_lines_without_sigma(folder, capsys, tmp_path):
    rng = numpy.random.default_rng(2)
    scan = Scan(rng.poisson(20 + 900 * line(numpy.full((5, 6), 193.0))) - 0.25, (Axis(5), Axis(6), ENERGY))
    write_scan(tmp_path / "denoised.h5", scan, {"model": "guide"})
    for options in (["--line", "180:206"], ["--references", "a=0:5,0:6"]):
        found, said = maps(tmp_path, capsys, tmp_path, "denoised.h5", *options)
        assert "sigma is NaN; give --uncertainty FILE" in said["warning"]
        for values, sigma in found.values():
            assert numpy.isnan(sigma).all() and numpy.isfinite(values).all()
        assert said["maps"][0]["sigma"] is None


def test_an_overlap_is_measured_and_used(capsys, tmp_path, rng):
    energy = Axis(520, 790.0, 1.0, "eV", "E")
    values = energy.values()
    cerium = 60 * ((values > 883) & (values < 950)) + 7.5 * ((values > 1180) & (values < 1240))  # 3960 by 442.5
    gadolinium = 6 * ((values > 1190) & (values < 1250)) * (numpy.arange(20) > 9)[:, None]
    counts = rng.poisson(40 * (values / 800) ** -3 + cerium + gadolinium * numpy.ones((16, 1, 1)))
    scan = Scan(counts.astype(numpy.float32), (Axis(16), Axis(20), energy))
    write_scan(tmp_path / "raw.h5", scan, {"simulated": "overlap"})
    preset = ("--preset", "Gd-doped ceria")
    found, said = maps(tmp_path, capsys, tmp_path, "raw.h5", *preset, "--measure-overlap", "0:16,0:10")
    (ratio,) = said["ratios"]
    assert ratio["ratio"] == pytest.approx(3960 / 442.5, abs=3 * ratio["sigma"]) and 0.01 < ratio["sigma"] < 0.3
    assert ratio["positions"] == 160 and said["provenance"]["preset"]["lines"][0]["ratio"] == ratio["ratio"]
    without = found["Gd M45"][0][:, :10]
    assert abs(without.mean()) < 3 * without.std() / 160**0.5
    common = 442.5 * ratio["sigma"] / ratio["ratio"]
    assert found["Gd M45"][0][:, 10:].mean() == pytest.approx(354.0, abs=3 * common + 5)
    text = run(capsys, tmp_path / "raw.h5", "--output", tmp_path / "m.npy", *preset, "--measure-overlap", "0:16,0:10")[
        1
    ]
    assert "times the counts of its lines in Gd M45, measured at 160 positions" in text

    options = (*preset, "--measure-overlap", "0:16,0:10", "--k", "Ce M45=1", "Gd M45=2.5+-0.5")
    found, said = maps(tmp_path, capsys, tmp_path, "raw.h5", *options)
    cerium_map, gadolinium_map = (found[f"{name} M45 atomic percent"] for name in ("Ce", "Gd"))
    clear = numpy.isfinite(cerium_map[1])
    assert clear.mean() > 0.95
    numpy.testing.assert_allclose((cerium_map[0] + gadolinium_map[0])[clear], 100.0, atol=1e-3)
    share = 100 * 2.5 * 354 / (3960 + 2.5 * 354)
    assert numpy.median(gadolinium_map[0][:, 10:]) == pytest.approx(share, abs=3 * 2.5 * common / 48)
    assert numpy.median(gadolinium_map[1][:, 10:]) > 0.2 * share * (1 - share / 100), "the k-factor's error is in it"
    assert said["maps"][2]["units"] == "at.%" and (tmp_path / "m_Gd_M45_atomic_percent.npy").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--line", "180"], "--line is '180'; want two energies"),
        (["--line", "300:320"], "covers no channel of the axis"),
        (["--line", "206:180"], "covers no channel of the axis"),
        (["--line", "193:195"], "want a line with background on both sides"),
        (["--line", "193:196"], "widen it"),
        (["--line", "200:216"], "stands out of the sum of the scan"),
        (["--line", "180:206", "--ratio", "193"], "--ratio is '193'; want two energies"),
        (["--line", "180:206", "--ratio", "193:193"], "want two, some channels apart"),
        (["--line", "180:206", "--ratio", "193:300"], "all inside the window"),
        (["--line", "180:206", "--ratio", "193:200", "--step"], "do not go with --ratio"),
        (["--line", "180:206", "--relative-to", "3:16"], "such as 0:16,0:18, which is all"),
        (["--line", "180:206", "--relative-to", "a:b,0:3"], "such as 0:16,0:18"),
        (["--line", "180:206", "--relative-to", "3:17,0:3"], "no part of the scan"),
        (["--line", "180:206", "--relative-to", "5:3,0:3"], "no part of the scan"),
        (["--line", "180:206", "--background", "170:180"], "do not go with --line"),
        (["--line", "180:206", "--uncertainty", "u.npz"], "u.npz does not exist"),
        (["--line", "180:206", "--within", "180:200"], "--within goes with --references"),
        (["--line", "180:206", "--signal", "180:206"], "not allowed with argument"),
        (["--signal", "180:206", "--ratio", "193:200"], "--ratio goes with --line"),
        (["--signal", "180:206", "--k", "a=1"], "--k goes with --preset"),
        (["--signal", "180:206", "--measure-overlap", "0:1,0:1"], "--measure-overlap goes with --preset"),
        (["--references", "a=0:3,0:99"], "no part of the scan"),
        (["--references", "a=0:3,0:9", "a=3:9,0:9"], "want different names"),
        (["--references", "none.npy"], "none.npy does not exist"),
        (["--references", "a=3:9,0:9", "b=3:9,0:9"], "too alike"),
        (["--references", "a=3:9,0:9", "--within", "300:310"], "covers no channel"),
        (["--preset", "h-BN core loss", "--k", "B K=1"], "want two or more of the edges"),
        (["--preset", "h-BN core loss", "--k", "B K=1", "O K=2"], "which maps B K, N K"),
        (["--preset", "h-BN core loss", "--k", "B K=1", "N K"], "want a map's name and a number"),
        (["--preset", "h-BN phonons", "--k", "TA=1", "LA=2"], "want two or more of the edges"),
    ],
)
def test_what_cannot_be_mapped_is_one_sentence_and_no_file(folder, tmp_path, capsys, options, message):
    assert message in refused(capsys, folder / "line.h5", "--output", tmp_path / "map.npy", *options)
    assert not list(tmp_path.iterdir())


def test_overlaps_are_measured_where_a_preset_has_them_and_the_element_is_there(folder, tmp_path, capsys, rng):
    energy = Axis(520, 790.0, 1.0, "eV", "E")
    scan = Scan(rng.poisson(9.0, (6, 8, 520)).astype(numpy.float32), (Axis(6), Axis(8), energy))
    write_scan(tmp_path / "raw.h5", scan, {"simulated": "flat"})
    write_scan(tmp_path / "denoised.h5", scan, {"model": "guide"})
    given = ("--output", tmp_path / "m.npy", "--preset", "Gd-doped ceria", "--measure-overlap")
    assert "mark more positions" in refused(capsys, tmp_path / "raw.h5", *given, "0:6,0:8")
    assert "no part of the scan" in refused(capsys, tmp_path / "raw.h5", *given, "0:6,0:9")
    assert "give that as IN" in refused(capsys, tmp_path / "denoised.h5", *given, "0:6,0:8")
    numpy.save(tmp_path / "hbn.npy", rng.poisson(9.0, (6, 8, 400)))
    options = ("--energy", "150:1", "--output", tmp_path / "m.npy", "--preset", "h-BN core loss")
    assert "takes no lines off" in refused(capsys, tmp_path / "hbn.npy", *options, "--measure-overlap", "0:6,0:8")


def test_a_reference_may_be_any_scan(tmp_path):
    scan = Scan(numpy.ones((2, 3, 96)) * numpy.arange(1, 4)[:, None], (Axis(2), Axis(3), ENERGY))
    write_scan(tmp_path / "two.h5", scan, {})
    found = map_references._from_file("two", tmp_path / "two.h5", ENERGY, ENERGY)
    numpy.testing.assert_allclose(found.spectrum, 2.0)
