"""Results that nobody fetches fill no memory, and a client that is away keeps no worker busy; nothing is lost by it."""

import contextlib
import sys
import time

import numpy
import pytest

from udvd_core.engine import cluster, local, seat
from udvd_core.engine.cluster import ClusterEngine
from udvd_core.engine.cluster_actor import REPLY_BYTES
from udvd_core.engine.local import LocalEngine
from udvd_core.engine.packing import pack
from udvd_core.engine.protocol import Block, Finished, size
from udvd_core.engine.seat import Seat, Wish

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs the GPU machine of the tests")


@pytest.fixture
def sit(make_spec, counts, tmp_path):
    """A seat with all frames of a scan of 400 frames, 2 kB each, that is to end within 0.7 s."""
    seats = []

    def begin():
        spec = make_spec("a", (20, 20), rows=16, model="raw", frames=True, memory_bytes=1 << 20, budget_s=0.7)
        frames = counts(spec)
        seats.append(Seat(spec, ("swift", 1, 1), {}, tmp_path))
        for start in range(0, spec.count, 20):
            seats[0].put([pack(start, frames[start : start + 20])])
        seats[0].steer(Wish(finish=True))
        return seats[0], frames

    yield begin
    for each in seats:
        each.leave()
        each._thread.join(5)


def fetch(place, frames):
    """Fetch everything to the end, in small parts; it is complete."""
    data, seen, until = numpy.zeros_like(frames), 0, time.monotonic() + 20
    while True:
        assert time.monotonic() < until
        for number, event in place.events(seen)[:3]:
            seen = number
            if isinstance(event, Block):
                data[event.start : event.start + len(event.data)] = event.data
            elif isinstance(event, Finished):
                assert event.final == len(frames)
                return numpy.testing.assert_array_equal(data, frames)
        time.sleep(0.001)


def test_a_seat_whose_results_are_not_fetched_makes_no_more(sit, monkeypatch):
    """Nor does the waiting count as time to learn: that was over long ago."""
    monkeypatch.setattr(seat, "OUTBOX_BYTES", 1)
    place, frames = sit()
    time.sleep(1.5)
    (said, before) = place._said, place._bytes
    assert 0 < before < frames.nbytes
    time.sleep(0.5)
    assert (place._said, place._bytes) == (said, before)
    fetch(place, frames)


def test_a_seat_whose_client_is_away_rests_and_goes_on_when_it_is_back(sit, monkeypatch):
    monkeypatch.setattr(seat, "ABSENT_S", 0.0)
    place, frames = sit()
    time.sleep(1.5)
    assert place._said == 0
    monkeypatch.setattr(seat, "ABSENT_S", 20.0)
    fetch(place, frames)


@pytest.mark.parametrize("where", ["cluster", "local"])
def test_an_engine_whose_results_are_not_fetched_asks_for_no_more(
    served, lab, make_spec, drive, counts, monkeypatch, where
):
    """13 MB of whole frames, and room for one."""
    monkeypatch.setattr({"cluster": cluster, "local": local}[where], "ROOM_BYTES", 1 << 20)
    spec = make_spec(f"room {where}", (40, 40), rows=64, model="raw", frames=True, budget_s=30.0, memory_bytes=32 << 20)
    frames = counts(spec)
    made = ClusterEngine(served.address, lab.swift) if where == "cluster" else LocalEngine()
    with contextlib.closing(made) as engine:
        scan, until = drive(engine, spec, frames), time.monotonic() + 90
        while not scan.push(batch=64) or engine._has_room():  # and nothing is fetched
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(1.0)
        assert sum(size(event) for event in engine._events) < (2 << 20) + REPLY_BYTES < frames.nbytes / 2
        scan.run()
    numpy.testing.assert_array_equal(scan.data, frames)
