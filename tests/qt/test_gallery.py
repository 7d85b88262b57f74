"""Each panel, dialogue and state of ours in the real Swift, on a light and a dark desktop: nothing cut, all readable.

The pictures are for people; what a program can see in them is checked. Real are the scan, the queue, the preferences
with their test, the menus and dialogues, and what comes of them. Put in are the sentences of a bad scan (`stage.worst`)
and an engine without torch: these take minutes, or another environment.
"""

from __future__ import annotations

import os
import pathlib

import provision
import pytest
from gallery import Gallery, faults_of
from PIL import Image, ImageDraw
from qt_swift import QtSwift, Screen
from steps import LIVE, REPROCESS

LIVE_ROOT, REPROCESS_ROOT = f"look.panel(window, {LIVE!r})", f"look.panel(window, {REPROCESS!r})"
DIALOGUE = "look.root_of(look.dialog(app, window))"
PANE = f"look.part_with({DIALOGUE}, 'Interpreter')"
JOB = "companion.companion_of(model).current"
SIMULATOR = {"source": "h-bn", "counts": 5000, "seed": 1, "size": [12, 12], "channels": 256}
SETTINGS = {
    "maps": [
        {"name": "B K", "signal": [190, 210], "background": [160, 187]},
        {"name": "Pre-edge", "signal": [150, 185]},
        {"name": "B K, only the pi* peak of it", "signal": [190, 195], "background": [160, 187]},
        *({"name": f"Window {n}", "signal": [200 + n, 220 + n], "background": [160, 187]} for n in range(5)),
    ],
    "training": {"budget_s": 1},
}
SLOW = "dark"
"""Where what takes long is done: the windows of an assessment and of the evidence, the test of a real engine."""
MENU_BAR, NOWHERE, SOMEWHERE = (17, 10), (1200, 10), (640, 330)
"""Where menus are, where nothing is, and where a display is."""
MENUS = ("File", "Edit", "Display", "Graphics", "Processing", "Workspace", "EELS", "Window", "Help")

pytestmark = [pytest.mark.slow, pytest.mark.calm, pytest.mark.timeout(400)]


@pytest.mark.skipif(
    not os.environ.get("UDVD_SCREENSHOTS"),
    reason="takes minutes; wanted by UDVD_SCREENSHOTS=FOLDER",
)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_panel_and_dialogue(
    screen: Screen, screenshots: pathlib.Path, tmp_path: pathlib.Path, theme: str
) -> None:
    home = tmp_path / "home"
    provision.provision(home, SETTINGS)
    with QtSwift(screen, home, SIMULATOR, dark=theme == "dark") as swift:
        pictures = Gallery(swift, screen, screenshots, theme)
        try:
            for show in (menus, live, reprocessing, maps, fits, trust, preferences, faults):
                show(pictures)
        finally:
            screen.save(screenshots / f"gallery-last-{theme}.png")
        screen.click(NOWHERE)  # the keyboard is for what was clicked last
        assert swift.quit() == 0
    assert not pictures.faults, "\n".join(pictures.faults)


def open_menu(pictures: Gallery, name: str) -> None:
    """Open a menu by mouse and arrow keys."""
    pictures.screen.click(MENU_BAR)
    pictures.screen.xdotool("sleep", 0.2, "key", "--delay", 60, *["Right"] * MENUS.index(name))


def menus(pictures: Gallery) -> None:
    """Our panels come from the menu Window; our entries are in the menu EELS."""
    swift, screen = pictures.swift, pictures.screen
    swift.ask("show_panels(window, [])")
    titles = swift.ask("look.menu_titles(window)")
    for title, panel in (("UDVD Live Denoising", LIVE), ("UDVD Reprocessing", REPROCESS)):
        open_menu(pictures, "Window")
        screen.xdotool("key", "--delay", 30, *["Down"] * titles.index(title))
        pictures.take(f"menu-window-{panel}")
        screen.xdotool("key", "Return")
        swift.until(f"window.workspace_controller._find_dock_panel({panel!r}).dock_widget.visible", 5)
    swift.until(f"'torch' in ' '.join(texts(window, {LIVE!r}))")
    pictures.take("live-idle", LIVE_ROOT)
    pictures.take("reprocess-empty", REPROCESS_ROOT)
    open_menu(pictures, "EELS")
    pictures.take("menu-eels")
    screen.xdotool("key", "Escape", "key", "Escape")


