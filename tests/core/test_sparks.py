"""Sparks are found, peaks are not taken for them; flat fields are read or refused."""

import os
import time

import numpy
import pytest
from recorded import recorded

from udvd_core.axes import Axis
from udvd_core.errors import InputError
from udvd_core.flat import load_flat
from udvd_core.session import Session
from udvd_core.settings import ScanSpec, Training
from udvd_core.simulate import simulate_blank, simulate_dopants, simulate_hbn, simulate_phonon
from udvd_core.sparks import find_sparks


@pytest.mark.parametrize("simulate", [simulate_hbn, simulate_phonon, simulate_dopants])
@pytest.mark.parametrize("dose", [300, 30000])
@pytest.mark.parametrize("q_rows", [1, 8])
def test_nothing_in_a_scan_without_sparks(simulate, dose, q_rows):
    counts, _ = recorded(simulate, (8, 8), 128, dose, q_rows=q_rows)
    assert not find_sparks(counts).any()
    assert not find_sparks(counts[5:6], counts[4], counts[6]).any()


def test_a_spark_is_found_in_frames_and_spectra():
    for rows in (1, 8):
        counts, _ = recorded(simulate_hbn, (8, 8), 128, 3000, q_rows=rows)
        counts[17, rows // 2, 40] += 4000
        found = find_sparks(counts)
        assert found.sum() == 1 and found[17, rows // 2, 40]


def test_a_single_frame_has_no_sparks():
    peak = numpy.zeros((1, 1, 50), numpy.float32)
    peak[0, 0, 20] = 9000
    assert not find_sparks(peak).any()
    assert not find_sparks(numpy.repeat(peak, 3, 0)).any()
    assert find_sparks(peak, numpy.zeros((1, 50), numpy.float32)).any()


def session_with(counts, shape, **training):
    axis = Axis(counts.shape[2], 100.0, 1.0, "eV", "E")
    return Session(ScanSpec("a", shape, counts.shape[1:], axis, (), Training(**training)))


@pytest.mark.parametrize("model", ["guide", "udvd"])
def test_a_session_leaves_sparks_out_and_says_so(model):
    counts, truth = recorded(simulate_hbn, (8, 8), 64, 3000)
    counts[20, 0, 30] = 60000
    session = session_with(counts, (8, 8), model=model, budget_s=3.0, device="cpu")
    for start in range(0, 64, 4):
        session.push(start, counts[start : start + 4])
    session.finish()
    found = numpy.concatenate([block.data for block in iter_done(session) if block.final])
    assert "1 single pixels far above" in session.note
    assert abs(found[:, 30] - truth[:, 0, 30]).max() < 40


def iter_done(session):
    blocks = []
    while not session.done:
        blocks += session.advance(0.5)
    return sorted((b for b in blocks if b.final), key=lambda block: block.start)


def test_a_flat_field_takes_the_fixed_pattern_away(tmp_path):
    counts, _ = recorded(simulate_blank, (12, 12), 96, 60000, q_rows=4, gain_spread=0.1)
    even, truth = recorded(simulate_blank, (12, 12), 96, 60000, q_rows=4)
    flat = counts.mean(0) / even.mean(0)
    numpy.savez(tmp_path / "flat.npz", data=flat)
    os.utime(tmp_path / "flat.npz", (time.time() - 12 * 86400,) * 2)
    errors = []
    for path in (None, str(tmp_path / "flat.npz")):
        session = session_with(counts, (12, 12), model="guide", flat=path, budget_s=3.0)
        session.push(0, counts)
        session.finish()
        found = numpy.concatenate([block.data for block in iter_done(session)])
        errors.append(float(numpy.mean((found / truth.sum(1) - 1) ** 2)))
    assert errors[1] < 0.2 * errors[0]
    assert "flat field flat.npz, 12 days old" in session.note


@pytest.mark.parametrize(
    ("content", "words"),
    [(numpy.ones((3, 5)), "has shape"), (b"nothing", "cannot be read"), (None, "cannot be read")],
)
def test_flat_fields_that_cannot_be_used_are_refused(tmp_path, content, words):
    path = tmp_path / "flat.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        numpy.save(path, content)
    with pytest.raises(InputError, match=words):
        load_flat(str(path), (4, 5))
