"""Messages: every event comes out as it went in; anything else is an error or the end, never more."""

import io
import json
import math
import struct

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from udvd_core.engine import wire
from udvd_core.engine.protocol import Block, Failed, Finished, Resend, Status
from udvd_core.errors import EngineError
from udvd_core.monitor import Trust

floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
numbers = st.integers(0, 2**53)
texts = st.text(st.characters(exclude_categories=["Cs"]))


def arrays_of(dimensions):
    shapes = st.tuples(*[st.integers(0, 4)] * dimensions)
    return shapes.flatmap(lambda shape: arrays.arrays(numpy.float32, shape, elements=floats))


json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
figures = st.none() | st.floats(allow_nan=False)
trusts = st.builds(Trust, texts, texts, figures, figures, texts)
events = st.one_of(
    st.builds(Block, texts, numbers, arrays_of(2) | arrays_of(3), arrays_of(3), st.booleans(), numbers),
    st.builds(Status, texts, *[numbers] * 4, *[texts] * 5, trusts),
    st.builds(Finished, texts, *[numbers] * 3, st.dictionaries(texts, json_values, max_size=3), texts),
    st.builds(Resend, texts, texts),
    st.builds(Failed, texts, texts),
)


def equal(one, two):
    if isinstance(one, numpy.ndarray):
        return one.dtype == two.dtype and one.shape == two.shape and numpy.array_equal(one, two, equal_nan=True)
    return one == two or (isinstance(one, float) and math.isnan(one) and math.isnan(two))


def sent(*some):
    stream = io.BytesIO()
    sender = wire.Sender(stream)
    for event in some:
        wire.send_event(sender, event)
    return stream.getvalue()


class Trickle(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def read(self, size=-1):
        return super().read(min(size, 3))


@given(st.lists(events, min_size=1, max_size=3))
@settings(deadline=None)
def test_events_come_out_as_they_went_in(some):
    stream = Trickle(sent(*some))
    for event in some:
        back = wire.to_event(wire.receive(stream))
        assert type(back) is type(event)
        assert all(equal(value, getattr(back, name)) for name, value in vars(event).items())
    assert wire.receive(stream) is None


@given(st.lists(events, min_size=1, max_size=2), st.data())
@settings(deadline=None)
def test_cut_short_is_the_end(some, data):
    whole = sent(*some)
    stream = io.BytesIO(whole[: data.draw(st.integers(0, len(whole) - 1))])
    for _ in some:
        if wire.receive(stream) is None:
            return
    pytest.fail("a message came out whole")


def framed(text, body=b""):
    return struct.pack("<II", len(text), len(body)) + text + body


@given(
    st.binary(max_size=60)
    | st.binary(max_size=60).map(framed)
    | json_values.map(lambda v: framed(json.dumps(v).encode()))
)
@settings(deadline=None, max_examples=300)
def test_garbage_is_an_error_or_the_end(content):
    stream = io.BytesIO(content)
    try:
        while (message := wire.receive(stream)) is not None:
            assert isinstance(message["kind"], str)
    except EngineError as error:
        assert "something else wrote here" in str(error)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"kind": "a"}, b""),
        ({"arrays": []}, b""),
        ({"kind": 3, "arrays": []}, b""),
        ({"kind": "a", "arrays": [["x", [2]]]}, b"1234"),
        ({"kind": "a", "arrays": [["x", [-1]]]}, b"1234"),
        ({"kind": "a", "arrays": [["x", [-1, -1]]]}, b"1234"),
        ({"kind": "a", "arrays": [["x", [0.5]]]}, b"1234"),
        ({"kind": "a", "arrays": [["x", ["1"]]]}, b"1234"),
        ({"kind": "a", "arrays": [["x", [10**30, 10**30]]]}, b"1234"),
        ({"kind": "a", "arrays": [["x"]]}, b"1234"),
        ({"kind": "a", "arrays": [[["x"], [1]]]}, b"1234"),
        ({"kind": "a", "arrays": 1}, b""),
        ({"kind": "a", "arrays": []}, b"1234"),
        ([], b""),
        ("a", b""),
        (None, b""),
    ],
)
def test_headers_that_lie_are_an_error(header, body):
    with pytest.raises(EngineError, match="something else wrote here"):
        wire.receive(io.BytesIO(framed(json.dumps(header).encode(), body)))


def test_deep_json_is_an_error():
    with pytest.raises(EngineError):
        wire.receive(io.BytesIO(framed(b"[" * 100_000)))


def test_a_length_that_cannot_be_is_refused_before_it_is_read():
    with pytest.raises(EngineError, match="want at most"):
        wire.receive(io.BytesIO(b"a library prints a line of text\n"))


def test_other_messages_are_no_events():
    stream = io.BytesIO()
    wire.Sender(stream).send("beat")
    wire.Sender(stream).send("push", offset=3, frames=numpy.ones((2, 3)))
    stream.seek(0)
    assert wire.to_event(wire.receive(stream)) is None
    message = wire.receive(stream)
    assert (message["kind"], message["offset"], message["frames"].dtype) == ("push", 3, numpy.float32)


def test_a_closed_pipe_is_an_error():
    stream = io.BytesIO()
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        wire.Sender(stream).send("beat")
