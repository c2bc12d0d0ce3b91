"""Follows one job at its provider: state, figures and events come into our store, and its end."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sophia_tui.domain.hosted import (
    HostedCheckpoint,
    HostedEvent,
    HostedJob,
    HostedOrder,
    HostedTrainer,
)
from sophia_tui.domain.jobs import Job, JobEvent, JobState
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import JobError, NotFoundError, SophiaError
from sophia_tui.providers.openai_errors import remedy_for
from sophia_tui.services.jobs_hosted import state_of
from sophia_tui.services.prices import Prices
from sophia_tui.textsafe import visible
from sophia_tui.worker import errors
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.hosted_origins import origins, told
from sophia_tui.worker.hosted_told import (
    LONGEST_TEXT,
    bill,
    event_figures,
    in_order,
)
from sophia_tui.worker.notify import announce

log = logging.getLogger("sophia.worker")

_PAGE = 500
_HEARTBEAT_STEP = timedelta(seconds=5)
#: Answers that will be no better the next time: no such call, or no sense.
_FOR_GOOD = frozenset({"SOPHIA-J521", "SOPHIA-J524", "SOPHIA-J526"})


class Follower:
    """Watches jobs that the provider has."""

    #: Errors of a job that the provider has, after which there is nothing more to follow.
    FINAL = frozenset({"SOPHIA-J528", "SOPHIA-J529"})

    def __init__(self, clock: Clock, finisher: Finisher, prices: Callable[[], Prices]) -> None:
        self._clock = clock
        self._finisher = finisher
        self._prices = prices
        self._known: dict[str, set[str]] = {}
        self._silent: set[str] = set()  # jobs whose provider tells no events
        self._without_checkpoints: set[str] = set()

    async def follow(self, store: Store, job: Job, trainer: HostedTrainer) -> bool:
        """One look; whether something changed. Raises JobError J528, J529 where the job failed."""
        assert job.provider_job_id is not None
        refused = await self._pass_on_cancel(job, trainer)
        found = await trainer.show(job.provider_job_id)
        news = await self._copy_events(store, job, trainer, found)
        job = await store.jobs.get(job.id) or job
        figures = self._figures(job, found, news)
        if found.ended is not None:
            if figures:  # the last ones belong to the row that stays
                job = await store.jobs.update(job.id, version=job.version, **figures)
            await self._end(store, job, found)
            self._known.pop(job.id, None)
            self._silent.discard(job.id)
            self._without_checkpoints.discard(job.id)
            return True
        due = self._clock.now() - (job.heartbeat_at or job.created_at) >= _HEARTBEAT_STEP
        if figures or due:
            await store.jobs.update(job.id, heartbeat_at=self._clock.now(), **figures)
        state = state_of(found)
        if refused is not None:
            await self.warn(store, job.id, refused)
            job = await store.jobs.get(job.id) or job
            await store.jobs.update(job.id, version=job.version, wanted=None, state=state)
        elif job.state != state:
            await store.jobs.update(job.id, version=job.version, state=state)
        return bool(news) or job.state != state

    async def warn(self, store: Store, job_id: str, problem: SophiaError) -> None:
        """What is in the way, in the job's row and among its events."""
        job = await store.jobs.get(job_id)
        if job is None or (job.error or {}).get("code") == problem.code:
            return
        said = {"code": problem.code, "what": problem.what, "why": problem.why}
        await self._tell(store, job, "warning", said)
        await store.jobs.update(job.id, version=job.version, error=problem.as_dict())

    async def hold(self, store: Store, job: Job, problem: SophiaError, waits: bool = False) -> None:
        """Paused, with the reason; what runs at the provider goes on there meanwhile. `waits`: it
        is a worker's pause, and ends with the reason."""
        told = (job.error or job.waiting or {}).get("code")
        if job.state == JobState.PAUSED and told == problem.code and job.wanted is None:
            return
        data = {
            "state": JobState.PAUSED.value,
            "provider": job.provider,
            "code": problem.code,
            "what": problem.what,
            "why": problem.why,
        }
        if job.state != JobState.PAUSED or told != problem.code:
            paused, error = JobState.PAUSED.value, problem.as_dict()
            await announce(store, self._finisher.settings, job, paused, error=error)
            await self._tell(store, job, "state", data)
        await store.jobs.update(
            job.id,
            version=job.version,
            state=JobState.PAUSED.value,
            wanted=job.wanted if job.wanted == "cancel" else None,
            error=None if waits else problem.as_dict(),
            waiting=problem.as_dict() if waits else None,
        )

    async def let_go(self, store: Store, job: Job) -> None:
        """It is no longer held, and is being handed over again."""
        state = JobState.VALIDATING.value
        await self._tell(store, job, "state", {"state": state, "provider": job.provider})
        await store.jobs.update(job.id, version=job.version, state=state, error=None, waiting=None)

    async def _tell(self, store: Store, job: Job, kind: str, data: dict[str, Any]) -> None:
        event = JobEvent(job.id, job.last_event + 1, self._clock.now(), kind, data)
        await store.jobs.append_events(job.id, [event], job.event_offset)

    async def _pass_on_cancel(self, job: Job, trainer: HostedTrainer) -> SophiaError | None:
        """Why the provider does not cancel; it is asked at each look until it has."""
        if job.wanted != "cancel" or job.provider_job_id is None:
            return None
        try:
            await trainer.cancel(job.provider_job_id)
        except (JobError, NotFoundError) as problem:
            return problem
        return None

    async def _copy_events(
        self, store: Store, job: Job, trainer: HostedTrainer, found: HostedJob
    ) -> list[HostedEvent]:
        """Copy what is new, each event once also after a restart: its id there is kept with it."""
        state, ended = state_of(found), found.ended is not None
        known = self._known.get(job.id)
        if known is None:
            known = self._known[job.id] = await _stored_ids(store, job)
        new = await self._new_events(job, trainer, known)
        current = await store.jobs.get(job.id) or job
        kept = await self._new_checkpoints(job, trainer, known) if new or ended else []
        entries = in_order(new, kept)
        if state != current.state:
            change = {"state": state, "provider": current.provider}
            entries.append((self._clock.now(), "state", change))
        events = [
            JobEvent(job.id, number, at, kind, data)
            for number, (at, kind, data) in enumerate(entries, start=current.last_event + 1)
        ]
        if events:
            await store.jobs.append_events(job.id, events, current.event_offset)
        known.update(each.id for each in new)
        known.update(each.id for each in kept)
        return new

    async def _new_checkpoints(
        self, job: Job, trainer: HostedTrainer, known: set[str]
    ) -> list[HostedCheckpoint]:
        """As good to have as events; asked for only where something happened."""
        if job.id in self._without_checkpoints:
            return []
        try:
            found = await trainer.checkpoints(str(job.provider_job_id))
        except SophiaError as problem:
            log.info("hosted job %s: no checkpoints: %s", job.id, problem.code)
            if problem.code in _FOR_GOOD:
                self._without_checkpoints.add(job.id)
            return []
        return [each for each in found if each.id not in known]

    async def _new_events(
        self, job: Job, trainer: HostedTrainer, known: set[str]
    ) -> list[HostedEvent]:
        """Events are good to have, and nothing that a job waits for: some servers have none, some
        answer with a stream."""
        if job.id in self._silent:
            return []
        try:
            return await trainer.events(str(job.provider_job_id), known)
        except SophiaError as problem:
            log.info("hosted job %s: no events: %s", job.id, problem.code)
            if problem.code in _FOR_GOOD:
                self._silent.add(job.id)
            return []

    def _figures(self, job: Job, found: HostedJob, told: list[HostedEvent]) -> dict[str, Any]:
        """What the provider's events and its estimate change in the row."""
        figures: dict[str, Any] = {}
        for event in told:
            fresh = event_figures(event)
            reached = max(figures.get("step") or 0, job.step or 0)
            if fresh.get("step", reached) >= reached:  # an older figure does not win
                figures.update(fresh)
        if found.estimated_finish is not None:
            left = (found.estimated_finish - self._clock.now()).total_seconds()
            figures["seconds_left"] = max(0.0, round(left))
        return {name: value for name, value in figures.items() if getattr(job, name) != value}

    async def _end(self, store: Store, job: Job, found: HostedJob) -> None:
        job, prices = await self._reckon(store, job, found)
        if found.ended == "cancelled":
            await self._finisher.cancel(store, job)
        elif found.ended == "failed":
            raise await self._failure(job, found)
        elif found.model is None:
            raise errors.hosted_model_missing(job)
        else:
            ending = (prices.shutdown(found.model) or prices.shutdown(job.base)) if prices else None
            ends = ending.moment if ending else None
            result = {**found.facts, **(job.result or {}), "provider_job": found.id}
            await self._finisher.succeed_hosted(store, job, found.model, result, ends)

    async def _failure(self, job: Job, found: HostedJob) -> SophiaError:
        """Why it failed there, with the rows that its lines come from."""
        said = found.failure
        why = ": ".join(each for each in (said.code, said.message) if each) if said else ""
        remedy = remedy_for(why)
        lines = await origins(job, HostedOrder.of(job.request), said.param if said else "", why)
        why = visible(why[:LONGEST_TEXT])
        if lines:
            why = f"{why} [{told(lines)}]"
        return errors.hosted_failed(job, why, remedy, lines)

    async def _reckon(self, store: Store, job: Job, found: HostedJob) -> tuple[Job, Prices | None]:
        """The job with what it has cost, however it ended; a surprise is told once."""
        try:
            prices = self._prices()
        except SophiaError as problem:  # an operator's broken file does not undo what was trained
            log.warning("hosted job %s: %s %s", job.id, problem.code, problem.why)
            return job, None
        reckoned = bill(job, found, prices)
        if not reckoned.facts or job.result == reckoned.facts:
            return job, prices
        changes: dict[str, Any] = {"result": reckoned.facts, "cost_usd": reckoned.usd}
        if reckoned.remark:
            data = {"code": "SOPHIA-J537", "what": reckoned.remark}
            await self._tell(store, job, "warning", data)
            warnings = [*(job.request.get("warnings") or []), reckoned.remark]
            changes["request"] = {**job.request, "warnings": warnings}
        return await store.jobs.update(job.id, version=job.version, **changes), prices


async def _stored_ids(store: Store, job: Job) -> set[str]:
    """The provider's ids of all events that the store has."""
    found: set[str] = set()
    after = 0
    while page := await store.jobs.events(job.id, after, _PAGE):
        found.update(
            str(each.data[name])
            for each in page
            for name in ("provider_event", "provider_checkpoint")
            if name in each.data
        )
        after = page[-1].number
    return found
