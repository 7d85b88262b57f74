"""A window of Swift for work that takes a while: what it is doing, how far it is, Cancel, and what came of it."""

from __future__ import annotations

import gettext
import logging
import threading
import typing

from nion.ui import Declarative
from nion.utils import Model

from udvd_core.errors import UdvdError

from .theme import create_label

_ = gettext.gettext

log = logging.getLogger(__name__)

PERIOD_S = 0.1
WIDTH, HEIGHT = 620, 440

Window = typing.Any


class CancelledError(Exception):
    """The operator has cancelled the work."""


class Task:
    """Work on a thread of its own.

    Parameters
    ----------
    work : callable
        Gets this task: calls `report` often, which ends it when it is cancelled; returns the text to show.
    """

    def __init__(self, work: typing.Callable[[Task], str]) -> None:
        self.share, self.note, self.text = 0.0, "", ""
        """How far it is, 0 to 1; what it is doing; what came of it."""
        self.failed = False
        self.cancelled = threading.Event()
        self._work = work
        self._thread = threading.Thread(target=self._run, name="udvd-task", daemon=True)

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def report(self, share: float, note: str) -> None:
        """Tell how far it is; from its thread.

        Raises
        ------
        CancelledError
            When it is to end.
        """
        if self.cancelled.is_set():
            raise CancelledError
        self.share, self.note = share, note

    def wait(self) -> None:
        """Wait for its end; not on Swift's main thread while it may need that."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self.text = self._work(self)
        except CancelledError:
            self.text, self.failed = _("Cancelled; nothing was kept."), True
        except (UdvdError, OSError) as error:
            self.text, self.failed = str(error), True
        except Exception as error:
            log.exception("UDVD task")
            self.text, self.failed = f"{type(error).__name__}: {error}", True


class TaskWindow(Declarative.WindowHandler):
    """Shows a task, and starts it. Closing the window cancels it.

    Parameters
    ----------
    window : DocumentController
        Swift's, above which it opens.
    title : str
        Of the window.
    task : Task
        Not started yet.
    done : callable
        Called on the main thread when the task has ended without failure, also when the window was closed since.
    """

    def __init__(self, window: Window, title: str, task: Task, done: typing.Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.task = task
        self.share_model: typing.Any = Model.PropertyModel(0)
        self.note_model: typing.Any = Model.PropertyModel("")
        self.text_model: typing.Any = Model.PropertyModel("")
        self.button_model: typing.Any = Model.PropertyModel(_("Cancel"))
        self._done = done
        self._loop = window.event_loop
        self._shown = True
        u = Declarative.DeclarativeUI()
        content = u.create_column(
            create_label(text="@binding(note_model.value)", width=WIDTH, word_wrap=True),
            u.create_progress_bar(value="@binding(share_model.value)", minimum=0, maximum=100, width=WIDTH),
            u.create_text_browser(text="@binding(text_model.value)", name="browser", width=WIDTH, height=HEIGHT),
            u.create_row(
                u.create_stretch(),
                u.create_push_button(text="@binding(button_model.value)", on_clicked="clicked", name="button"),
            ),
            spacing=8,
        )
        self.run(u.create_window(content, title=title, margin=12, window_style="tool"), parent_window=window)
        task.start()
        self._tick()

    def clicked(self, widget: typing.Any) -> None:
        """Cancel what is running; close the window when nothing is."""
        if self.task.running:
            self.task.cancelled.set()
        else:
            self.close_window()

    def close(self) -> None:
        """The window goes; so does the work."""
        self._shown = False
        self.task.cancelled.set()

    def _tick(self) -> None:
        running = self.task.running
        if not running and not self.task.failed:
            try:
                self._done()
            except Exception:
                log.exception("UDVD task")
        if self._shown:
            self._show(running)
        if running:
            self._loop.call_later(PERIOD_S, self._tick)

    def _show(self, running: bool) -> None:
        task = self.task
        if running:
            self.share_model.value, self.note_model.value = round(100 * task.share), task.note
        else:
            head, _blank, rest = task.text.partition("\n")
            self.share_model.value = 0 if task.failed else 100
            self.note_model.value, self.text_model.value = head, rest.strip("\n")
            self.button_model.value = _("Close")
