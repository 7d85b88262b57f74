"""Notices scans as Swift acquires them; one follower per document model.

START when an item turns live with the shape of a scan; PROGRESS with its first data, if they are
from an EELS camera; FINISHED, ABORTED, ERROR or REMOVED at its end. What is not a scan of an EELS
camera is ignored, with a reason. Its own results carry a mark and are never followed.
"""

from __future__ import annotations

import functools
import logging
import typing
import uuid
import weakref

import numpy
import numpy.typing
from nion.swift.model import DataItem
from nion.utils import Registry

from . import tap
from .recording import Recording, State
from .scan_item import OURS, layout_of, not_eels

log = logging.getLogger(__name__)

ACQUISITION_ERROR = "nion.acquisition.error"
TEMPORARY = "temporary"
"""Category of Swift's items for live views."""


class Listener(typing.Protocol):
    """Whoever wants to know of scans; called on the main thread."""

    def wants(self) -> bool:
        """Whether scans are to be followed now."""
        ...

    def cameras(self) -> typing.Container[str]:
        """Hardware source ids that count as EELS cameras."""
        ...

    def recording_started(self, recording: Recording) -> None:
        """The first data of a scan have come."""
        ...

    def recording_ended(self, recording: Recording) -> None:
        """A scan that had started has ended; its state says how."""
        ...

    def item_ignored(self, title: str, reason: str) -> None:
        """A live item is not followed."""
        ...

    def item_removed(self, item: DataItem.DataItem) -> None:
        """An item was deleted from the project."""
        ...


def _guarded(method: typing.Callable[..., None]) -> typing.Callable[..., None]:
    """Log what a listener raises: Swift would skip the listeners after it."""

    @functools.wraps(method)
    def guarded(*args: typing.Any, **kwargs: typing.Any) -> None:
        try:
            method(*args, **kwargs)
        except Exception:
            log.exception("UDVD could not follow an event of Swift; the scan is not affected")

    return guarded


class Follower:
    """Follows the scans of one document model.

    Parameters
    ----------
    document_model : DocumentModel
        Swift's.
    listener : Listener
        Hears of scans.
    exact : bool
        Whether to use the exact tap where Swift has one; False follows by events.
    """

    def __init__(self, document_model: typing.Any, listener: Listener, exact: bool = True) -> None:
        self._document_model = document_model
        self._listener = listener
        self._recordings: dict[uuid.UUID, Recording] = {}
        self._ending: dict[uuid.UUID, int] = {}
        self._watched: dict[uuid.UUID, list[typing.Any]] = {}
        self._tap = tap.attach(document_model, self._block) if exact else None
        self._listeners = [
            document_model.item_inserted_event.listen(_guarded(self._inserted)),
            document_model.item_removed_event.listen(_guarded(self._removed)),
        ]
        if notifications := Registry.get_component("notification-source"):
            self._listeners.append(notifications.notify_event.listen(_guarded(self._notified)))

    def tick(self) -> None:
        """Look after the recordings; a few times a second."""
        for key, recording in list(self._recordings.items()):
            if recording.state is State.START and recording.metadata is not None:
                self._first_data(key, recording)
            elif key in self._ending:
                self._ending[key] -= 1
                if self._ending[key] < 0:
                    self._end(key, State.ERROR if recording.error else State.ABORTED)

    def close(self) -> None:
        """Stop following; recordings end as aborted."""
        if self._tap is not None:
            self._tap.close()
        self._listeners.clear()
        self._watched.clear()
        for recording in self._recordings.values():
            recording.release()
        self._recordings.clear()

    def _block(
        self, item: DataItem.DataItem, metadata: typing.Any, block: numpy.typing.NDArray[typing.Any], where: tap.Slices
    ) -> None:
        """Take a block from the tap. On the acquisition thread."""
        recording = self._recordings.get(item.uuid)
        if recording is not None:
            recording.take(metadata, block, where)

    def _notified(self, notification: typing.Any) -> None:
        """Keep the error of an acquisition, which comes before its item stops being live. On any thread."""
        if notification.notification_type_id == ACQUISITION_ERROR:
            for recording in list(self._recordings.values()):
                recording.error = str(notification.text)

    def _inserted(self, key: str, item: DataItem.DataItem, index: int) -> None:
        if key == "data_items" and OURS not in item.metadata:
            reference = weakref.ref(item)
            self._watched[item.uuid] = [
                item.item_changed_event.listen(_guarded(lambda: self._item_changed(reference()))),
                item.data_item_changed_event.listen(_guarded(lambda: self._data_changed(reference()))),
            ]

    def _removed(self, key: str, item: DataItem.DataItem, index: int) -> None:
        if key == "data_items":
            self._watched.pop(item.uuid, None)
            if item.uuid in self._recordings:
                self._end(item.uuid, State.REMOVED)
            self._listener.item_removed(item)

    def _item_changed(self, item: DataItem.DataItem | None) -> None:
        if item is None or item.uuid not in self._watched:
            return
        if item.uuid in self._recordings:
            if not item.is_live:  # the last blocks may be applied after this: wait two ticks
                self._ending.setdefault(item.uuid, 2)
        elif item.is_live and item.data_shape is not None and OURS not in item.metadata and item.category != TEMPORARY:
            self._consider(item)

    def _data_changed(self, item: DataItem.DataItem | None) -> None:
        recording = self._recordings.get(item.uuid) if item is not None else None
        if recording is not None and not recording.exact:
            recording.take_rows()

    def _consider(self, item: DataItem.DataItem) -> None:
        """Start a recording of an item that has just turned live, or ignore it."""
        layout = layout_of(item.data_shape, item.data_descriptor)
        if isinstance(layout, str):
            self._ignore(item.uuid, item.title, layout)
        elif not self._listener.wants():
            self._ignore(item.uuid, item.title, "following is switched off")
        else:
            self._recordings[item.uuid] = Recording(item, layout, self._tap is not None)

    def _first_data(self, key: uuid.UUID, recording: Recording) -> None:
        metadata = recording.metadata
        if metadata is None:
            return
        if reason := not_eels(metadata.metadata, self._listener.cameras()):
            recording.release()
            del self._recordings[key]
            self._ending.pop(key, None)
            self._ignore(key, recording.title, reason)
            return
        recording.state = State.PROGRESS
        self._listener.recording_started(recording)

    def _end(self, key: uuid.UUID, state: State) -> None:
        recording = self._recordings.pop(key)
        self._ending.pop(key, None)
        self._watched.pop(key, None)
        started = recording.state is State.PROGRESS
        recording.end(state)
        if started:
            self._listener.recording_ended(recording)
        else:
            recording.release()

    def _ignore(self, key: uuid.UUID, title: str, reason: str) -> None:
        self._watched.pop(key, None)
        log.info("UDVD does not follow %r: %s", title, reason)
        self._listener.item_ignored(title, reason)
