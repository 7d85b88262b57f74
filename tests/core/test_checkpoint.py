"""Weights on disk: ours, those of the published code, and files that want to do harm."""

import collections
import io
import json
import os
import pathlib
import pickle
import zipfile

import numpy
import pytest
import safetensors.torch
import torch

from udvd_core import checkpoint
from udvd_core.blindspot import BlindspotNetwork, paper_network
from udvd_core.errors import WeightsError
from udvd_core.framing import GRID


def random_network(pattern=GRID, hidden=(0, 1), width=4, whole_neighbours=True):
    torch.manual_seed(5)
    return BlindspotNetwork(pattern, hidden, width, whole_neighbours)


@pytest.mark.parametrize("pattern", checkpoint.PATTERNS, ids=["grid", "line", "grid together", "line together"])
@pytest.mark.parametrize(("hidden", "whole_neighbours"), [((0, 1), True), ((2, 3), False)])
def test_saved_and_loaded(tmp_path, pattern, hidden, whole_neighbours):
    network = random_network(pattern, hidden, whole_neighbours=whole_neighbours)
    checkpoint.save(tmp_path / "a.safetensors", network, step=17, note="é")
    loaded, facts = checkpoint.load(tmp_path / "a.safetensors")
    assert loaded.pattern is pattern
    assert (loaded.hidden, loaded.width, loaded.whole_neighbours) == (hidden, 4, whole_neighbours)
    assert (facts["step"], facts["note"]) == (17, "é")
    assert not loaded.training
    assert checkpoint.weights_hash(loaded) == checkpoint.weights_hash(network)
    frames = torch.rand(1, len(pattern.offsets), 5, 9)
    torch.testing.assert_close(loaded(frames), network(frames), rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_save_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, random_network(), step=1)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, random_network(), step=2)
    assert path.read_bytes() == before


def test_the_file_before_is_kept(tmp_path):
    path = tmp_path / "a.safetensors"
    for step in (1, 2, 3):
        checkpoint.save(path, random_network(), step=step)
    assert [checkpoint.load(each)[1]["step"] for each in (path, checkpoint.previous(path))] == [3, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_no_flipped_bit_goes_unseen(tmp_path, rng):
    """Neither in a weight nor in what is said of them; padding between header and weights says nothing."""
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, random_network(), step=1234567)
    content = path.read_bytes()
    step, weights = content.index(b"1234567"), len(content) - 4 * int(rng.integers(1, 500))
    for at, bit in ((step + 3, 0), (step, 1), (weights, 0), (weights + 1, 7), (len(content) - 2, 0)):
        changed = bytearray(content)
        changed[at] ^= 1 << bit
        path.write_bytes(changed)
        with pytest.raises(WeightsError, match="SHA-256 is not that of its content"):
            checkpoint.load(path)
    path.write_bytes(content)
    assert checkpoint.load(path)[1]["step"] == 1234567


def test_a_folder_that_is_gone_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="gone"):
        checkpoint.save(tmp_path / "gone" / "a.safetensors", random_network())


def test_one_changed_weight_changes_the_hash():
    network = random_network()
    before = checkpoint.weights_hash(network)
    with torch.no_grad():
        list(network.parameters())[20].view(-1)[3] += 1e-3
    assert len(before) == 64 and checkpoint.weights_hash(network) != before


def published(network, **replaced):
    """A state dict as the published code saves it: the same tensors in the same order, other names."""
    named = {f"module.layer.{k}.conv.weight": t.clone() for k, t in enumerate(network.state_dict().values())}
    return collections.OrderedDict({**named, **replaced})


def trained_like(frames):
    """The paper's network with weights whose output is about as large as its input; fresh ones give 1e-6."""
    torch.manual_seed(6)
    network = paper_network(frames)
    for weight in network.parameters():
        torch.nn.init.kaiming_normal_(weight, a=0.1)
    return network


@pytest.mark.parametrize("frames", [9, 5])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_of_the_published_code(tmp_path, frames, wrapped, dtype):
    network = trained_like(frames)
    state = collections.OrderedDict((name, tensor.to(dtype)) for name, tensor in published(network).items())
    torch.save({"epoch": 49, "state_dict": state} if wrapped else state, tmp_path / "model.pth")
    loaded, facts = checkpoint.load(tmp_path / "model.pth")
    assert facts == {"published": True}
    assert (loaded.hidden, loaded.whole_neighbours, loaded.training) == ((1, 1), False, False)
    x = torch.rand(2, frames, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.estimate(x), network.estimate(x), rtol=0, atol=1e-5)
        assert network.estimate(x).std() > 0.01


