"""The verdict of ``udvd assess`` on a scan of the library and its denoised item, made in a child process."""

from __future__ import annotations

import datetime
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import typing

import udvd_core
from udvd_core.engine.child import LOW_PRIORITY_WITHOUT_WINDOW, find_python
from udvd_core.errors import EngineError, InputError
from udvd_core.files.scan import plain
from udvd_core.give_way import computing_threads

from .pairs import Pair
from .scan_errors import scan_of
from .scan_files import write_npy
from .scan_item import OURS
from .task_window import Task

POLL_S = 0.1
TOLD = "progress "
"""What begins a line of a child that says how far it is."""
KEY = "assessment"
"""Of the denoised item's metadata, below our own key."""

Values = dict[str, typing.Any]


def check_ended(pair: Pair) -> None:
    """Refuse a scan that is still being recorded or denoised.

    Raises
    ------
    InputError
        Says which.
    """
    for item in pair:
        scan_of(item)
        if item.is_live or item.in_transaction_state:
            raise InputError(f"{item.title!r} is still being filled; try again when it is finished")


def assess(pair: Pair, task: Task, python: str | None = None) -> Values:
    """Write both to files and have a child process assess them; on a worker thread.

    Parameters
    ----------
    pair : Pair
        Their data are held.
    task : Task
        Told what is done; ends it.
    python : str or None
        The operator's interpreter.

    Returns
    -------
    dict
        As ``udvd assess --json`` says.

    Raises
    ------
    InputError or EngineError
        When it cannot be assessed, in the child's words.
    CancelledError
        When the operator has cancelled.
    """
    with tempfile.TemporaryDirectory(prefix="udvd-assess-", ignore_cleanup_errors=True) as name:
        paths = [pathlib.Path(name) / "raw.npy", pathlib.Path(name) / "denoised.npy"]
        for number, (item, path) in enumerate(zip(pair, paths, strict=True)):
            note = f"Reading {item.title}"
            write_npy(item, path, lambda share, at=number, text=note: task.report(0.1 * (at + share), text))  # type: ignore[misc]
        tell = functools.partial(_tell, task)
        told = run_child("udvd_core.commands.assess_told", list(map(str, paths)), tell, python, "Assessing")
    values: Values = json.loads(told.splitlines()[-1])
    return values


def run_child(
    module: str,
    arguments: typing.Sequence[str],
    tell: typing.Callable[[float, str], None],
    python: str | None,
    note: str,
) -> str:
    """Run ``python -m MODULE`` with these arguments in a child process of low priority; return what it prints.

    `tell` hears several times a second how far it is, as far as it says so, and what it is doing; what it raises ends
    the child.

    Raises
    ------
    EngineError
        When it cannot be started or dies.
    InputError
        What it complains of.
    """
    root = str(pathlib.Path(udvd_core.__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    threads = str(computing_threads())
    command = [find_python(python), "-m", module, *arguments]
    with tempfile.TemporaryFile() as out:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.PIPE,
                env={"OMP_NUM_THREADS": threads, **os.environ, "PYTHONPATH": path},
                creationflags=LOW_PRIORITY_WITHOUT_WINDOW if sys.platform == "win32" else 0,
            )
        except OSError as error:
            raise EngineError(f"{command[0]} cannot be started: {error}; choose another interpreter") from None
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, child.pid, 10)
        _check(child, _watch(child, tell, note))
        out.seek(0)
        return out.read().decode("utf-8", "replace")


