"""What operations answer with, where more than one service or face needs the shape.

Field titles are texts for people (translated where shown); names are what `--json` and the API use.
Times are ISO 8601 with zone.
"""

from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobEvent, JobState
from sophia_tui.domain.models import Model, standing
from sophia_tui.domain.operations import Input, Output
from sophia_tui.errors import RefusedError
from sophia_tui.i18n import DEFAULT_LANGUAGE, N_, _, get_language, number
from sophia_tui.services.plan_views import TrainPlan
from sophia_tui.services.waiting import sentence, told
from sophia_tui.textsafe import visible

#: No list of ours has more; a larger number would only fail in the database.
MOST_ROWS = 10_000_000

#: Values that sentences and forms show in the active language; machines keep the English words.
VALUE_WORDS = (
    N_("pending"),
    N_("done"),
    N_("undone"),
    N_("rolled_back"),
    N_("hosted"),
    N_("adapter"),
    N_("merged"),
    N_("exported"),
    N_("base"),
    N_("candidate"),
    N_("approved"),
    N_("conditional"),
    N_("rejected"),
    N_("retired"),
    N_("itself"),
    N_("in turn"),
    N_("made of"),
    N_("made of it"),
    N_("trained from"),
    N_("trained from it"),
    N_("trained on it"),
    N_("expired"),
    N_("promotion"),
    N_("rollback"),
    N_("by_hand"),
    N_("found"),
    N_("note"),
    N_("gate"),
    N_("parity"),
    N_("deployment"),
    N_("intact"),
    N_("differs"),
    N_("kept"),
    N_("added"),
    N_("no"),
    N_("certain"),
    N_("suspected"),
    N_("ok"),
    N_("attention"),
    N_("problem"),
    N_("refused"),
    N_("dry_run"),
    N_("skipped"),
    N_("table"),
    N_("view"),
    N_("empty"),
    N_("unknown"),
    N_("monitor"),
    N_("embedded"),
    N_("server"),
    N_("environment"),
    N_("env file"),
    N_("data folder"),
    N_("default"),
    N_("starting"),
    N_("ready"),
    N_("stopping"),
    N_("stopped"),
    N_("met"),
    N_("not met"),
    N_("not measured"),
    N_("right"),
    N_("wrong"),
    N_("counted"),
    N_("missing"),
    N_("unreachable"),
    N_("starting"),
    N_("ready"),
    N_("stopping"),
    N_("not_available"),
    N_("not_needed"),
    N_("accepting"),
    N_("closed"),
    N_("deleted"),
    N_("after_preparing"),
    N_("unfit"),
    N_("changed"),
    N_("unchanged"),
    N_("failed"),
    N_("planned"),
    *(N_("golden"), N_("dataset"), N_("train"), N_("compare"), N_("promote")),
    *(N_("auto"), N_("provider"), N_("cache")),
)

#: Fields whose values are such words; everything else is shown as it stands.
WORD_FIELDS = frozenset(
    {"status", "state", "kind", "outcome", "stage", "health", "source", "verdict", "copy_export"}
    | {"met", "before_verdict", "after_verdict", "part", "training", "wanted", "speaks"}
    | {"severity", "relation", "how"}
)

#: Words that mean several things: what they mean here. English keeps the words of `--json`.
KIND_WORDS = {
    "train": N_("training"),
    "evaluate": N_("evaluation"),
    "merge": N_("merging"),
    "parity": N_("comparing forms"),
    "export": N_("exporting"),
    "upload": N_("upload"),
    "data": N_("work on data"),
    "cancel": N_("cancel"),
    "pause": N_("pause"),
    "resume": N_("resume"),
    "for": N_("for it"),
    "against": N_("against it"),
    "between": N_("in between"),
    "open": N_("still open"),  # of a check list; elsewhere it is what a key does
}
#: Keys of counts, likewise.
_COUNTS = {
    "rows_in": N_("rows read"),
    "rows_kept": N_("rows kept"),
    "rows_rejected": N_("rows rejected"),
    "redacted": N_("redacted"),
    "train": N_("for training"),
    "valid": N_("for validation"),
    "test": N_("for the test"),
}
#: Other keys that a person reads.
_KEYS = {"table": N_("table"), "key": N_("key")}
#: Parts of a data set version.
_PART_WORDS = {
    "train": N_("for training"),
    "valid": N_("for validation"),
    "test": N_("for the test"),
}


