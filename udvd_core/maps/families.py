"""The background models: every one is a straight line, so every one has a level and a slope.

================== =================== ==========================================================
name               straight line        what it is
================== =================== ==========================================================
power_law          log counts, log E    ``A E^-r``, the usual background before an edge
exponential        log counts, E        ``A exp(-E / tau)``, for low loss and tails
linear             counts, E            where it is nearly flat
power_law_double   log counts, log E    one power law through a fit window on either side of the signal
log_polynomial     log counts, log E    first order, which is the power law
================== =================== ==========================================================

*Double window*: a window above the edge pins the background there (Egerton and Malac, Ultramicroscopy 92
(2002) 47; Held et al., Ultramicroscopy 210 (2020) 112919), so that it is interpolated. It is not a sum of
two power laws. *First-order log-polynomial*: ``log I = a + b log E``. It differs from a power law where
logarithms of counts are fitted by least squares; by likelihood the two are one.
"""

from __future__ import annotations

import dataclasses
import typing

import numpy
import numpy.typing

from udvd_core.errors import InputError

Doubles = numpy.typing.NDArray[numpy.float64]


@dataclasses.dataclass(frozen=True)
class Family:
    """One background model.

    Attributes
    ----------
    title : str
        As operators read it.
    log_energy, log_counts : bool
        Whether the line is one of log E, and one of log counts.
    both_sides : bool
        Whether it wants one fit window below the signal and one above.
    """

    title: str
    log_energy: bool
    log_counts: bool
    both_sides: bool = False

    def abscissa(self, energies: Doubles) -> Doubles:
        """What the line runs along, for energies in eV, same shape.

        Raises
        ------
        InputError
            When the model needs energies above 0 eV and there are others.
        """
        if self.log_energy and energies.min() <= 0:
            raise InputError(
                f"the background {self.title!r} reaches down to {energies.min():g} eV and is defined above 0 eV only:"
                " move its windows up, or take the exponential or the linear one"
            )
        return typing.cast(Doubles, numpy.log(energies)) if self.log_energy else energies


POWER_LAW = Family("Power Law", True, True)
FAMILIES = {
    "power_law": POWER_LAW,
    "power_law_double": Family("Power Law, Double Window", True, True, both_sides=True),
    "exponential": Family("Exponential", False, True),
    "log_polynomial": POWER_LAW,
    "linear": Family("Linear", False, False),
}
"""Background models by name."""


def family(name: str) -> Family:
    """Background model of this name.

    Raises
    ------
    InputError
        When there is none.
    """
    if name not in FAMILIES:
        raise InputError(f"background model {name!r} is not known; want one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
