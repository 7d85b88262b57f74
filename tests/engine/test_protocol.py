"""What every engine promises, on every engine there is."""

import itertools
import re

import numpy
import pytest

from udvd_core.engine.cluster import ClusterEngine
from udvd_core.engine.inline import InlineEngine
from udvd_core.engine.local import LocalEngine
from udvd_core.engine.protocol import Block, Failed, Finished, Resend, Status
from udvd_core.errors import EngineError
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.core_loss import core_loss
from udvd_core.maps.covariance import DenoisedCovariance
from udvd_core.settings import MapWindow

MAPS = (MapWindow("plain", (104.0, 110.0)), MapWindow("edge", (120.0, 130.0), (102.0, 118.0)))

scan_ids = (f"scan {number}" for number in itertools.count())


@pytest.fixture(scope="module", params=[InlineEngine, LocalEngine, ClusterEngine])
def engine(request):
    """One engine for all tests: as in Swift, it lives through many scans."""
    if request.param is ClusterEngine:
        engine = ClusterEngine(request.getfixturevalue("served").address, request.getfixturevalue("lab").swift)
    else:
        engine = request.param()
    yield engine
    engine.close()


@pytest.fixture
def scan_id():
    return next(scan_ids)


def test_a_whole_scan(engine, scan_id, make_spec, drive, counts):
    spec = make_spec(scan_id, maps=MAPS)
    scan = drive(engine, spec, counts(spec)).run()
    assert (scan.final == 1).all() and numpy.isfinite(scan.data).all()
    assert not scan.of(Failed) and not scan.of(Resend)
    values, _ = core_loss(scan.data, spec.energy, MAPS, None)
    numpy.testing.assert_allclose(scan.maps[:, 0], values, rtol=1e-5, atol=1e-3)
    assert abs(scan.maps[0, 0]).min() > 0 and numpy.isnan(scan.maps[:, 1]).all(), "udvd cannot tell its errors"
    status = scan.of(Status)[-1]
    assert (status.received, status.denoised, status.final, status.model) == (20, 20, 20, "udvd")
    (finished,) = scan.of(Finished)
    assert scan.events[-1] is finished
    assert (finished.received, finished.final) == (20, 20) and "frames are final" not in finished.note
    told = "nothing was learned" in finished.note
    assert told is not finished.provenance["learned"], "a mean frame is never passed off as denoised"
    assert set(scan.step) == {finished.step}
    assert finished.provenance["frames_final"] == 20 and len(finished.provenance["weights_sha256"]) == 64
    assert all(block.data.dtype == block.maps.dtype == numpy.float32 for block in scan.of(Block))
    scan.settle()


def test_what_comes_is_denoised_before_the_scan_is_over(engine, scan_id, make_spec, drive, counts):
    spec = make_spec(scan_id)
    scan = drive(engine, spec, counts(spec))
    scan.push(5)
    scan.wait(lambda: numpy.isfinite(scan.data[:5]).all())
    assert numpy.isnan(scan.data[5:]).all() and not scan.final.any()
    scan.run()
    assert (scan.final == 1).all()


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("frames", [True, False])
def test_frames_and_their_sums(engine, scan_id, make_spec, drive, counts, rows, frames):
    """Without denoising what comes out is what went in, so that shapes, order and sums show."""
    spec = make_spec(scan_id, (2, 3), rows, MAPS, frames=frames, model="raw")
    data = counts(spec)
    scan = drive(engine, spec, data).run()
    numpy.testing.assert_array_equal(scan.data, data if frames else data.sum(1))
    values, _ = core_loss(data.sum(1), spec.energy, MAPS, None)
    numpy.testing.assert_allclose(scan.maps[:, 0], values, rtol=1e-5, atol=1e-3)


def test_a_model_that_knows_its_errors_tells_those_of_the_maps(engine, scan_id, make_spec, drive, counts):
    spec = make_spec(scan_id, (6, 8), maps=MAPS, model="guide")
    scan = drive(engine, spec, counts(spec)).run()
    errors = DenoisedCovariance(Uncertainty.unpacked(scan.of(Finished)[0].uncertainty), numpy.arange(48))
    values, sigma = core_loss(scan.data, spec.energy, MAPS, errors)
    numpy.testing.assert_allclose(scan.maps[:, 0], values, rtol=1e-3, atol=1e-2)
    numpy.testing.assert_allclose(scan.maps[:, 1], sigma, rtol=1e-2)
    assert sigma.min() > 0


