"""Live denoising of EELS spectrum images in Nion Swift.

The way of a scan: `follower` notices it, `tap` hands on its blocks, `recording` knows what has
come, `job` takes it through the engine (a child process, `udvd_core.engine.local`), `writer` puts
results beside the raw item, `companion` owns all of them for one project, `panel` shows it.
`map_menu` makes maps of what is in the library.
"""

from . import map_menu, panel


def run() -> None:
    """Swift calls this once all plug-ins are loaded."""
    panel.register()
    map_menu.register()


def stop() -> None:
    """Undo `run`."""
    map_menu.unregister()
    panel.unregister()
