"""Weights on disk: tensors only, never code; a hash says which ones were used."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import pickle
import typing

import safetensors
import safetensors.torch
import torch

from udvd_core.blindspot import BlindspotNetwork, paper_network
from udvd_core.errors import WeightsError
from udvd_core.framing import GRID, LINE

TENSORS = 37


def weights_hash(network: torch.nn.Module) -> str:
    """SHA-256 of all weights in the order of the forward pass, hexadecimal."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def save(path: pathlib.Path, network: BlindspotNetwork, **facts: typing.Any) -> None:
    """Write weights and what is needed to rebuild their network; all or nothing.

    Parameters
    ----------
    facts
        Values for JSON that travel along, such as ``step``.
    """
    about = {
        "width": network.width,
        "hidden": network.hidden,
        "frames": len(network.pattern.offsets),
        "whole_neighbours": network.whole_neighbours,
        **facts,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    temporary = path.with_name(path.name + ".tmp")
    safetensors.torch.save_file(tensors, temporary, {"udvd": json.dumps(about)})
    os.replace(temporary, path)


def load(path: pathlib.Path) -> tuple[BlindspotNetwork, dict[str, typing.Any]]:
    """Read a network from ``.safetensors`` (ours) or ``.pth`` (the published code's).

    Returns
    -------
    network, facts
        The network in eval mode; what `save` was told, with ``"published": True`` for ``.pth``.

    Raises
    ------
    WeightsError
        When the file cannot be read, holds anything but tensors, or fits no network.
    """
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                about = json.loads((file.metadata() or {}).get("udvd", "null"))
            if not isinstance(about, dict):
                raise WeightsError(f"{path} holds no network of this program; want a file that udvd has written")
            network = BlindspotNetwork(
                {9: GRID, 5: LINE}[about["frames"]], tuple(about["hidden"]), about["width"], about["whole_neighbours"]
            )
            network.load_state_dict(tensors)
            return network.eval(), about
        return _published(path), {"published": True}
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist; want a .safetensors or .pth file with weights") from None
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, TypeError, AttributeError,
            pickle.UnpicklingError, safetensors.SafetensorError) as error:  # fmt: skip
        if isinstance(error, WeightsError):
            raise
        first = str(error).strip().splitlines()[0][:150] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{path} cannot be used as weights ({first}); want tensors of a UDVD network") from None


def _published(path: pathlib.Path) -> BlindspotNetwork:
    """Network of the published code; its tensors are named otherwise and come in the same order."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    tensors = [t for t in state.values() if isinstance(t, torch.Tensor)] if isinstance(state, dict) else []
    if len(tensors) != TENSORS:
        raise WeightsError(f"{path} holds {len(tensors)} tensors; the paper's network has {TENSORS}")
    for frames in (9, 5):
        network = paper_network(frames)
        names = list(network.state_dict())
        if [t.shape for t in network.state_dict().values()] == [t.shape for t in tensors]:
            network.load_state_dict(dict(zip(names, tensors, strict=True)))
            return network
    raise WeightsError(f"{path} fits neither the paper's 9-frame nor its 5-frame network: its shapes differ")
