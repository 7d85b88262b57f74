"""Simulated scans of all kinds: what they promise, at any size and on any energy axis."""

import numpy
import pytest

from udvd_core.axes import Axis
from udvd_core.detector import Detector
from udvd_core.errors import InputError
from udvd_core.simulate import (
    simulate_blank,
    simulate_dispersive,
    simulate_domains,
    simulate_dopants,
    simulate_flake,
    simulate_particles,
    simulate_plasmon,
    simulate_wedge,
)
from udvd_core.simulate.cameras import expose
from udvd_core.simulate.variety import HIGHEST_DOSE, LOWEST_DOSE, random_sample

KINDS = (
    *(simulate_blank, simulate_domains, simulate_dopants, simulate_flake),
    *(simulate_particles, simulate_plasmon, simulate_wedge),
)


@pytest.mark.parametrize("simulate", KINDS)
@pytest.mark.parametrize(("size", "channels"), [((12, 9), 64), ((1, 5), 300), ((30, 24), 128)])
def test_every_kind_keeps_its_dose_and_is_never_negative(simulate, size, channels):
    sample = simulate(size, channels, counts=700.0, seed=3)
    assert sample.spectra.shape == (*size, channels)
    assert sample.spectra.min() >= 0 and numpy.isfinite(sample.spectra).all()
    assert sample.spectra.sum(-1).mean() == pytest.approx(700.0, rel=0.35)  # domains: what lies on the axis
    assert sample.profile.sum() == pytest.approx(1)


@pytest.mark.parametrize("simulate", [kind for kind in KINDS if kind is not simulate_blank])
def test_seeds_give_other_scans(simulate):
    one, two = (simulate((16, 16), 512, seed=seed).spectra for seed in (1, 2))
    assert not numpy.allclose(one, two)
    numpy.testing.assert_array_equal(one, simulate((16, 16), 512, seed=1).spectra)


@pytest.mark.parametrize("simulate", KINDS)
def test_an_energy_axis_without_any_edge_is_fine(simulate):
    sample = simulate((6, 6), 50, energy=Axis(50, 2000.0, 1.0, "eV", "E"), counts=100.0)
    assert numpy.isfinite(sample.spectra).all()


def test_a_blank_scan_is_the_same_everywhere():
    spectra = simulate_blank((9, 7), 100).spectra
    assert numpy.ptp(spectra, axis=(0, 1)).max() < 1e-12


def test_single_atoms_stand_alone():
    sample = simulate_dopants((32, 32), 512, counts=20000.0, strength=0.05)
    (atoms,) = (part for part in sample.parts if part.name == "Gd M")
    bright = atoms.weight > 0.3 * atoms.weight.max()
    assert 0.002 < bright.mean() < 0.1


def test_the_plasmon_moves_and_the_wedge_scatters_more_where_it_is_thick():
    sample = simulate_plasmon((16, 16), 512)
    values = sample.energy.values()
    losses = (values > 12) & (values < 26)
    peaks = values[losses][sample.spectra[..., losses].argmax(-1)]
    assert 1.5 < numpy.ptp(peaks) < 12
    wedge = simulate_wedge((16, 16), 512)
    zero_loss = wedge.spectra[..., abs(wedge.energy.values()) < 2].sum(-1) / wedge.spectra.sum(-1)
    assert zero_loss[:, 0].mean() > 0.7 and zero_loss[:, -1].mean() < 0.3
    assert numpy.diff(wedge.spectra[..., :20], axis=-1).min() > -1e-4  # no ringing before the peak


def test_dispersive_frames_sum_to_their_spectra():
    sample = simulate_dispersive((5, 4), 512, q_rows=24, counts=900.0)
    frame = sample.rate(7)
    numpy.testing.assert_allclose(frame.sum(0), sample.spectra.reshape(20, -1)[7], rtol=1e-9)
    best = frame[:, 300:].argmax(1)  # the optical branch bends
    assert numpy.ptp(best) > 3
    assert Detector(0.25).record(sample).frame(3).shape == (24, 512)
    with pytest.raises(InputError, match="at least 8 detector rows"):
        simulate_dispersive((4, 4), 64, q_rows=4)
    with pytest.raises(InputError, match="outside the scan"):
        sample.rate(20)


def test_scans_by_chance_are_all_different_and_all_possible():
    seen = set()
    for seed in range(40):
        sample = random_sample(numpy.random.default_rng(seed), (10, 13), 96)
        assert sample.spectra.min() >= 0 and numpy.isfinite(sample.spectra).all()
        assert LOWEST_DOSE * 0.99 < sample.spectra.sum(-1).mean() < HIGHEST_DOSE * 1.01
        seen.add(float(sample.spectra[3, 3, 40]))
    assert len(seen) == 40


def test_cameras_by_chance_have_the_noise_that_they_say():
    kinds = set()
    for seed in range(8):
        rng = numpy.random.default_rng(seed)
        shot = expose(numpy.full((40, 40, 60), 50.0), rng)
        noise = (shot.counts - shot.truth)[..., 5:-5]
        assert abs(noise.mean()) < 5 * noise.std() / 300
        assert noise.var() / shot.noise.variance(shot.truth)[..., 5:-5].mean() == pytest.approx(1, abs=0.05)
        lag = float((noise[..., 1:] * noise[..., :-1]).mean() / noise.var())
        light = 1 - shot.noise.read_variance / shot.noise.variance(shot.truth).mean()  # read noise is white
        assert lag == pytest.approx(light * sum(shot.noise.correlation[:1]), abs=0.03)
        kinds.add(shot.noise.read_variance > 0)
    assert kinds == {True, False}
