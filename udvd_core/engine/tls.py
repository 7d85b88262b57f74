"""Mutual TLS 1.3 between machines: the address, the settings of dask, and a first look that says why not."""

from __future__ import annotations

import dataclasses
import re
import socket
import ssl
import typing

from udvd_core.engine.certificates import Credentials
from udvd_core.errors import EngineError

if typing.TYPE_CHECKING:
    from distributed.security import Security

LOOK_S = 1.5
"""For the first look, in all: a stranger is told within two seconds."""

ENVIRONMENT = {
    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
    "DASK_DISTRIBUTED__COMM__TLS__MIN_VERSION": "1.3",
    "DASK_DISTRIBUTED__COMM__COMPRESSION": "False",  # frames are compressed already
    "DASK_DISTRIBUTED__COMM__OFFLOAD": "False",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "15s",  # dask refuses less than 11
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30s",
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__ADMIN__LOG_LENGTH": "100",  # what nobody reads grows the scheduler by 8 kB for each scan
    "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "100",
    # What dask measures of itself, up to 100 times a second, took 8 % of a core of an idle machine; this leaves 1 %.
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
    "DASK_LOGGING__DISTRIBUTED": "warning",
}
"""How dask is set on both sides, as environment variables, so that every process gets the same."""


class Unreachable(EngineError):  # noqa: N818
    """Nobody answers there, for now."""


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a scheduler listens."""

    host: str
    port: int

    @staticmethod
    def parse(text: str) -> Address:
        """Read ``tls://HOST:PORT``.

        Raises
        ------
        EngineError
            When it is anything else, plain ``tcp://`` above all.
        """
        found = re.fullmatch(r"tls://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", text)
        if not found or not 0 < int(found[2]) < 65536:
            raise EngineError(f"address {text!r} cannot be used; want tls://HOST:PORT, encrypted and with a port")
        return Address(found[1].strip("[]"), int(found[2]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tls://{host}:{self.port}"


def security(credentials: Credentials) -> Security:
    """What dask is to show and to demand, whichever of its parts this is."""
    from distributed.security import Security

    pair = {"cert": str(credentials.certificate), "key": str(credentials.key)}
    roles = {f"tls_{role}_{name}": value for role in ("client", "scheduler", "worker") for name, value in pair.items()}
    return Security(  # type: ignore[no-untyped-call]
        require_encryption=True, tls_ca_file=str(credentials.ca), tls_min_version=ssl.TLSVersion.TLSv1_3, **roles
    )


def look(address: Address, credentials: Credentials) -> None:
    """Connect once, as dask would, and wait for the first byte that only a machine of our authority says.

    Raises
    ------
    Unreachable
        When nobody is there, which may change.
    EngineError
        When it is not TLS, of another authority, or refuses our certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # as dask: the authority is private, machines are often reached by number
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(credentials.ca)
    context.load_cert_chain(credentials.certificate, credentials.key)
    try:
        with socket.create_connection((address.host, address.port), LOOK_S) as plain:
            with context.wrap_socket(plain) as secure:
                if not secure.recv(1):  # with TLS 1.3 a client's certificate is judged after the handshake
                    raise Unreachable(f"{address} closed the connection at once; is udvd serve running there?")
    except ssl.SSLCertVerificationError as error:
        raise EngineError(
            f"{address} shows a certificate that cannot be trusted ({error.verify_message}); want one of the authority"
            f" in {credentials.ca}, made by udvd certs"
        ) from None
    except ssl.SSLError as error:
        raise EngineError(_refusal(address, credentials, error)) from None
    except TimeoutError:
        raise Unreachable(f"{address} does not answer; is the machine on, its port open, udvd serve running?") from None
    except OSError as error:
        said = error.strerror or str(error)
        raise Unreachable(f"{address} cannot be reached ({said}); is udvd serve running there?") from None


def _refusal(address: Address, credentials: Credentials, error: ssl.SSLError) -> str:
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "alert" in reason:
        return (
            f"{address} refuses the certificate of {credentials.name} ({reason}); want one of its own authority, made"
            " by udvd certs and still valid"
        )
    return f"{address} does not speak TLS 1.3 ({reason}); want the address that udvd serve prints"
