"""Trainings by the fine-tuning protocol: from uploaded files to a job of the local trainer.

The endpoint /v1/fine_tuning is a door to it. Looking, pausing, resuming and cancelling are the
operations of every job; here is what the protocol adds.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.datasets import CHAT, PAIRS
from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.domain.models import ModelKind, merged_id
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.domain.uploads import FINE_TUNE, UploadedFile
from sophia_tui.errors import (
    ConflictError,
    DataError,
    NotFoundError,
    UsageError,
)
from sophia_tui.i18n import N_, _
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services.job_states import JobEyes
from sophia_tui.services.jobs import unknown_job
from sophia_tui.services.operations import operation
from sophia_tui.services.train import Door, TrainRequest, TrainService, resolve_base
from sophia_tui.services.tuning_views import (
    MOST_METADATA,
    CheckpointList,
    CheckpointView,
    TuningCreate,
    TuningEventList,
    TuningEvents,
    TuningList,
    TuningPage,
    TuningReference,
    TuningView,
)
from sophia_tui.services.views import EventView
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    import asyncio

    from finetune.schema import Recipe
    from sophia_tui.settings import Settings

Call = Callable[[str, Mapping[str, Any], Context], Awaitable[Any]]

#: How long a repeated request finds the job that it has made: one that says so itself, by a key.
KEPT_REPEAT, KEPT_KEY = timedelta(minutes=30), timedelta(days=1)
#: Events of which the protocol knows the like.
_KINDS = ("state", "progress", "metric", "warning", "checkpoint")
_MOST_CHECKPOINTS = 1000


@dataclass(frozen=True)
class _Checked:
    """What a request names, found."""

    training: UploadedFile
    validation: UploadedFile | None
    model: str
    base: str
    metadata: dict[str, str]


class TuningService:
    """Makes trainings of uploaded files, and shows trainings in the terms of the protocol.

    A request that comes again while the first one is not answered yet gets the same answer.
    """

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        clock: Clock,
        call: Call,
        train: TrainService,
        machine: ThisMachine | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._call = call
        self._train = train
        self._eyes = JobEyes(store, settings, clock, machine)
        self._under_way: dict[str, asyncio.Task[TuningView]] = {}
        self._turns: dict[str, asyncio.Lock] = {}  # two preparations of one name would collide

    @operation(
        "tuning.create",
        N_("Train on uploaded files, as /v1/fine_tuning does."),
        role=Role.OPERATOR,
        writes=True,
        trains=True,
        target="file",
        positional=("file",),
    )
    async def create(self, context: Context, request: TuningCreate) -> TuningView:
        """Raises UsageError J603-J607, NotFoundError J608, DataError D390 to D393, ConflictError
        J609, and what prepare.run and train.start raise; no job is made then."""
        import asyncio

        digest = _digest(request)
        under_way = self._under_way.get(digest)
        if under_way is None:
            under_way = asyncio.ensure_future(self._create(context, request, digest))
            self._under_way[digest] = under_way
            under_way.add_done_callback(lambda _done: self._under_way.pop(digest, None))
        # who goes away does not take the work from who waits as well
        return await asyncio.shield(under_way)

    @operation("tuning.list", N_("List the trainings of this machine, newest first."))
    async def page(self, context: Context, request: TuningPage) -> TuningList:
        """Raises NotFoundError J404 for an unknown `after`."""
        if request.after is not None:
            await self._get(request.after)
        wanted = _metadata(request.metadata)
        found = await self._store.trainings.page(request.limit + 1, request.after, wanted)
        jobs = found[: request.limit]
        now = self._clock.now()
        states = [view.status for view in await self._eyes.views(jobs)]
        items = [TuningView.of(job, state, now) for job, state in zip(jobs, states, strict=True)]
        return TuningList(items=items, more=len(found) > request.limit)

    @operation(
        "tuning.show",
        N_("Show a training of this machine as /v1/fine_tuning does."),
        target="job",
        positional=("job",),
    )
    async def show(self, context: Context, request: TuningReference) -> TuningView:
        """Raises NotFoundError J404."""
        return await self._view(await self._get(request.job))

    @operation(
        "tuning.events",
        N_("Show what a training told, newest first."),
        target="job",
        positional=("job",),
    )
    async def events(self, context: Context, request: TuningEvents) -> TuningEventList:
        """Raises NotFoundError J404."""
        job = await self._get(request.job)
        found = await self._store.trainings.events_before(
            job.id, request.before, request.limit + 1, _KINDS
        )
        return TuningEventList(
            job=job.id,
            created_at=job.created_at,
            resulting_model=job.resulting_model,
            items=[EventView.of(each) for each in found[: request.limit]],
            more=len(found) > request.limit,
        )

    @operation(
        "tuning.checkpoints",
        N_("List the checkpoints of a training that are there."),
        target="job",
        positional=("job",),
    )
    async def checkpoints(self, context: Context, request: TuningReference) -> CheckpointList:
        """Raises NotFoundError J404."""
        job = await self._get(request.job)
        events = await self._store.trainings.events_before(
            job.id, None, _MOST_CHECKPOINTS, ("checkpoint", "metric")
        )
        losses: dict[int, dict[str, Any]] = {}
        for each in events:
            if each.kind == "metric" and isinstance(step := each.data.get("step"), int):
                losses[step] = {**each.data, **losses.get(step, {})}
        items: dict[int, CheckpointView] = {}
        for each in events:
            path, step = str(each.data.get("path") or ""), each.data.get("step")
            folder = Path(job.run_folder or "") / path
            if each.kind != "checkpoint" or not isinstance(step, int) or not folder.is_dir():
                continue
            items.setdefault(
                step,
                CheckpointView(
                    step=step,
                    at=each.at,
                    name=f"{job.id}:ckpt-step-{step}",
                    path=str(folder),
                    train_loss=losses.get(step, {}).get("loss"),
                    valid_loss=losses.get(step, {}).get("eval_loss"),
                ),
            )
        return CheckpointList(job=job.id, items=list(items.values()))

    # --- create ---

    async def _create(self, context: Context, request: TuningCreate, digest: str) -> TuningView:
        import asyncio

        made = await self._made_before(request, digest)
        if made is not None:
            return await self._view(made)
        checked = await self._checked(request)
        name = _dataset_name(checked.training.filename)
        async with self._turns.setdefault(name, asyncio.Lock()):
            prepared = await self._prepare(context, checked, name, request.method)
        counts = prepared.dataset.counts
        asked = {
            "key": request.key,
            "digest": digest,
            "model": checked.model,
            "training_file": checked.training.id,
            "validation_file": checked.validation.id if checked.validation else None,
            "learning_rate_multiplier": request.learning_rate_multiplier,
            "suffix": request.suffix,
            "metadata": checked.metadata,
            "rows_kept": counts["rows_kept"],
            "rows_rejected": counts["rows_rejected"],
        }
        door = Door(
            request={
                "tuning": asked,
                "model_prefix": _prefix(request.suffix),
            },
            changes=lambda recipe: _changes(recipe, request),
            warnings=tuple(prepared.warnings),
        )
        started = await self._train.begin(
            replace(context, confirmed=True),  # the protocol knows no second question
            TrainRequest(
                dataset=prepared.dataset.id,
                base=checked.base,
                provider="local",
                epochs=request.n_epochs,
                seed=request.seed,
                beta=request.beta,
            ),
            door,
        )
        return await self._view(await self._get(started.id))

    async def _made_before(self, request: TuningCreate, digest: str) -> Job | None:
        """The job that this very request has made already. Raises ConflictError J609."""
        now = self._clock.now()
        if request.key:
            part: dict[str, Any] = {"tuning": {"key": request.key}}
            made = await self._store.trainings.newest(part, now - KEPT_KEY)
            if made is not None and made.request["tuning"]["digest"] != digest:
                raise ConflictError(
                    "J609",
                    _("The key of this request was used for another one."),
                    _("Job {job} was made with it.").format(job=made.id),
                    _("Send a new key with a new request."),
                    openai={"code": "idempotency_error"},
                )
            return made
        if request.again:
            part = {"tuning": {"digest": digest}}
            return await self._store.trainings.newest(part, now - KEPT_REPEAT)
        return None

    async def _checked(self, request: TuningCreate) -> _Checked:
        if request.beta is not None and request.method != "dpo":
            raise UsageError(
                "J603",
                _("A beta is for the method dpo alone."),
                remedy=_("Leave it out, or take the method dpo."),
                openai={"code": "invalid_value", "param": "beta"},
            )
        metadata = _metadata(request.metadata)
        model, base = await self._base(request.model)
        return _Checked(
            training=await self._file(request.file, "training_file"),
            validation=await self._file(request.validation_file, "validation_file")
            if request.validation_file
            else None,
            model=model,
            base=base,
            metadata=metadata or {},
        )

    async def _file(self, file_id: str, param: str) -> UploadedFile:
        found = await self._store.files.get(file_id)
        if found is None or found.purpose != FINE_TUNE or not Path(found.path).is_file():
            raise UsageError(
                "J604",
                _("There is no file {file} to train on.").format(file=visible(file_id)[:100]),
                _("It was not sent, was deleted, or is for another purpose.")
                if found is None or found.purpose != FINE_TUNE
                else _("It lies on the machine {host}.").format(host=found.host),
                _("Send it to POST /v1/files with the purpose fine-tune."),
                openai={"code": f"invalid_{param}", "param": param},
            )
        return found

    async def _base(self, named: str | None) -> tuple[str, str]:
        """The model as it was asked for, and the base that it means."""
        asked = named or self._settings.finetune_base
        if not asked:
            raise UsageError(
                "J605",
                _("No model is named."),
                _("FINETUNE_BASE is not set, and none was given."),
                _("Name one as `model`."),
                openai={"code": "missing_required_parameter", "param": "model"},
            )
        known = await self._known_model(asked)
        if known is not None:
            return asked, known
        meant = asked if self._own(asked) else self._alias(asked)
        if not meant:
            raise _no_model(asked)
        try:
            return asked, resolve_base(meant, self._settings)
        except NotFoundError as problem:
            raise _no_model(asked) from problem

    def _own(self, name: str) -> bool:
        """Whether the name could be a base of this machine: FINETUNE_BASE, a path, a hub id."""
        return name == self._settings.finetune_base or "/" in name or name.endswith(".gguf")

    def _alias(self, name: str) -> str | None:
        """What SOPHIA_TUNING_BASES says that a name stands for."""
        pairs = [each.partition("=") for each in self._settings.tuning_bases.split(",")]
        stands = {key.strip(): base.strip() for key, _sign, base in pairs if base.strip()}
        return stands.get(name, stands.get("*"))

    async def _known_model(self, name: str) -> str | None:
        """The folder of a model that Sophia knows, or that is served by that name."""
        model = await self._store.models.get(name)
        if model is None:
            deployment = await self._store.deployments.get(name)
            model = await self._store.models.get(deployment.model_id) if deployment else None
        if model is None or model.kind is ModelKind.HOSTED:
            return None
        if model.kind is ModelKind.BASE and not model.path:
            return None  # a hub id, say
        if model.kind is ModelKind.ADAPTER:
            model = await self._store.models.get(merged_id(model.id))
        if model is None or not model.path:
            raise UsageError(
                "J606",
                _("The model {model} is an adapter and is not merged.").format(model=name),
                _("A training goes on from whole weights."),
                _("Merge it first: `sophia models merge {model}`.").format(model=name),
                openai={"code": "model_not_merged", "param": "model"},
            )
        return resolve_base(model.path, self._settings)

    async def _prepare(self, context: Context, checked: _Checked, name: str, method: str) -> Any:
        from sophia_tui.datasets.process import run_engine
        from sophia_tui.datasets.tasks import CheckTask

        training = Path(checked.training.path)
        validation = Path(checked.validation.path) if checked.validation else None
        held_out = str(validation) if validation else None
        check = CheckTask(context.language, str(training), True, held_out, method == "dpo")
        await run_engine(check, context)
        try:
            return await self._call(
                "prepare.run",
                {
                    "folder": str(training.parent),
                    "files": [each.name for each in (training, validation) if each],
                    "held_out": [validation.name] if validation else [],
                    "split": "100/0",
                    "name": name,
                    "form": PAIRS if method == "dpo" else CHAT,
                },
                replace(context, inner=True),
            )
        except DataError as problem:
            problem.details.setdefault(
                "openai", {"code": "invalid_training_file", "param": "training_file"}
            )
            raise

    async def _get(self, job_id: str) -> Job:
        job = await self._store.jobs.get(job_id)
        if job is None or job.kind is not JobKind.TRAIN or job.provider != "local":
            problem = unknown_job(job_id)
            problem.details["openai"] = {
                "code": "fine_tune_not_found",
                "param": "fine_tuning_job_id",
            }
            raise problem
        return job

    async def _view(self, job: Job) -> TuningView:
        seen = await self._eyes.view(job)
        return TuningView.of(job, seen.status, self._clock.now())


def _no_model(name: str) -> NotFoundError:
    return NotFoundError(
        "J608",
        _("The model `{model}` does not exist or can't be trained here.").format(
            model=visible(name)[:200]
        ),
        remedy=_(
            "Name a folder, a hub id or a model that Sophia knows; SOPHIA_TUNING_BASES says what "
            "other names stand for."
        ),
        openai={"code": "model_not_found", "param": "model"},
    )


def _digest(request: TuningCreate) -> str:
    """What makes a request the same one."""
    plain = request.model_dump(mode="json", exclude={"key", "again"})
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _metadata(text: str | None) -> dict[str, str] | None:
    """Raises UsageError J607."""
    if text is None:
        return None
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        plain = None
    if (
        not isinstance(plain, dict)
        or len(plain) > MOST_METADATA
        or not all(
            isinstance(value, str) and len(key) <= 64 and len(value) <= 512
            for key, value in plain.items()
        )
    ):
        raise UsageError(
            "J607",
            _("`metadata` can't be used."),
            _("It holds at most 16 texts of 512 characters, under keys of at most 64."),
            openai={"code": "invalid_metadata", "param": "metadata"},
        )
    return plain


def _dataset_name(filename: str) -> str:
    stem = re.sub(r"[^a-z0-9_-]+", "-", Path(filename).stem.lower()).strip("-_")
    return f"upload-{stem}"[:60].rstrip("-_") if stem else "upload"


def _prefix(suffix: str | None) -> str | None:
    """What the new model's id begins with."""
    slug = re.sub(r"[^a-z0-9]+", "-", (suffix or "").lower()).strip("-")
    return f"sophia-{slug}" if slug else None


def _changes(recipe: "Recipe", request: TuningCreate) -> dict[str, Any]:
    """The protocol's hyperparameters as changes of the recipe."""
    found: dict[str, Any] = {}
    if request.batch_size is not None:
        sizes = range(1, min(recipe.batch_size, request.batch_size) + 1)
        micro = max(each for each in sizes if request.batch_size % each == 0)
        found["batch_size"] = micro
        found["gradient_accumulation"] = request.batch_size // micro
    if request.learning_rate_multiplier is not None:
        found["learning_rate"] = recipe.learning_rate * request.learning_rate_multiplier
    return found
