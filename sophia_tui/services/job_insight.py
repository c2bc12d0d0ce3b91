"""A look into jobs: the curves of one, with what it works, and several side by side. Nothing here
changes a job."""

from typing import TYPE_CHECKING

from sophia_tui.domain.context import Context
from sophia_tui.domain.jobs import Job
from sophia_tui.domain.models import Model
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services.job_compare import CompareRequest, JobsCompared, Looked, compared
from sophia_tui.services.job_curves import LOSSES, CurveRequest, CurveView, curve_of
from sophia_tui.services.job_figures import figured
from sophia_tui.services.job_settings import JobSettings, settings_of
from sophia_tui.services.job_states import JobEyes
from sophia_tui.services.jobs import unknown_job
from sophia_tui.services.operations import operation
from sophia_tui.services.views import JobReference

if TYPE_CHECKING:
    from sophia_tui.settings import Settings


class JobInsightService:
    """Reads rows, events and run folders."""

    def __init__(self, store: Store, settings: "Settings", clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._eyes = JobEyes(store, settings, clock)

    @operation(
        "jobs.curve",
        N_("Show figures of a training over its steps."),
        target="job",
        positional=("job",),
    )
    async def curve(self, context: Context, request: CurveRequest) -> CurveView:
        """Raises NotFoundError J404."""
        job = await self._get(request.job)
        return await curve_of(self._store, job, request.series, request.points)

    @operation(
        "jobs.settings",
        N_("Show with what a job works: hyperparameters, data set, machine."),
        target="job",
        positional=("job",),
    )
    async def settings(self, context: Context, request: JobReference) -> JobSettings:
        """Raises NotFoundError J404."""
        job = await self._get(request.job)
        view = await figured(await self._eyes.view(job), job, self._store, self._settings)
        return await settings_of(self._store, job, view.seconds_running, view.cost_usd)

    @operation(
        "jobs.compare",
        N_("Compare jobs: their curves, and in what they differ."),
        positional=("jobs",),
    )
    async def compare(self, context: Context, request: CompareRequest) -> JobsCompared:
        """Raises NotFoundError J404, UsageError J340 for fewer than two different jobs."""
        found: dict[str, Job] = {}
        for reference in request.jobs:
            job = await self._get(reference)
            found[job.id] = job
        if len(found) < 2:
            raise UsageError(
                "J340",
                _("To compare takes two different jobs."),
                _("Only {job} was named.").format(job=next(iter(found))),
                _("Name another one; `sophia jobs list` lists them."),
            )
        looked = [await self._look(job, request.points) for job in found.values()]
        return compared(looked, request.all)

    async def _look(self, job: Job, points: int) -> Looked:
        view = await figured(await self._eyes.view(job), job, self._store, self._settings)
        return Looked(
            job,
            view,
            await settings_of(self._store, job, view.seconds_running, view.cost_usd),
            await curve_of(self._store, job, LOSSES, points),
            await self._model(job),
        )

    async def _model(self, job: Job) -> Model | None:
        return await self._store.models.get(job.resulting_model) if job.resulting_model else None

    async def _get(self, reference: str) -> Job:
        job = await self._store.jobs.get(reference)
        if job is None:
            raise unknown_job(reference)
        return job
