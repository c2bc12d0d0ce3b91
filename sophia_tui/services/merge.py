"""Merge: an adapter and its base as one plain model that an engine can serve; a worker does it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Progress, Role
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.models import Model, ModelKind, merged_id
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import ConflictError, JobError, NotFoundError, UsageError
from sophia_tui.i18n import N_, _, get_language
from sophia_tui.paths import Paths
from sophia_tui.services.job_states import has_ended
from sophia_tui.services.models import known_model
from sophia_tui.services.operations import operation
from sophia_tui.services.room import bytes_of_weights, require_room
from sophia_tui.services.train import chosen_threads, new_job_id, require_training_packages
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

Dtype = Literal["bfloat16", "float16", "float32"]
_WAIT_SECONDS = 0.5
_CARE_ROUNDS = 20  # how many looks until a worker that died is brought back
_STOPPED = frozenset((JobState.PAUSED.value, JobState.CANCELLED.value, JobState.FAILED.value))
#: Stages of a merge, as its run names them, for people.
STAGE_WORDS = {
    "load": N_("loading the base"),
    "merge": N_("merging"),
    "write": N_("writing"),
    "check": N_("checking"),
}


class MergeRequest(Input):
    model: str = Field(description=N_("The adapter's id, e.g. sophia-v1."))
    dtype: Dtype = Field(
        default="bfloat16",
        description=N_("The 16 bits that the weights are written in; float32 rounds nothing."),
    )


class MergeService:
    """Queues merges, and waits for them where somebody needs the result."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        clock: Clock,
        wake: Callable[[], Awaitable[None]],
        paths: Paths,
    ) -> None:
        self._store = store
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._wake = wake

    @operation(
        "models.merge",
        N_("Merge an adapter into its base, in 16 bits, so that it can be served."),
        role=Role.OPERATOR,
        writes=True,
        target="model",
        makes="id",
        positional=("model",),
    )
    async def merge(self, context: Context, request: MergeRequest) -> JobView:
        """Raises NotFoundError M404, M432, UsageError M431, ConflictError M433, UnavailableError
        J501, SetupError M520. A merge that is under way is shown and not doubled."""
        adapter = await known_model(self._store, request.model, self._clock.now())
        merged = await whole_merged(self._store, adapter.id)
        if merged is not None:
            raise ConflictError(
                "M433",
                _("{model} is merged already.").format(model=adapter.id),
                _("It is {merged}, in {path}.").format(merged=merged.id, path=merged.path),
                _("Serve it: `sophia serve model {model}`.").format(model=adapter.id),
            )
        return JobView.of(await self.begin(context, adapter, request.dtype))

    async def begin(
        self,
        context: Context,
        adapter: Model,
        dtype: Dtype = "bfloat16",
    ) -> Job:
        """The merge of this adapter that is under way, else a new one."""
        folder = adapter_folder(adapter)
        for job in await self._store.jobs.page(limit=50, kinds=(JobKind.MERGE.value,)):
            if job.model_id == adapter.id and not has_ended(job):
                await self._wake()
                return job
        require_training_packages()
        needed = bytes_of_weights(adapter.base, 32 if dtype == "float32" else 16)
        require_room(self._paths.runs, needed, merged_id(adapter.id))
        job = await self._job(context, adapter, folder, dtype)
        await self._store.jobs.add(job)
        await self._wake()
        return job

    async def finished(self, context: Context, job_id: str) -> Model:
        """Wait for a merge; the merged model. Raises JobError M434, CancelledError U499."""
        import asyncio

        rounds = 0
        goes_on = _(
            "The merge {job} goes on by itself: `sophia jobs cancel {job}` ends it."
        ).format(job=job_id)
        while True:
            context.cancel.check(goes_on)
            job = await self._store.jobs.get(job_id)
            if job is None or job.state in _STOPPED:
                raise _not_merged(job_id, job)
            if job.state == JobState.SUCCEEDED and job.resulting_model:
                merged = await self._store.models.get(job.resulting_model)
                if merged is not None:
                    return merged
            events = await self._store.jobs.events(job_id, max(0, job.last_event - 3), 3)
            context.progress(_progress(job, [event.data.get("phase") for event in events]))
            rounds += 1
            if rounds % _CARE_ROUNDS == 0:
                await self._wake()
            await asyncio.sleep(_WAIT_SECONDS)

    async def _job(self, context: Context, adapter: Model, folder: str, dtype: Dtype) -> Job:
        from finetune.schema import MergeSettings, Recipe, RunSpec

        training = await self._store.jobs.get(adapter.job_id) if adapter.job_id else None
        recipe = (training.request.get("run", {}) if training else {}).get("recipe") or {}
        job_id = new_job_id()
        run = RunSpec(
            job_id=job_id,
            kind="merge",
            base=adapter.base,
            recipe=Recipe.model_validate(recipe),  # it says in which form prompts were put
            threads=chosen_threads(self._settings),
            adapter_path=folder,
            merge=MergeSettings(dtype=dtype),
        )
        return Job(
            id=job_id,
            kind=JobKind.MERGE,
            state=JobState.QUEUED.value,
            base=adapter.base,
            dataset=adapter.dataset,
            request={"run": run.model_dump(mode="json"), "language": get_language()},
            created_by=context.actor,
            created_at=self._clock.now(),
            model_id=adapter.id,
        )


async def whole_merged(store: Store, adapter_id: str) -> Model | None:
    """The merged model of an adapter, where its folder is whole."""
    merged = await store.models.get(merged_id(adapter_id))
    return merged if merged is not None and is_whole(merged) else None


def is_whole(merged: Model) -> bool:
    """Whether every file that the merge wrote is there in its size."""
    from finetune.schema import MANIFEST_FILE, ContractError, RunManifest, read_document

    folder = Path(merged.path or "")
    try:
        written = read_document(folder.parent / MANIFEST_FILE, RunManifest).merged_files
        sizes = {name: (folder / name).stat().st_size for name in written}
    except (ContractError, OSError):
        return False
    return bool(written) and all(sizes[name] == each.bytes for name, each in written.items())


def adapter_folder(model: Model) -> str:
    """Where an adapter of this machine lies. Raises UsageError M431, NotFoundError M432."""
    if model.kind is not ModelKind.ADAPTER or model.path is None:
        raise UsageError(
            "M431",
            _("{model} is no adapter of this machine, so there is nothing to merge.").format(
                model=model.id
            ),
            _("Its kind is {kind}.").format(kind=_(model.kind.value)),
            _("`sophia models list` shows the kind of each model."),
        )
    if not (Path(model.path) / "adapter_config.json").is_file():
        raise NotFoundError(
            "M432",
            _("The adapter of model {model} is not there.").format(model=model.id),
            model.path,
            _("Put the folder back, or train again."),
        )
    return model.path


def _not_merged(job_id: str, job: Job | None) -> JobError:
    told: dict[str, Any] = (job.error if job else None) or {}
    state = job.state if job else _("unknown")
    return JobError(
        "M434",
        _("The merge {job} did not succeed.").format(job=job_id),
        " ".join(str(told[key]) for key in ("what", "why") if told.get(key))
        or _("Its state is {state}.").format(state=_(state)),
        _("Read `sophia jobs log {job}`, mend the cause, then try again.").format(job=job_id),
    )


def _progress(job: Job, phases: list[Any]) -> Progress:
    phase = next((str(each) for each in reversed(phases) if each in STAGE_WORDS), "")
    stage = _(STAGE_WORDS[phase]) if phase else _("merge {job}").format(job=job.id)
    return Progress(stage, job.step or 0, job.total_steps, _("steps"))
