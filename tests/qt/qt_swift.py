"""A screen of our own, and the real Swift on it with its windows; mouse and keyboard as an operator's."""

from __future__ import annotations

import contextlib
import json
import multiprocessing.connection
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing

import provision
import system_packages
from PIL import ImageGrab

ROOT = pathlib.Path(__file__).parents[2]
SIZE = (1600, 1000)
START_S, END_S, WAIT_S = 90.0, 30.0, 60.0
PRESSES, PRESSED_S = 3, 3.0
_PERIOD_S = 0.2

Place = typing.Sequence[int]
"""x and y on the screen, pixels."""


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its session; harmless when it has ended."""
    for way in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, way)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return


class Screen:
    """Context manager: an X server that nobody sees, on the first free display."""

    def __enter__(self) -> Screen:
        ours, its = os.pipe()
        options = ["-displayfd", str(its), "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-nolisten", "tcp"]
        with open(ours) as answer:
            self._process = subprocess.Popen(
                ["Xvfb", *options], pass_fds=[its], stderr=subprocess.DEVNULL, start_new_session=True
            )
            os.close(its)
            self.display = f":{answer.readline().strip()}"
        if self.display == ":":
            end(self._process)
            raise RuntimeError("Xvfb did not start")
        return self

    def __exit__(self, *exception: object) -> None:
        end(self._process)

    def xdotool(self, *arguments: object) -> str:
        """Move the mouse, press keys; returns what it prints."""
        command = ["xdotool", *map(str, arguments)]
        environment = {**os.environ, "DISPLAY": self.display}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def click(self, place: Place, times: int = 1) -> None:
        """Click with the left button."""
        self.xdotool("mousemove", *place, "sleep", 0.1, "click", "--repeat", times, "--delay", 60, 1)

    def drag(self, begin: Place, finish: Place, steps: int = 10) -> None:
        """Press the left button, move in steps, let go; not so soon after a click that it counts as a double click."""
        path: list[object] = ["mousemove", *begin, "sleep", 0.6, "mousedown", 1]
        for step in range(1, steps + 1):
            between = (round(a + (b - a) * step / steps) for a, b in zip(begin, finish, strict=True))
            path += ["sleep", 0.03, "mousemove", *between]
        self.xdotool(*path, "sleep", 0.1, "mouseup", 1)

    def fill_in(self, place: Place, text: object) -> None:
        """Put a text into a field in place of what is there."""
        self.click(place, times=3)
        self.xdotool("key", "ctrl+a", "type", "--delay", 20, str(text))
        self.xdotool("key", "Return")

    def save(self, path: pathlib.Path) -> None:
        """Write what is on the screen as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        ImageGrab.grab(xdisplay=self.display).save(path)


class QtSwift:
    """Context manager: Nion Swift with its windows, our plug-ins, the simulated camera and the driver.

    Parameters
    ----------
    screen : Screen
        Where it shows.
    home : path
        Its home folder, made by `provision.provision`.
    simulator : mapping
        What the simulated camera plays, see `nionswift_plugin.udvd_simulator.sources`.
    dark : bool
        In the colours of a dark desktop.
    """

    def __init__(
        self, screen: Screen, home: pathlib.Path, simulator: typing.Mapping[str, typing.Any], dark: bool = False
    ) -> None:
        self.screen = screen
        self.log = home / "swift.log"
        self._home = home
        self._socket = str(home / "driver")
        dropped = ("XDG_", "KDE_", "QT_", "UDVD_", "PYTHONHOME", "DISPLAY", "WAYLAND")
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | {
            "HOME": str(home),
            "DISPLAY": screen.display,
            "QT_QPA_PLATFORM": "xcb",
            "LANG": "C.UTF-8",
            "LANGUAGE": "C",  # else Swift looks for files of translations at each text, with half of its main thread
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "UDVD_DRIVER": self._socket,
            "UDVD_SIMULATOR": json.dumps(simulator),
        }
        if dark:
            provision.darken(home)
            self._environment |= provision.DARK_ENVIRONMENT

    def __enter__(self) -> QtSwift:
        pathlib.Path(self._socket).unlink(missing_ok=True)
        command = [str(system_packages.LAUNCHER), sys.prefix, "nionui_app.nionswift"]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, cwd=self._home, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self.until("True", START_S)
            self.ask("window._document_window.fill_screen()")
        except BaseException:
            end(self._process)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        end(self._process)

    def ask(self, code: str) -> typing.Any:
        """Run Python on Swift's main thread; see the driver for what it finds there.

        Raises
        ------
        RuntimeError
            When it raised there, or when Swift has ended or has no window.
        """
        answer = self._ask(code)
        if "value" not in answer:
            raise RuntimeError(f"{code}\n{answer.get('error', 'Swift has no window')}\n{self._last_words()}")
        return answer["value"]

    def until(self, code: str, timeout_s: float = WAIT_S) -> typing.Any:
        """Wait until Python on Swift's main thread gives something true, and return it.

        Raises
        ------
        TimeoutError
            When it does not.
        """
        give_up = time.monotonic() + timeout_s
        while True:
            answer = self._ask(code)
            if "error" in answer and answer["error"] != "not there":
                raise RuntimeError(f"{code}\n{answer['error']}\n{self._last_words()}")
            if answer.get("value"):
                return answer["value"]
            if time.monotonic() > give_up:
                raise TimeoutError(f"not within {timeout_s:g} s: {code}; last {answer}\n{self._last_words()}")
            time.sleep(_PERIOD_S)

    def click(self, code: str) -> None:
        """Click where Python on Swift's main thread says."""
        self.screen.click(self.ask(code))

    def press(self, panel: str, text: str, then: str) -> None:
        """Press a button of a dock panel; see `press_at`."""
        self.press_at(f"button(window, {panel!r}, {text!r})", then)

    def press_at(self, code: str, then: str) -> None:
        """Press what lies at a place; again, as anyone would, where it moved away from under the mouse.

        Parameters
        ----------
        code : str
            Python that says on Swift's main thread where that is.
        then : str
            Python that is true there once it was pressed.
        """
        for _ in range(PRESSES):
            self.click(code)
            with contextlib.suppress(TimeoutError):
                self.until(then, PRESSED_S)
                return
        raise TimeoutError(f"{code} was pressed {PRESSES} times and this is false: {then}")

    def quit(self) -> int:
        """Close Swift as its user does, by the keyboard, and return the exit status.

        Raises
        ------
        subprocess.TimeoutExpired
            When it goes on.
        """
        self.screen.xdotool("key", "--clearmodifiers", "ctrl+q")
        return self._process.wait(END_S)

    def _ask(self, code: str) -> dict[str, typing.Any]:
        if self._process.poll() is not None:
            raise RuntimeError(f"Swift has ended with {self._process.returncode}\n{self._last_words()}")
        try:
            with multiprocessing.connection.Client(self._socket, "AF_UNIX") as connection:
                connection.send_bytes(code.encode())
                answer: dict[str, typing.Any] = json.loads(connection.recv_bytes())
        except (FileNotFoundError, ConnectionRefusedError):
            return {"error": "not there"}
        return answer

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-1000:]
