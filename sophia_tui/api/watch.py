"""Looks at the served models while the API lives: an engine that vanished is started again."""

import asyncio
import contextlib
import fcntl
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sophia_tui.errors import SophiaError
from sophia_tui.services.operations import logged_error

if TYPE_CHECKING:
    from sophia_tui.wiring import House

EVERY_SECONDS = 2.0
_LONGEST_PAUSE = 30.0

_log = logging.getLogger("sophia.api")


class Watch:
    """One watches in each data folder; the others stand by. A --readonly API only answers."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self._house.readonly:
            self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        pause = EVERY_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                with self._turn() as ours:
                    if ours:
                        await (await self._house.deployments()).look()
                pause = EVERY_SECONDS
            except SophiaError as problem:
                _log.warning("served models can't be watched: %s", problem.code)
                pause = min(_LONGEST_PAUSE, pause * 2)
            except Exception as problem:  # a defect must not leave engines unwatched
                logged_error(problem, "watch")
                pause = min(_LONGEST_PAUSE, pause * 2)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[bool]:
        """Whether it is ours to look: nothing was ever served here, or another process does it."""
        folder = self._house.paths.deployments
        try:
            lock = open(folder / "watch.lock", "ab")  # noqa: SIM115
        except FileNotFoundError:
            yield False
            return
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
