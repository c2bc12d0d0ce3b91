"""Looks after jobs at a provider: hands them over, follows them, cancels and ends them.

Each job is looked at by a task of its own, so that a slow provider holds up nobody. A look does
what can be done now and notes it in the job's row; the next one goes on from there, in this process
or after a crash in another. Nothing is ever waited for inside a look.
"""

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from sophia_tui.domain.hosted import HostedOrder, HostedTrainer
from sophia_tui.domain.jobs import Claimer, Job, JobState
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import ConflictError, NotFoundError, SophiaError, UnavailableError
from sophia_tui.i18n import set_language
from sophia_tui.services.job_states import WORKER_SECONDS, has_ended
from sophia_tui.services.jobs_hosted import HELD, is_held
from sophia_tui.services.prices import Prices
from sophia_tui.services.train_hosted import key_for, with_local_offer
from sophia_tui.services.waiting import MISFIT
from sophia_tui.settings import Settings
from sophia_tui.worker import errors
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.hosted_follow import Follower
from sophia_tui.worker.hosted_submit import Submitter

log = logging.getLogger("sophia.worker")

_FIRST_SECONDS = 2.0
_GROWTH = 1.5
_TROUBLE_SECONDS = 120.0
_LOST_AFTER = 5  # answers in a row that the provider does not know the job


