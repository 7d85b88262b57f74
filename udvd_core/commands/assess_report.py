"""What ``udvd assess`` found, in words and in figures."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy
import numpy.typing

from udvd_core.camera import Camera
from udvd_core.dose import Dose
from udvd_core.files import Scan
from udvd_core.split import Split
from udvd_core.trust import Bias, Score, UnsupervisedPsnr, Whiteness
from udvd_core.trust.findings import in_words

Array = numpy.typing.NDArray[numpy.float64]

SHOWN = 20  # regions in the machine-readable line


@dataclasses.dataclass(frozen=True)
class Assessed:
    """All that was found; `white`, `found` and `difference` (n, E) are None without a denoised scan.

    `passes` holds the error of the first of several passes by name, and is empty for fewer than three.
    """

    scan: Scan
    camera: Camera
    split: Split
    scores: list[Score]
    doses: list[Dose]
    passes: dict[str, UnsupervisedPsnr]
    white: Whiteness | None
    found: Bias | None
    difference: Array | None
    verdict: str


def in_text(result: Assessed) -> str:
    """A short table and the verdict."""
    scan, noise = result.scan, result.camera.summed
    size = " x ".join(str(n) for n in scan.scan_shape)
    shares = ", ".join(f"{value:.2f}" for value in noise.correlation) or "none"
    lines = [
        f"{scan.title}: {size} positions, {in_words(slice(0, scan.energy.size), scan.energy)}",
        f"noise: gain {noise.gain:.2f}, read variance {noise.read_variance:.2g}, correlation along E {shares}",
        f"hidden set: {result.camera.hidden.reason}",
        f"pixels: {result.camera.defects.summary or 'none faulty'}",
        f"held-out counts ({result.split.share:.1%} of the pixels), per 1000 pixels above the mean spectrum:",
        *(f"  {s.name:<22}{1e3 * s.gain:>10.2f} +- {1e3 * s.error:<8.2f}{s.setting}".rstrip() for s in result.scores),
    ]
    lines += [
        f"first pass against the others, {name}: PSNR {p.psnr:.1f} dB ({p.low:.1f} to {p.high:.1f})"
        for name, p in result.passes.items()
    ]
    lines += [f"dose, {dose.sentence}" for dose in result.doses]
    if result.white is not None and result.found is not None:
        lines.append("residual, raw minus denoised in units of the noise (noise alone gives):")
        lines += [
            f"  {c.name:<28}{c.value:>8.3f} ({c.expected:.3f} +- {c.error:.3f}){' !' if c.off else ''}"
            for c in result.white.checks
        ]
        lines.append(f"sums over {result.found.tests} regions, largest deviation {result.found.worst:.1f} sigma:")
        lines.append("  rms " + ", ".join(f"{name} {value:.2f}" for name, value in result.found.rms.items()))
        lines.append("  (positions along a side x channels; noise alone gives 1, what follows the raw counts less)")
    return "\n".join([*lines, result.verdict])


def in_values(result: Assessed) -> dict[str, typing.Any]:
    """All figures for ``--json``."""
    camera = result.camera
    values: dict[str, typing.Any] = {
        "scan_shape": list(result.scan.scan_shape),
        "frame_shape": list(result.scan.frame_shape),
        "noise": dataclasses.asdict(camera.summed),
        "hidden": {"radius": list(camera.hidden.radius), "reason": camera.hidden.reason},
        "defects": camera.defects.summary,
        "split": dataclasses.asdict(result.split),
        "models": [
            {"name": s.name, "setting": s.setting, "likelihood": s.likelihood, "gain": s.gain, "error": s.error}
            for s in result.scores
        ],
        "passes": {name: _finite(dataclasses.asdict(p)) for name, p in result.passes.items()},
        "dose": [dataclasses.asdict(dose) | {"sentence": dose.sentence} for dose in result.doses],
        "verdict": result.verdict,
    }
    if result.white is not None and result.found is not None:
        values["residual"] = [{**dataclasses.asdict(check), "off": check.off} for check in result.white.checks]
        values["noise_left"] = result.white.noise_left
        values["bias"] = {
            "tests": result.found.tests,
            "worst": result.found.worst,
            "rms": result.found.rms,
            "regions": len(result.found.found),
            "found": [
                {
                    "positions": [[at.start, at.stop] for at in region.positions],
                    "channels": [region.channels.start, region.channels.stop],
                    "energy": in_words(region.channels, result.scan.energy),
                    "sigma": region.sigma,
                    "share": region.share,
                }
                for region in result.found.found[:SHOWN]
            ],
        }
    return values


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """What JSON can hold."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
