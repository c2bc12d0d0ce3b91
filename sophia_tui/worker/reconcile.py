"""Holds the store's jobs against what really runs here, and puts right what differs.

It keeps no plan of its own: each round looks at the jobs and their processes anew, so that adopting
runs after a restart, or after a reboot, is the same as watching them.
"""

import logging
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from finetune.schema import ContractError
from sophia_tui.domain.jobs import Job, JobState, RunIdentity
from sophia_tui.domain.protocols import Clock, RunLauncher, Store
from sophia_tui.errors import ConflictError, JobError, SophiaError, UnavailableError
from sophia_tui.paths import Paths
from sophia_tui.providers import run_folder
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services.job_states import WORKER_SECONDS
from sophia_tui.settings import Settings
from sophia_tui.worker import errors
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.observe import Observed, Observer
from sophia_tui.worker.start import Starter

log = logging.getLogger("sophia.worker")

#: A sign of life is written to the row at most this often; events are copied at once.
_HEARTBEAT_STEP = timedelta(seconds=5)
#: What is done, after how many seconds, to a run that does not heed its control file.
_CANCEL_BY_FORCE = (
    (20.0, signal.SIGTERM),
    (40.0, signal.SIGTERM),  # the second one ends it: the program gives the signal back
    (60.0, signal.SIGKILL),
)


