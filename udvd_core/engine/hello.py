"""What both ends tell of themselves before the first frame, and why they would not fit together."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import pathlib
import typing

import udvd_core

Facts = dict[str, typing.Any]

NETWORKS = ("udvd",)
"""Models that are nothing without torch; `guided` goes on with its guide alone, which is another result."""


def facts() -> Facts:
    """Versions, shipped weights, and whether there is torch."""
    return {
        "udvd": udvd_core.__version__,
        "distributed": importlib.metadata.version("distributed"),
        "torch": importlib.util.find_spec("torch") is not None,
        "weights": weights(pathlib.Path(udvd_core.__file__).parent / "weights"),
    }


def weights(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file of weights in a folder."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def misfit(client: Facts, worker: Facts, model: str) -> str:
    """Why a worker must not denoise for this client, as a sentence; empty where nothing speaks against it."""
    for name in ("udvd", "distributed"):
        if client[name] != worker[name]:
            return f"the GPU machine has {name} {worker[name]} and this one {client[name]}; install the same on both"
    if model in ("guided", *NETWORKS) and client["torch"] and not worker["torch"]:
        return f"model {model!r} needs torch, which the GPU machine does not have; install nionswift-udvd[engine] there"
    if model == "guided" and client["weights"] != worker["weights"]:
        return "the GPU machine has other weights of the correction than this one; install the same version on both"
    return ""
