"""Training at a hosted provider: what is ordered, what it says of it, and the protocol for both."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

#: The provider's name in a job's row; `local` is this machine.
OPENAI = "openai"
#: The ways to train there: from answers, or from pairs of a better and a worse answer.
SUPERVISED, DPO = "supervised", "dpo"
#: The key under which our own job id lies in the provider's metadata.
METADATA_KEY = "sophia_job"
#: Bytes of the largest file that goes in one request; a larger one goes in parts of so many bytes,
#: and a file of more than the last is taken by nobody.
SINGLE_BYTES = 512 * 1024 * 1024
PART_BYTES = 64 * 1024 * 1024
MOST_BYTES = 8 * 1024 * 1024 * 1024

#: Told of each part that arrived: bytes so far, and bytes in all. What it raises ends the upload.
Sent = Callable[[int, int], Awaitable[None]]


@dataclass(frozen=True)
class HostedOrder:
    """What a hosted job asks for, and how far handing it over came. Kept in the job's request.

    `base_url` None is the provider's own address. `training` and `validation` are files of the data
    set version; `training_file` and `validation_file` their ids at the provider, once they are
    there. `method` is supervised or dpo. Hyperparameters that are None are the provider's choice;
    `beta` is DPO's. `attempts` counts creates that were sent, `attempted_at` (ISO 8601) is when the
    last one was: from then on a job of ours may be there although nobody told us.
    """

    base: str
    base_url: str | None
    dataset_hash: str
    training: str
    validation: str | None = None
    suffix: str | None = None
    seed: int | None = None
    method: str = SUPERVISED
    beta: float | None = None
    n_epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    training_file: str | None = None
    validation_file: str | None = None
    uploaded_at: str | None = None
    attempts: int = 0
    attempted_at: str | None = None

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> "HostedOrder":
        """The order in a job's request."""
        kept = request.get("hosted") or {}
        return cls(**{each.name: kept[each.name] for each in fields(cls) if each.name in kept})


@dataclass(frozen=True)
class HostedFailure:
    """Why the provider's job failed, in its words; `param` is what it names, e.g. training_file."""

    message: str
    code: str = ""
    param: str = ""


@dataclass(frozen=True)
class HostedJob:
    """One job as the provider tells it. `status` is its own word; `ended` is our reading of it."""

    id: str
    status: str
    ended: str | None = None  # succeeded, failed or cancelled
    model: str | None = None
    failure: HostedFailure | None = None
    created_at: datetime | None = None
    estimated_finish: datetime | None = None
    trained_tokens: int | None = None
    training_file: str | None = None
    order_id: str | None = None  # our own id, as it lies in the metadata
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HostedEvent:
    """One event as the provider tells it; `data` are figures where it is a metric."""

    id: str
    at: datetime
    level: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HostedCheckpoint:
    """A model that the provider kept on the way; `model` is the name that it answers to."""

    id: str
    at: datetime
    step: int
    model: str
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class HostedFile:
    """A file at the provider. Servers that say nothing of its state leave `status` None."""

    id: str
    status: str | None = None
    problem: str = ""
    name: str = ""
    bytes: int | None = None
    purpose: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class HostedModel:
    """A model as the provider lists it; `shutdown_at` is the first day without it."""

    id: str
    owner: str = ""
    shutdown_at: date | None = None


class HostedTrainer(Protocol):
    """Jobs at one provider's address. Each call asks once and never by itself again (but for the
    parts of a large file, which may be sent twice without harm): who calls knows when to, and a
    create must not be repeated blindly.

    Every call raises UnavailableError J520, J524 (no answer, or one without sense: ask again later;
    seconds to wait in `details["retry_after"]`), JobError J521, J522, J523, J525 (refused), and
    NotFoundError J526.
    """

    async def upload(self, path: Path, name: str, sent: Sent | None = None) -> HostedFile:
        """A large file goes in parts; where one can't be sent, the whole upload is cancelled there.

        Raises JobError J536 (too large, for anybody or for this server), before a byte is sent.
        """

    async def file(self, file_id: str) -> HostedFile: ...

    async def files(self) -> list[HostedFile]:
        """Files for fine-tuning, newest first; never more than some thousands."""

    async def delete_file(self, file_id: str) -> None: ...

    async def model(self, name: str) -> HostedModel: ...

    async def delete_model(self, name: str) -> None: ...

    async def knock(self) -> None:
        """Ask for one job of the account: whether our key is taken, and training not closed."""

    async def find(self, order: HostedOrder, job_id: str) -> list[HostedJob]:
        """Jobs there that are ours, oldest first: by our id in the metadata, or by our file."""

    async def create(self, order: HostedOrder, job_id: str) -> HostedJob: ...

    async def show(self, provider_job_id: str) -> HostedJob: ...

    async def cancel(self, provider_job_id: str) -> HostedJob: ...

    async def pause(self, provider_job_id: str) -> HostedJob: ...

    async def resume(self, provider_job_id: str) -> HostedJob: ...

    async def events(self, provider_job_id: str, known: Collection[str]) -> list[HostedEvent]:
        """Events whose ids are not known yet, oldest first; never more than some thousands."""

    async def checkpoints(self, provider_job_id: str) -> list[HostedCheckpoint]:
        """Oldest first."""

    async def close(self) -> None: ...
