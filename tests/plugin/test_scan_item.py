"""What a data item is to the denoiser: every kind that Swift has, its camera, its energies and its maps."""

from __future__ import annotations

import itertools
import math

import numpy
import pytest
from nion.data import Calibration, DataAndMetadata

from nionswift_plugin.udvd_live import scan_item
from nionswift_plugin.udvd_live.scan_item import ScanLayout, layout_of
from udvd_core.axes import Axis
from udvd_core.maps.core_loss import core_loss
from udvd_core.settings import MapWindow, Training

SIZES = (3, 4, 5, 6)
KINDS = [
    (sequence, collection, datum)
    for sequence, collection, datum in itertools.product((False, True), (0, 1, 2), (0, 1, 2))
    if sequence + collection + datum
]


@pytest.mark.parametrize(("sequence", "collection", "datum"), KINDS)
def test_every_kind_of_item(sequence, collection, datum):
    positions = SIZES[: sequence + collection]
    frame = (7, 64)[2 - datum :] if datum else ()
    layout = layout_of(positions + frame, DataAndMetadata.DataDescriptor(sequence, collection, datum))
    if datum == 0:
        assert layout == "its data have 0 dimensions per position; want spectra or frames"
    elif not positions:
        assert layout == "it has 0 axes of positions; want 1 to 3"
    else:
        assert layout == ScanLayout(positions, (7, 64) if datum == 2 else (1, 64), datum)
        assert layout.count == math.prod(positions)


def test_more_axes_than_swift_has_today():
    class Descriptor:
        is_sequence, collection_dimension_count, datum_dimension_count = True, 3, 1

    assert layout_of((2, 3, 4, 5, 64), Descriptor) == "it has 4 axes of positions; want 1 to 3"
    Descriptor.collection_dimension_count, Descriptor.datum_dimension_count = 0, 3
    assert layout_of((2, 3, 4, 64), Descriptor) == "its data have 3 dimensions per position; want spectra or frames"


SPECTRA, FRAMES = DataAndMetadata.DataDescriptor(False, 2, 1), DataAndMetadata.DataDescriptor(False, 2, 2)


@pytest.mark.parametrize("shape", [None, ()])
def test_an_item_without_data(shape):
    assert layout_of(shape, SPECTRA) == "it has no data yet" == layout_of((4, 5, 64), None)


@pytest.mark.parametrize(("shape", "descriptor"), [((4, 64), SPECTRA), ((4, 5, 6, 64), SPECTRA), ((4, 5, 64), FRAMES)])
def test_a_shape_that_does_not_fit_its_descriptor(shape, descriptor):
    assert isinstance(layout_of(shape, descriptor), str)


@pytest.mark.parametrize(("positions", "descriptor"), [((4, 5), SPECTRA), ((4, 5, 9), FRAMES)])
def test_fewest_channels(positions, descriptor):
    assert isinstance(layout_of((*positions, 8), descriptor), ScanLayout)
    assert layout_of((*positions, 7), descriptor) == "it has 7 energy channels; want at least 8"


@pytest.mark.parametrize(
    ("source", "cameras", "followed"),
    [
        ({"signal_type": "eels", "hardware_source_id": "ela"}, (), True),
        ({"signal_type": "eels"}, (), True),
        ({"signal_type": "EELS"}, (), False),
        ({"signal_type": "ronchigram", "hardware_source_id": "ela"}, (), False),
        ({"signal_type": "ronchigram", "hardware_source_id": "ela"}, ("other", "ela"), True),
        ({"hardware_source_id": "ela"}, ("ela",), True),
        ({"hardware_source_id": "ela"}, ("el",), False),
        ({}, ("ela",), False),
    ],
)
def test_cameras(source, cameras, followed):
    reason = scan_item.not_eels({"hardware_source": source}, cameras)
    assert (reason == "") is followed
    if not followed:
        assert repr(source.get("signal_type")) in reason and repr(source.get("hardware_source_id")) in reason


def test_metadata_without_a_camera():
    assert "signal type None" in scan_item.not_eels({}, ())


