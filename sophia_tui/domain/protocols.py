"""What services know of store, source and launching: protocols; wiring.py puts the real ones in."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sophia_tui.domain.context import Context
from sophia_tui.domain.datasets import DatasetUser, DatasetVersion
from sophia_tui.domain.events import AnswerEvent, FoundAnswers
from sophia_tui.domain.feedback import FeedbackDay, FeedbackReport
from sophia_tui.domain.gauges import Gauges
from sophia_tui.domain.jobs import (
    Bucket,
    Claimer,
    Cut,
    EventsSize,
    Job,
    JobEvent,
    QueuedJob,
    RunIdentity,
    Schedule,
)
from sophia_tui.domain.lists import FIRST, Found, Wanted
from sophia_tui.domain.models import (
    AuditEntry,
    Changes,
    CheckKind,
    Decision,
    Evaluation,
    GoldenAnswers,
    Happened,
    Model,
    ModelCheck,
    ModelFilter,
    Promotion,
    ProviderModels,
    Remark,
    RemarkKind,
)
from sophia_tui.domain.notifications import NotificationStore
from sophia_tui.domain.personas import PersonaStore
from sophia_tui.domain.serving import (
    Access,
    ChatAnswer,
    Deployment,
    EngineLoad,
    EngineOptions,
    EngineProcess,
    Probe,
    ServedRequest,
    TrafficSummary,
)
from sophia_tui.domain.successions import SuccessionStore
from sophia_tui.domain.uploads import FileStore


class Clock(Protocol):
    def now(self) -> datetime:
        """The time now, aware, in UTC."""


class JobStore(Protocol):
    async def add(self, job: Job) -> None:
        """Insert a new job and wake workers, in one transaction."""

    async def get(self, job_id: str) -> Job | None:
        """By our id or the provider's."""

    async def page(
        self,
        limit: int = 100,
        offset: int = 0,
        states: Sequence[str] = (),
        kinds: Sequence[str] = (),
    ) -> list[Job]:
        """Newest first; of the given states and kinds where there are any."""

    async def listed(self, wanted: Wanted, states: Sequence[str] = ()) -> Found[Job]:
        """Newest first where no other order is wanted; of the given states where there are any."""

    async def counts(self) -> dict[str, int]:
        """How many jobs there are in each state that occurs."""

    async def update(self, job_id: str, version: int | None = None, **changes: Any) -> Job:
        """Change columns. With `version`: raises ConflictError J409 if another was faster. Progress
        (step, loss, …) moves no version; a state `queued` or a wish wakes workers. Raises
        NotFoundError J404."""

    async def request(self, job_id: str, wanted: str) -> Job:
        """Note a person's wish (cancel, pause, resume) and wake workers. Raises ConflictError J410
        where the job has ended, NotFoundError J404."""

    async def claim(self, claimer: Claimer, hosted: bool = False) -> Job | None:
        """Take the first queued job that this worker may have, or the first hosted one, and a slot
        for it; state becomes validating. None where there is no job or no slot for it."""

    async def take_slot(self, job: Job, claimer: Claimer) -> Job | None:
        """A slot for a job that goes on, so that its state is validating; None where none is free
        or another was faster."""

    async def adoptable(self, host: str) -> list[Job]:
        """Local jobs of this host that are active, pausing, interrupted, or paused for the
        machine's sake: a worker's to watch."""

    async def stray(self, claimer: Claimer, within_seconds: float) -> list[Job]:
        """Unended local jobs of other data folders where no worker gave a sign in that time."""

    async def take_over(self, job: Job, claimer: Claimer) -> Job:
        """Make a stray job ours. Raises ConflictError J409 if another was faster."""

    async def queued(self, limit: int = 500, offset: int = 0) -> list[QueuedJob]:
        """What waits, in the queue's order."""

    async def places(self) -> dict[str, int]:
        """The place in the queue, counted from 1, of each job that waits."""

    async def usual_seconds(self) -> dict[tuple[str, str], float]:
        """The median time that the last jobs of a kind and base took."""

    async def move(self, job_id: str, place: Callable[[list[str]], int]) -> int:
        """Move a queued job to the index that `place` names for the queue's ids, in one
        transaction; returns that index. Raises ConflictError J589 where it is not queued."""

    async def hosted(self, host: str) -> list[Job]:
        """Jobs at a provider that a worker of this host claimed and that have not ended."""

    async def append_events(self, job_id: str, events: Sequence[JobEvent], offset: int) -> int:
        """Insert events, idempotent by (job, number); moves last_event and event_offset in the
        same transaction. Returns how many were new."""

    async def events(self, job_id: str, after: int = 0, limit: int = 500) -> list[JobEvent]: ...

    async def beat(
        self, claimer: Claimer, pid: int, hindrance: Mapping[str, Any] | None = None
    ) -> None:
        """A worker's sign of life; `hindrance` is why it starts nothing now."""

    async def figures(self, job_id: str) -> dict[str, Any]:
        """The newest of each figure that the job's metric and progress events tell, and
        `seconds_running`: the time in which a process of it worked."""

    async def curve(
        self, job_id: str, name: str, width: float, cuts: Sequence[Cut] = ()
    ) -> list[Bucket]:
        """The metric of that name in buckets of `width` steps, by rising step."""

    async def events_size(self) -> EventsSize: ...

    async def drop_progress(self, before: datetime, dry_run: bool = False) -> int:
        """Delete the progress events of jobs that ended before then; how many there were."""

    async def forget_worker(self, worker_id: str) -> None:
        """A worker that ends well takes its sign of life with it."""

    async def living_workers(self, within_seconds: float) -> list[dict[str, Any]]:
        """Workers whose last sign of life is younger than that."""

    async def wait_for_wakeup(self, seconds: float) -> bool:
        """Wait for a notification (LISTEN) or so many seconds, whichever is first; where LISTEN
        does not pass, it simply waits."""


