"""Several scans on several workers: each has a worker of its own while there is one, and finds it again after a cut."""

import contextlib
import json
import sys
import threading

import numpy
import pytest
from lab import listens

from udvd_core import cli
from udvd_core.engine.cluster import ClusterEngine
from udvd_core.engine.cluster_link import Link, Lost, candidates
from udvd_core.engine.cluster_scan import RemoteScan
from udvd_core.engine.farm import Feed, work_off
from udvd_core.engine.local import LocalEngine
from udvd_core.engine.protocol import Block, Finished, Resend

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills processes")


@pytest.fixture
def engine(farm, lab):
    """Knows of both workers: one that the test before has killed may still be starting."""
    with contextlib.closing(ClusterEngine(farm.address, lab.swift)) as engine:
        farm.wait_until(lambda: engine.workers == 2)
        yield engine


def begin(engine, make_spec, drive, counts, names, shape=(8, 8)):
    """Scans that are open at the same time, their first frames denoised."""
    scans = []
    for name in names:
        spec = make_spec(name, shape, model="raw")
        scans.append(drive(engine, spec, counts(spec)))
    for scan in scans:
        scan.push(30)
    scans[0].wait(lambda: all(scan.of(Block) for scan in scans), *scans[1:])
    return scans


def places(engine):
    """The worker of each open scan."""
    return [scan.worker for scan in engine._scans.values()]


def check(scans):
    for scan in scans:
        numpy.testing.assert_array_equal(scan.data, scan.frames[:, 0])
        assert (scan.final == 1).all() and scan.of(Finished)[0].final == 64


def test_scans_spread_over_the_workers_and_more_of_them_share(engine, make_spec, drive, counts):
    scans = begin(engine, make_spec, drive, counts, ["a", "b", "c", "d"])
    assert sorted(places(engine).count(worker) for worker in set(places(engine))) == [2, 2]
    scans[0].run(*scans[1:])
    check(scans)


def test_after_a_cut_each_scan_finds_its_worker_again(engine, make_spec, drive, counts, monkeypatch):
    cut, due = threading.Event(), RemoteScan._due

    def due_or_cut(scan):
        if cut.is_set():
            cut.clear()
            raise Lost("the cable was pulled")
        return due(scan)

    monkeypatch.setattr(RemoteScan, "_due", due_or_cut)
    scans = begin(engine, make_spec, drive, counts, ["e", "f"])
    before, connections = places(engine), engine._connections
    cut.set()
    scans[0].wait(lambda: engine._connections > connections and all(places(engine)), scans[1])
    scans[0].run(scans[1])
    assert len(set(before)) == 2 and not any(scan.of(Resend) for scan in scans)
    check(scans)


def test_a_worker_that_dies_costs_only_its_own_scan(farm, engine, make_spec, drive, counts):
    scans = begin(engine, make_spec, drive, counts, ["g", "h"])
    listens(farm.family(), places(engine)[0]).kill()
    scans[0].wait(lambda: scans[0].of(Resend), scans[1])
    scans[0].run(scans[1], timeout_s=40)
    assert len(scans[0].of(Resend)) == 1 and not scans[1].of(Resend)
    check(scans)


def feeds_of(make_spec, counts, *names, **settings):
    """Scans and their frames for a queue."""
    for name in names:
        spec = make_spec(name, (8, 8), **{"model": "raw", **settings})
        frames = counts(spec)
        yield Feed(spec, lambda start, stop, frames=frames: frames[start:stop])


def test_a_queue_keeps_all_workers_busy_and_survives_the_death_of_one(farm, engine, make_spec, counts):
    names, most, killed = [f"queued {n}" for n in range(7)], [0], []

    def tell(running):
        most[0] = max(most[0], len(running))
        working = [scan for scan in engine._scans.values() if scan.worker and scan.spec.scan_id >= "queued 3"]
        if working and not killed:
            killed.append(working[0].worker)
            listens(farm.family(), working[0].worker).kill()

    done = list(work_off(engine, feeds_of(make_spec, counts, *names), tell))
    assert sorted(feed.spec.scan_id for feed in done) == names and most == [2] and killed
    for feed in done:
        assert feed.finished.final == 64 and (feed.final == 1).all() and not feed.failure
        numpy.testing.assert_array_equal(feed.data, feed._frames(0, 64)[:, 0])


@pytest.mark.usefixtures("engine")  # both workers are there
def test_files_are_denoised_by_all_workers_and_bad_ones_are_told(farm, lab, rng, tmp_path, capsys, monkeypatch):
    leave, places = Link.leave, []
    monkeypatch.setattr(Link, "leave", lambda link, worker: (places.append(worker), leave(link, worker)))
    files = [tmp_path / f"{name}.npy" for name in "abcde"]
    for file in files:
        numpy.save(file, rng.poisson(9.0, (6, 7, 64)).astype(numpy.float32))
    numpy.save(files[1], numpy.full((6, 7, 64), numpy.nan))
    command = ["denoise", *map(str, files), "--output", str(tmp_path / "out"), "--model", "raw", "--json"]
    code = cli.main([*command, "--engine", farm.address, "--certs", str(lab.swift)])
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert code == 2 and said.err.count("\n") == 1 and f"{files[1]} holds 2688 values that are NaN" in said.err
    assert len(set(places)) == 2 and list(told["failed"]) == [str(files[1])]
    for file in files[:1] + files[2:]:
        numpy.testing.assert_array_equal(numpy.load(tmp_path / "out" / file.name), numpy.load(file))


def test_the_console_is_told_how_many_workers_there_are(farm, lab, make_spec, drive, counts):
    with contextlib.closing(LocalEngine(cluster=(farm.address, str(lab.swift)))) as engine:
        assert engine.workers == 1, "not known yet"
        (scan,) = begin(engine, make_spec, drive, counts, ["i"])
        scan.wait(lambda: engine.workers == 2)
        scan.run()


def test_of_a_cluster_that_a_site_has_only_workers_with_a_gpu_are_taken():
    told = {"tls://a:1": {"resources": {}}, "tls://b:1": {"resources": {"GPU": 1.0}}, "tls://c:1": {}}
    assert list(candidates(told)) == ["tls://b:1"]
    assert list(candidates({name: {} for name in told})) == list(told), "where none says so, all of them"
