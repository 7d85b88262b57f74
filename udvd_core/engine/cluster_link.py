"""One connection to a cluster of dask, for as long as it holds; what goes wrong becomes `Lost`, with a sentence."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import typing

import dask.config

import udvd_core
from udvd_core.engine import tls
from udvd_core.engine.certificates import Credentials
from udvd_core.errors import EngineError, UdvdError

dask.config.update(dask.config.config, dask.config.collect_env(tls.ENVIRONMENT))  # before distributed reads it

import distributed  # noqa: E402

logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # its tracebacks are told as `Lost`

Answer = typing.TypeVar("Answer")

DEADLINE_S = 6.0
OPEN_S = 30.0
HEARTBEATS_S = 2.0
"""A worker that lives tells its scheduler so at least twice within this time."""
EVICT_S = 3.0
NAP_S = 0.2
GRAPH_UNREAD = "deserialization of the task graph"
"""In the words of a scheduler that lacks what a client has."""


class Lost(Exception):  # noqa: N818
    """The connection or the worker is gone; connect anew. The text says what happened, for the user."""


class Link:
    """A client of the cluster in the running event loop; one for each process, as dask's actors want it.

    Parameters
    ----------
    address : Address
        Of the scheduler.
    credentials : Credentials
        Of this machine.
    """

    def __init__(self, address: tls.Address, credentials: Credentials) -> None:
        self._address = address
        self._security = tls.security(credentials)
        self._client: typing.Any = None
        self._scans: collections.Counter[str] = collections.Counter()

    async def open(self) -> None:
        """Connect.

        Raises
        ------
        Lost
            When it does not come about.
        """
        client = distributed.Client(  # type: ignore[no-untyped-call]
            str(self._address), security=self._security, asynchronous=True, direct_to_workers=True, timeout="5s"
        )
        self._client = client
        await self.call(client, 10.0)

    async def workers(self) -> dict[str, dict[str, typing.Any]]:
        """What the scheduler knows of each worker that is for scans, by address.

        Raises
        ------
        Lost
            When it does not answer.
        """
        told = await self.call(self._client.scheduler.identity(n_workers=-1), DEADLINE_S)
        return candidates(told["workers"])

    async def place(self, before: str = "") -> str:
        """A worker for one more scan: the one it had before, else one with the fewest of our scans, then of all.

        Waits for a worker. `leave` gives the place up.

        Raises
        ------
        Lost
            When there is none.
        """
        for _ in range(int(OPEN_S / NAP_S)):
            if workers := await self.workers():
                worker = min(workers, key=lambda name: (name != before, self._scans[name], _load(workers[name]), name))
                self._scans[worker] += 1
                return worker
            await asyncio.sleep(NAP_S)
        raise Lost(f"{self._address} has no worker")

    def leave(self, worker: str) -> None:
        """One scan less on a worker."""
        self._scans[worker] -= 1

    async def start(self, worker: str, kind: type, *values: typing.Any) -> typing.Any:
        """An actor on a worker.

        Raises
        ------
        Lost
            When it does not answer.
        UdvdError
            What the actor's constructor raises; or when scheduler or worker do not know this program.
        """
        future = self._client.submit(kind, *values, actor=True, pure=False, workers=[worker], allow_other_workers=False)
        try:
            return await self.answer(future, worker, OPEN_S)
        except Lost as lost:
            if isinstance(lost.__cause__, ImportError) or GRAPH_UNREAD in str(lost.__cause__):
                raise EngineError(
                    f"the scheduler or a worker on {self._address} runs without nionswift-udvd {udvd_core.__version__};"
                    " install nionswift-udvd[engine] of that version in the environments of both and start them again"
                ) from None
            raise

    async def answer(self, future: typing.Awaitable[Answer], worker: str, seconds: float = DEADLINE_S) -> Answer:
        """What a worker answers within some time; a worker that its scheduler does not hear either is ended.

        Raises
        ------
        Lost
            When it does not answer.
        UdvdError
            What it raises.
        """
        try:
            return await self.call(future, seconds)
        except Lost as lost:
            if isinstance(lost.__cause__, TimeoutError) and await self._silent(worker):
                raise Lost(f"the worker on {self._address} was frozen and is started again") from None
            raise

    async def call(self, future: typing.Awaitable[Answer], seconds: float) -> Answer:
        """Wait for something for some time.

        Raises
        ------
        Lost
            When it fails; our own errors pass.
        asyncio.CancelledError
            When the task was cancelled, also where something came at the same time: Python 3.11 forgets it then.
        """
        try:
            return await asyncio.wait_for(future, seconds)
        except UdvdError:
            raise
        except TimeoutError as error:
            raise Lost(f"{self._address} has not answered for {seconds:.0f} s") from error
        except asyncio.CancelledError:  # dask's too: it raises this when its scheduler is gone
            raise Lost(f"the connection to {self._address} was lost") from None
        except OSError as error:
            raise Lost(f"the connection to {self._address} was lost") from error
        except Exception as error:
            said = (str(error).strip().splitlines() or [""])[0][:150]
            raise Lost(f"the worker on {self._address} is gone ({type(error).__name__}: {said})") from error
        finally:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError

    async def close(self) -> None:
        """Disconnect, whatever state it is in."""
        if self._client is not None:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(self._client.close(timeout=2), 4)

    async def _silent(self, worker: str) -> bool:
        """End a worker whose heart does not beat, through its nanny; whether that was so."""
        try:
            before = await self._last_seen(worker)
            await asyncio.sleep(HEARTBEATS_S)
            if before is None or await self._last_seen(worker) != before:
                return False
            restart = self._client.restart_workers([worker], timeout=EVICT_S, raise_for_error=False)
            await self.call(restart, 2 * EVICT_S)
        except Lost:
            return False
        return True

    async def _last_seen(self, worker: str) -> float | None:
        told = await self.call(self._client.scheduler.identity(n_workers=-1), 2.0)
        return typing.cast("float | None", told["workers"].get(worker, {}).get("last_seen"))


def candidates(workers: dict[str, dict[str, typing.Any]]) -> dict[str, dict[str, typing.Any]]:
    """Workers that say they have a GPU, as ``udvd serve`` starts them; all, where none does."""
    return {name: told for name, told in workers.items() if told.get("resources", {}).get("GPU")} or workers


def _load(worker: dict[str, typing.Any]) -> int:
    """Live scans and tasks of a worker."""
    counts = worker.get("metrics", {}).get("task_counts", {})
    return int(sum(value for value in counts.values() if isinstance(value, int | float)))
