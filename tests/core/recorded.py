"""Simulated scans of spectra with their truth, recorded by a detector whose charge spreads."""

import numpy

from udvd_core.detector import Detector

SPREAD = 0.25


def recorded(simulate, size=(24, 24), channels=256, counts=5000.0, seed=0, q_rows=1, **faults):
    """Counts and expected counts, both (n, q, E), of a simulated scan."""
    sample = simulate(size, channels, counts=counts, q_rows=q_rows, seed=seed)
    recording = Detector(SPREAD, seed=seed, **faults).record(sample)
    shape = (sample.count, *sample.frame_shape)
    return recording.frames().reshape(shape), recording.truth_frames().reshape(shape).astype(numpy.float64)
