"""The exact tap: every block that an acquisition writes into a data item, as it is written.

Swift says nowhere publicly which part of an item a block fills (``valid_rows`` in the metadata
runs ahead and resets), so `DocumentModel.update_data_item_partial` is wrapped on the instance.
Where a Swift has no such method, `attach` says so, and the follower falls back to events.

Swift only queues a reference to a block, and a camera that sends single frames writes the next frame into
the same memory. Whoever keeps Swift's main loop busy, as our results do, would so change raw data that wait
there. Swift therefore gets a copy of each block, its own.
"""

from __future__ import annotations

import inspect
import logging
import typing

import numpy
import numpy.typing
from nion.data import DataAndMetadata

log = logging.getLogger(__name__)

METHOD = "update_data_item_partial"
PARAMETERS = ("data_item", "data_metadata", "data_and_metadata", "src_slice", "dst_slice")

Slices = tuple[slice, ...]
Listener = typing.Callable[[typing.Any, typing.Any, numpy.typing.NDArray[typing.Any], Slices], None]
"""Called with the item, the metadata of the whole item, the block and where it goes."""


class Tap:
    """Calls a listener after each partial update; on whatever thread Swift makes the update.

    Parameters
    ----------
    document_model : DocumentModel
        Swift's.
    listener : callable
        Must copy what it needs, must not wait. What it raises is logged: an exception in there
        would abort the acquisition.
    """

    def __init__(self, document_model: typing.Any, listener: Listener) -> None:
        self._document_model = document_model
        self._listener: Listener | None = listener
        original = getattr(document_model, METHOD)
        self._found = vars(document_model).get(METHOD)  # what another has put there before

        def update_data_item_partial(
            data_item: typing.Any,
            data_metadata: typing.Any,
            data_and_metadata: typing.Any,
            src_slice: Slices,
            dst_slice: Slices,
        ) -> None:
            own = _own(data_and_metadata, src_slice)
            if own is None:
                original(data_item, data_metadata, data_and_metadata, src_slice, dst_slice)
            else:
                original(data_item, data_metadata, own, tuple(slice(0, n) for n in own.data.shape), dst_slice)
            listener = self._listener
            if listener is not None:
                try:
                    block = data_and_metadata.data[tuple(src_slice)] if own is None else own.data
                    listener(data_item, data_metadata, block, tuple(dst_slice))
                except Exception:
                    log.exception("UDVD could not take in a block; the scan is not affected")

        self._wrapper = update_data_item_partial
        setattr(document_model, METHOD, update_data_item_partial)

    def close(self) -> None:
        """Stop listening and put back what was there, unless another has wrapped this one."""
        self._listener = None
        if vars(self._document_model).get(METHOD) is self._wrapper:
            if self._found is None:
                delattr(self._document_model, METHOD)
            else:
                setattr(self._document_model, METHOD, self._found)


def _own(data_and_metadata: typing.Any, src_slice: Slices) -> typing.Any:
    """A copy of the part of a block that is written; None where it cannot be copied."""
    try:
        block = numpy.array(data_and_metadata.data[tuple(src_slice)])
        return DataAndMetadata.new_data_and_metadata(block, data_descriptor=data_and_metadata.data_descriptor)
    except Exception:
        log.exception("UDVD could not copy a block; Swift gets the camera's own")
        return None


def attach(document_model: typing.Any, listener: Listener) -> Tap | None:
    """Tap a document model; None when this Swift cannot be tapped."""
    method = getattr(document_model, METHOD, None)
    if method is None or tuple(inspect.signature(method).parameters) != PARAMETERS:
        log.warning("this Swift has no %s%s; following scans by events", METHOD, PARAMETERS)
        return None
    return Tap(document_model, listener)
