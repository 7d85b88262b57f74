"""Live denoising of EELS spectrum images in Nion Swift.

The way of a scan: `follower` notices it, `tap` hands on its blocks, `recording` knows what has
come, `job` takes it through the engine (a child process, `udvd_core.engine.local`), `writer` puts
results beside the raw item, `companion` owns all of them for one project, `panel` shows it.
`map_menu` makes maps of what is in the library, `fit_menu` those by fits of lines and references.
"""

from . import evidence_menu, fit_menu, lock_up, map_menu, panel, preference_pane, reprocess_menu, theme

PARTS = (lock_up, theme, panel, preference_pane, map_menu, fit_menu, reprocess_menu, evidence_menu)


def run() -> None:
    """Swift calls this once all plug-ins are loaded."""
    for part in PARTS:
        part.register()


def stop() -> None:
    """Undo `run`."""
    for part in reversed(PARTS):
        part.unregister()
