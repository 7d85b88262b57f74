"""What is freed leaves the process."""

import sys

import numpy
import psutil
import pytest

from udvd_core.engine import memory
from udvd_core.engine.service import Service


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
