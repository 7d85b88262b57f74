"""The main job in a real, headless Nion Swift: a scan of a simulated camera is denoised and mapped live.

Ends with one JSON line of what was measured. The picture ``demo.png``, the raw scan, the same denoised
afterwards by ``udvd denoise`` for comparison, and the Swift project are left in the output folder;
Swift opens the project.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import subprocess
import sys
import time
import typing

import numpy
import numpy.typing

from udvd_core.axes import Axis
from udvd_core.errors import UdvdError
from udvd_core.maps.core_loss import core_loss
from udvd_core.metrics import psnr
from udvd_core.noise import NoiseModel
from udvd_core.settings import MapWindow

Array = numpy.typing.NDArray[typing.Any]

CORE_LOSS = (
    MapWindow("B K", (190, 210), (160, 187)),
    MapWindow("Ti L", (455, 475), (420, 450)),
    MapWindow("O K", (530, 560), (490, 525)),
)
PLUG_IN = "nionswift_plugin.udvd_live"
ENGINE_S = 60.0
OFFLINE_S = 600.0
MOST_LOOKS = 32


def parse_arguments(arguments: typing.Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("file", nargs="?", help="recorded scan to play; without one a simulated h-BN scan")
    parser.add_argument("--size", type=_size, default=None, metavar="NY,NX", help="positions; 32,32 or as recorded")
    parser.add_argument("--dwell", type=float, default=50.0, metavar="MS", help="exposure per position, ms")
    parser.add_argument("--counts", type=float, default=5000.0, help="mean counts per simulated spectrum")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulated noise")
    parser.add_argument("--energy", metavar="OFFSET:STEP", help="energy axis of a recorded scan that has none, eV")
    parser.add_argument("--frames", action="store_true", help="acquire whole detector frames, not spectra")
    parser.add_argument("--without-plugin", action="store_true", help="scan without the denoiser, for comparison")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("demo_output"), help="folder of the results")
    return parser.parse_args(arguments)


def _size(text: str) -> tuple[int, int]:
    rows, columns = (int(part) for part in text.split(","))
    return (rows, columns)


def choose_maps(energy: Axis) -> list[MapWindow]:
    """One core-loss window with background and one plain window that lie on the energy axis."""
    values = energy.values()
    first, last = float(values[0]), float(values[-1])
    core = [w for w in CORE_LOSS if w.background[0][0] >= first and w.signal[1] <= last]
    low, high = (round(first + part * (last - first), 2) for part in (0.12, 0.2))
    return core[:1] + [MapWindow(f"{low:g} to {high:g} eV", (low, high))]


def prepare(options: argparse.Namespace) -> tuple[typing.Any, list[MapWindow]]:
    """Tell the simulated camera what to play and the plug-in which maps to make."""
    from nionswift_plugin.udvd_simulator import sources

    name = str(pathlib.Path(options.file).resolve()) if options.file else "h-bn"
    config = sources.SimulatorConfig(
        name, options.counts, options.seed, options.size or (32, 32), energy=options.energy
    )
    source = sources.build_source(config)
    maps = choose_maps(source.energy)
    options.out.mkdir(parents=True, exist_ok=True)
    settings = options.out / "settings.json"
    settings.write_text(json.dumps({"maps": [dataclasses.asdict(window) for window in maps]}), encoding="utf-8")
    os.environ["UDVD_SIMULATOR"] = config.to_json()
    os.environ["UDVD_SETTINGS"] = str(settings.resolve())
    return source, maps


def run(options: argparse.Namespace) -> dict[str, typing.Any]:
    """Acquire one spectrum image, with the plug-in following it, and measure."""
    from nionswift_plugin.udvd_simulator import headless

    source, maps = prepare(options)
    size = options.size or source.scan_shape
    watch = Watch(_truth(source, size))
    timeout = 120 + 3 * size[0] * (size[1] + 2) * options.dwell / 1000
    skipped = (PLUG_IN,) if options.without_plugin else ()
    denoised: Array | None = None
    with headless.HeadlessSwift(options.out / "swift", skip_plug_ins=skipped) as swift:
        from nionswift_plugin.udvd_simulator import acquire

        companion = None if options.without_plugin else _companion(swift)
        begin, before = time.monotonic(), len(swift.data_items)
        acquisition = acquire.acquire_spectrum_image(swift, size, options.dwell, frames=options.frames)
        swift.pump_until(lambda: watch.look(companion) or acquisition.is_done, timeout)
        ended = time.monotonic()
        item = acquisition.wait(timeout)
        raw = numpy.array(item.data[:])
        result = {
            "frames_acquired": size[0] * size[1],
            "shape": list(raw.shape),
            "dwell_ms": options.dwell,
            "acquisition_s": round(acquisition.seconds or 0.0, 3),
            "raw_sha256": hashlib.sha256(numpy.ascontiguousarray(raw).tobytes()).hexdigest(),
            "error": acquisition.error,
            "project": str(swift.project_path),
        }
        if companion is not None and acquisition.error is None:
            swift.pump_until(lambda: watch.look(companion) or _done(companion), timeout)
            swift.pump(0.5)
            result |= _live_figures(companion.current, begin, ended)
            result["items_created"] = len([item for item in swift.data_items[before:] if "udvd" in item.metadata])
            denoised = numpy.array(companion.current.items[0].data[:])
    if denoised is not None:
        result |= _quality(options, source.energy, maps, raw, denoised, watch)
    return result


class Watch:
    """PSNR of what is shown of the rows seen so far, measured while the scan runs, at most `MOST_LOOKS` times.

    Parameters
    ----------
    truth : array, shape (y, x, E), or None
        Expected counts; None measures nothing.
    """

    def __init__(self, truth: Array | None) -> None:
        self.truth = truth
        self.psnr: list[tuple[int, float]] = []
        """Rows seen, and the PSNR of the denoised spectra of these rows, dB."""
        self._next = 1

    def look(self, companion: typing.Any) -> None:
        """Measure as soon as more whole rows are shown."""
        job = companion.current if companion is not None else None
        if self.truth is None or job is None or job.status is None or not job.items:
            return
        if (shown := job.items[0].data) is None:  # the item is being made
            return
        filled = shown[:].any(-1).all(-1)
        rows = len(filled) if filled.all() else int(filled.argmin())
        if rows >= self._next:
            shown = shown[:rows]
            if shown[-1].any():  # else Swift has not taken over the newest block yet
                self.psnr.append((rows, round(psnr(shown, self.truth[:rows]), 2)))
                self._next = min(rows + max(1, len(self.truth) // MOST_LOOKS), max(rows + 1, len(self.truth)))


def _truth(source: typing.Any, size: tuple[int, int]) -> Array | None:
    """Expected spectra (y, x, E) of a simulated scan of this size; None where they are not known."""
    truth: Array | None = source.recording.truth() if hasattr(source, "recording") else None
    return truth if truth is not None and truth.shape[:2] == tuple(size) else None


def _done(companion: typing.Any) -> bool:
    return companion.current is not None and companion.current.timeline.done is not None


def _offline(options: argparse.Namespace, raw: Array, energy: Axis) -> Array | None:
    """The scan saved and denoised by ``udvd denoise``, shape (y, x, E); None where that fails."""
    saved, target = options.out / "scan.npz", options.out / "offline.npy"
    numpy.savez(saved, data=raw, energy_eV=energy.values())
    command = [sys.executable, "-m", "udvd_core", "denoise", str(saved), "--output", str(target)]
    try:
        one = {"OMP_NUM_THREADS": "1", **os.environ}  # threads that wait for each other stand still on a busy machine
        subprocess.run(command, capture_output=True, text=True, timeout=OFFLINE_S, check=True, env=one)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        logging.warning("no comparison with udvd denoise: %s %s", error, error.stderr)
        return None
    offline: Array = numpy.load(target)
    return offline


def _companion(swift: typing.Any) -> typing.Any:
    """The companion of the open project, with its engine warm as after a minute in Swift."""
    from nionswift_plugin.udvd_live.companion import companion_of

    companion = companion_of(swift.document_model)
    if companion.engine is None:
        raise UdvdError(companion.trouble)
    swift.pump_until(lambda: "starting" not in companion.engine.describe(), ENGINE_S)
    return companion


def _live_figures(job: typing.Any, begin: float, ended: float) -> dict[str, typing.Any]:
    timeline = job.timeline
    final = job.finished.final if job.finished else 0
    return {
        "frames_denoised_live": timeline.live,
        "frames_final": final,
        "first_preview_after_start_s": round(timeline.first_preview - begin, 2),
        "first_preview_after_first_row_s": round(timeline.first_preview - timeline.first_row, 2),
        "lag_at_scan_end_frames": timeline.received_at_end - timeline.denoised_at_end,
        "scan_end_to_final_s": round(timeline.done - ended, 2),
        "steps": job.finished.step if job.finished else None,
        "model": job.status.model if job.status else None,
        "learned": job.status.learned if job.status else None,
        "device": job.status.device if job.status else None,
        "note": job.note,
    }


def _quality(
    options: argparse.Namespace, energy: Axis, maps: list[MapWindow], raw: Array, denoised: Array, watch: Watch
) -> dict[str, typing.Any]:
    """PSNR against the truth, where it is known, live and of the whole scan afterwards, and the picture."""
    frames, raw = raw, raw.sum(2) if raw.ndim == 4 else raw
    spectra = {"raw": raw, "denoised": denoised}
    figures: dict[str, typing.Any] = {"picture": str(options.out / "demo.png"), "psnr_db": None}
    name = pathlib.Path(options.file).name if options.file else "simulated h-BN"
    title = f"{name}, {raw.shape[1]} x {raw.shape[0]}"
    curves: dict[str, list[tuple[int, float]]] = {}
    if watch.truth is not None and watch.truth.shape == raw.shape:
        spectra["truth"] = truth = watch.truth
        begin = time.monotonic()
        whole = {"raw": raw, "offline": _offline(options, frames, energy)}
        figures["offline_s"] = round(time.monotonic() - begin, 1)
        for kind, values in whole.items():
            curves[kind] = (
                [(n, psnr(values[:n], truth[:n])) for n in range(1, len(raw) + 1)] if values is not None else []
            )
        curves |= {"denoised": watch.psnr, "final": [(len(raw), psnr(denoised, truth))]}
        figures["psnr_by_rows_db"] = watch.psnr
    noise = {"raw": NoiseModel()}  # which shifts the background; nothing is known of the others
    images = {name: _maps(values, energy, maps, noise.get(name)) for name, values in spectra.items()}
    if curves:
        last = {kind: round(curve[-1][1], 2) if curve else None for kind, curve in curves.items()}
        figures["psnr_db"] = {
            "spectra": {"raw": last["raw"], "denoised": last["final"], "offline": last["offline"]}
        } | {
            window.name: {kind: round(psnr(images[kind][row], images["truth"][row]), 2) for kind in ("raw", "denoised")}
            for row, window in enumerate(maps)
        }
        title += f", PSNR of spectra {last['raw']:.1f} dB raw, {last['final']:.1f} dB denoised"
    from demo_figure import draw

    draw(options.out / "demo.png", energy, spectra, images, maps, title, curves)
    return figures


def _maps(spectra: Array, energy: Axis, windows: list[MapWindow], noise: NoiseModel | None) -> Array:
    """Maps of spectra (y, x, E), shape (maps, y, x), counts."""
    values, _ = core_loss(spectra.reshape(-1, spectra.shape[-1]), energy, windows, noise)
    return values.reshape(-1, *spectra.shape[:2])


def main(arguments: typing.Sequence[str] | None = None) -> int:
    """Run the demo; 0 when all frames are final, 1 when not, 2 when it cannot run."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the JSON line alone
            result = run(options)
    except (UdvdError, TimeoutError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result))
    complete = options.without_plugin or result.get("frames_final") == result["frames_acquired"]
    return 0 if complete and not result["error"] else 1


if __name__ == "__main__":
    sys.exit(main())
