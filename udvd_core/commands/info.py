"""``udvd info``: what is installed and what this machine can do."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import pathlib
import platform
import typing

import udvd_core
from udvd_core.commands.denoise import ENGINES
from udvd_core.commands.outcome import Outcome
from udvd_core.engine.hello import weights
from udvd_core.settings import MODELS

NEED_NO_TORCH = ("guide", "pca", "raw")

PACKAGES = ("numpy", "scipy", "h5py", "torch", "safetensors", "distributed", "rosettasciio", "zarr", "nionswift")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd info``; there are none."""


def run(args: argparse.Namespace) -> Outcome:
    """Collect versions, devices, models and weights."""
    values: dict[str, typing.Any] = {
        "version": udvd_core.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": [],
        "models": list(MODELS),
        "engines": [*ENGINES, "tls://HOST:PORT"],
        "parameters": {},
        "weights": weights(pathlib.Path(udvd_core.__file__).parent / "weights"),
        "note": "",
    }
    try:
        values["devices"] = devices()
        values["parameters"] = parameters()
    except ImportError as error:
        values["models"] = list(NEED_NO_TORCH)
        values["note"] = (
            f"{error.name or 'torch'} is not installed, so only {', '.join(NEED_NO_TORCH)} work:"
            " pip install 'nionswift-udvd[engine]'"
        )
    return Outcome(_text(values), values)


def devices() -> list[str]:
    """Name what PyTorch can compute on."""
    torch = importlib.import_module("torch")
    found = [f"cpu: {platform.processor() or platform.machine()}, {os.cpu_count()} cores"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    return found


def parameters() -> dict[str, int]:
    """Count the parameters of the paper's networks."""
    blindspot = importlib.import_module("udvd_core.blindspot")
    networks = {f"udvd, {frames} frames": blindspot.paper_network(frames=frames, hidden=(1, 1)) for frames in (9, 5)}
    return {name: sum(tensor.numel() for tensor in network.parameters()) for name, network in networks.items()}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _text(values: dict[str, typing.Any]) -> str:
    packages = ", ".join(f"{name} {version or 'not installed'}" for name, version in values["packages"].items())
    lines = [
        f"udvd {values['version']}, Python {values['python']}, {values['system']}",
        f"packages: {packages}",
        *(f"device: {device}" for device in values["devices"]),
        f"models: {', '.join(values['models'])}",
        f"engines: {', '.join(values['engines'])}",
        *(f"parameters: {name}: {count:,}" for name, count in values["parameters"].items()),
        *(f"weights: {name} {digest}" for name, digest in values["weights"].items()),
    ]
    if not values["weights"]:
        lines.append("weights: none are shipped; networks start from chance")
    return "\n".join([*lines, *([values["note"]] if values["note"] else [])])
