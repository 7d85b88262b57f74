"""``udvd serve``: makes this machine's GPUs available to the lab, over mutual TLS 1.3 and nothing else."""

from __future__ import annotations

import argparse
import os
import pathlib
import signal
import sys
import threading
import types

from udvd_core.commands.outcome import Outcome
from udvd_core.errors import EngineError

PORT = 8786


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd serve``."""
    parser.add_argument("--host", required=True, help="name or address by which the others reach this machine")
    parser.add_argument("--certs", metavar="FOLDER", required=True, help="this machine's folder from udvd certs")
    parser.add_argument(
        "--port", type=int, default=PORT, help=f"of the scheduler; workers take the next (default {PORT})"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="workers (default: one for each GPU)")
    parser.add_argument("--allow-root", action="store_true", help="run as root, which gives the whole machine away")


def run(args: argparse.Namespace) -> Outcome:
    """Serve until it is told to end."""
    from udvd_core.engine import certificates, serve, tls

    if hasattr(os, "geteuid") and os.geteuid() == 0 and not args.allow_root:
        raise EngineError(
            "udvd serve runs as root, and so would everyone with a certificate; run it as a user without rights,"
            " or add --allow-root"
        )
    host = args.host if "://" in args.host else f"tls://{args.host}"
    if host.removeprefix("tls://").strip("[]") in ("0.0.0.0", "::", "*", ""):  # noqa: S104
        raise EngineError(f"--host is {args.host!r}; want the one name or address by which this machine is reached")
    if host.count(":") > 2 and "[" not in host:
        host = f"tls://[{host.removeprefix('tls://')}]"
    address = tls.Address.parse(f"{host}:{args.port}")
    credentials = certificates.load(pathlib.Path(args.certs).absolute())
    gpus = serve.count_gpus()
    machine = serve.Machine(address, credentials, gpus if args.workers is None else args.workers, gpus)
    stop = threading.Event()

    def end(number: int, frame: types.FrameType | None) -> None:
        stop.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    serve.Supervisor(machine, _say).run(stop)
    return Outcome(f"{address}: ended, nothing is left running", {"address": str(address)})


def _say(line: str) -> None:
    sys.stderr.write(f"udvd serve: {line}\n")
    sys.stderr.flush()
