"""Watches what is not told: runs that hang or take too much memory, and jobs that nobody has."""

import logging
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.schema import HEARTBEAT_FILE, Heartbeat
from sophia_tui.domain.jobs import Job, RunIdentity
from sophia_tui.domain.protocols import RunLauncher
from sophia_tui.providers import resources

log = logging.getLogger("sophia.worker")

#: A run that computes and gives no sign may hold on so many times longer: it loads a base, say.
_PATIENCE = 10
_TERMINATE_SECONDS = 20.0
_LOOK_SECONDS = 5.0
#: On top of the workers' own silence; for another machine, whose files come late over a network.
_RIPE_SECONDS = 8.0
_RIPE_SECONDS_AFAR = 90.0


@dataclass
class Sign:
    """When a run's heartbeat and its work changed last, by our own clock."""

    beat: object
    work: int | None
    beaten: float
    worked: float


class Guard:
    """Times are counted here and by the monotonic clock: a clock that jumps ends no run."""

    def __init__(self, launcher: RunLauncher) -> None:
        self.limit: int | None = None
        self._launcher = launcher
        self._signs: dict[str, Sign] = {}
        self._over: dict[str, tuple[float, int, int]] = {}

    def is_stuck(
        self, job_id: str, living: RunIdentity, beat: Heartbeat | None, seconds: float
    ) -> bool:
        """Whether a run gives no sign any more; then it is killed, and has to be taken up again."""
        now, work = time.monotonic(), resources.work_of(living.pid)
        mark = (living, beat.at if beat else None)
        sign = self._signs.get(job_id)
        if sign is None:
            sign = self._signs[job_id] = Sign(mark, work, now, now)
        if sign.beat != mark:
            sign.beat, sign.beaten = mark, now
        if sign.work != work:
            sign.work, sign.worked = work, now
        silent, idle = now - sign.beaten, now - sign.worked
        if silent < seconds or (idle < seconds and silent < seconds * _PATIENCE):
            return False
        log.warning("job %s gives no sign for %.0f s: killed", job_id, silent)
        self._launcher.signal(living, signal.SIGKILL)
        return True

    def watch(self, job_id: str, living: RunIdentity) -> None:
        """End a run that takes more memory than it may: it is asked first, then killed."""
        if self.limit is None:
            return
        taken, now = resources.memory_of(living.pid), time.monotonic()
        if taken <= self.limit and job_id not in self._over:
            return
        since, most, limit = self._over.get(job_id, (now, 0, self.limit))
        if job_id not in self._over:
            log.warning("job %s takes %d MB of %d", job_id, taken >> 20, limit >> 20)
            self._launcher.signal(living, signal.SIGTERM)
        elif now - since > _TERMINATE_SECONDS:
            self._launcher.signal(living, signal.SIGKILL)
        self._over[job_id] = (since, max(most, taken), limit)

    def too_much(self, job_id: str) -> tuple[int, int] | None:
        """The bytes that the run took, and those it might have, where it was ended for that."""
        found = self._over.get(job_id)
        return None if found is None else found[1:]

    def forget(self, job_id: str) -> None:
        self._signs.pop(job_id, None)
        self._over.pop(job_id, None)


class Strays:
    """Jobs of other data folders: ripe once nobody cared for them long enough, and we can."""

    def __init__(self) -> None:
        self._looked = float("-inf")
        self._seen: dict[str, tuple[object, float]] = {}

    def due(self) -> bool:
        """Whether it is time to look."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return False
        self._looked = now
        return True

    def ripe(self, found: Sequence[Job], host: str) -> list[Job]:
        """Those to take over. A run of another machine must have been silent all that time."""
        now, before = time.monotonic(), self._seen
        self._seen = {}
        ripe = []
        for job in found:
            if not _reachable(job):
                continue
            here = job.worker_id is not None and job.worker_id.startswith(f"{host}:")
            mark = None if here else _mark(job)
            seen, since = before.get(job.id, (mark, now))
            if seen != mark:
                since = now
            self._seen[job.id] = (mark, since)
            if now - since >= (_RIPE_SECONDS if here else _RIPE_SECONDS_AFAR):
                ripe.append(job)
        return ripe


def _reachable(job: Job) -> bool:
    if job.run_folder is None:
        return True
    return Path(job.run_folder).is_dir() and os.access(job.run_folder, os.R_OK | os.W_OK | os.X_OK)


def _mark(job: Job) -> object:
    try:
        found = (Path(job.run_folder or "") / HEARTBEAT_FILE).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
