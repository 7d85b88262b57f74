"""A cluster that a site has: plain dask commands with their own settings, TLS, and nothing of ``udvd serve``."""

import contextlib
import json
import os
import subprocess
import sys
import time

import numpy
import psutil
import pytest
from lab import ROOT

from udvd_core import cli
from udvd_core.engine.cluster import ClusterEngine
from udvd_core.engine.farm import Feed, work_off
from udvd_core.engine.local import LocalEngine
from udvd_core.engine.protocol import Failed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts and ends processes")


@pytest.fixture
def site(lab, tmp_path):
    """Start a part of a cluster, with this program or without it; all end with the test."""
    parts, without = [], tmp_path / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text("import sys\nsys.modules['udvd_core'] = None  # wherever it lies\n")
    files = {"ca-file": "ca.pem", "cert": "certificate.pem", "key": "key.pem"}
    options = [text for name, file in files.items() for text in (f"--tls-{name}", str(lab.gpu / file))]

    def start(part, *words, knows_us=True):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT if knows_us else str(without)}
        command = [sys.executable, "-m", "dask", part, *words, "--host", "127.0.0.1", "--no-dashboard", *options]
        with open(tmp_path / f"{part}.log", "ab") as log:
            parts.append(subprocess.Popen(command, env=env, cwd=tmp_path, stdout=log, stderr=log))
        return parts[-1]

    yield start
    for part in reversed(parts):
        part.terminate()
        part.wait(30)


GPU = ("--resources", "GPU=1", "--nthreads", "1", "--nworkers", "1")


def scheduler(site, port, **options):
    """Start one; its address."""
    site("scheduler", "--protocol", "tls", "--port", str(port), **options)
    return f"tls://127.0.0.1:{port}"


def test_a_cluster_that_does_not_know_this_program_is_told_what_to_install(site, lab, port, make_spec, drive):
    address = scheduler(site, port, knows_us=False)
    site("worker", address, *GPU, knows_us=False)
    with contextlib.closing(ClusterEngine(address, lab.swift)) as engine:
        scan = drive(engine, make_spec("a", model="raw"), None)
        scan.wait(lambda: scan.ended, timeout_s=90)
        assert "runs without nionswift-udvd" in scan.of(Failed)[0].reason
        assert "install nionswift-udvd[engine]" in scan.of(Failed)[0].reason


def test_live_scans_and_files_are_denoised_by_a_cluster_that_a_site_has(
    site, lab, port, make_spec, drive, counts, tmp_path, capsys
):
    address = scheduler(site, port)
    site("worker", address, *GPU)
    with contextlib.closing(ClusterEngine(address, lab.swift)) as engine:
        spec = make_spec("live", (8, 8), model="guide", budget_s=30.0)
        live = drive(engine, spec, counts(spec))
        live.run(timeout_s=90)
        assert (live.final == 1).all()
    source, target = tmp_path / "scan.npz", tmp_path / "denoised.npz"
    assert cli.main(["simulate", "h-bn", "--output", str(source), "--size", "8,8", "--channels", "64"]) == 0
    capsys.readouterr()
    command = ["denoise", str(source), "--output", str(target), "--model", "guide", "--json"]
    assert cli.main([*command, "--engine", address, "--certs", str(lab.swift)]) == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["final"] == told["frames"] == 64
    assert numpy.isfinite(numpy.load(target)["data"]).all()


def test_a_queue_is_worked_off_by_all_workers_of_a_site_though_one_dies(
    site, lab, port, make_spec, counts, tmp_path, capsys
):
    address, most, killed = scheduler(site, port), [0], []
    nannies = [site("worker", address, *GPU) for _ in range(2)]

    def feeds(*names):
        for name in names:
            spec = make_spec(name, (8, 8), model="raw")
            frames = counts(spec)
            yield Feed(spec, lambda start, stop, frames=frames: frames[start:stop])

    def tell(running):
        most[0] = max(most[0], len(running))
        if not killed and any(feed.status for feed in running):
            family = psutil.Process(nannies[0].pid).children(recursive=True)
            killed.extend(each for each in family if any("spawn_main" in word for word in each.cmdline()))
            killed[0].kill()

    with contextlib.closing(LocalEngine(cluster=(address, str(lab.swift)))) as engine:  # as Swift's queue does
        done = list(work_off(engine, feeds("first")))
        while engine.workers < 2:  # the second is still starting
            time.sleep(0.1)
        done += work_off(engine, feeds(*"abcdef"), tell)
    assert len(done) == 7 and most == [2] and killed
    for feed in done:
        assert not feed.failure and (feed.final == 1).all()
        numpy.testing.assert_array_equal(feed.data, feed._frames(0, 64)[:, 0])

    files = [str(tmp_path / f"{name}.npy") for name in "xyz"]
    for file in files:
        numpy.save(file, numpy.random.default_rng(1).poisson(9.0, (5, 6, 64)).astype(numpy.float32))
    command = ["denoise", *files, "--output", str(tmp_path / "out"), "--model", "raw"]
    assert cli.main([*command, "--engine", address, "--certs", str(lab.swift)]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.splitlines()[-1] == "3 of 3 scans denoised"
