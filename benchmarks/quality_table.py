"""The lines of `quality.py` as a Markdown table, and whether the margins are as large as they must be."""

from __future__ import annotations

import json
import math
import pathlib
import statistics
import typing

Line = dict[str, typing.Any]
Scan = tuple[str, float]

RIVAL = "pca_oracle"
LIMITS: dict[str, tuple[float, float]] = {
    "hbn": (3.0, 2.0),
    "domains": (3.0, 3.0),
    "flake": (2.0, 2.0),
    "phonon": (3.0, 3.0),
    "particles": (2.0, 2.0),
    "wedge": (2.0, 2.0),
    "plasmon": (2.0, 2.0),
}
"""dB above oracle PCA that are wanted of each kind: on average over its doses, and at each dose."""
SCORED = {"phonon": ((3000.0,), ("TA", "LA", "TO-LO"))}
"""Doses and regions that count, where not all doses and the whole spectrum do."""
FLAT_LIMIT = 1.5
"""Mean squared error on flat scans, by that of the mean spectrum."""
LONGEST_S = 60.0
LOSS_ALLOWED = 0.1
"""dB that ``guided`` may lie below ``guide``."""


def read_lines(path: pathlib.Path) -> list[Line]:
    """Results of a file, the last one of each scan and method; a line that was cut off is left out."""
    found: dict[tuple[typing.Any, ...], Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        found[line["kind"], line["dose"], line["seed"], line["method"], tuple(line["shape"])] = line
    return list(found.values())


def append_line(path: pathlib.Path, line: str) -> None:
    """Add a line to a file, on a line of its own even where the last one was cut off."""
    with path.open("ab+") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        cut_off = size > 0 and file.read(1) != b"\n"
        file.write(("\n" * cut_off + line + "\n").encode())


def _scans(lines: list[Line]) -> list[Scan]:
    """Kinds and doses in the order of the file."""
    return list(dict.fromkeys((line["kind"], line["dose"]) for line in lines))


def _mean(lines: list[Line], scan: Scan, method: str, value: typing.Callable[[Line], float | None]) -> float:
    """Mean over seeds; NaN where there is none."""
    mine = [line for line in lines if (line["kind"], line["dose"], line["method"]) == (*scan, method)]
    values = [v for v in map(value, mine) if v is not None]
    return statistics.fmean(values) if values else math.nan


def _psnr(lines: list[Line], scan: Scan, method: str, region: str, best: bool = False) -> float:
    key = "psnr_best_per_region" if best else "psnr"
    return _mean(lines, scan, method, lambda line: line.get(key, {}).get(region))


def table(lines: list[Line], methods: list[str]) -> str:
    """Markdown: PSNR in dB by scan and region, then seconds and ranks; mean over seeds."""
    used = [method for method in methods if any(line["method"] == method for line in lines)]
    head = ["scan", "counts", "region", *used, "best rank for the region", "guide - oracle"]
    rows = [head, ["---"] * len(head)]
    for scan in _scans(lines):
        mine = [line for line in lines if (line["kind"], line["dose"]) == scan]
        for region in dict.fromkeys(name for line in mine for name in line["psnr"]):
            values = [_psnr(lines, scan, method, region) for method in used]
            margin = _psnr(lines, scan, "guide", region) - _psnr(lines, scan, RIVAL, region)
            best = _psnr(lines, scan, RIVAL, region, best=True)
            rows.append([scan[0], f"{scan[1]:g}", region, *map(_cell, [*values, best, margin])])
        for title, key in (("error / flat mean", "over_flat"), ("rank", "rank"), ("processor s", "cpu_s")):
            values = [_mean(lines, scan, method, lambda line, key=key: line.get(key)) for method in used]
            if not all(map(math.isnan, values)):
                rows.append([scan[0], f"{scan[1]:g}", title, *map(_cell, values), "", ""])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def check(lines: list[Line], judged: str) -> bool:
    """Print every margin of a method beside its limit; whether all are kept."""
    passed = [_margins(lines, judged, kind, *limits) for kind, limits in LIMITS.items()]
    for scan in _scans(lines):
        regions = {name for line in lines if (line["kind"], line["dose"]) == scan for name in line["psnr"]}
        over_raw = min(_psnr(lines, scan, judged, r) - _psnr(lines, scan, "raw", r) for r in sorted(regions))
        passed.append(_told(f"{scan[0]} {scan[1]:g}: dB above raw, its worst region", over_raw, over_raw >= 0))
        seconds = _mean(lines, scan, judged, lambda line: line["cpu_s"])
        passed.append(_told(f"{scan[0]} {scan[1]:g}: processor seconds", seconds, seconds <= LONGEST_S))
        flat = _mean(lines, scan, judged, lambda line: line.get("over_flat"))
        passed.append(_told(f"{scan[0]} {scan[1]:g}: error by that of the flat mean", flat, flat <= FLAT_LIMIT))
        leads = {
            r: _psnr(lines, scan, "guided", r) - _psnr(lines, scan, "guide", r) for r in ["whole", *sorted(regions)]
        }
        worst = min(leads, key=leads.__getitem__)
        name = f"{scan[0]} {scan[1]:g}: dB of guided above guide (worst: {leads[worst]:.2f}, {worst})"
        passed.append(_told(name, leads["whole"], leads["whole"] >= -LOSS_ALLOWED))
    return all(passed)


def _margins(lines: list[Line], judged: str, kind: str, mean: float, least: float) -> bool:
    """Margins of one kind above oracle PCA, at each dose and on average.

    Judged against the rank that is best for the whole spectrum; the best rank for each region stands beside it.
    """
    doses, regions = SCORED.get(kind, ((), ("whole",)))
    found, passed = [], True
    for scan in _scans(lines):
        if scan[0] != kind or (doses and scan[1] not in doses):
            continue
        own = statistics.fmean(_psnr(lines, scan, judged, region) for region in regions)
        rival, best = (statistics.fmean(_psnr(lines, scan, RIVAL, r, best=b) for r in regions) for b in (False, True))
        found.append(own - rival)
        name = f"{kind} {scan[1]:g}, {', '.join(regions)}: dB above {RIVAL}, at least {least:g}"
        passed &= _told(
            f"{name} (above the best rank for each region: {own - best:.2f})", own - rival, found[-1] >= least
        )
    known = [margin for margin in found if not math.isnan(margin)]
    if not known:
        print(f"FAIL     none  {kind}: no scan of this kind has been run")
        return False
    average = statistics.fmean(known)
    return _told(f"{kind}: mean over doses, at least {mean:g}", average, average >= mean) and passed


def _told(name: str, value: float, passed: bool) -> bool:
    """Print one comparison, but nothing where there is no value to compare."""
    if math.isnan(value):
        return True
    print(f"{'ok  ' if passed else 'FAIL'} {value:8.2f}  {name}")
    return passed
