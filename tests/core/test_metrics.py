"""PSNR against a known truth."""

import math

import numpy
import pytest

from udvd_core.errors import InputError
from udvd_core.metrics import psnr


def test_value():
    truth = numpy.array([[10.0, 0.0], [0.0, 0.0]])
    assert psnr(truth + 1.0, truth) == pytest.approx(20.0)


def test_dose_adds_ten_log_ten(rng_seed=3):
    rng = numpy.random.default_rng(rng_seed)
    truth = rng.uniform(5.0, 20.0, (64, 256))
    one, ten = (psnr(rng.poisson(n * truth) / n, truth) for n in (1, 10))
    assert ten - one == pytest.approx(10.0, abs=0.2)


def test_region_is_all_that_counts():
    truth = numpy.array([[10.0, 4.0], [0.0, 0.0]])
    estimate = numpy.array([[10.0, 4.0], [9.0, 9.0]])
    assert psnr(estimate, truth, numpy.s_[:1]) == math.inf
    assert psnr(estimate, truth, truth > 0) == math.inf
    assert psnr(estimate, truth, numpy.s_[..., 1]) == pytest.approx(10 * math.log10(16 / 40.5))


def test_single_precision_input_is_scored_in_double():
    truth = numpy.full(1000, 1e4, dtype=numpy.float32)
    assert psnr(truth + numpy.float32(0.01), truth) > 119


@pytest.mark.parametrize(
    ("estimate", "truth", "region", "message"),
    [
        (numpy.ones(3), numpy.ones(4), None, "want the same shape"),
        (numpy.ones(3), numpy.zeros(3), None, "needs one above 0"),
        (numpy.ones(3), numpy.ones(3), numpy.s_[3:], "covers nothing"),
    ],
)
def test_bad_input_is_refused(estimate, truth, region, message):
    with pytest.raises(InputError, match=message):
        psnr(estimate, truth, region)
