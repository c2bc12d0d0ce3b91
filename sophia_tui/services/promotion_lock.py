"""One promotion at a time in a data folder: a lock that dies with its process."""

import fcntl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

from sophia_tui.domain.context import CancelSignal
from sophia_tui.errors import ConflictError
from sophia_tui.i18n import _
from sophia_tui.paths import Paths

_LOOK_SECONDS = 0.1


class PromotionLock:
    """Whoever holds it knows that nobody else is at a promotion that is found half done."""

    def __init__(self, paths: Paths) -> None:
        self._folder = paths.promotions

    @asynccontextmanager
    async def held(
        self, wait: float = 0.0, cancel: CancelSignal | None = None
    ) -> AsyncIterator[None]:
        """Hold it, after `wait` seconds at most. Raises ConflictError P008."""
        from asyncio import sleep

        deadline = time.monotonic() + wait
        with self._open() as stream:
            while not _take(stream):
                if cancel is not None:
                    cancel.check()
                if time.monotonic() >= deadline:
                    raise ConflictError(
                        "P008",
                        _("Another promotion is running."),
                        remedy=_(
                            "Wait until it ends, then look at the plan again; --wait SECONDS waits."
                        ),
                    )
                await sleep(_LOOK_SECONDS)
            yield

    def free(self) -> bool:
        """Whether nobody holds it now."""
        with self._open() as stream:
            return _take(stream)

    def _open(self) -> IO[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return open(self._folder / "lock", "ab")


def _take(stream: IO[bytes]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
