"""The map items of a scan: in counts of so many channels, and where asked for with their error and the raw map."""

from __future__ import annotations

import contextlib

import numpy
from producer import Producer, finish, follow, spectra

from udvd_core.axes import Axis
from udvd_core.maps.core_loss import core_loss
from udvd_core.noise import NoiseModel
from udvd_core.settings import MapWindow

CORE = MapWindow("Core", (112, 118), (102, 110))
MAPS = [{"name": "Core", "signal": [112, 118], "background": [102, 110]}]


def data_of(item):
    return numpy.array(item.data[:])


def test_errors_and_raw_maps_are_made_where_they_are_asked_for(bare_swift, tmp_path):
    counts = spectra(8, 9, 64, counts=40.0)
    with contextlib.closing(
        follow(
            bare_swift,
            tmp_path,
            maps=MAPS,
            training={"model": "guide", "budget_s": 4},
            map_sigmas=True,
            raw_maps=True,
        )
    ) as companion:
        scan = Producer(bare_swift, counts)
        scan.write_rows()
        scan.end()
        job = finish(bare_swift, companion)
        titles = [item.title.split("(")[1] for item in job.items]
        assert titles == ["Denoised)", "Core)", "Core, sigma)", "Core, raw)"]
        denoised, core, sigma, raw = (data_of(item) for item in job.items)
        energy = Axis(64, 100.0, 1.0, "eV", "E")
        expected, _ = core_loss(counts.reshape(72, 64), energy, (CORE,), job_noise(job))
        numpy.testing.assert_allclose(raw.ravel(), expected[0], rtol=1e-3, atol=0.02)
        of_denoised, _ = core_loss(denoised.reshape(72, 64), energy, (CORE,), None)
        assert abs(core.ravel() - of_denoised[0]).max() < 0.2 * sigma.mean() + 0.1
        assert (sigma > 0).all() and sigma.mean() < 0.5 * abs(raw - raw.mean()).mean()
        assert {item.intensity_calibration.units for item in job.items[1:]} == {"counts in 6 channels"}
        assert [item.metadata["udvd"].get("shows") for item in job.items] == [None, "value", "sigma", "raw"]


def job_noise(job):
    """The noise that the engine measured."""
    facts = job.finished.provenance
    return NoiseModel(facts["gain"], facts["read_variance"], tuple(facts["correlation"]))
