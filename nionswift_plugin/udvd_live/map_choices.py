"""Maps to choose from for a scan: presets and edges of Nion's periodic table that lie in its energy range."""

from __future__ import annotations

import dataclasses
import typing

from nion.eels_analysis import PeriodicTable

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.core_loss import EdgeMap
from udvd_core.maps.presets import Preset
from udvd_core.settings import MapWindow

FIT, SIGNAL = (0.93, 0.98), (1.0, 1.1)
"""Windows of an edge relative to its energy, as in Nion's "Elemental Mappings"."""
MILLI = 0.6
"""Windows that end below, eV, are told in meV."""
BY_HAND = ((0.25, 0.45), (0.5, 0.6))
"""Fit and signal windows to be drawn by the operator, at first in these parts of the range."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What an operator picks: a line of text, and the maps it stands for."""

    title: str
    preset: Preset

    @property
    def about(self) -> str:
        """Its windows."""
        return about(self.preset)


def about(preset: Preset) -> str:
    """The windows of a preset's maps."""
    return "; ".join(f"{each.name} {range_of(each)}" for each in preset.maps)


def range_of(window: MapWindow) -> str:
    """The windows of a map, in eV or meV."""
    small = abs(window.signal[1]) < MILLI
    factor, unit = (1e3, "meV") if small else (1.0, "eV")
    told = [f"{factor * low:.5g} to {factor * high:.5g} {unit}" for low, high in (window.signal, *window.background)]
    return told[0] if len(told) == 1 else f"{told[0]}, background {', '.join(told[1:])}"


def choices(energy: Axis, presets: typing.Iterable[Preset]) -> list[Choice]:
    """What can be mapped on an energy axis in eV: maps of presets, edges by energy, and windows drawn by hand."""
    found = []
    for preset in presets:
        if preset.tail:
            if _follows(preset, energy):
                found.append(Choice(_in_mev(preset), preset))
            continue
        maps = tuple(window for window in preset.maps if _fits(window, energy))
        names = {window.name for window in maps}
        if maps:
            lines = tuple(each for each in preset.lines if {each.major, each.overlap} <= names)
            told = [
                f"{each.major} lines {'taken off' if each in lines else 'stay in'} {each.overlap}"
                for each in preset.lines
                if each.overlap in names
            ]
            title = f"{preset.name}: {', '.join(window.name for window in maps)}"
            title = f"{title} ({'; '.join(told)})" if told else title
            found.append(Choice(title, dataclasses.replace(preset, maps=maps, lines=lines)))
    low, high = sorted((float(energy.values()[0]), float(energy.values()[-1])))
    return [*found, *_edges(energy, low, high), _single("Windows drawn by hand", _by_hand(low, high))]


def _edges(energy: Axis, low: float, high: float) -> list[Choice]:
    table = PeriodicTable.PeriodicTable()
    found = []
    for shell in table.find_edges_in_energy_interval((low, high)):
        onset = table.nominal_binding_energy_ev(shell)
        fit = (max(FIT[0] * onset, low), FIT[1] * onset)
        signal = (onset, min(SIGNAL[1] * onset, high))
        if fit[0] < fit[1] and signal[0] < signal[1]:
            window = MapWindow(str(shell), signal, (fit,))
            if _fits(window, energy):
                found.append((onset, _single(f"{shell}, {onset:g} eV", window)))
    return [choice for _, choice in sorted(found, key=lambda each: each[0])]


def _single(title: str, window: MapWindow) -> Choice:
    return Choice(title, Preset(window.name, (window,)))


def _follows(preset: Preset, energy: Axis) -> bool:
    """Whether an axis holds the zero-loss peak and all windows that follow it."""
    low, high = energy.offset - energy.scale / 2, energy.offset + (energy.size - 0.5) * energy.scale
    windows = [*(window.signal for window in preset.maps), *preset.tail]
    inside = all(low <= window[0] and window[1] <= high for window in windows)
    narrow = all(window[1] - window[0] > 2 * energy.scale for window in windows)
    return energy.scale > 0 and low < 0 < high and inside and narrow


def _in_mev(preset: Preset) -> str:
    """``h-BN phonons (meV): TA 50 to 90, zero loss``, with dashes for "to"."""
    parts = []
    for window in preset.maps:
        low, high = (1e3 * end for end in window.signal)
        parts.append(f"{window.name} {low:g}\N{EN DASH}{high:g}" if low > 0 else window.name)
    return f"{preset.name} (meV): {', '.join(parts)}"


def _by_hand(low: float, high: float) -> MapWindow:
    fit, signal = ((low + start * (high - low), low + stop * (high - low)) for start, stop in BY_HAND)
    return MapWindow("Signal", signal, (fit,), "power_law" if low > 0 else "linear")


def _fits(window: MapWindow, energy: Axis) -> bool:
    try:
        EdgeMap(window, energy)
    except InputError:
        return False
    return True
