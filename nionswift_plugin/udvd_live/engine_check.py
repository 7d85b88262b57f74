"""What is there to compute with, found out by asking: the test button of the preferences, and the first run."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing

import udvd_core
from udvd_core.engine.child import find_python
from udvd_core.errors import EngineError

from .preferences import Preferences

PATIENCE_S = 60.0
NO_WINDOW = 0x08000000  # Windows' process creation flag


def check(chosen: Preferences) -> str:
    """Sentences on interpreter, torch, devices and weights of the engine that these preferences ask for.

    Never raises: what is wrong is said, with the command that mends it.
    """
    try:
        python = find_python(chosen.python)
    except EngineError as error:
        return f"No engine: {error}"
    root = str(pathlib.Path(udvd_core.__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    command = [python, "-m", "udvd_core", "info", "--json"]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            creationflags=NO_WINDOW if os.name == "nt" else 0,
            check=False,
        )
        facts = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return f"{python} does not run the engine ({type(error).__name__}): want a Python with nionswift-udvd in it"
    return "\n".join(told(python, facts))


def told(python: str, facts: dict[str, typing.Any]) -> list[str]:
    """Sentences on what ``udvd info`` found."""
    packages = facts["packages"]
    lines = [f"Python {facts['python']} at {python}"]
    if packages.get("torch"):
        lines.append(f"torch {packages['torch']} on {'; '.join(facts['devices']) or 'no device'}")
        if not any(device.startswith("cuda") for device in facts["devices"]):
            lines.append("No GPU: the default model does without one")
    else:
        lines.append(f"No torch: the guide alone. To mend it: {torch_command(python)}")
    lines.append(
        "Weights are there" if facts["weights"] else "No weights: the guide alone. Install nionswift-udvd anew"
    )
    return lines


def torch_command(python: str) -> str:
    """Command that installs what the correction network needs."""
    return f'"{python}" -m pip install "nionswift-udvd[engine]"'
