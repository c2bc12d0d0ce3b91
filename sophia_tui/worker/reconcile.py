"""Holds the store's jobs against what really runs here, and puts right what differs.

It keeps no plan of its own: each round looks at the jobs and their processes anew, so that adopting
runs after a restart, or after a reboot, is the same as watching them.
"""

import logging
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from finetune.schema import ContractError
from sophia_tui.domain.jobs import Claimer, Job, JobKind, JobState, RunIdentity
from sophia_tui.domain.protocols import Clock, RunLauncher, Store
from sophia_tui.errors import ConflictError, JobError, SophiaError, UnavailableError
from sophia_tui.i18n import _, speaking
from sophia_tui.paths import Paths
from sophia_tui.providers import resources, run_folder
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services import waiting
from sophia_tui.services.job_states import WORKER_SECONDS, is_active
from sophia_tui.services.waiting import DATA, MEMORY, asked_by
from sophia_tui.settings import Settings
from sophia_tui.worker import errors
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.guard import Guard, Strays
from sophia_tui.worker.limits import Limits, memory_limit
from sophia_tui.worker.observe import Observed, Observer
from sophia_tui.worker.start import Starter

log = logging.getLogger("sophia.worker")

#: A sign of life is written to the row at most this often; events are copied at once.
_HEARTBEAT_STEP = timedelta(seconds=5)
#: A job whose files are out of reach is not looked at again before that.
_REACH_SECONDS = 15.0
#: A round starts no more runs after that, so that the others are looked at and signs are given.
_CLAIM_SECONDS = 4.0
#: What is done, after how many seconds, to a run that does not heed its control file.
_CANCEL_BY_FORCE = (
    (20.0, signal.SIGTERM),
    (40.0, signal.SIGTERM),  # the second one ends it: the program gives the signal back
    (60.0, signal.SIGKILL),
)