def test_published_weights_have_no_order_but_the_papers(tmp_path):
    """Two tensors of equal shape in the wrong places give another output; the order is all that tells them apart."""
    network = trained_like(9)
    state = list(published(network).items())
    state[1], state[2] = state[2], state[1]
    torch.save(collections.OrderedDict(state), tmp_path / "model.pth")
    loaded, _ = checkpoint.load(tmp_path / "model.pth")
    x = torch.rand(1, 9, 16, 16)
    with torch.inference_mode():
        assert abs(loaded.estimate(x) - network.estimate(x)).max() > 0.01


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, marker: pathlib.Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return pathlib.Path.touch, (self.marker,)


def evil_zip(marker):
    """A checkpoint in torch's own format, with a pickle that would run code among its tensors."""
    plain, changed = io.BytesIO(), io.BytesIO()
    torch.save(published(paper_network()), plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            target.writestr(name, pickle.dumps(Evil(marker)) if name.endswith("data.pkl") else source.read(name))
    return changed.getvalue()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize(
    "build", [evil_zip, lambda m: pickle.dumps(Evil(m)), lambda m: pickle.dumps({"a": Evil(m)}, 2)]
)
def test_hostile_pickles_are_refused_and_never_run(tmp_path, build, suffix):
    marker, path = tmp_path / "marker", tmp_path / f"evil{suffix}"
    path.write_bytes(build(marker))
    refuse(path)
    assert not marker.exists()
    if suffix == ".pth" and build is not evil_zip:
        pickle.loads(path.read_bytes())  # it does run where it is let to: the test can fail
        assert marker.exists()


def refuse(path):
    """Assert that a file is refused with one short line that names it."""
    with pytest.raises(WeightsError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 300 + len(str(path)), message


def test_missing_files_and_folders_are_refused(tmp_path):
    for name in ("none.safetensors", "none.pth"):
        refuse(tmp_path / name)
        (tmp_path / name).mkdir()
        refuse(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, 0.999])
def test_truncated_files_are_refused(tmp_path, suffix, keep):
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(published(paper_network()), path)
    else:
        checkpoint.save(path, random_network())
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    refuse(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_garbage_is_refused(tmp_path, rng, suffix):
    path = tmp_path / f"garbage{suffix}"
    torch.save(published(random_network()), tmp_path / "good")
    starts = (b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x05", b"\x93NUMPY", (tmp_path / "good").read_bytes()[:300])
    for start in starts:
        for size in (3, 60, 900):
            path.write_bytes(start + rng.bytes(size))
            refuse(path)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2, 3],
        {"weights": "none"},
        torch.zeros(3),
        {f"{k}": torch.zeros(48, 3, 3, 3) for k in range(37)},
        {f"{k}": torch.zeros(48, 3, 3, 3) for k in range(36)},
        published(random_network()),
        published(paper_network(), extra=torch.zeros(1)),
    ],
    ids=["list", "strings", "tensor", "shapes", "36 tensors", "narrow", "38 tensors"],
)
def test_other_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    refuse(tmp_path / "other.pth")


def test_too_few_tensors_are_counted(tmp_path):
    torch.save({f"{k}": torch.zeros(2) for k in range(30)}, tmp_path / "few.pth")
    with pytest.raises(WeightsError, match="30 tensors; the paper's network has 37"):
        checkpoint.load(tmp_path / "few.pth")


ABOUT = {"width": 4, "hidden": [0, 1], "frames": 9, "groups": 4, "whole_neighbours": True}


@pytest.mark.parametrize(
    "about",
    [
        None,
        [],
        {},
        {**ABOUT, "width": 6},
        {**ABOUT, "width": 0},
        {**ABOUT, "width": -4},
        {**ABOUT, "width": 4.0},
        {**ABOUT, "width": 10**9},
        {**ABOUT, "frames": 7},
        {**ABOUT, "groups": 3},
        {**ABOUT, "frames": [9]},
        {**ABOUT, "hidden": [1]},
        {**ABOUT, "hidden": [0, -1]},
        {**ABOUT, "hidden": ["0", "1"]},
        {**ABOUT, "hidden": 1},
        "no json",
    ],
    ids=str,
)
def test_safetensors_of_something_else_are_refused(tmp_path, about):
    path, network = tmp_path / "other.safetensors", random_network()

    def write(about):
        if isinstance(about, dict):
            about = {**about, "sha256": checkpoint._file_hash(network, about)}
        text = about if isinstance(about, str) else json.dumps(about)
        safetensors.torch.save_file(network.state_dict(), path, None if about is None else {"udvd": text})

    write(ABOUT)
    checkpoint.load(path)  # what the cases are changed from is good
    write(about)
    refuse(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, suffix, value):
    network = paper_network() if suffix == ".pth" else random_network()
    with torch.no_grad():
        network.mix[1].weight[0, 0] = value
    path = tmp_path / f"bad{suffix}"
    if suffix == ".pth":
        torch.save(published(network), path)
    else:
        checkpoint.save(path, network)
    refuse(path)
