"""Small scans, and someone who takes one through an engine as the plug-in does."""

import time

import numpy

from udvd_core.axes import Axis
from udvd_core.engine.protocol import Block, Failed, Finished, Resend, Status
from udvd_core.settings import ScanSpec, Training

ENERGY = Axis(32, 100.0, 1.0, "eV", "E")


def spec_for(scan_id, scan_shape=(4, 5), rows=1, maps=(), **training):
    training = {"device": "cpu", "width": 2, "budget_s": 1.5, "preview_s": 0.1, **training}
    return ScanSpec(
        scan_id, scan_shape, (rows, ENERGY.size), ENERGY, tuple(maps), Training(**{"model": "udvd", **training})
    )


class Driver:
    """Takes one scan through an engine as the plug-in does, and keeps everything that came."""

    def __init__(self, engine, spec, frames):
        self.engine, self.spec, self.frames = engine, spec, frames
        self.events = []
        self.data = numpy.full((spec.count, *spec.output_shape), numpy.nan, numpy.float32)
        self.maps = numpy.full((len(spec.maps), 4, spec.count), numpy.nan, numpy.float32)
        self.final = numpy.zeros(spec.count, int)
        self.step = numpy.full(spec.count, -1)
        self.at = 0
        self.told = False
        engine.open(spec)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def ended(self):
        return bool(self.of(Finished) or self.of(Failed))

    def take(self, events):
        """Keep the events of this scan."""
        for event in events:
            if event.scan_id != self.spec.scan_id:
                continue
            assert not self.ended, f"{event} came after the end"
            self.events.append(event)
            if isinstance(event, Block):
                span = slice(event.start, event.start + len(event.data))
                self.data[span], self.maps[..., span] = event.data, event.maps
                self.final[span] += event.final
                self.step[span] = event.step
            elif isinstance(event, Status):
                assert 0 <= event.final <= event.denoised <= event.received <= self.spec.count
            elif isinstance(event, Resend):
                self.at, self.told = 0, False
                self.final[:] = 0

    def push(self, stop=None, batch=3):
        """Push frames up to `stop`, and finish after the last; returns whether there was room for them all."""
        stop = self.spec.count if stop is None else stop
        while self.at < stop:
            if not self.engine.push(self.spec.scan_id, self.at, self.frames[self.at : min(self.at + batch, stop)]):
                return False
            self.at = min(self.at + batch, stop)
        if self.at == self.spec.count and not self.told:
            self.told = True
            self.engine.finish(self.spec.scan_id)
        return True

    def run(self, *others, timeout_s=90.0):
        """Push and poll until this scan and `others` have ended."""
        drivers = (self, *others)

        def ended():
            for driver in drivers:
                if not driver.ended:
                    driver.push()
            return all(driver.ended for driver in drivers)

        self.wait(ended, *others, timeout_s=timeout_s)
        return self

    def wait(self, condition, *others, timeout_s=90.0):
        """Poll until something is so."""
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, (
                f"waited in vain; {self.engine.describe()}; the last was {self.events[-1:]}"
            )
            events = self.engine.poll()
            for driver in (self, *others):
                driver.take(events)
            if not events:
                time.sleep(0.005)

    def settle(self, seconds=0.15):
        """Poll for a while."""
        until = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= until)
