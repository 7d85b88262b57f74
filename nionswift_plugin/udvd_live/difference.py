"""Raw minus denoised in units of the noise, as a map: where it is more than noise, the result is not to be trusted."""

from __future__ import annotations

import gettext
import typing

import numpy
import numpy.typing
from nion.data import Calibration, DataAndMetadata
from nion.swift import Facade
from nion.swift.model import DataItem, Graphics, Symbolic

from udvd_core.errors import InputError
from udvd_core.noise import NoiseModel
from udvd_core.trust import difference as difference_of_spectra

from .comparison import check
from .maps_computation import base_title, create_item, extended
from .pairs import Pair
from .scan_errors import blocks, noise_of, read, scan_of
from .scan_item import OURS

_ = gettext.gettext

DIFFERENCE_ID = "udvd.difference"
DIFFERENCE, SPECTRA = "difference", "spectra"
"""The two results: of a sum over channels, a map; of every channel, a spectrum image."""
LARGEST_SPECTRA = 32 << 20
"""Bytes up to which the second is made, too."""
NOTE = (
    "Raw minus denoised in sigma of the raw noise. Noise alone gives values around 0 within \N{PLUS-MINUS SIGN}3, or"
    " closer to 0 where denoising follows the raw counts."
)
LIMITS = (-4.0, 4.0)
"""Of the display: zero is grey, noise faint, and what is no noise black or white."""

Array = numpy.typing.NDArray[typing.Any]
Doubles = numpy.typing.NDArray[numpy.float64]


class DifferenceComputation:
    """Inputs: `raw`, `denoised`, `window` (an interval on a spectrum, optional). Results: `difference`, `spectra`."""

    label = _("UDVD Difference in Sigma")
    inputs: typing.ClassVar = {
        "raw": {"label": _("Raw")},
        "denoised": {"label": _("Denoised")},
        "window": {"label": _("Window")},
    }
    outputs: typing.ClassVar = {DIFFERENCE: {"label": _("Difference")}, SPECTRA: {"label": _("Every Channel")}}

    def __init__(self, computation: Facade.Computation, **kwargs: typing.Any) -> None:
        self._computation = computation
        self._results: dict[str, DataAndMetadata.DataAndMetadata] = {}

    def execute(self, **kwargs: typing.Any) -> None:
        """Compare, in blocks; on a thread."""
        given = self._computation._computation
        pair = Pair(given.get_input("raw"), given.get_input("denoised"))
        window: Graphics.IntervalGraphic | None = given.get_input("window")
        _layout, energy = scan_of(pair.denoised)
        channels = slice(0, energy.size) if window is None else _channels(window.interval, energy.size)
        first, last = (energy.offset + energy.scale * at for at in (channels.start, channels.stop))
        name = "all channels" if window is None else f"{first:.6g} to {last:.6g} eV"
        with pair.raw.data_ref(), pair.denoised.data_ref():
            values = summed_difference(pair, channels)
            self._results[DIFFERENCE] = _xdata(
                pair, values, {"kind": DIFFERENCE, "energy": name, "caption": f"{NOTE} {name}."}
            )
            if given.get_output(SPECTRA) is not None:
                each = every_channel(pair)
                self._results[SPECTRA] = _xdata(pair, each, {"kind": f"{DIFFERENCE} spectra", "caption": NOTE})

    def commit(self) -> None:
        """Hand over what was made."""
        for kind, xdata in self._results.items():
            item = self._computation._computation.get_output(kind)
            if item is not None:
                self._computation.set_referenced_xdata(kind, xdata)
                item.caption = xdata.metadata[OURS]["caption"]


def summed_difference(pair: Pair, channels: slice) -> Doubles:
    """Raw minus denoised, summed over channels, in units of the noise that the denoised sum lets expect.

    Parameters
    ----------
    pair : Pair
        Their data are held.
    channels : slice
        Which channels are summed.

    Returns
    -------
    array, shape of the scan

    Raises
    ------
    InputError
        When the two do not fit, or the raw noise cannot be measured.
    """
    layout, noise = scan_of(pair.denoised)[0], _noise(pair)
    raw_layout = scan_of(pair.raw)[0]
    found = numpy.zeros(layout.count)
    size = channels.stop - channels.start
    for start, raw in blocks(pair.raw, raw_layout):
        stop = start + len(raw)
        expected = read(pair.denoised, layout, start, stop)[:, channels].sum(1, dtype=numpy.float64)
        rest = raw[:, channels].sum(1, dtype=numpy.float64) - expected
        variance = noise.gain * numpy.maximum(expected, 1.0) + size * noise.read_variance
        found[start:stop] = rest / numpy.sqrt(noise.window_factor(size) * variance)
    return found.reshape(layout.scan_shape)


