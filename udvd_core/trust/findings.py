"""Regions that differ, put together into what an operator can look at: an energy range and where it is."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy

from udvd_core.axes import Axis
from udvd_core.trust.bias import Bias, Region
from udvd_core.trust.residual import AXES

SIMILAR = 0.5  # of the largest deviation
ONE_SIGN = 0.85  # of the regions
MOST = 2  # findings told one by one


@dataclasses.dataclass(frozen=True)
class Finding:
    """A range of channels that is not to be trusted.

    Attributes
    ----------
    channels : slice
    where : str
        The positions in words.
    worst : Region
    kind : str
        ``"missing"``: the raw counts are higher; ``"added"``: they are lower; ``"smoothed"``: higher here and lower
        there.
    """

    channels: slice
    where: str
    worst: Region
    kind: str


def findings(result: Bias) -> list[Finding]:
    """Regions that differ, grouped by energy, worst first; no two share a channel.

    Beside findings that are certain those that may be chance are left out.
    """
    least = result.certain if result.found and abs(result.found[0].sigma) >= result.certain else 0.0
    rest = list(result.found)
    told: list[Finding] = []
    while rest and abs(rest[0].sigma) >= least:
        worst = rest[0]
        alike = [r for r in rest if r.scale[0] == worst.scale[0] and abs(r.sigma) >= SIMILAR * abs(worst.sigma)]
        wide = _run([r for r in alike if r.scale[1] == worst.scale[1]], worst.channels)
        group = [r for r in rest if r.scale[0] == worst.scale[0] and _within(r.channels, wide)]
        channels = _narrowed(group, wide)
        group = [r for r in group if _overlap(r.channels, channels)]
        _add(told, Finding(channels, _where(group, result.scan_shape), worst, _kind(group)))
        taken = slice(min(wide.start, channels.start), max(wide.stop, channels.stop))
        rest = [r for r in rest if not _overlap(r.channels, taken)]
    return told


def _add(told: list[Finding], new: Finding) -> None:
    """Append a finding, or widen the one that it continues."""
    for k, old in enumerate(told):
        touching = old.channels.start == new.channels.stop or old.channels.stop == new.channels.start
        if touching and (old.where, old.kind) == (new.where, new.kind):
            both = slice(min(old.channels.start, new.channels.start), max(old.channels.stop, new.channels.stop))
            told[k] = dataclasses.replace(old, channels=both)
            return
    told.append(new)


def in_words(channels: slice, energy: Axis | None) -> str:
    """Range of channels in eV, or in channels where there is no calibration."""
    if energy is None or energy.units != "eV":
        return f"channels {channels.start} to {channels.stop - 1}"
    values = energy.values()
    low, high = sorted((float(values[channels.start]), float(values[channels.stop - 1])))
    digits = min(max(0, math.ceil(-math.log10(abs(energy.scale)))), 6)
    return f"{low:.{digits}f} to {high:.{digits}f} eV"


def _run(regions: typing.Sequence[Region], middle: slice) -> slice:
    """Channels without a gap around `middle` that windows of these regions cover."""
    start, stop = middle.start, middle.stop
    for window in sorted({(r.channels.start, r.channels.stop) for r in regions}, reverse=True):
        start = window[0] if window[1] == start else start
    for window in sorted({(r.channels.start, r.channels.stop) for r in regions}):
        stop = window[1] if window[0] == stop else stop
    return slice(start, stop)


def _narrowed(group: typing.Sequence[Region], wide: slice) -> slice:
    """The range from the narrowest windows of the group, where these are enough to tell."""
    for size in sorted({r.scale[1] for r in group}):
        same = [r for r in group if r.scale[1] == size]
        limit = SIMILAR * max(abs(r.sigma) for r in same)
        strong = [r for r in same if abs(r.sigma) >= limit]
        start, stop = min(r.channels.start for r in strong), max(r.channels.stop for r in strong)
        if 2 * (stop - start) >= wide.stop - wide.start or size * 4 >= wide.stop - wide.start:
            return slice(start, stop)
    return wide


def _where(group: typing.Sequence[Region], scan_shape: tuple[int, ...]) -> str:
    """Positions of a group in words."""
    covered = numpy.zeros(scan_shape, numpy.bool_)
    for region in group:
        covered[region.positions] = True
    count, names = int(covered.sum()), AXES[len(AXES) - len(scan_shape) :]
    if count == covered.size:
        return "at all positions"
    worst = max(group, key=lambda region: abs(region.sigma)).positions
    place = ", ".join(
        f"{name} {at.start}" if at.stop - at.start == 1 else f"{name} {at.start} to {at.stop - 1}"
        for name, at in zip(names, worst, strict=True)
    )
    if all(region.positions == worst for region in group):
        return f"at {place}"
    return f"at {count} of {covered.size} positions, worst at {place}"


def _kind(group: typing.Sequence[Region]) -> str:
    positive = sum(region.sigma > 0 for region in group) / len(group)
    if positive >= ONE_SIGN:
        return "missing"
    return "added" if positive <= 1 - ONE_SIGN else "smoothed"


def _overlap(one: slice, two: slice) -> bool:
    return bool(one.start < two.stop and two.start < one.stop)


def _within(one: slice, two: slice) -> bool:
    return bool(one.start >= two.start and one.stop <= two.stop)
