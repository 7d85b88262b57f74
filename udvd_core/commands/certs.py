"""``udvd certs``: a private certificate authority for the lab, and a certificate for each machine."""

from __future__ import annotations

import argparse
import pathlib
import typing

from udvd_core.commands.outcome import Outcome
from udvd_core.errors import InputError

if typing.TYPE_CHECKING:
    from udvd_core.engine.certificates import Credentials


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd certs``."""
    parser.add_argument("folder", metavar="FOLDER", help="where the authority lies; made on first use, keep it private")
    parser.add_argument(
        "--host", metavar="NAME_OR_IP", nargs="+", default=[], help="machines to make a certificate for, as reached"
    )
    parser.add_argument("--days", type=int, default=365, help="how long certificates hold (default: 365)")
    parser.add_argument(
        "--renew", action="store_true", help="replace certificates and keys: of --host, or of all machines"
    )


def run(args: argparse.Namespace) -> Outcome:
    """Make or renew certificates."""
    from udvd_core.engine import certificates

    folder = pathlib.Path(args.folder)
    names = args.host or (certificates.machines(folder) if args.renew else [])
    if not names:
        known = f"{folder} has certificates of: {', '.join(certificates.machines(folder)) or 'no machine'}"
        raise InputError(f"no machine is named; give --host with host names or IP addresses ({known})")
    try:
        folders = certificates.make(folder, names, args.days, args.renew)
    except OSError as error:
        raise InputError(f"certificates cannot be written: {error}; give another folder") from None
    made = [certificates.load(path) for path in folders]
    lines = [
        f"{path}: for {each.name}, until {each.expires:%Y-%m-%d}" for path, each in zip(folders, made, strict=True)
    ]
    lines.append(
        f"copy each of these folders to its machine over a safe way; {certificates.CA_KEY} stays in {folder}."
        " Whoever holds such a folder can run programs on every machine of this authority."
    )
    return Outcome("\n".join(lines), {"folder": str(folder), "certificates": _told(folders, made)})


def _told(folders: typing.Sequence[pathlib.Path], made: typing.Sequence[Credentials]) -> list[dict[str, str]]:
    return [
        {"name": each.name, "folder": str(path), "expires": each.expires.isoformat()}
        for path, each in zip(folders, made, strict=True)
    ]
