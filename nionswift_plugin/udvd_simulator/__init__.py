"""A counting EELS camera for Swift's simulated microscope that plays a simulated or recorded scan.

It registers only when the environment variable ``UDVD_SIMULATOR`` is set (see `sources`), so
that an installed package never adds a camera to a real microscope.
"""

from __future__ import annotations

from . import registration


def run() -> None:
    """Register the camera when the environment asks for it; Swift calls this once all plug-ins are loaded."""
    registration.register_from_environment()


def stop() -> None:
    """Take the camera out again; Swift itself never calls this, the headless harness does."""
    registration.unregister()