def metadata(offset=0.0, scale=1.0, units="", channels=40, layout=None):
    layout = layout or ScanLayout((3, 4), (1, channels), 1)
    shape = layout.scan_shape + layout.frame_shape[2 - layout.datum_dimensions :]
    return DataAndMetadata.DataMetadata(
        data_shape=shape,
        data_dtype=numpy.dtype(numpy.float32),
        dimensional_calibrations=[Calibration.Calibration(7, 7, "eV")] * (len(shape) - 1)
        + [Calibration.Calibration(offset, scale, units)],
        data_descriptor=DataAndMetadata.DataDescriptor(False, 2, layout.datum_dimensions),
    )


LAYOUT = ScanLayout((3, 4), (1, 40), 1)


@pytest.mark.parametrize(
    ("offset", "scale", "units", "axis"),
    [
        (100.0, 0.5, "eV", (100.0, 0.5)),
        (-20.0, 2.0, "meV", (-0.02, 0.002)),
        (0.1, 5e-4, "keV", (100.0, 0.5)),
        (120.0, -0.5, "eV", (120.0, -0.5)),
    ],
)
def test_energies_are_in_electron_volts(offset, scale, units, axis):
    energy = scan_item.energy_axis(LAYOUT, metadata(offset, scale, units))
    assert (energy.size, energy.units) == (40, "eV")
    assert (energy.offset, energy.scale) == pytest.approx(axis)


@pytest.mark.parametrize("units", ["", "nm", "EV", "channels", None])
def test_other_units_are_channels(units):
    assert scan_item.energy_axis(LAYOUT, metadata(100.0, 0.5, units)) == Axis(40, name="E")


@pytest.mark.parametrize("numbers", [(math.nan, 1.0), (0.0, math.inf), (-math.inf, 1.0), (0.0, math.nan)])
def test_energies_that_are_none_are_channels(numbers):
    assert scan_item.energy_axis(LAYOUT, metadata(*numbers, "eV")) == Axis(40, name="E")


GOOD = [MapWindow("whole", (100, 120)), MapWindow("edge", (112, 118), (101, 110))]
BAD = [
    MapWindow("above", (200, 210)),
    MapWindow("below", (-2, 2)),
    MapWindow("partly", (90, 105)),
    MapWindow("between", (100.1, 100.2)),
    MapWindow("background away", (112, 118), (10, 20)),
]


def test_impossible_maps_are_left_out_each_with_its_reason():
    maps = [window for pair in itertools.zip_longest(GOOD, BAD) for window in pair if window is not None]
    spec, left_out = scan_item.specify("id", LAYOUT, metadata(100.0, 0.5, "eV"), maps, Training())
    spectra = numpy.random.default_rng(0).poisson(50, (12, 40)).astype(numpy.float32)
    assert len(spec.maps) + len(left_out) == len(maps)
    values, _ = core_loss(spectra, spec.energy, spec.maps, None)
    assert values.shape == (len(spec.maps), 12), "those that are left can be made"
    names = [window.name for window in spec.maps]
    assert names == ["whole", "edge"], "in their order"
    for window in BAD:
        (reason,) = [reason for reason in left_out if repr(window.name) in reason]
        assert reason.startswith(f"no map {window.name!r}: ") and len(reason) > len(f"no map {window.name!r}: ") + 10


def test_without_energies_there_are_no_maps():
    spec, left_out = scan_item.specify("id", LAYOUT, metadata(100.0, 0.5, "nm"), GOOD, Training())
    assert spec.maps == () and left_out == [
        f"no map {window.name!r}: the energy axis is not calibrated in eV" for window in GOOD
    ]


@pytest.mark.parametrize(
    ("layout", "wanted", "frames", "frame_shape"),
    [
        (LAYOUT, False, False, (1, 40)),
        (LAYOUT, True, False, (1, 40)),
        (ScanLayout((3, 4), (7, 40), 2), False, False, (1, 40)),
        (ScanLayout((3, 4), (7, 40), 2), True, True, (7, 40)),
        (ScanLayout((3, 4), (1, 40), 2), True, True, (1, 40)),
    ],
)
def test_frames_are_kept_only_where_there_are_any_and_they_are_wanted(layout, wanted, frames, frame_shape):
    training = Training(frames=wanted, budget_s=3.0)
    spec, _ = scan_item.specify("id", layout, metadata(layout=layout), (), training)
    assert (spec.training.frames, spec.frame_shape, spec.scan_shape) == (frames, frame_shape, (3, 4))
    assert spec.training.budget_s == 3.0 and spec.output_shape == (frame_shape if frames else (40,))
