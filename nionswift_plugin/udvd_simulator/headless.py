"""A whole Nion Swift without a screen, for tests, the demo and benchmarks."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import logging
import pathlib
import sys
import time
import types
import typing
import uuid

from . import leave_out, teardown

if typing.TYPE_CHECKING:
    from nion.swift import Application, DocumentController
    from nion.swift.model import DataItem, DocumentModel

_PERIOD_S = 0.02  # Swift's own window runs its main loop 50 times a second


class HeadlessSwift:
    """Context manager: a real application, real plug-ins and a project on disk, without a window that anyone sees.

    At the sides of the window are the data panel and those of this package, none of Swift's others.

    Parameters
    ----------
    folder : path
        Holds the project, the settings and the logs; one that was used before is opened again.
    load_plug_ins : bool
        Load all plug-ins that Swift finds, this package's among them.
    skip_plug_ins : sequence of str
        Module names of plug-ins to leave out, such as ``"nionswift_plugin.udvd_live"``.

    Attributes
    ----------
    document_controller, document_model
        Swift's objects for the one window.

    Notes
    -----
    Whoever holds it must call `pump`: Swift applies data and runs everything queued for its main
    thread there. One at a time in one process.
    """

    def __init__(
        self, folder: pathlib.Path | str, *, load_plug_ins: bool = True, skip_plug_ins: typing.Sequence[str] = ()
    ) -> None:
        self.folder = pathlib.Path(folder).resolve()
        self._load_plug_ins = load_plug_ins
        self._skip_plug_ins = tuple(skip_plug_ins)
        self._app: Application.Application | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._components: set[typing.Any] = set()
        self._document_controller: DocumentController.DocumentController | None = None

    def __enter__(self) -> HeadlessSwift:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()

    @property
    def document_controller(self) -> DocumentController.DocumentController:
        """The window; `queue_task` on it is safe from any thread."""
        if self._document_controller is None:
            raise RuntimeError("this Swift is not open; use it in a with statement")
        return self._document_controller

    @property
    def document_model(self) -> DocumentModel.DocumentModel:
        """The project's data items and computations."""
        return self.document_controller.document_model

    @property
    def project_path(self) -> pathlib.Path:
        """The project file; an installed Swift opens it, too."""
        return self.folder / "project" / "Lab.nsproj"

    @property
    def data_items(self) -> list[DataItem.DataItem]:
        """All data items, oldest first."""
        return list(self.document_model.data_items)

    def find(self, text: str) -> list[DataItem.DataItem]:
        """Data items whose title contains `text`, oldest first."""
        return [item for item in self.data_items if text in item.title]

    def pump(self, seconds: float = 0.0) -> None:
        """Run Swift's main thread once, or for `seconds`."""
        end = time.monotonic() + seconds
        while True:
            self.document_controller.periodic()
            if time.monotonic() >= end:
                return
            time.sleep(_PERIOD_S)

    def pump_until(self, predicate: typing.Callable[[], object], timeout: float = 30.0) -> None:
        """Run Swift's main thread until `predicate` is true.

        Raises
        ------
        TimeoutError
            When it is still false after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while not predicate():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {timeout:g} s in Swift's main loop and the condition is still false")
            self.pump()
            time.sleep(_PERIOD_S)

    def close(self) -> None:
        """Close the window, the application and the plug-ins; harmless when closed."""
        if self._loop is None:
            return
        teardown.close_all(
            [
                self._close_window,
                self._stop_plug_ins,
                self._close_app,
                self._close_loop,
                self._unregister_rest,
                teardown.restart_pools,
            ]
        )
        gc.collect()

    # opening

    def _open(self) -> None:
        from nion.swift import Application, Facade

        for name in ("data", "docs", "config", "project"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._components = teardown.left_over_components()
        Facade.initialize()
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        root = logging.getLogger()
        level, handlers = root.level, list(root.handlers)
        app = Application.Application(_make_ui(self.folder), set_global=True)
        self._app = app
        root.setLevel(level)  # Swift turns on its own log on the console
        root.handlers[:] = handlers
        with leave_out.plug_ins(self._skip_plug_ins):
            app.initialize(load_plug_ins=self._load_plug_ins, use_root_dir=False)
        profile, reference = self._open_profile(app)
        app._Application__profile = profile  # type: ignore[attr-defined]
        with leave_out.panels():
            self._document_controller = app.open_project_window(reference)
        self.pump()

    def _open_profile(self, app: Application.Application) -> tuple[typing.Any, typing.Any]:
        from nion.swift.model import Cache, FileStorageSystem, Profile

        profile_path = self.folder / "profile.nsproj"
        is_new = not self.project_path.exists()
        if is_new:
            _write_json(profile_path, version=FileStorageSystem.PROFILE_VERSION)
            _write_json(self.project_path, version=FileStorageSystem.PROJECT_VERSION, project_data_folders=["Lab Data"])
        storage = FileStorageSystem.make_file_persistent_storage_system(profile_path)
        storage.load_properties()
        arguments: dict[str, typing.Any] = {}
        if "event_loop" in inspect.signature(Profile.Profile.__init__).parameters:  # nionswift 16.18
            arguments["event_loop"] = app.event_loop  # which the window runs; computations wait for it
        profile = Profile.Profile(
            storage_system=storage, cache_factory=Cache.DbCacheFactory(self.folder, "Lab"), **arguments
        )
        if is_new:
            profile.add_project_index(self.project_path)
        profile.read_profile()
        return profile, profile.project_references[0]

    # closing

    def _close_window(self) -> None:
        controller, self._document_controller = self._document_controller, None
        if controller is not None:
            controller.request_close()

    def _close_app(self) -> None:
        app, self._app = self._app, None
        if app is not None:
            app.deinitialize()

    def _stop_plug_ins(self) -> None:
        if self._load_plug_ins:
            stops = [getattr(sys.modules.get(name), "stop", None) for name in teardown.STOPPED_PLUG_INS]
            teardown.close_all([stop for stop in stops if stop is not None])

    def _close_loop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            asyncio.set_event_loop(None)

    def _unregister_rest(self) -> None:
        from nion.utils import Registry

        for component in teardown.left_over_components() - self._components:
            Registry.unregister_component(component)
        commands = logging.getLogger("_commands")
        for handler in list(commands.handlers):
            commands.removeHandler(handler)
            handler.close()


def _make_ui(folder: pathlib.Path) -> typing.Any:
    """Swift's own user interface for tests, with real folders so that plug-ins and settings load."""
    test_ui = importlib.import_module("nion.ui.TestUI")

    class FolderUI(test_ui.UserInterface):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.proxy = self

        def get_data_location(self) -> str:
            return str(folder / "data")

        def get_document_location(self) -> str:
            return str(folder / "docs")

        def get_configuration_location(self) -> str:
            return str(folder / "config")

    return FolderUI()


def _write_json(path: pathlib.Path, **values: typing.Any) -> None:
    path.write_text(json.dumps({**values, "uuid": str(uuid.uuid4())}), encoding="utf-8")
