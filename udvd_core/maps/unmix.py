"""Spectra taken apart into reference spectra, none of them less than nothing."""

from __future__ import annotations

import dataclasses
import typing

import numpy

from udvd_core.axes import Axis
from udvd_core.maps.references import Reference, stacked
from udvd_core.maps.scoring import FAINTEST, Array, Doubles, check_spectra, sandwich, shifted
from udvd_core.noise import NoiseModel

ROUNDS = 40
CLOSE = 1e-3  # standard errors
CHUNK = 1 << 21  # values


@dataclasses.dataclass(frozen=True)
class Unmixed:
    """How much of K references n spectra hold.

    Attributes
    ----------
    amplitudes, sigma : array, shape (K, n)
        Multiples of every reference, and the standard error.
    """

    amplitudes: Doubles
    sigma: Doubles


def unmix(
    spectra: Array,
    energy: Axis,
    references: typing.Sequence[Reference],
    noise: NoiseModel | None = None,
    *,
    negative: bool = False,
) -> Unmixed:
    """Find the amounts of reference spectra in every spectrum.

    Parameters
    ----------
    spectra : array, shape (n, E)
        Counts, background included: what the background looks like is a reference too.
    energy : Axis
        Energy loss, eV.
    references : sequence of Reference
        Up to 6, on the same channels.
    noise : NoiseModel, optional
        Noise of the counts; Poisson without it.
    negative : bool
        Let amplitudes fall below 0: for averages over many positions, which amplitudes cut at 0 make
        too high.

    Raises
    ------
    InputError
        When the spectra do not fit the axis or the references cannot be told apart.

    Notes
    -----
    Poisson quasi-likelihood by reweighted least squares; in every round the bounds are settled by
    pivoting (Murty 1974). Sigma is that of amplitudes without bounds, so 1 sigma covers 84 % where
    the truth is 0.
    """
    check_spectra(spectra, energy)
    basis = stacked(references, energy.size)
    noise = noise or NoiseModel()
    amplitudes = numpy.empty((len(spectra), len(basis)))
    sigma = numpy.empty_like(amplitudes)
    step = max(1, CHUNK // (energy.size * len(basis)))
    for low in range(0, len(spectra), step):
        part = slice(low, low + step)
        amplitudes[part], sigma[part] = _unmixed(spectra[part].astype(numpy.float64), basis, noise, negative)
    return Unmixed(amplitudes.T, sigma.T)


def _unmixed(counts: Doubles, basis: Doubles, noise: NoiseModel, negative: bool) -> tuple[Doubles, Doubles]:
    """Amplitudes and sigma of one chunk, (n, K)."""
    gain, shift = shifted(noise)
    floor = FAINTEST * abs(counts).mean(1, keepdims=True) + 1e-9
    total = numpy.maximum(counts.sum(1, keepdims=True), 0.0)
    amplitudes = numpy.repeat(total / basis.sum(), len(basis), 1)
    products = (basis[:, None] * basis).reshape(-1, basis.shape[1])
    todo = numpy.arange(len(counts))
    for _ in range(ROUNDS):
        mean = numpy.maximum(amplitudes[todo] @ basis, floor[todo]) + shift
        information = ((1 / mean) @ products.T).reshape(-1, len(basis), len(basis))
        target = (counts[todo] / mean) @ basis.T
        new = _solved(information, target)
        move = new - amplitudes[todo]
        amplitudes[todo] += move
        size = numpy.einsum("nk,nkl,nl->n", move, information, move)
        todo = todo[size > CLOSE**2 * gain]
        if not todo.size:
            break
    mean = numpy.maximum(amplitudes @ basis, floor) + shift
    information = ((1 / mean) @ products.T).reshape(-1, len(basis), len(basis))
    if negative:  # weights as before: where few counts lie, weights of negative amounts would run away
        amplitudes = numpy.linalg.solve(information, ((counts / mean) @ basis.T)[..., None])[..., 0]
    covariance, _ = sandwich(numpy.broadcast_to(basis, (len(counts), *basis.shape)), mean, information, noise)
    return amplitudes, numpy.sqrt(numpy.einsum("nkk->nk", covariance))


def _solved(information: Doubles, target: Doubles) -> Doubles:
    """Least ``x H x / 2 - t x`` (n, K) for x of at least 0."""
    number, size = target.shape
    free = numpy.ones((number, size), dtype=numpy.bool_)
    result = numpy.empty_like(target)
    todo = numpy.arange(number)
    for _ in range(2**size):
        both = free[todo, :, None] & free[todo, None, :]
        diagonal = numpy.einsum("nkk->nk", information[todo])
        matrix = numpy.where(both, information[todo], 0.0)
        numpy.einsum("nkk->nk", matrix)[...] = diagonal * (1 + 1e-12)
        x = numpy.linalg.solve(matrix, (target[todo] * free[todo])[..., None])[..., 0]
        result[todo] = x
        slope = target[todo] - (information[todo] @ x[..., None])[..., 0]
        small = 1e-9 * numpy.sqrt(diagonal)
        wrong = numpy.where(free[todo], x * numpy.sqrt(diagonal) < -1e-9, slope > small)
        last = size - 1 - wrong[:, ::-1].argmax(1)  # the highest number of those that are wrong: this ends
        bad = wrong.any(1)
        free[todo[bad], last[bad]] ^= True
        todo = todo[bad]
        if not todo.size:
            break
    return numpy.maximum(result, 0.0)
