"""A computation that is out of date and that Swift will not run, as nionswift 16.18 may leave one."""

from __future__ import annotations

import contextlib

import pytest
from mapping import add_scan, computation_of, counts, knowing_maps, mapped, set_counts
from producer import follow, pump

from nionswift_plugin.udvd_simulator import headless


@pytest.fixture
def swift(bare_swift, monkeypatch):
    """An empty Swift that knows the maps."""
    with knowing_maps(bare_swift, monkeypatch):
        yield bare_swift


@pytest.mark.parametrize(("name", "runs"), [("udvd.map", True), ("theirs", False)])
def test_the_companion_has_ours_run_and_leaves_others_alone(swift, tmp_path, monkeypatch, name, runs):
    scan = add_scan(swift)
    (item,) = mapped(swift, scan)
    computation = computation_of(swift, item)
    with contextlib.closing(follow(swift, tmp_path, follow=False)) as companion:
        set_counts(scan, counts(1))
        swift.pump_until(lambda: computation.is_running)
        swift.pump_until(lambda: not computation.is_running)
        computation.needs_update = True  # now Swift does not listen
        headless.HeadlessSwift.pump(swift, 0.3)
        assert computation.needs_update, "this Swift overlooks nothing; if all do so, overlooked.py is not needed"
        with monkeypatch.context() as patch:
            patch.setattr(type(computation), "processing_id", name)
            pump(swift, companion, lambda: computation.needs_update != runs, least=30)
