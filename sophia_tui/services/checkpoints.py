"""Checkpoints of a job, wherever it trains: those of which its events told and that are there."""

from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from sophia_tui.domain.context import Context
from sophia_tui.domain.jobs import Job, JobEvent
from sophia_tui.domain.operations import Output
from sophia_tui.domain.protocols import Store
from sophia_tui.i18n import N_
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services.job_states import host_of
from sophia_tui.services.jobs import unknown_job
from sophia_tui.services.operations import operation
from sophia_tui.services.views import JobReference

_PAGE = 1000
_LOSSES = ("loss", "eval_loss")


class CheckpointView(Output):
    """One checkpoint. At a provider it is a model with a name; on this machine a folder of the run,
    as long as the run and `prune` keep it. Losses are those of its step, or the last ones before
    it."""

    table_columns: ClassVar[tuple[str, ...]] = ("step", "at", "loss", "eval_loss", "where")

    step: int = Field(title=N_("Step"))
    at: datetime = Field(title=N_("Time"))
    loss: float | None = Field(default=None, title=N_("Loss"))
    eval_loss: float | None = Field(default=None, title=N_("Loss on the held-out part"))
    where: str = Field(default="", title=N_("Where"))
    bytes: int | None = Field(default=None, title=N_("Bytes"))
    metrics: dict[str, Any] = Field(default_factory=dict, title=N_("Metrics"))


class CheckpointList(Output):
    job: str = Field(title=N_("Job"))
    items: list[CheckpointView] = Field(title=N_("Checkpoints"))


class CheckpointsService:
    """Reads events, so every job is told in the same way; a folder that this machine should have
    must be there, those of another machine are told as their job told them."""

    def __init__(self, store: Store, machine: ThisMachine | None = None) -> None:
        self._store = store
        self._machine = machine or ThisMachine.here()

    @operation(
        "jobs.checkpoints",
        N_("List the checkpoints of a job with their losses."),
        target="job",
        positional=("job",),
    )
    async def list(self, context: Context, request: JobReference) -> CheckpointList:
        """Raises NotFoundError J404."""
        job = await self._store.jobs.get(request.job)
        if job is None:
            raise unknown_job(request.job)
        found: list[CheckpointView] = []
        here = host_of(job) in (None, self._machine.host)
        losses: dict[str, Any] = {}
        after = 0
        while page := await self._store.jobs.events(job.id, after, _PAGE):
            after = page[-1].number
            for event in page:
                if event.kind == "metric":
                    losses |= {name: event.data[name] for name in _LOSSES if name in event.data}
                elif event.kind == "checkpoint" and not (here and _is_gone(job, event)):
                    found.append(_view(event, losses))
        return CheckpointList(job=job.id, items=found)


def _is_gone(job: Job, event: JobEvent) -> bool:
    """Whether it is a folder that is no longer there."""
    path = event.data.get("path")
    return path is not None and not (Path(job.run_folder or "") / str(path)).is_dir()


def _view(event: JobEvent, losses: dict[str, Any]) -> CheckpointView:
    data = {**losses, **event.data}
    return CheckpointView(
        step=data.get("step") or 0,
        at=event.at,
        loss=data.get("loss"),
        eval_loss=data.get("eval_loss"),
        where=str(data.get("model") or data.get("path") or ""),
        bytes=data.get("bytes"),
        metrics=data.get("metrics") or {},
    )
