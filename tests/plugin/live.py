"""What tests of live scans share."""

from __future__ import annotations

from nionswift_plugin.udvd_live.job import Phase


def run_to_done(swift, companion, jobs=1):
    """Pump until so many jobs are done; returns the last."""
    swift.pump_until(lambda: len([j for j in companion.jobs if j.phase is Phase.DONE]) >= jobs, 90)
    swift.pump(0.2)
    return companion.jobs[-1]


def received(companion):
    """Frames of the current scan that have come."""
    return companion.current.recording.coverage.received if companion.current else 0
