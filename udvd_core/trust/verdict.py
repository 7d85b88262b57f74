"""One sentence for the operator: whether to trust the result, and where not to."""

from __future__ import annotations

import typing

from udvd_core.axes import Axis
from udvd_core.trust.bias import Bias
from udvd_core.trust.findings import MOST, Finding, findings, in_words
from udvd_core.trust.heldout import MEAN, Score
from udvd_core.trust.residual import Whiteness

BETTER = 2.0  # standard errors from which on one model is better than another
NOISE_LEFT = 0.1  # share of the raw noise that is worth a warning
KINDS = {
    "missing": "signal is missing, the raw counts are up to {sigma:.1f} sigma higher",
    "added": "signal was made up, the raw counts are up to {sigma:.1f} sigma lower",
    "smoothed": "structure was smoothed away, the raw counts differ by up to {sigma:.1f} sigma both ways",
}


def verdict(
    scores: typing.Sequence[Score] = (),
    white: Whiteness | None = None,
    found: Bias | None = None,
    energy: Axis | None = None,
) -> str:
    """Say in one sentence whether to trust a result, and where not to.

    Parameters
    ----------
    scores : sequence of Score
        Models on held-out counts; told of where there is no finished scan to check.
    white, found : Whiteness and Bias, or None
        Checks of a denoised scan against the raw one; the first may be missing.
    energy : Axis or None
        Names ranges in eV where it is calibrated.
    """
    if found is not None:
        return _finished(white, found, energy)
    return _models(scores)


def _finished(white: Whiteness | None, found: Bias, energy: Axis | None) -> str:
    """Sentence on a denoised scan."""
    doubts = [_told(finding, energy) for finding in findings(found)]
    left = ""
    if white is not None and white.noise_left > NOISE_LEFT and white.variance.off:
        left = f"it still holds about {white.noise_left:.0%} of the noise of the raw scan, so fine texture is no signal"
    if doubts:
        more = f", nor {len(doubts) - MOST} more ranges with smaller deviations" if len(doubts) > MOST else ""
        return f"Do not trust {', nor '.join(doubts[:MOST])}{more}{f'; {left}' if left else ''}."
    agrees = (
        f"Nothing speaks against this result: {found.tests} regions of all sizes agree with the raw counts within noise"
        f" (worst {found.worst:.1f} sigma)"
    )
    if white is None:
        return f"{agrees}."
    warning = left or _structure(white)  # what noise is left correlates with its own residual
    if warning:
        return f"Trust it with care: {warning}."
    return f"{agrees}, and what is left of the raw scan looks like noise."


def _told(finding: Finding, energy: Axis | None) -> str:
    reason = KINDS[finding.kind].format(sigma=abs(finding.worst.sigma))
    return f"{in_words(finding.channels, energy)} {finding.where} ({reason})"


def _structure(white: Whiteness) -> str:
    """What the residual holds besides noise, in words; empty if nothing."""
    signal = [check for check in (*white.scan, *white.energy) if check.off and check.value > check.expected]
    if signal:
        worst = max(signal, key=lambda check: check.value - check.expected)
        return (
            f"the residual {worst.name} correlates by {worst.value:.2f} where noise alone gives {worst.expected:.2f},"
            " so weak structure was smoothed away"
        )
    if white.variance.off and white.variance.value > white.variance.expected:
        return f"the residual has {white.variance.value:.2f} times the variance of the noise, so signal is missing"
    return ""


def _models(scores: typing.Sequence[Score]) -> str:
    """Sentence on models compared on held-out counts."""
    if not scores:
        return "Nothing was checked."
    ranked = sorted(scores, key=lambda score: -score.likelihood)
    best, base = ranked[0], next((score for score in scores if score.name == MEAN), ranked[-1])
    gain, error = best.better_than(base)
    if best is base or gain <= BETTER * error:
        return (
            "Trust no difference between positions: no model predicts held-out counts better than the mean spectrum,"
            " so what differs cannot be told from noise."
        )
    ranked = [score for score in ranked if score is best or score.likelihood != best.likelihood]  # the same again
    equal = [s for s in ranked[1:] if best.better_than(s)[0] <= BETTER * best.better_than(s)[1]]
    more = f"{1e3 * gain:.3g} +- {1e3 * error:.2g} per 1000 pixels above the mean spectrum"
    text = f"{_named(best)} predicts held-out counts best, {more}"
    if equal:
        return f"{text}; {' and '.join(_named(s) for s in equal)} cannot be told from it."
    if len(ranked) > 1 and ranked[1] is not base:
        step, step_error = best.better_than(ranked[1])
        return f"{text} and {1e3 * step:.2g} +- {1e3 * step_error:.1g} above the next, {_named(ranked[1])}."
    return f"{text}."


def _named(score: Score) -> str:
    return f"{score.name} ({score.setting})" if score.setting else score.name
