"""A stand-in for the Gd-doped ceria of the paper's figure 6, with the minor lines of Ce that overlap those of Gd."""

from __future__ import annotations

import dataclasses
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.maps.core_loss import core_loss
from udvd_core.maps.presets import BUILT_IN
from udvd_core.settings import MapWindow
from udvd_core.simulate import Sample
from udvd_core.simulate.sample import from_parts
from udvd_core.simulate.shapes import edge, peak, power_law
from udvd_core.simulate.textures import blurred

Array = numpy.typing.NDArray[typing.Any]

AXIS, SIZE, ATOMS = Axis(1028, 806.0, 0.5, "eV", "E"), (32, 32), 5
BOUNDARY = 6.0  # positions from it, from where on Gd stands alone
_built_in = next(preset for preset in BUILT_IN if preset.lines)
PRESET = dataclasses.replace(
    _built_in, maps=(MapWindow("Ce M45", (840.0, 960.0), ((807.0, 840.0),)), _built_in.maps[1])
)
"""The built-in preset; of its fit window 800 to 840 eV what lies on the axis, less its end, where charge leaves it."""


def ceria_sample(seed: int, dose: float) -> Sample:
    """Ceria with Gd at a boundary and as single atoms, `dose` electrons per spectrum; the last part is Gd.

    Ce is reduced, its white lines 1.5 eV lower and M4 weaker, towards one side.
    """
    rng = numpy.random.default_rng(seed)
    values, (y, x) = AXIS.values(), numpy.mgrid[: SIZE[0], : SIZE[1]]
    columns = 1.0 + 0.25 * numpy.cos(2 * numpy.pi * y / 5.3) * numpy.cos(2 * numpy.pi * x / 5.3)
    thickness, away = 1.0 + 0.1 * blurred(SIZE, 6, rng), distance(seed)
    content = 0.03 + 0.2 * numpy.exp(-0.5 * (away / 1.5) ** 2)
    for number in rng.choice(numpy.flatnonzero(away > BOUNDARY + 2), ATOMS, replace=False):
        squared = (y - number // SIZE[1]) ** 2 + (x - number % SIZE[1]) ** 2
        content += 0.15 * numpy.exp(-0.5 * squared / 0.7**2)
    reduced = 1 / (1 + numpy.exp((x - 6) / 3.0))
    cerium = 0.2 * columns * thickness * (1 - content)
    gadolinium = edge(values, 1195.0, 6.0) + 18.0 * peak(values, 1187.0, 5.0) + 10.0 * peak(values, 1218.0, 6.0)
    parts = (
        ("background", 0.80 * thickness * (0.6 + 0.4 * columns), power_law(values, 2.5)),
        ("Ce4+", cerium * (1 - reduced), cerium_spectrum(0.0, 14.0)),
        ("Ce3+", cerium * reduced, cerium_spectrum(-1.5, 11.0)),
        ("Gd", 0.1 * columns * thickness * content, gadolinium),
    )
    return from_parts("Gd-doped ceria", parts, AXIS, SIZE, dose, 1, 0.1)


def cerium_spectrum(shift: float, m4: float) -> Array:
    """Ce M45 and M23, of unit sum; the windows of `PRESET` measure the preset's ratio on it over a background."""
    values = AXIS.values()
    major = edge(values - shift, 890.0, 5.0)
    major += 15.0 * peak(values, 883.0 + shift, 4.0) + m4 * peak(values, 901.0 + shift, 4.0)
    minor = 14.0 * peak(values, 1185.0, 6.0) + 10.0 * peak(values, 1273.0, 7.0)
    minor += 0.5 * edge(values, 1185.0, 6.0) + 0.3 * edge(values, 1273.0, 6.0)
    background = power_law(values, 2.5)
    background *= 4 * major.sum() / background.sum()
    spectra = 1e6 / major.sum() * (background + [major, major + minor])
    (main, _), (alone, both) = core_loss(spectra, AXIS, PRESET.maps, None)[0]
    whole = major + minor * (main / PRESET.lines[0].ratio - alone) / (both - alone)
    return numpy.asarray(whole / whole.sum())


def distance(seed: int) -> Array:
    """Positions from the boundary, shape of the scan."""
    angle = numpy.random.default_rng([seed, 1]).uniform(0.3, 1.2)
    y, x = numpy.mgrid[: SIZE[0], : SIZE[1]]
    return numpy.asarray(abs(numpy.cos(angle) * (y - SIZE[0] / 2) + numpy.sin(angle) * (x - SIZE[1] / 2)))
