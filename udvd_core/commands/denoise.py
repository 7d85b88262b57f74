"""``udvd denoise``: a scan from a file through an engine into a file."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import math
import pathlib
import re
import time
import typing
import uuid

import numpy
import numpy.typing

import udvd_core
from udvd_core.commands import error_files
from udvd_core.commands.outcome import Outcome, Progress
from udvd_core.commands.scans import sha256
from udvd_core.engine.protocol import Block, Engine, Failed, Finished, Resend, Status
from udvd_core.errors import EngineError, InputError
from udvd_core.files import Scan, check_output, read_scan, write_scan
from udvd_core.settings import MODELS, ScanSpec, Training

Array = numpy.typing.NDArray[numpy.float32]

ENGINES = {"inline": "InlineEngine", "local": "LocalEngine"}
PUSH_BYTES = 8 << 20
PUSH_FRAMES = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``udvd denoise``."""
    parser.add_argument("input", metavar="IN", help="scan: .npy .npz .nhdf .h5 .ndata .hspy .zspy .dm3 .dm4")
    parser.add_argument(
        "--output", metavar="OUT", required=True, help="denoised scan: .npy .npz .nhdf .h5 .ndata .hspy .zspy"
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
    """Denoise a file."""
    source, target = pathlib.Path(args.input), pathlib.Path(args.output)
    training = _training(args)
    engine_type = _engine_type(args.engine, args.certs)
    check_output(target)
    error_files.check(args)
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target} is the scan itself; give another --output, the raw data stay as they are")
    scan = read_scan(source, args.energy)
    if args.frames and not scan.has_rows:
        raise InputError(
            f"--frames needs frames (y, x, q, E) and {source} holds spectra {scan.data.shape}: leave it out"
        )
    spec = ScanSpec(uuid.uuid4().hex, scan.scan_shape, scan.frame_shape, scan.energy, training=training)
    begin = time.monotonic()
    with Progress(f"denoising {source.name}") as progress:
        data, covered, finished = denoise_scan(engine_type, spec, scan, progress)
    provenance = {
        **finished.provenance,
        "program": f"nionswift-udvd {udvd_core.__version__}",
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "input": {"path": str(source.absolute()), "sha256": sha256(source)},
        "seconds": round(time.monotonic() - begin, 1),
        "frames_left_raw": spec.count - int(covered.sum()),
    }
    write_scan(target, _result(scan, spec, data), provenance)
    missing = error_files.write(args, scan, finished.uncertainty, provenance)
    missing = "; ".join(filter(None, (missing, _ending(args.certs))))
    return _outcome(target, spec, finished, provenance, missing)


def denoise_scan(
    engine_type: typing.Callable[[], Engine], spec: ScanSpec, scan: Scan, progress: Progress
) -> tuple[Array, numpy.typing.NDArray[numpy.bool_], Finished]:
    """Take a scan through an engine.

    Returns
    -------
    data : array, shape (n, E) or (n, q, E), float32
        Denoised frames; frames that were not reached are the raw ones.
    covered : bool array, shape (n,)
        Which frames were denoised.
    finished : Finished
        The engine's last word.

    Raises
    ------
    EngineError
        When the engine gives up.
    """
    data = numpy.zeros((spec.count, *spec.output_shape), dtype=numpy.float32)
    covered = numpy.zeros(spec.count, dtype=numpy.bool_)
    engine = engine_type()
    try:
        engine.open(spec)
        finished = _drive(engine, spec, scan, data, covered, progress)
    finally:
        engine.close()
    for index in numpy.flatnonzero(~covered).tolist():
        frame = scan.frames(index, index + 1)[0]
        data[index] = frame if spec.training.frames else frame.sum(axis=0)
    return data, covered, finished


def _drive(
    engine: Engine,
    spec: ScanSpec,
    scan: Scan,
    data: Array,
    covered: numpy.typing.NDArray[numpy.bool_],
    progress: Progress,
) -> Finished:
    """Push all frames, then poll until the engine has finished; fills `data` and `covered`."""
    batch = max(1, min(PUSH_FRAMES, PUSH_BYTES // (4 * spec.frame_shape[0] * spec.frame_shape[1])))
    at, ended = 0, 0.0
    while True:
        stop = min(at + batch, spec.count)
        if at < spec.count and engine.push(spec.scan_id, at, scan.frames(at, stop)):
            at = stop
            progress.update(0.0, f"{at} of {spec.count} frames read")
            if at < spec.count:
                continue
            engine.finish(spec.scan_id)
            ended = time.monotonic()
        events = engine.poll()
        for event in events:
            if isinstance(event, Block):
                data[event.start : event.start + len(event.data)] = event.data
                covered[event.start : event.start + len(event.data)] = True
            elif isinstance(event, Status):
                share = (time.monotonic() - ended) / max(spec.training.budget_s, 1e-3) if at == spec.count else 0.0
                progress.update(share, f"step {event.step}, {event.final} of {spec.count} frames final, {event.device}")
            elif isinstance(event, Resend):
                at = 0
            elif isinstance(event, Failed):
                raise EngineError(f"the scan cannot be denoised: {event.reason}")
            else:
                return event
        if not events:
            time.sleep(0.01)


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


def _result(scan: Scan, spec: ScanSpec, data: Array) -> Scan:
    """The denoised scan with the axes and metadata of the raw one."""
    axes = scan.axes if spec.training.frames else (*scan.scan_axes, scan.energy)
    shaped = data.reshape(tuple(axis.size for axis in axes))
    return dataclasses.replace(scan, data=shaped, axes=axes, title=f"{scan.title} (Denoised)")


def _outcome(
    target: pathlib.Path, spec: ScanSpec, finished: Finished, provenance: dict[str, typing.Any], missing: str
) -> Outcome:
    lines = []
    if finished.final < spec.count:
        lines.append(f"{finished.final} of {spec.count} frames were made final in {spec.training.budget_s:g} s")
    if provenance["frames_left_raw"]:
        lines.append(f"{provenance['frames_left_raw']} were not reached and are the raw counts")
    if lines:
        lines.append("give a larger --budget")
    lines += [line for line in (finished.note, missing) if line]
    values = {
        "output": str(target),
        "model": spec.training.model,
        "frames": spec.count,
        "final": finished.final,
        "step": finished.step,
        "seconds": provenance["seconds"],
        "provenance": provenance,
    }
    seconds = provenance["seconds"]
    text = f"{target}: {finished.final} of {spec.count} frames final after {finished.step} steps, {seconds} s"
    return Outcome(text, values, "; ".join(lines))
