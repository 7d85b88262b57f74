"""What the paper claims of its figures 5, 6 and 7, as numbers on simulated stand-ins; one JSON object per claim.

Charge spreads, the noise is measured on each scan, and the default model learns until it settles. Numbers are means
over the seeds; those of each seed go to the standard error. ``speed`` times core-loss maps of a large scan on one
thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import typing

import numpy
import numpy.typing
import scipy.ndimage
from ceria import BOUNDARY, ceria_sample, distance
from ceria import PRESET as CERIA
from coverage import summary
from defects import scan_of
from scans import buffer_of, settle, with_threads

from udvd_core.axes import Axis
from udvd_core.corrected import GuidedModel
from udvd_core.lowrank.uncertainty import Uncertainty
from udvd_core.maps.core_loss import core_loss
from udvd_core.maps.covariance import Covariance, DenoisedCovariance
from udvd_core.maps.preset_maps import preset_maps
from udvd_core.maps.presets import BUILT_IN, Preset
from udvd_core.noise import NoiseModel
from udvd_core.settings import ScanSpec, Training
from udvd_core.simulate import Sample, simulate_flake, simulate_phonon
from udvd_core.simulate.shapes import power_law

Array = numpy.typing.NDArray[typing.Any]
Facts = dict[str, typing.Any]

CHANNELS, FLAKE_SIZE, PHONON_SIZE = 1028, (32, 32), (50, 50)
FLAKE_DOSE, CERIA_DOSE, PHONON_DOSE = 14200.0, 20000.0, 2809.0
"""Electrons per spectrum: on the flake, 0.027 per pixel as the paper recorded; of ceria, which the paper does not tell;
4.5 fA times 100 ms."""
AVERAGED, B_K, ON_FLAKE = 5, (190.0, 210.0), 0.7
PRESETS = {preset.name: preset for preset in BUILT_IN}
UNCORRECTED = dataclasses.replace(CERIA, lines=())
PHONONS = PRESETS["h-BN phonons"]


@dataclasses.dataclass(frozen=True)
class Found:
    """A scan and what was made of it; spectra (n, E), counts."""

    sample: Sample
    truth: Array
    raw: Array
    denoised: Array
    noise: NoiseModel
    covariance: DenoisedCovariance
    facts: Facts

    def maps(self, preset: Preset) -> dict[str, tuple[Array, Array]]:
        """Values and sigma, shape (maps, n) each, of the noise-free, raw and denoised spectra."""
        cases = {
            "truth": (self.truth, None),
            "raw": (self.raw, self.noise),
            "denoised": (self.denoised, self.covariance),
        }
        return {name: preset_maps(data, self.sample.energy, preset, errors) for name, (data, errors) in cases.items()}


def found(sample: Sample, seed: int) -> Found:
    """Record a sample and denoise it."""
    scan, begin = scan_of(sample, seed), time.process_time()
    buffer, numbers = buffer_of(scan), numpy.arange(sample.count)
    spec = ScanSpec("claims", sample.scan_shape, buffer.frame_shape, sample.energy, training=Training(device="cpu"))
    model = GuidedModel(spec, buffer)
    settle(model)
    denoised = numpy.concatenate([model.denoise(part)[:, 0] for part in numpy.array_split(numbers, 8)])
    told, doubt = model.provenance(), model.uncertainty
    if doubt is None or model.camera is None:
        raise RuntimeError("nothing was learned")
    facts: Facts = {
        name: told[name] for name in ("rank", "gain", "correction_share", "correction_gain") if name in told
    }
    facts["denoise_s"] = time.process_time() - begin
    truth, raw = (values.reshape(sample.count, -1).astype(numpy.float64) for values in (scan.truth, scan.counts))
    covariance = DenoisedCovariance(doubt, numbers)
    return Found(sample, truth, raw, denoised, model.camera.noise, covariance, facts)


def rms(values: Array) -> Array:
    """Root mean square over the last axis."""
    return numpy.asarray(numpy.sqrt((values**2).mean(-1)))


def flake(seed: int, dose: float) -> Facts:
    """Figure 5: a denoised spectrum against averages of 25 raw ones, on the flake, by error against the truth.

    ``around`` are 5 x 5 positions, the one in question in their middle; ``random`` are any on the flake, brought to
    the true counts of the one in question. Only positions count whose 25 neighbours lie on the flake.
    """
    axis = Axis(CHANNELS, 170.0, 0.1, "eV", "E")
    sample = simulate_flake(FLAKE_SIZE, energy=axis, counts=1.0, q_rows=1, seed=seed)
    weight = {part.name: part.weight for part in sample.parts}["B K"]
    on = weight > ON_FLAKE * numpy.quantile(weight, 0.9)
    scale = dose / sample.spectra[on].sum(-1).mean()
    case = found(dataclasses.replace(sample, spectra=sample.spectra * scale, parts=()), seed)
    inner = numpy.flatnonzero(scipy.ndimage.minimum_filter(on, AVERAGED, mode="constant"))
    around = scipy.ndimage.uniform_filter(case.raw.reshape(*FLAKE_SIZE, -1), (AVERAGED, AVERAGED, 1))
    rng, light = numpy.random.default_rng([seed, 7]), case.truth.sum(1)
    random = numpy.empty((inner.size, CHANNELS))
    for row, here in zip(random, inner, strict=True):
        chosen = rng.choice(numpy.flatnonzero(on), AVERAGED**2, replace=False)
        row[:] = case.raw[chosen].sum(0) * light[here] / light[chosen].sum()
    estimates = {"raw": case.raw[inner], "denoised": case.denoised[inner]}
    estimates |= {"around": around.reshape(case.raw.shape)[inner], "random": random}
    result: Facts = {"electrons": dose, "positions": inner.size, **case.facts}
    for name, region in {"whole": slice(None), "B K": axis.window(*B_K)}.items():
        error = {key: rms((values - case.truth[inner])[:, region]) for key, values in estimates.items()}
        told: Facts = {key: numpy.median(values) for key, values in error.items()}
        for key in ("around", "random"):
            told[f"by_{key}"] = numpy.median(error["denoised"]) / numpy.median(error[key])
            told[f"better_than_{key}"] = (error["denoised"] <= error[key]).mean()
        told["worth_spectra"] = (numpy.median(error["raw"]) / numpy.median(error["denoised"])) ** 2
        result[name] = told
    lights = {part.name: part.weight.ravel() * part.spectrum.sum() for part in sample.parts}
    carbon = lights["carbon"] + lights["C K"]
    brightest = numpy.argmax((lights["vacuum"], carbon, lights["background"] + lights["B K"]), 0)
    for number, name in enumerate(("vacuum", "carbon")):
        at = brightest == number
        errors = {key: rms((v - case.truth)[at]) for key, v in (("raw", case.raw), ("denoised", case.denoised))}
        result[name] = {"positions": at.sum(), **{key: numpy.median(error) for key, error in errors.items()}}
    return result


def ceria(seed: int, dose: float) -> Facts:
    """Figure 6: the Gd map, with and without the lines of Ce taken off, against the true counts of Gd."""
    sample = ceria_sample(seed, dose)
    case, gadolinium = found(sample, seed), sample.parts[-1]
    window = sample.energy.window(*CERIA.maps[1].signal)
    truth = gadolinium.weight.ravel() * gadolinium.spectrum[window].sum()
    far = distance(seed).ravel() > BOUNDARY
    atoms = far & (truth > 2 * numpy.median(truth[far]))
    result: Facts = {"electrons": dose, "truth_mean": truth.mean(), "truth_spread": truth.std(), **case.facts}
    for label, preset in (("uncorrected", UNCORRECTED), ("corrected", CERIA)):
        maps = case.maps(preset)
        for name, (values, sigma) in maps.items():
            result[f"{label} {name}"] = {
                "correlation": numpy.corrcoef(values[1], truth)[0, 1],
                "rms": rms(values[1] - truth),
                "mean_error": (values[1] - truth).mean(),
                "contrast_kept": numpy.polyfit(truth, values[1], 1)[0],
                "atoms_kept": numpy.polyfit(truth[far], values[1][far], 1)[0],
            }
            if name != "truth":  # as in coverage.py, against the noise-free map treated alike
                wrong, error = values[1] - maps["truth"][0][1], sigma[1]
                result[f"{label} {name}"]["sigma"] = error.mean()
                for key, at in (("coverage", slice(None)), ("coverage at atoms", atoms)):
                    result[f"{label} {name}"][key] = summary(wrong[at] / error[at], wrong[at], error[at])
    return result


def phonons(seed: int, dose: float) -> Facts:
    """Figure 7: lattice contrast of phonon maps, and whether the zero-loss maps raw and denoised agree.

    There are no defects, so that all of a noise-free map but its mean is the periodic component of the lattice: its
    share in a map is the slope on the noise-free one, ``kept``, and its amplitude that times the rms of that.
    """
    axis = Axis(CHANNELS, -0.1, 0.001, "eV", "E")
    case = found(simulate_phonon(PHONON_SIZE, energy=axis, counts=dose, q_rows=1, seed=seed), seed)
    maps = case.maps(PHONONS)
    result: Facts = {"electrons": dose, **case.facts}
    for number, window in enumerate(PHONONS.maps):
        truth = maps["truth"][0][number]
        wave = truth - truth.mean()
        told: Facts = {"counts": truth.mean(), "contrast_rms": wave.std()}
        for name in ("raw", "denoised"):
            values = maps[name][0][number]
            kept = (values * wave).sum() / (wave**2).sum()
            told[name] = {"correlation": numpy.corrcoef(values, truth)[0, 1], "kept": kept}
            told[name]["contrast_to_noise"] = kept * wave.std() / rms(values - truth)
            told[name] |= {"mean_error": (values - truth).mean(), "rms": rms(values - truth)}
        result[window.name] = told
    (raw, denoised), sigma = (maps[name][0][-1] for name in ("raw", "denoised")), maps["raw"][1][-1]
    difference = (denoised - raw) / sigma
    agreement = {"mean": difference.mean(), "spread": difference.std()}
    result["null test"] = {**agreement, "correlation": numpy.corrcoef(raw, denoised)[0, 1]}
    return result


def speed(shape: tuple[int, int, int] = (256, 256, 1024), rank: int = 6) -> Facts:
    """Seconds on one thread of B K and N K maps with sigma, for the errors of raw and of denoised spectra.

    The risks of the latter are as the model finds them on scans of thousands of electrons per spectrum.
    """
    rng, axis = numpy.random.default_rng(0), Axis(shape[-1], 100.0, 0.5, "eV", "E")
    count, mean = shape[0] * shape[1], power_law(axis.values(), 3.0)
    mean *= 5000 / mean.sum()
    spectra = numpy.tile(rng.poisson(mean, (4096, shape[-1])).astype(numpy.float32), (count // 4096, 1))
    components = numpy.linalg.qr(rng.normal(size=(shape[-1], rank)))[0].T
    weights = numpy.linalg.qr(rng.normal(size=(count, rank)))[0]
    numbers, scale = numpy.arange(count), numpy.sqrt(1.2 * mean).astype(numpy.float32)
    risks = numpy.full(rank, 0.05), numpy.full(rank, 0.2)
    doubt = Uncertainty(numbers, numpy.ones(count), scale, components, risks[0], weights, risks[1], slow=1.17)
    result: Facts = {"shape": shape, "rank": rank}
    cases: dict[str, NoiseModel | Covariance] = {
        "raw": NoiseModel(1.2, 0.0, (0.083,)),
        "denoised": DenoisedCovariance(doubt, numbers),
    }
    for name, errors in cases.items():
        begin, cpu = time.perf_counter(), time.process_time()
        core_loss(spectra, axis, PRESETS["h-BN core loss"].maps, errors)
        result[name] = {"seconds": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu}
    return result


CLAIMS = {"figure 5": (flake, FLAKE_DOSE), "figure 6": (ceria, CERIA_DOSE), "figure 7": (phonons, PHONON_DOSE)}


def mean_of(runs: typing.Sequence[typing.Any]) -> typing.Any:
    """Nested numbers averaged over runs, four digits."""
    if isinstance(runs[0], dict):
        return {key: mean_of([run[key] for run in runs]) for key in runs[0]}
    return float(f"{numpy.mean(runs):.4g}") if numpy.ndim(runs[0]) == 0 else runs[0]


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claims", nargs="+", choices=[*CLAIMS, "speed"], default=[*CLAIMS, "speed"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--dose", type=float, help="electrons per spectrum; default: those of each claim")
    options = parser.parse_args()
    with_threads(1)
    for name in options.claims:
        if name == "speed":
            print(json.dumps({"claim": name, **mean_of([speed()])}), flush=True)
            continue
        (run, dose), runs = CLAIMS[name], []
        for seed in options.seeds:
            runs.append(run(seed, options.dose or dose))
            print(json.dumps({"claim": name, "seed": seed, **mean_of([runs[-1]])}), file=sys.stderr, flush=True)
        print(json.dumps({"claim": name, "seeds": options.seeds, **mean_of(runs)}), flush=True)


if __name__ == "__main__":
    main()
