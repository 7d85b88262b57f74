"""Scans of every shape that Swift acquires: frames, sequences, sections, lines."""

from __future__ import annotations

import numpy
import pytest
from live import run_to_done

from nionswift_plugin.udvd_simulator import acquire

SHAPE = (6, 5)
RAW = {"training": {"model": "raw", "budget_s": 5}}
"""With the model 'raw' a result equals what was recorded: every frame must be in its place."""


def results(swift, companion, acquisition):
    raw = acquisition.wait()
    job = run_to_done(swift, companion)
    assert job.finished is not None, job.note
    assert job.finished.final == job.spec.count and job.items[0].metadata["udvd"]["state"] == "final"
    return raw, job.items[0], job.items[1]


@pytest.mark.parametrize("plug_in_settings", [RAW], indirect=True)
class TestEveryFrameIsInItsPlace:
    def test_sequence_of_scans(self, swift, companion):
        raw, result, image = results(swift, companion, acquire.acquire_spectrum_image(swift, SHAPE, 20, scan_count=2))
        assert raw.data_shape == (2, *SHAPE, 64) and raw.is_sequence and result.is_sequence
        assert numpy.array_equal(result.data[:], raw.data[:]) and numpy.any(raw.data[0] != raw.data[1])
        assert image.data_shape == (2, *SHAPE) and image.is_sequence

    def test_sectioned_scan(self, swift, companion):
        raw, result, _ = results(swift, companion, acquire.acquire_spectrum_image(swift, SHAPE, 20, section_height=2))
        assert raw.data_shape == (*SHAPE, 64) and numpy.array_equal(result.data[:], raw.data[:])

    def test_line_scan(self, swift, companion):
        raw, result, image = results(swift, companion, acquire.acquire_line_scan(swift, 12, 20))
        assert raw.data_shape == (1, 12, 64) and numpy.array_equal(result.data[:], raw.data[:])
        assert image.data_shape == (1, 12)

    @pytest.mark.parametrize("line", [False, True])
    def test_sequence_of_spectra(self, swift, companion, line):
        raw, result, image = results(swift, companion, acquire.acquire_sequence(swift, 12, 40, line=line))
        assert raw.data_shape == (12, 64) and raw.is_sequence is not line
        assert numpy.array_equal(result.data[:], raw.data[:]) and result.data_descriptor == raw.data_descriptor
        assert image.data_shape == (12,)

    def test_frames_give_spectra(self, swift, companion):
        raw, result, _ = results(swift, companion, acquire.acquire_spectrum_image(swift, SHAPE, 20, frames=True))
        assert raw.data_shape == (*SHAPE, 4, 64) and result.data_shape == (*SHAPE, 64)
        assert numpy.array_equal(result.data[:], raw.data[:].sum(2))
        assert list(result.dimensional_calibrations) == [raw.dimensional_calibrations[i] for i in (0, 1, 3)]
        assert result.metadata["udvd"]["provenance"]["summed_over_q"] is True

    def test_scans_of_one_row_and_of_one_position(self, swift, companion):
        for shape in ((1, 7), (1, 1)):
            raw = acquire.acquire_spectrum_image(swift, shape, 20).wait()
            job = run_to_done(swift, companion, jobs=len(companion.jobs) or 1)
            swift.pump_until(lambda job=job: job.finished is not None, 30)
            assert numpy.array_equal(job.items[0].data[:], raw.data[:])


@pytest.mark.parametrize(
    ("plug_in_settings", "model"),
    [
        ({"training": {"frames": True, "budget_s": 6}}, "guided"),
        ({"training": {"model": "udvd", "frames": True, "budget_s": 6, "width": 2}}, "udvd"),
    ],
    indirect=["plug_in_settings"],
)
def test_whole_frames_on_request(swift, companion, model):
    raw, result, image = results(swift, companion, acquire.acquire_spectrum_image(swift, SHAPE, 60, frames=True))
    assert result.data_shape == raw.data_shape == (*SHAPE, 4, 64)
    assert list(result.dimensional_calibrations) == list(raw.dimensional_calibrations)
    provenance = result.metadata["udvd"]["provenance"]
    assert provenance["model"] == model and provenance["hidden"] == [1, 1]
    assert provenance.get("whole_neighbours", False) is False and ("whole_neighbours" in provenance) is (
        model == "udvd"
    )
    assert numpy.isfinite(result.data[:]).all() and image.data_shape == SHAPE


@pytest.mark.parametrize(
    "simulator_config", [{"size": [8, 8], "dead_pixels": 3, "gap_columns": [30, 31]}], indirect=True
)
def test_dead_pixels_and_gaps_do_not_disturb_it(swift, companion):
    """Channels that count nothing are told, and filled from those beside them; raw keeps its zeros."""
    raw, result, _ = results(swift, companion, acquire.acquire_spectrum_image(swift, (8, 8), 30))
    assert not raw.data[:][..., 30:32].any()
    values = result.data[:]
    assert numpy.isfinite(values).all() and "masked" in result.metadata["udvd"]["provenance"]["defects"]
    beside = values[..., [28, 29, 32, 33]].mean()
    assert values[..., 30:32].min() > 0.5 * beside and values[..., 30:32].max() < 2 * beside
