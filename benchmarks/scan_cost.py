"""What the plug-in costs a scan: acquisition wall time with it and without it, in pairs; one JSON line.

Each run is the demo in a process of its own: the same simulated scan, the same seed. The raw data
must be the same bit by bit.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import typing

DEMO = pathlib.Path(__file__).parents[1] / "scripts" / "demo.py"


def run(arguments: list[str]) -> dict[str, typing.Any]:
    """Run the demo once; returns its JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(DEMO), *arguments, "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"the demo failed ({done.returncode}): {done.stderr.strip()[-500:]}")
    result: dict[str, typing.Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def main() -> None:
    """Measure pairs in turn, so that a change of the machine's load hits both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--size", default="32,32")
    parser.add_argument("--dwell", default="50")
    options = parser.parse_args()
    scan = ["--size", options.size, "--dwell", options.dwell]
    pairs = [(run(scan), run([*scan, "--without-plugin"])) for _ in range(options.pairs)]
    ratios = [with_it["acquisition_s"] / without["acquisition_s"] for with_it, without in pairs]
    shown = ("first_preview_after_start_s", "first_preview_after_first_row_s", "scan_end_to_final_s", "steps")
    result = {
        "ratio_median": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "with_s": [with_it["acquisition_s"] for with_it, _ in pairs],
        "without_s": [without["acquisition_s"] for _, without in pairs],
        "raw_identical": len({run["raw_sha256"] for pair in pairs for run in pair}) == 1,
        "complete": all(w["frames_final"] == w["frames_denoised_live"] == w["frames_acquired"] for w, _ in pairs),
        "psnr_gain_db": [
            round(w["psnr_db"]["spectra"]["denoised"] - w["psnr_db"]["spectra"]["raw"], 2) for w, _ in pairs
        ],
        **{name: [with_it[name] for with_it, _ in pairs] for name in shown},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
