"""Messages over a pipe: a JSON header and raw arrays; nothing that could run code."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import threading
import typing

import numpy
import numpy.typing

from udvd_core.engine.protocol import Block, Event, Failed, Finished, Resend, Status
from udvd_core.errors import EngineError
from udvd_core.monitor import Trust

Array = numpy.typing.NDArray[numpy.float32]
Message = dict[str, typing.Any]

LARGEST = 1 << 31
_LENGTHS = struct.Struct("<II")
_EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in (Block, Status, Finished, Resend, Failed)}


class Sender:
    """Writes whole messages; any thread."""

    def __init__(self, stream: typing.BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, kind: str, **values: typing.Any) -> None:
        """Write one message; float32 arrays among the values travel as bytes.

        Raises
        ------
        OSError, ValueError
            When the other end is gone.
        """
        arrays = {name: value for name, value in values.items() if isinstance(value, numpy.ndarray)}
        header: Message = {name: value for name, value in values.items() if name not in arrays}
        header["kind"] = kind
        header["arrays"] = [[name, array.shape] for name, array in arrays.items()]
        text = json.dumps(header).encode()
        body = b"".join(numpy.ascontiguousarray(a, numpy.float32).tobytes() for a in arrays.values())
        with self._lock:
            self._stream.write(_LENGTHS.pack(len(text), len(body)) + text + body)
            self._stream.flush()


def receive(stream: typing.BinaryIO) -> Message | None:
    """Next message, its arrays float32 in place; None when the other end is gone.

    Raises
    ------
    EngineError
        When what came is no message.
    """
    head = _exactly(stream, _LENGTHS.size)
    if head is None:
        return None
    text_size, body_size = _LENGTHS.unpack(head)
    if text_size + body_size > LARGEST:
        raise EngineError(
            f"message of {text_size + body_size} bytes; want at most {LARGEST}: something else wrote here"
        )
    text, body = _exactly(stream, text_size), _exactly(stream, body_size)
    if text is None or body is None:
        return None
    try:
        message: Message = json.loads(text)
        at = 0
        for name, shape in message.pop("arrays"):
            count = math.prod(shape)
            message[name] = numpy.frombuffer(body, numpy.float32, count, at).reshape(shape)
            at += 4 * count
        if not isinstance(message["kind"], str) or at != body_size:
            raise ValueError("no kind, or more bytes than the arrays need")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise EngineError(f"what came is no message ({error}); something else wrote here") from None
    return message


def send_event(sender: Sender, event: Event) -> None:
    """Write an event."""
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    if isinstance(event, Status):
        fields["trust"] = dataclasses.asdict(event.trust)
    sender.send(type(event).__name__, **fields)


def to_event(message: Message) -> Event | None:
    """Rebuild the event in a message; None where it is something else."""
    kind = _EVENTS.get(message["kind"])
    fields = {name: value for name, value in message.items() if name != "kind"}
    if kind is Status:
        fields["trust"] = Trust(**fields["trust"])
    return kind(**fields) if kind else None


def _exactly(stream: typing.BinaryIO, size: int) -> bytes | None:
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
