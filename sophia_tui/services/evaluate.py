"""Evaluate: the base before and after training, on the held-out part and on chosen questions."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.models import Model
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import NotFoundError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.operations import operation
from sophia_tui.services.train import (
    chosen_threads,
    dataset_version,
    new_job_id,
    require_training_packages,
)
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings


class EvaluateRequest(Input):
    model: str = Field(description=N_("The model's id, e.g. sophia-v1."))
    prompts: list[str] = Field(
        default_factory=list,
        description=N_("Questions for both; default: some of the held-out part."),
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description=N_("How many held-out examples are scored; default: all."),
    )
    max_new_tokens: int = Field(
        default=64, ge=1, le=4096, description=N_("How long an answer may be, in tokens.")
    )


class EvaluationReference(Input):
    model: str = Field(description=N_("The model's id, e.g. sophia-v1."))


class ScoreView(Output):
    """Loss in nats for each answer token, and perplexity, with their 95 % intervals."""

    loss: float = Field(title=N_("Loss"))
    loss_low: float = Field(title=N_("Loss, at least"))
    loss_high: float = Field(title=N_("Loss, at most"))
    perplexity: float = Field(title=N_("Perplexity"))
    perplexity_low: float = Field(title=N_("Perplexity, at least"))
    perplexity_high: float = Field(title=N_("Perplexity, at most"))


class AnswerView(Output):
    prompt: str = Field(title=N_("Question"))
    before: str | None = Field(default=None, title=N_("Before"))
    after: str | None = Field(default=None, title=N_("After"))


class EvaluationView(Output):
    model: str = Field(title=N_("Model"))
    base: str = Field(title=N_("Base"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    job: str | None = Field(default=None, title=N_("Job"))
    at: datetime | None = Field(default=None, title=N_("Time"))
    examples: int = Field(title=N_("Examples"))
    answer_tokens: int = Field(title=N_("Answer tokens"))
    before: ScoreView = Field(title=N_("Before"))
    after: ScoreView | None = Field(default=None, title=N_("After"))
    loss_difference: float | None = Field(default=None, title=N_("Difference of the loss"))
    loss_difference_low: float | None = Field(default=None, title=N_("Difference, at least"))
    loss_difference_high: float | None = Field(default=None, title=N_("Difference, at most"))
    answers: list[AnswerView] = Field(default_factory=list, title=N_("Answers"))


class EvaluateService:
    """Queues evaluations and shows their outcome."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        wake: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._wake = wake

    @operation(
        "evaluate.run",
        N_("Measure a model against its base on the held-out part; a worker does it."),
        role=Role.OPERATOR,
        writes=True,
        target="model",
        positional=("model",),
    )
    async def run(self, context: Context, request: EvaluateRequest) -> JobView:
        """Raises NotFoundError M404, J442, UsageError J440, J441, UnavailableError J501."""
        model = await self._model(request.model)
        adapter = _adapter(model)
        if model.dataset is None:
            raise UsageError(
                "J441",
                _("Nobody knows what {model} was trained on.").format(model=model.id),
                _("It has no data set, so there is no held-out part to measure it on."),
            )
        version = await dataset_version(self._store, model.dataset)
        require_training_packages()
        recipe = await self._recipe_of(model)
        job = self._job(context, request, model, adapter, version.folder, version.hash, recipe)
        await self._store.jobs.add(job)
        await self._wake()
        return JobView.of(job)

    @operation(
        "evaluate.show",
        N_("Show how a model did against its base."),
        target="model",
        positional=("model",),
    )
    async def show(self, context: Context, request: EvaluationReference) -> EvaluationView:
        model = await self._model(request.model)
        if model.evaluation is None:
            raise NotFoundError(
                "J443",
                _("Model {model} was not evaluated yet.").format(model=model.id),
                remedy=_("Run `sophia evaluate run {model}`.").format(model=model.id),
            )
        return _view(model, model.evaluation)

    async def _model(self, model_id: str) -> Model:
        from sophia_tui.services.models import unknown_model

        model = await self._store.models.get(model_id)
        if model is None:
            raise unknown_model(textsafe.visible(model_id))
        return model

    async def _recipe_of(self, model: Model) -> dict[str, Any]:
        """The recipe the model was trained by: it says how prompts are put and cut."""
        job = await self._store.jobs.get(model.job_id) if model.job_id else None
        run = job.request.get("run", {}) if job else {}
        return dict(run.get("recipe") or {})

    def _job(
        self,
        context: Context,
        request: EvaluateRequest,
        model: Model,
        adapter: str,
        dataset_path: str,
        dataset_hash: str,
        recipe: dict[str, Any],
    ) -> Job:
        from finetune.schema import EvaluationSettings, Recipe, RunSpec

        job_id = new_job_id()
        run = RunSpec(
            job_id=job_id,
            kind="evaluate",
            base=model.base,
            dataset_path=dataset_path,
            dataset_hash=dataset_hash,
            recipe=Recipe.model_validate(recipe),
            threads=chosen_threads(self._settings),
            adapter_path=adapter,
            evaluation=EvaluationSettings(
                sample_limit=request.limit,
                prompts=request.prompts,
                max_new_tokens=request.max_new_tokens,
            ),
        )
        return Job(
            id=job_id,
            kind=JobKind.EVALUATE,
            state=JobState.QUEUED.value,
            base=model.base,
            dataset=model.dataset,
            request={"run": run.model_dump(mode="json")},
            created_by=context.actor,
            created_at=self._clock.now(),
            model_id=model.id,
        )


def _adapter(model: Model) -> str:
    if model.path is None:
        raise UsageError(
            "J440",
            _("Model {model} has no adapter on this machine.").format(model=model.id),
            _("Only models that Sophia trained here can be evaluated in this version."),
        )
    if not (Path(model.path) / "adapter_config.json").is_file():
        raise NotFoundError(
            "J442",
            _("The adapter of model {model} is not there.").format(model=model.id),
            model.path,
            _("Put the folder back, or train again."),
        )
    return model.path


def _view(model: Model, report: dict[str, Any]) -> EvaluationView:
    difference = report.get("difference") or {}
    return EvaluationView(
        model=model.id,
        base=model.base,
        dataset=model.dataset,
        job=report.get("job_id"),
        at=report.get("at"),
        examples=report["examples"],
        answer_tokens=report["answer_tokens"],
        before=ScoreView(**report["before"]),
        after=ScoreView(**report["after"]) if report.get("after") else None,
        loss_difference=difference.get("loss"),
        loss_difference_low=difference.get("loss_low"),
        loss_difference_high=difference.get("loss_high"),
        answers=[_safe_answer(each) for each in report.get("answers", [])],
    )


def _safe_answer(answer: dict[str, Any]) -> AnswerView:
    """What a model says may hold anything; a terminal must not act on it."""

    def safe(text: str | None) -> str | None:
        return None if text is None else textsafe.visible_lines(text)

    return AnswerView(
        prompt=textsafe.visible_lines(str(answer["prompt"])),
        before=safe(answer.get("before")),
        after=safe(answer.get("after")),
    )
