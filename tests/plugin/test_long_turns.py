"""Python's switch interval is longer while a scan is denoised, and afterwards what it was."""

from __future__ import annotations

import sys

import pytest
from live import GUIDED, run_to_done, shown

from nionswift_plugin.udvd_live.long_turns import TURN_S, LongTurns
from nionswift_plugin.udvd_simulator import acquire

SHAPE = (6, 5)


@pytest.fixture(autouse=True)
def _interval():
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("plug_in_settings", [GUIDED], indirect=True)
def test_turns_are_long_from_the_scan_to_its_final_results(swift, companion, shutter):
    before = sys.getswitchinterval()
    assert before < TURN_S
    shutter.hold(17)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    swift.pump_until(lambda: companion.current is not None and shown(companion.current), 60)
    assert sys.getswitchinterval() == pytest.approx(TURN_S)
    shutter.open()
    acquisition.wait()
    run_to_done(swift, companion)
    swift.pump(0.2)
    assert sys.getswitchinterval() == pytest.approx(before)


@pytest.mark.parametrize("plug_in_settings", [GUIDED], indirect=True)
def test_a_companion_that_closes_during_a_scan_gives_it_back(swift, companion, shutter):
    before = sys.getswitchinterval()
    shutter.hold(17)
    acquisition = acquire.acquire_spectrum_image(swift, SHAPE, 20)
    swift.pump_until(lambda: sys.getswitchinterval() > before, 60)
    companion.close()
    assert sys.getswitchinterval() == pytest.approx(before)
    shutter.open()
    acquisition.wait()


@pytest.mark.parametrize("chosen", [0.001, 0.05])
def test_what_somebody_else_chose_meanwhile_stays(chosen):
    turns = LongTurns()
    turns.hold(True)
    sys.setswitchinterval(chosen)
    turns.hold(True)
    turns.hold(False)
    assert sys.getswitchinterval() == pytest.approx(chosen)


def test_a_longer_interval_that_was_there_is_left_alone():
    sys.setswitchinterval(2 * TURN_S)
    turns = LongTurns()
    turns.hold(True)
    assert sys.getswitchinterval() == pytest.approx(2 * TURN_S)
    turns.hold(False)
    assert sys.getswitchinterval() == pytest.approx(2 * TURN_S)
