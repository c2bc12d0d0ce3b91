"""Parity: whether what was made of an adapter answers as base and adapter do; a run compares."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.models import CheckKind, Model, ModelCheck, ModelKind
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Clock, EngineHost, Store
from sophia_tui.domain.serving import Deployment
from sophia_tui.errors import ConflictError, NotFoundError, UsageError
from sophia_tui.i18n import N_, _, get_language
from sophia_tui.services.job_states import has_ended
from sophia_tui.services.merge import is_whole
from sophia_tui.services.model_parity_views import ParityView
from sophia_tui.services.models import unknown_model
from sophia_tui.services.operations import operation
from sophia_tui.services.train import chosen_threads, new_job_id, require_training_packages
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from finetune.schema import ParityTarget
    from sophia_tui.settings import Settings

#: A served, exported or merged model is made of another; so many steps back at most.
_GENERATIONS = 5
_LOOKED_AT = 500


class ParityRequest(Input):
    model: str = Field(
        description=N_("The model's id, or a name that is served; what was made of it is compared.")
    )
    served: str | None = Field(
        default=None,
        description=N_("Of the served names only this one; default: all that serve the model."),
    )
    held_out: int = Field(
        default=4,
        ge=0,
        le=200,
        description=N_("How many held-out questions are asked beside the fixed prompts."),
    )


class AlikeRequest(Input):
    model: str = Field(description=N_("The model's id, or a check's (ftjob-…)."))


class ModelParityService:
    """Queues parity checks and shows what came of them."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        clock: Clock,
        wake: Callable[[], Awaitable[None]],
        engines: EngineHost,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._wake = wake
        self._engines = engines

    @operation(
        "models.parity",
        N_("Check that the merged, exported and served forms of a model answer as trained."),
        role=Role.OPERATOR,
        writes=True,
        target="model",
        makes="id",
        positional=("model",),
    )
    async def parity(self, context: Context, request: ParityRequest) -> JobView:
        """Raises NotFoundError M404, M561, UsageError M560, ConflictError M562, M563, NotFoundError
        M564, UnavailableError J501; nothing is queued then. A check of the same forms that is under
        way is shown and not doubled."""
        model, served = await self._asked(request)
        adapter = await self._adapter(model)
        family = await self._family(model)
        targets = await self._targets(family, served)
        if not targets:
            raise ConflictError(
                "M563",
                _("There is nothing yet to compare {model} with.").format(model=model.id),
                _("It is neither merged nor exported nor served."),
                _(
                    "Merge it first: `sophia models merge {model}`; or serve it: "
                    "`sophia serve model {model}`."
                ).format(model=adapter.id),
            )
        job = await self._job(context, model, adapter, targets, request.held_out)
        living = await self._under_way(job)
        if living is None:
            require_training_packages()
            await self._store.jobs.add(job)
        await self._wake()
        return JobView.of(living or job)

    @operation(
        "models.alike",
        N_("Show how far each form of a model is from base and adapter, by its newest check."),
        target="model",
        positional=("model",),
    )
    async def alike(self, context: Context, request: AlikeRequest) -> ParityView:
        """Raises NotFoundError M404, M564 (not checked yet)."""
        import asyncio

        check = await self._store.checks.get(request.model)
        if check is None or check.kind is not CheckKind.PARITY:
            model = await self._store.models.get(request.model)
            if model is None:
                raise unknown_model(textsafe.visible(request.model))
            check = await newest(self._store, model)
            if check is None:
                raise _not_checked(model)
        changed = await asyncio.to_thread(changed_forms, check)
        running = next(
            (
                job.id
                for job in await self._store.jobs.page(limit=50, kinds=(JobKind.PARITY.value,))
                if job.model_id == check.model_id and not has_ended(job)
            ),
            None,
        )
        return ParityView.of(check, changed, running)

    async def _asked(self, request: ParityRequest) -> tuple[Model, str | None]:
        """The model that is meant, and the served name that alone is asked, where one is."""
        model = await self._store.models.get(request.model)
        served = request.served
        if model is None:
            deployment = await self._store.deployments.get(request.model)
            if deployment is None or deployment.state.ended:
                raise unknown_model(textsafe.visible(request.model))
            model = await self._store.models.get(deployment.model_id)
            if model is None:
                raise unknown_model(deployment.model_id)
            served = served or deployment.name
        return model, served

    async def _adapter(self, model: Model) -> Model:
        found: Model | None = model
        for _generation in range(_GENERATIONS):
            if found is None or found.kind is ModelKind.ADAPTER:
                break
            found = await self._store.models.get(found.parent) if found.parent else None
        if found is None or found.path is None or found.kind is not ModelKind.ADAPTER:
            raise UsageError(
                "M560",
                _("{model} is not made of an adapter of this machine.").format(model=model.id),
                _("There is no base with an adapter that it could be compared with."),
                _("`sophia models list` shows the kind of each model."),
            )
        if not (Path(found.path) / "adapter_config.json").is_file():
            raise NotFoundError(
                "M432",
                _("The adapter of model {model} is not there.").format(model=found.id),
                found.path,
                _("Put the folder back, or train again."),
            )
        return found

    async def _family(self, model: Model) -> list[Model]:
        """The model and what was made of it."""
        known = await self._store.models.page(limit=_LOOKED_AT)
        family = [model]
        for _generation in range(_GENERATIONS):
            ids = {each.id for each in family}
            more = [each for each in known if each.parent in ids and each.id not in ids]
            if not more:
                break
            family += more
        return family

    async def _targets(self, family: Sequence[Model], served: str | None) -> list["ParityTarget"]:
        from finetune.schema import ParityTarget

        adapters = {each.id for each in family if each.kind is ModelKind.ADAPTER}
        found = []
        for each in family:
            if each.kind is ModelKind.MERGED and is_whole(each):
                found.append(ParityTarget(name=each.id, kind="merged", path=each.path or ""))
            elif each.parent in adapters:  # the adapter alone is no model that could answer
                continue
            elif each.kind is ModelKind.EXPORTED and (file := exported_file(each)):
                made_of = await self._rounded(each)
                target = ParityTarget(name=each.id, kind="exported", path=str(file))
                found.append(target.model_copy(update={"made_of": made_of}))
        by_id = {each.id: each for each in family}
        for deployment in await self._deployments(by_id, served):
            model = by_id[deployment.model_id]
            target = self._served(deployment, model)
            found.append(target.model_copy(update={"made_of": await self._rounded(model)}))
        return found

    async def _deployments(
        self, family: Mapping[str, Model], served: str | None
    ) -> list[Deployment]:
        if served is not None:
            one = await self._store.deployments.get(served)
            if one is None or one.state.ended:
                raise NotFoundError(
                    "M561",
                    _("No model is served as {name}.").format(name=textsafe.visible(served)),
                    remedy=_("`sophia serve list` lists them."),
                )
            if one.model_id not in family:
                raise ConflictError(
                    "M562",
                    _("The name {name} is another model's.").format(name=one.name),
                    _("It stands for {model}.").format(model=one.model_id),
                    _("Name a model and what serves it, or that one: `{command}`.").format(
                        command=f"sophia models parity {one.model_id}"
                    ),
                )
            return [one]
        living = await self._store.deployments.page(limit=_LOOKED_AT, living=True)
        return [
            each
            for each in living
            if each.model_id in family
            and (each.identity is None or each.identity.host == self._engines.host)
        ]

    async def _rounded(self, model: Model) -> str | None:
        """The precision of the merged model that an exported one was written from, as its merge was
        asked for: the merged files themselves may be gone."""
        if model.kind is not ModelKind.EXPORTED or model.parent is None:
            return None
        merged = await self._store.models.get(model.parent)
        job = await self._store.jobs.get(merged.job_id) if merged and merged.job_id else None
        run = (job.request.get("run") or {}) if job and job.kind is JobKind.MERGE else {}
        dtype = (run.get("merge") or {}).get("dtype")
        return dtype if isinstance(dtype, str) else None

    def _served(self, deployment: Deployment, model: Model) -> "ParityTarget":
        from finetune.schema import ParityTarget

        port = deployment.port
        return ParityTarget(
            name=deployment.name,
            kind="served",
            path=model.path or "",
            address=f"{self._settings.api_url.rstrip('/')}/v1",
            engine=deployment.engine,
            engine_address=f"http://127.0.0.1:{port}" if port else None,
            engine_folder=deployment.folder,
        )

    async def _job(
        self,
        context: Context,
        model: Model,
        adapter: Model,
        targets: list["ParityTarget"],
        held_out: int,
    ) -> Job:
        from finetune.schema import ParitySettings, Recipe, RunSpec

        training = await self._store.jobs.get(adapter.job_id) if adapter.job_id else None
        recipe = (training.request.get("run", {}) if training else {}).get("recipe") or {}
        version = await self._store.datasets.get(adapter.dataset) if adapter.dataset else None
        job_id = new_job_id()
        run = RunSpec(
            job_id=job_id,
            kind="parity",
            base=adapter.base,
            dataset_path=version.folder if version else None,
            dataset_hash=version.hash if version else None,
            recipe=Recipe.model_validate(recipe),  # it says in which form prompts were put
            threads=chosen_threads(self._settings),
            adapter_path=adapter.path,
            parity=ParitySettings(
                targets=targets,
                held_out=held_out if version else 0,
                seconds=self._settings.parity_seconds,
                ready_seconds=self._settings.serving_ready_seconds,
            ),
        )
        return Job(
            id=job_id,
            kind=JobKind.PARITY,
            state=JobState.QUEUED.value,
            base=adapter.base,
            dataset=adapter.dataset,
            request={"run": run.model_dump(mode="json"), "language": get_language()},
            created_by=context.actor,
            created_at=self._clock.now(),
            model_id=model.id,
        )

    async def _under_way(self, job: Job) -> Job | None:
        """A check of the same model and forms that has not ended."""
        wanted = job.request["run"]["parity"]
        for each in await self._store.jobs.page(limit=50, kinds=(JobKind.PARITY.value,)):
            run = each.request.get("run") or {}
            if (
                each.model_id == job.model_id
                and not has_ended(each)
                and each.wanted != "cancel"
                and run.get("parity") == wanted
            ):
                return each
        return None


