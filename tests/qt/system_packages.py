"""What Swift's real windows need of the system; run as a program it prints the Debian packages that are missing."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

LAUNCHER = pathlib.Path(sys.prefix, "bin", "NionUILauncher", "NionUILauncher")
PROGRAMS = {"Xvfb": "xvfb", "xdotool": "xdotool"}
LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libOpenGL.so.0": "libopengl0",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libX11.so.6": "libx11-6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb.so.1": "libxcb1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
}
FONTS, FONT_PACKAGE = pathlib.Path("/usr/share/fonts"), "fonts-dejavu-core"


def missing() -> list[str]:
    """Debian packages that are not there, each once; a library that none is known for by its own name."""
    found = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    found += [LIBRARIES.get(name, name) for name in _missing_libraries()]
    if not any(FONTS.rglob("*.ttf")):
        found.append(FONT_PACKAGE)
    return sorted(set(found))


def _missing_libraries() -> set[str]:
    """Shared libraries that the launcher, or Qt's part for X11, would not find; not those that come with them."""
    parts = [LAUNCHER, LAUNCHER.parent / "plugins" / "platforms" / "libqxcb.so"]
    if shutil.which("ldd") is None or not LAUNCHER.exists():
        return set()
    said = [subprocess.run(["ldd", part], capture_output=True, text=True).stdout.splitlines() for part in parts]
    return {line.split()[0] for lines in said for line in lines if line.endswith("not found")}


if __name__ == "__main__":
    print(*missing())
