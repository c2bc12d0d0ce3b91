"""Tells people what became of jobs: notes it before a job's end is written, sends it beside."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from sophia_tui.domain.jobs import Job
from sophia_tui.domain.notifications import Messenger, Notification
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import SophiaError, UnavailableError
from sophia_tui.services.notification_text import message_of
from sophia_tui.settings import Settings, words

log = logging.getLogger("sophia.worker")

#: How long a message is ours before another worker may take it: longer than any channel's time-out.
_TAKEN_SECONDS = 300.0
_AT_ONCE = 10
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 3600.0
#: With growing pauses, these are most of a day.
MOST_TRIES = 24


async def announce(store: Store, settings: Settings, job: Job, status: str, **facts: Any) -> None:
    """Note what became of a job, for every channel that is set up. Once for each time it happens:
    done again, nothing is noted twice.

    Called before the row says the same, so that a worker that dies in between loses nothing.
    """
    channels = settings.channels
    if not channels or status not in words(settings.notify_on):
        return
    event = status if not job.resumes else f"{status}-{job.resumes}"
    error = facts.pop("error", None)
    body = {
        "event": event,
        "job": job.id,
        "kind": job.kind.value,
        "status": status,
        "base": job.base,
        "dataset": job.dataset,
        "provider": job.provider,
        "model": job.resulting_model,
        "created_by": job.created_by,
        "error": {key: error.get(key) for key in ("code", "what", "remedy")} if error else None,
        **facts,
    }
    await store.notifications.add(job.id, event, channels, body)


class Notifier:
    """Sends what is due, one batch at a time, in a task beside the worker's rounds."""

    def __init__(self, messenger: Callable[[], Messenger]) -> None:
        self._messenger = messenger
        self._sending: asyncio.Task[None] | None = None

    def look(self, store: Store, settings: Settings) -> None:
        """Begin to send what is due; returns at once."""
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_due(store, settings))

    @property
    def busy(self) -> bool:
        return self._sending is not None and not self._sending.done()

    async def close(self, seconds: float = 20.0) -> None:
        """Let what is on its way arrive; the rest is sent by the next worker."""
        if self._sending is not None and not self._sending.done():
            await asyncio.wait({self._sending}, timeout=seconds)
            self._sending.cancel()

    async def _send_due(self, store: Store, settings: Settings) -> None:
        try:
            due = await store.notifications.take(_AT_ONCE, _TAKEN_SECONDS)
            for each in due:
                await self._send(store, settings, each)
        except SophiaError as problem:  # the store is away: what was taken comes back by itself
            log.warning("notifications: %s", problem.code)
        except Exception as problem:  # a defect must not be silent, nor end the worker
            log.error("notifications: defect: %s", type(problem).__name__)

    async def _send(self, store: Store, settings: Settings, due: Notification) -> None:
        message = message_of(due.body, settings.notification_language)
        try:
            await self._messenger().send(due.channel, message)
        except SophiaError as problem:
            again = isinstance(problem, UnavailableError) and due.tries < MOST_TRIES
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (due.tries - 1)) if again else None
            said = f"{problem.code} {problem.why}"
            await store.notifications.failed(due.id, said, pause)
            log.warning("notification %d by %s: %s", due.id, due.channel, said)
        else:
            await store.notifications.sent(due.id)
