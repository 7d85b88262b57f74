"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import typing
import uuid


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> typing.Iterator[pathlib.Path]:
    """Give a temporary path beside `path`, moved onto it when the block ends without an error.

    Also for formats that are folders; those replace an old folder in two steps.
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            aside = temporary.with_suffix(".old")
            os.replace(path, aside)
            os.replace(temporary, path)
            _remove(aside)
        else:
            os.replace(temporary, path)
    finally:
        _remove(temporary)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
