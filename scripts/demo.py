"""A scan in a real, headless Nion Swift with a simulated camera; one JSON line with what was measured.

The project is left in the output folder, to be opened in Swift.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import pathlib
import sys
import typing

import numpy


def parse_arguments(arguments: typing.Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("file", nargs="?", help="recorded scan to play; without one a simulated h-BN scan")
    parser.add_argument("--size", type=_size, default=None, metavar="NY,NX", help="positions; 32,32 or as recorded")
    parser.add_argument("--dwell", type=float, default=50.0, metavar="MS", help="exposure per position, ms")
    parser.add_argument("--counts", type=float, default=5000.0, help="mean counts per simulated frame")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulated noise")
    parser.add_argument("--energy", metavar="OFFSET:STEP", help="energy axis of a recorded scan that has none, eV")
    parser.add_argument("--frames", action="store_true", help="keep whole detector frames, not spectra")
    parser.add_argument("--without-plugin", action="store_true", help="scan without the denoiser, for comparison")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("demo_output"), help="folder of the project")
    return parser.parse_args(arguments)


def _size(text: str) -> tuple[int, int]:
    rows, columns = (int(part) for part in text.split(","))
    return (rows, columns)


def prepare_environment(options: argparse.Namespace) -> tuple[int, int]:
    """Describe the camera to the simulator plug-in; returns the size of the scan."""
    from nionswift_plugin.udvd_simulator import sources

    source = str(pathlib.Path(options.file).resolve()) if options.file else "h-bn"
    size = options.size or (32, 32)
    config = sources.SimulatorConfig(source, options.counts, options.seed, size, energy=options.energy)
    if options.file and options.size is None:
        size = sources.build_source(config).scan_shape
    os.environ["UDVD_SIMULATOR"] = config.to_json()
    return size


def run(options: argparse.Namespace) -> dict[str, typing.Any]:
    """Acquire one spectrum image and measure it."""
    from nionswift_plugin.udvd_simulator import headless

    size = prepare_environment(options)
    options.out.mkdir(parents=True, exist_ok=True)
    skipped = ("nionswift_plugin.udvd_live",) if options.without_plugin else ()
    with headless.HeadlessSwift(options.out / "swift", skip_plug_ins=skipped) as swift:
        from nionswift_plugin.udvd_simulator import acquire

        acquisition = acquire.acquire_spectrum_image(swift, size, options.dwell, frames=options.frames)
        item = acquisition.wait(timeout=120 + 3 * size[0] * (size[1] + 2) * options.dwell / 1000)
        raw = numpy.ascontiguousarray(item.data[:])
        return {
            "scan": list(size),
            "frames": size[0] * size[1],
            "shape": list(raw.shape),
            "dwell_ms": options.dwell,
            "acquisition_s": round(acquisition.seconds or 0.0, 3),
            "scan_s": round(size[0] * (size[1] + 2) * options.dwell / 1000, 3),
            "raw_sha256": hashlib.sha256(raw.tobytes()).hexdigest(),
            "error": acquisition.error,
            "project": str(swift.project_path),
        }


def main(arguments: typing.Sequence[str] | None = None) -> int:
    from udvd_core.errors import UdvdError

    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the JSON line alone
            result = run(options)
    except UdvdError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result))
    return 1 if result["error"] else 0


if __name__ == "__main__":
    sys.exit(main())
