"""The settings file: what goes in comes out, and nothing that a user can write there is fatal."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib

import hypothesis
import hypothesis.strategies as st
import pytest

from nionswift_plugin.udvd_live import preferences
from nionswift_plugin.udvd_live.preferences import Preferences
from udvd_core.errors import SettingsError
from udvd_core.settings import BACKGROUNDS, MODELS, MapWindow, Training

FINITE = st.floats(allow_nan=False, allow_infinity=False)
WINDOWS = st.tuples(FINITE, FINITE).filter(lambda pair: pair[0] < pair[1])
MAPS = st.builds(MapWindow, st.text(), WINDOWS, st.none() | WINDOWS | st.lists(WINDOWS), st.sampled_from(BACKGROUNDS))
TRAININGS = st.builds(
    Training,
    model=st.sampled_from(MODELS),
    width=st.none() | st.integers(1, 100).map(lambda n: 2 * n),
    hidden=st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9)),
    frames=st.booleans(),
    budget_s=st.floats(0, 1e6),
    weights=st.none() | st.text(),
    seed=st.integers(0, 2**63 - 1),
)
ANY = st.builds(
    Preferences,
    follow=st.booleans(),
    python=st.none() | st.text(),
    cameras=st.lists(st.text()).map(tuple),
    maps=st.lists(MAPS, max_size=3).map(tuple),
    training=TRAININGS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@hypothesis.given(ANY)
def test_round_trip(chosen):
    assert Preferences.from_json(chosen.to_json()) == chosen


@hypothesis.given(ANY)
@hypothesis.settings(max_examples=20, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_round_trip_through_a_file(tmp_path, chosen):
    preferences.store(tmp_path / "udvd_live.json", chosen)
    assert preferences.load(tmp_path / "udvd_live.json") == chosen
    assert [path.name for path in tmp_path.iterdir()] == ["udvd_live.json"]


@hypothesis.given(st.sampled_from(["maps", "cameras", "follow", "python", "training", "other"]), JSON)
def test_any_json_is_settings_or_a_settings_error(key, value):
    try:
        chosen = Preferences.from_json(json.dumps({key: value}))
    except SettingsError as error:
        assert "settings cannot be read" in str(error) and "README" in str(error)
    else:
        assert key != "other" and Preferences.from_json(chosen.to_json()) == chosen


def test_what_is_not_there_keeps_its_default():
    assert Preferences.from_json("{}") == Preferences()
    chosen = Preferences.from_json('{"follow": false, "training": {"budget_s": 3}}')
    assert chosen == Preferences(follow=False, training=Training(budget_s=3.0))
    assert isinstance(chosen.training.budget_s, float)


def training(**values):
    return json.dumps({"training": values})


def one_map(**values):
    return json.dumps({"maps": [{"name": "a", "signal": [1, 2], **values}]})


HUGE = 10**400
BAD = {
    "no JSON": "follow = true",
    "cut short": Preferences().to_json()[:-9],
    "empty": "",
    "deep": "[" * 100_000,
    "a number": "1",
    "a text": '"maps"',
    "a list": '["follow"]',
    "unknown key": '{"folow": true}',
    "unknown key of training": training(steps=3),
    "unknown key of a map": one_map(colour="red"),
    "map without a window": '{"maps": [{"name": "a"}]}',
    "maps of nothing": '{"maps": null}',
    "window the wrong way round": one_map(signal=[2, 1]),
    "window of three": one_map(signal=[1, 2, 3]),
    "window without an end": one_map(signal=[1, float("inf")]),
    "window of not a number": one_map(signal=[float("nan"), 1]),
    "window beyond all numbers": one_map(signal=[1, HUGE]),
    "background the wrong way round": one_map(background=[2, 1]),
    "one of two backgrounds the wrong way round": one_map(background=[[1, 2], [2, 1]]),
    "background of texts": one_map(background=["a", "b"]),
    "a background model that is none": one_map(model="spline"),
    "follow is a number": '{"follow": 1}',
    "python is a number": '{"python": 5}',
    "a camera is a number": '{"cameras": [1]}',
    "a map without a name": one_map(name=3),
    "window of texts": one_map(signal=["a", "b"]),
    "frames is a text": training(frames="yes"),
    "cameras is a text": '{"cameras": "ela"}',
    "a model that is none": training(model="magic"),
    "odd width": training(width=3),
    "half a channel wide": training(width=8.5),
    "width is a truth": training(width=True),
    "negative budget": training(budget_s=-1),
    "budget is not a number": training(budget_s=float("nan")),
    "budget without an end": training(budget_s=float("inf")),
    "budget beyond all numbers": training(budget_s=HUGE),
    "no learning": training(learning_rate=0),
    "learning backwards": training(learning_rate=-1e-3),
    "learning is not a number": training(learning_rate=float("nan")),
    "negative seed": training(seed=-1),
    "seed too large for torch": training(seed=2**64),
    "one hidden radius": training(hidden=[1]),
    "three hidden radii": training(hidden=[0, 1, 2]),
    "half a pixel hidden": training(hidden=[0, 0.5]),
    "negative hidden radius": training(hidden=[0, -1]),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_settings_are_an_error_and_the_file_gives_the_defaults_and_a_line_in_the_log(tmp_path, caplog, text):
    with pytest.raises(SettingsError, match="settings cannot be read"):
        Preferences.from_json(text)
    path = tmp_path / "udvd_live.json"
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert preferences.load(path) == Preferences()
    (record,) = caplog.records
    assert "default settings" in record.getMessage() and str(path) in record.getMessage()
    assert path.read_text() == text, "the user can mend it"


def test_a_file_that_is_no_text_gives_the_defaults(tmp_path, caplog):
    path = tmp_path / "udvd_live.json"
    path.write_bytes(Preferences(follow=False).to_json().encode("utf-16"))
    with caplog.at_level(logging.WARNING):
        assert preferences.load(path) == Preferences()
    assert str(path) in caplog.text


def test_a_folder_in_place_of_the_file_gives_the_defaults(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert preferences.load(tmp_path) == Preferences()
    assert str(tmp_path) in caplog.text


def test_no_file_is_nothing_to_talk_about(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert preferences.load(tmp_path / "none.json") == Preferences()
    assert not caplog.records


@pytest.mark.parametrize(
    ("override", "expected"),
    [(None, "folder/udvd_live.json"), ("", "folder/udvd_live.json"), ("/a/b.json", "/a/b.json")],
)
def test_the_environment_names_another_file(monkeypatch, override, expected):
    monkeypatch.delenv("UDVD_SETTINGS", raising=False)
    if override is not None:
        monkeypatch.setenv("UDVD_SETTINGS", override)
    assert preferences.path_in("folder") == pathlib.Path(expected)


@pytest.mark.parametrize("step", ["write_text", "replace"])
def test_a_failure_while_storing_leaves_the_old_settings_whole(tmp_path, monkeypatch, caplog, step):
    path = tmp_path / "udvd_live.json"
    old = Preferences(python="/opt/old/python")
    preferences.store(path, old)

    def half(self, text, encoding=None):
        with open(self, "w") as file:
            file.write(text[: len(text) // 2])
        raise OSError(28, "No space left on device")

    def refused(source, target):
        raise PermissionError(13, "somebody has it open")

    if step == "write_text":
        monkeypatch.setattr(pathlib.Path, "write_text", half)
    else:
        monkeypatch.setattr(os, "replace", refused)
    with caplog.at_level(logging.WARNING):
        preferences.store(path, dataclasses.replace(old, follow=False))
    monkeypatch.undo()
    assert preferences.load(path) == old
    assert "could not store" in caplog.text and str(path) in caplog.text
