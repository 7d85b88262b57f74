"""Fixtures with the real Nion Swift, its windows on a screen that nobody sees."""

from __future__ import annotations

import collections.abc
import os
import pathlib
import sys

import pytest

pytest.importorskip("nion.swift", reason="needs the extra 'swift'")
pytest.importorskip("nion.usim_device", reason="needs the extra 'simulator'")

import qt_swift  # noqa: E402
import system_packages  # noqa: E402


def _lacking() -> str:
    """Why Swift's windows cannot be shown here; empty where they can."""
    if not sys.platform.startswith("linux"):
        return "needs an X server of its own, so Linux"
    if not system_packages.LAUNCHER.exists():
        return f"needs nionui-tool in the environment of {sys.executable}"
    packages = system_packages.missing()
    return f"needs the system packages {' '.join(packages)}" if packages else ""


@pytest.fixture(scope="session")
def screen() -> collections.abc.Iterator[qt_swift.Screen]:
    """An X server of our own. Where something is missing the tests are left out; with CI=true they fail."""
    reason = _lacking()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)
    with qt_swift.Screen() as opened:
        yield opened


@pytest.fixture
def screenshots(tmp_path: pathlib.Path) -> pathlib.Path:
    """Folder for pictures of the screen: what ``UDVD_SCREENSHOTS`` names, or the test's own."""
    return pathlib.Path(os.environ.get("UDVD_SCREENSHOTS") or tmp_path / "screenshots").resolve()
