"""The objects of the files and fine-tuning protocol, made of what our operations answer."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from sophia_tui.domain.jobs import JobState
from sophia_tui.services.files import FileView
from sophia_tui.services.tuning_views import (
    CheckpointView,
    TuningEventList,
    TuningView,
)
from sophia_tui.services.uploads import Part, Upload
from sophia_tui.services.views import EventView

#: Our states in the protocol's words; the others are the same.
_STATES = {
    JobState.DRAFT.value: "validating_files",
    JobState.VALIDATING.value: "running",
    JobState.INTERRUPTED.value: "paused",
}
_MESSAGES = {
    "starting": "Fine-tuning job started",
    "running": "Fine-tuning job running",
    "pausing": "Fine-tuning job pausing",
    "paused": "Fine-tuning job paused",
    "cancelled": "Fine-tuning job cancelled",
    "succeeded": "The job has successfully completed",
}
ORGANIZATION = "org-sophia"


class FileObject(BaseModel):
    """A file, as the protocol shows it."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str = "processed"
    status_details: str | None = None
    expires_at: int | None = None

    @classmethod
    def of(cls, file: FileView) -> "FileObject":
        return cls(
            id=file.id,
            bytes=file.bytes,
            created_at=seconds(file.created_at),
            filename=file.filename,
            purpose=file.purpose,
        )


class Deleted(BaseModel):
    id: str
    object: str
    deleted: bool


class Listed(BaseModel):
    """A page; `has_more` says whether another one follows."""

    object: Literal["list"] = "list"
    data: list[Any]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False

    @classmethod
    def of(cls, data: list[Any], more: bool) -> "Listed":
        ids = [each.id for each in data]
        first, last = (ids[0], ids[-1]) if ids else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=more)


class FileList(Listed):
    data: list[FileObject]


class UploadObject(BaseModel):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None = None

    @classmethod
    def of(cls, upload: Upload, file: FileView | None = None) -> "UploadObject":
        names = ("id", "bytes", "created_at", "expires_at", "filename", "purpose", "status")
        made = FileObject.of(file) if file else None
        return cls(file=made, **{name: getattr(upload, name) for name in names})


class PartObject(BaseModel):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str

    @classmethod
    def of(cls, part: Part) -> "PartObject":
        return cls(id=part.id, created_at=part.created_at, upload_id=part.upload_id)


class JobErrorObject(BaseModel):
    code: str
    message: str
    param: str | None = None


class JobObject(BaseModel):
    """A fine-tuning job, as the protocol shows it."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None = None
    estimated_finish: int | None = None
    error: JobErrorObject | None = None
    fine_tuned_model: str | None = None
    hyperparameters: dict[str, Any]
    method: dict[str, Any]
    model: str
    organization_id: str = ORGANIZATION
    result_files: list[str] = Field(default_factory=list)
    seed: int
    status: str
    trained_tokens: int | None = None
    training_file: str
    validation_file: str | None = None
    user_provided_suffix: str | None = None
    integrations: list[Any] = Field(default_factory=list)
    metadata: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, job: TuningView) -> "JobObject":
        error = None
        if job.status == JobState.FAILED and job.error:
            told = [str(job.error.get(part) or "") for part in ("what", "why", "remedy")]
            error = JobErrorObject(
                code=str(job.error.get("code") or "server_error"),
                message=" ".join(filter(None, told)),
            )
        parameters = {k: v for k, v in job.hyperparameters.items() if k != "beta"}
        return cls(
            id=job.id,
            created_at=seconds(job.created_at),
            finished_at=seconds_or_none(job.finished_at),
            estimated_finish=seconds_or_none(job.estimated_finish),
            error=error,
            fine_tuned_model=job.resulting_model,
            hyperparameters=parameters,
            method={"type": job.method, job.method: {"hyperparameters": job.hyperparameters}},
            model=job.model,
            seed=job.seed,
            status=_STATES.get(job.status, job.status),
            trained_tokens=job.trained_tokens,
            training_file=job.training_file,
            validation_file=job.validation_file,
            user_provided_suffix=job.suffix,
            metadata=job.metadata,
        )


class JobPage(Listed):
    data: list[JobObject]


class EventObject(BaseModel):
    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, job_id: str, event: EventView, model: str | None) -> "EventObject":
        level, message, kind, data = _told(event, model)
        return cls(
            id=f"ftevent-{job_id}-{event.number}",
            created_at=seconds(event.at),
            level=level,
            message=message,
            type=kind,
            data=data,
        )


class EventPage(Listed):
    data: list[EventObject]

    @classmethod
    def made_of(cls, found: TuningEventList) -> "EventPage":
        """The first thing that a job tells is that it was made; the run's own events follow."""
        data = [EventObject.of(found.job, each, found.resulting_model) for each in found.items]
        if not found.more:
            data.append(
                EventObject(
                    id=f"ftevent-{found.job}-0",
                    created_at=seconds(found.created_at),
                    level="info",
                    message=f"Created fine-tuning job: {found.job}",
                    type="message",
                )
            )
        return cls.model_validate(Listed.of(data, found.more).model_dump())


class CheckpointObject(BaseModel):
    """A checkpoint; its name can't be asked for as a model, only the finished one can."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: dict[str, float | None]
    step_number: int

    @classmethod
    def of(cls, job_id: str, each: CheckpointView) -> "CheckpointObject":
        losses = {"train_loss": each.train_loss, "valid_loss": each.valid_loss}
        return cls(
            id=f"ftckpt-{job_id}-{each.step}",
            created_at=seconds(each.at),
            fine_tuned_model_checkpoint=each.name,
            fine_tuning_job_id=job_id,
            metrics={"step": each.step, **losses},
            step_number=each.step,
        )


class CheckpointPage(Listed):
    data: list[CheckpointObject]


def seconds(at: datetime) -> int:
    """The protocol's times are whole seconds since the epoch."""
    return int(at.timestamp())


def seconds_or_none(at: datetime | None) -> int | None:
    return None if at is None else seconds(at)


def _told(
    event: EventView, model: str | None
) -> tuple[Literal["info", "warn", "error"], str, Literal["message", "metrics"], dict[str, Any]]:
    """Level, sentence, kind and data of an event."""
    data = event.data
    step, total = data.get("step"), data.get("total_steps")
    if event.kind == "metric":
        names = {"loss": "train_loss", "eval_loss": "valid_loss", "step": "step"}
        found = {names.get(key, key): value for key, value in data.items()}
        losses = [
            f"{names[key][:-5]} loss={data[key]:.4f}"
            for key in ("loss", "eval_loss")
            if isinstance(data.get(key), int | float)
        ]
        return "info", f"Step {step}: {', '.join(losses)}", "metrics", found
    if event.kind == "progress":
        words = f"Step {step}/{total}" if total else f"Phase: {data.get('phase', 'work')}"
        return "info", words, "message", data
    if event.kind == "checkpoint":
        return "info", f"Checkpoint created at step {step}", "message", data
    if event.kind == "warning":
        return "warn", str(data.get("message") or data.get("reason") or "Warning"), "message", data
    state = str(data.get("state") or "")
    if state == "failed":
        told = [str(data.get(part) or "") for part in ("what", "why")]
        return "error", " ".join(filter(None, told)) or "The job failed", "message", data
    if state == "succeeded" and model:
        return "info", f"New fine-tuned model created: {model}", "message", data
    return "info", _MESSAGES.get(state, f"State: {state}"), "message", data