def live(pictures: Gallery) -> None:
    """A scan in the compact dock, its title too long for it, eight maps."""
    swift = pictures.swift
    swift.ask(f"show_panels(window, [{LIVE!r}])")
    swift.ask("quarter(window)")
    swift.ask("kept.update(scan=stage.acquire_scan(window, 60))")
    swift.until(f"{JOB} is not None and {JOB}.status is not None and {JOB}.status.denoised > 12")
    swift.ask(f"setattr({JOB}.recording, 'title', stage.LONG)")
    pictures.take("live-running", LIVE_ROOT)
    swift.ask(f"{JOB}.pause(True)")
    swift.until(f"has_button(window, {LIVE!r}, 'Go On Learning')", 10)
    pictures.take("live-paused", LIVE_ROOT)
    swift.until(f"{JOB}.phase.name == 'DONE'")
    box = f"look.of_kind({LIVE_ROOT}, 'CheckBoxWidget', 'Show maps')"
    swift.press_at(f"look.box_of({box})", f"{box}.checked")
    said = pictures.take("live-final-with-maps", LIVE_ROOT)
    assert "Window 4" in said and "Final" in said
    assert swift.ask(f"{LIVE_ROOT}.size.width") == 300
    swift.press(LIVE, "Discard", f"has_button(window, {LIVE!r}, 'Really Discard?')")
    assert "Really Discard?" in pictures.take("live-discard", LIVE_ROOT)
    swift.ask(f"stage.worst({JOB})")
    pictures.take("live-worst", LIVE_ROOT)


def reprocessing(pictures: Gallery) -> None:
    """Scans with long titles; one is done, one runs, one waits, one fails as its scan is deleted."""
    swift, queue = pictures.swift, "companion.companion_of(model).reprocessor"
    swift.ask(f"show_panels(window, [{REPROCESS!r}])")
    swift.ask(
        "kept.update(hbn=stage.add_scan(model, 'Spectrum Image EELS 3'), gone=stage.add_scan(model, stage.LONG),"
        "ceria=stage.add_scan(model, 'Spectrum Image EELS 4 (ceria)', (883., 901., 1185., 1217.), 800., 2.))"
    )
    swift.until(f"len(panel_widgets(window, {REPROCESS!r}, 'ScanList')[0].rows) == 4")
    swift.ask(f"panel_widgets(window, {REPROCESS!r}, 'ScanList')[0].select([str(kept['gone'].uuid)])")
    pictures.take("reprocess-scans", REPROCESS_ROOT)
    swift.ask(f"[stage.queue({queue}, kept[name], 1) for name in ('hbn', 'ceria', 'gone')]")
    swift.until(f"[each.state.value for each in {queue}.queue.entries][:1] == ['running']")
    pictures.take("reprocess-running", REPROCESS_ROOT)
    swift.ask("model.remove_data_item(kept['gone'])")
    swift.until(f"{{each.state.value for each in {queue}.queue.entries}} == {{'done', 'failed'}}", 90)
    swift.ask("kept.update({n: stage.denoised(model, kept[n]) for n in ('hbn', 'ceria')})")
    pictures.take("reprocess-over", REPROCESS_ROOT)


