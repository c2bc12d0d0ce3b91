"""Counts the requests that the front answered: figures into the store, in batches, off the way of
the requests themselves. Never a word of a question or an answer."""

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from sophia_tui.api.metrics import Traffic
from sophia_tui.domain.serving import ServedRequest
from sophia_tui.errors import SophiaError

if TYPE_CHECKING:
    from sophia_tui.wiring import House

#: Figures kept while the store is away; what comes on top is dropped, counted and told.
MOST_WAITING = 20_000
_BATCH = 1000
_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE = 30.0
_GOODBYE_SECONDS = 5.0

_log = logging.getLogger("sophia.api")


class Counter:
    """A bounded line of figures and the task that writes them."""

    def __init__(
        self, house: "House", most: int = MOST_WAITING, traffic: Traffic | None = None
    ) -> None:
        self._house = house
        self._traffic = traffic
        self._most = most
        self._waiting: list[ServedRequest] = []
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._work())

    def take(self, request: ServedRequest) -> None:
        """Note one request; never waits, never fails."""
        if self._traffic is not None:
            self._traffic.served(request)
        if len(self._waiting) >= self._most:
            self.dropped += 1
            return
        self._waiting.append(request)
        self._news.set()

    async def stop(self) -> None:
        """Write what is left, for a few seconds at most."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        with contextlib.suppress(TimeoutError, SophiaError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                while self._waiting:
                    await self._write()
        self.dropped += len(self._waiting)
        self._tell_dropped()

    async def _work(self) -> None:
        pause = _PAUSE_SECONDS
        while True:
            await self._news.wait()
            await asyncio.sleep(pause)  # more may come, to be written with it
            self._news.clear()
            try:
                while self._waiting:
                    await self._write()
                pause = _PAUSE_SECONDS
                self._tell_dropped()
            except SophiaError as problem:
                _log.warning("requests are not counted yet: %s", problem.code)
                pause = min(_LONGEST_PAUSE, pause * 2)
                self._news.set()

    async def _write(self) -> None:
        batch = self._waiting[:_BATCH]
        store = await self._house.store()
        await store.traffic.add(batch)
        del self._waiting[: len(batch)]

    def _tell_dropped(self) -> None:
        if self.dropped:
            _log.warning("%d requests were answered and not counted", self.dropped)
            self.dropped = 0
