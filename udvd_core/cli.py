"""The command line: ``udvd denoise``, ``map``, ``assess``, ``simulate``, ``certs``, ``serve``, ``pretrain``, ``info``.

Every command ends with exit code 0, or with exit code 2 and one line on standard error, one for each file where
several could not be used;
``--json`` adds one machine-readable last line on standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import typing

import udvd_core
from udvd_core.commands import assess, certs, denoise, info, pretrain, serve, simulate
from udvd_core.commands import map as mapping
from udvd_core.commands.outcome import Outcome
from udvd_core.errors import InputError, UdvdError
from udvd_core.files.scan import plain

COMMANDS: dict[str, tuple[typing.Any, str]] = {
    "denoise": (denoise, "denoise scans in files"),
    "map": (mapping, "map an element or a band of a scan, with its standard error"),
    "assess": (assess, "say how far a scan, or its denoised copy, can be trusted"),
    "simulate": (simulate, "simulate a scan with known truth"),
    "certs": (certs, "make certificates for the machines of a lab"),
    "serve": (serve, "make this machine's GPUs available to the lab"),
    "pretrain": (pretrain, "make the weights of the correction network from simulated scans"),
    "info": (info, "show versions, devices, models and weights"),
}
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others."""

    def error(self, message: str) -> typing.NoReturn:
        """Raise what `main` shows."""
        raise InputError(f"{message}; see {self.prog} --help")


def build_parser() -> Parser:
    """Describe all commands and their options."""
    parser = Parser(prog="udvd", description="Denoise EELS scans with a blindspot network.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"udvd {udvd_core.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.", allow_abbrev=False)
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="end with one machine-readable line")
    return parser


def main(argv: typing.Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments after the program's name; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0, 2 for an error, 130 when interrupted.
    """
    try:
        args = build_parser().parse_args(argv)
        outcome = COMMANDS[args.command][0].run(args)
        _show(outcome, args.json)
        if outcome.failures:
            return max(_fail(sentence) for sentence in outcome.failures)
    except KeyboardInterrupt:
        return _fail("interrupted; no file was left half-written", INTERRUPTED)
    except UdvdError as error:
        return _fail(str(error))
    except MemoryError as error:
        return _fail(f"not enough memory ({error}): take a smaller scan")
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is not installed: pip install 'nionswift-udvd[engine]'")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # nobody should see a traceback unasked
        if os.environ.get("UDVD_DEBUG"):
            raise
        return _fail(f"unexpected {type(error).__name__}: {error}; set UDVD_DEBUG=1 for the whole story and report it")
    return 0


def _show(outcome: Outcome, as_json: bool) -> None:
    for warning in outcome.warning.splitlines():
        print(f"udvd: warning: {' '.join(warning.split())}", file=sys.stderr)
    if as_json:
        print(json.dumps(plain({**outcome.values, "warning": outcome.warning})))
    else:
        print(outcome.text)
    sys.stdout.flush()


def _fail(message: str, code: int = 2) -> int:
    print(f"udvd: {' '.join(message.split())}", file=sys.stderr)
    return code
