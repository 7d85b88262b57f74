"""Frames through shared memory: whatever the order of putting and freeing, none is damaged."""

import collections
import multiprocessing.shared_memory
import threading

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udvd_core.engine.ring import Ring, RingReader

SIZE = 400  # bytes: 100 values

sizes = st.integers(0, 40)
FREE = st.just(-1)


class Reader(RingReader):
    """A reader in the same process, where the tracker must go on minding the writer's memory."""

    def __init__(self, name):
        self._memory = multiprocessing.shared_memory.SharedMemory(name)


@pytest.fixture(scope="module")
def ends():
    ring = Ring(SIZE)
    reader = Reader(ring.name)
    yield ring, reader
    reader.close()
    ring.close()


@given(st.lists(sizes | FREE | st.just(-2), max_size=120))
@settings(deadline=None, max_examples=300)
def test_blocks_never_overlap_and_stay_as_they_were(ends, actions):
    ring, reader = ends
    ring.reset()
    inside = collections.deque()
    for number, size in enumerate(actions):
        if size == -2:
            ring.reset()
            inside.clear()
        elif size == -1:
            if inside:
                offset, block = inside.popleft()
                numpy.testing.assert_array_equal(reader.block(offset, block.shape), block)
                ring.free(offset)
        else:
            block = numpy.full((size, 1, 1), number, numpy.float32) + numpy.arange(size).reshape(size, 1, 1) / 64
            offset = ring.put(block)
            if offset is None:
                assert inside, "an empty ring takes everything that fits"
            else:
                assert 0 <= offset and offset + 4 * size <= SIZE
                inside.append((offset, block))
    for offset, block in inside:
        numpy.testing.assert_array_equal(reader.block(offset, block.shape), block)


def test_it_is_filled_to_the_last_byte_and_wraps(ends):
    ring, reader = ends
    ring.reset()
    block = numpy.ones((25, 1, 1), numpy.float32)
    offsets = [ring.put(k * block) for k in range(4)]
    assert offsets == [0, 100, 200, 300]
    assert ring.put(block[:1]) is None
    ring.free(0)
    assert ring.put(block) is None  # that would look like an empty ring
    assert ring.put(block[:24]) == 0
    ring.free(100)
    assert ring.put(9 * block) == 96
    assert [float(reader.block(offset, (25,)).mean()) for offset in offsets[2:]] == [2, 3]


def test_what_can_never_fit_is_refused(ends):
    ring, _ = ends
    ring.reset()
    assert ring.put(numpy.zeros((101, 1, 1), numpy.float32)) is None
    assert ring.put(numpy.zeros((100, 1, 1), numpy.float32)) == 0


def test_freeing_what_is_not_the_oldest_does_nothing(ends):
    ring, _ = ends
    ring.reset()
    block = numpy.zeros((40, 1, 1), numpy.float32)
    assert (ring.put(block), ring.put(block)) == (0, 160)
    for offset in (160, 7, 400):
        ring.free(offset)
    assert ring.put(block) is None
    ring.free(0)
    ring.free(0)
    assert ring.put(block[:30]) is not None


def test_other_kinds_of_numbers_become_float32(ends):
    ring, reader = ends
    ring.reset()
    for dtype in (numpy.uint16, numpy.int64, numpy.float64):
        block = numpy.arange(12, dtype=dtype).reshape(3, 2, 2)[:, ::-1]
        offset = ring.put(block)
        numpy.testing.assert_array_equal(reader.block(offset, block.shape), block)
        ring.free(offset)


def test_threads_put_while_another_frees(ends):
    ring, reader = ends
    ring.reset()
    queue, lock, failures = collections.deque(), threading.Lock(), []

    def put(value):
        left = 150
        while left:
            block = numpy.full((1 + left % 17, 1, 1), value + left, numpy.float32)
            with lock:  # as in `LocalEngine`: the order of the orders is that of the blocks
                offset = ring.put(block)
                if offset is not None:
                    queue.append((offset, block))
                    left -= 1

    threads = [threading.Thread(target=put, args=(1000 * k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(450):
        while not queue:
            pass
        offset, block = queue.popleft()
        if not (reader.block(offset, block.shape) == block).all():
            failures.append(offset)
        ring.free(offset)
    for thread in threads:
        thread.join()
    assert not failures and not queue


def test_nothing_goes_in_after_close():
    ring = Ring(SIZE)
    name = ring.name
    ring.close()
    assert ring.put(numpy.zeros((1, 1, 1), numpy.float32)) is None
    with pytest.raises(FileNotFoundError):
        Reader(name)
