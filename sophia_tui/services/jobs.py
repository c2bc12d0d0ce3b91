"""Jobs: look at them, follow them, stop, pause and resume them. Starting is `train`'s."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Progress, Role
from sophia_tui.domain.jobs import Job, JobEvent, JobState
from sophia_tui.domain.operations import Danger
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import ConflictError, NotFoundError, SophiaError, UnavailableError
from sophia_tui.i18n import N_, _, money, number
from sophia_tui.paths import Paths
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services import history
from sophia_tui.services.job_figures import cost_at_end, figured
from sophia_tui.services.job_pages import LogPage, events_page, log_page, matcher
from sophia_tui.services.job_states import Caretaker, JobEyes, has_ended, is_active
from sophia_tui.services.jobs_hosted import HostedHands, OpenTrainer
from sophia_tui.services.lists import ListPage
from sophia_tui.services.operations import operation
from sophia_tui.services.views import (
    EventList,
    EventView,
    JobList,
    JobReference,
    JobView,
    LogView,
    WatchedJob,
)
from sophia_tui.services.waiting import asked_by

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_log = logging.getLogger("sophia")

_ATTEMPTS = 8  # the worker writes progress once a second, so two collisions in a row are rare
_EVENTS_TOLD = 500  # at a time
_PATIENCE = 60  # tries, a second apart, while the store can't be reached
_STILL = frozenset(  # nothing more happens by itself
    (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.PAUSED, JobState.DRAFT)
)
_DONE = frozenset((JobState.SUCCEEDED, JobState.CANCELLED))
_WAITING = frozenset(
    (JobState.DRAFT, JobState.QUEUED, JobState.PAUSED, JobState.INTERRUPTED)
)  # no process of these is alive


#: No log has more.
MOST_BYTES = 2**53
_MATCH = N_("Only those that hold this text; re: before it makes it a regular expression.")


class JobsPage(ListPage):
    sorts = (
        "created_at",
        "id",
        "status",
        "kind",
        "base",
        "dataset",
        "step",
        "loss",
        "seconds_left",
        "created_by",
        "started_at",
        "finished_at",
    )
    state: JobState | None = Field(default=None, description=N_("Only jobs in this state."))


class EventsRequest(JobReference):
    after: int = Field(
        default=0, ge=0, le=2147483647, description=N_("Only events with a higher number.")
    )
    limit: int = Field(default=500, ge=1, le=5000, description=N_("How many at most."))
    newest: bool = Field(
        default=False, description=N_("The newest of them in place of the oldest.")
    )
    before: int | None = Field(
        default=None,
        ge=1,
        le=2147483647,
        description=N_("Only events with a lower number, the newest of them."),
    )
    kind: list[str] = Field(
        default_factory=list,
        max_length=20,
        description=N_("Only events of this kind, e.g. warning; may be repeated."),
    )
    match: str | None = Field(default=None, max_length=1000, description=_MATCH)


class LogRequest(JobReference):
    lines: int = Field(default=100, ge=1, le=10_000, description=N_("How many of the last lines."))
    before: int | None = Field(
        default=None, ge=0, le=MOST_BYTES, description=N_("Only what stands before this byte.")
    )
    after: int | None = Field(
        default=None, ge=0, le=MOST_BYTES, description=N_("Only what stands after this byte.")
    )
    match: str | None = Field(default=None, max_length=1000, description=_MATCH)


class ResumeRequest(JobReference):
    now: bool = Field(
        default=False, description=N_("Let it run in quiet hours, too: SOPHIA_QUIET_HOURS.")
    )


class WatchRequest(JobReference):
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=31_536_000,
        description=N_("Stop watching after so many seconds; that is no failure."),
    )
    after: int = Field(
        default=0, ge=0, le=2147483647, description=N_("Only events with a higher number.")
    )


def unknown_job(reference: str) -> NotFoundError:
    return NotFoundError(
        "J404",
        _("There is no job {job}.").format(job=textsafe.visible(reference)),
        remedy=_("`sophia jobs list` lists the jobs."),
    )


class JobsService:
    """Shows what jobs do, and passes on what people want of them."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        wake: Callable[[], Awaitable[None]],
        machine: ThisMachine | None = None,
        open_trainer: OpenTrainer | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._hands = HostedHands(open_trainer)
        self._settings = settings
        self._eyes = JobEyes(store, settings, clock, machine)
        self._care = Caretaker(wake, settings, self._eyes.machine, store.schedules)

    @operation("jobs.list", N_("List jobs, newest first."))
    async def page(self, context: Context, request: JobsPage) -> JobList:
        states: tuple[str, ...] = (request.state.value,) if request.state else ()
        if request.state is JobState.INTERRUPTED:
            states += tuple(state.value for state in JobState if state.active)
        found = await self._store.jobs.listed(request.wanted(), states)
        await self._care.look_after(context, found.items)
        views = await self._eyes.views(found.items)
        wanted = request.state.value if request.state else None
        kept = [each for each in views if wanted in (None, each.status)]
        others = len(views) - len(kept)  # those whose stored state is behind what they are
        return JobList(items=kept, total=found.total - others, unfiltered=found.unfiltered - others)

    @operation("jobs.show", N_("Show one job."), target="job", positional=("job",))
    async def show(self, context: Context, request: JobReference) -> JobView:
        job = await self._get(request.job)
        await self._care.look_after(context, [job])
        return await self._figured(await self._eyes.view(job), job)

    @operation("jobs.events", N_("Show what a job told."), target="job", positional=("job",))
    async def events(self, context: Context, request: EventsRequest) -> EventList:
        job = await self._get(request.job)
        await self._care.look_after(context, [job])
        backwards = request.newest or request.before is not None
        found = await events_page(
            self._store,
            job.id,
            after=request.after,
            before=request.before,
            limit=request.limit,
            kinds=request.kind,
            matches=matcher(request.match),
            backwards=backwards,
        )
        items = [EventView.of(each) for each in found.events]
        return EventList(
            job=job.id,
            items=items,
            first=found.first,
            last=found.last,
            more=found.more,
            backwards=backwards,
        )

    @operation(
        "jobs.log", N_("Show a job's log, by default its end."), target="job", positional=("job",)
    )
    async def log(self, context: Context, request: LogRequest) -> LogView:
        """Raises NotFoundError J404, J412, UsageError D566."""
        import asyncio

        from finetune.schema import LOG_FILE

        job = await self._get(request.job)
        path = Path(job.run_folder or "") / LOG_FILE
        found = LogPage([])
        matches = matcher(request.match)
        try:
            if job.run_folder:
                asked = (path, request.lines, request.before, request.after, matches)
                found = await asyncio.to_thread(log_page, *asked)
        except FileNotFoundError:
            _log.debug("job %s has written no log yet", job.id)
        except OSError as problem:
            raise NotFoundError(
                "J412",
                _("The log of job {job} can't be read here.").format(job=job.id),
                problem.strerror or type(problem).__name__,
                _("Look on the machine that runs it, as the user of its worker."),
            ) from problem
        return LogView(
            job=job.id,
            path=str(path) if job.run_folder else "",
            lines=[textsafe.visible(line) for line in found.lines],
            start=found.start,
            end=found.end,
            size=found.size,
            unfinished=found.unfinished,
        )

    @operation(
        "jobs.watch",
        N_("Follow a job until it ends or is paused."),
        target="job",
        positional=("job",),
        streams=True,
    )
    async def watch(self, context: Context, request: WatchRequest) -> WatchedJob:
        """Tells each event once, in order, then the job. Stopping to watch is no error, and changes
        nothing about the job."""
        import asyncio

        job = await self._get(request.job)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (request.timeout_seconds or float("inf"))
        shown: Progress | None = None
        told = request.after
        while True:
            view = await self._patiently(context, job)
            # after the job's state: then the events of an end are there already
            told = await self._tell(context, job.id, told)
            progress = _progress(view)
            if progress != shown:
                shown = progress
                context.progress(progress)
            goes_on = view.status == JobState.PAUSED and view.waiting is not None
            ended = (view.status in _STILL and not goes_on) or context.cancel.requested
            if ended or loop.time() >= deadline:
                return WatchedJob.model_validate(view.model_dump())
            await self._look_after(context, view)
            await asyncio.sleep(min(1.0, max(0.05, deadline - loop.time())))

    @operation(
        "jobs.cancel",
        N_("Stop a job for good."),
        role=Role.OPERATOR,
        writes=True,
        danger=Danger.CONFIRM,
        target="job",
        positional=("job",),
    )
    async def cancel(self, context: Context, request: JobReference) -> JobView:
        ended_here: dict[str, Any] = {}

        def decide(job: Job) -> dict[str, Any]:
            if job.state == JobState.CANCELLED:
                return {}
            if has_ended(job):
                raise _already_ended(job)
            if self._hands.reach(job):
                return self._hands.cancelling(job)
            if job.state in _WAITING:
                ended_here.update(_ended(JobState.CANCELLED, self._clock))
                return ended_here
            return _wanted(job, "cancel", context)

        job = await self._change(request.job, decide)
        if job.state == JobState.CANCELLED:
            if job.finished_at is not None and job.finished_at == ended_here.get("finished_at"):
                await self._tell_cancelled(job, context)
            _record_cancelled(job, job.finished_at or self._clock.now())
        return await self._eyes.view(job)

    @operation(
        "jobs.pause",
        N_("Stop a job so that it can go on later."),
        role=Role.OPERATOR,
        writes=True,
        target="job",
        positional=("job",),
    )
    async def pause(self, context: Context, request: JobReference) -> JobView:
        def decide(job: Job) -> dict[str, Any]:
            if job.state == JobState.PAUSED:  # a worker's pause becomes the person's
                return {} if job.waiting is None else {"waiting": None, "not_before": None}
            if has_ended(job):
                raise _already_ended(job)
            if job.state in _WAITING:
                return {"state": JobState.PAUSED.value, "wanted": None, "waiting": None}
            return _wanted(job, "pause", context)

        asked = await self._get(request.job)
        if self._hands.reach(asked) and not has_ended(asked):
            return await self._eyes.view(await self._hands.pause(self._store, asked))
        return await self._eyes.view(await self._change(request.job, decide))

    @operation(
        "jobs.resume",
        N_("Let a paused, interrupted or failed job go on from its last good checkpoint."),
        role=Role.OPERATOR,
        writes=True,
        trains=True,
        target="job",
        positional=("job",),
    )
    async def resume(self, context: Context, request: ResumeRequest) -> JobView:
        def decide(job: Job) -> dict[str, Any]:
            regardless = {"regardless": True} if request.now and not job.regardless else {}
            if job.state in (JobState.SUCCEEDED, JobState.CANCELLED):
                raise _already_ended(job)
            if job.state in (JobState.PAUSED, JobState.INTERRUPTED, JobState.FAILED):
                resumes = job.resumes + (job.run_folder is not None)
                return {
                    "state": JobState.QUEUED.value,
                    "wanted": None,
                    "identity": None,
                    "error": None,
                    "finished_at": None,
                    "resumes": resumes,
                    "resumes_forgiven": resumes,
                    "waiting": None,
                    "not_before": None,
                    **regardless,
                }
            if is_active(job) and (job.wanted == "pause" or (regardless and job.waiting)):
                return {"wanted": "resume", **regardless}
            return regardless

        asked = await self._get(request.job)
        if asked.provider_job_id is not None and asked.state not in _DONE:
            return await self._eyes.view(await self._hands.resume(self._store, asked))
        return await self._eyes.view(await self._change(request.job, decide))

    async def _tell_cancelled(self, job: Job, context: Context) -> None:
        """No process of the job lives that could say it, so we do."""
        data = {"state": JobState.CANCELLED.value, "reason": asked_by(context.actor)}
        event = JobEvent(job.id, job.last_event + 1, self._clock.now(), "state", data)
        await self._store.jobs.append_events(job.id, [event], job.event_offset)

    async def _get(self, reference: str) -> Job:
        job = await self._store.jobs.get(reference)
        if job is None:
            raise unknown_job(reference)
        return job

    async def _figured(self, view: JobView, job: Job) -> JobView:
        return await figured(view, job, self._store, self._settings)

    async def _tell(self, context: Context, job_id: str, after: int) -> int:
        """Tell all events after that number; the number of the last one told. While the store is
        away none are lost: they are asked for again."""
        try:
            while found := await self._store.jobs.events(job_id, after, _EVENTS_TOLD):
                for each in found:
                    context.tell(EventView.of(each))
                after = found[-1].number
        except UnavailableError:
            _log.debug("events of %s are told once the store is back", job_id)
        return after

    async def _patiently(self, context: Context, job: Job) -> JobView:
        """The job as it is now; a database that restarts does not end the watching."""
        import asyncio

        for attempt in range(_PATIENCE):
            try:
                job = await self._get(job.id)
                return await self._figured(await self._eyes.view(job), job)
            except UnavailableError:
                if attempt == _PATIENCE - 1 or context.cancel.requested:
                    raise
                await asyncio.sleep(1.0)
        raise unknown_job(job.id)

    async def _change(self, reference: str, decide: Callable[[Job], dict[str, Any]]) -> Job:
        """Apply a decision to the job as it stands; decide again where the worker was faster."""
        import asyncio

        for attempt in range(_ATTEMPTS):
            job = await self._get(reference)
            changes = decide(job)
            if not changes:
                break
            if changes.get("finished_at") is not None:
                changes |= await cost_at_end(job, self._store, self._settings)
            try:
                job = await self._store.jobs.update(job.id, version=job.version, **changes)
                break
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.02 * (attempt + 1))
        if not has_ended(job) and (job.state != JobState.PAUSED or job.wanted is not None):
            await self._wake()
        return job

    async def _look_after(self, context: Context, view: JobView) -> None:
        """A job that is followed gets a worker again where the last one died."""
        if context.readonly or not context.role.allows(Role.OPERATOR):
            return
        try:
            if self._eyes.machine.host in await self._eyes.worker_hosts():
                return
            await self._wake()
        except SophiaError as problem:
            context.progress(replace(_progress(view), message=problem.what))


