"""Jobs: a training, a merge or work on data, say, from its draft on, and what it tells."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobKind(StrEnum):
    TRAIN = "train"
    EVALUATE = "evaluate"
    MERGE = "merge"
    PARITY = "parity"
    EXPORT = "export"
    UPLOAD = "upload"
    DATA = "data"  # an operation of ours that was asked for in the background


#: Queues by kind; where the work is a provider's, it is `hosted`.
QUEUES = {
    JobKind.TRAIN: "training",
    JobKind.EVALUATE: "evaluation",
    JobKind.MERGE: "merge",
    JobKind.PARITY: "evaluation",
    JobKind.EXPORT: "merge",
    JobKind.UPLOAD: "merge",
    JobKind.DATA: "data",
}
HOSTED_QUEUE = "hosted"
GPU_QUEUE = "gpu"


class JobState(StrEnum):
    DRAFT = "draft"
    QUEUED = "queued"
    VALIDATING = "validating"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

    @property
    def active(self) -> bool:
        """A process of it is alive, or should be."""
        return self in (JobState.VALIDATING, JobState.RUNNING, JobState.PAUSING)


@dataclass(frozen=True)
class RunIdentity:
    """Which process a run is. A pid alone is not an identity: it is given again after a reboot.

    `process_started` is field 22 of /proc/PID/stat (clock ticks since boot).
    """

    host: str
    boot_id: str
    pid: int
    process_started: int


@dataclass(frozen=True)
class Job:
    """One row of our jobs table. `request` is what was asked: the run's specification, or the
    operation of a job of kind DATA, whose `base` is the operation's name.

    `state` is a JobState's text, or a provider's own word that we don't know.
    `last_event` is the number of the newest event copied into the store; `event_offset` the byte
    in events.jsonl behind it. `error` has code, what, why, remedy. `resumes` counts all times that
    the run was taken up again, `resumes_forgiven` those up to a person's last wish: the limit on
    resumes by itself counts the ones after that. `queue` names what a worker must be able to do for
    it; left empty, it follows from kind and provider. `waiting` says in the words of an error why a
    job does not go on now; on a paused job it means that a worker paused it and takes it up again.
    `cost_usd` is what it has cost so far. `folder` is the data folder of the worker that has it,
    `slot` which of its machine's slots it holds. `regardless`: a person lets it run in quiet hours.
    """

    id: str
    kind: JobKind
    state: str
    base: str
    dataset: str | None
    request: dict[str, Any]
    created_by: str
    created_at: datetime
    provider: str = "local"
    provider_job_id: str | None = None
    model_id: str | None = None
    resulting_model: str | None = None
    files: tuple[str, ...] = ()
    run_folder: str | None = None
    identity: RunIdentity | None = None
    worker_id: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    heartbeat_at: datetime | None = None
    last_event: int = 0
    event_offset: int = 0
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    seconds_left: float | None = None
    resumes: int = 0
    resumes_forgiven: int = 0
    wanted: str | None = None  # what a person asked of a living job: cancel, pause, resume
    error: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    queue: str = ""
    not_before: datetime | None = None
    waiting: dict[str, Any] | None = None
    cost_usd: float | None = None
    folder: str | None = None
    slot: int | None = None
    regardless: bool = False
    version: int = 1

    @property
    def is_try(self) -> bool:
        """Whether it takes one step to show what a training would take, and makes no model."""
        recipe = (self.request.get("run") or {}).get("recipe") or {}
        return self.kind is JobKind.TRAIN and bool(recipe.get("try_one_step"))

    @property
    def language(self) -> str:
        """In which reasons and errors of it are told: the language of who created it."""
        return str(self.request.get("language") or "en")

    @property
    def needs(self) -> str:
        """The queue that a worker must serve for it."""
        if self.queue:
            return self.queue
        return QUEUES[self.kind] if self.provider == "local" else HOSTED_QUEUE


@dataclass(frozen=True)
class Claimer:
    """A worker that asks for a job: who, where its runs lie, what it can do and how much at once.

    `quiet`: no training starts now. `without` are jobs that it can't reach, `gone` those that hold
    a slot here in the store and no longer in truth. `queues` and `slots` None: no limit.
    """

    worker_id: str
    host: str
    folder: str = ""
    queues: tuple[str, ...] | None = None
    slots: int | None = None
    quiet: bool = False
    without: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueuedJob:
    """A queued job as the queue's list needs it; `begun`: it has a run folder at its host."""

    id: str
    kind: JobKind
    base: str
    dataset: str | None
    provider: str
    queue: str
    created_by: str
    created_at: datetime
    not_before: datetime | None
    waiting: dict[str, Any] | None
    regardless: bool
    begun: bool
    host: str | None
    folder: str | None


@dataclass(frozen=True)
class Schedule:
    """What runs by the calendar. `every` is weekly, monthly, quarterly, or five cron fields in
    `timezone`. `last_outcome` is running, done, failed, refused; `last_result` what came of it.
    `changed_by` changed it last.
    """

    id: str
    operation: str
    request: dict[str, Any]
    every: str
    timezone: str
    created_by: str
    created_at: datetime
    enabled: bool = True
    next_at: datetime | None = None
    last_at: datetime | None = None
    last_outcome: str | None = None
    last_result: dict[str, Any] | None = None
    worker_id: str | None = None
    changed_by: str | None = None
    version: int = 1

    @property
    def runs_as(self) -> str:
        """The person whose rights count: who said last what it is to do."""
        return self.changed_by or self.created_by


#: What a run's metric and progress events may tell as numbers, beside step and loss.
FIGURES = (
    "eval_loss",
    "learning_rate",
    "tokens_per_second",
    "memory_bytes",
    "gpu_memory_bytes",
    "kept",
    "kept_total",
)


@dataclass(frozen=True)
class Cut:
    """With the event of that number an attempt began that goes on from that step: what earlier
    events told of later steps is void."""

    number: int
    step: float


@dataclass(frozen=True)
class Bucket:
    """A figure over some steps: mean, lowest (at `low_step`) and highest of `count` events, with
    the number and time of the last one."""

    first: float
    last: float
    mean: float
    low: float
    high: float
    count: int
    low_step: float
    at: datetime
    number: int


@dataclass(frozen=True)
class EventsSize:
    """What all events take in the store."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class JobEvent:
    """One event of a run, numbered from 1 without gap."""

    job_id: str
    number: int
    at: datetime
    kind: str
    data: dict[str, Any] = field(default_factory=dict)