def exported_file(model: Model) -> Path | None:
    """The .gguf file of an exported model, where it is there and no adapter's."""
    path = Path(model.path or "")
    if path.is_dir():
        path = next(iter(sorted(path.glob("*.gguf"))), path)
    return path if path.is_file() and path.suffix == ".gguf" else None


async def newest(store: Store, model: Model) -> ModelCheck | None:
    """The newest parity check of a model, or of what it was made of."""
    found: list[ModelCheck] = []
    each: Model | None = model
    for _generation in range(_GENERATIONS):
        if each is None:
            break
        check = await store.checks.newest(each.id, CheckKind.PARITY)
        found += [check] if check else []
        each = await store.models.get(each.parent) if each.parent else None
    return max(found, key=lambda check: check.created_at, default=None)


def changed_forms(check: ModelCheck) -> list[str]:
    """The forms whose files are no more as they were checked, and the adapter's folder where it
    isn't: then a check says nothing of what is there now. A file of the same size and time counts
    as the same; weights are large."""
    report = check.report
    places = [(each["name"], each.get("path"), each["files"]) for each in report["results"]]
    places.append((_("the adapter"), report.get("adapter_path"), report["adapter_files"]))
    return [
        name
        for name, place, files in places
        if not all(_as_it_was(Path(place or ""), file, said) for file, said in files.items())
    ]


def _as_it_was(place: Path, name: str, said: Mapping[str, Any]) -> bool:
    path = place if place.is_file() else place / name
    try:
        found = path.stat()
        if found.st_size != said["bytes"]:
            return False
        if found.st_mtime_ns == said["modified_ns"]:
            return True
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return digest == str(said["sha256"])
    except OSError:
        return False


def _not_checked(model: Model) -> NotFoundError:
    return NotFoundError(
        "M564",
        _("Whether the forms of {model} answer alike was not checked yet.").format(model=model.id),
        remedy=_("Check it: `sophia models parity {model}`.").format(model=model.id),
    )