class TrainingStore(Protocol):
    """Trainings as those see them who ask for one by a door of their own."""

    async def page(
        self, limit: int, after: str | None = None, metadata: dict[str, str] | None = None
    ) -> list[Job]:
        """Trainings of this machine, newest first; `after` is the id of the last one of the page
        before, `metadata` what those that are wanted were given."""

    async def newest(self, part: dict[str, Any], since: datetime) -> Job | None:
        """The newest training whose request has that part, not older than `since`."""

    async def events_before(
        self, job_id: str, before: int | None, limit: int, kinds: Sequence[str] = ()
    ) -> list[JobEvent]:
        """Newest first, those with a lower number."""

    async def answers(self, limit: int, tenant: str | None) -> list[AnswerEvent]:
        """The newest answer events of Sophia's own table, of one tenant where it is named."""


class ScheduleStore(Protocol):
    """What runs by the calendar."""

    async def add(self, schedule: Schedule) -> None:
        """Raises ConflictError J591 where there is one of that name."""

    async def get(self, schedule_id: str) -> Schedule | None: ...

    async def page(self, limit: int = 100, offset: int = 0) -> list[Schedule]:
        """Oldest first."""

    async def listed(self, wanted: Wanted) -> Found[Schedule]:
        """Oldest first where no other order is wanted."""

    async def update(self, schedule_id: str, version: int, **changes: Any) -> Schedule:
        """Raises ConflictError J592 if another was faster, NotFoundError J590."""

    async def remove(self, schedule_id: str, version: int) -> None:
        """Raises as `update`."""

    async def begin_due(
        self, worker_id: str, now: datetime, following: Callable[[Schedule], datetime | None]
    ) -> Schedule | None:
        """Take one that is due, and set when it is due next, in one transaction: each due time is
        taken by one worker. `following` gives the first time after now."""

    async def end(
        self, schedule_id: str, worker_id: str, outcome: str, result: Mapping[str, Any] | None
    ) -> None:
        """Note what came of a run that this worker began."""

    async def forsaken(self, within_seconds: float) -> list[Schedule]:
        """Begun by workers that gave no sign in that time."""

    async def any_enabled(self) -> bool: ...


