"""What a camera's noise looks like, measured on the scan itself."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing
import scipy.ndimage
import scipy.optimize

Array = numpy.typing.NDArray[numpy.floating]
Double = numpy.typing.NDArray[numpy.float64]
Bool = numpy.typing.NDArray[numpy.bool_]
Index = numpy.typing.NDArray[numpy.int64]

REWEIGHTED = 4
LAGS, LAGS_Q = 6, 3  # the farthest neighbours along E and along q that may share noise
SIGNIFICANT = 4.0  # standard errors
RELEVANT = 0.02  # smaller ones may be what is left of the signal
WINDOW = 65  # channels of the running mean along E that counts as signal
COMPONENTS = 8  # spectra that counts as signal
BLOCKS = 8  # of successive frames, one for the components, the next for the noise, and so on
MOST_VALUES = 1 << 21  # of differences; more would not measure any better


@dataclasses.dataclass(frozen=True)
class NoiseModel:
    """Variance of a pixel as ``gain * mean + read_variance``; Poisson counts have gain 1, read 0.

    Attributes
    ----------
    gain : float
        Counts per detected electron, as far as noise tells.
    read_variance : float
        Variance without any signal, counts squared.
    correlation, correlation_q : tuple of float
        Correlation of the noise between pixels 1, 2, ... channels apart along E, or rows apart along q;
        up to the last that differs from 0.
    """

    gain: float = 1.0
    read_variance: float = 0.0
    correlation: tuple[float, ...] = ()
    correlation_q: tuple[float, ...] = ()

    def variance(self, mean: Array) -> Array:
        """Variance at a mean, counts squared, same shape; never zero."""
        floor = 1e-3 * max(float(numpy.mean(numpy.abs(mean))), 1e-6)
        return self.gain * numpy.maximum(mean, floor) + self.read_variance

    def window_factor(self, channels: int) -> float:
        """Variance of a sum over so many equal channels, divided by the sum of their variances; 1 for Poisson."""
        return window_factor(self.correlation, channels)


def window_factor(correlation: typing.Sequence[float], size: int) -> float:
    """Variance of a sum over `size` equal neighbours with these correlations, by the sum of variances."""
    shared = sum(2 * (1 - lag / size) * c for lag, c in enumerate(correlation, 1) if lag < size)
    return max(1.0 + float(shared), 1e-3)


def fit_noise(mean: Array, variance: Array, bins: int = 64) -> NoiseModel:
    """Fit gain and read variance to the mean and variance of many pixels.

    Parameters
    ----------
    mean, variance : array, any equal shape
        Counts, and counts squared, per pixel. A variance that contains some signal gives a gain
        that is too large, never too small.
    bins : int
        Pixels are averaged in so many groups of equal size, ordered by mean.

    Returns
    -------
    NoiseModel
        ``NoiseModel(1, 0)`` where nothing was counted.

    Notes
    -----
    Non-negative least squares; the photon-transfer method of Janesick. The weights are relative to the
    fitted variance: relative to the measured one they favour what is low by chance, a third too low
    after 20 frames.
    """
    order = numpy.argsort(mean, axis=None)
    groups = numpy.array_split(order, min(bins, order.size))
    x = numpy.array([mean.ravel()[g].mean() for g in groups])
    y = numpy.array([variance.ravel()[g].mean() for g in groups])
    used = (x > 0) | (y > 0)  # elsewhere nothing was ever counted
    if not (y > 0).any():
        return NoiseModel()
    columns = numpy.stack((numpy.maximum(x[used], 0), numpy.ones(int(used.sum()))), 1)
    expected = numpy.maximum(columns[:, 0], 1e-3 * columns[:, 0].mean() + 1e-12)
    for _ in range(REWEIGHTED):
        (gain, read), _ = scipy.optimize.nnls(columns / expected[:, None], y[used] / expected)
        if gain == 0 and read == 0:
            return NoiseModel()
        fitted = columns @ (gain, read)
        expected = numpy.maximum(fitted, 1e-3 * fitted.mean())
    return NoiseModel(float(gain), float(read))


def measure_noise(frames: Array, pairs: Index) -> NoiseModel:
    """Measure gain, read variance and correlation of the noise from frames that see nearly the same.

    Parameters
    ----------
    frames : array, shape (n, q, E), counts
        In the order of the scan. Values that are not finite are missing.
    pairs : integer array, shape (m, 2)
        Numbers of two frames each, neighbours in the scan.

    Notes
    -----
    Differences of the pairs in units of their expected noise. What the sample changes from position to
    position is taken off twice: a running mean over 65 channels, and up to 8 spectra that describe the
    differences best and stand out of their noise. They come from other frames, so they hold no noise of
    the frames that they are taken off from. The correlation that the running mean itself
    makes is solved for, as the noise reaches 6 channels at most. A correlation counts beyond 4 standard
    errors and 0.02; errors come from the scatter between pairs. Variance against mean is the
    photon-transfer method of Janesick.
    """
    most = max(16, MOST_VALUES // max(frames[:1].size, 1))
    pairs = pairs[:: -(-len(pairs) // most) or 1]
    noise = NoiseModel()  # what is measured without pairs, or without counts
    for _ in range(2 if len(pairs) else 0):  # the second time with the weights of the first
        noise = _measured(frames, pairs, noise)
    return noise


def _measured(frames: Array, pairs: Index, start: NoiseModel) -> NoiseModel:
    """Noise of the pairs, weighted as if `start` were their noise."""
    one, two = (frames[pairs[:, k]].astype(numpy.float64) for k in (0, 1))
    valid = numpy.isfinite(one) & numpy.isfinite(two)
    one[~valid], two[~valid] = 0.0, 0.0
    mean = numpy.where(valid, 0.5 * (one + two), 0.0)
    profile = mean.sum(0) / numpy.maximum(valid.sum(0), 1)
    valid &= profile != 0  # a pixel that never counts tells nothing
    level = (mean * valid).sum((1, 2)) / numpy.maximum((profile * valid).sum((1, 2)), 1e-12)
    light = numpy.maximum(profile, 0.01 * abs(profile).mean() + 1e-12) * numpy.maximum(level, 0.01)[:, None, None]
    scale = numpy.sqrt(2 * (start.gain * light + start.read_variance))
    scaled = numpy.where(valid, (two - one) / scale, 0.0)
    rest, window = _without_running_mean(scaled, valid)
    rest, kept, share = _without_signal(rest, pairs * BLOCKS // len(frames))
    each = (rest**2).mean((1, 2))
    calm = each <= numpy.median(each) + 5 * 1.4826 * numpy.median(abs(each - numpy.median(each)))
    kept, rest = kept[calm], rest[calm]
    seen, lags = valid[kept], _solved(rest, valid[kept], window)
    if not lags[:, 0, 0].any():
        return NoiseModel()
    variance = (rest * scale[kept]) ** 2 / 2 * (lags[:, 0, 0].mean() / (rest[seen] ** 2).mean() / share)
    line = _line(mean[kept][seen], variance[seen], light[kept][seen])
    shared = numpy.bincount(pairs[kept].ravel())[pairs[kept]].sum(1) - 2
    widen = math.sqrt(1 + shared.mean() / 4)  # pairs with a frame in common are not independent
    along_e, along_q = (_significant(each, widen, seen.sum()) for each in (lags[:, 0], lags[:, :, 0]))
    return dataclasses.replace(line, correlation=along_e, correlation_q=along_q)


def _without_running_mean(scaled: Double, valid: Bool) -> tuple[Double, int]:
    """Take the running mean along E off; also its width in channels, 0 where there are too few."""
    window = min(WINDOW, scaled.shape[-1] // 2 * 2 - 1)
    if window < 4 * LAGS:
        return scaled, 0
    near = [scipy.ndimage.uniform_filter1d(a, window, axis=-1) for a in (scaled, valid.astype(numpy.float64))]
    return numpy.where(valid, scaled - near[0] / numpy.maximum(near[1], 0.5 / window), 0.0), window


def _without_signal(rest: Double, blocks: Index) -> tuple[Double, Index, float]:
    """Take off the components of other frames; also the pairs that are left, and the share of noise that is."""
    flat = rest.reshape(len(rest), -1)
    number = min(COMPONENTS, flat.shape[1] // 64)
    sets = [numpy.flatnonzero((blocks % 2 == parity).all(1)) for parity in (0, 1)]
    if number == 0 or min(s.size for s in sets) < 4 * number:
        return rest, numpy.arange(len(rest)), 1.0
    parts, taken = [], 0
    for mine, others in (sets, sets[::-1]):
        basis = numpy.random.default_rng(0).normal(size=(flat.shape[1], 2 * number))
        for _ in range(4):  # subspace iteration
            basis = numpy.linalg.qr(flat[others].T @ (flat[others] @ basis))[0]
        basis = basis @ numpy.linalg.svd(flat[others] @ basis, full_matrices=False)[2].T
        strength = ((flat[mine] @ basis) ** 2).mean(0)  # the second half of them holds noise
        basis = basis[:, :number][:, strength[:number] > 1.5 * numpy.median(strength[number:])]
        parts.append(flat[mine] - flat[mine] @ basis @ basis.T)
        taken += basis.shape[1] * len(mine)
    joined = numpy.concatenate(parts).reshape(-1, *rest.shape[1:])
    return joined, numpy.concatenate(sets), 1 - taken / len(joined) / flat.shape[1]


def _solved(rest: Double, valid: Bool, window: int) -> Double:
    """Covariance ``(pairs, lag q, lag E)`` that, seen through the running mean, gives what is seen."""
    q, e = (min(limit, size - 1) + 1 for limit, size in zip((LAGS_Q, LAGS), rest.shape[1:], strict=True))
    seen = numpy.empty((len(rest), q, e))
    for j in range(q):
        for k in range(e):
            a, b = (slice(j, None), slice(k, None)), (slice(None, -j or None), slice(None, -k or None))
            both = (valid[:, *a] & valid[:, *b]).sum() / len(rest)
            seen[:, j, k] = numpy.einsum("nij,nij->n", rest[:, *a], rest[:, *b]) / max(both, 1e-12)
    if not window:
        return seen
    lag = numpy.arange(e)
    apart = numpy.stack((lag[:, None] - lag, lag[:, None] + lag))
    response = (apart == 0) - 2 / window * (abs(apart) <= window // 2) + (window - abs(apart)) / window**2
    mixing = response[0] + response[1] * (lag > 0)
    return numpy.asarray(seen @ numpy.linalg.inv(mixing).T)


def _significant(lags: Double, widen: float, values: float) -> tuple[float, ...]:
    """Correlation at lags 1, 2, ... up to the last that counts, from covariance ``(pairs, lag)``."""
    mean = lags.mean(0)
    found = mean[1:] / mean[0]
    error = (lags[:, 1:] - found * lags[:, :1]).std(0) / math.sqrt(len(lags)) / mean[0]
    error = widen * numpy.maximum(error, 1 / math.sqrt(values))  # few pairs scatter little by chance
    counts = numpy.flatnonzero((abs(found) > SIGNIFICANT * error) & (abs(found) > RELEVANT))
    return tuple(float(c) for c in found[: counts[-1] + 1]) if counts.size else ()


def _line(mean: Double, variance: Double, light: Double) -> NoiseModel:
    """Gain and read variance of single values, grouped by the light; no read variance that is not significant."""
    groups = numpy.array_split(numpy.argsort(light), min(64, light.size))
    x, y = (numpy.array([a[g].mean() for g in groups]) for a in (mean, variance))
    both, alone = fit_noise(x, y), NoiseModel(float(y.sum() / max(x.sum(), 1e-12)))
    if both.read_variance == 0 or x.sum() <= 0:
        return both
    scale = both.gain * abs(x) + both.read_variance
    misfit = [float((((y - m.gain * x - m.read_variance) / scale) ** 2).sum()) for m in (both, alone)]
    return both if len(x) * (misfit[1] / max(misfit[0], 1e-300) - 1) > SIGNIFICANT**2 else alone
