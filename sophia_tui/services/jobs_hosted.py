"""What people want of a hosted job: pause and resume are the provider's to grant, so it is asked at
once; a cancel is the worker's, which goes on asking until the provider heeds it."""

from collections.abc import Callable
from typing import Any

from sophia_tui.domain.hosted import HostedJob, HostedOrder, HostedTrainer
from sophia_tui.domain.jobs import Job, JobState
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import ConflictError, JobError, NotFoundError, RefusedError, UnavailableError
from sophia_tui.i18n import _

#: Opens the provider at an address; None is its own.
OpenTrainer = Callable[[str | None], HostedTrainer]

#: The provider's words that we have other words for; every other word stays as it is.
_STATES = {
    "validating_files": JobState.VALIDATING.value,
    "queued": JobState.VALIDATING.value,  # our own `queued` means that no worker has it yet
    "pending": JobState.VALIDATING.value,
}


#: Errors that only a person can mend: such a job is paused until the provider takes us again. With
#: the first it goes on by itself, once the key is right; with the second only when it is resumed.
HELD = frozenset({"SOPHIA-J525", "SOPHIA-J522"})


def is_held(job: Job) -> bool:
    """Whether the job is paused because the provider does not take our key, has no quota left, or
    is not the one that its worker knows; not because somebody paused it."""
    held = (job.error or {}).get("code") in HELD or job.waiting is not None
    return job.state == JobState.PAUSED and held


def state_of(found: HostedJob) -> str:
    """The state of our job for what the provider says of it."""
    if found.ended is not None:
        return found.ended
    word = _STATES.get(found.status.lower(), found.status)
    if word in (
        JobState.DRAFT,
        JobState.INTERRUPTED,
        *_ENDS,
    ):  # words that mean something else here
        return f"{word} (openai)"
    return word


_ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class HostedHands:
    """Reaches jobs at their provider."""

    def __init__(self, open_trainer: OpenTrainer | None) -> None:
        self._open = open_trainer

    def reach(self, job: Job) -> bool:
        """Whether a job of ours is there, or may be."""
        if job.provider == "local":
            return False
        return job.provider_job_id is not None or HostedOrder.of(job.request).attempts > 0

    def cancelling(self, job: Job) -> dict[str, Any]:
        """The changes that make a worker cancel it there."""
        changes: dict[str, Any] = {"wanted": "cancel"}
        if job.provider_job_id is None and job.state == JobState.PAUSED:
            changes["state"] = JobState.QUEUED.value
        return changes

    async def pause(self, store: Store, job: Job) -> Job:
        """Raises RefusedError J534 where the provider has no pause."""
        if job.state in (JobState.PAUSED, JobState.PAUSING):
            return job
        return await self._do(store, job, "pause")

    async def resume(self, store: Store, job: Job) -> Job:
        """Raises ConflictError J535 for one that failed there, RefusedError J534."""
        if job.state == JobState.FAILED:
            raise ConflictError(
                "J535",
                _("Job {job} failed at the provider and can't go on.").format(job=job.id),
                remedy=_("Start a new one: `sophia train start`."),
            )
        if is_held(job):  # the worker finds out whether it may go on
            return await store.jobs.update(job.id, version=job.version, wanted="resume")
        if job.state not in (JobState.PAUSED, JobState.PAUSING):
            return job
        return await self._do(store, job, "resume")

    async def _do(self, store: Store, job: Job, verb: str) -> Job:
        if job.provider_job_id is None or self._open is None:
            raise self._refused(job, _("It is being handed over; try again in a moment."))
        trainer = self._open(HostedOrder.of(job.request).base_url)
        act = trainer.pause if verb == "pause" else trainer.resume
        try:
            found = await act(job.provider_job_id)
        except UnavailableError:
            raise
        except (JobError, NotFoundError) as problem:
            raise self._refused(job, f"{problem.what} {problem.why}") from problem
        finally:
            await trainer.close()
        if found.ended is not None:  # the worker's to finish
            return job
        try:
            return await store.jobs.update(job.id, version=job.version, state=state_of(found))
        except ConflictError:  # the provider has done it, and the worker saw it first
            return await store.jobs.get(job.id) or job

    def _refused(self, job: Job, why: str) -> RefusedError:
        return RefusedError(
            "J534",
            _("The provider does not pause or resume job {job} now.").format(job=job.id),
            why,
            _("It goes on as it is; `sophia jobs cancel` stops it for good."),
        )
