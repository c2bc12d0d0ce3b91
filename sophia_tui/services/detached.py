"""Operations in the background: what is stored with their job, and how it is read again.

The job's run is a process of its own (`python -m sophia_tui.worker.detached`), nobody's child like
every run; it does the operation for who asked, with their rights of the moment they asked.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import UsageError
from sophia_tui.i18n import _
from sophia_tui.services.standard_input import STANDARD_INPUT
from sophia_tui.services.train import new_job_id
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings


class Asked(BaseModel):
    """What was asked, by whom, from which folder: the content of operation.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: str
    input: dict[str, object]
    actor: str
    face: Face
    role: Role
    language: str
    confirmed: bool
    inner: bool
    #: Relative paths, and a .env found by where one stands, mean what they meant for who asked.
    folder: str


async def queue(
    store: Store,
    clock: Clock,
    settings: "Settings",
    name: str,
    request: BaseModel,
    context: Context,
) -> JobView:
    """A new job that does this operation.

    Raises UsageError U407 for standard input, UnavailableError where the store is away.
    """
    if STANDARD_INPUT in request.model_dump().values():
        raise UsageError(
            "U407",
            _("Standard input can't be read in the background."),
            _("It ends with the terminal, and the job does not."),
            _("Write it into a file and name that, or leave --detach out."),
        )
    asked = Asked(
        operation=name,
        input=request.model_dump(mode="json", exclude_unset=True),
        actor=context.actor,
        face=context.face,
        role=context.role,
        language=context.language,
        confirmed=context.confirmed,
        inner=context.inner,
        folder=str(_standing(settings)),
    )
    job = Job(
        id=new_job_id(),
        kind=JobKind.DATA,
        state=JobState.QUEUED.value,
        base=name,
        dataset=None,
        request={"asked": asked.model_dump(mode="json"), "language": context.language},
        created_by=context.actor,
        created_at=clock.now(),
    )
    await store.jobs.add(job)
    return JobView.of(job)


def _standing(settings: "Settings") -> Path:
    try:
        return Path.cwd()
    except OSError:  # the folder was removed under us
        return settings.root
