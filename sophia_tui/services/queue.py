"""The queue: what waits, why, for how long, in which order; who works; and changing the order."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.jobs import HOSTED_QUEUE, Job, JobState, QueuedJob
from sophia_tui.domain.operations import Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import ConflictError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services import waiting
from sophia_tui.services.job_states import WORKER_SECONDS, Caretaker, hindrance_of
from sophia_tui.services.jobs import unknown_job
from sophia_tui.services.operations import operation
from sophia_tui.services.views import JobReference, Page

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_RUNNING = tuple(state.value for state in JobState if state.active)
_MOST_RUNNING = 500


class QueuedView(Output):
    """One job that waits."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "position",
        "id",
        "kind",
        "queue",
        "waits_for",
        "starts_at",
        "created_by",
        "dataset",
    )

    position: int = Field(title=N_("Place"))
    id: str = Field(title=N_("Job"))
    kind: str = Field(title=N_("Kind"))
    base: str = Field(title=N_("Base"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    queue: str = Field(title=N_("Queue"))
    waits_for: str = Field(title=N_("Waits for"))
    waiting: dict[str, Any] | None = Field(default=None, title=N_("Why"))
    starts_at: datetime | None = Field(default=None, title=N_("Starts about"))
    created_by: str = Field(title=N_("Created by"))
    created_at: datetime = Field(title=N_("Created"))


class WorkerView(Output):
    """One worker that lives."""

    table_columns: ClassVar[tuple[str, ...]] = ("id", "host", "slots", "queues", "folder")

    id: str = Field(title=N_("Worker"))
    host: str = Field(title=N_("Machine"))
    folder: str = Field(title=N_("Folder"))
    queues: list[str] = Field(title=N_("Queues"))
    slots: int = Field(title=N_("Slots"))
    hindrance: dict[str, Any] | None = Field(default=None, title=N_("Starts nothing because"))


class QueueView(Output):
    """What waits, in order, and who takes it."""

    items: list[QueuedView] = Field(title=N_("Queue"))
    queued: int = Field(title=N_("Waiting"))
    running: int = Field(title=N_("Running now"))
    workers: list[WorkerView] = Field(title=N_("Workers"))


class MoveRequest(JobReference):
    to: Literal["first", "last", "up", "down"] | None = Field(
        default=None, description=N_("Where to: first, last, or one place up or down.")
    )
    before: str | None = Field(default=None, description=N_("Before this job."))
    after: str | None = Field(default=None, description=N_("After this job."))
    position: int | None = Field(
        default=None, ge=1, le=2147483647, description=N_("To this place, counted from 1.")
    )


class MovedView(Output):
    job: str = Field(title=N_("Job"))
    position: int = Field(title=N_("Place"))


class QueueService:
    """Shows the queue and changes its order."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        clock: Clock,
        wake: Callable[[], Awaitable[None]],
        machine: ThisMachine | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._care = Caretaker(wake, settings, machine or ThisMachine.here())

    @operation("jobs.queue", N_("Show what waits, in its order, why, and who works."))
    async def queue(self, context: Context, request: Page) -> QueueView:
        jobs = self._store.jobs
        found = await jobs.queued(request.limit, request.offset)
        counts = await jobs.counts()
        workers = await jobs.living_workers(WORKER_SECONDS)
        running = await jobs.page(_MOST_RUNNING, states=_RUNNING) if found else []
        if found and not workers:
            await self._care.wake_for(context)
        reasons = reasons_of(found, workers, len(running), request.offset)
        usual = await jobs.usual_seconds() if found else {}
        now = self._clock.now()
        starts = [] if request.offset else _starts(found, reasons, running, workers, usual, now)
        items = [
            QueuedView(
                position=request.offset + number + 1,
                id=job.id,
                kind=job.kind.value,
                base=job.base,
                dataset=job.dataset,
                queue=job.queue,
                waits_for=_(waiting.SHORT.get(why["code"], why["code"])),
                waiting=why,
                starts_at=starts[number] if starts else None,
                created_by=job.created_by,
                created_at=job.created_at,
            )
            for number, (job, why) in enumerate(zip(found, reasons, strict=True))
        ]
        return QueueView(
            items=items,
            queued=counts.get(JobState.QUEUED.value, 0),
            running=sum(counts.get(state, 0) for state in _RUNNING),
            workers=[
                WorkerView(
                    id=each["id"],
                    host=each["host"],
                    folder=each["folder"],
                    queues=list(each["queues"]),
                    slots=each["slots"],
                    hindrance=waiting.told(each["hindrance"]),
                )
                for each in workers
            ],
        )

    @operation(
        "jobs.move",
        N_("Move a waiting job in the queue: to its start or end, before or after another one."),
        role=Role.OPERATOR,
        writes=True,
        target="job",
        positional=("job", "to"),
    )
    async def move(self, context: Context, request: MoveRequest) -> MovedView:
        """Raises UsageError J599 where it is not one place that is named, NotFoundError J404 for a
        job that does not exist, ConflictError J589 where the job, or the one that is named beside
        it, does not wait."""
        ways = [request.to, request.before, request.after, request.position]
        if sum(each is not None for each in ways) != 1:
            raise UsageError(
                "J599",
                _("Name one place for the job to go."),
                remedy=_("Write first, last, up, down, --before JOB, --after JOB or --position N."),
            )
        job = await self._id(request.job)
        before, after = await self._id(request.before), await self._id(request.after)
        index = await self._store.jobs.move(
            job, lambda order: _index(order, job, request, before, after)
        )
        return MovedView(job=job, position=index + 1)

    async def _id(self, reference: str | None) -> str:
        """Our id of a job that is named. Raises NotFoundError J404."""
        if reference is None:
            return ""
        found = await self._store.jobs.get(reference)
        if found is None:
            raise unknown_job(reference)
        return found.id


def _index(order: Sequence[str], job: str, request: MoveRequest, before: str, after: str) -> int:
    """Where in the order without the job it is to stand."""
    others = [each for each in order if each != job]
    was = order.index(job)
    if beside := before or after:
        if beside not in others:
            raise ConflictError(
                "J589",
                _("Job {job} does not wait in the queue.").format(job=beside),
                remedy=_("`sophia jobs queue` lists those that do."),
            )
        return others.index(beside) + bool(after)
    if request.position is not None:
        return request.position - 1
    return {"first": 0, "last": len(others), "up": was - 1, "down": was + 1}[str(request.to)]


def reasons_of(
    found: Sequence[QueuedJob],
    workers: Sequence[Mapping[str, Any]],
    running: int,
    passed: int = 0,
) -> list[dict[str, Any]]:
    """Why each of the queue's jobs waits, given the living workers."""
    return [_reason(job, workers, running + passed + number) for number, job in enumerate(found)]


def _reason(job: QueuedJob, workers: Sequence[Mapping[str, Any]], before: int) -> dict[str, Any]:
    if job.begun and job.provider == "local":
        here = [w for w in workers if (w["host"], w["folder"]) == (job.host, job.folder)]
        if not here:
            return waiting.reason(waiting.AWAY, host=job.host, folder=job.folder)
        workers = here
    if job.not_before is not None:
        return waiting.reason(waiting.LATER, until=job.not_before.isoformat())
    stopped = hindrance_of(job, workers) or waiting.told(job.waiting)
    return stopped or waiting.reason(waiting.SLOT, before=before)


def _starts(
    found: Sequence[QueuedJob],
    reasons: Sequence[Mapping[str, Any]],
    running: Sequence[Job],
    workers: Sequence[Mapping[str, Any]],
    usual: Mapping[tuple[str, str], float],
    now: datetime,
) -> list[datetime | None]:
    """When each job starts about, as long as the time of every job before it is known: what runs
    says how long it takes, what waits takes as long as the last ones of its kind and base."""
    slots = sum(max(each["slots"] for each in workers if each["host"] == host)
                for host in {each["host"] for each in workers})  # fmt: skip
    here = [job for job in running if job.provider == "local"]
    free: list[float | None] = [job.seconds_left for job in here][:slots]
    free += [0.0] * (slots - len(free))
    starts: list[datetime | None] = []
    for job, why in zip(found, reasons, strict=True):
        if why.get("code") != waiting.SLOT or job.queue == HOSTED_QUEUE or not free:
            starts.append(None)
            continue
        known = [each for each in free if each is not None]
        soonest = min(known) if len(known) == len(free) or 0.0 in known else None
        starts.append(None if soonest is None else now + timedelta(seconds=soonest))
        seconds = usual.get((job.kind.value, job.base))
        taken = free.index(soonest) if soonest is not None else free.index(None)
        free[taken] = None if soonest is None or seconds is None else soonest + seconds
    return starts
