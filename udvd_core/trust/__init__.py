"""How far a result can be trusted, found on the operator's own data without a truth.

Held-out counts compare models (`compare`); residual, bias and whiteness check a finished scan (`whiteness`, `bias`,
`difference`); independent copies give a PSNR (`unsupervised_psnr`); `verdict` says it in one sentence.
"""

from udvd_core.trust.bias import Bias, Region, bias
from udvd_core.trust.copies import UnsupervisedPsnr, unsupervised_psnr
from udvd_core.trust.findings import Finding, findings
from udvd_core.trust.heldout import Candidate, Score, compare
from udvd_core.trust.likelihood import likelihoods, paired_difference, quasi_likelihood
from udvd_core.trust.residual import Check, Whiteness, difference, whiteness
from udvd_core.trust.verdict import verdict

__all__ = [
    "Bias",
    "Candidate",
    "Check",
    "Finding",
    "Region",
    "Score",
    "UnsupervisedPsnr",
    "Whiteness",
    "bias",
    "compare",
    "difference",
    "findings",
    "likelihoods",
    "paired_difference",
    "quasi_likelihood",
    "unsupervised_psnr",
    "verdict",
    "whiteness",
]
