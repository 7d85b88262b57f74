"""What the live panel says: words, sparklines, dose."""

from __future__ import annotations

import re
import types

import numpy
import pytest

from nionswift_plugin.udvd_live import panel_text
from udvd_core.monitor import BAD, CARE, GOOD, Trust


@pytest.mark.parametrize(
    ("values", "bars"),
    [([1.0], "▅"), ([1.0, 2.0], "▁█"), (list(range(100)), 16), ([3.0, 3.0, 3.0], "▅▅▅"), ([2.0, 1.0, 2.0], "█▁█")],
)
def test_sparklines(values, bars):
    made = panel_text.sparkline(values)
    assert made == bars if isinstance(bars, str) else len(made) <= bars and made[-1] == "█"


@pytest.mark.parametrize(
    ("lights", "finished", "shown"),
    [
        ((GOOD, BAD), False, CARE),
        ((BAD,), False, CARE),
        ((GOOD, BAD, BAD), False, BAD),
        ((GOOD, BAD), True, BAD),
        ((BAD, GOOD), False, GOOD),
    ],
)
def test_while_a_scan_runs_one_look_alone_does_not_make_the_light_red(lights, finished, shown):
    looks = [Trust(light, f"sentence {number}") for number, light in enumerate(lights)]
    job = types.SimpleNamespace(
        history=looks, status=types.SimpleNamespace(trust=looks[-1]), finished=object() if finished else None
    )
    assert panel_text.trust_line(job) == (shown, looks[-1].sentence)


def test_long_texts_fit_the_dock():
    title = "Spectrum Image of a flake with a very long name that someone typed EELS 1234"
    assert len(panel_text.elided(title)) == panel_text.BOLD_CHARACTERS and panel_text.elided(title).endswith(
        "EELS 1234"
    )
    assert all(len(line) <= panel_text.CHARACTERS for line in panel_text.wrapped("word " * 60).split("\n"))


def test_the_dose_meter_tells_what_another_pass_brings():
    rng = numpy.random.default_rng(1)
    truth = numpy.tile([0.0, 8.0], 50)
    rows = numpy.stack(
        (truth + rng.normal(0, 2, 100), numpy.full(100, 2.0), truth + rng.normal(0, 2, 100), numpy.full(100, 2.0))
    )
    told = panel_text._dose("B K", rows.astype(numpy.float32))
    ratio, after = (float(found) for found in re.findall(r"\d+\.\d", told)[:2])
    assert ratio == pytest.approx(2.0, abs=0.4) and after == pytest.approx(ratio * 2**0.5, abs=0.1)
    rows[:2] = numpy.nan
    assert "B K: raw " in panel_text._dose("B K", rows.astype(numpy.float32))
