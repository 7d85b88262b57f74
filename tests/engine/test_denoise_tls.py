"""``udvd denoise`` on a GPU machine gives what it gives here."""

import json

import numpy
import pytest

from udvd_core import cli


@pytest.mark.parametrize(
    ("model", "size", "more"),
    [("guide", "20,20", []), ("guided", "12,12", []), ("pca", "12,12", []), ("raw", "4,4", ["--frames"])],
)
def test_the_result_is_the_local_one(served, lab, tmp_path, capsys, model, size, more):
    scan = tmp_path / "scan.npz"
    kind = ["--frames", "--q-rows", "3"] if more else []
    assert cli.main(["simulate", "h-bn", "--output", str(scan), "--size", size, "--channels", "128", *kind]) == 0
    capsys.readouterr()
    told = []
    for name in ("local", "remote"):
        where = ["--engine", served.address, "--certs", str(lab.swift)] if name == "remote" else []
        command = ["denoise", str(scan), "--output", str(tmp_path / f"{name}.npz"), "--model", model, "--json", *more]
        assert cli.main([*command, "--budget", "60", *where]) == 0, capsys.readouterr().err
        told.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    local, remote = (numpy.load(tmp_path / f"{name}.npz")["data"] for name in ("local", "remote"))
    assert told[1]["final"] == told[1]["frames"] == told[0]["final"]
    numpy.testing.assert_allclose(remote, local, rtol=1e-4, atol=1e-4 * abs(local).max())
    assert numpy.ptp(local) > 0
