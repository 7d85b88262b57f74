"""The files of ``udvd denoise``: which scan goes where, and one scan read, written and told of."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import glob
import pathlib
import time
import typing
import uuid

import numpy
import numpy.typing

import udvd_core
from udvd_core.commands import error_files
from udvd_core.commands.outcome import Outcome
from udvd_core.commands.scans import sha256
from udvd_core.engine.farm import Feed
from udvd_core.engine.protocol import Finished
from udvd_core.errors import InputError
from udvd_core.files import Scan, check_output, read_scan, result_suffix, write_scan
from udvd_core.files.formats import READERS
from udvd_core.settings import ScanSpec, Training

Array = numpy.typing.NDArray[numpy.float32]

FOLDERS = {"output": "", "sigma": "", "uncertainty": ".npz"}
"""Options that name folders where there are several scans, and the suffix of what is written there."""


def each_alone(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The arguments of each scan alone, with files in the place of folders.

    Raises
    ------
    InputError
        When something could not be written, or would take the place of something else.
    """
    sources = [found for text in args.input for found in _matching(text)]
    if len(sources) == 1 and not _is_folder(args.output):
        given = {"input": sources[0], **{name: getattr(args, name) for name in FOLDERS}}
        alone = [argparse.Namespace(**{**vars(args), **given})]
    else:
        for name in FOLDERS:
            _make_folder(name, getattr(args, name))
        alone = [argparse.Namespace(**{**vars(args), **_places(args, source)}) for source in sources]
    targets = [pathlib.Path(path) for one in alone for name in FOLDERS if (path := getattr(one, name)) is not None]
    for one in alone:
        check_output(one.output)
        error_files.check(one)
    for target, times in collections.Counter(target.absolute() for target in targets).items():
        if times > 1:
            raise InputError(f"{target} would be written for {times} scans; denoise them into different folders")
        if target.exists() and any(target.samefile(source) for source in sources if pathlib.Path(source).exists()):
            raise InputError(f"{target} is the scan itself; give another --output, the raw data stay as they are")
    return alone


class Run:
    """One scan of ``udvd denoise``, from its file to its results.

    Parameters
    ----------
    args : Namespace
        Of this scan alone.
    training : Training
        How it is denoised.

    Raises
    ------
    InputError
        When it cannot be read.
    """

    def __init__(self, args: argparse.Namespace, training: Training) -> None:
        self._args, self._source, self._target = args, pathlib.Path(args.input), pathlib.Path(args.output)
        self._scan = scan = read_scan(self._source, args.energy)
        if training.frames and not scan.has_rows:
            raise InputError(
                f"--frames needs frames (y, x, q, E) and {self._source} holds spectra {scan.data.shape}: leave it out"
            )
        spec = ScanSpec(uuid.uuid4().hex, scan.scan_shape, scan.frame_shape, scan.energy, training=training)
        self.feed = Feed(spec, scan.frames)
        self.source, self.name = str(args.input), self._source.name
        self._begin = time.monotonic()

    def write(self) -> Outcome:
        """Write what was made of it.

        Raises
        ------
        InputError
            When the engine has given it up, or a file cannot be written.
        """
        feed, finished = self.feed, self.feed.finished
        if finished is None:
            raise InputError(feed.failure)
        self._fill()
        provenance = {
            **finished.provenance,
            "program": f"nionswift-udvd {udvd_core.__version__}",
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "input": {"path": str(self._source.absolute()), "sha256": sha256(self._source)},
            "seconds": round(time.monotonic() - self._begin, 1),
            "frames_left_raw": feed.spec.count - int(feed.covered.sum()),
        }
        write_scan(self._target, self._result(), provenance)
        missing = error_files.write(self._args, self._scan, finished.uncertainty, provenance)
        return self._told(finished, provenance, missing)

    def _fill(self) -> None:
        """Frames that were not reached are the raw ones."""
        for index in numpy.flatnonzero(~self.feed.covered).tolist():
            frame = self._scan.frames(index, index + 1)[0]
            self.feed.data[index] = frame if self.feed.spec.training.frames else frame.sum(axis=0)

    def _result(self) -> Scan:
        """The denoised scan with the axes and metadata of the raw one."""
        scan = self._scan
        axes = scan.axes if self.feed.spec.training.frames else (*scan.scan_axes, scan.energy)
        shaped = self.feed.data.reshape(tuple(axis.size for axis in axes))
        return dataclasses.replace(scan, data=shaped, axes=axes, title=f"{scan.title} (Denoised)")

    def _told(self, finished: Finished, provenance: dict[str, typing.Any], missing: str) -> Outcome:
        spec, lines = self.feed.spec, []
        if finished.final < spec.count:
            lines.append(f"{finished.final} of {spec.count} frames were made final in {spec.training.budget_s:g} s")
        if provenance["frames_left_raw"]:
            lines.append(f"{provenance['frames_left_raw']} were not reached and are the raw counts")
        if lines:
            lines.append("give a larger --budget")
        lines += [line for line in (finished.note, missing) if line]
        seconds = provenance["seconds"]
        values = {
            "output": str(self._target),
            "model": spec.training.model,
            "frames": spec.count,
            "final": finished.final,
            "step": finished.step,
            "seconds": seconds,
            "provenance": provenance,
        }
        text = f"{self._target}: {finished.final} of {spec.count} frames final after {finished.step} steps, {seconds} s"
        return Outcome(text, values, " ".join("; ".join(lines).split()))


def _matching(text: str) -> list[str]:
    """Files of a pattern, which consoles on Windows leave as it is; anything else is a path."""
    if pathlib.Path(text).exists() or not glob.has_magic(text):
        return [text]
    if not (found := sorted(glob.glob(text))):
        raise InputError(f"no file is called {text}; give the paths of scans")
    return found


def _is_folder(path: str) -> bool:
    """Whether results go into it; a ``.zspy`` is a folder that is a result."""
    return pathlib.Path(path).is_dir() and not path.lower().endswith(".zspy")


def _make_folder(option: str, path: str | None) -> None:
    if path is None or _is_folder(path):
        return
    folder = pathlib.Path(path)
    if folder.exists() or folder.suffix.lower() in READERS:
        raise InputError(f"--{option} is {path}; want a folder for several scans")
    try:
        folder.mkdir()
    except OSError as error:
        raise InputError(f"folder {path} cannot be made: {error.strerror}; give another --{option}") from None


def _places(args: argparse.Namespace, source: str) -> dict[str, str | None]:
    """Files of one of several scans, all by its own name."""
    path = pathlib.Path(source)
    places: dict[str, str | None] = {"input": source}
    for option, suffix in FOLDERS.items():
        folder = getattr(args, option)
        name = path.stem + (suffix or result_suffix(path))
        places[option] = None if folder is None else str(pathlib.Path(folder) / name)
    return places
