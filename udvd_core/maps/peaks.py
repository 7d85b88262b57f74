"""Maps of lines: position, width and counts of peaks, edge shifts and ratios of white lines.

The lines of the whole scan are fitted first, each with a place and a width of its own. At every
position all of them then move and widen together; their counts stay free. So little counts suffice, and
the fit of a single peak is the usual one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing

import numpy

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.covariance import Covariance, Index, parameter_covariance
from udvd_core.maps.line_shape import FREE, FWHM_PER_SIGMA, LineShape, Tied, tie
from udvd_core.maps.scoring import Array, Bools, Doubles, Propagation, check_spectra, fit, standard_error
from udvd_core.noise import NoiseModel

CLEAR = 4.0  # standard errors that the lines stand out of the background by; fainter ones have no place
DIVISIBLE = 3.0  # standard errors of the counts that a ratio is taken by
FIRM = 1e12  # precision of what is held in its place
BROADENING = 0.7  # standard deviation of log width around the scan's; only faint lines notice


@dataclasses.dataclass(frozen=True)
class Lines:
    """K lines at n positions of a scan.

    Attributes
    ----------
    counts, counts_sigma : array, shape (K, n)
        Counts in every line, without background and step.
    position, fwhm : array, shape (K, n)
        Energy loss and full width at half maximum, eV.
    shift, shift_sigma : array, shape (n,)
        How far the lines lie above those of the scan's sum, eV. The error is that of differences between
        positions: where lines are not quite Gaussian, all of `position` may be off by the same amount.
    broadening_sigma : array, shape (n,)
        Relative error of `fwhm`.
    covariance : array, shape (n, K, K)
        Of the errors of `counts`.
    found : bool array, shape (n,)
        Where the lines are clear enough to have a place; elsewhere the scan's place and width stand,
        with infinite errors.
    """

    counts: Doubles
    counts_sigma: Doubles
    position: Doubles
    fwhm: Doubles
    shift: Doubles
    shift_sigma: Doubles
    broadening_sigma: Doubles
    covariance: Doubles
    found: Bools

    def ratio(self, line: int, other: int) -> tuple[Doubles, Doubles]:
        """Counts of one line by those of another, for example Ce M5 by M4, and the standard error, both (n,).

        The error is infinite where the other line is not clear.
        """
        a, b = self.counts[line], self.counts[other]
        v, w, c = (self.covariance[:, i, j] for i, j in ((line, line), (other, other), (line, other)))
        clear = self.found & (b > DIVISIBLE * numpy.sqrt(w))
        safe = numpy.where(clear, b, 1.0)
        ratio = numpy.where(clear, a / safe, 0.0)
        ratio = ratio - numpy.where(clear, (ratio * w - c) / safe**2, 0.0)  # what noise adds, to second order
        return ratio, standard_error((v - 2 * ratio * c + ratio**2 * w) / safe**2, clear)


def fit_lines(
    spectra: Array,
    energy: Axis,
    window: tuple[float, float],
    lines: typing.Sequence[float],
    fwhm: float,
    *,
    step: bool = False,
    errors: NoiseModel | Covariance | None = None,
) -> Lines:
    """Fit Gaussian lines over an exponential background in a window.

    Parameters
    ----------
    spectra : array, shape (n, E)
        Counts, nothing taken off: background and lines are fitted together, so that each one's error
        holds the other's.
    energy : Axis
        Energy loss, eV.
    window : (float, float)
        Energy loss that is fitted, eV.
    lines : sequence of float
        About where the lines lie, eV.
    fwhm : float
        About how wide they are, eV.
    step : bool
        Whether the background steps up at every line, as an ionisation edge does under its white lines.
    errors : NoiseModel or Covariance, optional
        Noise of the counts, or what is known of the errors of denoised ones; Poisson without it.

    Raises
    ------
    InputError
        When the spectra do not fit the axis, the window holds too few channels or counts, a line lies
        outside of it, or the lines are not found in the sum of the scan.

    Notes
    -----
    Poisson likelihood; lines integrated over channels. The steps share one height, divided among the
    lines as their counts in the scan's sum are.
    """
    check_spectra(spectra, energy)
    part = _checked(energy, window, lines, fwhm, step)
    noise = errors if isinstance(errors, NoiseModel) else NoiseModel()
    known = functools.partial(_propagation, errors, numpy.arange(part.start, part.stop))
    counts = numpy.asarray(spectra[:, part])
    total = counts.sum(axis=0, dtype=numpy.float64)[None]
    own = counts.sum(axis=1, dtype=numpy.float64)
    if total.sum() <= 0:
        raise InputError(f"window {window[0]:g} to {window[1]:g} eV holds no counts; choose another or record longer")
    values = energy.values()[part]
    shape = LineShape(energy.scale / 2, float(values.mean()), (1 / len(lines),) * len(lines))
    places, read = list(lines), noise.read_variance * len(spectra)
    for again in (True, False):  # the second time with the lines of spectra that are aligned
        scan, shape = _scan(total, values, shape, places, fwhm, step, read)
        parameters, covariance, clear = _positions(counts, values, shape, scan, own / total.sum(), step, noise, known)
        if again:
            total = _aligned(spectra, part, numpy.round(parameters[:, 2] / energy.scale))
            places = [float(place) for place in scan[FREE + 1 :: 3]]
    return _result(parameters, covariance, clear, scan, len(lines))


def _propagation(errors: NoiseModel | Covariance | None, channels: Index, positions: Index) -> Propagation | None:
    """How errors of denoised spectra at some positions reach what is fitted to them; None for counts."""
    if errors is None or isinstance(errors, NoiseModel):
        return None
    return lambda response, part: parameter_covariance(errors, response, channels, positions[part])


def _positions(
    counts: Array,
    values: Doubles,
    shape: LineShape,
    scan: Doubles,
    own: Doubles,
    step: bool,
    noise: NoiseModel,
    known: typing.Callable[[Index], Propagation | None],
) -> tuple[Doubles, Doubles, Bools]:
    """Parameters of every position (n, P), their covariance, and where the lines are clear."""
    number = len(shape.shares)
    base = scan.copy()
    base[2] = base[FREE::3] = 0.0
    tied = Tied(shape, base, tie(number, step))
    start, reach = _start(counts, values, shape, scan, own, step)
    precision = numpy.zeros(start.shape[1])
    span = values[-1] - values[0]
    precision[1:4] = numpy.array([span, 2 / span, 1 / BROADENING]) ** 2
    found = fit(counts, values, tied, start, noise, precision=precision, propagation=known(numpy.arange(len(counts))))
    parameters, covariance = found.parameters, found.covariance
    clear = found.converged & _clear(parameters, covariance, number) & (abs(parameters[:, 2]) < reach)
    if not clear.all():  # a faint line would be placed where noise is highest: hold it in its place
        start[~clear, 2] = 0.0
        precision[2:4] = FIRM
        faint = known(numpy.flatnonzero(~clear))
        held = fit(counts[~clear], values, tied, start[~clear], noise, precision=precision, propagation=faint)
        parameters[~clear], covariance[~clear] = held.parameters, held.covariance
    return parameters, covariance, clear


def _aligned(spectra: Array, part: slice, moves: Doubles) -> Doubles:
    """Sum (1, E) of the spectra, each moved by whole channels.

    Without those that the range ends for; of all as they are, if it does for all.
    """
    total = numpy.zeros((1, part.stop - part.start))
    moves = moves.astype(numpy.int64)
    for move in numpy.unique(moves[(moves >= -part.start) & (moves <= spectra.shape[1] - part.stop)]):
        chosen = spectra[moves == move, part.start + move : part.stop + move]
        total += chosen.sum(axis=0, dtype=numpy.float64)
    return total if total.any() else spectra[:, part].sum(axis=0, dtype=numpy.float64)[None]


def _result(parameters: Doubles, covariance: Doubles, clear: Bools, scan: Doubles, number: int) -> Lines:
    shift = numpy.where(clear, parameters[:, 2], 0.0)
    broadening = numpy.where(clear, parameters[:, 3], 0.0)
    errors = [standard_error(covariance[:, i, i], clear) for i in (2, 3)]
    own = covariance[:, -number:, -number:]
    return Lines(
        parameters[:, -number:].T,
        numpy.sqrt(numpy.einsum("nkk->kn", own)),
        scan[FREE + 1 :: 3, None] + shift,
        numpy.exp(scan[FREE + 2 :: 3, None] + broadening) * FWHM_PER_SIGMA,
        shift,
        errors[0],
        errors[1],
        own,
        clear,
    )


def _clear(parameters: Doubles, covariance: Doubles, number: int) -> Bools:
    """Whether all lines together stand out, shape (n,)."""
    error = numpy.sqrt(numpy.maximum(covariance[:, -number:, -number:].sum((1, 2)), 0.0))
    return numpy.asarray(parameters[:, -number:].sum(1) > CLEAR * error)


def _checked(
    energy: Axis, window: tuple[float, float], lines: typing.Sequence[float], fwhm: float, step: bool
) -> slice:
    """Channels of the window, once all numbers make sense."""
    part = energy.window(*window)
    wanted = 4 + step + 2 * len(lines)
    if part.stop - part.start <= wanted:
        raise InputError(
            f"window {window[0]:g} to {window[1]:g} eV holds {part.stop - part.start} channels;"
            f" want more than {wanted} to fit {len(lines)} lines: widen it"
        )
    if not lines or not all(window[0] < line < window[1] for line in lines):
        raise InputError(
            f"lines are {', '.join(f'{line:g}' for line in lines) or 'missing'} eV;"
            f" want at least one, all inside the window {window[0]:g} to {window[1]:g} eV"
        )
    if not 0 < fwhm < window[1] - window[0]:
        raise InputError(f"width of a line is {fwhm:g} eV; want more than 0 and less than the window")
    return part


def _scan(
    total: Doubles,
    values: Doubles,
    shape: LineShape,
    lines: typing.Sequence[float],
    fwhm: float,
    step: bool,
    read: float,
) -> tuple[Doubles, LineShape]:
    """All parameters (P,) of the sum of the scan, each line with a place and a width of its own."""
    start = numpy.zeros(FREE + 3 * len(lines))
    rows = [abs(values - line) < max(0.5 * fwhm, 1.01 * shape.half) for line in lines]
    level = numpy.median(total[0, ~numpy.any(rows, axis=0)]) if not numpy.all(numpy.any(rows, axis=0)) else total.min()
    start[0] = math.log(max(level, 0.5))
    start[2] = 0.1 * level if step else 0.0
    start[FREE::3] = [max((total[0] - level)[row].sum(), 0.1 * total[0, row].sum()) for row in rows]
    start[FREE + 1 :: 3], start[FREE + 2 :: 3] = lines, math.log(fwhm / FWHM_PER_SIGMA)
    columns = numpy.eye(start.size)
    columns = columns if step else numpy.delete(columns, 2, 1)
    held = numpy.concatenate((numpy.zeros(FREE), numpy.tile([0.0, fwhm**-2, BROADENING**-2], len(lines)))) @ columns
    for _ in range(2):  # the second time with the steps divided as the lines are
        tied = Tied(shape, numpy.zeros(start.size), columns)
        found = fit(total, values, tied, (start @ columns)[None], NoiseModel(1.0, read), precision=held)
        start = columns @ found.parameters[0]
        area = start[FREE::3]
        error = numpy.sqrt(numpy.diag(columns @ found.covariance[0] @ columns.T))[FREE::3]
        for line, counts, sigma, place in zip(lines, area, error, start[FREE + 1 :: 3], strict=True):
            if counts < CLEAR * sigma or not values[0] < place < values[-1]:
                raise InputError(
                    f"no line near {line:g} eV stands out of the sum of the scan ({counts:.3g} counts,"
                    f" error {sigma:.2g}): choose another window or line"
                )
        shape = dataclasses.replace(shape, shares=tuple(area / area.sum()))
    return start, shape


def _start(
    counts: Array, values: Doubles, shape: LineShape, scan: Doubles, own: Doubles, step: bool
) -> tuple[Doubles, float]:
    """Where the fits start (n, P), with the lines moved to where they stand out most; also how far they may go."""
    places, fwhm = scan[FREE + 1 :: 3], FWHM_PER_SIGMA * math.exp(scan[FREE + 2])
    reach = max(min(places.min() - values[0], values[-1] - places.max()), 0.5 * fwhm)
    moves = numpy.linspace(-reach, reach, 2 * math.ceil(3 * reach / fwhm) + 1)
    many = numpy.repeat(scan[None], moves.size, 0)
    many[:, FREE + 1 :: 3] += moves[:, None]
    model = shape(numpy.broadcast_to(values, (moves.size, values.size)), many)[0]
    bare = numpy.exp(scan[0] + scan[1] * (values - shape.origin))
    template = (model - bare) / bare / numpy.sqrt(((model - bare) ** 2 / bare).sum(1, keepdims=True))
    own = numpy.maximum(own, 1e-3 * own.mean())
    response = counts @ template.T - own[:, None] * (template @ bare)
    start = numpy.concatenate(
        (
            numpy.log(own)[:, None],
            numpy.zeros((len(counts), 1)),
            moves[response.argmax(1)][:, None],
            numpy.zeros((len(counts), 1)),
            own[:, None] * scan[2:3] if step else numpy.zeros((len(counts), 0)),
            own[:, None] * scan[FREE::3],
        ),
        1,
    )
    return start, float(reach)
