"""Where a network computes."""

from __future__ import annotations

import os

import torch

from udvd_core.errors import EngineError


def choose_device(wanted: str) -> torch.device:
    """Device for ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.

    Raises
    ------
    EngineError
        When there is no such device.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError
    except RuntimeError:
        raise EngineError(f"device {wanted!r} is unknown; want auto, cpu, cuda or cuda:n") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(f"device {wanted!r} is not there: {torch.cuda.device_count()} CUDA devices; use auto or cpu")
    return device


def leave_a_core() -> None:
    """Compute with one thread fewer than cores: as many threads as cores stand still where a core is taken."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))


def device_name(device: torch.device) -> str:
    """Name for the user."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
