"""Jobs: a training, evaluation or merge, from its draft on, and what it tells while it runs."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobKind(StrEnum):
    TRAIN = "train"
    EVALUATE = "evaluate"
    MERGE = "merge"


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
    """One row of our jobs table. `request` is what was asked (the run's specification).

    `state` is a JobState's text, or a provider's own word that we don't know.
    `last_event` is the number of the newest event copied into the store; `event_offset` the byte
    in events.jsonl behind it. `error` has code, what, why, remedy. `resumes` counts all times that
    the run was taken up again, `resumes_forgiven` those up to a person's last wish: the limit on
    resumes by itself counts the ones after that. `queue` names what a worker must be able to do for
    it; `waiting` says in the words of an error why a job does not go on now. `cost_usd` is what it
    has cost so far.
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
    queue: str = "training"
    not_before: datetime | None = None
    waiting: dict[str, Any] | None = None
    cost_usd: float | None = None
    version: int = 1


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
