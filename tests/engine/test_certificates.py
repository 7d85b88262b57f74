"""Certificates of a lab: who gets one, who may read it, when it ends, and that nothing is overwritten unasked."""

import datetime
import json
import shutil
import stat
import sys

import pytest

from udvd_core import cli
from udvd_core.engine import certificates
from udvd_core.errors import EngineError, InputError

DAY = datetime.timedelta(days=1)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "lab"


def test_one_authority_for_all_machines(folder):
    (gpu,) = certificates.make(folder, ["gpu.lab"])
    authority = (folder / "ca.pem").read_bytes()
    paths = certificates.make(folder, ["10.0.0.7", "fe80::1"])
    assert (folder / "ca.pem").read_bytes() == authority
    assert [path.name for path in paths] == ["10.0.0.7", "fe80__1"]
    assert certificates.machines(folder) == ["10.0.0.7", "fe80::1", "gpu.lab"]
    for path in (gpu, *paths):
        assert (path / "ca.pem").read_bytes() == authority
        assert sorted(each.name for each in path.iterdir()) == ["ca.pem", "certificate.pem", "key.pem"]
        assert certificates.load(path).warning() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX; icacls has the part there and was never run")
def test_keys_are_for_the_owner_alone(folder):
    (gpu,) = certificates.make(folder, ["gpu"])
    for key in (folder / "ca-key.pem", gpu / "key.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    (gpu / "key.pem").chmod(0o640)
    with pytest.raises(EngineError, match="can be read by others.*chmod 600"):
        certificates.load(gpu)


def test_nothing_is_overwritten_unasked(folder):
    (gpu,) = certificates.make(folder, ["gpu"])
    before = (gpu / "key.pem").read_bytes()
    with pytest.raises(InputError, match="--renew"):
        certificates.make(folder, ["swift", "gpu"])
    assert (gpu / "key.pem").read_bytes() == before and not (folder / "swift").exists()
    certificates.make(folder, ["gpu"], renew=True)
    assert (gpu / "key.pem").read_bytes() != before
    assert certificates.load(gpu).name == "gpu"


def test_the_end_is_told_two_weeks_ahead(folder):
    (gpu,) = certificates.make(folder, ["gpu"], days=30)
    credentials = certificates.load(gpu)
    assert credentials.warning(credentials.expires - 14.1 * DAY) == ""
    assert "ends in 13 days" in credentials.warning(credentials.expires - 13.9 * DAY)
    assert f"{credentials.expires:%Y-%m-%d}; renew it with: udvd certs" in credentials.warning(credentials.expires)


def test_an_expired_certificate_is_named(folder, monkeypatch):
    (gpu,) = certificates.make(folder, ["gpu"], days=30)
    now = certificates._now()
    monkeypatch.setattr(certificates, "_now", lambda: now + 31 * DAY)
    with pytest.raises(EngineError, match=r"certificate of gpu ended on \d{4}-\d\d-\d\d; renew it"):
        certificates.load(gpu)
    monkeypatch.setattr(certificates, "_now", lambda: now - DAY)
    with pytest.raises(EngineError, match="certificate of gpu begins on .*set this machine's clock"):
        certificates.load(gpu)


def test_no_certificate_outlives_its_authority(folder, monkeypatch):
    certificates.make(folder, ["gpu"])
    now = certificates._now()
    monkeypatch.setattr(certificates, "_now", lambda: now + (certificates.CA_DAYS - 10) * DAY)
    (swift,) = certificates.make(folder, ["swift"], days=365)
    assert certificates.load(swift).warning()
    monkeypatch.setattr(certificates, "_now", lambda: now + certificates.CA_DAYS * DAY)
    with pytest.raises(EngineError, match="come to its end"):
        certificates.make(folder, ["late"])


def test_files_that_do_not_belong_together(folder, tmp_path):
    gpu, swift = certificates.make(folder, ["gpu", "swift"])
    (other,) = certificates.make(tmp_path / "other", ["gpu"])
    shutil.copy(other / "ca.pem", gpu / "ca.pem")
    with pytest.raises(EngineError, match="not made by the authority"):
        certificates.load(gpu)
    shutil.copy(other / "key.pem", swift / "key.pem")
    with pytest.raises(EngineError, match="not the key of certificate.pem"):
        certificates.load(swift)
    (swift / "certificate.pem").write_text("rubbish")
    with pytest.raises(EngineError, match="no readable certificate"):
        certificates.load(swift)
    with pytest.raises(EngineError, match="holds no certificate.pem"):
        certificates.load(folder)
    (folder / "ca-key.pem").unlink()
    with pytest.raises(EngineError, match="ca.pem without its other half"):
        certificates.make(folder, ["new"])


@pytest.mark.parametrize("name", ["", "../up", "a b", "-x", "a/b", "tcp://gpu"])
def test_names_that_are_no_hosts(folder, name):
    with pytest.raises(InputError, match="no host name"):
        certificates.make(folder, [name])
    assert not folder.exists()


def test_the_command(folder, capsys):
    assert cli.main(["certs", str(folder), "--host", "gpu", "swift", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["certificates"]
    assert [each["name"] for each in told] == ["gpu", "swift"]
    keys = [(folder / name / "key.pem").read_bytes() for name in ("gpu", "swift")]
    assert cli.main(["certs", str(folder), "--host", "gpu"]) == 2
    assert "add --renew" in capsys.readouterr().err
    assert cli.main(["certs", str(folder)]) == 2
    assert "certificates of: gpu, swift" in capsys.readouterr().err
    assert cli.main(["certs", str(folder), "--renew", "--days", "20"]) == 0
    assert not {(folder / name / "key.pem").read_bytes() for name in ("gpu", "swift")} & set(keys)
    assert cli.main(["certs", str(folder), "--host", "x", "--days", "0"]) == 2
    assert "want 1 to 3650" in capsys.readouterr().err
