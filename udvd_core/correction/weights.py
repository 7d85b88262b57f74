"""Weights of the correction network on disk: tensors only, and a card that says what they were trained on."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import typing

import safetensors
import safetensors.torch
import torch

from udvd_core.correction.network import CorrectionNetwork
from udvd_core.errors import WeightsError

SHIPPED = pathlib.Path(__file__).parent.parent / "weights" / "correction.safetensors"


def load(path: pathlib.Path = SHIPPED) -> tuple[CorrectionNetwork, str]:
    """Read a correction network; also the SHA-256 of its file.

    Raises
    ------
    WeightsError
        When the file cannot be read, holds anything but the tensors of this network, or is not the one that the
        card beside it was written for.
    """
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path} is not used: weights of the correction are .safetensors files, tensors only")
    try:
        content = path.read_bytes()
        network = CorrectionNetwork()
        network.load_state_dict(safetensors.torch.load(content))
    except OSError:
        raise WeightsError(f"{path} cannot be read; `udvd pretrain --output {path}` makes it anew") from None
    except (safetensors.SafetensorError, RuntimeError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise WeightsError(f"{path} holds no correction network ({reason})") from None
    found, card = hashlib.sha256(content).hexdigest(), path.with_suffix(".json")
    if card.exists() and found != read_card(card).get("sha256"):
        raise WeightsError(f"{path} is not the file that {card.name} was written for: it was changed or is damaged")
    if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        raise WeightsError(f"{path} holds weights that are not finite")
    return network.eval(), found


def save(path: pathlib.Path, network: CorrectionNetwork, card: dict[str, typing.Any]) -> str:
    """Write weights, and beside them the card with their SHA-256; all or nothing. Returns the hash."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = safetensors.torch.save(tensors)
    digest = hashlib.sha256(content).hexdigest()
    text = json.dumps({"sha256": digest, "torch": torch.__version__, **card}, indent=1) + "\n"
    for target, data in ((path, content), (path.with_suffix(".json"), text.encode())):
        temporary = target.with_name(target.name + ".tmp")
        temporary.write_bytes(data)
        os.replace(temporary, target)
    return digest


def read_card(path: pathlib.Path) -> dict[str, typing.Any]:
    """What a card says; empty where it cannot be read."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}
