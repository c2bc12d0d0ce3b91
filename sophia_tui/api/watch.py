"""Looks at the served models while the API lives: an engine that vanished is started again, and so
is one that lives but is at work for nobody and silent."""

import asyncio
import contextlib
import fcntl
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sophia_tui.errors import SophiaError
from sophia_tui.services.operations import logged_error

if TYPE_CHECKING:
    from sophia_tui.api.front import Front
    from sophia_tui.services.deployments import Deployments
    from sophia_tui.wiring import House

EVERY_SECONDS = 2.0
_LONGEST_PAUSE = 30.0
#: For a single token, of an engine that has nothing else to do.
_PROBE_SECONDS = 30.0

_log = logging.getLogger("sophia.api")


class Watch:
    """One watches in each data folder; the others stand by. A --readonly API only answers.

    Whether somebody waits for an engine is known of the requests through this API alone.
    """

    def __init__(self, house: "House", front: "Front") -> None:
        self._house = house
        self._front = front
        self._probes: dict[str, asyncio.Task[bool]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self._house.readonly:
            self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._task is not None:
            tasks = [self._task, *self._probes.values()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _work(self) -> None:
        pause = EVERY_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                with self._turn() as ours:
                    self._front.watched = ours
                    if ours:
                        deployments = await self._house.deployments()
                        await deployments.look()
                        await self._look_for_stuck(deployments)
                pause = EVERY_SECONDS
            except SophiaError as problem:
                _log.warning("served models can't be watched: %s", problem.code)
                pause = min(_LONGEST_PAUSE, pause * 2)
            except Exception as problem:  # a defect must not leave engines unwatched
                logged_error(problem, "watch")
                pause = min(_LONGEST_PAUSE, pause * 2)

    async def _look_for_stuck(self, deployments: "Deployments") -> None:
        """Probe what a client has left, beside the other looks; restart what stays silent."""
        limit = self._house.settings.serving_stuck_seconds
        for process, use in list(self._front.uses.items()):
            idle = use.idle_in_doubt()
            probe = self._probes.get(process)
            if probe is not None and probe.done():
                del self._probes[process]
                if not probe.result():
                    use.trust()
                elif idle is not None and idle > limit:  # the whole probe was in that time
                    await deployments.restart_stuck(use.deployment_id, limit)
                    use.trust()
            if use.idle_in_doubt() is not None and process not in self._probes:
                work = deployments.silent(use.deployment_id, min(_PROBE_SECONDS, limit))
                self._probes[process] = asyncio.create_task(work)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[bool]:
        """Whether it is ours to look: nothing was ever served here, or another process does it."""
        folder = self._house.paths.deployments
        try:
            lock = open(folder / "watch.lock", "ab")  # noqa: SIM115
        except FileNotFoundError:
            yield False
            return
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
