"""Cameras of every kind by chance, to pretrain on: counting ones whose charge spreads, and scintillators."""

from __future__ import annotations

import dataclasses

import numpy
import numpy.typing
import scipy.ndimage

from udvd_core.noise import NoiseModel

Array = numpy.typing.NDArray[numpy.float64]


@dataclasses.dataclass(frozen=True)
class Exposure:
    """What a camera gave.

    Attributes
    ----------
    counts, truth : array, shape (y, x, E)
        Recorded and expected counts.
    noise : NoiseModel
        The camera's noise; its correlation is that of the counts, which white read noise dilutes.
    """

    counts: Array
    truth: Array
    noise: NoiseModel


def expose(spectra: Array, rng: numpy.random.Generator) -> Exposure:
    """Record expected electrons (y, x, E) with a camera drawn by chance, four of five of them counting."""
    return _counted(spectra, rng) if rng.random() < 0.8 else _scintillated(spectra, rng)


def _counted(spectra: Array, rng: numpy.random.Generator) -> Exposure:
    """A counting camera: a share of up to 0.4 of the electrons is counted in a neighbour too.

    Half of those neighbours lie in another detector row, at the same energy.
    """
    share = float(rng.uniform(0.0, 0.4))
    rate = spectra / (1 + share)
    doubles = rng.poisson(rate * share)
    counts = rng.poisson(rate * (1 - share)) + doubles
    left = rng.binomial(doubles, 0.25)
    right = rng.binomial(doubles - left, 1 / 3)
    counts += doubles - left - right
    counts[..., :-1] += left[..., 1:]
    counts[..., 1:] += right[..., :-1]
    truth = rate * (1 + share / 2)
    truth[..., :-1] += share / 4 * rate[..., 1:]
    truth[..., 1:] += share / 4 * rate[..., :-1]
    lag = 0.5 * share / (1 + 2 * share)
    noise = NoiseModel((1 + 2 * share) / (1 + share), 0.0, (lag,) if lag > 0.02 else ())
    return Exposure(counts.astype(numpy.float64), truth, noise)


def _scintillated(spectra: Array, rng: numpy.random.Generator) -> Exposure:
    """A scintillator camera: light spreads over channels, read noise on top."""
    gain, width = float(rng.uniform(1.0, 20.0)), float(rng.uniform(0.3, 0.8))
    kernel = numpy.exp(-0.5 * (numpy.arange(-4, 5) / width) ** 2)
    kernel /= kernel.sum()
    blurred, truth = (
        gain * scipy.ndimage.convolve1d(values, kernel, axis=-1, mode="nearest")
        for values in (rng.poisson(spectra).astype(numpy.float64), spectra)
    )
    power = float((kernel**2).sum())
    read = float(rng.uniform(0.0, 0.5)) * gain * power * float(spectra.mean())
    lags = tuple(float((kernel[lag:] * kernel[:-lag]).sum() / power) for lag in (1, 2, 3))
    counts = blurred + numpy.sqrt(read * gain) * rng.normal(size=spectra.shape)
    correlation = tuple(value for value in lags if value > 0.02)
    return Exposure(counts, truth, NoiseModel(gain * power, read * gain, correlation))
