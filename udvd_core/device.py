"""Where a network computes."""

from __future__ import annotations

import contextlib
import typing

import torch

from udvd_core.errors import EngineError
from udvd_core.give_way import computing_threads

Result = typing.TypeVar("Result")
Network = typing.TypeVar("Network", bound=torch.nn.Module)


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


def placed(network: Network, device: torch.device) -> Network:
    """Put a network on its device; on CUDA with its channels last, as convolutions in half precision want them."""
    if device.type == "cuda":
        return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
    return network.to(device)


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager[typing.Any]:
    """Convolutions in bfloat16 on CUDA; as they are on a CPU, where little is gained (docs/decisions/0007)."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()


def leave_a_core() -> None:
    """Have torch compute with one thread fewer than cores."""
    torch.set_num_threads(computing_threads())


def halving(work: typing.Callable[[int], Result], size: int) -> tuple[Result, int]:
    """Do some work in batches of `size`, of half the size where the device's memory does not suffice, and so on.

    Returns
    -------
    result, size
        What `work` returned, and the size that fitted.

    Raises
    ------
    EngineError
        When not even batches of 1 fit.
    """
    while True:
        try:
            return work(size), size
        except torch.OutOfMemoryError:
            if size <= 1:
                raise EngineError("the device's memory does not hold a single frame; use --device cpu") from None
            size //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def device_name(device: torch.device) -> str:
    """Name for the user."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
