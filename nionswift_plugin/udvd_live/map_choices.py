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
BY_HAND = ((0.25, 0.45), (0.5, 0.6))
"""Fit and signal windows to be drawn by the operator, at first in these parts of the range."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What an operator picks: a line of text, and the maps it stands for."""

    title: str
    maps: tuple[MapWindow, ...]


def choices(energy: Axis, presets: typing.Iterable[Preset]) -> list[Choice]:
    """What can be mapped on an energy axis in eV: maps of presets, edges by energy, and windows drawn by hand.

    A preset for phonons is left out: its windows follow the zero-loss peak, which no interval does.
    """
    found = []
    for preset in presets:
        maps = tuple(window for window in preset.maps if _fits(window, energy))
        if maps and not preset.tail:
            names = {window.name for window in maps}
            overlaps = [
                f"lines of {each.major} in {each.overlap} stay" for each in preset.lines if each.overlap in names
            ]
            title = f"{preset.name}: {', '.join(window.name for window in maps)}"
            found.append(Choice(f"{title} ({'; '.join(overlaps)})" if overlaps else title, maps))
    low, high = sorted((float(energy.values()[0]), float(energy.values()[-1])))
    return [*found, *_edges(energy, low, high), Choice("Windows drawn by hand", (_by_hand(low, high),))]


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
                found.append((onset, Choice(f"{shell}, {onset:g} eV", (window,))))
    return [choice for _, choice in sorted(found, key=lambda each: each[0])]


def _by_hand(low: float, high: float) -> MapWindow:
    fit, signal = ((low + start * (high - low), low + stop * (high - low)) for start, stop in BY_HAND)
    return MapWindow("Signal", signal, (fit,), "power_law" if low > 0 else "linear")


def _fits(window: MapWindow, energy: Axis) -> bool:
    try:
        EdgeMap(window, energy)
    except InputError:
        return False
    return True
