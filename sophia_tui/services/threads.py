"""Blocking work in a thread that a person can watch and stop, for what waits for disk and database
and leaves the interpreter free while it packs and hashes."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from sophia_tui.domain.context import Context, Progress
from sophia_tui.errors import SophiaError

T = TypeVar("T")
_TOLD_SECONDS = 0.2


class Meter:
    """Counts bytes of one stage and tells them a few times a second; raises CancelledError U499
    once stopping was asked for."""

    def __init__(self, context: Context, stage: str, total: int | None, unit: str = "") -> None:
        import asyncio

        self._context = context

        self._loop = asyncio.get_running_loop()
        self._step = Progress(stage, 0, total, unit)
        self._told = 0.0

    def __call__(self, count: int) -> None:
        self._context.cancel.check()
        done = self._step.done + count
        total = self._step.total
        self._step = replace(
            self._step, done=done, total=None if total is None else max(total, done)
        )
        now = time.monotonic()
        if now - self._told >= _TOLD_SECONDS:
            self._told = now
            self._loop.call_soon_threadsafe(self._context.progress, self._step)

    def finish(self) -> None:
        """The stage is done, whatever was estimated; called in the event loop."""
        self._context.progress(replace(self._step, total=self._step.done))


async def in_thread(context: Context, work: Callable[[], T]) -> T:
    """What `work` gives, which asks a Meter now and then. Cut off from outside, it is told to stop
    and waited for: it puts everything back as it was."""
    import asyncio

    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        context.cancel.request()
        with contextlib.suppress(SophiaError):
            await task
        raise
