"""How long the plug-in holds Swift's main thread at once while a scan comes in; one JSON line.

A scan runs in headless Swift with the real engine child, the panel's companion gives itself time ten
times a second. Ticks in which a result item is made are told apart: Swift needs that long for any item.

With ``--windows`` in the real Swift, on an X server of our own: scans that the plug-in does not follow and scans
that it does take turns, each in empty display panels, in which Swift shows it as it comes, in a project of 40 earlier
ones. A timer of 10 ms on the main thread tells how late it comes in each; once more but for the first seconds, in
which items are made, and but for the time in which the thread waited for a core, which is what others do on a busy
machine. A thread that wants to run every 20 ms, as a camera's, tells how late it comes, and the clock how long the
scan took. Apart from that, how long each turn of ours takes, those told apart in which an item is made or placed. The
camera plays a recording, which costs Swift no computing, as a real camera.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
import typing

MAPS = [
    {"name": "B K", "signal": [190, 210], "background": [160, 187]},
    {"name": "Window", "signal": [150, 185]},
]
EARLIER = 40
"""Scans in the project before: Swift draws all of its list that can be seen at each change, and theirs is full."""
START_S = 3.0
"""Until then the items of a scan are made and filled for the first time."""


def measure(size: tuple[int, int], dwell_ms: float, channels: int, folder: pathlib.Path) -> dict[str, typing.Any]:
    """Acquire one scan and time every tick, in milliseconds."""
    from nionswift_plugin.udvd_simulator import headless, sources

    settings = folder / "settings.json"
    settings.write_text(json.dumps({"maps": MAPS}), encoding="utf-8")
    config = sources.SimulatorConfig("h-bn", 5000, 1, size, channels=channels)
    os.environ["UDVD_SIMULATOR"], os.environ["UDVD_SETTINGS"] = config.to_json(), str(settings)
    with headless.HeadlessSwift(folder / "swift") as swift:
        from nionswift_plugin.udvd_live.companion import companion_of
        from nionswift_plugin.udvd_simulator import acquire

        companion = companion_of(swift.document_model)
        swift.pump_until(lambda: "starting" not in companion.engine.describe(), 60)
        making, ordinary = [], []
        tick = companion.tick

        def timed() -> None:
            items = len(companion.current.items) if companion.current else 0
            begin = time.perf_counter()
            tick()
            took = 1e3 * (time.perf_counter() - begin)
            now = len(companion.current.items) if companion.current else 0
            (making if now > items else ordinary).append(took)

        companion.tick = timed
        acquisition = acquire.acquire_spectrum_image(swift, size, dwell_ms)
        swift.pump_until(lambda: acquisition.is_done, 60 + 3 * size[0] * (size[1] + 2) * dwell_ms / 1000)
        during = len(ordinary)
        acquisition.wait()
        swift.pump_until(lambda: companion.current.timeline.done is not None, 60)
        swift.pump(0.3)
        final = companion.current.finished.final
    scan, after = ordinary[:during], ordinary[during:]
    return {
        "frames": size[0] * size[1],
        "frames_final": final,
        "ticks": len(ordinary) + len(making),
        "while_rows_arrive_ms": _summary(scan),
        "after_the_scan_ms": _summary(after),
        "making_items_ms": _summary(making),
        "over_50_ms_while_rows_arrive": sum(took > 50 for took in scan),
    }


def measure_windows(
    size: tuple[int, int],
    dwell_ms: float,
    channels: int,
    folder: pathlib.Path,
    rounds: int = 3,
    model: str = "guided",
    shown: bool = False,
) -> dict[str, typing.Any]:
    """What Swift's main thread is kept from while scans come in, without the plug-in following and with, ms."""
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "qt"))
    import provision
    import qt_swift
    import steps

    provision.provision(folder, {"maps": MAPS, "training": {"model": model}, "show_results": shown})
    simulator = _recorded(size, channels, folder)
    ticks: dict[bool, list[list[list[float]]]] = {False: [], True: []}
    camera: dict[bool, list[float]] = {False: [], True: []}
    lasted: dict[bool, list[float]] = {False: [], True: []}
    engine: list[float] = []
    scan: list[list[float]] = []
    after: list[list[float]] = []
    with qt_swift.Screen() as screen, qt_swift.QtSwift(screen, folder, simulator) as swift:
        steps.set_up(swift, size[1], dwell_ms)
        swift.ask(f"[stage.add_scan(model, f'Earlier scan {{number}}').title for number in range({EARLIER})]")
        longest = 60 + 3 * size[0] * (size[1] + 2) * dwell_ms / 1000
        for number in range(1, 2 * rounds + 1):
            follow = number % 4 in (2, 3)  # neither is always first in a pair
            swift.ask("stage.empty(window)")
            swift.ask(f"companion.companion_of(model).follow({follow})")
            steps.acquire(swift)
            swift.until(f"raw(model, {number}).is_live")
            swift.ask("kept.update(ticks=Ticks(window), ours=Ours(companion.companion_of(model)), camera=Sleeper())")
            begin, used = time.perf_counter(), _of_a_core(swift)
            swift.until(f"not raw(model, {number}).is_live", longest)
            lasted[follow].append(round(time.perf_counter() - begin, 2))
            engine += [round(_of_a_core(swift) - used, 2)] if follow else []
            camera[follow] += swift.ask("kept['camera'].stop()")
            ticks[follow].append(swift.ask("kept['ticks'].stop()"))
            ours = swift.ask("kept['ours'].stop()")
            swift.ask("kept.update(ours=Ours(companion.companion_of(model)))")
            swift.until("not any(item.is_live for item in model.data_items)")
            rest = swift.ask("kept['ours'].stop()")
            if follow:
                scan, after = scan + ours, after + rest
    joined = {follow: [tick for scan in scans for tick in scan] for follow, scans in ticks.items()}
    return {
        "frames": size[0] * size[1],
        "scans": 2 * rounds,
        "model": model,
        "results_shown": shown,
        "load": round(os.getloadavg()[0], 1),
        "ticks": {"without": sum(map(len, ticks[False])), "following": sum(map(len, ticks[True]))},
        "p99_of_each_scan_ms": _pairs(ticks),
        "p99_after_the_first_seconds_ms": _pairs(
            {follow: [_later(scan) for scan in ticks[follow]] for follow in ticks}
        ),
        "late_ms": _compared(joined, lambda tick: tick[0]),
        "late_but_for_the_wait_for_a_core_ms": _compared(joined, lambda tick: tick[0] - min(tick[:2])),
        "of_a_core_between_ticks_ms": _compared(joined, lambda tick: tick[2]),
        "a_thread_like_a_camera_s_late_ms": _compared(camera, lambda late: late),
        "scan_lasted_s": {"without": lasted[False], "following": lasted[True]},
        "engine_of_a_core_s": engine,
        "ours_while_rows_arrive_ms": _ours(scan),
        "ours_after_the_scan_ms": _ours(after),
    }


