"""What is freed leaves the process."""

import gc
import sys

import numpy
import psutil
import pytest

from udvd_core.engine import memory
from udvd_core.engine.protocol import Finished
from udvd_core.engine.service import Service
from udvd_core.guide import Guide


@pytest.mark.skipif(sys.platform != "linux", reason="only the C library of Linux keeps what is free")
def test_memory_between_what_is_still_used_goes_back():
    process = psutil.Process()
    many = [numpy.ones(1000, numpy.float32) for _ in range(20000)]
    kept, before = many[::500], process.memory_info().rss
    del many
    held = before - process.memory_info().rss
    memory.give_back()
    assert before - process.memory_info().rss > held + 20e6 and len(kept) == 40


def test_the_end_of_a_scan_gives_memory_back(make_spec, counts, monkeypatch):
    given = []
    monkeypatch.setattr(memory, "give_back", lambda: given.append(service.idle))
    service, spec = Service(), make_spec("one", model="raw")
    service.open(spec)
    service.push("one", 0, counts(spec))
    service.work(0.1)
    assert not given
    service.abort("one")
    service.work(0.1)
    service.work(0.1)
    assert len(given) == 1


def guides():
    """How many there are in this process."""
    return sum(type(each) is Guide for each in gc.get_objects())


def test_nothing_of_a_model_stays_when_its_scan_has_ended(make_spec, counts):
    service, spec = Service(), make_spec("one", (8, 8), model="guide", budget_s=20.0)
    gc.collect()
    before = guides()
    gc.disable()  # what Python does by itself comes too late
    try:
        service.open(spec)
        service.push("one", 0, counts(spec))
        service.finish("one")
        while not any(isinstance(event, Finished) for event in service.work(0.1)):
            assert guides() > before
        assert guides() == before
    finally:
        gc.enable()


def test_what_is_there_at_the_start_is_not_searched_again():
    try:
        memory.settle()
        assert gc.get_freeze_count() > 10000 > len(gc.get_objects())
    finally:
        gc.unfreeze()
