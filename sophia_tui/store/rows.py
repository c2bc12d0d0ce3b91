"""Rows of our tables to domain objects and back, in this one place."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from psycopg.types.json import Jsonb

from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.feedback import FeedbackDay
from sophia_tui.domain.jobs import Bucket, Job, JobEvent, JobKind, QueuedJob, RunIdentity, Schedule
from sophia_tui.domain.models import (
    AuditEntry,
    CheckKind,
    Decision,
    Evaluation,
    FileChange,
    GoldenAnswers,
    Model,
    ModelCheck,
    ModelKind,
    ModelState,
    Promotion,
    PromotionState,
    ProviderModels,
    Remark,
    RemarkKind,
)
from sophia_tui.domain.notifications import Notification
from sophia_tui.domain.personas import Persona
from sophia_tui.domain.serving import Deployment, DeploymentState, TrafficSummary
from sophia_tui.domain.successions import Succession
from sophia_tui.domain.uploads import UploadedFile

Row = Mapping[str, Any]
_IDENTITY = ("host", "boot_id", "pid", "process_started")
_INFINITE = {float("inf"): "Infinity", float("-inf"): "-Infinity"}


def plain(value: Any) -> Any:
    """`value` so that jsonb takes it: NUL and lone surrogates become the replacement sign, numbers
    that JSON has not become their names, enums their values, times ISO 8601."""
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float) and (value != value or value in _INFINITE):
        return _INFINITE.get(value, "NaN")
    if isinstance(value, Mapping):
        return {text(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value


def text(value: str) -> str:
    """`value` so that a text column takes it: no NUL, no lone surrogates."""
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def column(value: Any) -> Any:
    """A domain value as a parameter for its column."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return Jsonb(plain(value))
    return value


def json_list(value: Sequence[Any]) -> Jsonb:
    """A list as a parameter for a column of type jsonb; `column` leaves lists to arrays."""
    return Jsonb(plain(value))


def identity_columns(identity: RunIdentity | None) -> dict[str, Any]:
    """The columns of a run's process. The host stays: it says whose job it is to watch it."""
    if identity is None:
        return dict.fromkeys(_IDENTITY[1:])
    return asdict(identity)


def _utc(value: datetime | None) -> datetime | None:
    """Behind a pooler the session's zone is anybody's guess; the instant is not."""
    return None if value is None else value.astimezone(UTC)


def _moment(value: datetime) -> datetime:
    return value.astimezone(UTC)


def job_columns(job: Job) -> dict[str, Any]:
    columns = {
        name: column(getattr(job, name))
        for name in Job.__dataclass_fields__
        if name not in ("identity", "files")
    }
    columns["files"] = [text(each) for each in job.files]
    columns["queue"] = text(job.needs)
    return {"host": None, **columns, **identity_columns(job.identity)}


def job(row: Row) -> Job:
    identity = None
    if row["pid"] is not None:
        identity = RunIdentity(**{name: row[name] for name in _IDENTITY})
    names = set(Job.__dataclass_fields__) - {"identity", "kind", "files"}
    values = {name: row[name] for name in names}
    for name in ("created_at", "started_at", "finished_at", "heartbeat_at", "not_before"):
        values[name] = _utc(row[name])
    return Job(kind=JobKind(row["kind"]), files=tuple(row["files"]), identity=identity, **values)


def queued_job(row: Row) -> QueuedJob:
    times = {name: _utc(row[name]) for name in ("created_at", "not_before")}
    return QueuedJob(**{**row, **times, "kind": JobKind(row["kind"])})


def schedule(row: Row) -> Schedule:
    times = {name: _utc(row[name]) for name in ("created_at", "next_at", "last_at")}
    return Schedule(**{**row, **times})


def schedule_columns(schedule: Schedule) -> dict[str, Any]:
    return {name: column(getattr(schedule, name)) for name in Schedule.__dataclass_fields__}


def event(row: Row) -> JobEvent:
    return JobEvent(row["job_id"], row["number"], _moment(row["at"]), row["kind"], row["data"])


def bucket(row: Row) -> Bucket:
    low, low_step = row["lowest"]
    kept = {name: row[name] for name in ("first", "last", "mean", "high", "count", "number")}
    return Bucket(**kept, low=low, low_step=low_step, at=_moment(row["at"]))


def event_columns(event: JobEvent) -> dict[str, Any]:
    return {
        "job_id": event.job_id,
        "number": event.number,
        "at": event.at,
        "kind": text(event.kind),
        "data": Jsonb(plain(event.data)),
    }


def dataset(row: Row) -> DatasetVersion:
    times = {name: _utc(row[name]) for name in ("created_at", "deleted_at")}
    tags = {name: tuple(row[name]) for name in ("tags", "protected")}
    return DatasetVersion(**{**row, **times, **tags})


def dataset_columns(version: DatasetVersion) -> dict[str, Any]:
    names = ("name", "hash", "folder", "counts", "manifest", "created_by", "created_at")
    return {name: column(getattr(version, name)) for name in names}


def model(row: Row) -> Model:
    names = ("created_at", "shutdown_at", "deleted_at", "state_until", "state_at")
    times = {name: _utc(row[name]) for name in names}
    words = {"kind": ModelKind(row["kind"]), "state": ModelState(row["state"])}
    conditions = tuple(row["state_conditions"])
    return Model(**{**row, **times, **words, "state_conditions": conditions})


def known_model(row: Row) -> Model:
    """A row of `known_models`, which says besides what its state counts as."""
    return model({name: value for name, value in row.items() if name != "standing"})


def model_columns(model: Model) -> dict[str, Any]:
    columns = {name: column(getattr(model, name)) for name in Model.__dataclass_fields__}
    return {**columns, "state_conditions": json_list(model.state_conditions)}


