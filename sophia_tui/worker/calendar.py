"""Keeps the schedules: what is due is performed once, by the worker that takes it first."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import BaseModel

from sophia_tui.domain.jobs import Schedule
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import RefusedError, SophiaError
from sophia_tui.services.job_states import WORKER_SECONDS
from sophia_tui.services.operations import logged_error
from sophia_tui.services.schedules import following, outcome_of, was_cut_off

log = logging.getLogger("sophia.worker")

_LOOK_SECONDS = 5.0
#: What is under way gets so long to end when we are told to; less than WORKER_SECONDS, after which
#: other workers take us for dead.
DRAIN_SECONDS = 15.0

Perform = Callable[[str, Mapping[str, Any], str], Awaitable[BaseModel]]


class Calendar:
    """One worker's share in the schedules. `waits` says that some are enabled."""

    def __init__(self, worker_id: str, perform: Perform, clock: Clock) -> None:
        self.waits = False
        self._worker_id = worker_id
        self._perform = perform
        self._clock = clock
        self._looked = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()

    async def round(self, store: Store) -> bool:
        """Begin what is due; whether something is under way. Raises UnavailableError."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            self.waits = await store.schedules.any_enabled()
            await self._tell_forsaken(store)
            while begun := await store.schedules.begin_due(
                self._worker_id,
                self._clock.now(),
                lambda due: following(due.every, due.timezone, self._clock.now()),
            ):
                log.info("schedule %s: %s", begun.id, begun.operation)
                task = asyncio.create_task(self._run(store, begun))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return bool(self._tasks)

    async def _run(self, store: Store, schedule: Schedule) -> None:
        """Perform it, as `runs_as`, and note what came of it; a failure is next time's no more."""
        try:
            answer = await self._perform(schedule.operation, schedule.request, schedule.runs_as)
            outcome, result = "done", outcome_of(answer)
        except Exception as problem:
            error = logged_error(problem, schedule.operation)
            outcome = "refused" if isinstance(error, RefusedError) else "failed"
            result = {"error": error.as_dict()}
            log.warning("schedule %s: %s", schedule.id, error.code)
        try:
            await store.schedules.end(schedule.id, self._worker_id, outcome, result)
        except SophiaError as problem:  # the store went away: it is told as cut off later
            log.warning("schedule %s not noted: %s", schedule.id, problem.code)

    async def _tell_forsaken(self, store: Store) -> None:
        """What a worker began and could not end, because it died, is shown as such."""
        for each in await store.schedules.forsaken(WORKER_SECONDS):
            if each.worker_id != self._worker_id:
                log.warning("schedule %s was cut off", each.id)
                await store.schedules.end(
                    each.id, each.worker_id or "", "failed", {"error": was_cut_off(each)}
                )

    async def close(self) -> None:
        """Let what is under way end, then stop what has not: we may be told to end by a restart."""
        if not self._tasks:
            return
        log.info("%d schedules are under way", len(self._tasks))
        _done, tasks = await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