def worded(name: str, value: Any) -> Any:
    """The value of a field called `name`, in the active language where it is a word of ours; codes
    of rejected rows and reasons to wait are sentences for people in any."""
    if name in ("waiting", "hindrance") and isinstance(value, dict) and value:
        return sentence(value)
    if name in ("counts", "rejected_by") and isinstance(value, dict):
        said = collect_reason if name == "rejected_by" else prepare_reason
        return {said(key): each for key, each in value.items()}
    if name not in WORD_FIELDS or not isinstance(value, str) or get_language() == DEFAULT_LANGUAGE:
        return value
    return _((_PART_WORDS if name == "part" else KIND_WORDS).get(value, value))


def key_word(key: Any) -> str:
    """A key of a dict for people: a count's name in the active language, others as they are."""
    known = {**_COUNTS, **_KEYS}.get(key) if isinstance(key, str) else None
    translated = known is not None and get_language() != DEFAULT_LANGUAGE
    return _(str(known)) if translated else visible(str(key))


def collect_reason(code: str) -> str:
    """Why collect left rows out, in the active language and without a full stop."""
    from sophia_tui.store.export_lines import REASONS

    return _(REASONS.get(code, code)).rstrip(".")


def prepare_reason(code: str) -> str:
    """Why prepare left rows out, likewise; other keys of its counts are left as they are."""
    from sophia_tui.datasets.codes import summary

    return summary(code).rstrip(".")


class Page(Input):
    """Input of lists: how many, after how many."""

    limit: int = Field(default=100, ge=1, le=500, description=N_("How many at most."))
    offset: int = Field(default=0, ge=0, le=MOST_ROWS, description=N_("How many to pass over."))


class Listing(Output):
    """A page of a list: `total` match what was asked, `unfiltered` would without its text."""

    machine_only: ClassVar[frozenset[str]] = frozenset({"total", "unfiltered"})

    total: int = Field(default=0, title=N_("Matching"))
    unfiltered: int = Field(default=0, title=N_("In all"))

    def remarks(self) -> list[str]:
        """That there are more rows than those that are shown."""
        shown = len(getattr(self, "items", ()))
        if self.total <= shown:
            return []
        return [
            _("{shown} of {total} rows; --limit and --offset lead to the others.").format(
                shown=number(shown), total=number(self.total)
            )
        ]


class JobReference(Input):
    """Input that names one job, by our id or the provider's."""

    job: str = Field(description=N_("The job's id, ours (ftjob-…) or the provider's."))


#: What a watched job ends in without having made what it was to make.
ENDED_BADLY = frozenset((JobState.FAILED, JobState.CANCELLED, JobState.PAUSED))


