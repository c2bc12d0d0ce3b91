"""Follows one job at its provider: state, figures and events come into our store, and its end."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sophia_tui.domain.hosted import HostedEvent, HostedJob, HostedOrder, HostedTrainer
from sophia_tui.domain.jobs import Job, JobEvent
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import JobError, NotFoundError, SophiaError
from sophia_tui.providers.openai_errors import remedy_for
from sophia_tui.services.jobs_hosted import state_of
from sophia_tui.services.prices import Prices
from sophia_tui.services.train_hosted import own_address
from sophia_tui.textsafe import visible
from sophia_tui.worker import errors
from sophia_tui.worker.finish import Finisher

log = logging.getLogger("sophia.worker")

_PAGE = 500
_HEARTBEAT_STEP = timedelta(seconds=5)
_LONGEST_TEXT = 2000
#: What a metric of theirs is called with us.
_FIGURES = {"step": "step", "total_steps": "total_steps", "train_loss": "loss"}


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

    async def follow(self, store: Store, job: Job, trainer: HostedTrainer) -> bool:
        """One look; whether something changed. Raises JobError J528, J529 where the job failed."""
        assert job.provider_job_id is not None
        refused = await self._pass_on_cancel(job, trainer)
        found = await trainer.show(job.provider_job_id)
        told = await self._copy_events(store, job, trainer, state_of(found))
        job = await store.jobs.get(job.id) or job
        if found.ended is not None:
            await self._end(store, job, found)
            self._known.pop(job.id, None)
            self._silent.discard(job.id)
            return True
        figures = self._figures(job, found, told)
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
        return bool(told) or job.state != state

    async def warn(self, store: Store, job_id: str, problem: SophiaError) -> None:
        """What is in the way, in the job's row and among its events."""
        job = await store.jobs.get(job_id)
        if job is None or (job.error or {}).get("code") == problem.code:
            return
        event = JobEvent(
            job.id,
            job.last_event + 1,
            self._clock.now(),
            "warning",
            {"code": problem.code, "what": problem.what, "why": problem.why},
        )
        await store.jobs.append_events(job.id, [event], job.event_offset)
        await store.jobs.update(job.id, version=job.version, error=problem.as_dict())

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
        self, store: Store, job: Job, trainer: HostedTrainer, state: str
    ) -> list[HostedEvent]:
        """Copy what is new, each event once also after a restart: its id there is kept with it."""
        known = self._known.get(job.id)
        if known is None:
            known = self._known[job.id] = await _stored_ids(store, job)
        new = await self._new_events(job, trainer, known)
        current = await store.jobs.get(job.id) or job
        entries = [(each.at, *_entry(each)) for each in new]
        if state != current.state:
            told = {"state": state, "provider": current.provider}
            entries.append((self._clock.now(), "state", told))
        events = [
            JobEvent(job.id, number, at, kind, data)
            for number, (at, kind, data) in enumerate(entries, start=current.last_event + 1)
        ]
        if events:
            await store.jobs.append_events(job.id, events, current.event_offset)
        known.update(each.id for each in new)
        return new

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
            if problem.code != "SOPHIA-J520":  # the one that passes
                self._silent.add(job.id)
            return []

    def _figures(self, job: Job, found: HostedJob, told: list[HostedEvent]) -> dict[str, Any]:
        """What the provider's events and its estimate change in the row."""
        figures: dict[str, Any] = {}
        for event in told:
            figures.update(_figures(event))
        if found.estimated_finish is not None:
            left = (found.estimated_finish - self._clock.now()).total_seconds()
            figures["seconds_left"] = max(0.0, round(left))
        return {name: value for name, value in figures.items() if getattr(job, name) != value}

    async def _end(self, store: Store, job: Job, found: HostedJob) -> None:
        if found.ended == "cancelled":
            await self._finisher.cancel(store, job)
        elif found.ended == "failed":
            said = found.failure
            why = ": ".join(each for each in (said.code, said.message) if each) if said else ""
            remedy = remedy_for(why)
            raise errors.hosted_failed(job, visible(why[:_LONGEST_TEXT]), remedy)
        elif found.model is None:
            raise errors.hosted_model_missing(job)
        else:
            result, ends = self._result(job, found, found.model)
            await self._finisher.succeed_hosted(store, job, found.model, result, ends)

    def _result(
        self, job: Job, found: HostedJob, model: str
    ) -> tuple[dict[str, Any], datetime | None]:
        result: dict[str, Any] = {**found.facts, "provider_job": found.id}
        if found.trained_tokens is not None:
            result["trained_tokens"] = found.trained_tokens
        try:
            prices = self._prices()
        except SophiaError as problem:  # an operator's broken file does not undo what was trained
            log.warning("hosted job %s: %s %s", job.id, problem.code, problem.why)
            return result, None
        price = prices.training(job.base)
        own = own_address(HostedOrder.of(job.request).base_url)
        if own and price is not None and found.trained_tokens is not None:
            result["usd"] = round(found.trained_tokens * price.price / 1_000_000, 4)
        ending = prices.shutdown(model) or prices.shutdown(job.base)
        return result, ending.moment if ending else None


async def _stored_ids(store: Store, job: Job) -> set[str]:
    """The provider's ids of all events that the store has."""
    found: set[str] = set()
    after = 0
    while page := await store.jobs.events(job.id, after, _PAGE):
        found.update(
            str(each.data["provider_event"]) for each in page if "provider_event" in each.data
        )
        after = page[-1].number
    return found


def _entry(event: HostedEvent) -> tuple[str, dict[str, Any]]:
    """Kind and data of our event for one of theirs."""
    data: dict[str, Any] = {"provider_event": event.id}
    if event.message:
        data["message"] = visible(event.message[:_LONGEST_TEXT])
    figures = _figures(event)
    if "loss" in figures:
        return "metric", {**data, **event.data, **figures}
    if event.level in ("warn", "warning", "error"):
        return "warning", {**data, "level": event.level}
    return "message", data


def _figures(event: HostedEvent) -> dict[str, Any]:
    """Step, total and loss where the event has them as finite numbers."""
    found: dict[str, Any] = {}
    for theirs, ours in _FIGURES.items():
        value = event.data.get(theirs)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
            found[ours] = value if ours == "loss" else int(value)
    return found
