"""Atomic percent from maps of edges: k-factors that the operator gives, or from Nion's partial cross-sections."""

from __future__ import annotations

import dataclasses
import gettext
import re
import typing

import numpy
from nion.eels_analysis import PeriodicTable
from nion.eels_analysis.eels_analysis import partial_cross_section_nm2
from nion.swift.model import DataItem, Metadata, Symbolic

from udvd_core.errors import InputError
from udvd_core.maps.composition import Factor, composition, covariance_of, parse_factor
from udvd_core.maps.presets import Lines

from .map_results import MapResults, create_results
from .map_view import name_of, sigma_of
from .maps_computation import array_of
from .scan_item import OURS

_ = gettext.gettext

COMPOSITION_ID = "udvd.composition"
MOST = 3
NUMBERS = tuple(range(1, MOST + 1))
SHELL = re.compile(r"(?P<element>[A-Z][a-z]?)[\s-]*(?P<shell>K|[L-O]\d)\b")
BEAM = re.compile(r"\s*(?P<kev>[\d.]+)\s*keV\s*,\s*(?P<convergence>[\d.]+)\s*,\s*(?P<collection>[\d.]+)\s*mrad\s*")
SHAPE = "60 keV, 30, 40 mrad"


@dataclasses.dataclass(frozen=True)
class Beam:
    """What a cross-section depends on.

    Attributes
    ----------
    energy_ev : float
        Of the beam, eV.
    convergence_rad, collection_rad : float
        Half-angles, rad.
    """

    energy_ev: float
    convergence_rad: float
    collection_rad: float

    def __str__(self) -> str:
        angles = f"{1e3 * self.convergence_rad:g}, {1e3 * self.collection_rad:g} mrad"
        return f"{1e-3 * self.energy_ev:g} keV, {angles}"


class CompositionComputation(MapResults):
    """Inputs: two or three maps, with a k-factor and its error for each. Results: `percent_1` and so on, with sigma."""

    label = _("UDVD Composition")
    inputs: typing.ClassVar = {
        f"{name}_{number}": {"label": f"{label} {number}"}
        for number in NUMBERS
        for name, label in (("map", _("Map")), ("k", _("k-factor")), ("error", _("Error of k-factor")))
    }
    outputs: typing.ClassVar = {f"percent_{number}": {"label": f"Percent {number}"} for number in NUMBERS}

    def execute(self, **kwargs: typing.Any) -> None:
        """Turn counts into atomic percent."""
        given = self._computation._computation
        maps = [given.get_input(f"map_{number}") for number in NUMBERS if f"map_{number}" in kwargs]
        names = [name_of(item) for item in maps]
        factors = tuple(
            Factor(name, float(kwargs[f"k_{number}"]), float(kwargs[f"error_{number}"]))
            for number, name in enumerate(names, 1)
        )
        pictures = [array_of(item) for item in maps]
        if len({picture.shape for picture in pictures}) > 1 or not pictures[0].size:
            raise InputError("the maps have different shapes, or are not made yet; select maps of one scan")
        known = [sigma_of(item, item.project.data_items) for item in maps]
        sigma = numpy.stack([numpy.full(pictures[0].shape, numpy.nan) if each is None else each for each in known])
        covariance = covariance_of(sigma, names, _lines(maps))
        found = composition(numpy.stack(pictures).astype(numpy.float64), covariance, factors)
        ours = [item.metadata.get(OURS, {}) for item in maps]
        facts = {
            "k": [dataclasses.asdict(factor) for factor in factors],
            "sigma": "errors of the maps and of the k-factors",
            "independent": all(each.get("independent") for each in ours) and not any(f.sigma for f in factors),
            "caption": _caption(factors),
        }
        for number, (item, name) in enumerate(zip(maps, names, strict=True)):
            percent, error = found.values[number], found.total()[number]
            self.put(f"percent_{number + 1}", item, f"{name} percent", "at.%", percent, error, facts)


def create_composition(
    document_model: typing.Any, maps: typing.Sequence[DataItem.DataItem], factors: typing.Sequence[Factor]
) -> list[DataItem.DataItem]:
    """Make an item for each map, with the computation that fills them; on the main thread."""
    computation = document_model.create_computation()
    real = Symbolic.ComputationVariableType.REAL
    for number, (item, factor) in enumerate(zip(maps, factors, strict=True), 1):
        computation.create_input_item(f"map_{number}", Symbolic.make_item(item))
        computation.create_variable(f"k_{number}", value_type=real, value=factor.value)
        computation.create_variable(f"error_{number}", value_type=real, value=factor.sigma)
    computation.processing_id = COMPOSITION_ID
    names = {f"percent_{number}": f"{name_of(item)} percent" for number, item in enumerate(maps, 1)}
    return create_results(document_model, computation, maps[0], names)