class JobView(Output):
    """One job as people and scripts see it."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "id",
        "kind",
        "status",
        "step",
        "total_steps",
        "loss",
        "resulting_model",
        "created_at",
        "dataset",
    )

    id: str = Field(title=N_("Job"))
    kind: str = Field(title=N_("Kind"))
    status: str = Field(title=N_("State"))
    wanted: str | None = Field(default=None, title=N_("Asked of it"))
    base: str = Field(title=N_("Base"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    provider: str | None = Field(default=None, title=N_("Provider"))
    provider_job: str | None = Field(default=None, title=N_("Job at the provider"))
    step: int | None = Field(default=None, title=N_("Step"))
    total_steps: int | None = Field(default=None, title=N_("Steps"))
    loss: float | None = Field(default=None, title=N_("Loss"))
    seconds_left: float | None = Field(default=None, title=N_("Seconds left"))
    eval_loss: float | None = Field(default=None, title=N_("Loss on the held-out part"))
    learning_rate: float | None = Field(default=None, title=N_("Learning rate"))
    tokens_per_second: float | None = Field(default=None, title=N_("Tokens per second"))
    memory_bytes: int | None = Field(default=None, title=N_("Memory (bytes)"))
    gpu_memory_bytes: int | None = Field(default=None, title=N_("GPU memory (bytes)"))
    kept: int | None = Field(default=None, title=N_("General answers kept"))
    kept_total: int | None = Field(default=None, title=N_("General questions asked"))
    seconds_running: float | None = Field(default=None, title=N_("Seconds at work"))
    cost_usd: float | None = Field(default=None, title=N_("Cost so far (USD)"))
    resulting_model: str | None = Field(default=None, title=N_("Resulting model"))
    model: str | None = Field(default=None, title=N_("Of the model"))
    files: list[str] = Field(default_factory=list, title=N_("Files"))
    run_folder: str | None = Field(default=None, title=N_("Run folder"))
    created_by: str = Field(title=N_("Created by"))
    created_at: datetime = Field(title=N_("Created"))
    started_at: datetime | None = Field(default=None, title=N_("Started"))
    finished_at: datetime | None = Field(default=None, title=N_("Finished"))
    heartbeat_at: datetime | None = Field(default=None, title=N_("Last sign of life"))
    queue: str = Field(default="", title=N_("Queue"))
    position: int | None = Field(default=None, title=N_("Place in the queue"))
    waiting: dict[str, Any] | None = Field(default=None, title=N_("Why it waits"))
    resumes: int = Field(default=0, title=N_("Times resumed"))
    last_event: int = Field(default=0, title=N_("Events"))
    warnings: list[str] = Field(default_factory=list, title=N_("Warnings"))
    trial: bool | None = Field(default=None, title=N_("Trial of one step"))
    error: dict[str, Any] | None = Field(default=None, title=N_("Error"))
    result: dict[str, Any] | None = Field(default=None, title=N_("Result"))
    plan: TrainPlan | None = Field(default=None, title=N_("Plan"))

    @classmethod
    def of(cls, job: Job, status: str | None = None, position: int | None = None) -> "JobView":
        """`status` overrides the stored state (a run of before the last reboot, say). `provider`
        stays None for this machine."""
        return cls(
            id=job.id,
            kind=job.kind.value,
            status=status or job.state,
            wanted=job.wanted,
            base=job.base,
            dataset=job.dataset,
            provider=None if job.provider == "local" else job.provider,
            provider_job=job.provider_job_id,
            step=job.step,
            total_steps=job.total_steps,
            loss=job.loss,
            seconds_left=job.seconds_left,
            cost_usd=job.cost_usd,
            resulting_model=job.resulting_model,
            model=job.model_id,
            files=list(job.files),
            run_folder=job.run_folder,
            created_by=job.created_by,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            heartbeat_at=job.heartbeat_at,
            queue=job.needs,
            position=position,
            waiting=told(job.waiting),
            resumes=job.resumes,
            last_event=job.last_event,
            trial=True if job.is_try else None,
            warnings=[str(each) for each in job.request.get("warnings") or []],
            error=job.error,
            result=job.result,
        )


class DryJobView(JobView):
    """A training as it would start. One that would be refused says so first, and the command line
    ends as for a refusal."""

    machine_only: ClassVar[frozenset[str]] = frozenset({"result"})
    shown_first: ClassVar[tuple[str, ...]] = ("refusals",)

    refusals: list[str] = Field(default_factory=list, title=N_("Why it would be refused"))

    @classmethod
    def planned(
        cls, job: Job, plan: TrainPlan, result: dict[str, Any], steps: int | None = None
    ) -> "DryJobView":
        """`result` is what the run, or the provider, would be given."""
        view = JobView.of(job, JobState.DRAFT.value).model_dump()
        changes = {"total_steps": steps, "result": result, "refusals": plan.refusals, "plan": plan}
        return cls.model_validate({**view, **changes})

    def exit_code(self) -> int:
        return RefusedError.exit_code if self.refusals else 0


class WatchedJob(JobView):
    """A job that was followed: the command line ends as the job did. One that still goes on when
    the time to watch is over is no failure."""

    def exit_code(self) -> int:
        return int(self.status in ENDED_BADLY)


class JobList(Listing):
    items: list[JobView] = Field(title=N_("Jobs"))


class EventView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("number", "at", "kind", "data")

    number: int = Field(title=N_("Number"))
    at: datetime = Field(title=N_("Time"))
    kind: str = Field(title=N_("Kind"))
    data: dict[str, Any] = Field(title=N_("Data"))

    @classmethod
    def of(cls, event: JobEvent) -> "EventView":
        return cls(number=event.number, at=event.at, kind=event.kind, data=event.data)


class EventList(Output):
    """Events by rising number. From `first` to `last` they were looked through: with `before=first`
    the older ones follow, with `after=last` the newer ones. `more`: the next page there may hold
    others; `backwards`: that is the one before."""

    machine_only: ClassVar[frozenset[str]] = frozenset({"first", "last", "more", "backwards"})

    job: str = Field(title=N_("Job"))
    items: list[EventView] = Field(title=N_("Events"))
    first: int | None = Field(default=None, title=N_("From"))
    last: int | None = Field(default=None, title=N_("To"))
    more: bool = Field(default=False, title=N_("More"))
    backwards: bool = Field(default=False, title=N_("Backwards"))

    def remarks(self) -> list[str]:
        """The way to the next page, where there is one."""
        if not self.more:
            return []
        if self.backwards:
            return [_("Earlier events: --before {number}").format(number=self.first)]
        return [_("Later events: --after {number}").format(number=self.last)]


class LogView(Output):
    """A part of a run's log, by default its end. `start` and `end` are the bytes of the file that
    were looked through: with `before=start` the lines before it follow, with `after=end` the newer
    ones. `unfinished`: no line feed ends the last line yet, and `end` stands before it."""

    machine_only: ClassVar[frozenset[str]] = frozenset({"start", "end", "size", "unfinished"})

    job: str = Field(title=N_("Job"))
    path: str = Field(title=N_("File"))
    lines: list[str] = Field(title=N_("Lines"))
    start: int = Field(default=0, title=N_("From"))
    end: int = Field(default=0, title=N_("To"))
    size: int = Field(default=0, title=N_("Bytes"))
    unfinished: bool = Field(default=False, title=N_("Not ended"))

    def remarks(self) -> list[str]:
        """The way to what stands before, where something does."""
        if not self.start:
            return []
        return [_("Earlier lines: --before {byte}").format(byte=self.start)]


class DatasetView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("id", "created_at", "created_by", "counts")

    id: str = Field(title=N_("Data set"))
    name: str = Field(title=N_("Name"))
    hash: str = Field(title=N_("Hash"))
    folder: str = Field(title=N_("Folder"))
    counts: dict[str, int] = Field(title=N_("Counts"))
    created_by: str = Field(default="", title=N_("Created by"))
    created_at: datetime | None = Field(default=None, title=N_("Created"))

    @classmethod
    def of(cls, version: DatasetVersion) -> "DatasetView":
        return cls(
            id=version.id,
            name=version.name,
            hash=version.hash,
            folder=version.folder,
            counts=version.counts,
            created_by=version.created_by,
            created_at=version.created_at,
        )


class DatasetList(Listing):
    items: list[DatasetView] = Field(title=N_("Data sets"))


class ModelFile(Output):
    """A file of a model, as it was when it was made or looked at first."""

    as_is: ClassVar[frozenset[str]] = frozenset({"name"})

    name: str = Field(title=N_("File"))
    bytes: int | None = Field(default=None, title=N_("Bytes"))
    sha256: str | None = Field(default=None, title="SHA-256")


class ModelView(Output):
    table_columns: ClassVar[tuple[str, ...]] = (
        "id",
        "kind",
        "state",
        "size",
        "job",
        "created_at",
        "dataset",
    )
    as_is: ClassVar[frozenset[str]] = frozenset({"version"})

    id: str = Field(title=N_("Model"))
    kind: str = Field(title=N_("Kind"))
    state: str = Field(default="candidate", title=N_("State"))
    state_reason: str | None = Field(default=None, title=N_("Reason"))
    state_conditions: list[str] = Field(default_factory=list, title=N_("Conditions"))
    state_until: datetime | None = Field(default=None, title=N_("Until"))
    state_by: str | None = Field(default=None, title=N_("Decided by"))
    state_at: datetime | None = Field(default=None, title=N_("Decided"))
    version: int = Field(default=0, title=N_("Version"))
    base: str = Field(title=N_("Base"))
    job: str | None = Field(default=None, title=N_("Job"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    path: str | None = Field(default=None, title=N_("Folder"))
    evaluation: dict[str, Any] | None = Field(default=None, title=N_("Evaluation"))
    created_at: datetime = Field(title=N_("Created"))
    shutdown_at: datetime | None = Field(default=None, title=N_("Ends"))
    parent: str | None = Field(default=None, title=N_("Made of"))
    size: int | None = Field(default=None, title=N_("Bytes"))
    files: list[ModelFile] = Field(default_factory=list, title=N_("Files"))
    template_fingerprint: str | None = Field(default=None, title=N_("Chat template (SHA-256)"))
    warnings: list[str] = Field(default_factory=list, title=N_("Warnings"))

    @classmethod
    def of(cls, model: Model, now: datetime, with_files: bool = False) -> "ModelView":
        """Its state is the one that counts at `now`."""
        listed = model.files or {}
        return cls(
            id=model.id,
            kind=model.kind.value,
            state=standing(model, now),
            state_reason=model.state_reason,
            state_conditions=list(model.state_conditions),
            state_until=model.state_until,
            state_by=model.state_by,
            state_at=model.state_at,
            version=model.version,
            size=sum(each["bytes"] for each in listed.values()) if listed else None,
            files=[ModelFile(name=name, **listed[name]) for name in sorted(listed)]
            if with_files
            else [],
            template_fingerprint=model.template_fingerprint,
            base=model.base,
            job=model.job_id,
            dataset=model.dataset,
            path=model.path,
            evaluation=model.evaluation,
            created_at=model.created_at,
            shutdown_at=model.shutdown_at,
            parent=model.parent,
        )


class ModelList(Listing):
    items: list[ModelView] = Field(title=N_("Models"))
