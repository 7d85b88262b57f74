"""The blindspot network at work on one scan: what it sees, learns from and gives back."""

from __future__ import annotations

import math
import pathlib
import typing

import numpy
import numpy.typing
import scipy.ndimage
import torch

from udvd_core import checkpoint, inference
from udvd_core.blindspot import BlindspotNetwork, parameter_count
from udvd_core.buffer import FrameBuffer
from udvd_core.camera import Camera, measure_camera
from udvd_core.defects import fill
from udvd_core.device import choose_device, device_name, halving, placed
from udvd_core.errors import WeightsError
from udvd_core.framing import neighbour_table, pattern_for
from udvd_core.normalise import Standard, plain_scale, standard_from
from udvd_core.settings import ScanSpec, Training
from udvd_core.tiling import batches
from udvd_core.trainer import Trainer

Array = numpy.typing.NDArray[numpy.float32]
Index = numpy.typing.NDArray[numpy.int64]

CPU_WIDTH, PAPER_WIDTH = 8, 48
HELD_OUT = 0.05
JUDGE_EVERY, JUDGE_EARLY, JUDGE_FRAMES = 25, (5, 10, 15), 64
PATIENCE = 12
LARGEST_CROP = (64, 2048)
GROWTH = 1.1


class UdvdModel:
    """A `Model`: the blindspot network with its trainer, on the frames of one buffer.

    Parameters
    ----------
    spec : ScanSpec
        The scan.
    buffer : FrameBuffer
        Its frames; with one detector row the hidden set is hidden in the centre spectrum only.
    resume : str or None
        Checkpoint to go on from, instead of the weights that the settings name.
    """

    name = "udvd"
    note = ""
    uncertainty = noise = None
    learns, ready, instant = True, True, False

    def __init__(self, spec: ScanSpec, buffer: FrameBuffer, resume: str | None = None) -> None:
        training = spec.training
        self._buffer, self._seed = buffer, training.seed
        self._device = choose_device(training.device)
        self._generator = numpy.random.default_rng(training.seed)
        network, facts = _network(spec, buffer.frame_shape, resume, self._device)
        self._published = bool(facts.get("published"))
        self._network = placed(network, self._device)
        self._trainer = Trainer(self._network, training.learning_rate)
        self._trainer.steps = int(facts.get("step", 0))
        self.neighbours = neighbour_table(spec.scan_shape, network.pattern)
        self._standard: Standard | None = None
        self._camera: Camera | None = None
        self._hidden = training.hidden
        self._known = 0
        pixels = buffer.frame_shape[0] * buffer.frame_shape[1]
        self._crop = (min(buffer.frame_shape[0], LARGEST_CROP[0]), min(buffer.frame_shape[1], LARGEST_CROP[1]))
        scale = 1 if self._device.type == "cpu" else 32
        self.batch = max(1, 32768 * scale // pixels)
        self._step_batch = max(1, 4096 * scale // (self._crop[0] * self._crop[1]))

    @property
    def device(self) -> str:
        """Name of the device for the user."""
        return device_name(self._device)

    @property
    def steps(self) -> int:
        """Training steps so far."""
        return self._trainer.steps

    @property
    def learned(self) -> str:
        """Steps, and how well targets and held-out pixels are predicted, in units of the noise variance."""
        trainer = self._trainer
        held_out = f", held-out error {trainer.held_out:.3f}" if math.isfinite(trainer.held_out) else ""
        return f"{trainer.steps} steps, error {trainer.loss:.3f}{held_out}" if trainer.steps else ""

    heldout = math.nan  # its own held-out score has other units; `learned` tells it

    @property
    def hidden(self) -> str:
        """Hidden rows x channels."""
        rows, channels = self._network.hidden
        return f"{rows}x{channels} is hidden"

    @property
    def settled(self) -> bool:
        """Whether the held-out score stopped improving or training was given up."""
        return self._trainer.stale >= PATIENCE or self._trainer.frozen

    abreast = settled

    def learn(self) -> None:
        """One training step; every `JUDGE_EVERY` steps a judgement, at the beginning more often."""
        known = numpy.flatnonzero(self._buffer.received)
        self._refresh(known)
        numbers = self._generator.choice(known, min(self._step_batch, known.size), replace=False)
        self._trainer.step(*self._batch(numbers, held_out=False, crop=True))
        if self._trainer.steps % JUDGE_EVERY == 0 or self._trainer.steps in JUDGE_EARLY:
            self._trainer.judge(*self._judged(known))

    def denoise(self, numbers: Index, quick: bool = False) -> Array:
        """Denoised frames, shape (n, q, E), counts, with the best weights so far.

        Never below 0, unless corrected input was: a clamp would then make a bias.
        """
        standard = self._refresh(numpy.flatnonzero(self._buffer.received))
        result, self.batch = halving(lambda most: self._denoised(numbers, standard, most), self.batch)
        counts: Array = standard.inverse(result)
        numpy.maximum(counts, self._buffer.floor, out=counts)
        return counts

    def _denoised(self, numbers: Index, standard: Standard, most: int) -> Array:
        """Standardised denoised frames, at most so many at once."""
        parts = [
            inference.denoise(self._trainer.best, self._windows(numbers[part], standard)[0], clamp=self._published)
            for part in batches(numbers.size, most)
        ]
        return numpy.concatenate(parts)

    def save(self, path: str) -> None:
        """Write the best weights and the number of steps."""
        checkpoint.save(pathlib.Path(path), self._trainer.best, step=self.steps, published=self._published)

    def provenance(self) -> dict[str, typing.Any]:
        """Model, width, hidden set, parameters, weights hash, steps, held-out score, device."""
        network = self._trainer.best
        return {
            "model": self.name,
            "width": network.width,
            "hidden": list(network.hidden),
            "whole_neighbours": network.whole_neighbours,
            "parameters": parameter_count(network),
            "weights_sha256": checkpoint.weights_hash(network),
            "steps": self.steps,
            "held_out": self._trainer.held_out,
            "learned": bool(list(network.parameters())[-1].any()),  # else it answers the same for every frame
            "device": self.device,
            "torch": torch.__version__,
        }

    def _refresh(self, known: Index) -> Standard:
        """Standardisation for the frames so far; made anew as they grow by a tenth."""
        whole = known.size == len(self._buffer.received)
        if self._standard is None or known.size > GROWTH * self._known or (whole and known.size != self._known):
            if self._camera is None or whole or known.size >= 2 * self._camera.frames:
                self._camera = measure_camera(self._buffer)
            if self._hidden is None and not self._published:
                self._trainer.hide(self._camera.hidden.radius)
            mean = self._buffer.mean()
            self._standard = plain_scale(mean) if self._published else standard_from(mean, self._camera.noise)
            self._known = known.size
            self._trainer.rejudge(*self._judged(known))
        return self._standard

    def _judged(self, known: Index) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Batch of frames spread over the scan with its held-out pixels."""
        count = max(1, min(JUDGE_FRAMES, self.batch))
        spread = known[numpy.linspace(0, known.size - 1, min(known.size, count)).astype(int)]
        return self._batch(spread, held_out=True, crop=False)

    def _batch(self, numbers: Index, held_out: bool, crop: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Windows, targets and weights of some frames; `crop` limits them to a random part of the frame."""
        standard = self._standard or self._refresh(numbers)
        windows, finite = self._windows(numbers, standard)
        weight = torch.from_numpy(numpy.stack([self._targets(n, held_out) for n in numbers])).to(self._device) * finite
        if crop:
            corner = [
                int(self._generator.integers(n - c + 1)) for n, c in zip(weight.shape[1:], self._crop, strict=True)
            ]
            part = (..., slice(corner[0], corner[0] + self._crop[0]), slice(corner[1], corner[1] + self._crop[1]))
            windows, weight = windows[part], weight[part]
        return windows, windows[:, self._network.pattern.centre], weight

    def _targets(self, number: int, held_out: bool) -> Array:
        """Held-out pixels of a frame, or the pixels that may be targets: not within the hidden radius of one."""
        rng = numpy.random.default_rng([self._seed, int(number)])
        held = rng.random(self._buffer.frame_shape, numpy.float32) < HELD_OUT
        if held_out:
            return held.astype(numpy.float32)
        guard = scipy.ndimage.maximum_filter(held, [2 * radius + 1 for radius in self._network.hidden])
        targets: Array = (~guard).astype(numpy.float32)
        return targets

    def _windows(self, numbers: Index, standard: Standard) -> tuple[torch.Tensor, torch.Tensor]:
        """Standardised neighbours ``(n, neighbours, q, E)`` and which centre pixels are finite ``(n, q, E)``.

        A neighbour that is not there is the mean frame; where the hidden set is hidden in all
        frames alike it is the centre frame, as in the paper.
        """
        table = self.neighbours[numbers]
        present = (table >= 0) & self._buffer.received[table]
        frames = self._buffer.frames(numpy.where(present, table, numbers[:, None]))
        finite = numpy.isfinite(frames[:, self._network.pattern.centre])
        if self._camera is not None and not self._camera.defects.usable.all():
            finite &= self._camera.defects.usable
            shape = frames.shape
            frames = fill(frames.reshape(-1, *shape[2:]), self._camera.defects.usable).reshape(shape)
        x = standard.forward(frames)
        if self._network.whole_neighbours:
            x[~present] = 0
        return torch.from_numpy(x).to(self._device), torch.from_numpy(finite).to(self._device)


def _network(
    spec: ScanSpec, frame_shape: tuple[int, int], resume: str | None, device: torch.device
) -> tuple[BlindspotNetwork, dict[str, typing.Any]]:
    """The network to train and the facts it was saved with: from a checkpoint, from weights, or fresh."""
    training, spectra, pattern = spec.training, frame_shape[0] == 1, pattern_for(spec.scan_shape, frame_shape[0] == 1)
    source = resume or training.weights
    if source is not None:
        network, facts = checkpoint.load(pathlib.Path(source))
        if network.pattern.offsets != pattern.offsets:
            raise WeightsError(
                f"{source} is for windows of {len(network.pattern.offsets)} frames;"
                f" a scan of shape {spec.scan_shape} needs {len(pattern.offsets)}"
            )
        if resume is None and training.hidden is not None:
            network.hidden = training.hidden
        return network, facts
    torch.manual_seed(training.seed)
    network = BlindspotNetwork(pattern, hidden_for(training, spectra), _width(training, device), spectra)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, a=0.1)
    last = network.mix[-1]
    torch.nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    return network, {}


def hidden_for(training: Training, spectra: bool) -> tuple[int, int]:
    """Hidden radius along q and E: as asked, else 3 x 3 pixels, along E only for spectra."""
    return training.hidden or ((0, 1) if spectra else (1, 1))


def _width(training: Training, device: torch.device) -> int:
    return training.width or (CPU_WIDTH if device.type == "cpu" else PAPER_WIDTH)