class DatasetStore(Protocol):
    async def add(self, version: DatasetVersion) -> None:
        """Insert; the same version again changes nothing, a deleted one is there again."""

    async def get(self, reference: str, deleted: bool = False) -> DatasetVersion | None:
        """`name@hash12`, `name@tag`, `name` (its newest version), or a hash prefix of 6 or more
        digits; with `deleted` also one that was deleted, where no other fits."""

    async def page(
        self,
        limit: int = 100,
        offset: int = 0,
        name: str | None = None,
        deleted: bool = False,
    ) -> list[DatasetVersion]:
        """Newest first; of one name where it is given, with `deleted` also those."""

    async def listed(self, wanted: Wanted) -> Found[DatasetVersion]:
        """Newest first where no other order is wanted; none that was deleted."""

    async def newest_prepared(self) -> DatasetVersion | None:
        """The newest that people prepared: none that a door made (DOOR_NAMES)."""

    async def tag(
        self, version: DatasetVersion, tag: str, protected: bool, by: str, at: datetime
    ) -> None:
        """Give the tag to this version; no other of its name has it then."""

    async def untag(self, name: str, tag: str) -> bool:
        """Take a tag away; whether there was one."""

    async def notice(self, version: DatasetVersion, notice: dict[str, Any]) -> None:
        """Keep why a version should be used no more."""

    async def delete(self, version: DatasetVersion, by: str, at: datetime) -> bool:
        """Mark it as deleted and drop its tags; False, and nothing, while a job needs it."""

    async def users(self, ids: Sequence[str]) -> list[DatasetUser]:
        """The jobs and models that name one of these versions."""

    async def mentions(
        self, pattern: str | None, conversations: Sequence[str], messages: Sequence[str]
    ) -> list[tuple[str, str, int]]:
        """Where our own tables hold a text that the pattern finds (see domain.persons), or judge
        one of these rows of the source: table, whose row, and how many rows."""


class ModelStore(Protocol):
    async def add(self, model: Model) -> None: ...

    async def get(self, model_id: str, deleted: bool = False) -> Model | None:
        """With `deleted` also one that was deleted."""

    async def page(self, limit: int = 100, offset: int = 0) -> list[Model]: ...

    async def known(
        self, which: ModelFilter, now: datetime, wanted: Wanted = FIRST
    ) -> Found[Model]:
        """Those of `page`, and what jobs trained from or promotions named without a row of its own:
        these have version 0."""

    async def children(self, model_id: str) -> list[Model]:
        """What was made of it or trained from it, oldest first, deleted ones too."""

    async def decide(self, model_id: str, version: int, decision: Decision) -> Model:
        """Give it a state, and keep that as a remark, in one transaction. Raises as `update`."""

    async def next_id(self, prefix: str = "sophia") -> str:
        """`sophia-v1`, `sophia-v2`, …: never given twice."""

    async def uses(self, model_id: str) -> list[tuple[str, str]]:
        """Who needs the model now, or might again: the kind of use, and its name. Kinds are served,
        promoted (it, or the way back to it), merged (another was made of it) and worked on."""

    async def update(self, model_id: str, version: int | None = None, **changes: Any) -> Model:
        """Change columns. With `version`: raises ConflictError M500 if another was faster. Raises
        NotFoundError M404."""


