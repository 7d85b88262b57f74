"""Maps and spectra as PNG files: a map with colour bar and scale bar, spectra with axes and legend. Any thread."""

from __future__ import annotations

import math
import pathlib
import typing

import numpy
import numpy.typing
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

SIDE = 640
"""Pixels of a map's longer side."""
MARGIN, BAR = 16, 18
PLOT = (900, 520)
FONT_SIZE = 15
INK, PAPER, FRAME = (0, 0, 0), (255, 255, 255), (120, 120, 120)

Array = numpy.typing.NDArray[typing.Any]
Colour = str | tuple[int, int, int]


class Curve(typing.NamedTuple):
    """A spectrum of a plot: its name, values, colour and line width in pixels."""

    name: str
    values: Array
    colour: str
    width: int


def save_map(
    path: pathlib.Path, values: Array, title: str, units: str, step: tuple[float, str], around_zero: float = 0.0
) -> None:
    """Draw a map in grey, black its lowest and white its highest value, with bars for both scales.

    Parameters
    ----------
    path : path
        PNG file.
    values : array, shape (y, x)
        NaN is drawn black.
    title, units : str
        Of the map and its values.
    step : (float, str)
        Width of a position and its unit; without a unit there is no scale bar.
    around_zero : float
        Put zero in the middle of the grey scale, which reaches at least so far both ways.
    """
    finite = values[numpy.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if around_zero:
        high = max(-low, high, around_zero)
        low = -high
    span = (high - low) or 1.0
    grey = (255 * numpy.clip((numpy.nan_to_num(values, nan=low) - low) / span, 0, 1)).astype(numpy.uint8)
    factor = max(SIDE / max(values.shape), 1.0 / max(values.shape))
    size = (max(round(values.shape[1] * factor), 1), max(round(values.shape[0] * factor), 1))
    picture = PIL.Image.fromarray(grey).resize(size, PIL.Image.Resampling.NEAREST)
    font = PIL.ImageFont.load_default(FONT_SIZE)
    labels = [f"{value:.4g}" for value in (high, low)]
    right = int(max(font.getlength(text) for text in [*labels, units])) + BAR + 3 * MARGIN
    width = max(size[0] + MARGIN + right, int(font.getlength(title)) + 2 * MARGIN)
    top, bottom = 2 * MARGIN + FONT_SIZE, 3 * MARGIN + FONT_SIZE
    sheet = PIL.Image.new("RGB", (width, max(size[1], 120) + top + bottom), PAPER)
    draw = PIL.ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN // 2), title, INK, font)
    sheet.paste(picture, (MARGIN, top))
    draw.rectangle((MARGIN - 1, top - 1, MARGIN + size[0], top + size[1]), outline=FRAME)
    _colour_bar(sheet, draw, font, (2 * MARGIN + size[0], top, max(size[1], 120)), labels, units)
    _scale_bar(draw, font, (MARGIN, top + size[1] + MARGIN), size[0] / values.shape[1], step, size[0])
    sheet.save(path)


def save_spectra(path: pathlib.Path, energies: Array, curves: typing.Sequence[Curve], title: str, units: str) -> None:
    """Draw spectra over energy loss, the first in front.

    Parameters
    ----------
    path : path
        PNG file.
    energies : array, shape (E,), eV
    curves : sequence of Curve
        Values of shape (E,); where they are not finite the line is broken, and a curve without any is left out.
    title, units : str
        Of the plot and its values.
    """
    curves = [curve for curve in curves if numpy.isfinite(curve.values).any()]
    font = PIL.ImageFont.load_default(FONT_SIZE)
    sheet = PIL.Image.new("RGB", PLOT, PAPER)
    draw = PIL.ImageDraw.Draw(sheet)
    box = (90, 2 * MARGIN + FONT_SIZE, PLOT[0] - MARGIN, PLOT[1] - 4 * MARGIN)
    finite = numpy.concatenate([curve.values[numpy.isfinite(curve.values)] for curve in curves] or [numpy.zeros(1)])
    x_of = _scaled(float(energies.min()), float(energies.max()), box[0], box[2])
    y_of = _scaled(float(min(finite.min(), 0)), float(finite.max()), box[3], box[1])
    for at in ticks(float(energies.min()), float(energies.max())):
        draw.line((x_of(at), box[3], x_of(at), box[3] + 5), INK)
        draw.text((x_of(at), box[3] + 8), f"{at:g}", INK, font, anchor="ma")
    for at in ticks(float(min(finite.min(), 0)), float(finite.max())):
        draw.line((box[0] - 5, y_of(at), box[0], y_of(at)), INK)
        draw.text((box[0] - 8, y_of(at)), f"{at:.4g}", INK, font, anchor="rm")
    for curve in reversed(curves):
        for part in _unbroken(curve.values):
            points = [(x_of(float(energies[n])), y_of(float(curve.values[n]))) for n in range(part.start, part.stop)]
            draw.line(points, curve.colour, curve.width)
    draw.rectangle(box, outline=FRAME)
    draw.text((MARGIN, MARGIN // 2), title, INK, font)
    draw.text(((box[0] + box[2]) / 2, PLOT[1] - MARGIN), "Energy loss (eV)", INK, font, anchor="mb")
    draw.text((box[0], box[1] - 4), units, INK, font, anchor="lb")
    for number, curve in enumerate(curves):
        y = box[1] + 14 + number * (FONT_SIZE + 6)
        draw.line((box[2] - 190, y, box[2] - 160, y), curve.colour, max(curve.width, 2))
        draw.text((box[2] - 152, y), curve.name.replace("\N{MINUS SIGN}", "-"), INK, font, anchor="lm")  # no such glyph
    sheet.save(path)


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers between two ends."""
    if not high > low:
        return [low]
    step = nice((high - low) / about)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def nice(length: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(factor for factor in (1, 2, 5) if factor * power <= length * (1 + 1e-9)) * power


def _colour_bar(
    sheet: PIL.Image.Image,
    draw: PIL.ImageDraw.ImageDraw,
    font: typing.Any,
    place: tuple[int, int, int],
    labels: typing.Sequence[str],
    units: str,
) -> None:
    """White at the top with the highest value beside it; the units under it."""
    x, y, height = place
    ramp = numpy.linspace(255, 0, height).astype(numpy.uint8)[:, None].repeat(BAR, axis=1)
    sheet.paste(PIL.Image.fromarray(ramp), (x, y))
    draw.rectangle((x - 1, y - 1, x + BAR, y + height), outline=FRAME)
    draw.text((x + BAR + 6, y), labels[0], INK, font, anchor="lt")
    draw.text((x + BAR + 6, y + height), labels[1], INK, font, anchor="lb")
    draw.text((x, y + height + 8), units, INK, font)


def _scale_bar(
    draw: PIL.ImageDraw.ImageDraw,
    font: typing.Any,
    place: tuple[int, int],
    pixels: float,
    step: tuple[float, str],
    width: int,
) -> None:
    """About a third of the picture long, under it."""
    if not step[1] or not step[0] > 0:
        return
    length = nice(step[0] * width / pixels / 3)
    end = place[0] + round(length / step[0] * pixels)
    draw.rectangle((place[0], place[1], end, place[1] + 5), fill=INK)
    draw.text((end + 8, place[1] + 3), f"{length:g} {step[1]}", INK, font, anchor="lm")


def _scaled(low: float, high: float, start: float, stop: float) -> typing.Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def _unbroken(values: Array) -> list[slice]:
    """Runs of at least two finite values."""
    edges = numpy.flatnonzero(numpy.diff(numpy.concatenate(([False], numpy.isfinite(values), [False])).astype(int)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 1]