def _watch(child: subprocess.Popen[bytes], tell: typing.Callable[[float, str], None], note: str) -> list[str]:
    """Wait for the end of a child, hand on what it says of its progress, and return what else it complained of."""
    begin = time.monotonic()
    said: list[str] = []
    stream = typing.cast(typing.BinaryIO, child.stderr)
    reader = threading.Thread(
        target=lambda: said.extend(line.decode("utf-8", "replace").strip() for line in stream),
        name="udvd-child-words",
        daemon=True,
    )
    reader.start()
    try:
        while child.poll() is None:
            share, _blank, doing = next(
                (line.removeprefix(TOLD) for line in reversed(said) if line.startswith(TOLD)), "0"
            ).partition(" ")
            tell(float(share), f"{note}, {time.monotonic() - begin:.0f} s{doing and ': '}{doing}")
            time.sleep(POLL_S)
    finally:
        child.kill()
        child.wait()
        reader.join()
        stream.close()
    return [line for line in said if line and not line.startswith(TOLD)]


def _check(child: subprocess.Popen[bytes], complaints: typing.Sequence[str]) -> None:
    """Raise what a child that failed complained of."""
    if child.returncode == 2:
        raise InputError((complaints or ["it cannot be used"])[-1].removeprefix("udvd: "))
    if child.returncode:
        reason = " ".join(complaints)[-200:] or "no reason"
        raise EngineError(f"the child process ended with code {child.returncode}: {reason}")


def store(pair: Pair, values: Values) -> None:
    """Keep an assessment in the denoised item's metadata; on the main thread."""
    metadata = dict(pair.denoised.metadata)
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    kept = {**plain(values), "created": made, "version": udvd_core.__version__}
    metadata[OURS] = {**metadata[OURS], KEY: kept}
    pair.denoised.metadata = metadata


def in_text(values: Values, title: str) -> str:
    """The verdict, then a table of what it rests on.

    Parameters
    ----------
    values : dict
        As ``udvd assess --json`` says.
    title : str
        Of the scan.
    """
    noise = values["noise"]
    lines = [
        values["verdict"],
        "",
        title,
        f"Noise: gain {noise['gain']:.2f}, read variance {noise['read_variance']:.2g}. {values['hidden']['reason']}.",
        f"Pixels: {values['defects'] or 'none faulty'}.",
        "",
        "MODELS on held-out counts, likelihood per 1000 pixels above the mean spectrum (more is better)",
        *(
            _row(
                f"{each['name']} {each['setting']}",
                f"{1e3 * each['gain']:+.2f} \N{PLUS-MINUS SIGN} {1e3 * each['error']:.2f}",
            )
            for each in values["models"]
        ),
    ]
    if "residual" in values:
        lines += ["", "RESIDUAL, raw minus denoised in units of the noise (what noise alone gives in brackets)"]
        lines += [
            _row(
                each["name"],
                f"{each['value']:.3f}  ({each['expected']:.3f} \N{PLUS-MINUS SIGN} {each['error']:.3f})"
                + ("  <- off" if each["off"] else ""),
            )
            for each in values["residual"]
        ]
        bias = values["bias"]
        lines += ["", f"BIAS, sums over {bias['tests']} regions: largest deviation {bias['worst']:.1f} sigma"]
        lines += [_row(f"rms, {name}", f"{value:.2f}") for name, value in bias["rms"].items()]
        lines += [
            _row(each["energy"], f"{each['sigma']:+.1f} sigma, positions {_places(each)}") for each in bias["found"]
        ]
    lines += ["", *(f"DOSE, {dose['sentence']}" for dose in values["dose"])]
    return "\n".join(lines)


def work(pair: Pair, python: str | None, found: Values) -> typing.Callable[[Task], str]:
    """Work for a `Task`: assess, leave the figures in `found`, return the text."""
    return functools.partial(_work, pair, python, found)


def _work(pair: Pair, python: str | None, found: Values, task: Task) -> str:
    with pair.raw.data_ref(), pair.denoised.data_ref():
        found.update(assess(pair, task, python))
    return in_text(found, pair.denoised.title)


def _tell(task: Task, share: float, note: str) -> None:
    task.report(0.2 + 0.8 * share, note)


def _row(name: str, value: str) -> str:
    return f"    {name.strip()}:  {value}"


def _places(region: Values) -> str:
    return " x ".join(f"{start} to {stop - 1}" for start, stop in region["positions"])
