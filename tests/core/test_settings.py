"""Map windows: what they take for windows, what they refuse, and that they come back from JSON as they were."""

import json

import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.errors import SettingsError
from udvd_core.maps.families import FAMILIES
from udvd_core.settings import BACKGROUNDS, MapWindow, ScanSpec

SIGNAL = (190.0, 210.0)


def test_the_background_models_are_those_that_can_be_fitted():
    assert set(BACKGROUNDS) == set(FAMILIES)
    assert [MapWindow("a", SIGNAL, (), model).model for model in BACKGROUNDS] == list(BACKGROUNDS)


@pytest.mark.parametrize(
    ("given", "windows"),
    [
        (None, ()),
        ((), ()),
        ([], ()),
        ((160, 187), ((160.0, 187.0),)),
        ([160, 187.5], ((160.0, 187.5),)),
        (((160, 170), (172, 187)), ((160.0, 170.0), (172.0, 187.0))),
        ([[160, 170], (172, 187)], ((160.0, 170.0), (172.0, 187.0))),
        ((numpy.float32(160), numpy.int64(187)), ((160.0, 187.0),)),
    ],
)
def test_no_window_one_and_several(given, windows):
    made = MapWindow("a", [190, 210], given)
    assert made == MapWindow("a", SIGNAL, windows)
    assert made.signal == SIGNAL and made.background == windows
    assert hash(made) == hash(MapWindow("a", SIGNAL, windows))
    assert all(type(end) is float for window in (made.signal, *made.background) for end in window)


@pytest.mark.parametrize(
    "window",
    [
        (210.0, 190.0),
        (190.0, 190.0),
        (float("nan"), 200.0),
        (190.0, float("inf")),
        (1, 10**400),
        (190.0,),
        (190.0, 200.0, 210.0),
        ("190", "210"),
        (True, 210.0),
        "190:210",
        5.0,
    ],
)
def test_windows_that_make_no_sense_are_refused(window):
    for arguments in ((window,), (SIGNAL, window), (SIGNAL, [SIGNAL, window])):
        with pytest.raises(SettingsError, match="window of map 'a' .* lower energy first"):
            MapWindow("a", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"), [((3, SIGNAL), "is called 3"), (("a", SIGNAL, (), "spline"), "spline")]
)
def test_names_and_models_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(SettingsError, match=message):
        MapWindow(*arguments)


def test_a_scan_comes_back_from_json():
    maps = (
        MapWindow("plain", SIGNAL),
        MapWindow("edge", SIGNAL, (160, 187)),
        MapWindow("double", SIGNAL, ((160, 187), (212, 230)), "power_law_double"),
    )
    spec = ScanSpec("id", (3, 4), (1, 200), Axis(200, 100.0, 1.0, "eV", "E"), maps)
    values = json.loads(json.dumps(spec.to_dict()))
    assert ScanSpec.from_dict(values) == spec
    values["maps"][0]["background"] = None  # as earlier versions wrote it
    assert ScanSpec.from_dict(values) == spec
    values["maps"][0]["colour"] = "red"
    with pytest.raises(SettingsError, match="cannot be read"):
        ScanSpec.from_dict(values)
