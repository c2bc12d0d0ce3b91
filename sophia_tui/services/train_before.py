"""What is told before a training: its plan, what it would learn, and the check lists."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import NotFoundError, RefusedError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services import train_hosted
from sophia_tui.services.jobs_hosted import OpenTrainer
from sophia_tui.services.operations import operation
from sophia_tui.services.plan_views import CheckList, TrainPlan, TrainPreview
from sophia_tui.services.prices import Load
from sophia_tui.services.train import (
    LocalOrder,
    TrainRequest,
    dataset_version,
    is_hosted,
    local_order,
    plan_local,
    require_recipe_name,
    require_training_packages,
)

if TYPE_CHECKING:
    from finetune.schema import PreviewReport
    from sophia_tui.services.train_plan import Planner
    from sophia_tui.settings import Settings


class PreviewRequest(Input):
    dataset: str | None = Field(
        default=None,
        description=N_(
            "The data set version (name, name@hash or hash); default: the newest that was "
            "prepared, and none that an upload, events or a persona made."
        ),
    )
    base: str | None = Field(
        default=None, description=N_("The base model of this machine; default FINETUNE_BASE.")
    )
    recipe: str | None = Field(
        default=None, description=N_("A recipe's name, or a YAML file; default SOPHIA_RECIPE.")
    )
    change: list[str] = Field(
        default_factory=list,
        max_length=20,
        description=N_("A field of the recipe as name=value, e.g. batch_size=1; may be repeated."),
    )
    part: Literal["train", "valid"] = Field(
        default="train", description=N_("The part of the data set.")
    )
    lines: list[int] = Field(
        default_factory=list,
        max_length=100,
        description=N_("Lines of train.jsonl to show, in place of a page; may be repeated."),
    )
    limit: int = Field(default=5, ge=1, le=100, description=N_("How many at most."))
    offset: int = Field(default=0, ge=0, le=10_000_000, description=N_("How many to pass over."))
    ascii: bool = Field(
        default=False, description=N_("Marks of plain ASCII around what is trained.")
    )


class ChecklistRequest(Input):
    job: str | None = Field(
        default=None, description=N_("The job; without one the training that is named is planned.")
    )
    dataset: str | None = Field(
        default=None,
        description=N_(
            "The data set version (name, name@hash or hash); default: the newest that was "
            "prepared, and none that an upload, events or a persona made."
        ),
    )
    base: str | None = Field(
        default=None,
        description=N_(
            "The base model: a folder, a GGUF file, a hub id or a hosted name; "
            "default FINETUNE_BASE."
        ),
    )
    recipe: str | None = Field(
        default=None, description=N_("A recipe's name, or a YAML file; default SOPHIA_RECIPE.")
    )


class TrainBeforeService:
    """Tells; it queues nothing."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        clock: Clock,
        prices: Load,
        planner: "Planner",
        open_trainer: OpenTrainer | None = None,
    ) -> None:
        self._open_trainer = open_trainer
        self._store = store
        self._settings = settings
        self._clock = clock
        self._prices = prices
        self._planner = planner

    @operation(
        "train.plan",
        N_("Tell before a training what it takes: memory, time, money, and what is missing."),
        role=Role.OPERATOR,
        target="dataset",
        positional=("dataset",),
    )
    async def plan(self, context: Context, request: TrainRequest) -> TrainPlan:
        """What `train.start` would do, told before; nothing is queued. Raises as it does, but for
        what stands in the plan's refusals."""
        require_recipe_name(context, request.recipe)
        named = request.base or self._settings.finetune_base
        if is_hosted(named, request.provider, self._settings):
            version = await dataset_version(self._store, request.dataset)
            now = self._clock.now()
            plan = await train_hosted.plan_hosted(
                request, str(named), version, self._settings, self._prices(), now
            )
            if self._open_trainer is not None:
                plan = await train_hosted.ask_provider(plan, version.id, self._open_trainer, now)
            return await self._planner.hosted_plan(context, plan, version, request.budget)
        order = await local_order(self._store, self._settings, request)
        return await plan_local(self._planner, context, request, order)

    @operation(
        "train.preview",
        N_("Show what a training would learn of each example, and what it would not."),
        role=Role.OPERATOR,
        target="dataset",
        positional=("dataset",),
    )
    async def preview(self, context: Context, request: PreviewRequest) -> TrainPreview:
        """Raises as `plan`, RefusedError J575 for a hosted base, and what the look raises."""
        from sophia_tui.services.train_preview import chosen_lines, preview_view

        require_recipe_name(context, request.recipe)
        named = request.base or self._settings.finetune_base
        if is_hosted(named, None, self._settings):
            raise RefusedError(
                "J575",
                _("What is trained of each token can't be shown for {base}.").format(
                    base=textsafe.visible(str(named))
                ),
                _("A hosted provider keeps its tokenizer and its template to itself."),
                _("Name a base of this machine."),
            )
        asked = TrainRequest(
            dataset=request.dataset, base=request.base, recipe=request.recipe, change=request.change
        )
        order = await local_order(self._store, self._settings, asked)
        require_training_packages()
        part, offset, limit = request.part, request.offset, request.limit
        wanted = chosen_lines(part, offset, limit, request.lines)
        report = await self._planner.previews.look(context, order, wanted)
        return preview_view(order, report, part, offset, limit, request.ascii)

    @operation(
        "train.checklist",
        N_("The check lists before and after a training, of a job or of one that is planned."),
        target="job",
        positional=("job",),
    )
    async def checklist(self, context: Context, request: ChecklistRequest) -> CheckList:
        """Raises NotFoundError J404, UsageError J576 for a job that is no training, and for a
        planned training what tells that it can't be one."""
        from sophia_tui.services.checklists import before_checks, budget_check

        if request.job is not None:
            return await self._checks_of_job(request.job)
        require_recipe_name(context, request.recipe)
        named = request.base or self._settings.finetune_base
        version = await dataset_version(self._store, request.dataset)
        if is_hosted(named, None, self._settings):
            items = await before_checks(
                self._store,
                self._settings,
                version,
                str(named),
                True,
                None,
                budget_check(None, True, None),
            )
        else:
            asked = TrainRequest(dataset=request.dataset, base=request.base, recipe=request.recipe)
            items = await self._planner.checks(
                await local_order(self._store, self._settings, asked)
            )
        return CheckList(dataset=version.id, base=named, items=items)

    async def _checks_of_job(self, reference: str) -> CheckList:
        from sophia_tui.services.checklists import AfterChecks, before_checks, budget_check
        from sophia_tui.services.train_plan import needs_yes

        job = await self._store.jobs.get(reference)
        if job is None:
            raise NotFoundError(
                "J404",
                _("There is no job {job}.").format(job=textsafe.visible(reference)),
                remedy=_("`sophia jobs list` lists the jobs."),
            )
        if job.kind is not JobKind.TRAIN:
            raise UsageError(
                "J576",
                _("Job {job} is no training.").format(job=job.id),
                remedy=_("Check lists are for trainings; `sophia jobs list` lists the jobs."),
            )
        version = await self._store.datasets.get(job.dataset) if job.dataset else None
        hosted = job.provider != "local"
        estimate = job.request.get("estimate") or {}
        usd = estimate.get("usd_estimated")
        budget = budget_check(usd, needs_yes(usd, hosted), job.request.get("confirmed"))
        report = None
        if not hosted and version is not None:
            report = self._kept_look(job, version)
        before = await before_checks(
            self._store, self._settings, version, job.base, hosted, report, budget
        )
        # a try makes nothing that could be checked afterwards
        after = [] if job.is_try else await AfterChecks(self._store, job).items()
        return CheckList(job=job.id, dataset=job.dataset, base=job.base, items=[*before, *after])

    def _kept_look(self, job: Job, version: DatasetVersion) -> "PreviewReport | None":
        """What an earlier look counted for this job; None also for a recipe of another version."""
        from pydantic import ValidationError

        from finetune.schema import Recipe

        try:
            recipe = Recipe.model_validate((job.request.get("run") or {}).get("recipe") or {})
        except ValidationError:
            return None
        order = LocalOrder(base=job.base, recipe=recipe, recipe_name="", version=version)
        return self._planner.previews.kept(order)
