"""Devices: chosen by name; on a GPU networks compute in half precision and give the same."""

import contextlib

import pytest
import torch

from udvd_core import blindspot, device
from udvd_core.blindspot import GRID, BlindspotNetwork
from udvd_core.errors import EngineError


@pytest.mark.parametrize("name", ["tpu", "meta", "cuda:99", "cuda:x"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(EngineError, match="use auto or cpu|want auto, cpu"):
        device.choose_device(name)


def test_a_cpu_computes_in_full_precision():
    assert isinstance(device.mixed_precision(torch.device("cpu")), contextlib.nullcontext)


def test_half_precision_gives_the_same_to_a_per_cent(monkeypatch):
    """With the precision of CUDA, on this CPU; what a GPU makes of it was never run here."""
    torch.manual_seed(0)
    network, frames = BlindspotNetwork(GRID, (1, 1), width=8).eval(), torch.randn(2, 9, 12, 40)
    full = network.estimate(frames)
    used = []

    def half(where):
        used.append(where)
        return torch.autocast("cpu", torch.bfloat16)

    monkeypatch.setattr(blindspot, "mixed_precision", half)
    reduced = network.to(memory_format=torch.channels_last).estimate(frames)
    assert used and reduced.dtype == torch.float32
    assert 0 < (reduced - full).abs().max() < 0.02 * full.abs().max()


def test_out_of_memory_halves_the_batch_until_it_fits():
    tried = []

    def work(size):
        tried.append(size)
        if size > 3:
            raise torch.OutOfMemoryError
        return "done"

    assert device.halving(work, 16) == ("done", 2)
    assert tried == [16, 8, 4, 2]
    with pytest.raises(EngineError, match="does not hold a single frame"):
        device.halving(lambda size: (_ for _ in ()).throw(torch.OutOfMemoryError()), 4)