def test_out_of_order_and_twice(engine, scan_id, make_spec, drive, counts):
    spec = make_spec(scan_id, model="raw")
    data = counts(spec)
    scan = drive(engine, spec, data)
    for start, stop in ((15, 20), (0, 4), (2, 9), (9, 18)):
        assert engine.push(scan_id, start, data[start:stop])
    scan.at = spec.count
    scan.run()
    numpy.testing.assert_array_equal(scan.data, data[:, 0])
    assert (scan.final == 1).all()
    assert scan.of(Finished)[0].received == 20


def test_frames_are_copied(engine, scan_id, make_spec, drive, counts):
    """Swift writes into the same memory again while the engine works."""
    spec = make_spec(scan_id, model="raw")
    data = counts(spec)
    scan = drive(engine, spec, data.copy())
    scan.push(19)
    scan.frames[:19] = -1
    scan.run()
    numpy.testing.assert_array_equal(scan.data, data[:, 0])


def test_a_scan_that_was_cut_short(engine, scan_id, make_spec, drive, counts):
    spec = make_spec(scan_id, model="raw")
    scan = drive(engine, spec, counts(spec))
    scan.push(7)
    engine.finish(scan_id)
    scan.wait(lambda: scan.ended)
    assert scan.final.tolist() == [1] * 7 + [0] * 13
    assert (scan.of(Finished)[0].received, scan.of(Finished)[0].final) == (7, 7)


def test_finish_without_any_frame(engine, scan_id, make_spec, drive, counts):
    spec = make_spec(scan_id)
    scan = drive(engine, spec, counts(spec))
    engine.finish(scan_id)
    scan.wait(lambda: scan.ended)
    assert (scan.of(Finished)[0].received, scan.of(Finished)[0].final, scan.of(Block)) == (0, 0, [])


@pytest.mark.parametrize("after", [0, 6, 20])
def test_abort_is_the_last_of_a_scan_and_leaves_others_alone(engine, scan_id, make_spec, drive, counts, after):
    other_id = next(scan_ids)
    spec, other_spec = make_spec(scan_id), make_spec(other_id, model="raw")
    scan, other = drive(engine, spec, counts(spec)), drive(engine, other_spec, counts(other_spec))
    other.push(9)
    scan.push(after)
    if after:
        scan.wait(lambda: scan.of(Block), other)
    engine.abort(scan_id)
    seen = len(scan.events)
    engine.push(scan_id, 0, scan.frames[:2])
    engine.finish(scan_id)
    engine.abort(scan_id)
    other.push()
    other.wait(lambda: other.ended, scan)
    scan.settle()
    assert len(scan.events) == seen, "events came after abort"
    assert (other.final == 1).all()


def test_abort_swallows_a_failure_that_nobody_has_seen(engine, scan_id, make_spec, drive, counts):
    scan = drive(engine, make_spec(scan_id, device="cuda:64"), None)
    engine.abort(scan_id)
    scan.settle()
    assert scan.events == []


def test_two_scans_at_once_do_not_mix(engine, scan_id, make_spec, drive, counts):
    one_spec, two_spec = (
        make_spec(scan_id, model="raw"),
        make_spec(next(scan_ids), (3, 4), rows=2, frames=True, model="raw"),
    )
    three_spec = make_spec(next(scan_ids), (6,), budget_s=4.0)
    one, two, three = (drive(engine, spec, counts(spec)) for spec in (one_spec, two_spec, three_spec))
    for stop in range(3, 13, 3):
        one.push(stop)
        two.push(stop)
        three.push(min(stop, 6))
    one.run(two, three)
    numpy.testing.assert_array_equal(one.data, one.frames[:, 0])
    numpy.testing.assert_array_equal(two.data, two.frames)
    assert (three.final == 1).all() and numpy.isfinite(three.data).all()