def maps(pictures: Gallery) -> None:
    """What can be mapped, windows on the spectrum, several maps in one picture, averages, the preset for ceria."""
    swift = pictures.swift
    swift.ask("show_panels(window, [])")
    for name in ("hbn", "ceria"):
        swift.ask("stage.empty(window)")
        act(swift, "map_menu.choose_map", f"kept[{name!r}]")
        swift.until("look.dialog(app, window) is not None")
        pictures.take(f"map-choices-{name}", DIALOGUE)
        swift.click(f"place_of(look.of_kind({DIALOGUE}, 'PushButtonWidget', 'Select'))")
        swift.until("mapping(model) and rows_filled(mapping(model).get_output('map')) == 12")
        swift.until("look.dialog(app, window) is None")
        pictures.take(f"map-windows-{name}")
    swift.ask("kept.update(maps=[mapping(model).get_output('map')])")
    swift.ask("stage.mark(model, kept['maps'][0], (0.1, 0.1, 0.3, 0.3), (0.1, 0.6, 0.3, 0.3))")
    swift.ask("stage.empty(window)")
    act(swift, "map_menu.average_map", "kept['maps'][0]")
    act(swift, "map_menu.view_maps", "*stage.maps_of(model, kept['ceria'])")
    pictures.take("map-averages-and-view", None)


def fits(pictures: Gallery) -> None:
    """Composition, lines, white lines, references."""
    swift = pictures.swift
    act(swift, "fit_menu.map_composition", "*stage.maps_of(model, kept['ceria'])")
    swift.until("look.dialog(app, window) is not None")
    pictures.take("composition", DIALOGUE)
    swift.click(f"place_of(look.of_kind({DIALOGUE}, 'PushButtonWidget', 'Make Maps'))")
    swift.until("look.dialog(app, window) is None")
    swift.until("any(' percent, ' in item.title and rows_filled(item) == 12 for item in model.data_items)")
    pictures.take("composition-maps")
    for name, action, scan in (("line", "map_line", "hbn"), ("white-lines", "map_ratio", "ceria")):
        swift.ask("stage.empty(window)")
        act(swift, f"fit_menu.{action}", f"kept[{scan!r}]")
        pictures.screen.xdotool("sleep", 2)
        pictures.take(name)
    swift.ask("stage.empty(window)")
    swift.ask("stage.mark(model, kept['hbn'], (0.1, 0.1, 0.3, 0.3), (0.1, 0.6, 0.3, 0.3))")
    act(swift, "fit_menu.map_references", "kept['hbn']")
    pictures.screen.xdotool("sleep", 2)
    pictures.take("references")


def trust(pictures: Gallery) -> None:
    """Raw beside denoised, their difference, an assessment, the evidence."""
    swift = pictures.swift
    swift.ask("stage.empty(window)")
    for action in ("compare_with_raw", "difference_in_sigma"):
        act(swift, f"evidence_menu.{action}", "kept['hbn']", "window.selected_display_items")
    pictures.screen.xdotool("sleep", 2)
    pictures.take("compare-and-difference")
    pictures.screen.xdotool("mousemove", *SOMEWHERE, "click", 3)
    pictures.take("menu-context")
    pictures.screen.xdotool("key", "Escape")
    if pictures.theme != SLOW:
        return
    act(swift, "evidence_menu.assess_denoising", "kept['hbn']", "window.selected_display_items")
    swift.until("look.dialog(app, window) is not None")
    pictures.take("assess-running", DIALOGUE)
    swift.until(f"any(getattr(w, 'text', '') == 'Close' for w in look.shown({DIALOGUE}))", 120)
    pictures.take("assess-done", DIALOGUE)
    swift.click(f"place_of(look.of_kind({DIALOGUE}, 'PushButtonWidget', 'Close'))")
    swift.until("look.dialog(app, window) is None")
    swift.ask("stage.export(window, kept['hbn'])")
    swift.until(f"any(getattr(w, 'text', '') == 'Close' for w in look.shown({DIALOGUE}))", 120)
    pictures.take("evidence", DIALOGUE)
    swift.click(f"place_of(look.of_kind({DIALOGUE}, 'PushButtonWidget', 'Close'))")
    swift.until("look.dialog(app, window) is None")