def every_channel(pair: Pair) -> Array:
    """The same of every channel, shape of the denoised item; for scans that fit into memory."""
    layout, noise = scan_of(pair.denoised)[0], _noise(pair)
    raw = numpy.concatenate([spectra for _start, spectra in blocks(pair.raw, scan_of(pair.raw)[0])])
    denoised = read(pair.denoised, layout, 0, layout.count)
    return difference_of_spectra(raw, denoised, noise).reshape(*layout.scan_shape, -1)


def create_differences(
    document_model: typing.Any, pair: Pair, windows: typing.Sequence[Graphics.IntervalGraphic] = ()
) -> list[DataItem.DataItem]:
    """Make a map for each interval, or one of all channels and the difference in every channel; on the main thread.

    Raises
    ------
    InputError
        When raw and denoised do not fit each other.
    """
    check(pair)
    size = 4 * scan_of(pair.denoised)[0].count * scan_of(pair.denoised)[1].size
    made = []
    with document_model.transaction_context():  # else Swift writes the whole project for every property
        for window in windows or (None,):
            wanted = [DIFFERENCE] if window is not None or size > LARGEST_SPECTRA else [DIFFERENCE, SPECTRA]
            made += _create(document_model, pair, window, wanted)
    return made


def _create(
    document_model: typing.Any, pair: Pair, window: Graphics.IntervalGraphic | None, wanted: typing.Sequence[str]
) -> list[DataItem.DataItem]:
    made = []
    computation = document_model.create_computation()
    computation.create_input_item("raw", Symbolic.make_item(pair.raw))
    computation.create_input_item("denoised", Symbolic.make_item(pair.denoised))
    if window is not None:
        computation.create_input_item("window", Symbolic.make_item(window))
    computation.processing_id = DIFFERENCE_ID
    for kind in wanted:
        name = ((window.label or "").strip() if window is not None else "") or _("all channels")
        label = _("Difference in Sigma, every channel") if kind == SPECTRA else _("Difference in Sigma, ") + name
        ours = {"kind": DIFFERENCE, "source_uuid": str(pair.denoised.uuid)}
        item = create_item(document_model, pair.denoised, ours, extended(base_title(pair.denoised), label))
        document_model.get_display_item_for_data_item(item).display_data_channels[0].display_limits = LIMITS
        computation.create_output_item(kind, Symbolic.make_item(item))
        made.append(item)
    document_model.append_computation(computation)
    return made


def _channels(interval: tuple[float, float], size: int) -> slice:
    """Channels between two fractions of the axis, at least one; an interval may be dragged across itself and beyond."""
    start, stop = (min(max(round(end * size), 0), size) for end in sorted(interval))
    start = min(start, size - 1)
    return slice(start, max(stop, start + 1))


def _noise(pair: Pair) -> NoiseModel:
    check(pair)
    noise = noise_of(pair.raw, scan_of(pair.raw)[0])
    if noise is None:
        raise InputError(f"{pair.raw.title!r} holds too little yet to measure its noise; wait until the scan is over")
    return noise


def _xdata(pair: Pair, values: Array, ours: dict[str, typing.Any]) -> DataAndMetadata.DataAndMetadata:
    scan = pair.denoised
    facts = {**ours, "source_uuid": str(scan.uuid), "base_title": base_title(scan)}
    return DataAndMetadata.new_data_and_metadata(
        values.astype(numpy.float32),
        intensity_calibration=Calibration.Calibration(units="sigma"),
        dimensional_calibrations=list(scan.dimensional_calibrations[: values.ndim]),
        metadata={OURS: facts},
        data_descriptor=DataAndMetadata.DataDescriptor(
            False, 0 if values.ndim == 2 else 2, 2 if values.ndim == 2 else 1
        ),
    )


def register() -> None:
    """Let Swift make such differences, also those of projects that it opens."""
    Symbolic.register_computation_type(DIFFERENCE_ID, typing.cast(typing.Any, DifferenceComputation))


def unregister() -> None:
    """Take it back."""
    Symbolic._computation_types.pop(DIFFERENCE_ID, None)