def test_many_scans_one_after_the_other(engine, scan_id, make_spec, drive, counts):
    for number in range(10):
        spec = make_spec(f"{scan_id}/{number}", (2, 3), model="raw")
        scan = drive(engine, spec, counts(spec, 5.0 + number)).run()
        numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"maps": [MapWindow("away", (900.0, 950.0))]}, "900 to 950 eV and leaves the energy axis"),
        ({"maps": [MapWindow("narrow", (120.0, 130.0), (102.0, 102.5))]}, "widen the fit window"),
        ({"weights": "/none/w.safetensors"}, "does not exist"),
        ({"weights": __file__}, "cannot be used as weights|holds more than tensors"),
        ({"device": "cuda:64"}, "'cuda:64' is not there"),
        ({"device": "abacus"}, "'abacus' is unknown"),
    ],
    ids=["map", "background", "no weights", "wrong weights", "device", "unknown device"],
)
def test_what_cannot_be_done_fails_with_a_sentence(engine, scan_id, make_spec, drive, counts, settings, reason):
    scan = drive(engine, make_spec(scan_id, **settings), counts(make_spec(scan_id)))
    scan.wait(lambda: scan.ended)
    (failed,) = scan.of(Failed)
    assert scan.events == [failed]
    assert re.search(reason, failed.reason) and "\n" not in failed.reason
    engine.push(scan_id, 0, scan.frames[:2])  # the tap may not know yet
    engine.finish(scan_id)
    scan.settle()
    after = make_spec(next(scan_ids), model="raw")
    assert (drive(engine, after, counts(after)).run().final == 1).all()


@pytest.mark.parametrize("shape", [(2, 1, 31), (2, 2, 32), (2, 32), (21, 1, 32)], ids=str)
def test_frames_of_the_wrong_shape_fail_the_scan_only(engine, scan_id, make_spec, drive, counts, shape):
    spec, other_spec = make_spec(scan_id), make_spec(next(scan_ids), model="raw")
    scan, other = drive(engine, spec, counts(spec)), drive(engine, other_spec, counts(other_spec))
    scan.push(5)
    other.push(5)
    engine.push(scan_id, 0, numpy.ones(shape, numpy.float32))
    scan.wait(lambda: scan.ended, other)
    assert "scan" in scan.of(Failed)[0].reason
    other.run()
    assert (other.final == 1).all()


def test_no_frames_at_once_do_no_harm(engine, scan_id, make_spec, drive, counts):
    spec = make_spec(scan_id, model="raw")
    scan = drive(engine, spec, counts(spec))
    engine.push(scan_id, 3, scan.frames[:0])
    assert (scan.run().final == 1).all()


def test_bad_pixels_are_noted(engine, scan_id, make_spec, drive, counts):
    spec = make_spec(scan_id)
    data = counts(spec)
    data[3, 0, 5] = numpy.nan
    data[4, 0, 6] = 1e9
    scan = drive(engine, spec, data).run()
    assert numpy.isfinite(scan.data).all()
    note = scan.of(Finished)[0].note
    assert "1 pixels were not finite and were left out; 1 single pixels far above all around were left out" in note


def test_a_budget_that_is_too_short_is_said(engine, scan_id, make_spec, drive, counts):
    spec = make_spec(scan_id, (40, 40), budget_s=0.0)
    scan = drive(engine, spec, counts(spec)).run()
    (finished,) = scan.of(Finished)
    assert finished.received == 1600 and 0 < finished.final < 1600
    assert finished.final == scan.final.sum()
    assert f"{finished.final} of 1600 frames are final" in finished.note


def test_a_scan_that_was_never_opened_is_refused(engine, counts, make_spec):
    with pytest.raises(EngineError, match="'never' is not open"):
        engine.push("never", 0, counts(make_spec("never")))
    with pytest.raises(EngineError, match="'never' is not open"):
        engine.finish("never")
    engine.abort("never")


def test_it_says_where_it_runs(engine):
    assert engine.describe().startswith(("inline", "local process", "GPU machine tls://"))