class EvaluationStore(Protocol):
    async def add(self, evaluation: Evaluation) -> None:
        """Insert; the same id again replaces the report."""

    async def get(self, evaluation_id: str) -> Evaluation | None: ...

    async def page(
        self, model_id: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[Evaluation]:
        """Newest first; of one model where it is named."""


class RemarkStore(Protocol):
    """What people said of models: notes, and the states they gave."""

    async def add(
        self,
        model_id: str,
        by: str,
        kind: RemarkKind,
        text: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> Remark:
        """Raises NotFoundError M404 for a model that the store does not have."""

    async def page(self, model_id: str, limit: int = 100, offset: int = 0) -> list[Remark]:
        """Newest first."""


class CheckStore(Protocol):
    """Parity checks and gates of models."""

    async def add(self, check: ModelCheck) -> None:
        """Insert; the same id again replaces the result. Raises NotFoundError M404 for a model that
        the store does not have."""

    async def get(self, check_id: str) -> ModelCheck | None: ...

    async def newest(self, model_id: str, kind: CheckKind) -> ModelCheck | None: ...

    async def page(
        self, model_id: str, kind: CheckKind | None = None, limit: int = 100, offset: int = 0
    ) -> list[ModelCheck]:
        """Newest first; of one kind where it is named."""


class GoldenStore(Protocol):
    """Golden answers: what a model said to which prompt."""

    async def add(self, golden: GoldenAnswers) -> None:
        """Insert; the same id again replaces the answers."""

    async def get(self, golden_id: str) -> GoldenAnswers | None: ...

    async def newest(self, model_id: str) -> GoldenAnswers | None: ...

    async def page(
        self, model_id: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[GoldenAnswers]:
        """Newest first; of one model where it is named."""


class ProviderModelStore(Protocol):
    """What providers' lists of models said last, one for each address."""

    async def put(
        self, base_url: str, seen_at: datetime, models: Sequence[Mapping[str, Any]]
    ) -> ProviderModels:
        """Keep what it says now in place of what it said before."""

    async def get(self, base_url: str) -> ProviderModels | None: ...

    async def page(self, limit: int = 100, offset: int = 0) -> list[ProviderModels]:
        """By address."""


class DeploymentStore(Protocol):
    async def add(self, deployment: Deployment) -> None:
        """Insert; raises ConflictError M420 while the name is served already."""

    async def get(self, reference: str) -> Deployment | None:
        """By id, else the living deployment of that name, else the newest one of that name."""

    async def page(
        self, limit: int = 100, offset: int = 0, living: bool = False
    ) -> list[Deployment]:
        """Newest first; only those that have not ended where `living`."""

    async def listed(self, wanted: Wanted, living: bool = False) -> Found[Deployment]:
        """As `page`, where no other order is wanted."""

    async def update(self, deployment_id: str, **changes: Any) -> Deployment:
        """Change columns. Raises NotFoundError M421."""


class TrafficStore(Protocol):
    async def add(self, requests: Sequence[ServedRequest]) -> None:
        """Insert many in one statement."""

    async def summary(
        self, since: datetime, until: datetime, bucket_seconds: int, model: str | None = None
    ) -> list[TrafficSummary]:
        """By bucket of time (aligned to the epoch) and model, oldest first; `since` inclusive,
        `until` exclusive."""

    async def totals(
        self, since: datetime, until: datetime, model: str | None = None
    ) -> list[TrafficSummary]:
        """One summary for each model over the whole period; `start` is `since`."""

    async def first_at(self) -> datetime | None:
        """When the oldest request that is counted was answered; None before the first one."""


class FeedbackStore(Protocol):
    """People's reactions and ratings that Sophia keeps."""

    async def by_day(self, since: datetime, until: datetime, zone: str) -> list[FeedbackDay]:
        """Reactions and ratings of a half-open period by day of `zone`, only days that have some.
        A rating of 4 or 5 is positive, of 1 or 2 negative."""

    async def first_at(self) -> datetime | None:
        """When the oldest one was given; None where there is none."""


class PromotionStore(Protocol):
    async def add(self, promotion: Promotion) -> None:
        """Insert; raises ConflictError P409 while another one is pending."""

    async def get(self, promotion_id: str) -> Promotion | None: ...

    async def page(self, limit: int = 100, offset: int = 0) -> list[Promotion]: ...

    async def pending(self) -> Promotion | None:
        """The one that was begun and has not ended."""

    async def update(self, promotion_id: str, **changes: Any) -> Promotion: ...

    async def finish(
        self, promotion_id: str, finished_at: datetime, taken_back: Sequence[str] = ()
    ) -> Promotion:
        """DONE, and at once those that it takes back ROLLED_BACK. Raises ConflictError P082 where
        it is not pending."""


class SettingsStore(Protocol):
    async def all(self) -> dict[str, str]: ...

    async def set(self, key: str, value: str | None, actor: str) -> None: ...

    async def replace(self, key: str, before: str | None, value: str | None, actor: str) -> bool:
        """As `set`, where it still holds `before`; False, and nothing done, where it does not."""
        ...


class AuditStore(Protocol):
    async def add(self, entry: AuditEntry) -> None: ...

    async def page(self, limit: int = 100, offset: int = 0) -> list[AuditEntry]: ...

    async def listed(self, wanted: Wanted) -> Found[AuditEntry]:
        """Newest first where no other order is wanted."""

    async def happened_since(self, since: datetime, actor: str) -> list[Happened]:
        """What happened from `since` on, the changes by `actor` aside, counted by kind."""

    async def changes(
        self, operations: Sequence[str], target: str | None, after: int | None
    ) -> Changes:
        """What these operations did to the target (None: to any), of the entries after that number;
        a negative one: of so many of the newest; None: nothing but the newest number."""
        ...


class Store(Protocol):
    """Our own store; each part may be used on its own."""

    jobs: JobStore
    trainings: TrainingStore
    files: FileStore
    personas: PersonaStore
    schedules: ScheduleStore
    datasets: DatasetStore
    models: ModelStore
    evaluations: EvaluationStore
    remarks: RemarkStore
    checks: CheckStore
    golden: GoldenStore
    provider_models: ProviderModelStore
    successions: SuccessionStore
    deployments: DeploymentStore
    traffic: TrafficStore
    feedback: FeedbackStore
    promotions: PromotionStore
    notifications: NotificationStore
    settings: SettingsStore
    audit: AuditStore

    async def ping(self) -> float:
        """Milliseconds of one round trip. Raises UnavailableError S001."""

    async def moment(self) -> tuple[int, float]:
        """A number that is the same twice only if nothing was written in between but that workers
        live, and the milliseconds that the question took. Raises UnavailableError S001."""

    async def gauges(self) -> Gauges:
        """Counts of the small tables, in one statement. Raises UnavailableError S001."""

    def leave(self) -> None:
        """This process ends: from now on nothing is opened or started again."""

    async def close(self) -> None: ...


@dataclass(frozen=True)
class StoreStatus:
    """`kind` is `embedded` or `server`; `where` never holds a password."""

    kind: str
    where: str
    running: bool
    server_version: str | None = None
    schema_version: str | None = None
    program_version: str | None = None
    milliseconds: float | None = None
    pid: int | None = None


class StoreAdmin(Protocol):
    """Start, stop, look at and migrate the own store."""

    async def status(self) -> StoreStatus: ...

    async def start(self) -> StoreStatus: ...

    async def stop(self) -> StoreStatus: ...

    async def migrate(self) -> StoreStatus: ...


@dataclass(frozen=True)
class ColumnReport:
    """What was found for one column that we look for."""

    column: str
    found: str | None  # the type as Postgres names it
    required: bool
    usable: bool
    problem: str = ""


@dataclass(frozen=True)
class TableReport:
    """What was found for one table of the owner's."""

    table: str
    found: str | None  # schema.name, or None
    kind: str | None  # table, view, materialized view, partitioned table, foreign table
    readable: bool
    rows_estimate: int | None
    columns: tuple[ColumnReport, ...] = ()
    problem: str = ""
    note: str = ""  # worth knowing, and no hindrance

    @property
    def usable(self) -> bool:
        return self.readable and not self.problem and all(c.usable for c in self.columns)


@dataclass(frozen=True)
class ExportCounts:
    """rows_read = exported + rejected, always. `rejected_by` counts by code."""

    rows_read: int
    exported: int
    rejected: int
    bytes_written: int
    rejected_by: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ConversationFilter:
    """Which conversations are collected. Times are aware; the period is half-open.

    `closed_statuses` are compared in lower case; with `idle_hours` also conversations whose last
    message is the assistant's and older than that count as complete.
    """

    start: datetime
    end: datetime
    channels: tuple[str, ...] = ()
    closed_statuses: tuple[str, ...] = ()
    idle_hours: float | None = None
    minimum_rating: float | None = None


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported from the source. Times are aware.

    `what` names exports (none: all that the source has tables for). Without a `folder` rows are
    read and counted, and nothing is written. `start` and `end` (half-open) hold for qa_cache;
    conversations have their own period in the filter. Sender words are compared in lower case.
    """

    what: tuple[str, ...]
    folder: str | None
    start: datetime
    end: datetime
    now: datetime
    zone: str
    conversations: ConversationFilter
    assistant_senders: frozenset[str] = frozenset()
    customer_senders: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ExportResult:
    """What became of one export. `problem` says why it is not available.

    Where `time_column` (schema.table.column) has no zone, `assumed_zone` is the one that it was
    read in, and `rows_after` counts what lies after the period's end then.
    """

    name: str
    available: bool
    counts: ExportCounts
    problem: str = ""
    table: str | None = None
    file: str | None = None
    rejected_file: str | None = None
    time_column: str | None = None
    assumed_zone: str | None = None
    rows_after: int | None = None


@dataclass(frozen=True)
class AnswerRow:
    """When an answer of the owner's tables was made, and what was asked. `sender` is the word of a
    message's sender_type; `assumed_zone` the one that a time without zone was read in."""

    table: str
    key: str
    at: datetime | None
    question: str = ""
    sender: str | None = None
    assumed_zone: str | None = None


@dataclass(frozen=True)
class PersonRows:
    """Keys of the source's rows that are a person's, by the table's bare name; what else is known
    of them there; and why less was looked at than there might be."""

    rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    problem: str = ""


class Source(Protocol):
    """The owner's database: read only, never altered."""

    async def inspect(self) -> list[TableReport]:
        """Every table of mission sections 1 and 2: where it is, what fits, what does not."""

    async def export(self, request: ExportRequest, context: Context) -> list[ExportResult]:
        """Read all asked exports from one state of the database; write all of them or nothing."""

    async def feedback_by_day(self, since: datetime, until: datetime, zone: str) -> FeedbackReport:
        """The signals of `feedback` in a half-open period, counted by day of `zone`."""

    async def answers(self, limit: int, tenant: str | None) -> FoundAnswers:
        """The newest answer events of the owner's ai_events, where there is such a table."""

    async def answer(self, table: str, key: str, zone: str) -> AnswerRow | None:
        """One answer of `qa_cache` or `messages` by its key; None where there is no such row.
        Raises UnavailableError D102 to D109, SetupError D107."""

    async def person(
        self, customers: Sequence[str], emails: Sequence[str], phones: Sequence[str]
    ) -> PersonRows:
        """The rows of customers with one of these ids, e-mails or phones (digits), and what hangs
        on them."""

    async def close(self) -> None: ...


class RunLauncher(Protocol):
    """Starts `python -m finetune` as nobody's child, and knows whether it lives."""

    async def launch(
        self,
        verb: str,
        run_folder: str,
        gpus: Sequence[str] = (),
        memory_bytes: int | None = None,
    ) -> RunIdentity:
        """Start it, with these GPUs alone where any are named, and no more memory than that where
        the system can hold it to it."""

    def alive(self, identity: RunIdentity) -> bool: ...

    def signal(self, identity: RunIdentity, signal_number: int) -> bool: ...


class EngineHost(Protocol):
    """The engines of this machine: each nobody's child, on a loopback port of its own."""

    @property
    def host(self) -> str: ...

    def missing(self, engine: str) -> tuple[str, ...]:
        """Packages that the engine needs and that are not installed."""

    def chosen(self, wanted: str) -> str:
        """The engine that `auto` means here; another name is as it is."""

    def holds_adapters(self, engine: str) -> bool:
        """Whether one process of it serves a base and adapters, each by its name."""

    async def start(
        self, engine: str, load: EngineLoad, options: EngineOptions, folder: str
    ) -> EngineProcess:
        """Start it; its log is in `folder`. Raises JobError J502."""

    def loaded(self, folder: str) -> frozenset[str]:
        """Ids of the adapters that the engine of this folder was started with."""

    def fresh(self, folder: str) -> bool:
        """Whether the base's files are still those that the engine of this folder was started
        with; True where nothing was kept of them."""

    def access(self, engine: str, model: Model, folder: str) -> Access:
        """How to ask for the model of the engine that was started in the folder."""

    async def answers(self, access: Access, port: int, seconds: float = 60.0) -> bool:
        """Whether it answers a real, tiny request within so many seconds."""

    def refusal(self, folder: str) -> dict[str, str] | None:
        """Why this engine can't serve what it was to: code, what, why, remedy."""

    def retire(self, folder: str) -> None:
        """Let the engine of this folder end by itself, once it has answered what it was asked."""

    def orphans(self, root: str, living: Collection[str], seconds: float) -> list[str]:
        """Folders below `root` of engines that none of the living ones is, older than that."""

    def same_boot(self, identity: RunIdentity) -> bool: ...

    def alive(self, identity: RunIdentity) -> bool: ...

    async def stop(self, identity: RunIdentity) -> None:
        """End it and what it started: asked first, then by force. Does nothing where it is gone."""

    def last_cause(self, folder: str) -> str:
        """What its log says of its end: the kind of an error, never a text; '' for nothing."""

    def trim_log(self, folder: str) -> None:
        """Empty a log that has grown large."""


class ApiProcess(Protocol):
    """The HTTP API at API_URL, which `serve model` starts where none answers.

    `unit` is the service that it is on a server: systemd starts it there, and nobody else.
    """

    address: str
    unit: str | None

    async def answers(self) -> bool:
        """Whether a Sophia API answers there."""

    async def serves(self, name: str) -> int:
        """The status of its answer about a served name; 0 for none."""

    def startable(self) -> bool:
        """Whether API_URL is this machine's own loopback."""

    async def taken(self) -> bool:
        """Whether another program listens at that address."""

    def make_key(self) -> str:
        """Make a key for served models where none is set, and keep it; the path of its file."""

    async def start(self) -> bool:
        """Start it as nobody's child; whether it answers now."""

    def identity(self) -> RunIdentity | None:
        """The living process that `start` started, by whichever process of ours."""

    async def stop(self) -> bool:
        """End the one that `start` started; whether there was one."""


class ChatModel(Protocol):
    """Models at an OpenAI-compatible address, asked by their name."""

    async def ask(
        self, model: str, messages: list[dict[str, str]], most_tokens: int, temperature: float
    ) -> ChatAnswer:
        """The answer. Raises UnavailableError J520 (retry_after where the server says it), J524,
        JobError J521 (this text), J522, J523, J525, NotFoundError J526."""

    async def close(self) -> None: ...


class Prober(Protocol):
    """Asks a model for a token by its name, at an OpenAI-compatible address."""

    async def __call__(
        self, base_url: str | None, api_key: str | None, model: str, seconds: float
    ) -> Probe: ...