def preferences(pictures: Gallery) -> None:
    """The pane from end to end, a wrong value, the test of an engine that is not there and of one that is."""
    swift, screen = pictures.swift, pictures.screen
    swift.ask("window.open_preferences()")
    swift.until("look.dialog(app, window) is not None")
    swift.ask(f"stage.show_pane({DIALOGUE})")
    pictures.take("preferences-upper", PANE)
    tried = [("bad", "/bin/true", "does not run"), ("good", "", "Weights")]
    for name, value, says in tried[: 2 if pictures.theme == SLOW else 1]:
        swift.ask(f"stage.fill({PANE}, 'Interpreter', {value!r})")
        swift.click(f"place_of(look.of_kind({PANE}, 'PushButtonWidget'))")
        swift.until(f"any({says!r} in text['text'] for text in look.texts_in(app.ui, {PANE}))", 90)
        pictures.take(f"preferences-test-{name}", PANE)
    swift.ask(f"stage.fill({PANE}, 'Interpreter', '')")
    screen.xdotool("mousemove", *swift.ask(f"place_of({PANE})"), "click", "--repeat", 20, "--delay", 30, 5)
    pictures.take("preferences-lower", PANE)
    screen.fill_in(swift.ask(f"place_of(look.field_in({PANE}, 'Memory (GiB)'))"), "much")
    said = pictures.take("preferences-wrong", PANE)
    assert any("want a number" in text for text in said)
    swift.click(f"place_of(look.of_kind({DIALOGUE}, 'PushButtonWidget', 'Done'))")
    swift.until("look.dialog(app, window) is None")


def faults(pictures: Gallery) -> None:
    """An engine without torch, one that does not start, and what does not fit."""
    swift, found = pictures.swift, "companion.companion_of(model)"
    swift.ask(f"show_panels(window, [{LIVE!r}])")
    swift.until(f"'torch' in ' '.join(texts(window, {LIVE!r}))")
    swift.ask(f"setattr({found}.engine, '_state', 'without torch')")
    pictures.take("live-without-torch", LIVE_ROOT)
    swift.ask(f"{found}.apply(stage.other_python({found}.preferences, '/nowhere/at/all/bin/python'))")
    swift.until(f"{found}.trouble != ''")
    pictures.take("live-engine-fault", LIVE_ROOT)
    act(swift, "fit_menu.map_references", "kept['ceria']")  # no region is marked in it
    pictures.screen.xdotool("sleep", 1)
    pictures.take("notification")


def act(swift: QtSwift, action: str, items: str, *arguments: str) -> None:
    """Select items in the data panel, then do what a menu entry does."""
    swift.ask(f"stage.select(window, {items})")
    swift.ask(f"stage.guarded(window, {', '.join([action, *arguments])})")


def test_what_is_cut_or_too_faint_is_found() -> None:
    picture = Image.new("RGB", (200, 40), (49, 54, 59))
    ImageDraw.Draw(picture).text((4, 4), "black on dark", (0, 0, 0))
    text = {"text": "x", "enabled": True, "frame": [0, 0, 100, 20], "has": [100, 20], "needs": [90, 14]}
    limits = text["view"] = [0, 0, 200, 40]
    (faint,) = faults_of(picture, limits, text)
    assert not faults_of(picture, limits, {**text, "view": [0, 30, 200, 40]})  # scrolled away
    assert "has a contrast of 1.7; want 4.5" in faint
    ImageDraw.Draw(picture).text((4, 4), "white on dark", (239, 240, 241))
    assert not faults_of(picture, limits, text)
    assert "is cut" in faults_of(picture, limits, {**text, "needs": [130, 14]})[0]
    assert "is cut" in faults_of(picture, limits, {**text, "needs": [90, 28]})[0]
    assert "leaves its panel" in faults_of(picture, [0, 0, 90, 40], text)[0]
