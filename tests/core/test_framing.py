"""Neighbours, runs and boxes of scan positions."""

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udvd_core.framing import GRID, LINE, merged, neighbour_table, pattern_for, rectangles, runs


def by_hand(scan_shape, pattern):
    """The same table, position by position; a line is the longest of the last two axes."""
    if len(pattern.offsets) == 5:
        length = max(scan_shape[-2:])
        rows, columns = 1, length
    else:
        rows, columns = scan_shape[-2:]
    table = []
    for number in range(math.prod(scan_shape)):
        page, (y, x) = number // (rows * columns), divmod(number % (rows * columns), columns)
        near = [(y + dy, x + dx) for dy, dx in pattern.offsets]
        inside = [0 <= a < rows and 0 <= b < columns for a, b in near]
        table.append([(page * rows + a) * columns + b if ok else -1 for (a, b), ok in zip(near, inside, strict=True)])
    return table


@pytest.mark.parametrize(
    ("scan_shape", "pattern"),
    [
        ((7,), LINE),
        ((1,), LINE),
        ((1, 7), LINE),
        ((7, 1), LINE),
        ((1, 1), LINE),
        ((3, 1, 5), LINE),
        ((3, 5, 1), LINE),
        ((4, 5), GRID),
        ((2, 2), GRID),
        ((3, 4, 5), GRID),
    ],
)
def test_table(scan_shape, pattern):
    assert pattern_for(scan_shape) is pattern
    together = pattern_for(scan_shape, spectra=True)
    assert together.offsets == pattern.offsets and together.groups == (tuple(range(len(pattern.offsets))),)
    table = neighbour_table(scan_shape, pattern)
    assert (neighbour_table(scan_shape, together) == table).all()
    assert table.dtype == numpy.int64
    assert table.tolist() == by_hand(scan_shape, pattern)
    assert (table[:, pattern.centre] == numpy.arange(math.prod(scan_shape))).all()


def test_table_of_a_small_scan_written_out():
    assert neighbour_table((2, 3), GRID).tolist() == [
        [-1, -1, -1, -1, 0, 1, -1, 3, 4],
        [-1, -1, -1, 0, 1, 2, 3, 4, 5],
        [-1, -1, -1, 1, 2, -1, 4, 5, -1],
        [-1, 0, 1, -1, 3, 4, -1, -1, -1],
        [0, 1, 2, 3, 4, 5, -1, -1, -1],
        [1, 2, -1, 4, 5, -1, -1, -1, -1],
    ]
    assert neighbour_table((3,), LINE).tolist() == [[-1, -1, 0, 1, 2], [-1, 0, 1, 2, -1], [0, 1, 2, -1, -1]]


def test_groups_are_the_papers():
    assert [[GRID.offsets[k] for k in group] for group in GRID.groups] == [
        [(-1, -1), (0, 0), (1, 1)],
        [(-1, 0), (0, 0), (1, 0)],
        [(-1, 1), (0, 0), (1, -1)],
        [(0, -1), (0, 0), (0, 1)],
    ]
    assert [[LINE.offsets[k][1] for k in group] for group in LINE.groups] == [[-2, -1, 0], [-1, 0, 1], [0, 1, 2]]


@given(st.sets(st.integers(0, 60)))
def test_runs(numbers):
    found = runs(numpy.array(sorted(numbers), numpy.int64))
    assert [n for start, stop in found for n in range(start, stop)] == sorted(numbers)
    assert all(one[1] < two[0] for one, two in zip(found, found[1:], strict=False))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), st.data())
def test_rectangles_are_the_stretch_in_order(shape, data):
    numbers = numpy.arange(math.prod(shape)).reshape(shape)
    start = data.draw(st.integers(0, numbers.size))
    stop = data.draw(st.integers(start, numbers.size))
    boxes = [(numbers[box].ravel().tolist(), first, last) for first, last, box in rectangles(start, stop, shape)]
    assert [n for box, _, _ in boxes for n in box] == list(range(start, stop))
    assert all(box == list(range(first, last)) for box, first, last in boxes)


def test_blocks_are_put_together_before_swift_gets_them():
    one, two, late = (numpy.full((n, 2), value, numpy.float32) for n, value in ((3, 1.0), (2, 2.0), (3, 3.0)))
    ((start, data),) = merged([(0, one), (3, two)])
    assert start == 0 and data[:, 0].tolist() == [1, 1, 1, 2, 2]
    assert [start for start, _ in merged([(5, one), (0, two)])] == [5, 0], "what does not follow stays apart"
    ((start, data),) = merged([(1, two), (0, late)])
    assert start == 0 and data[:, 0].tolist() == [3, 3, 3], "what came again is not written twice"
    parts = merged([(0, late), (2, two)])
    assert [(start, len(data)) for start, data in parts] == [(0, 3), (2, 2)], "the later one wins where they overlap"
    assert merged([]) == []