class Reconciler:
    """One worker's look at the jobs of its machine."""

    def __init__(
        self,
        worker_id: str,
        machine: ThisMachine,
        launcher: RunLauncher,
        paths: Paths,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self._worker_id = worker_id
        self._machine = machine
        self._launcher = launcher
        self._paths = paths
        self._observer = Observer()
        self._finisher = Finisher(clock, settings)
        self._starter = Starter(worker_id, launcher, paths, clock)
        self._cancel_since: dict[str, tuple[float, int]] = {}
        self._trouble: dict[str, str] = {}

    async def round(self, store: Store) -> bool:
        """Look at every job of this machine, and start one if nothing runs; whether one runs.

        Raises UnavailableError where the store can't be reached: nothing is lost, look again.
        """
        self._finisher.settings = self.settings
        jobs = await store.jobs.adoptable(self._machine.host)
        jobs.sort(key=lambda job: job.state == JobState.INTERRUPTED)  # the living ones first
        others = await self._other_workers(store) if jobs else frozenset()
        busy = False
        for job in jobs:
            if self._is_ours(job, others):
                busy |= await self._guarded(store, job, may_start=not busy)
            else:
                busy |= job.identity is not None and self._launcher.alive(job.identity)
        if not busy:
            claimed = await store.jobs.claim(self._worker_id, self._machine.host)
            if claimed is not None:
                log.info("job %s claimed", claimed.id)
                busy = await self._guarded(store, claimed, may_start=True, claimed=True)
        return busy

    async def _other_workers(self, store: Store) -> frozenset[str]:
        living = await store.jobs.living_workers(WORKER_SECONDS)
        return frozenset(str(each["id"]) for each in living) - {self._worker_id}

    def _is_ours(self, job: Job, others: frozenset[str]) -> bool:
        """Runs lie in their worker's data folder; another user's worker looks after its own."""
        if job.run_folder is not None:
            return Path(job.run_folder).parent == self._paths.runs
        return job.worker_id not in others

    async def _guarded(
        self, store: Store, job: Job, may_start: bool, claimed: bool = False
    ) -> bool:
        """One job's trouble must not keep the others from being looked at."""
        try:
            if claimed:
                await self._starter.start(store, job)
                return True
            return await self._look(store, job, may_start)
        except ConflictError:
            log.info("job %s was changed by somebody else; looking again", job.id)
        except JobError as problem:
            current = await store.jobs.get(job.id)
            if current is not None:
                await self._finisher.fail(store, current, problem.as_dict())
            self._forget(job)
        except UnavailableError:
            raise
        except Exception as problem:
            self._complain(job, problem)
        return run_folder.living_identity(job, self._machine) is not None

    def _complain(self, job: Job, problem: Exception) -> None:
        """Say it once for each kind of trouble; its text may hold data, so only its type."""
        kind = problem.code if isinstance(problem, SophiaError) else type(problem).__name__
        if self._trouble.get(job.id) != kind:
            self._trouble[job.id] = kind
            log.error("job %s: %s", job.id, kind, exc_info=log.isEnabledFor(logging.DEBUG))

    async def _look(self, store: Store, job: Job, may_start: bool) -> bool:
        """Bring one job forward; whether a process of it runs now."""
        if job.run_folder is None:  # its worker died between claim and start
            if may_start:
                await self._starter.start(store, job)
            return may_start
        living = run_folder.living_identity(job, self._machine)
        if living is None and not Path(job.run_folder).is_dir():
            raise errors.folder_missing(job)
        try:
            observed = await self._observer.copy(store.jobs, job)
        except (ContractError, OSError) as problem:
            if living is None:
                raise errors.events_unreadable(job, problem) from problem
            self._complain(job, problem)
            observed = Observed()
        job = await store.jobs.get(job.id) or job
        if living is not None:
            await self._watch(store, job, living, observed)
            return True
        if changes := _new_figures(job, observed):
            job = await store.jobs.update(job.id, version=job.version, **changes)
        return await self._settle(store, job, observed, may_start)

    async def _watch(self, store: Store, job: Job, living: RunIdentity, observed: Observed) -> None:
        """A living run: pass on what is wanted, and bring its row up to date."""
        folder = job.run_folder or ""
        beat = run_folder.heartbeat(folder)
        changes = _new_figures(job, observed)
        if job.identity != living:
            changes["identity"] = living
        state = JobState.PAUSING if job.wanted == "pause" else JobState.RUNNING
        if job.wanted != "pause" and observed.state in (None, "starting"):
            state = JobState.VALIDATING
        if job.state != state:
            changes["state"] = state.value
        if job.wanted == "resume":
            run_folder.ask(folder, "none")
            changes["wanted"] = None
        due = job.heartbeat_at is None or (
            beat is not None and beat.at - job.heartbeat_at >= _HEARTBEAT_STEP
        )
        if beat is not None and (changes or due):
            changes["heartbeat_at"] = beat.at
        if changes:
            await store.jobs.update(job.id, version=job.version, **changes)
        self._pass_on(job, living)

    def _pass_on(self, job: Job, living: RunIdentity) -> None:
        folder = job.run_folder or ""
        if job.wanted == "pause":
            run_folder.ask(folder, "pause")
        if job.wanted != "cancel":
            self._cancel_since.pop(job.id, None)
            return
        run_folder.ask(folder, "stop")
        since, steps = self._cancel_since.setdefault(job.id, (time.monotonic(), 0))
        waited = time.monotonic() - since
        while steps < len(_CANCEL_BY_FORCE) and waited >= _CANCEL_BY_FORCE[steps][0]:
            log.warning("job %s does not stop: %s", job.id, _CANCEL_BY_FORCE[steps][1].name)
            self._launcher.signal(living, _CANCEL_BY_FORCE[steps][1])
            steps += 1
        self._cancel_since[job.id] = (since, steps)

    async def _settle(self, store: Store, job: Job, observed: Observed, may_start: bool) -> bool:
        """A run whose process is gone: how did it end? Whether it runs again now."""
        word = observed.state if _of_this_attempt(job, observed) else None
        if word == "succeeded":
            await self._finisher.succeed(store, job, observed)
        elif word == "failed" and job.wanted != "cancel":
            error = errors.told_by_run(job, observed.state_data)
            await self._finisher.fail(store, job, error)
        elif word == "cancelled" or job.wanted == "cancel":
            await self._finisher.cancel(store, job)
        elif job.wanted == "pause" or (word == "paused" and not _by_signal(observed)):
            await self._pause(store, job)
        else:
            return await self._revive(store, job, may_start)
        self._forget(job)
        return False

    async def _pause(self, store: Store, job: Job) -> None:
        if job.wanted == "resume":  # asked too late to keep it running: take it up again
            await store.jobs.update(
                job.id,
                version=job.version,
                state=JobState.QUEUED.value,
                wanted=None,
                resumes=job.resumes + 1,
                resumes_forgiven=job.resumes + 1,
            )
            return
        run_folder.drop_heartbeat(job.run_folder or "")
        await store.jobs.update(
            job.id,
            version=job.version,
            state=JobState.PAUSED.value,
            wanted=None,
            seconds_left=None,
        )
        log.info("job %s paused", job.id)

    async def _revive(self, store: Store, job: Job, may_start: bool) -> bool:
        """The run vanished (killed, reboot, told to go by the system): it goes on, if it may."""
        if job.state != JobState.INTERRUPTED:
            log.warning("job %s was interrupted", job.id)
            job = await store.jobs.update(
                job.id,
                version=job.version,
                state=JobState.INTERRUPTED.value,
                wanted=None,
                seconds_left=None,
            )
        if job.resumes - job.resumes_forgiven >= self.settings.maximum_resumes:
            raise errors.vanished_too_often(job, self.settings.maximum_resumes)
        if not may_start:
            return False
        self._forget(job)
        await self._starter.start(store, job, resumes=job.resumes + 1)
        return True

    def _forget(self, job: Job) -> None:
        self._observer.forget(job.id)
        self._cancel_since.pop(job.id, None)
        self._trouble.pop(job.id, None)


def _new_figures(job: Job, observed: Observed) -> dict[str, Any]:
    return {name: value for name, value in observed.figures.items() if getattr(job, name) != value}


def _of_this_attempt(job: Job, observed: Observed) -> bool:
    """Whether the run's last word was said by the process that was started last.

    An attempt that ended for good takes its heartbeat away, so one that is there is this one's.
    """
    pids = {job.identity.pid} if job.identity else set()
    if job.run_folder and (beat := run_folder.heartbeat(job.run_folder)):
        pids.add(beat.pid)
    return observed.pid in pids


def _by_signal(observed: Observed) -> bool:
    """The system (a shutdown, a person's kill) asked the process to go, not a person the job."""
    return str(observed.state_data.get("reason", "")).startswith("received ")
