"""Spectra taken apart into reference spectra, none of them less than nothing."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import scipy.linalg
import scipy.ndimage

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.covariance import CountingCovariance, Covariance, DenoisedCovariance
from udvd_core.maps.references import Reference, stacked
from udvd_core.maps.scoring import FAINTEST, Array, Bools, Doubles, check_spectra, inverted, shifted
from udvd_core.noise import NoiseModel

ROUNDS = 40
CLOSE = 1e-3  # standard errors
CHUNK = 1 << 21  # values
STEADY = 50.0  # electrons in the mean channels that are smoothed to one, for weights
CLEAR = 0.25  # least part of what tells references apart that is not their noise


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
    errors: NoiseModel | Covariance | None = None,
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
    errors : NoiseModel or Covariance, optional
        Noise of the counts, or what is known of the errors of denoised ones; Poisson without it.
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
    the truth is 0. It holds the error of references that are means of marked positions of these very spectra.
    The noise of such references would make amounts too even, where they are of counts with known noise: it is
    taken off the information, and smoothed away for the weights (errors in variables, Fuller 1987).
    """
    check_spectra(spectra, energy)
    basis = stacked(references, energy.size)
    noise = errors if isinstance(errors, NoiseModel) else NoiseModel()
    known = _Basis.of(references, basis, errors) if isinstance(errors, NoiseModel) else _Basis.exact(basis)
    regions = _regions(references, len(spectra))
    amplitudes = numpy.empty((len(spectra), len(basis)))
    sigma = numpy.empty_like(amplitudes)
    inside = numpy.zeros((len(spectra), len(basis)), numpy.bool_)
    for row, mask in regions:
        inside[:, row] = mask
    step = max(1, CHUNK // (energy.size * len(basis)))
    for low in range(0, len(spectra), step):
        part = slice(low, min(low + step, len(spectra)))
        chunk = _unmixed(spectra[part].astype(numpy.float64), known, inside[part], noise, negative)
        amplitudes[part] = chunk.amplitudes
        if errors is None or isinstance(errors, NoiseModel):
            variance = _of_counts(chunk, basis, noise, [(row, mask, mask[part]) for row, mask in regions])
        else:
            variance = _of_denoised(chunk, basis, errors, part, regions)
        sigma[part] = numpy.sqrt(numpy.maximum(variance, 0.0))
    return Unmixed(amplitudes.T, sigma.T)


def _regions(references: typing.Sequence[Reference], count: int) -> list[tuple[int, Bools]]:
    """Number and positions of those references that are means of some of `count` spectra."""
    found = [(row, each.mask) for row, each in enumerate(references) if each.mask is not None]
    for row, mask in found:
        if mask.size != count:
            raise InputError(
                f"reference {references[row].name!r} is the mean of some of {mask.size} positions and {count}"
                " are taken apart; want the same ones"
            )
    return found


@dataclasses.dataclass(frozen=True)
class _Basis:
    """References (K, E), the same without noise as far as weights need it, and their noise variance."""

    values: Doubles
    steady: Doubles
    variance: Doubles

    @staticmethod
    def exact(basis: Doubles) -> _Basis:
        """References without noise."""
        return _Basis(basis, basis, numpy.zeros(basis.shape))

    @staticmethod
    def of(references: typing.Sequence[Reference], basis: Doubles, noise: NoiseModel) -> _Basis:
        """References of which some are means of counts.

        Raises
        ------
        InputError
            When these hold so few counts that their noise is most of what tells them apart.
        """
        gain, _ = shifted(noise)
        steady, variance = basis.copy(), numpy.zeros(basis.shape)
        for row, each in enumerate(references):
            if each.mask is not None:
                size = int(each.mask.sum())
                width = math.ceil(STEADY * gain / (size * basis[row].mean()))
                steady[row] = scipy.ndimage.uniform_filter1d(basis[row], min(width, basis.shape[1]), mode="nearest")
                variance[row] = (gain * steady[row] + noise.read_variance) / size
        weight = 1 / numpy.maximum(steady.mean(0), FAINTEST * steady.mean())
        information, own = (weight * basis) @ basis.T, (variance * weight).sum(1)
        scale = numpy.sqrt(numpy.diagonal(information))
        left = scipy.linalg.eigh(information - numpy.diag(own), information, eigvals_only=True)[0]
        if left < CLEAR:
            worst = references[int(numpy.argmax(own / scale**2))]
            raise InputError(
                f"reference {worst.name!r} is the mean of too few counts to be told apart from the others:"
                " mark more positions for it"
            )
        return _Basis(basis, steady, variance)


@dataclasses.dataclass(frozen=True)
class _Chunk:
    """Amplitudes (m, K) of some spectra, what they expect (m, E), with `shifted`, and their information (m, K, K)."""

    amplitudes: Doubles
    mean: Doubles
    information: Doubles

    def response(self, basis: Doubles) -> Doubles:
        """Derivatives of the amplitudes by the counts, shape (m, K, E)."""
        return inverted(self.information)[0] @ (basis / self.mean[:, None])


def _of_counts(chunk: _Chunk, basis: Doubles, noise: NoiseModel, regions: list[tuple[int, Bools, Bools]]) -> Doubles:
    """Variance of amplitudes (m, K) of counts; of every region its reference, its positions, and those of the chunk."""
    channels, zeros = numpy.arange(basis.shape[1]), numpy.zeros(len(chunk.mean), numpy.int64)
    response, counts = chunk.response(basis), CountingCovariance(noise, chunk.mean - shifted(noise)[1])
    whole = slice(0, len(chunk.mean))
    own = numpy.array([counts.variance(each, channels, whole) for each in response.swapaxes(0, 1)]).T
    variance: Doubles = own.copy()
    for row, mask, inside in regions:
        amount, errors = chunk.amplitudes[:, row, None], CountingCovariance(noise, basis[row][None])
        of_one = numpy.array([errors.variance(each, channels, zeros) for each in response.swapaxes(0, 1)]).T
        variance += (amount**2 * of_one - 2 * amount * inside[:, None] * own) / mask.sum()
    return variance


def _of_denoised(
    chunk: _Chunk, basis: Doubles, errors: Covariance, part: slice, regions: list[tuple[int, Bools]]
) -> Doubles:
    """Variance of amplitudes (m, K) of denoised spectra."""
    channels, response = numpy.arange(basis.shape[1]), chunk.response(basis).swapaxes(0, 1)
    if not regions or not isinstance(errors, DenoisedCovariance):
        return numpy.array([errors.variance(each, channels, part) for each in response]).T
    amounts = chunk.amplitudes[:, [row for row, _ in regions]]
    masks = [mask for _, mask in regions]
    return numpy.array([errors.compared(each, channels, part, amounts, masks) for each in response]).T


def _unmixed(counts: Doubles, basis: _Basis, inside: Bools, noise: NoiseModel, negative: bool) -> _Chunk:
    """Take one chunk apart; `inside` (m, K) tells which spectra are a part of which reference."""
    gain, shift = shifted(noise)
    floor = FAINTEST * abs(counts).mean(1, keepdims=True) + 1e-9
    total = numpy.maximum(counts.sum(1, keepdims=True), 0.0)
    size = len(basis.values)
    amplitudes = numpy.repeat(total / basis.values.sum(), size, 1)
    products = (basis.values[:, None] * basis.values).reshape(size**2, -1)

    def equations(some: typing.Any) -> tuple[Doubles, Doubles, Doubles]:
        """What is expected, information and target of some spectra, with the noise of the references taken off."""
        mean = numpy.maximum(amplitudes[some] @ basis.steady, floor[some]) + shift
        own = (1 / mean) @ basis.variance.T
        information = ((1 / mean) @ products.T).reshape(-1, size, size) - own[:, None] * numpy.eye(size)
        return mean, information, (counts[some] / mean) @ basis.values.T - inside[some] * own

    todo = numpy.arange(len(counts))
    for _ in range(ROUNDS):
        _, information, target = equations(todo)
        move = _solved(information, target) - amplitudes[todo]
        amplitudes[todo] += move
        todo = todo[numpy.einsum("nk,nkl,nl->n", move, information, move) > CLOSE**2 * gain]
        if not todo.size:
            break
    mean, information, target = equations(slice(None))
    if negative:  # weights as before: where few counts lie, weights of negative amounts would run away
        amplitudes = numpy.linalg.solve(information, target[..., None])[..., 0]
    return _Chunk(amplitudes, mean, information)


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