def beam_of(scan: DataItem.DataItem | None) -> Beam | None:
    """What the metadata of a scan say of the beam; None unless they say it all."""
    if scan is None:
        return None
    keys = ("stem.high_tension", "stem.convergence_angle_rad", "stem.collection_angle_rad")
    found = [Metadata.get_metadata_value(scan, key) for key in keys]
    return Beam(*map(float, found)) if all(found) else None


def cross_section_nm2(item: DataItem.DataItem, beam: Beam) -> float | None:
    """Partial cross-section for the edge and signal window of a map, as Nion computes it; None where it cannot.

    Swift itself knows K edges (hydrogenic); a registered service of Nion's may know others.
    """
    found = SHELL.match(name_of(item))
    signal = item.metadata.get(OURS, {}).get("map", {}).get("signal")
    table = PeriodicTable.PeriodicTable()
    numbers = {symbol: number for number, symbol in table.get_elements_list()}
    if found is None or signal is None or found["element"] not in numbers:
        return None
    shell = PeriodicTable.ElectronShell.from_eels_notation(numbers[found["element"]], found["shell"])
    onset = table.nominal_binding_energy_ev(shell)
    parts = []
    for end in (signal[1], signal[0]):
        if onset is None or end <= onset:
            parts.append(0.0)
            continue
        try:
            parts.append(
                partial_cross_section_nm2(
                    *(shell.atomic_number, shell.shell_number, shell.subshell_index, onset, end - onset),
                    *(beam.energy_ev, beam.convergence_rad, beam.collection_rad),
                )
            )
        except AssertionError:  # how Nion says that it has none for this shell
            return None
    return parts[0] - parts[1] if parts[0] > parts[1] else None


def proposed(maps: typing.Sequence[DataItem.DataItem], beam: Beam | None) -> list[Factor] | None:
    """k-factors by cross-sections, that of the first map 1; None where one is not known."""
    found = [cross_section_nm2(item, beam) for item in maps] if beam is not None else [None]
    sections = [each for each in found if each is not None]
    if len(sections) < len(maps):
        return None
    return [Factor(name_of(item), sections[0] / each) for item, each in zip(maps, sections, strict=True)]


def parse_factors(text: str, maps: typing.Sequence[DataItem.DataItem]) -> list[Factor]:
    """k-factors of maps from ``B K = 1, N K = 2.1 +- 0.1``, or from ``60 keV, 30, 40 mrad`` by cross-sections.

    Raises
    ------
    InputError
        When the text is neither, or does not give one for each map.
    """
    if beam := BEAM.fullmatch(text):
        numbers = [float(beam[name]) for name in ("kev", "convergence", "collection")]
        if not all(numbers):
            raise InputError(f"the beam is {text!r}; want an energy and two half-angles above 0, as {SHAPE}")
        found = proposed(maps, Beam(1e3 * numbers[0], 1e-3 * numbers[1], 1e-3 * numbers[2]))
        if found is None:
            raise InputError(
                f"Swift has no cross-sections for all of {', '.join(map(name_of, maps))}, only for K edges in windows"
                " above them: give k-factors"
            )
        return found
    given = {factor.name: factor for factor in map(parse_factor, text.split(","))}
    names = [name_of(item) for item in maps]
    if set(given) != set(names):
        raise InputError(f"k-factors are given for {', '.join(given)}; want one for each of {', '.join(names)}")
    return [given[name] for name in names]


def written(factors: typing.Iterable[Factor]) -> str:
    """Factors as `parse_factors` takes them."""
    return ", ".join(f"{factor.name} = {factor.value:.4g}" for factor in factors)


def _lines(maps: typing.Sequence[DataItem.DataItem]) -> list[Lines]:
    """What was taken off one of the maps by another."""
    presets = (item.metadata.get(OURS, {}).get("preset", {}) for item in maps)
    return [Lines(**each) for preset in presets for each in preset.get("lines", ())]


def _caption(factors: typing.Sequence[Factor]) -> str:
    told = [f"{factor.name} {factor.value:.4g} \N{PLUS-MINUS SIGN} {factor.sigma:.2g}" for factor in factors]
    text = f"k-factors: {', '.join(told)}."
    if not any(factor.sigma for factor in factors):
        text += " They are taken as exact; those by cross-sections are often 10 percent off, the same at all positions."
    return text


def register() -> None:
    """Let Swift make such maps, also those of projects that it opens."""
    Symbolic.register_computation_type(COMPOSITION_ID, typing.cast(typing.Any, CompositionComputation))


def unregister() -> None:
    """Take it back."""
    Symbolic._computation_types.pop(COMPOSITION_ID, None)