class Reconciler:
    """One worker's look at the jobs of its machine. `queues` None: it does all that there is."""

    def __init__(
        self,
        worker_id: str,
        machine: ThisMachine,
        launcher: RunLauncher,
        paths: Paths,
        settings: Settings,
        clock: Clock,
        queues: tuple[str, ...] | None = None,
        gpus: tuple[str, ...] = (),
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings = settings
        self.limits = Limits(paths.runs)
        self._worker_id = worker_id
        self._machine = machine
        self._launcher = launcher
        self._clock = clock
        self._queues = queues
        self._folder = str(paths.data)
        self._observer = Observer()
        self._finisher = Finisher(clock, settings)
        self._starter = Starter(worker_id, launcher, paths, clock)
        self._starter.gpus = gpus
        self._strays = Strays()
        self._guard = Guard(launcher)
        self._out_of_reach: dict[str, float] = {}
        self._gone: tuple[str, ...] = ()
        #: Once this worker is told to end, it starts no run any more.
        self._stopping = stopping
        self._cancel_since: dict[str, tuple[float, int]] = {}
        self._trouble: dict[str, str] = {}
        self._halted: dict[str, dict[str, Any]] = {}
        #: Whether trainings are paused that this worker has to take up again.
        self.keeps_paused = False

    @property
    def slots(self) -> int:
        """How many runs this machine has at once, its other workers' runs among them."""
        chosen = self.settings.training_slots
        return max(1, len(self._starter.gpus)) if chosen == "auto" else int(chosen)

    @property
    def claimer(self) -> Claimer:
        """This worker, as the queue knows it now."""
        now = time.monotonic()
        self._out_of_reach = {job: at for job, at in self._out_of_reach.items() if at > now}
        return Claimer(
            self._worker_id,
            self._machine.host,
            self._folder,
            self._queues,
            self.slots,
            quiet=self.limits.quiet is not None,
            without=tuple(self._out_of_reach),
            gone=self._gone,
        )

    async def round(self, store: Store) -> bool:
        """Look at every job of this worker, and start what may start; whether one runs.

        Raises UnavailableError where the store can't be reached: nothing is lost, look again.
        """
        self.limits.look(self.settings, self._clock.now())
        self._starter.slots = self.slots
        self._starter.memory_bytes = self._guard.limit = memory_limit(self.settings, self.slots)
        await self._take_over(store)
        self._finisher.settings = self.settings
        jobs = await store.jobs.adoptable(self._machine.host)
        jobs.sort(key=lambda job: job.state == JobState.INTERRUPTED)  # the living ones first
        others = await self._other_workers(store) if jobs else frozenset()
        mine = [job for job in jobs if self._is_ours(job, others)]
        theirs = [job for job in jobs if job not in mine]
        self.keeps_paused = any(job.state == JobState.PAUSED for job in mine)
        self._gone = tuple(job.id for job in theirs if not self._lives(job, others))
        busy = any(job.identity and self._launcher.alive(job.identity) for job in theirs)
        self._halt(mine)
        for job in mine:
            busy |= await self._guarded(store, job)
        until = time.monotonic() + _CLAIM_SECONDS
        while self.limits.floor is None and time.monotonic() < until and not self._stopping():
            claimed = await store.jobs.claim(self.claimer)
            if claimed is None:
                break
            log.info("job %s claimed", claimed.id)
            busy |= await self._guarded(store, claimed, claimed=True)
        return busy

    async def _take_over(self, store: Store) -> None:
        """Jobs of other data folders whose workers are gone, where we reach their run folders."""
        if not self._strays.due():
            return
        found = await store.jobs.stray(self.claimer, WORKER_SECONDS)
        for job in self._strays.ripe(found, self._machine.host):
            try:
                await store.jobs.take_over(job, self.claimer)
                log.warning("job %s taken over from %s", job.id, job.folder)
            except ConflictError:
                log.info("job %s was changed by somebody else; looking again", job.id)

    async def _other_workers(self, store: Store) -> frozenset[str]:
        living = await store.jobs.living_workers(WORKER_SECONDS)
        return frozenset(str(each["id"]) for each in living) - {self._worker_id}

    def _is_ours(self, job: Job, others: frozenset[str]) -> bool:
        """Runs lie in their worker's data folder; another folder's worker looks after its own."""
        if job.folder is not None:
            return job.folder == self._folder
        return job.worker_id not in others

    def _lives(self, job: Job, others: frozenset[str]) -> bool:
        """Whether a job of another worker holds its slot in truth."""
        if job.identity is not None:
            return self._launcher.alive(job.identity)
        return job.worker_id in others  # between claim and start

    def _halt(self, mine: list[Job]) -> None:
        """Which of our runs are to pause for the machine's sake: all of them, but where memory is
        short one after the other, for each gives some back."""
        self._halted = {job.id: why for job in mine if (why := self.limits.against(job))}
        running = [job for job in mine if is_active(job) and job.id in self._halted]
        if self.limits.floor and self.limits.floor["code"] == MEMORY and running:
            pausing = [job for job in running if job.waiting]
            newest = max(running, key=lambda job: job.started_at or job.created_at)
            for job in running:
                if job is not (pausing[0] if pausing else newest):
                    del self._halted[job.id]

    async def _guarded(self, store: Store, job: Job, claimed: bool = False) -> bool:
        """One job's trouble must not keep the others from being looked at."""
        try:
            with speaking(job.language):
                return await (self._begin if claimed else self._look)(store, job)
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
        if run_folder.living_identity(job, self._machine) is not None:
            return True
        self._gone += (job.id,)  # whatever its row says, it holds no slot
        return False

    def _complain(self, job: Job, problem: Exception) -> None:
        """Say it once for each kind of trouble; its text may hold data, so only its type."""
        kind = problem.code if isinstance(problem, SophiaError) else type(problem).__name__
        if self._trouble.get(job.id) != kind:
            self._trouble[job.id] = kind
            log.error("job %s: %s", job.id, kind, exc_info=log.isEnabledFor(logging.DEBUG))

    async def _begin(self, store: Store, job: Job) -> bool:
        """Start a job that was claimed, or put it back where its files are out of our reach."""
        missing = self._starter.missing_path(job)
        if missing is None:
            await self._starter.start(store, job)
            return True
        self._out_of_reach[job.id] = time.monotonic() + _REACH_SECONDS
        why = waiting.reason(DATA, path=missing, host=self._machine.host)
        log.warning("job %s: %s is not here", job.id, missing)
        await store.jobs.update(
            job.id, version=job.version, state=JobState.QUEUED.value, waiting=why, slot=None
        )
        return False

    async def _again(
        self,
        store: Store,
        job: Job,
        resumes: int | None = None,
        died: dict[str, Any] | None = None,
    ) -> bool:
        """Start a job once more, if a slot is free and nothing speaks against it."""
        if self.limits.floor is not None or self.limits.against(job) is not None:
            return False
        if self._stopping():
            return False
        if job.kind is JobKind.DATA:  # it holds no slot
            await self._starter.start(store, job, resumes, died)
            return True
        taken = await store.jobs.take_slot(job, self.claimer)
        if taken is None:
            return False
        await self._starter.start(store, taken, resumes, died)
        return True

    async def _look(self, store: Store, job: Job) -> bool:
        """Bring one job forward; whether a process of it runs now."""
        if job.state == JobState.PAUSED:
            await self._go_on(store, job)
            return False
        if job.run_folder is None:  # its worker died between claim and start
            return await self._again(store, job)
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
        return await self._settle(store, job, observed)

    async def _watch(self, store: Store, job: Job, living: RunIdentity, observed: Observed) -> None:
        """A living run: pass on what is wanted, and bring its row up to date."""
        folder = job.run_folder or ""
        beat = run_folder.heartbeat(folder)
        changes = _new_figures(job, observed)
        if job.identity != living:
            changes["identity"] = living
        halted = job.waiting or (self._halted.get(job.id) if job.wanted is None else None)
        if halted is not None and not job.waiting:
            changes["waiting"] = halted
            log.warning("job %s pauses: %s", job.id, halted["code"])
        pausing = job.wanted == "pause" or (halted is not None and job.wanted is None)
        state = JobState.PAUSING if pausing else JobState.RUNNING
        if not pausing and observed.state in (None, "starting"):
            state = JobState.VALIDATING
        self._guard.watch(job.id, living)
        if self._guard.is_stuck(job.id, living, beat, self.settings.stalled_seconds):
            state = JobState.INTERRUPTED
        if job.state != state:
            changes["state"] = state.value
        if job.wanted == "resume":
            run_folder.ask(folder, "none")
            changes |= {"wanted": None, "waiting": None}
        due = job.heartbeat_at is None or (
            beat is not None and beat.at - job.heartbeat_at >= _HEARTBEAT_STEP
        )
        if beat is not None and (changes or due):
            changes["heartbeat_at"] = beat.at
        if changes:
            await store.jobs.update(job.id, version=job.version, **changes)
        self._pass_on(job, living, pausing)

    def _pass_on(self, job: Job, living: RunIdentity, pausing: bool) -> None:
        folder = job.run_folder or ""
        if pausing:
            run_folder.ask(folder, "pause", self._why_pause(job))
        if job.wanted != "cancel":
            self._cancel_since.pop(job.id, None)
            return
        run_folder.ask(folder, "stop", asked_by(job.request.get("wanted_by")))
        since, steps = self._cancel_since.setdefault(job.id, (time.monotonic(), 0))
        waited = time.monotonic() - since
        while steps < len(_CANCEL_BY_FORCE) and waited >= _CANCEL_BY_FORCE[steps][0]:
            log.warning("job %s does not stop: %s", job.id, _CANCEL_BY_FORCE[steps][1].name)
            self._launcher.signal(living, _CANCEL_BY_FORCE[steps][1])
            steps += 1
        self._cancel_since[job.id] = (since, steps)

    def _why_pause(self, job: Job) -> str | None:
        """Who or what pauses a run, for its events."""
        if job.wanted == "pause":
            return asked_by(job.request.get("wanted_by"))
        found = waiting.told(job.waiting or self._halted.get(job.id))
        return f"{found['what']} {found['why']}" if found else None

    async def _settle(self, store: Store, job: Job, observed: Observed) -> bool:
        """A run whose process is gone: how did it end? Whether it runs again now."""
        too_much = self._guard.too_much(job.id)
        word = observed.state if _of_this_attempt(job, observed) else None
        if word == "succeeded":
            await self._finisher.succeed(store, job, observed)
        elif word == "failed" and job.wanted != "cancel":
            error = errors.told_by_run(job, observed.state_data)
            await self._finisher.fail(store, job, error)
        elif word == "cancelled" or job.wanted == "cancel":
            await self._finisher.cancel(store, job)
        elif too_much is not None:
            problem = errors.too_much_memory(job, *too_much)
            await self._finisher.fail(store, job, problem.as_dict())
        elif job.wanted == "pause" or (word == "paused" and not _by_signal(observed)):
            await self._pause(store, job)
        else:
            return await self._revive(store, job, observed)
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
        for_the_machine = job.waiting if job.wanted is None else None
        await store.jobs.update(
            job.id,
            version=job.version,
            state=JobState.PAUSED.value,
            wanted=None,
            seconds_left=None,
            waiting=for_the_machine,
            not_before=self.limits.rest(job, self._clock.now()) if for_the_machine else None,
        )
        log.info("job %s paused", job.id)

    async def _go_on(self, store: Store, job: Job) -> None:
        """A training that was paused for the machine's sake is queued again once it may run."""
        if self.limits.against(job) is not None:
            return
        if job.not_before is not None and job.not_before > self._clock.now():
            return
        await store.jobs.update(
            job.id,
            version=job.version,
            state=JobState.QUEUED.value,
            waiting=None,
            not_before=None,
            identity=None,
            resumes=job.resumes + 1,
            resumes_forgiven=job.resumes_forgiven + 1,
        )
        log.info("job %s goes on", job.id)

    async def _revive(self, store: Store, job: Job, observed: Observed) -> bool:
        """The run vanished (killed, reboot, told to go by the system): it goes on, if it may."""
        if job.state != JobState.INTERRUPTED:
            log.warning("job %s was interrupted", job.id)
            job = await store.jobs.update(
                job.id,
                version=job.version,
                state=JobState.INTERRUPTED.value,
                wanted=None,
                waiting=None,
                seconds_left=None,
            )
        if job.resumes - job.resumes_forgiven >= self.settings.maximum_resumes:
            raise errors.vanished_too_often(job, self.settings.maximum_resumes)
        died = errors.died(job, self._why_died(job, observed), observed.saved)
        started = await self._again(store, job, resumes=job.resumes + 1, died=died)
        if started:
            self._forget(job)
        return started

    def _why_died(self, job: Job, observed: Observed) -> str:
        """What is known of why a run's process is gone."""
        if job.identity is not None and not self._machine.same_boot(job.identity):
            return _("The machine was started anew meanwhile.")
        if _by_signal(observed) and _of_this_attempt(job, observed):
            return _("The system asked it to end: {signal}.").format(
                signal=str(observed.state_data["reason"]).removeprefix("received ")
            )
        beat = run_folder.heartbeat(job.run_folder or "")
        kills = resources.kernel_kills()
        known = beat.kernel_kills if beat else None
        if known is not None and kills is not None and kills > known:
            return _("The kernel has ended a process for want of memory meanwhile.")
        return _("It vanished without a word: killed, or out of memory.")

    def _forget(self, job: Job) -> None:
        self._guard.forget(job.id)
        self.limits.forget(job)
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
