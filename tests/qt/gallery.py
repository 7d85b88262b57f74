"""Pictures of what we show, and what a program can see in them: texts that are cut, or too faint to be read."""

from __future__ import annotations

import pathlib
import typing

from PIL import Image
from qt_swift import QtSwift, Screen

READABLE, SEEN = 4.5, 3.0
"""Contrast that WCAG 2 asks of text, and of a sign."""
SIGNS = "●▲■◐"
SETTLE_S = 0.4

Colour = tuple[int, int, int]


class Gallery:
    """Takes pictures and collects what is wrong in them.

    Parameters
    ----------
    swift : QtSwift
        What is looked at.
    folder : path
        Gets ``gallery-NAME-THEME.png``.
    theme : str
        Goes into the names.
    """

    def __init__(self, swift: QtSwift, screen: Screen, folder: pathlib.Path, theme: str) -> None:
        self.swift, self.screen = swift, screen
        self.faults: list[str] = []
        self.texts: dict[str, list[str]] = {}
        """What each picture says."""
        self.theme = theme
        self._folder = folder

    def take(self, name: str, root: str | None = None) -> list[str]:
        """Take a picture, and look at the texts in a widget of ours, which Python on Swift's main thread gives."""
        path = self._folder / f"gallery-{name}-{self.theme}.png"
        look = f"(lambda root: [look.frame(root), look.texts_in(app.ui, root)])({root})" if root else "[[], []]"
        self.screen.xdotool("sleep", SETTLE_S)
        limits, texts = self.swift.ask(look)
        self.screen.save(path)
        stayed = self.swift.ask(look)[1]
        texts = [text for text in texts if text in stayed]  # others moved while the picture was taken
        if root is None:
            return []
        if not texts:
            self.faults.append(f"{name}: no text")
        with Image.open(path) as picture:
            pixels = picture.convert("RGB")
            for text in texts:
                self.faults += [f"{name}: {text['text']!r} {fault}" for fault in faults_of(pixels, limits, text)]
        self.texts[name] = [text["text"] for text in texts]
        return self.texts[name]


def faults_of(picture: Image.Image, limits: list[int], text: dict[str, typing.Any]) -> list[str]:
    """What is wrong with a text: it needs more room than it has, leaves its panel at the side, or is too faint.

    Parameters
    ----------
    picture : Image
        Of the screen.
    limits : list of int
        Of the panel: left, top, right, bottom.
    text : mapping
        As `driver.look.texts_in` gives it.
    """
    found = []
    (left, top, right, bottom), needs, has = text["frame"], text["needs"], text["has"]
    if needs[0] > has[0] + 1 or needs[1] > has[1] + 1:
        found.append(f"is cut: needs {needs} pixels and has {has}")
    if left < limits[0] or right > limits[2]:
        found.append(f"leaves its panel: {left} to {right} in {limits[0]} to {limits[2]}")
    view = text["view"]
    box = (max(left, view[0]), max(top, view[1]), min(right, view[2]), min(bottom, view[3]))
    if not text["enabled"] or top < view[1] or bottom > view[3] or box[2] - box[0] < 4 or box[3] - box[1] < 4:
        return found  # grey on purpose, or scrolled away
    seen = contrast_in(picture.crop(box))
    wanted = SEEN if text["text"] in SIGNS else READABLE
    if seen < wanted:
        found.append(f"has a contrast of {seen:.1f}; want {wanted}")
    return found


def contrast_in(picture: Image.Image) -> float:
    """Between the commonest colour of a picture and the one that differs most from it."""
    counted = typing.cast("list[tuple[int, Colour]]", picture.getcolors(picture.width * picture.height))
    background = luminance(max(counted)[1])
    return max(ratio(background, luminance(colour)) for _count, colour in counted)


def ratio(one: float, other: float) -> float:
    """Contrast of two luminances, 1 to 21, as WCAG 2 defines it."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def luminance(colour: Colour) -> float:
    """Relative luminance of a colour in sRGB, 0 to 1."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
