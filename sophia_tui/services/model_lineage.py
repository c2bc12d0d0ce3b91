"""Lineage: from an answer or a model to its job, data set version and source rows, and to all that
was made of it, measured of it and done with it."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar
from zoneinfo import ZoneInfo

from pydantic import Field

from sophia_tui.domain.context import Context
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job
from sophia_tui.domain.models import Model, ModelFilter
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import AnswerRow, Clock, Source, Store
from sophia_tui.errors import NotFoundError
from sophia_tui.i18n import N_, _
from sophia_tui.services.datasets import (
    DatasetsService,
    KeptList,
    KeptRecord,
    RowsInput,
    notice_text,
)
from sophia_tui.services.evaluation_views import EvaluationRow
from sophia_tui.services.model_production import (
    ModelProductionService,
    Named,
    ProductionSpan,
    span_view,
    spans,
)
from sophia_tui.services.model_states import every_promotion
from sophia_tui.services.operations import operation
from sophia_tui.services.views import MOST_ROWS, ModelView
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

#: Tables of the owner's that hold answers.
_ANSWERS = ("qa_cache", "messages")
#: The variable whose model writes the answers (mission section 1).
_ANSWERED_BY = "GEN_MODEL"
#: Relations of a model's other forms: the same weights, in other files.
_SAME = frozenset({"itself", "made of", "made of it"})
_MOST_MODELS = 200
_LONGEST_CHAIN = 20  # who made a model of itself by hand is not followed without end


class LineageRequest(Input):
    model: str = Field(
        description=N_(
            "A model, or what leads to one: a job, an evaluation, a served name, a promotion,"
            " golden answers, a data set version, or an answer of your database (qa_cache:KEY or"
            " messages:ID)."
        )
    )
    row: int | None = Field(
        default=None,
        ge=1,
        le=MOST_ROWS,
        description=N_("Only this record of the data set, counted from 1."),
    )
    text: str | None = Field(
        default=None, description=N_("Only records of the data set that hold this text.")
    )
    limit: int = Field(default=5, ge=0, le=500, description=N_("How many source rows at most."))


class LineageModel(Output):
    """One model of the chain. `relation` says how it stands to the one that was asked for."""

    table_columns: ClassVar[tuple[str, ...]] = ("relation", "id", "kind", "state", "made", "job")

    relation: str = Field(title=N_("Relation"))
    id: str = Field(title=N_("Model"))
    kind: str = Field(title=N_("Kind"))
    state: str = Field(title=N_("State"))
    made: datetime | None = Field(default=None, title=N_("Created"))
    job: str | None = Field(default=None, title=N_("Job"))
    deleted_at: datetime | None = Field(default=None, title=N_("Deleted on"))


class LineageJob(Output):
    id: str = Field(title=N_("Job"))
    kind: str = Field(title=N_("Kind"))
    status: str = Field(title=N_("State"))
    by: str = Field(title=N_("Created by"))
    at: datetime = Field(title=N_("Created"))
    steps: int | None = Field(default=None, title=N_("Steps"))
    loss: float | None = Field(default=None, title=N_("Loss"))
    dataset: str | None = Field(default=None, title=N_("Data set"))


class LineageDataset(Output):
    id: str = Field(title=N_("Data set"))
    counts: dict[str, int] = Field(default_factory=dict, title=N_("Counts"))
    sources: list[str] = Field(default_factory=list, title=N_("Files"))
    deleted_at: datetime | None = Field(default=None, title=N_("Deleted on"))
    notice: str = Field(default="", title=N_("Notice"))


class LineageCheck(Output):
    model: str = Field(title=N_("Model"))
    id: str = Field(title=N_("Check"))
    kind: str = Field(title=N_("Kind"))
    passed: bool = Field(title=N_("Passed"))
    at: datetime = Field(title=N_("Time"))


class LineageDeployment(Output):
    id: str = Field(title=N_("Deployment"))
    model: str = Field(title=N_("Model"))
    name: str = Field(title=N_("Name"))
    state: str = Field(title=N_("State"))
    since: datetime = Field(title=N_("From"))
    until: datetime | None = Field(default=None, title=N_("Until"))


class LineageView(Output):
    """From what was asked for to the rows. What was measured of a model and done with it is told
    of all its forms (adapter, merged, exported). `gaps` are what is not known, and why."""

    machine_only: ClassVar[frozenset[str]] = frozenset({"model"})

    asked: str = Field(title=N_("Asked for"))
    notes: list[str] = Field(default_factory=list, title=N_("How it leads to the model"))
    model: ModelView | None = Field(default=None, title=N_("Model"))
    chain: list[LineageModel] = Field(default_factory=list, title=N_("Models"))
    jobs: list[LineageJob] = Field(default_factory=list, title=N_("Jobs"))
    dataset: LineageDataset | None = Field(default=None, title=N_("Data set"))
    rows: list[KeptRecord] = Field(default_factory=list, title=N_("Source rows"))
    evaluations: list[EvaluationRow] = Field(default_factory=list, title=N_("Evaluations"))
    checks: list[LineageCheck] = Field(default_factory=list, title=N_("Checks"))
    deployments: list[LineageDeployment] = Field(default_factory=list, title=N_("Deployments"))
    production: list[ProductionSpan] = Field(default_factory=list, title=N_("In production"))
    gaps: list[str] = Field(default_factory=list, title=N_("Not known"))


class _Found:
    """What a reference led to: a model, or a job or a data set of which there is none."""

    def __init__(self) -> None:
        self.model: Model | None = None
        self.name: str | None = None  # a model's, of which nothing else is known
        self.job: Job | None = None
        self.dataset: DatasetVersion | None = None
        self.notes: list[str] = []
        self.gaps: list[str] = []


class ModelLineageService:
    """Puts together what stands apart; keeps nothing of its own."""

    def __init__(
        self,
        store: Store,
        source: Callable[[], Awaitable[Source]],
        settings: "Settings",
        clock: Clock,
        production: ModelProductionService,
    ) -> None:
        self._store = store
        self._source = source
        self._settings = settings
        self._clock = clock
        self._production = production

    @operation(
        "models.lineage",
        N_("Trace a model, or an answer, to its job, data set and source rows, and to its uses."),
        target="model",
        positional=("model",),
    )
    async def lineage(self, context: Context, request: LineageRequest) -> LineageView:
        """Raises NotFoundError M512 (nothing is known under that name), M513 (no such answer), and
        for an answer what the source raises."""
        promotions = await every_promotion(self._store)
        files, _unread = await self._production.files(promotions)
        named = spans(promotions, files)
        found = await self._resolve(request.model, named)
        model = found.model
        chain, jobs = await self._ancestors(found)
        below = await self._made_of(found)
        dataset = found.dataset or await self._dataset(found, chain, jobs)
        rows = await self._rows(context, found, dataset, request)
        view = LineageView(
            asked=request.model,
            notes=found.notes,
            model=ModelView.of(model, self._clock.now()) if model else None,
            chain=[*chain, *below],
            jobs=[_job_view(each) for each in jobs],
            dataset=_dataset_view(dataset) if dataset else None,
            rows=rows,
            gaps=found.gaps,
        )
        if found.name is not None:
            alone = LineageModel(relation="itself", id=found.name, kind="hosted", state="unknown")
            view = view.model_copy(update={"chain": [alone]})
        return await self._with_uses(view, named) if view.chain else view

    async def _with_uses(self, view: LineageView, named: list[Named]) -> LineageView:
        """The same with evaluations, checks, deployments and times in production."""
        forms = [each.id for each in view.chain if each.relation in _SAME]
        evaluations = [
            each for form in forms for each in await self._store.evaluations.page(form, limit=20)
        ]
        checks = [each for form in forms for each in await self._store.checks.page(form, limit=20)]
        deployments = [
            LineageDeployment(
                id=each.id,
                model=each.model_id,
                name=each.name,
                state=each.state.value,
                since=each.created_at,
                until=each.stopped_at,
            )
            for each in await self._store.deployments.page(limit=500)
            if each.model_id in forms
        ]
        return view.model_copy(
            update={
                "evaluations": [EvaluationRow.of(each) for each in evaluations],
                "checks": [
                    LineageCheck(
                        model=each.model_id,
                        id=each.id,
                        kind=each.kind.value,
                        passed=each.passed,
                        at=each.created_at,
                    )
                    for each in checks
                ],
                "deployments": deployments,
                "production": [span_view(each) for each in named if each.model in forms],
            }
        )

    # --- what was asked for ---

    async def _resolve(self, reference: str, named: list[Named]) -> _Found:
        found = _Found()
        found.model = await self._model(reference)
        if found.model is not None:
            return found
        roads = (
            self._by_answer,
            self._by_deployment,
            self._by_job,
            self._by_record,
            self._by_dataset,
        )
        for road in roads:
            if await road(reference, named, found):
                return found
        if any(each.model == reference for each in named):
            _only_named(found, reference)
            return found
        raise NotFoundError(
            "M512",
            _("Nothing is known under {name}.").format(name=visible(reference)),
            remedy=_(
                "Name a model, a job, a data set, a served name, a promotion, or an answer as"
                " qa_cache:KEY."
            ),
        )

    async def _by_answer(self, reference: str, named: list[Named], found: _Found) -> bool:
        """An answer of the owner's: the RAG keeps no model with it, so its time says which."""
        table, colon, key = reference.partition(":")
        table = table.rpartition(".")[2]
        if not (colon and key) or table not in _ANSWERS:
            return False
        key = key.rpartition("=")[2]
        from sophia_tui.settings import words

        source = await self._source()
        row = await source.answer(table, key, self._settings.timezone)
        if row is None:
            raise NotFoundError(
                "M513",
                _("There is no answer {reference} in your database.").format(
                    reference=visible(reference)
                ),
                _("Or its table, or its key, can't be read."),
                _("`sophia source inspect` shows what can be read."),
            )
        senders = words(self._settings.assistant_senders)
        if row.sender is not None and row.sender.strip().lower() not in senders:
            told = _("The message {key} is no answer: {sender} wrote it.")
            found.gaps.append(told.format(key=visible(row.key), sender=visible(row.sender)))
            return True
        if row.at is None:
            found.gaps.append(_("The answer has no time, so its model is not known."))
            return True
        await self._answered(row, row.at, named, found)
        return True

    async def _answered(
        self, row: AnswerRow, at: datetime, named: list[Named], found: _Found
    ) -> None:
        found.notes.append(
            _("The answer {key} of {table} is of {time}.").format(
                key=visible(row.key), table=visible(row.table), time=self._local(at)
            )
        )
        if row.question:
            found.notes.append(_("The question: {text}").format(text=visible(row.question[:200])))
        if row.assumed_zone:
            zone = _("Its time has no zone and was read in {zone}.")
            found.notes.append(zone.format(zone=row.assumed_zone))
        then = [each for each in named if each.covers(at) and each.key == _ANSWERED_BY]
        if not then:
            found.gaps.append(
                _("Nothing that is recorded names a model in {key} at that time.").format(
                    key=_ANSWERED_BY
                )
            )
            return
        for each in then:
            told = _("{key} of {file} named {model} then.")
            if each.how == "found":
                told = _("{key} of {file} named {model}; since when is not recorded.")
            elif not each.exact:
                told = _("{key} of {file} may have named {model} then: it was changed by hand.")
            found.notes.append(
                told.format(key=each.key, file=visible(each.file), model=visible(each.model))
            )
        chosen = next((each for each in then if each.exact), then[0])
        if len({each.model for each in then}) > 1:
            more = _("More than one model may have answered; this is the lineage of {model}.")
            found.gaps.append(more.format(model=visible(chosen.model)))
        found.model = await self._model(chosen.model)
        if found.model is None:
            _only_named(found, chosen.model)

    def _local(self, at: datetime) -> str:
        """In the house's time zone."""
        zone = ZoneInfo(self._settings.timezone)
        return at.astimezone(zone).isoformat(" ", "seconds")

    async def _by_deployment(self, reference: str, named: list[Named], found: _Found) -> bool:
        deployment = await self._store.deployments.get(reference)
        if deployment is None:
            return False
        found.model = await self._model(deployment.model_id)
        found.notes.append(
            _("{name} is, or was, the name that {model} is served under.").format(
                name=visible(deployment.name), model=deployment.model_id
            )
        )
        return True

    async def _by_job(self, reference: str, named: list[Named], found: _Found) -> bool:
        job = await self._store.jobs.get(reference)
        if job is None:
            return False
        found.job = job
        model_id = job.resulting_model or job.model_id
        if model_id is None:
            found.gaps.append(_("The job {job} made no model.").format(job=job.id))
            return True
        made = _("The job {job} made {model}.")
        if job.resulting_model is None:
            made = _("The job {job} worked on {model}.")
        found.notes.append(made.format(job=job.id, model=visible(model_id)))
        found.model = await self._model(model_id)
        if found.model is None:
            _only_named(found, model_id)
        return True

    async def _by_record(self, reference: str, named: list[Named], found: _Found) -> bool:
        """A promotion, or golden answers."""
        promotion = await self._store.promotions.get(reference)
        golden = None if promotion else await self._store.golden.get(reference)
        if promotion is not None:
            model_id = promotion.model_id
            told = _("The promotion {id} put {model} into production.")
        elif golden is not None:
            model_id = golden.model_id
            told = _("The golden answers {id} are those of {model}.")
        else:
            return False
        found.notes.append(told.format(id=reference, model=visible(model_id)))
        found.model = await self._model(model_id)
        if found.model is None:
            _only_named(found, model_id)
        return True

    async def _by_dataset(self, reference: str, named: list[Named], found: _Found) -> bool:
        found.dataset = await self._store.datasets.get(reference, deleted=True)
        return found.dataset is not None

    async def _model(self, model_id: str) -> Model | None:
        """A model by its id, a deleted one too, or one that only jobs or promotions name."""
        row = await self._store.models.get(model_id, deleted=True)
        if row is not None:
            return row
        wanted = ModelFilter(model_id=model_id)
        known = await self._store.models.known(wanted, self._clock.now())
        return next(iter(known), None)

    # --- the way back ---

    async def _ancestors(self, found: _Found) -> tuple[list[LineageModel], list[Job]]:
        """The model and what it was made of, down to the base; and the jobs that made them."""
        if found.model is None:
            return [], [found.job] if found.job else []
        chain: list[LineageModel] = []
        jobs: dict[str, Job] = {}
        model: Model | None = found.model
        seen: set[str] = set()
        relation = "itself"
        while model is not None and model.id not in seen and len(seen) < _LONGEST_CHAIN:
            seen.add(model.id)
            chain.append(self._entry(relation, model))
            if model.job_id:
                job = await self._store.jobs.get(model.job_id)
                if job is None:
                    gone = _("The job {job} is not known any more.")
                    found.gaps.append(gone.format(job=model.job_id))
                else:
                    jobs[job.id] = job
            below = model.parent or (model.base if model.base != model.id else None)
            relation = "made of" if model.parent else "trained from"
            parent = await self._model(below) if below else None
            if below and parent is None:
                chain.append(
                    LineageModel(relation=relation, id=below, kind="base", state="unknown")
                )
            model = parent
        if found.job is not None:
            jobs.setdefault(found.job.id, found.job)
        return chain, list(jobs.values())

    def _entry(self, relation: str, model: Model) -> LineageModel:
        view = ModelView.of(model, self._clock.now())
        return LineageModel(
            relation=relation,
            id=view.id,
            kind=view.kind,
            state=view.state,
            made=view.created_at,
            job=view.job,
            deleted_at=model.deleted_at,
        )

    async def _made_of(self, found: _Found) -> list[LineageModel]:
        """Everything that was made of the model or trained from it, and of that again; of a data
        set, what was trained on it."""
        entries: list[LineageModel] = []
        if found.model is None and found.dataset is not None:
            for user in await self._store.datasets.users([found.dataset.id]):
                model = await self._model(user.id)
                if model is not None and model.version:
                    entries.append(self._entry("trained on it", model))
            return entries
        waiting = [found.model.id] if found.model else []
        seen, forms = set(waiting), set(waiting)
        while waiting and len(seen) < _MOST_MODELS:
            above = waiting.pop(0)
            for child in await self._store.models.children(above):
                if child.id in seen:
                    continue
                seen.add(child.id)
                waiting.append(child.id)
                relation = "in turn"
                if above in forms:
                    relation = "made of it" if child.parent else "trained from it"
                if child.parent in forms:
                    forms.add(child.id)
                entries.append(self._entry(relation, child))
        return entries

    async def _dataset(
        self, found: _Found, chain: list[LineageModel], jobs: list[Job]
    ) -> DatasetVersion | None:
        """What the nearest training of the chain was trained on."""
        ids = [found.model.dataset] if found.model else []
        ids += [each.dataset for each in jobs if each.kind.value in ("train", "evaluate")]
        wanted = next(filter(None, ids), None)
        if wanted is None:
            if found.model is not None and found.model.kind.value not in ("base", "hosted"):
                found.gaps.append(_("No data set is known for it."))
            return None
        version = await self._store.datasets.get(wanted, deleted=True)
        if version is None:
            gone = _("The data set {dataset} is not known any more.")
            found.gaps.append(gone.format(dataset=visible(wanted)))
        return version

    async def _rows(
        self,
        context: Context,
        found: _Found,
        dataset: DatasetVersion | None,
        request: LineageRequest,
    ) -> list[KeptRecord]:
        if dataset is None or not request.limit:
            return []
        asked = RowsInput(
            dataset=dataset.id,
            text=request.text,
            limit=1 if request.row else request.limit,
            offset=request.row - 1 if request.row else 0,
        )
        try:
            listed: KeptList = await DatasetsService(self._store.datasets).rows(context, asked)
        except NotFoundError as problem:
            gone = _("The rows of {dataset} can't be shown. {what}")
            found.gaps.append(gone.format(dataset=dataset.id, what=problem.what))
            return []
        if not listed.items and (request.row or request.text):
            found.gaps.append(_("No record of the data set is the one that was asked for."))
        if any(each.source is None for each in listed.items):
            found.gaps.append(
                _("Records without a source row come from a file that Sophia did not collect.")
            )
        return listed.items


def _only_named(found: _Found, model_id: str) -> None:
    found.name = model_id
    told = _("Of {model} nothing but the name is known.")
    found.gaps.append(told.format(model=visible(model_id)))


def _job_view(job: Job) -> LineageJob:
    return LineageJob(
        id=job.id,
        kind=job.kind.value,
        status=job.state,
        by=job.created_by,
        at=job.created_at,
        steps=job.step,
        loss=job.loss,
        dataset=job.dataset,
    )


def _dataset_view(version: DatasetVersion) -> LineageDataset:
    sources = [
        str(each.get("file") or "")
        for each in version.manifest.get("sources") or []
        if isinstance(each, dict)
    ]
    return LineageDataset(
        id=version.id,
        counts=version.counts,
        sources=[each for each in sources if each],
        deleted_at=version.deleted_at,
        notice=notice_text(version),
    )
