"""Scans of every kind by chance, to pretrain on: no two of them share a material, a texture or a camera."""

from __future__ import annotations

import typing

import numpy
import numpy.typing
import scipy.ndimage

from udvd_core.axes import Axis
from udvd_core.simulate.sample import Sample, from_spectra
from udvd_core.simulate.textures import blurred, discs, domains

Array = numpy.typing.NDArray[numpy.float64]
Generator = numpy.random.Generator

LOWEST_DOSE, HIGHEST_DOSE = 100.0, 1e6


def random_sample(rng: Generator, size: tuple[int, int], channels: int) -> Sample:
    """Sample of some materials side by side or on top of each other.

    Two to five spectra, each a background with edges or a zero-loss peak with losses, times maps that
    are lattices, domains, interfaces, particles, single atoms or smooth. In half of the samples one
    spectrum shifts in energy from place to place or drifts with the rows; in a quarter a part of the
    scan is nearly dark.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides everything else; the dose is spread evenly over four decades.
    size : (int, int)
        Positions along y and x.
    channels : int
        Energy channels.
    """
    channel = numpy.arange(channels, dtype=numpy.float64)
    zero_loss = rng.random() < 0.35
    number = int(rng.integers(2, 6))
    spectra = numpy.zeros((*size, channels))
    moving = int(rng.integers(number)) if rng.random() < 0.6 else -1
    for k in range(number):
        strength = 1.0 if k == 0 else float(10 ** rng.uniform(-2.5, 0.0))
        weight = strength * (0.3 + _texture(rng, size)) if k == 0 else strength * _texture(rng, size)
        draw = _loss_spectrum if zero_loss else _edge_spectrum
        shape = draw(rng, channel, first=k == 0)
        if k == moving:
            spectra += weight[..., None] * shape(channel - _shifts(rng, size)[..., None])
        else:
            spectra += weight[..., None] * shape(channel)
    if rng.random() < 0.25:
        spectra *= _darkness(rng, size)[..., None]
    dose = float(numpy.exp(rng.uniform(numpy.log(LOWEST_DOSE), numpy.log(HIGHEST_DOSE))))
    axis = Axis(channels, 100.0, 1.0, "eV", "E")
    return from_spectra("variety", numpy.maximum(spectra, 0.0), axis, dose, 1, 0.1)


Shape = typing.Callable[[Array], Array]


def _edge_spectrum(rng: Generator, channel: Array, first: bool) -> Shape:
    """A falling background with edges, or edges alone, of unit sum; energy in channels."""
    count = channel.size
    start, power = float(rng.uniform(0.2, 2.0)), float(rng.uniform(1.5, 4.0))
    edges = [_edge(rng, count) for _ in range(int(rng.integers(0, 3) if first else rng.integers(1, 3)))]
    share = float(10 ** rng.uniform(-2.0, -0.3))
    total_background = float(((start + channel / count) ** -power).sum())

    def raw(c: Array) -> Array:
        background = (start + numpy.maximum(c, 0.0) / count) ** -power
        result = background / total_background if first else numpy.zeros_like(c)
        for edge, total in edges:
            result = result + (share if first else 1.0) * edge(c) / total
        return result

    return raw


def _edge(rng: Generator, count: int) -> tuple[Shape, float]:
    """One edge with up to three white lines, and its sum over all channels."""
    onset, width = float(rng.uniform(0.05, 0.9)) * count, float(rng.uniform(1.0, 8.0))
    lines = [
        (onset + float(rng.uniform(-2, 25)), float(rng.uniform(1.2, 8.0)), float(rng.uniform(0, 8)))
        for _ in range(int(rng.integers(0, 4)))
    ]
    decay = float(rng.uniform(1.0, 5.0))

    def edge(c: Array) -> Array:
        step = 0.5 * (1 + numpy.tanh((c - onset) / width)) * (1 + numpy.maximum(c - onset, 0) / count) ** -decay
        for centre, sigma, height in lines:
            step = step + height * numpy.exp(-0.5 * ((c - centre) / sigma) ** 2)
        return step

    return edge, max(float(edge(numpy.arange(count, dtype=numpy.float64)).sum()), 1e-9)


def _loss_spectrum(rng: Generator, channel: Array, first: bool) -> Shape:
    """A zero-loss peak with a tail and some losses, or losses alone, of about unit sum."""
    count = channel.size
    zero, width = float(rng.uniform(0.05, 0.3)) * count, float(rng.uniform(1.5, 8.0))
    losses = [
        (zero + float(rng.uniform(0.05, 0.7)) * count, float(rng.uniform(3.0, 0.06 * count + 4)), float(rng.random()))
        for _ in range(int(rng.integers(1, 5)))
    ]
    bright, tail = float(10 ** rng.uniform(-0.5, 1.5)), float(10 ** rng.uniform(-4.0, -2.0))

    def raw(c: Array) -> Array:
        result = numpy.zeros_like(c)
        if first:
            result = bright * numpy.exp(-0.5 * ((c - zero) / width) ** 2) / width
            result = result + bright * tail / (1 + numpy.abs(c - zero) / width)
        for centre, sigma, height in losses:
            result = result + height * numpy.exp(-0.5 * ((c - centre) / sigma) ** 2) / sigma
        return result / 3.0

    return raw


