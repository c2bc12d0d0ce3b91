"""Models and promotions: what training made, and what production uses."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class ModelKind(StrEnum):
    HOSTED = "hosted"
    ADAPTER = "adapter"
    MERGED = "merged"
    EXPORTED = "exported"
    BASE = "base"


class ModelState(StrEnum):
    """What people, or the gate, allow of a model. CONDITIONAL holds until its date, and names what
    it depends on; RETIRED had its time."""

    CANDIDATE = "candidate"
    APPROVED = "approved"
    CONDITIONAL = "conditional"
    REJECTED = "rejected"
    RETIRED = "retired"


@dataclass(frozen=True)
class Model:
    """A model Sophia knows, with its lineage (job, data set version). A merged one has the adapter
    it was made of as `parent`, an exported one (GGUF) the merged one; `evaluation` is the newest
    report. `files` are its files by name, each with bytes and sha256, where somebody has looked;
    `template_fingerprint` is of the chat template it was trained with. One that was deleted stays
    as a row for the lineage of others, and is found no more."""

    id: str
    kind: ModelKind
    base: str
    created_at: datetime
    job_id: str | None = None
    dataset: str | None = None
    path: str | None = None
    evaluation: dict[str, Any] | None = None
    shutdown_at: datetime | None = None
    parent: str | None = None
    deleted_at: datetime | None = None
    version: int = 1
    state: ModelState = ModelState.CANDIDATE
    state_reason: str | None = None
    state_conditions: tuple[str, ...] = ()
    state_until: datetime | None = None
    state_by: str | None = None
    state_at: datetime | None = None
    files: dict[str, Any] | None = None
    template_fingerprint: str | None = None


#: What a conditional model is called once its date has passed.
EXPIRED = "expired"


def standing(model: Model, now: datetime) -> str:
    """Its state as it counts at that moment: a conditional one is EXPIRED after its date."""
    over = model.state_until is not None and model.state_until <= now
    if model.state is ModelState.CONDITIONAL and over:
        return EXPIRED
    return model.state.value


@dataclass(frozen=True)
class Decision:
    """A state that a person gives a model, and why."""

    state: ModelState
    reason: str
    by: str
    at: datetime
    conditions: tuple[str, ...] = ()
    until: datetime | None = None


@dataclass(frozen=True)
class ModelFilter:
    """Which models. `states` has EXPIRED too."""

    kinds: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    model_id: str | None = None


def merged_id(adapter_id: str) -> str:
    """The id of the model that merging an adapter makes."""
    return f"{adapter_id}-merged"


def exported_id(model_id: str, quantisation: str, adapter: bool = False) -> str:
    """The id of the model that exporting one makes: of the whole, or of the adapter alone."""
    if adapter:
        return f"{model_id}-adapter-{quantisation}"
    return f"{model_id.removesuffix('-merged')}-{quantisation}"


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a model, kept for good; `id` is the job's."""

    id: str
    model_id: str
    dataset: str | None
    report: dict[str, Any]
    created_at: datetime


class RemarkKind(StrEnum):
    """A note, or a state that a model was given."""

    NOTE = "note"
    STATE = "state"


@dataclass(frozen=True)
class Remark:
    """What somebody said of a model, kept for good. For a state `text` is the reason, and `detail`
    has the state, the one before it, its conditions and its last day."""

    id: int
    model_id: str
    at: datetime
    by: str
    kind: RemarkKind
    text: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


class CheckKind(StrEnum):
    """PARITY: whether all forms of a model answer alike. GATE: whether it may be promoted."""

    PARITY = "parity"
    GATE = "gate"


@dataclass(frozen=True)
class ModelCheck:
    """One check of a model, kept for good; `id` is the job's where one did it. `report` has
    `reasons`, each with `code` and `what`."""

    id: str
    model_id: str
    kind: CheckKind
    passed: bool
    report: dict[str, Any]
    created_at: datetime
    created_by: str = ""


@dataclass(frozen=True)
class GoldenAnswers:
    """What a model said to which prompts, to be held against its successor. The model may be one
    of a provider's that Sophia made nothing of."""

    id: str
    model_id: str
    answers: tuple[dict[str, Any], ...]
    created_at: datetime
    created_by: str = ""


@dataclass(frozen=True)
class ProviderModels:
    """What a provider's list of models said last, as its objects stand there."""

    base_url: str
    seen_at: datetime
    models: tuple[dict[str, Any], ...]


class PromotionState(StrEnum):
    """PENDING is written before the first file is touched, so that a crash can be finished."""

    PENDING = "pending"
    DONE = "done"
    UNDONE = "undone"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class FileChange:
    """What a promotion changes in one managed env file.

    `diff` are the changed lines as they stand in the file, `-` before and `+` after. `restores` is
    the snapshot that a rollback puts back byte for byte, where nobody changed the file since.
    """

    path: str
    before: dict[str, str | None]
    after: dict[str, str | None]
    before_hash: str
    after_hash: str
    snapshot: str | None = None
    diff: tuple[str, ...] = ()
    restores: str | None = None


@dataclass(frozen=True)
class Promotion:
    """One promotion or rollback: one row here, one line in history.jsonl. `step` is the one that
    was begun last; `steps` are all of them so far, each with its time."""

    id: str
    model_id: str
    previous_model: str | None
    state: PromotionState
    changes: tuple[FileChange, ...]
    created_by: str
    created_at: datetime
    finished_at: datetime | None = None
    rolls_back: str | None = None
    error: dict[str, Any] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    step: str = ""
    steps: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Happened:
    """So many things of one kind: `what` is `ended` (jobs; `label` is their state), `promoted` or
    `returned` (by a rollback; `label` is the model) or `changed` (`label` is who did). `name` is
    one of the jobs."""

    what: str
    label: str
    count: int
    name: str | None = None


@dataclass(frozen=True)
class AuditEntry:
    """Who did what, when, from which face. `request` has secrets masked; never a record's text."""

    at: datetime
    actor: str
    face: str
    role: str
    operation: str
    target: str | None
    request: dict[str, Any]
    outcome: str  # done, dry_run, refused, failed
    code: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Changes:
    """What was done to one record, newest first; `number` is that of the audit's newest entry of
    all: who has seen it knows everything up to there."""

    number: int
    entries: tuple[AuditEntry, ...] = ()