def decision_columns(decision: Decision) -> dict[str, Any]:
    return {
        "state": decision.state.value,
        "state_reason": text(decision.reason),
        "state_conditions": json_list(decision.conditions),
        "state_until": decision.until,
        "state_by": text(decision.by),
        "state_at": decision.at,
    }


def decision_remark(model_id: str, decision: Decision, before: str) -> dict[str, Any]:
    detail = {
        "state": decision.state,
        "before": before,
        "conditions": decision.conditions,
        "until": decision.until,
    }
    return {
        "model_id": text(model_id),
        "by": text(decision.by),
        "kind": RemarkKind.STATE.value,
        "text": text(decision.reason),
        "detail": Jsonb(plain(detail)),
    }


def evaluation(row: Row) -> Evaluation:
    return Evaluation(**{**row, "created_at": _moment(row["created_at"])})


def evaluation_columns(evaluation: Evaluation) -> dict[str, Any]:
    return {name: column(getattr(evaluation, name)) for name in Evaluation.__dataclass_fields__}


def remark(row: Row) -> Remark:
    return Remark(**{**row, "at": _moment(row["at"]), "kind": RemarkKind(row["kind"])})


def model_check(row: Row) -> ModelCheck:
    parts = {"created_at": _moment(row["created_at"]), "kind": CheckKind(row["kind"])}
    return ModelCheck(**{**row, **parts})


def model_check_columns(check: ModelCheck) -> dict[str, Any]:
    return {name: column(getattr(check, name)) for name in ModelCheck.__dataclass_fields__}


def golden_answers(row: Row) -> GoldenAnswers:
    parts = {"created_at": _moment(row["created_at"]), "answers": tuple(row["answers"])}
    return GoldenAnswers(**{**row, **parts})


def golden_columns(golden: GoldenAnswers) -> dict[str, Any]:
    columns = {name: column(getattr(golden, name)) for name in GoldenAnswers.__dataclass_fields__}
    return {**columns, "answers": json_list(golden.answers)}


def provider_models(row: Row) -> ProviderModels:
    parts = {"seen_at": _moment(row["seen_at"]), "models": tuple(row["models"])}
    return ProviderModels(**{**row, **parts})


def deployment(row: Row) -> Deployment:
    identity = None
    if row["pid"] is not None:
        identity = RunIdentity(**{name: row[name] for name in _IDENTITY})
    names = set(Deployment.__dataclass_fields__) - {"identity", "state"}
    values = {name: row[name] for name in names}
    for name in ("created_at", "ready_at", "stopped_at", "checked_at"):
        values[name] = _utc(row[name])
    return Deployment(state=DeploymentState(row["state"]), identity=identity, **values)


def deployment_columns(deployment: Deployment) -> dict[str, Any]:
    names = set(Deployment.__dataclass_fields__) - {"identity"}
    columns = {name: column(getattr(deployment, name)) for name in names}
    return {"host": None, **columns, **identity_columns(deployment.identity)}


def notification(row: Row) -> Notification:
    names = Notification.__dataclass_fields__
    times = {name: _utc(row[name]) for name in ("next_at", "created_at", "sent_at")}
    return Notification(**{**{name: row[name] for name in names}, **times})


def traffic(row: Row) -> TrafficSummary:
    return TrafficSummary(**{**row, "start": _moment(row["start"])})


def succession(row: Row) -> Succession:
    return Succession(**{**row, "created_at": _moment(row["created_at"])})


def succession_columns(succession: Succession) -> dict[str, Any]:
    return {name: column(getattr(succession, name)) for name in Succession.__dataclass_fields__}


def first(row: Row | None) -> datetime | None:
    """The only column of a query for an oldest time."""
    return _utc(row["first"]) if row else None


def feedback_day(row: Row) -> FeedbackDay:
    return FeedbackDay(**row)


def promotion(row: Row) -> Promotion:
    times = {name: _utc(row[name]) for name in ("created_at", "finished_at")}
    changes = tuple(
        FileChange(**{**each, "diff": tuple(each.get("diff", ()))}) for each in row["changes"]
    )
    parts = {"changes": changes, "state": PromotionState(row["state"])}
    return Promotion(**{**row, **times, **parts, "steps": tuple(row["steps"])})


def changes_column(changes: tuple[FileChange, ...] | list[FileChange]) -> Jsonb:
    return Jsonb(plain([asdict(each) for each in changes]))


def promotion_columns(promotion: Promotion) -> dict[str, Any]:
    names = set(Promotion.__dataclass_fields__) - {"changes"}
    columns = {name: column(getattr(promotion, name)) for name in names}
    parts = {"changes": changes_column(promotion.changes), "steps": json_list(promotion.steps)}
    return {**columns, **parts}


def audit_entry(row: Row) -> AuditEntry:
    values = {name: row[name] for name in AuditEntry.__dataclass_fields__}
    return AuditEntry(**{**values, "at": _moment(row["at"])})


def audit_columns(entry: AuditEntry) -> dict[str, Any]:
    return {name: column(getattr(entry, name)) for name in AuditEntry.__dataclass_fields__}


def uploaded_file(row: Row) -> UploadedFile:
    times = {"created_at": _moment(row["created_at"]), "deleted_at": _utc(row["deleted_at"])}
    return UploadedFile(**{**row, **times})


def file_columns(file: UploadedFile) -> dict[str, Any]:
    return {name: column(getattr(file, name)) for name in UploadedFile.__dataclass_fields__}


def persona(row: Row) -> Persona:
    return Persona(**{**row, "created_at": _moment(row["created_at"])})


def persona_columns(persona: Persona) -> dict[str, Any]:
    return {name: column(getattr(persona, name)) for name in Persona.__dataclass_fields__}
