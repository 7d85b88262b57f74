"""What tests of live scans share."""

from __future__ import annotations

from nionswift_plugin.udvd_live.job import Phase
from nionswift_plugin.udvd_simulator import playback

GUIDED = {"training": {"budget_s": 4}}
"""Settings with the model that the plug-in has from the start, with its network; most tests do without."""


def run_to_done(swift, companion, jobs=1):
    """Pump until so many jobs are done; returns the last."""
    swift.pump_until(lambda: len([j for j in companion.jobs if j.phase is Phase.DONE]) >= jobs, 90)
    swift.pump(0.2)
    return companion.jobs[-1]


def received(companion):
    """Frames of the current scan that have come."""
    return companion.current.recording.coverage.received if companion.current else 0


class Shutter:
    """Holds the simulated camera after a number of frames: what a test does in mid-scan races with no clock.

    Swift goes on asking for frames and gets none until `open`, then all that are due by then at once.
    For whole scans of one width, not for sections of them.
    """

    FLYBACK = 2
    """Positions that Swift has the camera count before each row and drops."""

    def __init__(self, monkeypatch, columns):
        self._columns = columns
        self._most = None
        due, wait_s = playback.Readout.due, playback.Readout.wait_s
        monkeypatch.setattr(
            playback.Readout, "due", lambda r: due(r) if self._most is None else min(due(r), self._most)
        )
        monkeypatch.setattr(
            playback.Readout, "wait_s", lambda r, most: wait_s(r, most) if self._most is None else min(most, 0.02)
        )

    def hold(self, frames):
        """Give so many frames of a scan and no more."""
        rows, rest = divmod(frames, self._columns)
        self._most = rows * (self.FLYBACK + self._columns) + (self.FLYBACK + rest if rest else 0)

    def open(self):
        """Let the scan go on."""
        self._most = None

    def pump_to(self, swift, companion, frames, condition=lambda job: True):
        """Run Swift until just these frames have come and `condition` of the job holds."""
        self.hold(frames)
        swift.pump_until(lambda: received(companion) == frames and condition(companion.current), 60)


def shown(job):
    """Whether all results are in the library and something was written into them."""
    return job.timeline.first_preview is not None and len(job.items) == 1 + len(job.spec.maps)
