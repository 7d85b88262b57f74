"""The picture of the demo: a spectrum, the quality against the rows seen, and two maps, raw and denoised."""

from __future__ import annotations

import pathlib
import typing

import matplotlib

matplotlib.use("Agg")

import numpy
import numpy.typing
from matplotlib import pyplot

from udvd_core.axes import Axis
from udvd_core.settings import MapWindow

Array = numpy.typing.NDArray[typing.Any]

RAW, DENOISED, TRUTH = "#8a8a8a", "#1e90ff", "#ffb000"


def draw(
    path: pathlib.Path,
    energy: Axis,
    spectra: dict[str, Array],
    maps: dict[str, Array],
    windows: typing.Sequence[MapWindow],
    title: str,
    curves: dict[str, list[tuple[int, float]]],
) -> None:
    """Draw and save a PNG.

    Parameters
    ----------
    spectra : dict of array, shape (y, x, E)
        ``raw``, ``denoised`` and, where it is known, ``truth``; counts.
    maps : dict of array, shape (maps, y, x)
        The same keys; counts.
    curves : dict of list of (int, float)
        Rows and PSNR of the spectra in them, dB, for ``raw``, ``denoised`` (live), ``final`` and ``offline``;
        empty where the truth is not known.
    """
    with pyplot.style.context("dark_background"):
        names = list(spectra)
        figure = pyplot.figure(figsize=(11, 4 + 2.6 * len(windows)), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[1.2, 1.1 * len(windows)])
        panels = top.subplots(1, 2, width_ratios=(2, 1)) if curves else [top.subplots()]
        _spectrum(panels[0], energy, spectra, windows)
        if curves:
            _quality(panels[1], curves)
        grid = bottom.subplots(len(windows), len(names), squeeze=False)
        if maps["raw"].shape[1] > 2 * maps["raw"].shape[2]:  # a tall scan lies down
            maps = {name: image.swapaxes(1, 2) for name, image in maps.items()}
        for row, window in enumerate(windows):
            reference = maps.get("truth", maps["denoised"])[row]
            low, high = float(reference.min()), float(reference.max())
            for column, name in enumerate(names):
                axes = grid[row, column]
                image = axes.imshow(maps[name][row], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
                axes.set_xticks([])
                axes.set_yticks([])
                axes.set_title(f"{window.name}, {name}", fontsize=10)
            bottom.colorbar(image, ax=list(grid[row]), label="counts", shrink=0.9)
        figure.suptitle(title, fontsize=11)
        figure.savefig(path, dpi=110)
        pyplot.close(figure)


def _spectrum(axes: typing.Any, energy: Axis, spectra: dict[str, Array], windows: typing.Sequence[MapWindow]) -> None:
    rows, columns = spectra["raw"].shape[:2]
    y, x = rows // 2, columns // 2
    values = energy.values()
    axes.step(values, spectra["raw"][y, x], where="mid", color=RAW, linewidth=0.8, label="raw")
    if "truth" in spectra:
        axes.plot(values, spectra["truth"][y, x], color=TRUTH, linewidth=1.2, label="truth")
    axes.plot(values, spectra["denoised"][y, x], color=DENOISED, linewidth=1.2, label="denoised")
    for window in windows:
        axes.axvspan(*window.signal, color="#00ff00", alpha=0.12, linewidth=0)
        for fitted in window.background:
            axes.axvspan(*fitted, color="#ff0000", alpha=0.15, linewidth=0)
    axes.set_xlim(values[0], values[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("energy loss (eV)")
    axes.set_ylabel(f"counts at ({y}, {x})")
    axes.legend(frameon=False, loc="upper right")


def _quality(axes: typing.Any, curves: dict[str, list[tuple[int, float]]]) -> None:
    """PSNR against the rows seen."""
    styles: dict[str, dict[str, typing.Any]] = {
        "raw": {"color": RAW, "linewidth": 0.8, "label": "raw"},
        "denoised": {"color": DENOISED, "linewidth": 1.2, "marker": ".", "label": "denoised, when first shown"},
        "offline": {"color": TRUTH, "linewidth": 1.0, "linestyle": ":", "label": "udvd denoise, whole scan"},
        "final": {"color": DENOISED, "linestyle": "", "marker": "*", "markersize": 11, "label": "final"},
    }
    for name, style in styles.items():
        if curves[name]:
            axes.plot(*zip(*curves[name], strict=True), **style)
    axes.set_xlim(left=0)
    axes.set_xlabel("rows seen")
    axes.set_ylabel("PSNR of their spectra (dB)")
    axes.legend(frameon=False, fontsize=8)
