"""An operator's day in the real Swift, by mouse and keyboard: scan, look, drag a window, stop, close, open again."""

from __future__ import annotations

import collections.abc
import contextlib
import pathlib
import typing

import provision
import pytest
import steps
from qt_swift import QtSwift, Screen
from steps import HISTOGRAM, LIVE, REPROCESS

WIDTH, DWELL_MS = 20, 25
DRAGGED_PIXELS = 60
BUDGET_S = 4
SIMULATOR = {"source": "h-bn", "counts": 5000, "seed": 1, "size": [WIDTH, WIDTH], "channels": 256}
SETTINGS: dict[str, typing.Any] = {
    "maps": [
        {"name": "B K", "signal": [190, 210], "background": [160, 187]},
        {"name": "Pre-edge", "signal": [150, 185]},
    ],
    "training": {"budget_s": BUDGET_S},
}
ALL_RESULTS = "{str(item.uuid): describe(item) for item in model.data_items if 'udvd' in item.metadata}"
LABELS = ("Denoised", "B K", "Pre-edge")

pytestmark = [pytest.mark.slow, pytest.mark.calm, pytest.mark.timeout(240)]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_day(screen: Screen, screenshots: pathlib.Path, tmp_path: pathlib.Path, theme: str) -> None:
    home = tmp_path / "home"
    provision.provision(home, SETTINGS)

    def keep(state: str) -> None:
        screen.save(screenshots / f"{state}-{theme}.png")

    with QtSwift(screen, home, SIMULATOR, dark=theme == "dark") as swift, last_look(keep):
        steps.set_up(swift, WIDTH, DWELL_MS)
        keep("ready")
        scan(swift, keep)
        drag_window(swift, keep)
        stop(swift, keep)
        reprocess(swift, keep)
        before = swift.ask(ALL_RESULTS)
        assert swift.quit() == 0
    with QtSwift(screen, home, SIMULATOR, dark=theme == "dark") as swift, last_look(keep):
        assert swift.ask(ALL_RESULTS) == before
        keep("reopened")
        assert swift.quit() == 0


@contextlib.contextmanager
def last_look(keep: typing.Callable[[str], None]) -> collections.abc.Iterator[None]:
    """Keep a picture of the screen where something fails."""
    try:
        yield
    except BaseException:
        keep("failed")
        raise


def scan(swift: QtSwift, keep: typing.Callable[[str], None]) -> None:
    """Acquire a spectrum image: its denoised item and maps fill while it runs, and are final at the end."""
    results = f"[result(model, 1, label) for label in {LABELS}]"
    steps.acquire(swift)
    swift.until(f"all(rows_filled(item) >= {WIDTH // 3} for item in {results})")
    live, filled = swift.ask(f"(raw(model, 1).is_live, [rows_filled(item) for item in {results}])")
    keep("scanning")
    assert live and max(filled) < WIDTH, filled
    swift.until("not raw(model, 1).is_live")
    keep("finishing")
    swift.until(f"{{item.metadata['udvd']['state'] for item in {results}}} == {{'final'}}")
    assert swift.ask(f"[rows_filled(item) for item in {results}]") == [WIDTH] * len(LABELS)
    swift.until(f"any(text.startswith('Final') for text in texts(window, {LIVE!r}))", 10)
    keep("final")


def drag_window(swift: QtSwift, keep: typing.Callable[[str], None]) -> None:
    """Map a signal of the denoised item by the menu's choice; its window, dragged on the spectrum, changes the map."""
    screen = swift.screen
    swift.ask("select(window, result(model, 1, 'Denoised'))")
    swift.ask("window.queue_task(functools.partial(map_menu.guarded, map_menu.choose_map, window))")
    screen.xdotool("sleep", 1.5)
    keep("choose-map")
    screen.xdotool("key", "Return")
    swift.until(f"mapping(model) and rows_filled(mapping(model).get_output('map')) == {WIDTH}")
    signal, digest = "mapping(model).get_input('signal')", "describe(mapping(model).get_output('map'))['sha256']"
    pick = "next(item for item in model.data_items if item.title.endswith('(Pick)'))"
    first, last = swift.ask(f"list({signal}.interval)")
    before = swift.ask(digest)
    x, y = swift.ask(f"on_plot(window, {pick}, {(first + last) / 2})")
    screen.click((x, y))  # selects it
    keep("window")
    screen.drag((x, y), (x + DRAGGED_PIXELS, y))
    swift.until(f"{signal}.interval[0] > {first} + 0.01", 10)
    swift.until(f"{digest} != {before!r}", 20)
    keep("window-dragged")


def stop(swift: QtSwift, keep: typing.Callable[[str], None]) -> None:
    """Stop denoising in our panel while a second scan runs: what is there stays, and the scan is whole."""
    denoised = "result(model, 2, 'Denoised')"
    steps.acquire(swift)
    swift.until(f"rows_filled({denoised}) >= 2 and has_button(window, {LIVE!r}, 'Stop')")
    swift.press(LIVE, "Stop", f"{denoised}.metadata['udvd']['state'] == 'stopped'")
    assert swift.ask("raw(model, 2).is_live")
    keep("stopped")
    swift.until("not raw(model, 2).is_live")
    assert swift.ask(f"rows_filled(raw(model, 2)) == {WIDTH} > rows_filled({denoised}) > 0")


def reprocess(swift: QtSwift, keep: typing.Callable[[str], None]) -> None:
    """Denoise the stopped scan to its end in the reprocessing panel; its results become final where they are."""
    screen, denoised = swift.screen, "result(model, 2, 'Denoised')"
    row = f"row_of(window, {REPROCESS!r}, 0, raw(model, 2).title)"
    unfinished = swift.ask(f"str({denoised}.uuid)")
    swift.ask(f"show_panels(window, {[HISTOGRAM, REPROCESS]})")
    swift.until(
        f"raw(model, 2).title in [row.title for row in panel_widgets(window, {REPROCESS!r}, 'ScanList')[0].rows]"
    )
    screen.fill_in(swift.ask(f"place_of(field_after(window, {REPROCESS!r}, 'Time'))"), BUDGET_S)
    swift.click(row)
    keep("reprocess")
    swift.press(REPROCESS, "Add", f"len(panel_widgets(window, {REPROCESS!r}, 'ScanList')[1].rows) == 1")
    keep("reprocessing")
    swift.until(f"{denoised}.metadata['udvd']['state'] == 'final'")
    assert swift.ask(f"[str({denoised}.uuid), rows_filled({denoised})]") == [unfinished, WIDTH]
    swift.until(f"panel_widgets(window, {REPROCESS!r}, 'ScanList')[1].rows[0].about.startswith('done')")
    keep("reprocessed")
