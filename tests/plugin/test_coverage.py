"""Coverage against masks of numpy, through any course of a scan."""

from __future__ import annotations

import math
import threading

import hypothesis
import hypothesis.strategies as st
import numpy
import pytest

from nionswift_plugin.udvd_live.coverage import Coverage


def box_of(draw, shape):
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    return tuple(slice(a, draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True))


@st.composite
def courses(draw):
    """A scan shape and what happens to it, in order."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    happenings = []
    for what in draw(st.lists(st.sampled_from(["block", "frames", "feed", "feed", "lost"]), max_size=12)):
        if what == "block":
            happenings.append((what, box_of(draw, shape)))
        elif what == "frames":
            count = math.prod(shape)
            happenings.append((what, draw(st.lists(st.booleans(), min_size=count, max_size=count))))
        else:
            happenings.append((what, draw(st.integers(1, 5))))
    return shape, happenings


def first_run(mask, most):
    """First run of a flat mask, at most `most` long, counted one by one."""
    numbers = [n for n, wanted in enumerate(mask) if wanted]
    if not numbers:
        return None
    stop = numbers[0]
    while stop < len(mask) and mask[stop] and stop - numbers[0] < most:
        stop += 1
    return numbers[0], stop


@hypothesis.given(courses())
@hypothesis.settings(deadline=None)
def test_any_course_of_a_scan_equals_two_masks(course):
    shape, happenings = course
    coverage = Coverage(shape)
    received, delivered = numpy.zeros(shape, bool), numpy.zeros(shape, bool)
    for what, value in happenings:
        if what == "block":
            coverage.receive(value)
            received[value], delivered[value] = True, False
        elif what == "frames":
            coverage.receive_frames(numpy.array(value))
            received |= numpy.array(value).reshape(shape)
        elif what == "feed":
            run = coverage.missing(value)
            assert run == first_run((received & ~delivered).ravel(), value)
            if run is not None:
                coverage.deliver(*run)
                delivered.ravel()[slice(*run)] = True
        else:
            coverage.forget_deliveries()
            delivered[...] = False
        assert (coverage.received, coverage.delivered) == (received.sum(), delivered.sum())
        assert coverage.complete == received.all()
    for most in (1, 3, 999):
        assert coverage.missing(most) == first_run((received & ~delivered).ravel(), most)


@hypothesis.given(st.data())
@hypothesis.settings(deadline=None)
def test_runs_of_a_block_are_in_the_order_of_its_frames_and_as_long_as_can_be(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    box = box_of(data.draw, shape)
    runs = Coverage(shape).receive(box)
    block = numpy.arange(math.prod(shape)).reshape(shape)[box].ravel()  # what a block says where it lies
    assert [n for run in runs for n in range(*run)] == block.tolist()
    assert all(start < stop for start, stop in runs)
    assert all(before[1] < after[0] for before, after in zip(runs, runs[1:], strict=False))


def test_whole_rows_are_one_run_and_parts_of_rows_are_one_each():
    coverage = Coverage((4, 5))
    assert coverage.receive((slice(1, 3), slice(0, 5))) == [(5, 15)]
    assert coverage.receive((slice(1, 3), slice(2, 4))) == [(7, 9), (12, 14)]
    assert coverage.receive((slice(None), slice(4, None))) == [(4, 5), (9, 10), (14, 15), (19, 20)]


def test_positions_outside_the_scan_are_refused_not_wrapped():
    coverage = Coverage((4,))
    with pytest.raises(ValueError):
        coverage.receive_frames(numpy.ones(5, bool))
    assert coverage.receive((slice(3, 9),)) == [(3, 4)] and coverage.received == 1


def test_blocks_may_come_on_another_thread_than_frames_are_fed_on():
    shape, passes = (40, 25), 3
    coverage = Coverage(shape)
    over = threading.Event()

    def acquire():
        for _ in range(passes):
            for y in numpy.random.default_rng(0).permutation(shape[0]):
                coverage.receive((slice(y, y + 1), slice(0, shape[1])))
        over.set()

    thread = threading.Thread(target=acquire)
    thread.start()
    fed = numpy.zeros(math.prod(shape), int)
    while not over.is_set() or coverage.missing(1) is not None:
        run = coverage.missing(60)
        if run is not None:
            coverage.deliver(*run)
            fed[slice(*run)] += 1
    thread.join()
    assert fed.min() >= 1 and fed.max() <= passes + 1
    assert coverage.complete and coverage.delivered == math.prod(shape)
