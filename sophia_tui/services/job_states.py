"""What a job is really doing, as seen from here: the stored state against the process itself.

A store may still say `running` after the machine went away; a reader must not believe it.
"""

import logging
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Job, JobKind, JobState, QueuedJob
from sophia_tui.domain.protocols import Clock, ScheduleStore, Store
from sophia_tui.errors import SophiaError
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services import waiting
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_log = logging.getLogger("sophia")

#: A worker gives a sign every five seconds; after three missed ones it counts as gone.
WORKER_SECONDS = 15.0
_CARE_SECONDS = 10.0
_ACTIVE = frozenset(state.value for state in JobState if state.active)


def is_active(job: Job) -> bool:
    """Whether the store says that a process of it is alive, or should be."""
    return job.state in _ACTIVE


def has_ended(job: Job) -> bool:
    return job.state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def host_of(job: Job) -> str | None:
    """The machine that the job runs on, or ran on last; None before its first start."""
    if job.identity is not None:
        return job.identity.host
    return job.worker_id.split(":")[0] if job.worker_id else None


def hindrance_of(
    job: "Job | QueuedJob", living: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Why none of the living workers starts a queued job now; None where one would."""
    queue = job.queue if isinstance(job, QueuedJob) else job.needs
    able = [each for each in living if queue in each["queues"]]
    if not able:
        return waiting.reason(waiting.CAPABILITY, queue=queue)
    if any(not _stops(each["hindrance"], job) for each in able):
        return None
    return waiting.told(able[0]["hindrance"])


def _stops(hindrance: Mapping[str, Any] | None, job: "Job | QueuedJob") -> bool:
    if hindrance is None or job.provider != "local":
        return False
    if hindrance["code"] == waiting.QUIET:
        return job.kind is JobKind.TRAIN and not job.regardless
    return True


class JobEyes:
    """Shows jobs with their true state; writes nothing."""

    def __init__(
        self, store: Store, settings: "Settings", clock: Clock, machine: ThisMachine | None = None
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self.machine = machine or ThisMachine.here()

    async def views(self, jobs: Sequence[Job]) -> list[JobView]:
        """The jobs as people see them. Asks for living workers, and for places in the queue, only
        where that decides."""
        hosts: frozenset[str] = frozenset()
        places: Mapping[str, int] = {}
        if any(is_active(job) for job in jobs):
            hosts = await self.worker_hosts()
        if any(job.state == JobState.QUEUED for job in jobs):
            places = await self._store.jobs.places()
        return [JobView.of(job, self.state(job, hosts), places.get(job.id)) for job in jobs]

    async def view(self, job: Job) -> JobView:
        """One job, and where it waits what for, as far as the living workers tell."""
        view = (await self.views([job]))[0]
        if job.state != JobState.QUEUED or job.waiting is not None:
            return view
        living = await self._store.jobs.living_workers(WORKER_SECONDS)
        why = hindrance_of(job, living) if living else None
        return view if why is None else view.model_copy(update={"waiting": why})

    async def worker_hosts(self) -> frozenset[str]:
        """Names of the machines on which a worker lives."""
        living = await self._store.jobs.living_workers(WORKER_SECONDS)
        return frozenset(str(each["host"]) for each in living)

    def state(self, job: Job, worker_hosts: frozenset[str]) -> str:
        """The state to show.

        A run of this machine is interrupted when it belongs to another boot, or when its process
        is gone and no worker is here to look after it. A run of another machine is interrupted
        when neither its worker nor the run itself gave a sign in time.
        """
        if not is_active(job) or job.provider != "local":
            return job.state
        host = host_of(job)
        if host is not None and host != self.machine.host:
            silent = host not in worker_hosts and self._silent(job.heartbeat_at)
            return JobState.INTERRUPTED.value if silent else job.state
        from sophia_tui.providers.run_folder import living_identity

        if living_identity(job, self.machine) is not None:
            return job.state
        other_boot = job.identity is not None and not self.machine.same_boot(job.identity)
        if other_boot or self.machine.host not in worker_hosts:
            return JobState.INTERRUPTED.value
        return job.state

    def _silent(self, at: datetime | None) -> bool:
        if at is None:
            return True
        return (self._clock.now() - at).total_seconds() > self._settings.stalled_seconds


class Caretaker:
    """Who looks at jobs that need a worker brings it back, where the last one died: in the embedded
    default, where no service manager does. Looking never fails because of that."""

    def __init__(
        self,
        wake: Callable[[], Awaitable[None]],
        settings: "Settings",
        machine: ThisMachine,
        schedules: ScheduleStore | None = None,
    ) -> None:
        self._wake = wake
        self._schedules = schedules
        self._settings = settings
        self._machine = machine
        self._not_before = self._ask_again = float("-inf")

    async def look_after(self, context: Context, jobs: Iterable[Job]) -> None:
        """Wake a worker if one of `jobs` is this machine's and not done, or something is to run by
        the calendar, and the person may."""
        if time.monotonic() < self._not_before or not self._may(context):
            return
        if any(map(self._needs, jobs)) or await self._by_calendar():
            await self.wake_for(context)

    async def _by_calendar(self) -> bool:
        if self._schedules is None or time.monotonic() < self._ask_again:
            return False
        self._ask_again = time.monotonic() + _CARE_SECONDS
        try:
            return await self._schedules.any_enabled()
        except SophiaError:  # the store is away: who looks is told by what they look at
            return False

    async def wake_for(self, context: Context) -> None:
        """Wake a worker, if the person may and it was not done a moment ago."""
        if time.monotonic() < self._not_before or not self._may(context):
            return
        # one that dies at once is not started all the time
        self._not_before = time.monotonic() + _CARE_SECONDS
        try:
            await self._wake()
        except (SophiaError, OSError, subprocess.SubprocessError) as problem:
            _log.warning("no worker could be started: %s", type(problem).__name__)

    def _may(self, context: Context) -> bool:
        over_http = context.face is Face.API and not self._settings.allow_finetune
        allowed = context.role.allows(Role.OPERATOR) and not over_http
        return self._settings.embedded and allowed and not context.readonly

    def _needs(self, job: Job) -> bool:
        needed = job.state in (JobState.QUEUED, JobState.INTERRUPTED) or is_active(job)
        if job.provider != "local":  # whatever word its provider has for it
            needed = not has_ended(job) and job.state not in (JobState.DRAFT, JobState.PAUSED)
        needed = needed or (job.state == JobState.PAUSED and job.waiting is not None)
        return needed and host_of(job) in (None, self._machine.host)
