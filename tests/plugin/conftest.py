"""Fixtures with a whole, headless Nion Swift."""

from __future__ import annotations

import collections.abc
import functools
import json
import os
import pathlib
import sys
import typing

import pytest

pytest.importorskip("nion.swift", reason="needs the extra 'swift'")
pytest.importorskip("nion.usim_device", reason="needs the extra 'simulator'")

import live  # noqa: E402
from nion.usim_device import SampleSimulator  # noqa: E402
from torchless import NO_TORCH  # noqa: E402

from nionswift_plugin.udvd_live import theme  # noqa: E402
from nionswift_plugin.udvd_live.companion import Companion, companion_of  # noqa: E402
from nionswift_plugin.udvd_live.overlooked import run_overlooked  # noqa: E402
from nionswift_plugin.udvd_simulator import headless, sources  # noqa: E402

SMALL: dict[str, typing.Any] = {"source": "h-bn", "counts": 300, "seed": 3, "size": [6, 5], "q_rows": 4, "channels": 64}

SETTINGS: dict[str, typing.Any] = {
    "maps": [
        {"name": "Core", "signal": [135, 145], "background": [105, 130]},
        {"name": "Window", "signal": [110, 120]},
    ],
    "training": {"model": "guide", "budget_s": 4},
    "python": os.environ.get("UDVD_ENGINE_PYTHON"),  # scripts/test-newest runs the engine on another interpreter
}


@pytest.fixture(scope="session", autouse=True)
def one_sample() -> collections.abc.Iterator[None]:
    """Have Nion's simulated microscope make its samples once: 12 million random numbers, the same each time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RectangleFlakeSample", "AmorphousSample", "CombinedTestSample"):
            patch.setattr(SampleSimulator, name, functools.cache(getattr(SampleSimulator, name)))
        yield


@pytest.fixture(autouse=True)
def python_s_own_turns() -> collections.abc.Iterator[None]:
    """A scan that is denoised makes Python's turns longer, and gives back what was there before."""
    before = sys.getswitchinterval()
    yield
    after = sys.getswitchinterval()
    sys.setswitchinterval(before)
    assert after == before, "turns are still long after the test"


@pytest.fixture
def simulator_config(request: pytest.FixtureRequest) -> sources.SimulatorConfig:
    """What the simulated camera plays: `SMALL`, with what the test passes on top.

    ``@pytest.mark.parametrize("simulator_config", [{"size": [8, 8]}], indirect=True)`` changes it.
    """
    changes: dict[str, typing.Any] = getattr(request, "param", {})
    values = {**SMALL, **changes}
    return sources.SimulatorConfig(**{**values, "size": tuple(values["size"])})


@pytest.fixture
def source(simulator_config: sources.SimulatorConfig) -> sources.FrameSource:
    """The very frames that the camera of `swift` plays: ``source.frame(i)``, ``source.spectrum(i)``."""
    return sources.build_source(simulator_config)


@pytest.fixture
def plug_in_settings(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """File with the settings of the plug-in: `SETTINGS`, with what the test passes indirectly on top.

    Unless the test asks for a network, as with `GUIDED`, the engine's child finds no torch: it starts seconds sooner.
    """
    path = tmp_path / "udvd.json"
    chosen = {**SETTINGS, **getattr(request, "param", {})}
    path.write_text(json.dumps(chosen))
    monkeypatch.setenv("UDVD_SETTINGS", str(path))
    if chosen["training"].get("model") in ("raw", "guide"):
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(NO_TORCH)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    return path


@pytest.fixture
def swift(
    simulator_config: sources.SimulatorConfig,
    plug_in_settings: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> collections.abc.Iterator[headless.HeadlessSwift]:
    """A running Swift with its project in ``tmp_path / "swift"`` and the simulated camera as EELS camera.

    Start something with `nionswift_plugin.udvd_simulator.acquire`, which returns at once, then run
    Swift's main loop; nothing happens in Swift while a test does not::

        def test_scan(swift, source):
            acquisition = acquire.acquire_spectrum_image(swift, (6, 5), dwell_ms=10)
            swift.pump_until(lambda: ..., timeout=10)   # look at something while it runs
            raw = acquisition.wait(timeout=30)           # the raw data item, complete
            assert numpy.array_equal(raw.data[0, 0], source.spectrum(0))

    Opening takes about half a second, a scan at least ``rows * (columns + 2) * dwell`` plus half
    a second. ``swift.find("EELS")`` gives data items by title, ``swift.document_model`` and
    ``swift.document_controller`` Swift's own objects. Work that other threads hand to Swift
    arrives in `pump`. To open the project again, leave a ``HeadlessSwift(folder)`` of your own and
    enter another one; never two at once. All plug-ins on ``sys.path`` are loaded, `udvd_live` too.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UDVD_SIMULATOR", simulator_config.to_json())
    with headless.HeadlessSwift(tmp_path / "swift") as opened:
        yield opened


@pytest.fixture
def companion(swift: headless.HeadlessSwift) -> Companion:
    """The plug-in's companion of `swift`, its engine ready; the panel of the window gives it time."""
    found = companion_of(swift.document_model)
    swift.pump_until(lambda: found.engine is None or "starting" not in found.engine.describe(), 100)
    return found


@pytest.fixture
def shutter(
    monkeypatch: pytest.MonkeyPatch, simulator_config: sources.SimulatorConfig
) -> collections.abc.Iterator[live.Shutter]:
    """Holds the camera of `swift` at a frame, open at first."""
    found = live.Shutter(monkeypatch, simulator_config.size[1])
    yield found
    found.open()


class BareSwift(headless.HeadlessSwift):
    """Has computations of ours looked after, as a companion does; here is none."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder, load_plug_ins=False)

    def pump(self, seconds: float = 0.0) -> None:
        run_overlooked(self.document_model)
        super().pump(seconds)


@pytest.fixture(scope="module")
def _bare_swift(tmp_path_factory: pytest.TempPathFactory) -> collections.abc.Iterator[headless.HeadlessSwift]:
    folder = tmp_path_factory.mktemp("bare")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        theme.register()  # our windows are made of its labels
        try:
            with BareSwift(folder / "swift") as opened:
                yield opened
        finally:
            theme.unregister()


@pytest.fixture
def bare_swift(_bare_swift: headless.HeadlessSwift) -> collections.abc.Iterator[headless.HeadlessSwift]:
    """An empty Swift without any plug-in, opened once for all tests of a module; for `producer.Producer`."""
    yield _bare_swift
    _bare_swift.pump()
    for item in _bare_swift.data_items:
        if item in _bare_swift.document_model.data_items:  # deleting one may delete what was computed from it
            _bare_swift.document_model.remove_data_item(item)
    _bare_swift.pump()
