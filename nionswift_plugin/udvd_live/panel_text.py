"""What the panel says: pure functions from the state of companion and job to words, no widget here."""

from __future__ import annotations

import gettext
import math
import textwrap
import typing

import numpy

from udvd_core.dose import ROSE, signal_to_noise
from udvd_core.errors import InputError
from udvd_core.monitor import BAD, CARE, GOOD

from .companion import Companion
from .engine_check import torch_command
from .job import Job, Phase
from .recording import State

_ = gettext.gettext

CHARACTERS = 40
"""A line of the narrowest dock."""
BOLD_CHARACTERS = 34
"""The same in bold."""
BARS = "▁▂▃▄▅▆▇█"
POINTS = 12
NO_TORCH = "without torch"
GREY = "#848484"
COLOURS = {GOOD: "#259447", CARE: "#C27400", BAD: "#E8503A", "": GREY}
"""Of the lights: three times as bright as a dark panel, a third of a light one. No text could be read so on both."""
SIGNS = {GOOD: "●", CARE: "▲", BAD: "■", "": "◐"}
"""Shapes beside the colours, for those who do not see these."""


def wrapped(text: str, most: int = CHARACTERS) -> str:
    """Text in lines that fit the dock; Qt cuts off the second line of a label that wraps by itself."""
    return "\n".join(textwrap.wrap(text, most))


def elided(text: str, most: int = BOLD_CHARACTERS) -> str:
    """A title with its middle left out where it is too long: its number stands at the end."""
    if len(text) <= most:
        return text
    tail = most * 2 // 3
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def state_line(companion: Companion, job: Job | None) -> str:
    """What is going on, in plain words."""
    if companion.trouble:
        return _("No engine: ") + companion.trouble
    if job is None:
        return _("Waiting for a scan") if companion.preferences.follow else _("Switched off")
    if job.phase is Phase.DONE:
        ended = job.recording.state
        if job.finished is None:
            return _("Stopped; results are preliminary")
        if job.finished.final < job.recording.coverage.received:
            return _("Not all frames are final; results are preliminary")
        return _("Final") if ended is State.FINISHED else _("Final for what came; the scan was ") + str(ended.value)
    if job.paused:
        return _("Learning is paused; frames are denoised as they come")
    return str(job.phase.value).capitalize()


def progress(job: Job | None) -> tuple[int, str]:
    """Percent of the scan that is denoised, and how far behind it is."""
    if job is None or job.status is None:
        return 0, ""
    status, count = job.status, job.spec.count
    percent = int(100 * status.denoised / count)
    if job.phase is Phase.FINALISING:
        return percent, f"{status.final} of {count} frames final, all in {left_s(job):.0f} s at most"
    if job.phase is Phase.DONE:
        final = job.finished.final if job.finished else status.denoised
        return int(100 * final / count), f"{final} of {count} frames"
    text = f"{status.denoised} of {count} frames, {job.lag} behind ({job.lag_s:.1f} s)"
    left = left_s(job)
    return percent, text if math.isnan(left) else f"{text}, final in about {_duration(left)}"


def left_s(job: Job) -> float:
    """Seconds until the result is final: at the pace of the scan so far, the budget after it included."""
    budget = job.spec.training.budget_s
    now, timeline = job.now, job.timeline
    if timeline.scan_ended is not None:
        return max(0.0, timeline.scan_ended + budget - now)
    received = job.recording.coverage.received
    elapsed = now - timeline.started
    if not received or elapsed < 2.0:
        return math.nan
    return (job.spec.count - received) * elapsed / received + budget


def learning_line(job: Job | None) -> str:
    """What was learned so far and how good it is, in the model's words."""
    if job is None or job.status is None:
        return ""
    return job.status.learned or _("Nothing learned yet")


def engine_line(companion: Companion, job: Job | None) -> tuple[str, str]:
    """Light and words: where it is computed."""
    if companion.engine is None:
        return BAD if companion.trouble else "", _("Engine off")
    device = f"{job.status.model} on {job.status.device}, " if job and job.status else ""
    described = companion.engine.describe()
    if not companion.engine.alive:
        return BAD, device + described
    if NO_TORCH in described:
        mend = torch_command(companion.preferences.python or "python")
        return CARE, f"{device}{described}: the guide alone. For its correction: {mend}"
    return GOOD, device + described


def note_line(companion: Companion, job: Job | None) -> str:
    """What went wrong or is odd: with the scan first."""
    if job is None:
        return f"Ignored {companion.ignored}" if companion.ignored else ""
    alarm = job.status.trust.alarm if job.status else ""
    told = [one for one in (alarm, job.note or (job.status.note if job.status else "")) if one]
    if not told and companion.ignored:
        told = [f"Ignored {companion.ignored}"]
    return ". ".join(told)


def trust_line(job: Job | None) -> tuple[str, str]:
    """Light and sentence: how far to trust the result.

    While a scan runs a preview may be older than the rows that it is judged by: red is amber until the next look.
    """
    if job is None or job.status is None:
        return "", ""
    light, earlier = job.status.trust.light, job.history[-2].light if len(job.history) > 1 else ""
    if light == BAD and earlier != BAD and job.finished is None:
        light = CARE
    return light, job.status.trust.sentence


def history_lines(job: Job | None) -> tuple[str, str]:
    """How signal-to-noise and held-out likelihood grew, each a sparkline and its last value; empty while unknown."""
    if job is None:
        return "", ""
    psnr = [trust.psnr for trust in job.history if trust.psnr is not None]
    heldout = [trust.heldout for trust in job.history if trust.heldout is not None]
    return (
        f"PSNR {sparkline(psnr)} {psnr[-1]:.1f} dB expected" if psnr else "",
        f"Held out {sparkline(heldout)} {heldout[-1]:+.1f} per 1000" if heldout else "",
    )


def sparkline(values: typing.Sequence[float]) -> str:
    """Values over time as bars of growing height; at most `POINTS`, the last always among them."""
    step = max(1, math.ceil(len(values) / POINTS))
    shown = list(values)[::-1][::step][::-1]
    low, high = min(shown), max(shown)
    if high - low < 1e-9:
        return BARS[len(BARS) // 2] * len(shown)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1))] for value in shown)


def dose_lines(job: Job | None) -> list[str]:
    """For each map its contrast in units of the noise, and what another pass over the area would bring."""
    return [] if job is None else [_dose(window.name, job.maps[k]) for k, window in enumerate(job.spec.maps)]


def _dose(name: str, rows: numpy.typing.NDArray[numpy.float32]) -> str:
    """Of the denoised map, from its values and standard errors; of the raw one where these are not known."""
    for kind, values, sigma in (("", rows[0], rows[1]), ("raw ", rows[2], rows[3])):
        try:
            dose = signal_to_noise(values, sigma, name)
        except InputError:
            continue
        if not dose.detected:
            return f"{name}: no {kind}contrast beyond noise yet"
        more = dose.passes_for(ROSE) or 0
        need = "" if not more else f"; {more} more reach {ROSE:g}" if more <= 100 else ""
        return f"{name}: {kind}{dose.ratio:.1f} x noise, next pass {dose.ratio * dose.next_gain:.1f}{need}"
    return f"{name}: noise not known yet"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
