"""``udvd denoise``: scans from files through an engine into files."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import itertools
import math
import pathlib
import re
import typing

from udvd_core.commands import denoise_files, error_files
from udvd_core.commands.outcome import Outcome, Progress
from udvd_core.engine.farm import Feed, work_off
from udvd_core.engine.protocol import Engine
from udvd_core.errors import EngineError, InputError, UdvdError
from udvd_core.settings import MODELS, Training

ENGINES = {"inline": "InlineEngine", "local": "LocalEngine"}
ERRORS = (UdvdError, MemoryError)
"""What is the fault of one scan: the others are denoised all the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd denoise``."""
    parser.add_argument(
        "input", metavar="IN", nargs="+", help="scans: .npy .npz .nhdf .h5 .ndata .hspy .zspy .dm3 .dm4"
    )
    parser.add_argument(
        "--output",
        metavar="OUT",
        required=True,
        help="denoised scan: .npy .npz .nhdf .h5 .ndata .hspy .zspy; of several scans the folder for files of the same"
        " names",
    )
    parser.add_argument(
        "--model",
        choices=MODELS,
        default=Training.model,
        help="guided: low rank with a correction; guide: without it; udvd: the paper's network; pca: principal"
        f" components; raw: none (default: {Training.model})",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--blind", default="auto", metavar="auto|QxE", help="hidden radius along q and E, for example 1x1"
    )
    parser.add_argument("--energy", metavar="OFFSET:STEP", help="energy axis in eV, for files without one")
    parser.add_argument("--weights", metavar="FILE", help="weights to start from: .safetensors or .pth")
    parser.add_argument("--flat", metavar="FILE", help="flat field (q, E) to divide by: .npy, or data of an .npz")
    parser.add_argument("--budget", type=float, default=60.0, metavar="SECONDS", help="time to learn (default: 60)")
    parser.add_argument(
        "--engine", default="inline", metavar="inline|local|tls://HOST:PORT", help="where it runs (default: inline)"
    )
    parser.add_argument("--certs", metavar="FOLDER", help="this machine's folder from udvd certs, for --engine tls://")
    error_files.add_arguments(parser)
    parser.add_argument("--frames", action="store_true", help="denoise whole frames (q, E) and not their sums over q")


def run(args: argparse.Namespace) -> Outcome:
    """Denoise a file, or one file after the other, as many side by side as the engine has workers."""
    training = _training(args)
    engine_type = _engine_type(args.engine, args.certs)
    alone = denoise_files.each_alone(args)
    runs: dict[str, denoise_files.Run] = {}
    done: list[Outcome] = []
    failed: dict[str, str] = {}

    def feeds() -> typing.Iterator[Feed]:
        for one in alone:
            try:
                run = denoise_files.Run(one, training)
            except ERRORS as error:
                failed[one.input] = _sentence(error)
            else:
                runs[run.feed.spec.scan_id] = run
                yield run.feed

    def tell(running: typing.Sequence[Feed]) -> None:
        if running:
            steps = [feed.step() for feed in running]
            over, note = len(done) + len(failed), steps[0][1]
            if len(alone) > 1:
                note = f"{over} done, {len(running)} at work; {runs[running[0].spec.scan_id].name}: {note}"
            progress.update((over + sum(share for share, _ in steps)) / len(alone), note)

    label = pathlib.Path(alone[0].input).name if len(alone) == 1 else f"{len(alone)} scans"
    waiting = feeds()
    if (first := next(waiting, None)) is not None:  # no engine where there is nothing to do
        with contextlib.closing(engine_type()) as engine, Progress(f"denoising {label}") as progress:
            for feed in work_off(engine, itertools.chain([first], waiting), tell):
                run = runs.pop(feed.spec.scan_id)
                try:
                    done.append(run.write())
                except ERRORS as error:
                    failed[run.source] = _sentence(error)
    return _outcome(alone, done, failed, _ending(args.certs))


def _training(args: argparse.Namespace) -> Training:
    if not math.isfinite(args.budget):
        raise InputError(f"--budget is {args.budget}; want seconds")
    if args.weights is not None and not pathlib.Path(args.weights).is_file():
        raise InputError(f"weights {args.weights} do not exist; want a .safetensors or .pth file")
    return Training(
        model=args.model,
        hidden=_hidden(args.blind),
        device=args.device,
        frames=args.frames,
        budget_s=args.budget,
        weights=args.weights,
        flat=args.flat,
    )


def _hidden(blind: str) -> tuple[int, int] | None:
    """Read ``auto`` or ``QxE``."""
    if blind == "auto":
        return None
    found = re.fullmatch(r"(\d{1,3})x(\d{1,3})", blind)
    if not found:
        raise InputError(f"--blind is {blind!r}; want auto or QxE, for example 0x1 or 1x1")
    return int(found[1]), int(found[2])


def _engine_type(name: str, certs: str | None = None) -> typing.Callable[[], Engine]:
    """Import an engine by name; one on another machine is asked first whether it would take us."""
    if "://" in name:
        return _cluster(name, certs)
    if name not in ENGINES:
        raise EngineError(f"engine {name!r} is not known; want {', '.join(ENGINES)} or tls://HOST:PORT")
    module = importlib.import_module(f"udvd_core.engine.{name}")
    return typing.cast(typing.Callable[[], Engine], getattr(module, ENGINES[name]))


def _cluster(name: str, certs: str | None) -> typing.Callable[[], Engine]:
    """An engine on a GPU machine of the lab."""
    from udvd_core.engine import certificates, tls

    address = tls.Address.parse(name)
    if certs is None:
        raise EngineError(f"--engine {name} needs --certs FOLDER: this machine's folder from udvd certs")
    tls.look(address, certificates.load(pathlib.Path(certs)))
    cluster = importlib.import_module("udvd_core.engine.cluster")
    return lambda: typing.cast(Engine, cluster.ClusterEngine(name, certs))


def _ending(certs: str | None) -> str:
    """A sentence where this machine's certificate is about to end, or has while the scan was denoised."""
    if certs is None:
        return ""
    from udvd_core.engine import certificates

    try:
        return certificates.load(pathlib.Path(certs)).warning()
    except EngineError as error:
        return str(error)


def _sentence(error: BaseException) -> str:
    return f"not enough memory ({error}): take a smaller scan" if isinstance(error, MemoryError) else str(error)


def _outcome(
    alone: typing.Sequence[argparse.Namespace], done: list[Outcome], failed: dict[str, str], ending: str
) -> Outcome:
    """What became of one scan, or of several together."""
    if len(alone) == 1:
        if failed:
            raise UdvdError(*failed.values())
        (only,) = done
        return dataclasses.replace(only, warning="; ".join(filter(None, (only.warning, ending))))
    warnings = [f"{each.values['output']}: {each.warning}" for each in done if each.warning]
    text = [each.text for each in done] + [f"{len(done)} of {len(alone)} scans denoised"]
    values = {"scans": [each.values for each in done], "failed": failed}
    failures = tuple(reason if source in reason else f"{source}: {reason}" for source, reason in failed.items())
    return Outcome("\n".join(text), values, "\n".join(filter(None, (*warnings, ending))), failures)
