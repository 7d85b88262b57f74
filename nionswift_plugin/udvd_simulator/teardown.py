"""What Swift leaves behind when it closes, because its process usually ends then."""

from __future__ import annotations

import concurrent.futures
import logging
import sys
import typing

# Modules whose `stop` undoes their `run`, in the order in which they must stop. Swift itself never
# stops a plug-in (its process ends); here the next Swift must start in a clean registry.
STOPPED_PLUG_INS = (
    "nionswift_plugin.udvd_live",
    "nionswift_plugin.udvd_simulator",
    "nionswift_plugin.usim",
    "nionswift_plugin.nion_instrumentation_ui",
)

_LEFT_OVER_TYPES = ("color-map-description", "drift_tracker")

_logger = logging.getLogger(__name__)


def left_over_components() -> set[typing.Any]:
    """Components that Swift registers for each application and never takes back.

    A declarative constructor of Swift's own holds its application; those of plug-ins are
    registered once, on import.
    """
    from nion.utils import Registry

    constructors = Registry.get_components_by_type("declarative_constructor")
    own = {component for component in constructors if type(component).__module__.startswith("nion.swift.")}
    return own.union(*(Registry.get_components_by_type(kind) for kind in _LEFT_OVER_TYPES))


def restart_pools() -> None:
    """End the idle threads of the pools that Swift's classes share for the life of a process."""
    for name, module in list(sys.modules.items()):
        if name.startswith("nion."):
            for value in list(vars(module).values()):
                pool = vars(value).get("_executor") if isinstance(value, type) else None
                if isinstance(pool, concurrent.futures.ThreadPoolExecutor):
                    pool.shutdown(wait=True)
                    value._executor = concurrent.futures.ThreadPoolExecutor()


def close_all(steps: typing.Sequence[typing.Callable[[], object]]) -> None:
    """Take every step even when one fails; a Swift left half open would hang the process."""
    for step in steps:
        try:
            step()
        except Exception:
            _logger.exception("could not close Swift completely")
