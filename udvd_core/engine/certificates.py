"""A private certificate authority and one certificate for each machine of the lab.

``FOLDER/ca.pem`` and ``FOLDER/ca-key.pem`` are the authority; its key never leaves that folder. ``FOLDER/NAME`` is all
that the machine NAME needs: ``ca.pem``, ``certificate.pem`` and ``key.pem``.
"""

from __future__ import annotations

import dataclasses
import datetime
import getpass
import ipaddress
import os
import pathlib
import re
import subprocess
import sys
import typing

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from udvd_core.errors import EngineError, InputError

CA, CA_KEY, CERTIFICATE, KEY = "ca.pem", "ca-key.pem", "certificate.pem", "key.pem"
CA_DAYS = 3650
WARN_DAYS = 14
BACKDATED = datetime.timedelta(minutes=5)
"""Clocks of two machines differ."""

_SIGNS = {"key_cert_sign": True, "crl_sign": True, "digital_signature": False}
_SPEAKS = {"key_cert_sign": False, "crl_sign": False, "digital_signature": True}
_NEVER = dict.fromkeys(
    ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
    False,
)


@dataclasses.dataclass(frozen=True)
class Credentials:
    """What one machine shows to the others, and by what it knows them; the files and when they end."""

    ca: pathlib.Path
    certificate: pathlib.Path
    key: pathlib.Path
    name: str
    expires: datetime.datetime

    def warning(self, now: datetime.datetime | None = None) -> str:
        """A sentence from `WARN_DAYS` before the certificate ends, else empty."""
        left = self.expires - (now or _now())
        if left > datetime.timedelta(days=WARN_DAYS):
            return ""
        return (
            f"the certificate of {self.name} ends in {max(0, left.days)} days, on {self.expires:%Y-%m-%d};"
            " renew it with: udvd certs FOLDER --renew"
        )


def machines(folder: pathlib.Path) -> list[str]:
    """Names of the machines that have a certificate in `folder`.

    Raises
    ------
    EngineError
        When one of them cannot be read.
    """
    return sorted(_name_of(_read_certificate(path)) for path in folder.glob(f"*/{CERTIFICATE}"))


def make(folder: pathlib.Path, names: typing.Sequence[str], days: int = 365, renew: bool = False) -> list[pathlib.Path]:
    """Make the authority where there is none, and a certificate with a new key for each machine.

    Parameters
    ----------
    folder : path
        Of the authority.
    names : sequence of str
        Host names or IP addresses.
    days : int
        How long the certificates hold; never longer than the authority.
    renew : bool
        Replace certificates that are there already.

    Returns
    -------
    list of path
        The folder of each machine.

    Raises
    ------
    InputError
        When a name is no host, days are out of range, or a certificate is there and `renew` is not set.
    EngineError
        When the authority in the folder cannot be used.
    OSError
        When files cannot be written.
    """
    if not 1 <= days <= CA_DAYS:
        raise InputError(f"certificates are to hold {days} days; want 1 to {CA_DAYS}")
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,62})", name):
            raise InputError(f"{name!r} is no host name and no IP address; want for example gpu.lab or 10.0.0.7")
        if (folder / _folder_name(name) / CERTIFICATE).exists() and not renew:
            raise InputError(
                f"{folder / _folder_name(name)} holds a certificate already; add --renew to replace it and its key"
            )
    folder.mkdir(parents=True, exist_ok=True)
    authority, key = _authority(folder)
    return [_machine(folder, name, days, authority, key) for name in names]


