"""The door that scripts know: merge FINETUNE_DIR, prepare, create a job, or follow one.

Each step is the same operation that a person would ask for: nothing is done here that a face could
not do by itself.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr

from sophia_tui.domain.context import Context, Face, Progress, Role
from sophia_tui.domain.jobs import JobState
from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_, _
from sophia_tui.services.operations import operation
from sophia_tui.services.train import require_recipe_name
from sophia_tui.services.views import ENDED_BADLY, JobView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

Call = Callable[[str, Mapping[str, Any], Context], Awaitable[Any]]

#: The data set that FINETUNE_DIR becomes by this door.
DATASET = "finetune"
_A_WEEK = 604_800


class FinetuneRequest(Input):
    status: str | None = Field(
        default=None,
        description=N_("A job that exists (ours, ftjob-…, or the provider's id): show it."),
    )
    watch: bool = Field(
        default=False, description=N_("Follow the job until it ends, in place of a first answer.")
    )
    timeout: float | None = Field(
        default=None,
        gt=0,
        le=_A_WEEK,
        allow_inf_nan=False,
        description=N_("Seconds to follow at most; over HTTP SOPHIA_WATCH_SECONDS by default."),
    )
    base: str | None = Field(
        default=None,
        description=N_("The base model of a new job; default FINETUNE_BASE."),
    )
    recipe: str | None = Field(
        default=None, description=N_("A recipe's name, or a YAML file; default SOPHIA_RECIPE.")
    )


class FinetuneView(Output):
    """The answer that scripts know, with exactly these fields."""

    id: str = Field(title=N_("Job"))
    status: str = Field(title=N_("State"))
    base: str = Field(title=N_("Base"))
    files: list[str] = Field(title=N_("Files"))
    resulting_model: str | None = Field(default=None, title=N_("Resulting model"))
    error: dict[str, Any] | None = Field(default=None, title=N_("Error"))

    _watched: bool = PrivateAttr(default=False)
    _next: list[str] = PrivateAttr(default_factory=list)

    @classmethod
    def of(cls, job: JobView, watched: bool) -> "FinetuneView":
        """`watched` says that who asked wanted to see the job's end."""
        view = cls(
            id=job.id,
            status=job.status,
            base=job.base,
            files=job.files,
            resulting_model=job.resulting_model,
            error=job.error,
        )
        view._watched = watched
        if job.status == JobState.SUCCEEDED and job.resulting_model:
            view._next = _next_commands(job.resulting_model, here=job.provider is None)
        return view

    def exit_code(self) -> int:
        """A job that was watched must not end badly; that it still goes on is no failure."""
        return int(self._watched and self.status in ENDED_BADLY)

    def remarks(self) -> list[str]:
        return self._next


def _next_commands(model: str, here: bool) -> list[str]:
    """What a person does with a new model; a hosted one is served and measured where it lives."""
    lines = [_("Promote it: `sophia promote {model}`.").format(model=model)]
    if here:
        lines = [
            _("Measure it: `sophia evaluate {model}`.").format(model=model),
            _("Serve it: `sophia serve model {model}`.").format(model=model),
            *lines,
        ]
    return lines


class FinetuneService:
    """Calls `prepare`, `train` and `jobs`; `call` is the dispatcher's: role, audit, errors as ever.

    What a job is about stands in its own row and in history.jsonl.
    """

    def __init__(self, call: Call, settings: "Settings") -> None:
        self._call = call
        self._settings = settings

    @operation(
        "finetune.run",
        N_("Merge FINETUNE_DIR, prepare it and create a job; or show and follow a job."),
        role=Role.OPERATOR,
        writes=True,
        trains=True,
        streams=True,
        target="status",
    )
    async def run(self, context: Context, request: FinetuneRequest) -> FinetuneView:
        """Raises NotFoundError J404, RefusedError J449, and whatever prepare.run and train.start
        raise."""
        if request.status is None:
            job = await self._create(context, request)
        else:
            job = await self._call("jobs.show", {"job": request.status}, context)
        if request.watch:
            job = await self._call(
                "jobs.watch",
                {"job": job.id, "timeout_seconds": self._limit(context, request)},
                context,
            )
        return FinetuneView.of(job, request.watch)

    async def _create(self, context: Context, request: FinetuneRequest) -> JobView:
        require_recipe_name(context, request.recipe)
        prepared = await self._call("prepare.run", {"name": DATASET}, context)
        for warning in [
            *prepared.warnings,
            _("Data set: {dataset}").format(dataset=prepared.dataset.id),
        ]:
            context.progress(Progress(warning, 0))
        asked: dict[str, Any] = {"dataset": prepared.dataset.id}
        for name in ("base", "recipe"):
            if getattr(request, name) is not None:
                asked[name] = getattr(request, name)
        # the documents' request has no field for a yes: ALLOW_FINETUNE is the standing one, and a
        # budget still holds
        job: JobView = await self._call("train.start", asked, replace(context, confirmed=True))
        for warning in job.warnings:
            context.progress(Progress(warning, 0))
        return job

    def _limit(self, context: Context, request: FinetuneRequest) -> float | None:
        """A person at a terminal waits as long as they like; an answer over HTTP is not held for
        ever."""
        held = self._settings.watch_seconds if context.face is Face.API else None
        return request.timeout or held
