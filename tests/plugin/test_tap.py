"""The tap on a document model: what the acquisition thread may and may not notice of it."""

from __future__ import annotations

import logging
import threading

import numpy
import pytest
from nion.data import DataAndMetadata

from nionswift_plugin.udvd_live import tap

METHOD = "update_data_item_partial"
SOURCE = numpy.arange(24.0).reshape(2, 3, 4)


class Model:
    """Stands for Swift's document model."""

    def __init__(self):
        self.calls = []

    def update_data_item_partial(self, data_item, data_metadata, data_and_metadata, src_slice, dst_slice):
        self.calls.append((data_item, data_metadata, data_and_metadata, src_slice, dst_slice))


def update(model, src=(slice(0, 2), slice(1, 2), slice(None)), dst=(slice(6, 8), slice(5, 6), slice(0, 4))):
    model.update_data_item_partial("item", "metadata", DataAndMetadata.new_data_and_metadata(SOURCE), src, dst)


@pytest.fixture
def model():
    return Model()


def test_swift_gets_exactly_what_it_would_have_got(model):
    attached = tap.attach(model, lambda *args: None)
    src, dst = [slice(0, 1)], [slice(3, 4)]  # lists, as some callers pass
    update(model, src, dst)
    ((item, metadata, xdata, given_src, given_dst),) = model.calls
    assert (item, metadata) == ("item", "metadata") and given_dst is dst
    assert numpy.array_equal(xdata.data[tuple(given_src)], SOURCE[0:1])
    assert not numpy.shares_memory(xdata.data, SOURCE), "a camera may write the next frame into the same memory"
    attached.close()


@pytest.mark.parametrize("kind", [tuple, list])
def test_the_listener_gets_the_part_that_is_written_and_where_it_goes(model, kind):
    seen = []
    attached = tap.attach(model, lambda *args: seen.append((len(model.calls), *args)))
    update(model, kind((slice(0, 2), slice(1, 2), slice(None))), kind((slice(6, 8), slice(5, 6), slice(0, 4))))
    ((calls, item, metadata, block, where),) = seen
    assert calls == 1, "Swift first"
    assert (item, metadata, where) == ("item", "metadata", (slice(6, 8), slice(5, 6), slice(0, 4)))
    assert numpy.array_equal(block, SOURCE[0:2, 1:2])
    attached.close()


def test_a_caller_may_name_the_arguments(model):
    seen = []
    attached = tap.attach(model, lambda *args: seen.append(args))
    xdata = DataAndMetadata.new_data_and_metadata(SOURCE)
    model.update_data_item_partial(
        data_item=1, data_metadata=2, data_and_metadata=xdata, src_slice=(slice(0, 1),), dst_slice=(slice(0, 1),)
    )
    assert len(model.calls) == len(seen) == 1
    attached.close()


def test_the_listener_runs_on_the_thread_of_the_caller(model):
    names = []
    attached = tap.attach(model, lambda *args: names.append(threading.current_thread().name))
    thread = threading.Thread(target=update, args=(model,), name="acquisition")
    thread.start()
    thread.join()
    assert names == ["acquisition"]
    attached.close()


def test_what_swift_raises_reaches_the_caller_and_the_listener_hears_nothing(model):
    seen = []

    def fails(data_item, data_metadata, data_and_metadata, src_slice, dst_slice):
        raise RuntimeError("Cannot update deleted data item")

    model.update_data_item_partial = fails
    attached = tap.Tap(model, lambda *args: seen.append(args))
    with pytest.raises(RuntimeError, match="deleted data item"):
        update(model)
    assert not seen
    attached.close()


def fails(*args):
    raise ValueError("only for the log")


@pytest.mark.parametrize("src", [(slice(0, 1),), (slice(0, 1),) * 9, ("no slice",)])
def test_whatever_fails_in_the_listener_or_on_the_way_to_it_is_logged_only(model, caplog, src):
    attached = tap.attach(model, fails)
    with caplog.at_level(logging.ERROR):
        update(model, src)
        update(model, src)
    records = [record for record in caplog.records if "the scan is not affected" in record.message]
    assert len(model.calls) == len(records) == 2 and all(record.exc_info for record in records)
    attached.close()


def test_close_restores_the_method_and_may_be_called_twice(model):
    original = model.update_data_item_partial
    attached = tap.attach(model, fails)
    assert METHOD in vars(model) and model.update_data_item_partial != original
    attached.close()
    attached.close()
    assert METHOD not in vars(model) and model.update_data_item_partial == original


def test_closing_in_the_listener_is_the_last_it_hears(model):
    seen = []

    def once(*args):
        seen.append(args)
        attached.close()

    attached = tap.attach(model, once)
    update(model)
    update(model)
    assert len(seen) == 1 and len(model.calls) == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["below first", "top first"])
def test_two_taps_close_in_either_order(model, order):
    seen = []
    taps = [tap.attach(model, lambda *args, n=n: seen.append(n)) for n in range(2)]
    update(model)
    assert seen == [0, 1] and len(model.calls) == 1, "each wraps what was there, Swift's own is called once"
    taps[order[0]].close()
    update(model)
    assert seen == [0, 1, order[1]] and len(model.calls) == 2, "the other goes on"
    taps[order[1]].close()
    update(model)
    assert len(seen) == 3 and len(model.calls) == 3


def test_another_wrapper_on_top_survives_close_and_may_be_taken_away(model):
    above = []
    attached = tap.attach(model, fails)
    ours = model.update_data_item_partial

    def theirs(*args):
        above.append(args)
        ours(*args)

    model.update_data_item_partial = theirs
    attached.close()
    assert vars(model)[METHOD] is theirs
    update(model)
    assert len(above) == len(model.calls) == 1
    model.update_data_item_partial = ours  # it puts back what it found
    update(model)
    assert len(above) == 1 and len(model.calls) == 2


def other(data_item, xdata):
    raise AssertionError("not called")


def renamed(data_item, data_metadata, data_and_metadata, source, dst_slice):
    raise AssertionError("not called")


def longer(data_item, data_metadata, data_and_metadata, src_slice, dst_slice, more=None):
    raise AssertionError("not called")


@pytest.mark.parametrize("method", [other, renamed, longer, None])
def test_a_swift_that_cannot_be_tapped_is_left_alone(model, caplog, method):
    model.update_data_item_partial = method
    with caplog.at_level(logging.WARNING):
        assert tap.attach(model, fails) is None
    assert "following scans by events" in caplog.text and vars(model)[METHOD] is method


def test_a_swift_without_the_method(caplog):
    with caplog.at_level(logging.WARNING):
        assert tap.attach(object(), fails) is None
    assert METHOD in caplog.text


def test_the_swift_that_is_installed_can_be_tapped(bare_swift):
    document_model = bare_swift.document_model
    attached = tap.attach(document_model, fails)
    assert attached is not None, "else scans are followed by events, less exactly"
    attached.close()
    assert METHOD not in vars(document_model)
