"""Presets: what they check, how they travel, and the file that an operator's own are saved in."""

import dataclasses
import json

import pytest

from udvd_core.errors import InputError, SettingsError
from udvd_core.maps.presets import BUILT_IN, FILE, Lines, Preset, delete_preset, read_presets, save_preset
from udvd_core.settings import MapWindow

MINE = Preset("mine", (MapWindow("O K", (530.0, 550.0), (490.0, 525.0)), MapWindow("sum", (500.0, 900.0))))


@pytest.mark.parametrize("preset", [*BUILT_IN, MINE], ids=lambda p: p.name)
def test_a_preset_survives_json(preset):
    assert Preset.from_dict(json.loads(json.dumps(preset.to_dict()))) == preset
    assert preset.to_dict() == json.loads(json.dumps(preset.to_dict()))


def test_built_in_windows_are_those_of_the_paper():
    presets = read_presets_of(BUILT_IN)
    assert presets["h-BN core loss"]["B K"].signal == (190.0, 210.0)
    assert presets["h-BN core loss"]["N K"].signal == (400.0, 420.0)
    assert presets["Gd-doped ceria"]["Ce M45"] == MapWindow("Ce M45", (840.0, 960.0), (807.0, 840.0))
    assert presets["Gd-doped ceria"]["Gd M45"] == MapWindow("Gd M45", (1165.0, 1285.0), (1065.0, 1165.0))
    assert [m.signal for m in BUILT_IN[2].maps][:3] == [(0.05, 0.09), (0.12, 0.14), (0.14, 0.2)]
    assert BUILT_IN[1].lines == (Lines("Ce M45", "Gd M45", 10.3, 0.1),)


def read_presets_of(presets):
    return {preset.name: {m.name: m for m in preset.maps} for preset in presets}


def test_save_change_and_delete(tmp_path):
    folder = tmp_path / "not yet there"
    assert read_presets(folder) == ({p.name: p for p in BUILT_IN}, "")
    save_preset(folder, MINE)
    other = dataclasses.replace(BUILT_IN[0], maps=MINE.maps)
    save_preset(folder, other)
    presets, problem = read_presets(folder)
    assert not problem
    assert presets["mine"] == MINE
    assert presets[other.name] == other
    assert [path.name for path in folder.iterdir()] == [FILE]
    delete_preset(folder, other.name)
    assert read_presets(folder)[0][other.name] == BUILT_IN[0]
    assert read_presets(folder)[0]["mine"] == MINE
    with pytest.raises(InputError, match="no preset 'h-BN phonons' is saved"):
        delete_preset(folder, "h-BN phonons")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1, 2]",
        b'{"presets": 3}',
        b'{"presets": [3]}',
        b'{"presets": [{"name": "a"}]}',
        b'{"presets": [{"name": 3, "maps": [{"name": "a", "signal": [1, 2]}]}]}',
        b'{"presets": [{"name": "a", "maps": [{"name": "a", "signal": [2, 1]}]}]}',
        b'{"presets": [{"name": "a", "maps": [{"name": "a", "signal": ["x", 1]}]}]}',
        b'{"presets": [{"name": "a", "maps": [], "colour": "red"}]}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
)
def test_a_broken_file_gives_one_sentence_and_is_kept(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    presets, problem = read_presets(tmp_path)
    assert presets == {p.name: p for p in BUILT_IN}
    assert "repair the file or move it away" in problem
    assert "\n" not in problem
    with pytest.raises(InputError, match="cannot be read"):
        save_preset(tmp_path, MINE)
    assert (tmp_path / FILE).read_bytes() == content


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be"):
        save_preset(tmp_path / "file", MINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": " "}, "want a name"),
        ({"maps": ()}, "maps of different names"),
        ({"maps": MINE.maps * 2}, "maps of different names"),
        ({"lines": (Lines("O K", "N K", 2.0, 0.1),)}, "want two of its maps"),
        ({"lines": (Lines("O K", "O K", 2.0, 0.1),)}, "want two of its maps"),
        ({"tail": ((0.3, 0.2),)}, "above 0 eV"),
        ({"tail": ((0.0, 0.2),)}, "above 0 eV"),
    ],
)
def test_presets_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(SettingsError, match=message):
        dataclasses.replace(MINE, **arguments)


@pytest.mark.parametrize(("ratio", "sigma"), [(0.0, 0.1), (10.0, -0.1), (float("nan"), 0.1)])
def test_ratios_that_make_no_sense_are_refused(ratio, sigma):
    with pytest.raises(SettingsError, match="want a ratio above 0"):
        Lines("a", "b", ratio, sigma)