def _record_cancelled(job: Job, at: datetime) -> None:
    """The job is cancelled already; a history that can't be written is only worth a warning."""
    try:
        history.record(job, JobState.CANCELLED, at)
    except SophiaError as problem:
        _log.warning("history of job %s not written: %s", job.id, problem.why)


def _progress(view: JobView) -> Progress:
    message = ", ".join(_figures(view))
    if view.error and view.status not in _STILL:  # what keeps it from going on, for now
        message = str(view.error.get("what") or "")
    if view.waiting is not None:
        message = f"{view.waiting.get('what', '')} {view.waiting.get('why', '')}".strip()
    return Progress(_(view.status), view.step or 0, view.total_steps, _("steps"), message)


def _figures(view: JobView) -> list[str]:
    """What a line of progress says beside the steps, as far as it is known."""
    said = []
    if view.loss is not None:
        said.append(_("loss {loss}").format(loss=number(view.loss, 4)))
    if view.learning_rate is not None:
        said.append(_("rate {rate}").format(rate=f"{view.learning_rate:.2g}"))
    if view.tokens_per_second is not None:
        said.append(_("{number} tokens/s").format(number=number(view.tokens_per_second)))
    if view.memory_bytes is not None:
        said.append(_("{number} GB").format(number=number(view.memory_bytes / 1e9, 1)))
    if view.seconds_left is not None:
        said.append(_("{number} s left").format(number=number(view.seconds_left)))
    if view.cost_usd is not None:
        said.append(_("{number} USD").format(number=money(view.cost_usd)))
    return said


def _ended(state: JobState, clock: Clock) -> dict[str, Any]:
    return {
        "state": state.value,
        "wanted": None,
        "waiting": None,
        "not_before": None,
        "seconds_left": None,
        "finished_at": clock.now(),
    }


def _wanted(job: Job, wish: str, context: Context) -> dict[str, Any]:
    """The changes that make a worker do it, and tell in the run's events who wanted it."""
    return {"wanted": wish, "request": {**job.request, "wanted_by": context.actor}}


def _already_ended(job: Job) -> ConflictError:
    return ConflictError(
        "J410",
        _("Job {job} has ended.").format(job=job.id),
        _("Its state is {state}.").format(state=_(job.state)),
        _("Start a new one: `sophia train start`."),
    )
