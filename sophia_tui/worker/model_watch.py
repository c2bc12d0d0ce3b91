"""Looks after the models that env files name, once a day: asks providers, and tells people once."""

import asyncio
import logging
import time
from collections.abc import Callable

from sophia_tui.domain.protocols import Store
from sophia_tui.errors import SophiaError
from sophia_tui.services.calendar import CalendarService
from sophia_tui.services.calendar_notices import announce_endings
from sophia_tui.settings import Settings

log = logging.getLogger("sophia.worker")

#: How often it is looked whether a day went by, in seconds. The day itself is counted in the store,
#: so that neither many workers nor a worker that starts anew ask a provider more often.
LOOK_SECONDS = 900.0


class ModelWatch:
    """In a task beside the worker's rounds: a provider may take its time."""

    def __init__(self, calendar: Callable[[], CalendarService]) -> None:
        self._calendar = calendar
        self._looked = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    def look(self, store: Store, settings: Settings) -> None:
        """Begin to look where it is time; returns at once."""
        busy = self._looking is not None and not self._looking.done()
        if not busy and time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._looking = asyncio.create_task(self._look(store, settings))

    async def _look(self, store: Store, settings: Settings) -> None:
        try:
            view = await self._calendar().look(daily=True)
            await announce_endings(store, settings, view)
        except SophiaError as problem:  # looked again soon
            log.warning("models: %s", problem.code)
        except Exception as problem:  # a defect must not be silent, nor end the worker
            log.error("models: defect: %s", type(problem).__name__)

    async def close(self, seconds: float = 5.0) -> None:
        """Let a look end that is under way; it is made again by the next worker."""
        if self._looking is not None and not self._looking.done():
            await asyncio.wait({self._looking}, timeout=seconds)
            self._looking.cancel()
