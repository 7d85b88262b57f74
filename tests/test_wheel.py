"""The wheel holds all it needs: installed alone, Swift's own loader finds the plug-in and `udvd` starts."""

import os
import pathlib
import subprocess
import sys
import sysconfig
import venv

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# Swift's loader itself, in an application without windows. The simulated microscope, which it loads too, starts
# threads that only closing the whole application ends, so this process leaves without waiting for them.
LOADER = """
import logging, os, pathlib, sys, traceback
logger = logging.getLogger("loader_progress")
logger.setLevel(logging.INFO)
logger.addHandler(logging.StreamHandler(sys.stdout))
try:
    from nion.swift import Facade
    from nion.swift.model import PlugInManager
    from nion.swift.test import TestContext
    Facade.initialize()
    application = TestContext.TestSetup()
    PlugInManager.load_plug_ins(os.getcwd(), os.getcwd(), None)
    import nionswift_plugin.udvd_live, udvd_core
    plug_in = pathlib.Path(nionswift_plugin.udvd_live.__file__).parent
    print("plug-in from", plug_in, *(path.name for path in plug_in.iterdir()))
    print("core from", udvd_core.__file__)
    PlugInManager.unload_plug_ins()
except BaseException:
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
sys.stdout.flush()
os._exit(0)
"""


def _run(*command: str | os.PathLike[str], cwd: pathlib.Path) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    run = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, f"{command} failed:\n{run.stdout}\n{run.stderr}"
    return run.stdout


@pytest.mark.slow
@pytest.mark.swift
@pytest.mark.timeout(300)
def test_wheel_works_without_the_checkout(tmp_path: pathlib.Path) -> None:
    # By way of the source distribution, so that nothing left in the checkout's build folder gets into the wheel.
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", ROOT, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")

    # An empty environment that borrows the dependencies of this one. Python reads .pth files only in its own
    # site-packages, so the line that puts the checkout on this environment's path is not borrowed with them.
    home = tmp_path / "env"
    venv.create(home, symlinks=os.name != "nt")
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    _run(sys.executable, "-m", "pip", "--python", home, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    (site,) = (path.parent for path in home.rglob("udvd_core"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    told = _run(programs / "python", "-c", LOADER, cwd=tmp_path)
    assert "Plug-in 'nionswift_plugin.udvd_live' loaded" in told
    assert f"plug-in from {site}" in told and f"core from {site}" in told
    assert "manifest.json" in told
    assert "usage: udvd" in _run(programs / "udvd", "--help", cwd=tmp_path)
