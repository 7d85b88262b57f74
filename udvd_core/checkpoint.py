"""Weights on disk: tensors only, never code; a hash says which ones were used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import pickle
import typing
import warnings

import safetensors
import safetensors.torch
import torch

from udvd_core.blindspot import BlindspotNetwork, paper_network
from udvd_core.errors import WeightsError
from udvd_core.framing import GRID, GRID_TOGETHER, LINE, LINE_TOGETHER

TENSORS = 37
PATTERNS = (GRID, LINE, GRID_TOGETHER, LINE_TOGETHER)


def weights_hash(network: torch.nn.Module) -> str:
    """SHA-256 of all weights in the order of the forward pass, hexadecimal."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def save(path: pathlib.Path, network: BlindspotNetwork, **facts: typing.Any) -> None:
    """Write weights and what is needed to rebuild their network; all or nothing, and on the disk when this returns.

    An earlier file stays beside the new one, as `previous`. A hash over all tells `load` of a single flipped bit.

    Parameters
    ----------
    facts
        Values for JSON that travel along, such as ``step``.

    Raises
    ------
    OSError
        When there is no room or no such folder; an earlier file stays as it was.
    """
    about = {
        "width": network.width,
        "hidden": network.hidden,
        "frames": len(network.pattern.offsets),
        "groups": len(network.pattern.groups),
        "whole_neighbours": network.whole_neighbours,
        **facts,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    about["sha256"] = _file_hash(network, about)
    temporary = path.with_name(path.name + ".tmp")
    try:
        safetensors.torch.save_file(tensors, temporary, {"udvd": json.dumps(about)})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
    except safetensors.SafetensorError as error:
        raise OSError(f"{temporary} cannot be written: {_line(error)}") from None
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, previous(path))
    os.replace(temporary, path)


def previous(path: pathlib.Path) -> pathlib.Path:
    """Where the file that lay at `path` before is kept."""
    return path.with_name(path.stem + ".previous" + path.suffix)


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
            pattern = next(p for p in PATTERNS if (len(p.offsets), len(p.groups)) == (about["frames"], about["groups"]))
            hidden_q, hidden_e = about["hidden"]
            if min(hidden_q, hidden_e) < 0 or about["width"] != len(tensors["first.encoder1.0.weight"]):
                raise WeightsError(f"{path} does not fit what it says of itself; it was changed or is damaged")
            network = BlindspotNetwork(pattern, (hidden_q, hidden_e), about["width"], about["whole_neighbours"])
            network.load_state_dict(tensors)
            if about.pop("sha256", None) != _file_hash(network, about):
                raise WeightsError(f"{path} is damaged: its SHA-256 is not that of its content; use an earlier file")
        else:
            network, about = _published(path), {"published": True}
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist; want a .safetensors or .pth file with weights") from None
    except WeightsError:
        raise
    except pickle.UnpicklingError:
        raise WeightsError(f"{path} holds more than tensors, which could be code; it was not run, nor used") from None
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is damaged or no .safetensors file ({_line(error)})") from None
    except Exception as error:  # torch's reader raises what it likes on damaged files
        raise WeightsError(
            f"{path} cannot be used as weights ({_line(error)}); want tensors of a UDVD network"
        ) from None
    if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        raise WeightsError(f"{path} holds weights that are not finite; use an earlier file")
    return network.eval(), about


def _file_hash(network: torch.nn.Module, about: dict[str, typing.Any]) -> str:
    """SHA-256 of weights and what is said of them."""
    return hashlib.sha256((weights_hash(network) + json.dumps(about, sort_keys=True)).encode()).hexdigest()


def _line(error: Exception) -> str:
    """First line of what a library says, not too long."""
    lines = str(error).strip().splitlines()
    return lines[0][:150] if lines else type(error).__name__


def _published(path: pathlib.Path) -> BlindspotNetwork:
    """Network of the published code; its tensors are named otherwise and come in the same order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols, on files that are refused in a moment
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
