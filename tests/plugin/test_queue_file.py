"""The queue as a value, and its file: it survives the end of Swift, and damage costs nothing that could be read."""

from __future__ import annotations

import json

import pytest

from nionswift_plugin.udvd_live.queue_file import KEPT, Entry, Queue, QueueFile, Settings, State
from udvd_core.errors import SettingsError
from udvd_core.settings import MapWindow, Training

SETTINGS = Settings(
    Training("pca", hidden=(0, 1), budget_s=30), (MapWindow("B K", (190, 210), ((160, 187),)),), ("value", "sigma")
)


def queue(*states):
    """Entries a, b, ... in these states."""
    return Queue(
        tuple(Entry("abcdef"[n], ("u", "v"), f"Scan {n}", SETTINGS, state) for n, state in enumerate(states)), ("w",)
    )


def keys(found):
    return "".join(entry.key for entry in found.entries)


def test_a_queue_is_read_as_it_was_written_and_what_ran_waits_again(tmp_path):
    kept = queue(State.DONE, State.RUNNING, State.WAITING, State.FAILED).put("d", State.FAILED, "no counts")
    file = QueueFile(tmp_path / "Lab UDVD")
    assert file.load() == (Queue(), "")
    assert file.store(kept) == ""
    read, trouble = QueueFile(tmp_path / "Lab UDVD").load()
    assert (read, trouble) == (kept.put("b", State.WAITING), "")
    assert read.find("d").reason == "no counts" and read.find("a").settings.training.hidden == (0, 1)
    assert [path.name for path in (tmp_path / "Lab UDVD").iterdir()] == ["queue.json"]


def test_a_project_without_a_file_keeps_nothing():
    file = QueueFile(None)
    assert file.store(queue(State.WAITING)) == "" and file.load() == (Queue(), "")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"entries": 3, "followed": []}',
        b'{"entries": [{}], "followed": []}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_kept_aside_with_a_sentence(tmp_path, text):
    path = tmp_path / "queue.json"
    for turn in (1, 2):
        path.write_bytes(text)
        read, trouble = QueueFile(tmp_path).load()
        aside = tmp_path / f"queue.damaged{turn}.json"
        assert read == Queue() and aside.name in trouble and "Add the scans again" in trouble
        assert aside.read_bytes() == text and not path.exists()


@pytest.mark.parametrize(
    ("where", "value"),
    [("sources", []), ("state", "asleep"), ("settings", {"training": {"model": "no"}, "maps": [], "kinds": []})],
)
def test_an_entry_with_senseless_values_is_refused(where, value):
    values = json.loads(queue(State.WAITING).to_json())
    assert Queue.from_json(json.dumps(values)) == queue(State.WAITING)
    values["entries"][0][where] = value
    with pytest.raises(SettingsError):
        Queue.from_json(json.dumps(values))


def test_a_folder_that_cannot_be_written_gives_a_sentence_and_no_error(tmp_path):
    (tmp_path / "file").write_text("no folder")
    assert "cannot be kept" in QueueFile(tmp_path / "file").store(queue(State.WAITING))


def test_a_file_that_cannot_be_read_is_left_alone(tmp_path):
    (tmp_path / "queue.json").mkdir()
    file = QueueFile(tmp_path)
    read, trouble = file.load()
    assert read == Queue() and "cannot be read" in trouble
    assert file.store(queue(State.WAITING)) == "" and (tmp_path / "queue.json").is_dir()


@pytest.mark.parametrize(
    ("moved", "step", "expected"),
    [("c", -1, "acbd"), ("a", -1, "abcd"), ("bd", -1, "badc"), ("ab", 1, "cabd"), ("d", 1, "abcd"), ("ad", 1, "bacd")],
)
def test_entries_move_as_a_block_that_stops_at_the_ends(moved, step, expected):
    assert keys(queue(*[State.WAITING] * 4).move(moved, step)) == expected


def test_what_is_over_stands_behind_what_runs_the_newest_first():
    found = queue(*[State.WAITING] * 4).put("b", State.DONE).put("a", State.FAILED)
    assert keys(found) == "cdab" and keys(found.put("b", State.WAITING)) == "cdba"
    assert keys(found.move("d", 1)) == "cdab", "what waits stays before what is over"
    assert [entry.key for entry in found.waiting()] == ["c", "d"] and keys(found.remove("c")) == "dab"


def test_only_so_many_entries_that_are_over_are_kept_and_none_that_waits():
    found = queue(State.WAITING)
    for number in range(KEPT + 3):
        key = str(number)
        found = found.add(Entry(key, ("u",), "Scan", SETTINGS)).put(key, State.DONE)
    assert len(found.entries) == KEPT + 2 and found.entries[0].key == "a"
    assert [entry.key for entry in found.entries[1:3]] == ["52", "51"]


def test_a_queue_of_a_version_that_knew_no_gpu_machine_runs_here():
    values = json.loads(queue(State.WAITING).to_json())
    del values["entries"][0]["settings"]["remote"]
    assert Queue.from_json(json.dumps(values)) == queue(State.WAITING)
