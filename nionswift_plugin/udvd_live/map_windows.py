"""Windows of maps as intervals that are drawn on a spectrum, and back: what an operator drags is what is mapped."""

from __future__ import annotations

import dataclasses
import gettext
import re
import typing

from nion.swift.model import Graphics, Symbolic

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.maps.presets import Lines, Preset
from udvd_core.settings import MapWindow, Window

_ = gettext.gettext

FOLLOWING = "zero_loss_tail"
"""In place of a background model: windows follow the zero-loss peak, and its tail is fitted and taken off."""
FIT_COLOUR, SIGNAL_COLOUR = "#F00", "#0F0"  # as the background and the signal of Nion's own EELS tools
UNNAMED = "Signal"
TAIL = _("Tail")
IN_MEV = re.compile(r"\s*-?[\d.]+ to -?[\d.]+ meV$")


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A map as it is drawn on a spectrum.

    Attributes
    ----------
    signal, backgrounds : IntervalGraphic, tuple of IntervalGraphic
        Where counts are summed, and where a background is fitted.
    model : str
        A background model, or `FOLLOWING`.
    preset : str
        Name of the preset that it came from; empty without one.
    major : Drawn or None
        Main lines of an element whose minor lines are taken off this map.
    ratio, ratio_sigma : float
        Counts of those main lines by the minor ones, and the standard error.
    """

    signal: Graphics.IntervalGraphic
    backgrounds: tuple[Graphics.IntervalGraphic, ...] = ()
    model: str = MapWindow.model
    preset: str = ""
    major: Drawn | None = None
    ratio: float = 0.0
    ratio_sigma: float = 0.0

    @property
    def name(self) -> str:
        """What the map is called: the signal's label without the energies at its end."""
        return IN_MEV.sub("", self.signal.label or "").strip() or UNNAMED

    @property
    def follows(self) -> bool:
        """Whether its windows follow the zero-loss peak."""
        return self.model == FOLLOWING

    def window(self, energy: Axis) -> MapWindow:
        """Its windows on a spectrum with these energies; those that follow the peak have no background of their own.

        Raises
        ------
        SettingsError
            When an interval has no width, or the background model is not known.
        """
        if self.follows:
            return MapWindow(self.name, ends_of(self.signal, energy))
        fitted = tuple(ends_of(each, energy) for each in self.backgrounds)
        return MapWindow(self.name, ends_of(self.signal, energy), fitted, self.model)

    def to_preset(self, energy: Axis) -> Preset:
        """All that makes the map, first of the preset's maps.

        Raises
        ------
        InputError
            When windows that follow the zero-loss peak have none for its tail.
        SettingsError
            As `window`; or when two maps that belong together have one name.
        """
        window = self.window(energy)
        name = self.preset or window.name
        if self.follows:
            tail = tuple(ends_of(each, energy) for each in self.backgrounds)
            if not tail:
                raise InputError(f"no window for the zero-loss tail is left for {window.name!r}; map the scan anew")
            return Preset(name, (window,), tail=tail)
        if self.major is None:
            return Preset(name, (window,))
        major = self.major.window(energy)
        return Preset(name, (window, major), (Lines(major.name, window.name, self.ratio, self.ratio_sigma),))

    def relabel(self, energy: Axis) -> None:
        """Let labels of windows that follow the peak say where these are, meV; on the main thread."""
        if self.follows:
            for each, name in ((self.signal, self.name), *((each, TAIL) for each in self.backgrounds)):
                label = in_mev(name, ends_of(each, energy))
                if each.label != label:  # a new label makes the map again
                    each.label = label


def draw(preset: Preset, energy: Axis) -> list[Drawn]:
    """Intervals for all maps of a preset, not yet on any spectrum."""
    if preset.tail:
        tail = tuple(_interval(each, energy, in_mev(TAIL, each), "fit", FIT_COLOUR) for each in preset.tail)
        return [
            Drawn(
                _interval(window.signal, energy, in_mev(window.name, window.signal), "signal", SIGNAL_COLOUR),
                *(tail, FOLLOWING, preset.name),
            )
            for window in preset.maps
        ]
    drawn = {}
    for window in preset.maps:
        fits = tuple(_interval(each, energy, _("Fit"), "fit", FIT_COLOUR) for each in window.background)
        signal = _interval(window.signal, energy, window.name, "signal", SIGNAL_COLOUR)
        drawn[window.name] = Drawn(signal, fits, window.model, preset.name)
    alone = dict(drawn)
    for lines in preset.lines:
        drawn[lines.overlap] = dataclasses.replace(
            alone[lines.overlap], major=alone[lines.major], ratio=lines.ratio, ratio_sigma=lines.sigma
        )
    return list(drawn.values())


def drawn_of(computation: Symbolic.Computation) -> Drawn | None:
    """What a computation's inputs say, `add_inputs` the other way round; None where the signal has gone."""
    signal = computation.get_input("signal")
    if signal is None:
        return None
    given: dict[str, typing.Any] = {
        name: computation.get_input_value(name) for name in ("model", "preset") if computation._has_variable(name)
    }
    if (major := computation.get_input("major")) is not None:
        fits = _there(computation, "major_backgrounds")
        given["major"] = Drawn(major, fits, computation.get_input_value("major_model"))
        given |= {name: computation.get_input_value(name) for name in ("ratio", "ratio_sigma")}
    return Drawn(signal, _there(computation, "backgrounds"), **given)


def add_inputs(computation: Symbolic.Computation, drawn: Drawn) -> None:
    """Give a computation what makes the map."""
    kinds = Symbolic.ComputationVariableType
    computation.create_input_item("signal", Symbolic.make_item(drawn.signal))
    computation.create_input_item("backgrounds", Symbolic.make_item_list(drawn.backgrounds))
    computation.create_variable("model", value_type=kinds.STRING, value=drawn.model)
    computation.create_variable("preset", value_type=kinds.STRING, value=drawn.preset)
    if drawn.major is not None:
        computation.create_input_item("major", Symbolic.make_item(drawn.major.signal))
        computation.create_input_item("major_backgrounds", Symbolic.make_item_list(drawn.major.backgrounds))
        computation.create_variable("major_model", value_type=kinds.STRING, value=drawn.major.model)
        computation.create_variable("ratio", value_type=kinds.REAL, value=drawn.ratio)
        computation.create_variable("ratio_sigma", value_type=kinds.REAL, value=drawn.ratio_sigma)


def ends_of(graphic: Graphics.IntervalGraphic, energy: Axis) -> Window:
    """Ends of an interval, given in fractions of the axis, in eV; it may be dragged across itself."""
    ends = [round(energy.offset + energy.scale * round(energy.size * end, 6), 9) for end in graphic.interval]
    return min(ends), max(ends)


def in_mev(name: str, ends: Window) -> str:
    """``TO-LO 140 to 200 meV``."""
    low, high = (f"{round(1e3 * end, 1) + 0.0:g}" for end in ends)
    return f"{name} {low} to {high} meV"


def _there(computation: Symbolic.Computation, name: str) -> tuple[Graphics.IntervalGraphic, ...]:
    """Those of a list of intervals that were not deleted."""
    return tuple(each for each in computation.get_input(name) or () if each is not None)


def _interval(ends: Window, energy: Axis, label: str, graphic_id: str, colour: str) -> Graphics.IntervalGraphic:
    graphic = Graphics.IntervalGraphic()
    fractions = sorted((end - energy.offset) / energy.scale / energy.size for end in ends)
    graphic.interval = (fractions[0], fractions[1])
    graphic.label, graphic.graphic_id, graphic.stroke_color = label, graphic_id, colour
    return graphic
