"""Put the simulated camera into Swift's registry, and take it out again."""

from __future__ import annotations

import logging
import os
import typing

from nion.utils import Registry

from udvd_core.errors import UdvdError

from . import camera, sources

ENVIRONMENT_VARIABLE = "UDVD_SIMULATOR"

_COMPONENT_TYPES = {"camera_module"}
_logger = logging.getLogger(__name__)
_registered: list[camera.CameraModule] = []


def register_from_environment(environment: typing.Mapping[str, str] = os.environ) -> None:
    """Register the camera that ``UDVD_SIMULATOR`` describes; without the variable do nothing.

    A description that cannot be used is logged in one line, and Swift starts without the camera.
    """
    text = environment.get(ENVIRONMENT_VARIABLE, "").strip()
    if not text:
        return
    try:
        config = sources.SimulatorConfig.from_json(text)
        source = sources.build_source(config)
    except (UdvdError, OSError) as error:
        _logger.error("%s is set but no camera was added: %s", ENVIRONMENT_VARIABLE, error)
        return
    register(source, config.describe())


def register(source: sources.FrameSource, description: typing.Mapping[str, typing.Any] | None = None) -> None:
    """Register a camera that plays `source`, in place of one registered before.

    Parameters
    ----------
    source : FrameSource
        What the camera sees.
    description : mapping, optional
        Plain values written into the metadata of everything acquired.
    """
    unregister()
    module = camera.CameraModule(
        camera_device=camera.SimulatedCamera(source, description or {}), camera_settings=camera.make_settings()
    )
    Registry.register_component(module, _COMPONENT_TYPES)
    _registered.append(module)


def unregister() -> None:
    """Remove the camera; harmless when there is none or when something else removed it."""
    while _registered:
        module = _registered.pop()
        if module in Registry.get_components_by_type("camera_module"):
            Registry.unregister_component(module, _COMPONENT_TYPES)
