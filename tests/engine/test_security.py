"""Strangers at the door of a GPU machine, and a false GPU machine: refused at once, by a sentence, no code run."""

import datetime
import os
import pathlib
import pickle
import re
import shutil
import socket
import ssl
import struct
import threading
import time

import pytest

from udvd_core import cli
from udvd_core.engine import certificates, tls
from udvd_core.engine.certificates import load
from udvd_core.engine.cluster import ClusterEngine
from udvd_core.engine.protocol import Failed
from udvd_core.errors import EngineError

PATIENCE_S = 2.0


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A certificate of another lab."""
    return certificates.make(tmp_path_factory.mktemp("foreign"), ["swift"])[0]


@pytest.fixture(scope="module")
def expired(lab, tmp_path_factory):
    """A certificate of this lab that has ended; made by its authority's own key, a month ago."""
    folder = tmp_path_factory.mktemp("expired")
    for name in ("ca.pem", "ca-key.pem"):
        shutil.copy(lab.folder / name, folder)
    now = certificates._now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "_now", lambda: now - datetime.timedelta(days=30))
        return certificates.make(folder, ["old"], days=10)[0]


class Hostile:
    """A pickle that leaves a file where it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path(self.path),))


def frames_of_dask(*parts):
    """Bytes as dask sends them over plain TCP: how many parts, how long each, the parts."""
    lengths = struct.pack(f"<{1 + len(parts)}Q", len(parts), *map(len, parts))
    return struct.pack("<Q", len(lengths) + sum(map(len, parts))) + lengths + b"".join(parts)


def closed_within(connection, seconds=PATIENCE_S):
    """What comes before the other end hangs up, which it must do in time."""
    connection.settimeout(seconds)
    heard = b""
    begin = time.monotonic()
    try:
        while part := connection.recv(4096):
            heard += part
            assert time.monotonic() - begin < seconds
    except (ConnectionError, ssl.SSLError):
        pass
    return heard


@pytest.fixture(params=[0, 1, 2], ids=["scheduler", "worker", "nanny"])
def port(request, served):
    return served.port + request.param


def still_serves(lab, served, port):
    tls.look(tls.Address("127.0.0.1", port), load(lab.swift))
    assert served.process.poll() is None


def test_a_hostile_pickle_over_plain_tcp(lab, served, port, tmp_path):
    mark = tmp_path / "ran"
    code = pickle.dumps(Hostile(mark))
    assert not mark.exists()
    pickle.loads(code)
    assert mark.exists(), "the attack itself works"
    mark.unlink()
    for attack in (code, frames_of_dask(b"\x80", code), frames_of_dask(pickle.dumps({"op": Hostile(mark)}))):
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain:
            plain.sendall(attack)
            assert b"dask" not in closed_within(plain), "it talks to a stranger"
    assert not mark.exists()
    still_serves(lab, served, port)


@pytest.mark.parametrize("who", ["nobody", "foreign", "expired"])
def test_a_hostile_pickle_behind_a_handshake_without_our_certificate(
    lab, served, port, foreign, expired, tmp_path, who
):
    mark = tmp_path / "ran"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    folder = {"nobody": None, "foreign": foreign, "expired": expired}[who]
    if folder:
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    heard = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain:
        try:
            with context.wrap_socket(plain) as secure:  # with TLS 1.3 it ends before the server has judged us
                secure.sendall(frames_of_dask(b"\x80", pickle.dumps(Hostile(mark))))
                heard = closed_within(secure)
        except (ssl.SSLError, ConnectionError):
            pass
    assert heard == b"" and not mark.exists()
    still_serves(lab, served, port)


def test_nothing_older_than_tls_1_3(lab, served, port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(lab.swift / "ca.pem")
    context.load_cert_chain(lab.swift / "certificate.pem", lab.swift / "key.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("foreign", "cannot be trusted"),
        ("expired", r"certificate of old ended on .*; renew it"),
        ("foreign with our ca", "not made by the authority"),
    ],
)
def test_a_wrong_certificate_of_ours_is_one_sentence(lab, served, foreign, expired, tmp_path, capsys, who, says):
    folder = {"foreign": foreign, "expired": expired}.get(who)
    if folder is None:
        folder = shutil.copytree(foreign, tmp_path / "mixed")
        shutil.copy(lab.swift / "ca.pem", folder)
    scan = tmp_path / "scan.npz"
    assert cli.main(["simulate", "h-bn", "--output", str(scan), "--size", "2,2"]) == 0
    capsys.readouterr()
    command = ["denoise", str(scan), "--output", str(tmp_path / "out.npz"), "--engine", served.address]
    begin = time.monotonic()
    assert cli.main([*command, "--certs", str(folder)]) == 2
    assert time.monotonic() - begin < PATIENCE_S
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    assert re.search(says, error), error
    assert not (tmp_path / "out.npz").exists()


def test_a_certificate_that_the_server_refuses(served, foreign, lab, tmp_path):
    """Ours is of another authority, but we know the server's: it is the server that says no."""
    credentials = load(foreign)
    mixed = certificates.Credentials(
        lab.swift / "ca.pem", credentials.certificate, credentials.key, credentials.name, credentials.expires
    )
    begin = time.monotonic()
    with pytest.raises(EngineError, match=r"refuses the certificate of swift \(.*unknown ca\); want one of its own"):
        tls.look(tls.Address.parse(served.address), mixed)
    assert time.monotonic() - begin < PATIENCE_S


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "127.0.0.1:8786", "tls://127.0.0.1", "tls://a b:1", "tls://x:99999", "ws://x:1"]
)
def test_only_tls(lab, address):
    with pytest.raises(EngineError, match="want tls://HOST:PORT"):
        ClusterEngine(address, lab.swift)


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("tcp://127.0.0.1", "want tls://HOST:PORT"),
        ("0.0.0.0", "want the one name or address"),
        ("127.0.0.1", "runs as root"),
    ],
)
def test_serve_refuses_what_is_not_safe(lab, monkeypatch, capsys, host, says):
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    safe = [] if "root" in says else ["--allow-root"]
    assert cli.main(["serve", "--host", host, "--certs", str(lab.gpu), "--workers", "1", *safe]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def imposter(folder, speak):
    """A server that is no GPU machine of ours; its port and what ends it."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(10)

    def serve():
        try:
            connection, _ = server.accept()
            with connection:
                speak(connection, folder)
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return server, thread


def plain_dask(connection, folder):
    connection.sendall(frames_of_dask(b"\x80", pickle.dumps({"compression": None})))
    connection.recv(4096)


def foreign_tls(connection, folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    with context.wrap_socket(connection, server_side=True) as secure:
        secure.sendall(b"hello")


def silent(connection, folder):
    time.sleep(PATIENCE_S)


@pytest.mark.parametrize(
    ("speak", "says"),
    [(plain_dask, "does not speak TLS 1.3"), (foreign_tls, "cannot be trusted"), (silent, "does not answer")],
)
def test_a_false_gpu_machine(lab, foreign, speak, says):
    server, thread = imposter(foreign, speak)
    with server:
        begin = time.monotonic()
        with pytest.raises(EngineError, match=says):
            tls.look(tls.Address("127.0.0.1", server.getsockname()[1]), load(lab.swift))
        assert time.monotonic() - begin < PATIENCE_S
    thread.join()


def test_a_refusal_fails_a_scan_at_once(lab, foreign, served, make_spec):
    engine = ClusterEngine(served.address, foreign)
    try:
        engine.open(make_spec("a"))
        until = time.monotonic() + 3 * PATIENCE_S
        events = []
        while not events:
            assert time.monotonic() < until
            events = engine.poll()
            time.sleep(0.01)
        (failed,) = events
        assert isinstance(failed, Failed) and "cannot be trusted" in failed.reason and "\n" not in failed.reason
    finally:
        engine.close()
