"""Swift is closed in the middle of a scan: what was denoised is there when the project is opened again."""

from __future__ import annotations

import pathlib
import time

import numpy
import pytest
from live import shown

from nionswift_plugin.udvd_simulator import acquire, headless


# Swift itself raises in its own threads when it is closed during an acquisition (nionswift issue 99).
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_results_survive_closing_in_mid_scan(swift, companion, shutter, tmp_path):
    shutter.hold(14)
    acquire.acquire_spectrum_image(swift, (6, 5), 20)
    shutter.pump_to(swift, companion, 14, shown)
    swift.pump(0.5)
    job, pid = companion.current, companion.engine.pid
    ring = pathlib.Path("/dev/shm", companion.engine._ring.name)
    assert ring.exists()
    titles = {item.title for item in job.items}
    before = numpy.array(job.items[0].data[:])
    assert before.any() and len(titles) == 3
    swift.close()

    assert companion.engine is None
    end = time.monotonic() + 5
    while pathlib.Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not pathlib.Path(f"/proc/{pid}").exists(), "the engine ends with Swift"
    assert not ring.exists(), "no shared memory is left"

    with headless.HeadlessSwift(tmp_path / "swift") as again:
        results = [item for item in again.data_items if "udvd" in item.metadata]
        assert {item.metadata["udvd"]["state"] for item in results} == {"interrupted"}
        assert len(results) == 3 and all("interrupted" in item.title for item in results)
        result = next(item for item in results if item.metadata["udvd"]["kind"] == "denoised")
        kept = numpy.array(result.data[:])
        assert kept.shape == (6, 5, 64) and not kept.reshape(30, -1)[14:].any()
        assert (kept[before > 0] > 0).all()
        assert [c.units for c in result.dimensional_calibrations] == ["nm", "nm", "eV"]
        assert result.metadata["udvd"]["source_uuid"] == str(job.recording.item.uuid)