def _of_a_core(swift: typing.Any) -> float:
    """Time of a core that the engine has used so far, in seconds."""
    stat = pathlib.Path(f"/proc/{swift.ask('companion.companion_of(model).engine.pid')}/stat").read_text()
    return sum(map(int, stat.rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")


def _recorded(size: tuple[int, int], channels: int, folder: pathlib.Path) -> dict[str, str]:
    """A scan in a file, so that the camera costs Swift no computing, as a real one; what the simulator is told."""
    import numpy

    from nionswift_plugin.udvd_simulator import sources

    source = sources.build_source(sources.SimulatorConfig("h-bn", 5000, 1, size, channels=channels))
    spectra = numpy.stack([source.spectrum(index) for index in range(size[0] * size[1])])
    path = folder / "scan.npy"
    numpy.save(path, spectra.reshape(*size, -1))
    return {"source": str(path), "energy": f"{source.energy.offset}:{source.energy.scale}"}


def _compared(ticks: dict[bool, list[typing.Any]], what: typing.Callable[..., float]) -> dict[str, typing.Any]:
    """Summaries without the plug-in following and with, and how much more that is."""
    without, following = (_summary([what(tick) for tick in ticks[follow]]) for follow in (False, True))
    return {
        "without": without,
        "following": following,
        "more": {k: round(following[k] - without[k], 2) for k in without},
    }


def _later(scan: list[list[float]]) -> list[list[float]]:
    """Ticks after the first seconds of a scan; each is set for 10 ms after the one before."""
    at = itertools.accumulate(10 + late for late, *_ in scan)
    return [tick for tick, ms in zip(scan, at, strict=True) if ms > 1e3 * START_S]


def _pairs(ticks: dict[bool, list[list[list[float]]]]) -> dict[str, typing.Any]:
    """How late the timer comes, p99 of each scan, and the mean difference of pairs with its standard error."""
    each = {follow: [_summary([late for late, *_ in scan])["p99"] for scan in ticks[follow]] for follow in ticks}
    more = [following - without for without, following in zip(each[False], each[True], strict=True)]
    error = statistics.stdev(more) / len(more) ** 0.5 if len(more) > 1 else None
    return {"without": each[False], "following": each[True], "more": statistics.mean(more), "more_error": error}


def _ours(turns: list[list[float]]) -> dict[str, typing.Any]:
    """How long our turns held the main thread, by the clock and in time of a core; making items told apart."""
    making = [took for took, _, made in turns if made]
    held, used = ([turn[part] for turn in turns if not turn[2]] for part in (0, 1))
    over = {"over_50": sum(took > 50 for took in held), "over_50_of_a_core": sum(took > 50 for took in used)}
    return {
        "turns": len(turns),
        "held": _summary(held),
        "of_a_core": _summary(used),
        **over,
        "making_items": _summary(making),
    }


def _summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times) or [0.0]
    return {
        "median": round(statistics.median(ordered), 2),
        "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 2),
        "most": round(ordered[-1], 2),
    }


def main() -> None:
    """Measure one scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split(","))), default=(32, 32))
    parser.add_argument("--dwell", type=float, default=20.0, help="ms per position")
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--windows", action="store_true", help="lateness of a timer in the real Swift")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of scans, with --windows")
    parser.add_argument("--model", default="guided", help="with --windows; raw leaves out what the engine computes")
    parser.add_argument("--shown", action="store_true", help="with --windows; results in the two panels that are empty")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scan = options.size, options.dwell, options.channels, pathlib.Path(name)
        windows = options.rounds, options.model, options.shown
        print(json.dumps(measure_windows(*scan, *windows) if options.windows else measure(*scan)))


if __name__ == "__main__":
    main()
