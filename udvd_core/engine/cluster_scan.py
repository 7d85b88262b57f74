"""One live scan as the client of a cluster knows it: frames on their way, the epoch, and what came back.

A batch of frames stays here until the worker has said that it has it. When the connection is lost and the next epoch
finds the worker's session alive, only batches without that word are sent again; when the session is gone, whoever has
the scan is asked for all its frames (`Resend`).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import pathlib
import threading
import typing

from udvd_core.engine import hello
from udvd_core.engine.cluster_actor import FILES, ScanActor
from udvd_core.engine.cluster_link import Link
from udvd_core.engine.packing import Packed
from udvd_core.engine.protocol import Event, Failed, Finished, Resend
from udvd_core.engine.seat import Wish
from udvd_core.errors import UdvdError
from udvd_core.settings import ScanSpec

WINDOW = 4
BATCH_BYTES = 2 << 20
NAP_S, FULL_S = 0.02, 0.2
LARGEST_FILE = 64 << 20


class RemoteScan:
    """Frames in, events out. `put`, `pause` and `finish` on any thread, `run` in the engine's event loop.

    Parameters
    ----------
    spec : ScanSpec
        The scan.
    say : callable
        Takes its events; on the engine's thread.
    room : callable
        Whether there is room for more of them.
    """

    def __init__(self, spec: ScanSpec, say: typing.Callable[[Event], None], room: typing.Callable[[], bool]) -> None:
        self.spec = spec
        self.ended = self.lost = False
        self.waiting = 0
        """Bytes on their way."""
        self.worker = ""
        """Where it is, or was before the connection was lost."""
        self._say, self._room = say, room
        self._lock = threading.Lock()
        self._queue: collections.deque[Packed] = collections.deque()
        self._sent = self._flying = 0
        self._wish = Wish()
        self._seen = 0

    def put(self, packed: Packed) -> None:
        """Take frames."""
        with self._lock:
            if not self.lost:
                self._queue.append(packed)
                self.waiting += len(packed.data)

    def pause(self, paused: bool) -> None:
        """Learn no further, or go on."""
        self._wish = dataclasses.replace(self._wish, pause=paused)

    def finish(self, now: bool) -> None:
        """No more frames will come; `now`: nor more learning."""
        with self._lock:
            if not self.lost:
                self._wish = dataclasses.replace(self._wish, finish=True, now=now or self._wish.now)

    async def run(self, link: Link, epoch: tuple[str, int, int]) -> None:
        """Take the scan through one connection, to its end.

        Raises
        ------
        Lost
            When the connection is lost first.
        """
        self.worker = worker = await link.place(self.worker)
        try:
            files = _files(self.spec)
            actor = await link.start(worker, ScanActor, self.spec.to_dict(), epoch, hello.facts(), files)
            about = await link.answer(actor.about(), worker)
            self._begin(about["resumed"])
            try:
                async with asyncio.TaskGroup() as group:
                    senders = [group.create_task(self._send(link, actor, worker)) for _ in range(WINDOW)]
                    await self._poll(link, actor, worker)
                    for sender in senders:
                        sender.cancel()
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
            with contextlib.suppress(Exception):
                await link.call(actor.leave(), 1.0)
        except UdvdError as error:
            self.ended = True
            self._say(Failed(self.spec.scan_id, str(error)))
        finally:
            link.leave(worker)

    def _begin(self, resumed: bool) -> None:
        """Find out what the worker lacks."""
        with self._lock:
            self._flying = 0
            if resumed or not self._sent:
                return
            self._queue.clear()
            self.waiting = self._sent = self._seen = 0
            self._wish, self.lost = Wish(self._wish.pause), True
        self._say(Resend(self.spec.scan_id, "the worker with this scan ended, another has begun"))

    async def _send(self, link: Link, actor: typing.Any, worker: str) -> None:
        """One of `WINDOW`: batch after batch, each until the worker has it."""
        while not self.ended:
            batch = self._next()
            if not batch:
                await asyncio.sleep(NAP_S)
                continue
            taken = False
            try:
                while not taken and not self.ended:
                    taken = await link.answer(actor.push(batch), worker)
            finally:
                self._landed(batch, taken)

    def _next(self) -> list[Packed]:
        batch: list[Packed] = []
        with self._lock:
            size = 0
            while self._queue and size < BATCH_BYTES:
                batch.append(self._queue.popleft())
                size += len(batch[-1].data)
            self._flying += bool(batch)
        return batch

    def _landed(self, batch: list[Packed], taken: bool) -> None:
        """Forget a batch that the worker has; keep one that it may not have, to send it again."""
        with self._lock:
            self._flying -= 1
            self._sent += 1
            if taken:
                self.waiting -= sum(len(packed.data) for packed in batch)
            else:
                self._queue.extendleft(reversed(batch))

    async def _poll(self, link: Link, actor: typing.Any, worker: str) -> None:
        """Event after event, to the last, as long as somebody takes them."""
        told = Wish()
        while not self.ended:
            if room := self._room():
                for number, event in await link.answer(actor.poll(self._seen), worker):
                    if number > self._seen:
                        self._seen = number
                        self.ended |= isinstance(event, Finished | Failed)
                        self._say(event)
            else:
                await asyncio.sleep(FULL_S)
            if (wish := self._due()) != told or not room:  # where nothing is fetched, this says that we are here
                told = wish
                await link.answer(actor.steer(wish), worker)

    def _due(self) -> Wish:
        """What the worker may be told now: of the end only when it has all frames."""
        with self._lock:
            there = not self._queue and not self._flying
            return self._wish if there else Wish(self._wish.pause)


def _files(spec: ScanSpec) -> dict[str, bytes]:
    """Content of the files that the settings name, where they exist here; the worker says what is missing."""
    found = {}
    for name in FILES:
        path = pathlib.Path(getattr(spec.training, name) or "")
        if path.is_file() and path.stat().st_size <= LARGEST_FILE:
            found[name] = path.read_bytes()
    return found
