"""What an operator does in more than one test: set up a scan, start it."""

from __future__ import annotations

from qt_swift import QtSwift

SCAN, LIVE, REPROCESS = "scan-acquisition-panel", "udvd-live-panel", "udvd-reprocessing-panel"
HISTOGRAM = "histogram-panel"
"""Swift's own; keeps the dock at its usual width."""
CAMERA = "UDVD Simulated EELS Camera"


def set_up(swift: QtSwift, width: int, dwell_ms: float) -> None:
    """Choose the simulated camera, scan width and exposure in the Spectrum Imaging panel; then wait for the engine."""
    screen = swift.screen
    swift.ask(f"show_panels(window, {[SCAN, LIVE]})")
    swift.ask("quarter(window)")
    swift.until(f"has_button(window, {SCAN!r}, 'Acquire')")
    for camera in ("uSim EELS Camera", CAMERA):  # one after the other: the second choice is no mere default
        swift.click(f"place_of(panel_widgets(window, {SCAN!r}, 'ComboBoxWidget')[0])")
        screen.xdotool("sleep", 0.3, "type", "--delay", 20, camera)
        screen.xdotool("key", "Return")
        swift.until(f"panel_widgets(window, {SCAN!r}, 'ComboBoxWidget')[0].current_text == {camera!r}", 10)
    for label, value in (("Scan Width (pixels)", width), ("Camera Exposure Time (ms)", dwell_ms)):
        screen.fill_in(swift.ask(f"place_of(field_after(window, {SCAN!r}, {label!r}))"), value)
        swift.until(f"float(field_after(window, {SCAN!r}, {label!r}).text) == {value}", 10)
    swift.until(f"'torch' in ' '.join(texts(window, {LIVE!r}))")


def acquire(swift: QtSwift) -> None:
    """Start a scan with the button of the Spectrum Imaging panel; then show our live panel in its place."""
    swift.ask(f"show_panels(window, {[SCAN, LIVE]})")
    swift.until(f"has_button(window, {SCAN!r}, 'Acquire')")
    swift.press(SCAN, "Acquire", f"has_button(window, {SCAN!r}, 'Cancel')")
    swift.ask(f"show_panels(window, {[HISTOGRAM, LIVE]})")