def load(folder: pathlib.Path) -> Credentials:
    """Credentials of one machine, looked at before anything is sent.

    Raises
    ------
    EngineError
        When a file is missing or damaged, others may read the key, or the certificate has ended, belongs to another
        key or to another authority.
    """
    for name in (CA, CERTIFICATE, KEY):
        if not (folder / name).is_file():
            raise EngineError(
                f"{folder} holds no {name}; want the folder of this machine that udvd certs made, with its three files"
            )
    if sys.platform != "win32" and (folder / KEY).stat().st_mode & 0o077:
        raise EngineError(f"{folder / KEY} can be read by others; make it yours alone: chmod 600 {folder / KEY}")
    authority, certificate = _read_certificate(folder / CA), _read_certificate(folder / CERTIFICATE)
    if _read_key(folder / KEY).public_key() != certificate.public_key():
        raise EngineError(f"{folder / KEY} is not the key of {CERTIFICATE} beside it; copy the whole folder again")
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise EngineError(
            f"{folder / CERTIFICATE} was not made by the authority in {CA} beside it; copy the whole folder again"
        ) from None
    name = _name_of(certificate)
    expires = min(certificate.not_valid_after_utc, authority.not_valid_after_utc)
    if expires <= _now():
        raise EngineError(
            f"the certificate of {name} ended on {expires:%Y-%m-%d}; renew it with: udvd certs FOLDER --renew"
        )
    if certificate.not_valid_before_utc > _now():
        begins = certificate.not_valid_before_utc
        raise EngineError(f"the certificate of {name} begins on {begins:%Y-%m-%d %H:%M} UTC; set this machine's clock")
    return Credentials(folder / CA, folder / CERTIFICATE, folder / KEY, name, expires)


def _authority(folder: pathlib.Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The authority in a folder, made there where neither of its files exists."""
    has_certificate, has_key = (folder / CA).exists(), (folder / CA_KEY).exists()
    if has_certificate and has_key:
        authority, key = _read_certificate(folder / CA), _read_key(folder / CA_KEY)
        if authority.not_valid_after_utc <= _now() + datetime.timedelta(days=1):
            raise EngineError(f"the authority in {folder} has come to its end; make another in a new folder")
        return authority, key
    if has_certificate or has_key:
        raise EngineError(
            f"{folder} holds {CA if has_certificate else CA_KEY} without its other half, so nothing can be signed;"
            " give the folder where the authority was made, or a new one"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("UDVD private authority")
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    builder = _begun(name, name, key, _now() + datetime.timedelta(days=CA_DAYS))
    authority = (
        builder.add_extension(constraints, critical=True)
        .add_extension(x509.KeyUsage(**_SIGNS, **_NEVER), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_private(folder / CA_KEY, _pem(key))
    _write(folder / CA, authority.public_bytes(serialization.Encoding.PEM))
    return authority, key


def _machine(
    folder: pathlib.Path, name: str, days: int, authority: x509.Certificate, signer: ec.EllipticCurvePrivateKey
) -> pathlib.Path:
    """Make one machine's folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    ends = min(_now() + datetime.timedelta(days=days), authority.not_valid_after_utc)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        _begun(_named(name), authority.subject, key, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**_SPEAKS, **_NEVER), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    target = folder / _folder_name(name)
    target.mkdir(mode=0o700, exist_ok=True)
    _write_private(target / KEY, _pem(key))
    _write(target / CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM))
    _write(target / CA, authority.public_bytes(serialization.Encoding.PEM))
    return target


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ends: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - BACKDATED)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _write_private(path: pathlib.Path, content: bytes) -> None:
    """Write a file that only its owner can read, never readable by others in between."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        if sys.platform == "win32":  # POSIX modes mean nothing there: take inherited rights away, grant the owner's
            command = ["icacls", str(temporary), "/inheritance:r", "/grant:r", f"{getpass.getuser()}:F"]
            subprocess.run(command, check=True, capture_output=True)
        file.write(content)
    os.replace(temporary, path)


def _write(path: pathlib.Path, content: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _read_certificate(path: pathlib.Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (ValueError, OSError):
        raise EngineError(f"{path} is no readable certificate; copy it again or renew it with udvd certs") from None


def _read_key(path: pathlib.Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, OSError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise EngineError(f"{path} is no readable key of udvd certs; copy it again or renew it")
    return key


def _name_of(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "this machine"


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _folder_name(name: str) -> str:
    return name.replace(":", "_")  # of an IPv6 address; Windows takes no colon


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
