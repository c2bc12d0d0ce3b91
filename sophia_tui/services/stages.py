"""The six stages of the loop, judged from what is known: figure, age or limit, health, what blocks.

Pure functions over a Standing; overview.py gathers it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sophia_tui import envfile
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.models import Evaluation, Model, ModelKind, Promotion, PromotionState
from sophia_tui.domain.operations import Output
from sophia_tui.domain.serving import Deployment, DeploymentState, TrafficSummary
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.quality import Quality, Targets, percent

Health = Literal["ok", "attention", "problem", "empty", "unknown"]
#: Keys that name what training starts from: never a use of a model in production.
_BASE_KEYS = frozenset({"FINETUNE_BASE", "AION_LORA_BASE"})

#: States of a job that a process works on.
AT_WORK = tuple(state.value for state in JobState if state.active)
#: States of a training that goes on where somebody says so.
_HALTED = (JobState.PAUSED, JobState.INTERRUPTED)


class StageView(Output):
    """One stage. `at` is when its figure came to be; `blocked` says what stands in its way."""

    stage: str = Field(title=N_("Stage"))
    health: Health = Field(title=N_("State"))
    figure: str = Field(title=N_("Figure"))
    detail: str = Field(default="", title=N_("Limit"))
    at: datetime | None = Field(default=None, title=N_("Since"))
    blocked: str = Field(default="", title=N_("What is in the way"))


@dataclass(frozen=True)
class SourceState:
    """`reached` None: not answered yet."""

    configured: bool
    reached: bool | None
    usable: tuple[str, ...] = ()
    problem: SophiaError | None = None


@dataclass(frozen=True)
class Collected:
    """The *.jsonl files of FINETUNE_DIR: how many, bytes in all, when the newest was written."""

    files: int
    size: int
    newest: datetime | None


@dataclass(frozen=True)
class Served:
    """Models served now, and the figures of the last `hours` hours (an hour, or a day where nobody
    asked in the last one)."""

    targets: Targets
    living: tuple[Deployment, ...] = ()
    hours: int = 24
    traffic: tuple[TrafficSummary, ...] = ()

    @property
    def complaints(self) -> list[str]:
        """What misses its target, each as a sentence."""
        return Quality.of(self.traffic).complaints(self.targets)


@dataclass(frozen=True)
class Standing:
    """Everything the stages are judged from. `jobs` newest first, each with its true state."""

    now: datetime
    source: SourceState
    collected: Collected
    dataset: DatasetVersion | None = None
    jobs: tuple[tuple[Job, str], ...] = ()
    models: tuple[Model, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    uses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    base: str | None = None
    served: Served | None = None
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def foremost(self) -> list[tuple[Job, str]]:
        """The jobs at work, then all others; each newest first. A draft has not begun, so it says
        nothing of how things stand."""
        begun = [each for each in self.jobs if each[1] != JobState.DRAFT]
        return sorted(begun, key=lambda each: each[1] not in AT_WORK)

    def newest(self, kind: JobKind) -> tuple[Job, str] | None:
        """The newest job of a kind that is at work; where none is, the newest."""
        return next(((job, state) for job, state in self.foremost if job.kind is kind), None)

    def succeeded(self, kind: JobKind) -> bool:
        """Whether a job of the kind did."""
        return any(job.kind is kind and state == JobState.SUCCEEDED for job, state in self.jobs)

    @property
    def trained(self) -> Model | None:
        """The newest model that a job made; a merged one is the adapter it was made of, again."""
        made = (each for each in self.models if each.job_id and each.kind is not ModelKind.MERGED)
        return next(made, None)

    def answers(self, model: Model) -> bool:
        """Whether it is served, or what was made of it, or answers elsewhere."""
        if model.kind is not ModelKind.ADAPTER or self.served is None:
            return True
        ids = {model.id, *(each.id for each in self.models if each.parent == model.id)}
        return any(each.model_id in ids for each in self.served.living)

    @property
    def promoted(self) -> Promotion | None:
        """The newest promotion that is in force."""
        return next((each for each in self.promotions if each.state is PromotionState.DONE), None)


@dataclass(frozen=True)
class Step:
    """The next sensible step; `operation` and `request` carry it out."""

    text: str
    operation: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)


def collected_files(folder: Path, history: Path) -> Collected:
    """Look at FINETUNE_DIR without reading a file; a folder that is not there has none.

    `history` is the journal of jobs and promotions: it may lie there and is no training data.
    """
    files, size, newest = 0, 0, 0.0
    try:
        for each in folder.glob("*.jsonl"):
            if each.is_file() and each != history:
                found = each.stat()
                files, size, newest = files + 1, size + found.st_size, max(newest, found.st_mtime)
    except OSError:
        return Collected(files, size, None)
    return Collected(files, size, datetime.fromtimestamp(newest, UTC) if files else None)


def used_models(files: Sequence[Path]) -> dict[str, list[str]]:
    """Model names in managed env files, with the keys that name them; unreadable files are none."""
    found: dict[str, list[str]] = {}
    for path in files:
        try:
            values = envfile.values(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        for key, value in values.items():
            if value and key.endswith("_MODEL") and key not in _BASE_KEYS:
                found.setdefault(value, [])
                if key not in found[value]:
                    found[value].append(key)
    return found


def all_stages(standing: Standing) -> list[StageView]:
    return [
        _collect(standing),
        _prepare(standing),
        _train(standing),
        _evaluate(standing),
        _promote(standing),
        _monitor(standing.served),
    ]


def _collect(standing: Standing) -> StageView:
    source, collected = standing.source, standing.collected
    blocked = ""
    if source.reached is False:
        blocked = source.problem.what if source.problem else _("The source does not answer.")
    elif source.reached and not source.usable:
        blocked = _("The source has no table that can be read.")
    if not collected.files:
        figure = _("no files")
        health: Health = "problem" if blocked else "unknown" if source.reached is None else "empty"
    else:
        figure = ngettext("{count} file", "{count} files", collected.files).format(
            count=number(collected.files)
        )
        health = "attention" if blocked else "ok"
    return StageView(
        stage="collect",
        health=health,
        figure=figure,
        detail=megabytes(collected.size) if collected.files else "",
        at=collected.newest,
        blocked=blocked,
    )


def megabytes(size: int) -> str:
    """Bytes for people."""
    if size < 1_000_000:
        return f"{number(size / 1000, 1)} kB"
    return f"{number(size / 1_000_000, 1)} MB"


def _prepare(standing: Standing) -> StageView:
    version = standing.dataset
    if version is None:
        blocked = "" if standing.collected.files else _("There is nothing collected yet.")
        return StageView(stage="prepare", health="empty", figure=_("no version"), blocked=blocked)
    kept, rejected = version.counts.get("rows_kept", 0), version.counts.get("rows_rejected", 0)
    newest = standing.collected.newest
    behind = bool(newest and version.created_at and newest > version.created_at)
    return StageView(
        stage="prepare",
        health="problem" if not kept else "attention" if behind else "ok",
        figure=ngettext("{count} row", "{count} rows", kept).format(count=number(kept)),
        detail=_("{count} rejected").format(count=number(rejected)),
        at=version.created_at,
        blocked=_("Files in FINETUNE_DIR are newer than the version.") if behind else "",
    )


def _train(standing: Standing) -> StageView:
    found = standing.newest(JobKind.TRAIN)
    if found is None:
        blocked = "" if standing.dataset else _("There is no data set version yet.")
        drafted = any(job.kind is JobKind.TRAIN for job, _state in standing.jobs)
        figure = _("draft") if drafted else _("no job")
        return StageView(stage="train", health="empty", figure=figure, blocked=blocked)
    return _job_stage("train", *found, standing.succeeded(JobKind.TRAIN))


def _job_stage(stage: str, job: Job, state: str, succeeded: bool) -> StageView:
    """`succeeded`: another of its kind did, so that there is something to go on with."""
    health: Health = "ok"
    blocked = ""
    if state in (JobState.FAILED, JobState.INTERRUPTED):
        health = "attention" if succeeded or state == JobState.INTERRUPTED else "problem"
        blocked = _("Job {job}: {state}").format(job=job.id, state=_(state))
    elif state in (JobState.PAUSED, JobState.CANCELLED):
        health = "attention"
    if state in (JobState.RUNNING, JobState.PAUSING) and job.step and job.total_steps:
        figure = f"{100 * job.step // job.total_steps} %"
        return StageView(stage=stage, health=health, figure=figure, detail=_(state))
    return StageView(
        stage=stage,
        health=health,
        figure=_(state),
        detail="" if job.loss is None else _("loss {loss}").format(loss=number(job.loss, 2)),
        at=job.finished_at or job.started_at or job.created_at,
        blocked=blocked,
    )


def _evaluate(standing: Standing) -> StageView:
    found = standing.newest(JobKind.EVALUATE)
    if found is not None and found[1] != JobState.SUCCEEDED:
        stage = _job_stage("evaluate", *found, standing.succeeded(JobKind.EVALUATE))
        named = ", ".join(filter(None, (found[0].model_id, stage.detail)))
        return stage.model_copy(update={"detail": named})
    model, report, at = _newest_evaluation(standing)
    before, after = perplexities(report)
    if after is None:
        blocked = "" if standing.models else _("There is no trained model yet.")
        return StageView(stage="evaluate", health="empty", figure=_("no scores"), blocked=blocked)
    better = before is None or after < before
    figure = number(after, 1) if before is None else f"{number(before, 1)} > {number(after, 1)}"
    return StageView(
        stage="evaluate",
        health="ok" if better else "attention",
        figure=figure,
        detail=_("{model}, perplexity").format(model=model),
        at=at,
        blocked="" if better else _("The perplexity did not fall."),
    )


def _newest_evaluation(
    standing: Standing,
) -> tuple[str, Mapping[str, Any] | None, datetime | None]:
    """Model, report and time of the newest evaluation with a figure; of a model that came with
    one, no time is known."""
    for each in standing.evaluations:
        if perplexities(each.report)[1] is not None:
            return each.model_id, each.report, each.created_at
    for model in standing.models:
        if perplexities(model.evaluation)[1] is not None:
            return model.id, model.evaluation, None
    return "", None, None


def perplexities(evaluation: Mapping[str, Any] | None) -> tuple[float | None, float | None]:
    """Perplexity of the base and of the trained model, where an evaluation holds them."""

    def of(name: str) -> float | None:
        part = (evaluation or {}).get(name)
        value = part.get("perplexity") if isinstance(part, Mapping) else None
        return float(value) if isinstance(value, int | float) else None

    return of("before"), of("after")


def _promote(standing: Standing) -> StageView:
    last = next(iter(standing.promotions), None)
    if last is not None and last.state is PromotionState.PENDING:
        return StageView(
            stage="promote",
            health="problem",
            figure=last.model_id,
            detail=_("not finished"),
            blocked=_("A promotion was begun and not finished."),
        )
    if standing.promoted is None:
        blocked = "" if standing.models else _("There is no trained model yet.")
        return StageView(stage="promote", health="empty", figure=_("nothing yet"), blocked=blocked)
    promoted = standing.promoted
    return StageView(
        stage="promote",
        health="ok",
        figure=promoted.model_id,
        at=promoted.finished_at or promoted.created_at,
    )


def _monitor(served: Served | None) -> StageView:
    """The last hour's figures, or the last day's; a word where they miss a target."""
    if served is None:
        return StageView(stage="monitor", health="unknown", figure=_("not known"))
    quality = Quality.of(served.traffic)
    ready = [each for each in served.living if each.state is DeploymentState.READY]
    if not quality.requests:
        return _unasked(served, ready)
    rate = quality.error_rate or 0.0
    p95 = None if quality.p95 is None else f"p95 {number(quality.p95, 1)} s"
    errors = _("{rate} errors").format(rate=percent(rate))
    complaints = served.complaints
    if quality.slow(served.targets):
        figure, detail = _("slow"), p95 or ""
    elif quality.failing(served.targets):
        figure, detail = _("failing"), errors
    else:
        figure, detail = p95 or _("no answer"), errors
    told = _("In the last hour: {what}") if served.hours == 1 else _("In the last 24 hours: {what}")
    blocked = told.format(what=" ".join(complaints)) if complaints else ""
    if not ready:
        blocked = " ".join(filter(None, (blocked, _("No served model is ready now."))))
    return StageView(
        stage="monitor",
        health="attention" if blocked else "ok",
        figure=figure,
        detail=detail,
        blocked=blocked,
    )


def _unasked(served: Served, ready: Sequence[Deployment]) -> StageView:
    """Nobody asked a served model in the last day."""
    if not served.living:
        return StageView(
            stage="monitor",
            health="empty",
            figure=_("not served"),
            blocked=_("Nothing is served: `sophia serve model` serves a model."),
        )
    if not ready:
        state = served.living[0].state.value
        return StageView(stage="monitor", health="attention", figure=_(state))
    return StageView(
        stage="monitor",
        health="ok",
        figure=_("no requests"),
        detail=_("in 24 hours"),
        at=ready[0].ready_at,
    )


def next_step(standing: Standing) -> Step:
    """What a sensible person would do now: the first stage that waits for somebody."""
    train = standing.newest(JobKind.TRAIN)
    model = standing.trained
    for job, state in standing.foremost[:1]:
        if state in _HALTED:
            return _resume(job)
        if state == JobState.FAILED:
            return Step(_("Look why {job} failed.").format(job=job.id), "jobs.log", {"job": job.id})
        if state not in (JobState.SUCCEEDED, JobState.CANCELLED):
            return Step(_("Watch job {job}.").format(job=job.id), "jobs.show", {"job": job.id})
    if train is not None and train[1] in _HALTED:  # whatever else was done since
        return _resume(train[0])
    newest, version = standing.collected.newest, standing.dataset
    if newest is None:
        return _before_collecting(standing)
    if version is None or (version.created_at and newest > version.created_at):
        return Step(_("Prepare a data set version from the collected files."), "prepare.run")
    if train is None or (version.created_at and train[0].created_at < version.created_at):
        request = {"dataset": version.id, "base": standing.base}
        text = _("Train on {dataset}.").format(dataset=version.id)
        return Step(text, "train.start", {key: value for key, value in request.items() if value})
    if model is not None and not model.evaluation and model.kind is ModelKind.ADAPTER:
        return Step(
            _("Evaluate {model}.").format(model=model.id), "evaluate.run", {"model": model.id}
        )
    promoted = standing.promoted
    if model is not None and (promoted is None or promoted.created_at < model.created_at):
        if not standing.answers(model):
            return Step(
                _("Serve {model}.").format(model=model.id), "serve.model", {"model": model.id}
            )
        return Step(
            _("Promote {model}.").format(model=model.id), "promote.run", {"model": model.id}
        )
    complaints = standing.served.complaints if standing.served else []
    if complaints:
        text = _("Look at the monitor: {what}").format(what=complaints[0])
        return Step(text, "monitor.show", {"hours": 24})
    return Step(_("All is done; collect again when there is something new."), "collect.run")


def _resume(job: Job) -> Step:
    return Step(_("Let job {job} go on.").format(job=job.id), "jobs.resume", {"job": job.id})


def _before_collecting(standing: Standing) -> Step:
    source = standing.source
    if source.reached is False or (source.reached and not source.usable):
        return Step(_("See what the source lacks."), "setup.check")
    return Step(_("Collect questions, feedback and conversations."), "collect.run")
