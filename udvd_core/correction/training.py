"""Pretraining of the correction network on simulated scans whose truth is known."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing
import torch

from udvd_core.correction.inputs import left_over, residual, surroundings
from udvd_core.correction.network import CorrectionNetwork
from udvd_core.guide import Guide
from udvd_core.simulate import (
    Sample,
    simulate_blank,
    simulate_domains,
    simulate_dopants,
    simulate_flake,
    simulate_hbn,
    simulate_particles,
    simulate_phonon,
    simulate_plasmon,
    simulate_wedge,
)
from udvd_core.simulate.cameras import expose
from udvd_core.simulate.variety import HIGHEST_DOSE, LOWEST_DOSE, random_sample

Array = numpy.typing.NDArray[numpy.float32]
Generator = numpy.random.Generator

KINDS: tuple[typing.Callable[..., Sample], ...] = (
    *(simulate_blank, simulate_domains, simulate_dopants, simulate_flake, simulate_hbn),
    *(simulate_particles, simulate_phonon, simulate_plasmon, simulate_wedge),
)
CHANNELS = (128, 192, 256, 384)
POSITIONS, MANY_POSITIONS, MANY = (8, 48), (64, 256), 0.05
"""Positions a side of most scans, and of this share of them."""
MOST_SPECTRA = 1024
"""Of one scan."""
MASKED = 0.3
"""Up to this share of the pixels is hidden from the inputs, as held-out pixels are."""
CROP, SCANS_AT_ONCE, SPECTRA_OF_EACH = 128, 4, 8
HIDDEN = (0, 1, 1, 2, 3)
QUIET = 2e-4
"""Added to the error of a scan's guide, noise variances, so that scans with nothing to gain do not count."""


@dataclasses.dataclass(frozen=True)
class Lesson:
    """One scan to learn from; all arrays of n spectra.

    Attributes
    ----------
    own : array, shape (n, 1, E), float16
        Residuals.
    around : array, shape (n, CHANNELS, E), float16
        Further inputs.
    missing : array, shape (n, E)
        Truth less the guide, in units of the noise.
    """

    own: numpy.typing.NDArray[numpy.float16]
    around: numpy.typing.NDArray[numpy.float16]
    missing: Array


def lesson(seed: typing.Sequence[int]) -> Lesson:
    """A scan by chance, its guide, and what the guide misses."""
    rng = numpy.random.default_rng(seed)
    sides = numpy.log(MANY_POSITIONS if rng.random() < MANY else POSITIONS)
    size = (round(math.exp(rng.uniform(*sides))), round(math.exp(rng.uniform(*sides))))
    sample = _sample(rng, size, int(rng.choice(CHANNELS)))
    shot = expose(sample.spectra, rng)
    shape = (*size, 1, sample.energy.size)
    counts = shot.counts.astype(numpy.float32).reshape(-1, *shape[2:])
    guide = Guide(lambda numbers: counts[numbers], size, (1, sample.energy.size))
    numbers = numpy.arange(len(counts))
    guide.start(numbers, shot.noise)
    while not guide.settled:
        guide.step()
    estimate, sigma = guide.frames(numbers), guide.sigma(numbers)
    z = residual(counts, estimate, sigma)
    if rng.random() < 0.5:
        z *= rng.random(z.shape) > MASKED * rng.random()
    z = z.reshape(shape)
    around = surroundings(z, estimate.reshape(shape), sigma.reshape(shape), left_over(z, shot.noise), shot.noise)
    missing = ((shot.truth.reshape(counts.shape) - estimate) / sigma).astype(numpy.float32)
    chosen = rng.permutation(len(counts))[:MOST_SPECTRA]
    return Lesson(
        z.reshape(len(counts), 1, -1)[chosen].astype(numpy.float16),
        around.reshape(len(counts), -1, shape[3])[chosen].astype(numpy.float16),
        missing[chosen, 0],
    )


def _sample(rng: Generator, size: tuple[int, int], channels: int) -> Sample:
    """Two of three samples are of every kind by chance, the others of a kind that microscopists know."""
    if rng.random() < 2 / 3:
        return random_sample(rng, size, channels)
    dose = float(numpy.exp(rng.uniform(math.log(LOWEST_DOSE), math.log(HIGHEST_DOSE))))
    return KINDS[int(rng.integers(len(KINDS)))](size, channels, counts=dose, q_rows=1, seed=int(rng.integers(1 << 30)))


def pretrain(
    network: CorrectionNetwork,
    lessons: typing.Sequence[Lesson],
    steps: int,
    seed: int,
    progress: typing.Callable[[int, float], None],
) -> None:
    """Train a network in place; `progress` is told step and running error, 1 for the guide alone.

    The error of each scan counts relative to that of its guide, so that bright scans do not drown the others.
    """
    rng, running = numpy.random.default_rng(seed), 1.0
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for step in range(steps):
        network.hidden = int(rng.choice(HIDDEN))
        own, around, missing = _draw(lessons, rng)
        error = (network(own, around) - missing).square().reshape(SCANS_AT_ONCE, -1).mean(1)
        loss = (error / (missing.square().reshape(SCANS_AT_ONCE, -1).mean(1) + QUIET)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running += 0.01 * (float(loss.detach()) - running)
        progress(step + 1, running)
    network.hidden = 1


def gain_db(network: CorrectionNetwork, one: Lesson) -> float:
    """By how much the network lowers the error of a scan's guide, dB."""
    before, after = 0.0, 0.0
    with torch.inference_mode():
        for start in range(0, len(one.missing), 64):
            part = slice(start, start + 64)
            own, around = (torch.from_numpy(x[part].astype(numpy.float32)) for x in (one.own, one.around))
            missing = one.missing[part]
            before += float((missing**2).sum())
            after += float(((network(own, around).numpy() - missing) ** 2).sum())
    return 10.0 * float(numpy.log10((before + 1e-12) / (after + 1e-12)))


def _draw(lessons: typing.Sequence[Lesson], rng: Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Crops of spectra of some scans."""
    parts: list[list[numpy.typing.NDArray[typing.Any]]] = [[], [], []]
    for number in rng.integers(0, len(lessons), SCANS_AT_ONCE):
        one = lessons[number]
        spectra = rng.integers(0, len(one.missing), SPECTRA_OF_EACH)
        start = int(rng.integers(0, one.missing.shape[1] - CROP + 1))
        for part, array in zip(parts, (one.own, one.around, one.missing), strict=True):
            part.append(array[spectra][..., start : start + CROP])
    own, around, missing = (torch.from_numpy(numpy.concatenate(part).astype(numpy.float32)) for part in parts)
    return own, around, missing
