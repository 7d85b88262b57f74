"""Poisson background models in Nion's registry, fitted through Nion's own interface."""

import numpy
import pytest
from nion.data import Calibration, DataAndMetadata
from nion.eels_analysis import BackgroundModel
from nion.utils import Registry

from nionswift_plugin.udvd_live import background_models
from udvd_core.errors import InputError

VALUES = 100.0 + 0.8 * numpy.arange(512)
BACKGROUND = 5.6 * (VALUES / 168.0) ** -3.2
EDGE = numpy.where(VALUES >= 190.0, 5.6 * (VALUES / 190.0) ** -4, 0.0)
FIT, SIGNAL = ((63 / 512, 108 / 512),), (113 / 512, 163 / 512)  # 150 to 186 and 190 to 230 eV
CHANNELS = slice(113, 163)


@pytest.fixture(autouse=True)
def registered():
    background_models.register()
    yield
    background_models.unregister()


def model(name="power_law"):
    return BackgroundModel.find_background_model_by_id(f"{name}_poisson_background_model")


def scan(counts, offset=100.0):
    calibrations = [Calibration.Calibration() for _ in counts.shape[:-1]]
    return DataAndMetadata.new_data_and_metadata(
        counts,
        dimensional_calibrations=[*calibrations, Calibration.Calibration(offset, 0.8, "eV")],
        data_descriptor=DataAndMetadata.DataDescriptor(False, counts.ndim - 1, 1),
    )


def test_nion_finds_them_by_id_and_shows_their_titles():
    titles = {component.title for component in Registry.get_components_by_type("background-model")}
    assert {"Power Law (Poisson)", "Exponential (Poisson)", "Linear (Poisson)"} < titles
    assert {"Power Law", "Power Law Two Area"} < titles  # Nion's own stay
    assert model().title == "Power Law (Poisson)"


def test_unregister_takes_them_back():
    background_models.unregister()
    with pytest.raises(IndexError):
        model()
    background_models.register()


def test_a_map_of_few_counts_is_right_where_nions_is_not():
    counts = numpy.random.default_rng(0).poisson(BACKGROUND + EDGE, (40, 50, 512)).astype(numpy.float32)
    assert (counts[..., 63:108] == 0).any()
    xdata = scan(counts)
    found, nions = (
        each.integrate_signal(spectrum_xdata=xdata, fit_intervals=FIT, signal_interval=SIGNAL)["integrated"].data
        for each in (model(), BackgroundModel.find_background_model_by_id("power_law_two_area_background_model"))
    )
    truth = numpy.trapezoid(EDGE[CHANNELS])  # as Nion integrates
    assert found.shape == (40, 50)
    assert found.mean() == pytest.approx(truth, rel=0.02)
    assert nions.std() > found.std()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("power_law", BACKGROUND),
        ("exponential", numpy.exp((168 - VALUES) / 50)),
        ("linear", 1 - (VALUES - 168) / 1000),
    ],
)
def test_a_spectrum_is_fitted_and_subtracted(name, shape):
    spectrum = scan((1e5 * shape).astype(numpy.float32))
    fitted = model(name).fit_background(spectrum_xdata=spectrum, fit_intervals=FIT, background_interval=SIGNAL)
    result = fitted["background_model"]
    numpy.testing.assert_allclose(result.data, 1e5 * shape[CHANNELS], rtol=1e-3)
    assert result.dimensional_calibrations[-1].units == "eV"
    rest = model(name).subtract_background(spectrum_xdata=spectrum, fit_intervals=FIT)["subtracted"]
    assert numpy.abs(rest.data).max() < 1e-3 * 1e5 * shape.max()


def test_two_fit_intervals_are_fitted_jointly_and_zeros_do_no_harm():
    counts = (1e4 * BACKGROUND).astype(numpy.float32)
    counts[80] = 0.0
    intervals = (*FIT, (400 / 512, 450 / 512))
    fitted = model().fit_background(spectrum_xdata=scan(counts), fit_intervals=intervals, background_interval=SIGNAL)
    numpy.testing.assert_allclose(fitted["background_model"].data, 1e4 * BACKGROUND[CHANNELS], rtol=0.05)
    nothing = model().fit_background(spectrum_xdata=scan(0 * counts), fit_intervals=FIT, background_interval=SIGNAL)[
        "background_model"
    ]
    assert not nothing.data.any()


def test_energies_below_zero_are_refused_with_a_sentence():
    spectrum = scan(numpy.ones(512, dtype=numpy.float32), offset=-100.0)
    with pytest.raises(InputError, match="above 0 eV only"):
        model().fit_background(spectrum_xdata=spectrum, fit_intervals=FIT, background_interval=SIGNAL)