def _texture(rng: Generator, size: tuple[int, int]) -> Array:
    """A map between 0 and 1: lattice, domains, interface, particles, single atoms, smooth, or a ramp."""
    draw = (_waves, _steps, _interface, _particles, _atoms, _smooth, _ramp)[int(rng.integers(7))]
    result = numpy.maximum(draw(rng, size), 0.0)
    return result / max(float(result.max()), 1e-9)


def _waves(rng: Generator, size: tuple[int, int]) -> Array:
    y, x = numpy.mgrid[: size[0], : size[1]]
    angles = rng.uniform(0, numpy.pi) + numpy.array([0, 1.05, 2.09])[: int(rng.integers(1, 4))]
    period = float(rng.uniform(3.0, 14.0))
    phases = 2 * numpy.pi * (numpy.multiply.outer(numpy.cos(angles), x) + numpy.multiply.outer(numpy.sin(angles), y))
    waves = numpy.cos(phases / period + rng.uniform(0, 2 * numpy.pi, angles.size)[:, None, None])
    return typing.cast(Array, numpy.exp(float(rng.uniform(0.3, 2.0)) * waves.mean(0)))


def _steps(rng: Generator, size: tuple[int, int]) -> Array:
    values = rng.uniform(0, 1, 8)[domains(size, 8, rng)]
    return typing.cast(Array, scipy.ndimage.gaussian_filter(values, float(rng.uniform(0.0, 1.2))))


def _interface(rng: Generator, size: tuple[int, int]) -> Array:
    return 0.5 * (1 + numpy.tanh(_across(rng, size) / float(rng.uniform(0.5, 4.0))))


def _particles(rng: Generator, size: tuple[int, int]) -> Array:
    number = max(2, int(size[0] * size[1] * rng.uniform(0.005, 0.02)))
    return discs(size, number, 0.8, float(rng.uniform(1.5, 6.0)), rng)


def _atoms(rng: Generator, size: tuple[int, int]) -> Array:
    y, x = numpy.mgrid[: size[0], : size[1]]
    number, sigma = max(1, int(size[0] * size[1] * rng.uniform(0.003, 0.03))), float(rng.uniform(0.5, 1.0))
    at = rng.uniform(0, 1, (number, 2)) * numpy.array(size)
    distance = (y[..., None] - at[:, 0]) ** 2 + (x[..., None] - at[:, 1]) ** 2
    return typing.cast(Array, numpy.exp(-0.5 * distance / sigma**2).sum(-1))


def _smooth(rng: Generator, size: tuple[int, int]) -> Array:
    return 0.5 + 0.2 * blurred(size, float(rng.uniform(1.0, 8.0)), rng)


def _ramp(rng: Generator, size: tuple[int, int]) -> Array:
    return numpy.asarray(0.7 + float(rng.uniform(-0.5, 0.5)) * numpy.linspace(-0.5, 0.5, size[1]) + numpy.zeros(size))


def _across(rng: Generator, size: tuple[int, int]) -> Array:
    """Distance from a straight line through the middle of the scan, positions."""
    y, x = numpy.mgrid[: size[0], : size[1]]
    angle, middle = float(rng.uniform(0, 2 * numpy.pi)), rng.uniform(0.3, 0.7, 2) * numpy.array(size)
    return numpy.asarray((x - middle[1]) * numpy.cos(angle) + (y - middle[0]) * numpy.sin(angle))


def _shifts(rng: Generator, size: tuple[int, int]) -> Array:
    """Energy shift at every position, channels: by domain, smooth, or drifting with the rows."""
    kind, most = int(rng.integers(3)), float(10 ** rng.uniform(-0.5, 0.8))
    if kind == 0:
        return rng.uniform(-most, most, 6)[domains(size, 6, rng)]
    if kind == 1:
        return 0.5 * most * blurred(size, float(rng.uniform(2.0, 8.0)), rng)
    return numpy.linspace(-most, most, size[0])[:, None] + numpy.zeros(size)


def _darkness(rng: Generator, size: tuple[int, int]) -> Array:
    """A factor that makes one side of the scan dark, down to a thousandth."""
    lowest = float(10 ** rng.uniform(-3.0, -0.5))
    return lowest + (1 - lowest) * _interface(rng, size)
