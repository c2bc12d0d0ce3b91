"""The worker: takes jobs, starts and watches their runs. Its end ends no run.

One works in each data folder; a second one in the foreground stands by, one in the background goes.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import traceback
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from pydantic import BaseModel

from sophia_tui.domain.context import Face
from sophia_tui.domain.hosted import HostedTrainer
from sophia_tui.domain.jobs import GPU_QUEUE, HOSTED_QUEUE, QUEUES
from sophia_tui.domain.notifications import Messenger
from sophia_tui.domain.protocols import Clock, RunLauncher, Store
from sophia_tui.errors import SophiaError, UnavailableError
from sophia_tui.logs import RotatingLogFile
from sophia_tui.paths import Paths
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.providers.resources import find_gpus
from sophia_tui.services.calendar import CalendarService
from sophia_tui.services.prices import Prices
from sophia_tui.services.promotion_recovery import LOOK_SECONDS
from sophia_tui.settings import Settings, words
from sophia_tui.worker.calendar import Calendar
from sophia_tui.worker.hosted import HostedKeeper
from sophia_tui.worker.lock import WorkerLock
from sophia_tui.worker.model_watch import ModelWatch
from sophia_tui.worker.notify import Notifier
from sophia_tui.worker.reconcile import Reconciler
from sophia_tui.worker.spawn import LOG_NAME

log = logging.getLogger("sophia.worker")

BEAT_SECONDS = 5.0
BUSY_SECONDS = 1.0
_STAND_BY_SECONDS = 2.0
_LONGEST_WAIT = 15.0
_GOODBYE_SECONDS = 3.0
_LOG_BYTES = 2_000_000


class House(Protocol):
    """What the worker needs of the wiring."""

    @property
    def settings(self) -> Settings: ...

    @property
    def paths(self) -> Paths: ...

    @property
    def clock(self) -> Clock: ...

    async def store(self) -> Store: ...

    def launcher(self) -> RunLauncher: ...

    async def perform(
        self, operation: str, request: Mapping[str, Any], actor: str
    ) -> BaseModel: ...

    async def mend(self, face: Face) -> str | None: ...

    def trainer(self, base_url: str | None) -> HostedTrainer: ...

    def prices(self) -> Prices: ...

    def messenger(self) -> Messenger: ...

    def calendar(self) -> CalendarService: ...


async def run(
    house: House,
    idle_exit: float | None = None,
    background: bool = False,
    machine: ThisMachine | None = None,
) -> int:
    """Work until SIGTERM or SIGINT, and no longer than `idle_exit` seconds without a job.

    Returns the exit status. Raises a SophiaError where the store can't be used at all (not: where
    it can't be reached, for that is waited).
    """
    handlers = _open_log(house, background)
    lock = WorkerLock(house.paths)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    gpus = await find_gpus(os.environ)
    worker = Worker(house, lock, stop, machine or ThisMachine.here(), background, gpus)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    try:
        if await _take_turn(lock, background, stop):
            await worker.work(idle_exit)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        lock.release()
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
    return 0


async def _take_turn(lock: WorkerLock, background: bool, stop: asyncio.Event) -> bool:
    """Wait for the lock of this data folder; in the background only for a moment."""
    tries = 0
    while not lock.take():
        tries += 1
        if tries == 1:
            log.info("another worker works here%s", "" if background else "; standing by")
        if background and tries > 1:  # the first try may have met a caller that only looked
            return False
        if await _stopped(stop, 0.2 if background else _STAND_BY_SECONDS):
            return False
    return True


class Worker:
    """The loop: beat, look at every job, wait for a wake-up."""

    def __init__(
        self,
        house: House,
        lock: WorkerLock,
        stop: asyncio.Event,
        machine: ThisMachine,
        background: bool = False,
        gpus: tuple[str, ...] = (),
    ) -> None:
        self._house = house
        self._lock = lock
        self._stop = stop
        self._host = machine.host
        self.id = f"{machine.host}:{os.getpid()}:{secrets.token_hex(3)}"
        self._queues = served_queues(house.settings.worker_queues, gpus)
        self._reconciler = Reconciler(
            self.id,
            machine,
            house.launcher(),
            house.paths,
            house.settings,
            house.clock,
            self._queues,
            gpus,
            stop.is_set,
        )
        self._calendar = Calendar(self.id, house.perform, house.clock)
        self._hosted = HostedKeeper(
            self.id, machine.host, house.trainer, house.prices, house.settings, house.clock
        )
        self._notifier = Notifier(house.messenger)
        self._models = ModelWatch(house.calendar)
        self._background = background
        self._beaten = float("-inf")
        self._mended = float("-inf")
        self._mending: asyncio.Task[str | None] | None = None
        self._store: Store | None = None

    def stop(self) -> None:
        """End soon; a store that went away with us is not brought back."""
        self._stop.set()
        if self._store is not None:
            self._store.leave()

    async def work(self, idle_seconds: float | None) -> None:
        """Until stopped, or idle for that long. Raises SophiaError where the store is no use."""
        log.info("worker %s begins", self.id)
        loop = asyncio.get_running_loop()
        wait, reached, active = 0.5, False, False
        active_at = busy_at = loop.time()
        while not self._stop.is_set():
            try:
                store = self._store = await self._house.store()
                self._reconciler.settings = self._hosted.settings = self._house.settings
                await self._beat(store)
                await self._mend(at_start=not reached)
                reached = True
                active = await self._reconciler.round(store)
                if self._stop.is_set():
                    break  # what is under way goes on; nothing new is begun
                active |= await self._look_at_hosted(store)
                active |= await self._calendar.round(store)
                self._models.look(store, self._house.settings)
                self._notifier.look(store, self._house.settings)
                if active:
                    active_at = busy_at = loop.time()
                elif self._calendar.waits or self._reconciler.keeps_paused:
                    active_at = loop.time()  # nobody else would begin what is due later
                elif self._background and self._hosted.misfit:
                    break  # who waits for those jobs starts a worker that knows their provider
                if idle_seconds is not None and loop.time() - active_at >= idle_seconds:
                    if await self._may_end(store):
                        break
                    active_at = loop.time()
                wait = 0.5
                busy = busy_at >= loop.time() - 2 * BUSY_SECONDS
                await self._wait(store, BUSY_SECONDS if busy else BEAT_SECONDS)
            except SophiaError as problem:
                if not reached and not isinstance(problem, UnavailableError):
                    raise
                log.warning("the store: %s %s; trying again", problem.code, problem.why)
                idle = idle_seconds is not None and loop.time() - active_at >= idle_seconds
                if idle and not active:
                    break
                wait = await self._rest(wait)
            except Exception as problem:
                # a defect must not leave runs unwatched; its text may hold data, so only the place
                where = "".join(traceback.format_tb(problem.__traceback__))
                log.error("defect: %s\n%s", type(problem).__name__, where)
                wait = await self._rest(wait)
        await self._calendar.close()
        await self._hosted.close()
        await self._models.close()
        await self._notifier.close()
        await self._leave_mending()
        await self._say_goodbye()
        log.info("worker %s ends", self.id)

    async def _mend(self, at_start: bool) -> None:
        """Look now and then for a promotion that was cut off; units that restart take their time,
        so that only the first look is waited for."""
        now = asyncio.get_running_loop().time()
        busy = self._mending is not None and not self._mending.done()
        if busy or (not at_start and now - self._mended < LOOK_SECONDS):
            return
        self._mended = now
        self._mending = asyncio.create_task(self._house.mend(Face.WORKER))
        if at_start:
            await self._mending

    async def _leave_mending(self) -> None:
        """Let it end; what is cut off once more is found by the next look."""
        if self._mending is not None and not self._mending.done():
            await asyncio.wait({self._mending}, timeout=_GOODBYE_SECONDS)
            self._mending.cancel()

    async def _rest(self, seconds: float) -> float:
        """Wait before the next try; how long the one after that is."""
        await _stopped(self._stop, seconds)
        return min(_LONGEST_WAIT, seconds * 2)

    async def _look_at_hosted(self, store: Store) -> bool:
        if HOSTED_QUEUE not in self._queues:
            return False
        self._hosted.claimer = self._reconciler.claimer
        return await self._hosted.round(store)

    async def _beat(self, store: Store) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._beaten >= BEAT_SECONDS - 0.5:
            why = self._reconciler.limits.hindrance
            await store.jobs.beat(self._reconciler.claimer, os.getpid(), why)
            self._beaten = now

    async def _say_goodbye(self) -> None:
        """Take our sign of life away, so that nobody waits for us; without the store, it fades."""
        with contextlib.suppress(SophiaError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await (await self._house.store()).jobs.forget_worker(self.id)

    async def _may_end(self, store: Store) -> bool:
        """Let the lock go, then look: who queues a job from now on starts a worker of their own.
        While a message waits to be sent there is work."""
        if await store.notifications.waiting():
            return False
        self._lock.release()
        if not await store.jobs.page(limit=1, states=("queued",)):
            return True
        return not self._lock.take()

    async def _wait(self, store: Store, seconds: float) -> None:
        """Until somebody wakes us, we are stopped, or so many seconds went by."""
        woken = asyncio.ensure_future(_as_coroutine(store.jobs.wait_for_wakeup(seconds)))
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({woken, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (woken, stopped):
                if not task.done():
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
        if not woken.cancelled():
            woken.result()


def served_queues(chosen: str, gpus: tuple[str, ...]) -> tuple[str, ...]:
    """The queues of SOPHIA_WORKER_QUEUES; auto: all that a machine with these GPUs can do."""
    if chosen.strip().lower() != "auto":
        return words(chosen)
    return (*dict.fromkeys(QUEUES.values()), HOSTED_QUEUE, *([GPU_QUEUE] if gpus else []))


async def _as_coroutine(waiting: Awaitable[bool]) -> bool:
    return await waiting


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so many seconds at most; whether we are to stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()


def _open_log(house: House, background: bool) -> list[logging.Handler]:
    """logs/worker.log, and stderr in the foreground; never a word of a data set."""
    folder = house.paths.logs
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handlers: list[logging.Handler] = [
        RotatingLogFile(folder / LOG_NAME, maxBytes=_LOG_BYTES, backupCount=3, delay=True)
    ]
    if not background:
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
        log.addHandler(handler)
    log.setLevel(house.settings.log_level.upper())
    log.propagate = False
    return handlers