@dataclass
class Watch:
    """What this process remembers of one job between two looks."""

    due: float = 0.0
    wait: float = 0.0
    wanted: str | None = None
    troubles: int = 0
    unknown: int = 0
    told: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class HostedKeeper:
    """One worker's care for hosted jobs. `misfit` says that some are there that it can't serve:
    it was started with another address, or without the key."""

    def __init__(
        self,
        worker_id: str,
        host: str,
        open_trainer: Callable[[str | None], HostedTrainer],
        prices: Callable[[], Prices],
        settings: Settings,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.misfit = False
        #: Who takes jobs, as the queue knows them; None in queues is all.
        self.claimer = Claimer(worker_id, host)
        self._worker_id = worker_id
        self._host = host
        self._open = open_trainer
        self._trainers: dict[tuple[str | None, str | None], HostedTrainer] = {}
        self._watches: dict[str, Watch] = {}
        self._finisher = Finisher(clock, settings)
        self._submitter = Submitter(clock, self._finisher)
        self._follower = Follower(clock, self._finisher, prices)

    async def round(self, store: Store) -> bool:
        """Take what is queued and look at what is due; whether a job is under way at a provider.

        Raises UnavailableError where the store can't be reached.
        """
        self._finisher.settings = self.settings
        while claimed := await store.jobs.claim(self.claimer, hosted=True):
            log.info("hosted job %s claimed", claimed.id)
            if claimed.id in self._watches and self._idle(self._watches[claimed.id]):
                del self._watches[claimed.id]  # resumed: it is looked at now
        jobs = await store.jobs.hosted(self._host)
        others = await self._other_workers(store) if jobs else frozenset()
        mine = [job for job in jobs if job.worker_id not in others]
        for gone in self._watches.keys() - {job.id for job in mine}:
            if self._idle(self._watches[gone]):
                del self._watches[gone]
        for job in mine:
            watch = self._watches.setdefault(job.id, Watch())
            if job.wanted != watch.wanted:  # somebody wants something: do not let them wait
                watch.wanted, watch.due, watch.wait = job.wanted, 0.0, 0.0
            if self._idle(watch) and time.monotonic() >= watch.due:
                watch.task = asyncio.create_task(self._look(store, job, watch))
        misfits = {each for each, watch in self._watches.items() if watch.told == MISFIT}
        self.misfit = bool(misfits)
        served = [job for job in mine if job.id not in misfits]
        return any(job.state != JobState.PAUSED or job.wanted for job in served)

    async def close(self) -> None:
        """Stop looking; what was begun is gone on with by the next worker."""
        tasks = [watch.task for watch in self._watches.values() if watch.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for trainer in self._trainers.values():
            with contextlib.suppress(SophiaError):
                await trainer.close()
        self._trainers.clear()

    def _idle(self, watch: Watch) -> bool:
        return watch.task is None or watch.task.done()

    async def _other_workers(self, store: Store) -> frozenset[str]:
        living = await store.jobs.living_workers(WORKER_SECONDS)
        return frozenset(str(each["id"]) for each in living) - {self._worker_id}

    async def _look(self, store: Store, job: Job, watch: Watch) -> None:
        """One look; whatever goes wrong, the job is looked at again, or has failed."""
        set_language(job.language)  # this task's alone
        try:
            changed = await self._step(store, job)
            await self._untroubled(store, job, watch)
            watch.wait = self._longer(0.0 if changed else watch.wait)
        except ConflictError:  # a person was faster; look again with what they want
            watch.wait = 0.0
        except UnavailableError as problem:
            await self._trouble(store, job, watch, problem)
        except SophiaError as problem:
            await self._refused(store, job, watch, problem)
        except Exception as problem:
            # its text may hold data, so only the place
            where = "".join(traceback.format_tb(problem.__traceback__))
            log.error("hosted job %s: %s\n%s", job.id, type(problem).__name__, where)
            watch.wait = _TROUBLE_SECONDS
        watch.due = time.monotonic() + watch.wait

    def _longer(self, wait: float) -> float:
        longest = self.settings.provider_poll_seconds
        return min(longest, wait * _GROWTH if wait else _FIRST_SECONDS)

    async def _step(self, store: Store, job: Job) -> bool:
        """Whether something new came of it."""
        if job.worker_id != self._worker_id:  # its worker died: only one of us gets it
            job = await store.jobs.update(job.id, version=job.version, worker_id=self._worker_id)
        order = HostedOrder.of(job.request)
        untouched = order.attempts == 0 and job.provider_job_id is None
        if untouched and job.wanted is not None:
            await self._submitter.put_away(store, job)
            return True
        trainer = self._trainer(order)
        if job.provider_job_id is None:
            return await self._submitter.submit(store, job, order, trainer)
        return await self._follower.follow(store, job, trainer)

    def _trainer(self, order: HostedOrder) -> HostedTrainer:
        """The provider of the order, with the key of now. Raises UnavailableError J533."""
        known = (order.base_url, key_for(self.settings, order.base_url))
        if known not in self._trainers:
            self._trainers[known] = self._open(order.base_url)
        return self._trainers[known]

    async def _trouble(
        self, store: Store, job: Job, watch: Watch, problem: UnavailableError
    ) -> None:
        """Nobody answers: say it once, and ask again, less and less often."""
        asked = problem.details.get("retry_after")
        watch.troubles += 1
        first = min(_FIRST_SECONDS, self.settings.provider_poll_seconds)
        watch.wait = asked or min(_TROUBLE_SECONDS, first * 2 ** min(watch.troubles, 10))
        if problem.code == MISFIT:
            await self._misfits(store, job, watch, problem)
        else:
            await self._tell(store, job, watch, problem)

    async def _misfits(
        self, store: Store, job: Job, watch: Watch, problem: UnavailableError
    ) -> None:
        """We are not the worker for this one: it waits, paused, and its row says for what."""
        try:
            current = await store.jobs.get(job.id)
            paused_there = current is not None and current.state == JobState.PAUSED
            if current is not None and not (paused_there and not is_held(current)):
                await self._follower.hold(store, current, problem, waits=True)
            watch.told = MISFIT
        except (ConflictError, UnavailableError):  # somebody was faster, or the store is away
            watch.wait = _FIRST_SECONDS

    async def _refused(self, store: Store, job: Job, watch: Watch, problem: SophiaError) -> None:
        """What was not handed over yet fails; what runs there goes on, whatever we are told."""
        try:
            current = await store.jobs.get(job.id)
            if current is None or has_ended(current):
                return
            unknown = isinstance(problem, NotFoundError) and current.provider_job_id is not None
            watch.unknown = watch.unknown + 1 if unknown else 0
            if watch.unknown >= _LOST_AFTER:
                await self._finisher.fail(store, current, errors.hosted_lost(current).as_dict())
            elif problem.code in HELD:
                first = min(_FIRST_SECONDS, self.settings.provider_poll_seconds)
                watch.troubles += 1
                watch.wait = min(_TROUBLE_SECONDS, first * 2 ** min(watch.troubles, 10))
                watch.told = problem.code
                await self._follower.hold(store, current, problem)
            elif current.provider_job_id is None or problem.code in Follower.FINAL:
                offered = with_local_offer(problem, current.dataset or "")
                await self._finisher.fail(store, current, offered.as_dict())
            else:
                watch.wait = self._longer(watch.wait)
                await self._tell(store, current, watch, problem)
        except (ConflictError, UnavailableError):
            watch.wait = _FIRST_SECONDS

    async def _tell(self, store: Store, job: Job, watch: Watch, problem: SophiaError) -> None:
        """The job's row says what is in the way; once for each kind."""
        if watch.told == problem.code:
            return
        log.warning("hosted job %s: %s %s", job.id, problem.code, problem.why)
        try:
            await self._follower.warn(store, job.id, problem)
        except SophiaError as second:  # the store is away: next time
            log.warning("hosted job %s: %s", job.id, second.code)
        else:
            watch.told = problem.code

    async def _untroubled(self, store: Store, job: Job, watch: Watch) -> None:
        watch.troubles = watch.unknown = 0
        watch.told = ""
        current = await store.jobs.get(job.id)
        if current is None or has_ended(current):
            return
        if current.error is None and current.waiting is None:
            return
        order = HostedOrder.of(current.request)
        if is_held(current) and current.provider_job_id is None:
            await self._follower.let_go(store, current)
        elif current.waiting is not None:
            await store.jobs.update(job.id, version=current.version, error=None, waiting=None)
        elif current.provider_job_id is not None or not order.attempts:
            wanted = None if current.wanted == "resume" else current.wanted
            await store.jobs.update(job.id, version=current.version, error=None, wanted=wanted)
