"""What the machine and its people allow a worker now: quiet hours, floors, the limit of a run."""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.domain.limits import read_size
from sophia_tui.providers import resources
from sophia_tui.services import waiting
from sophia_tui.settings import Settings

log = logging.getLogger("sophia.worker")

#: After a floor was crossed a quarter more than it must be free again: no stop and go.
_ENOUGH = 1.25
_MEGABYTE = 1 << 20
_SHARE = 0.8
#: How long a run that was paused for memory waits at least, and at most: it may be the one that
#: takes it, and would only come back to the same end.
_REST = timedelta(minutes=1)
_LONGEST_REST = timedelta(hours=1)


@dataclass
class Limits:
    """Looked at once a round. `quiet` and `floor` are reasons, or None where nothing stands in the
    way; `floor` holds for all runs, `quiet` for trainings that nobody let go on regardless."""

    folder: Path
    quiet: dict[str, Any] | None = None
    floor: dict[str, Any] | None = None
    _crossed: set[str] = field(default_factory=set)
    _rests: dict[str, int] = field(default_factory=dict)

    def look(self, settings: Settings, now: datetime) -> None:
        self.quiet = waiting.quiet_now(settings, now)
        found = [self._disk(settings), self._memory(settings)]
        self.floor = next((each for each in found if each), None)

    @property
    def hindrance(self) -> dict[str, Any] | None:
        """Why no training starts here now."""
        return self.floor or self.quiet

    def against(self, job: Job) -> dict[str, Any] | None:
        """Why a job that runs must pause, or one that was paused must stay so."""
        if job.kind is not JobKind.TRAIN:
            return None
        return self.floor or (None if job.regardless else self.quiet)

    def rest(self, job: Job, now: datetime) -> datetime | None:
        """Until when a training that memory stopped rests; twice as long each time."""
        if (job.waiting or {}).get("code") != waiting.MEMORY:
            return None
        times = self._rests[job.id] = self._rests.get(job.id, -1) + 1
        return now + min(_LONGEST_REST, _REST * (1 << min(times, 10)))

    def forget(self, job: Job) -> None:
        self._rests.pop(job.id, None)

    def _disk(self, settings: Settings) -> dict[str, Any] | None:
        try:
            free = resources.free_disk(self.folder)
        except OSError as problem:
            log.warning("free disk not known: %s", problem.strerror)
            return None
        return self._below(waiting.DISK, free, settings.disk_floor_mb, folder=str(self.folder))

    def _memory(self, settings: Settings) -> dict[str, Any] | None:
        free = resources.available_memory()
        return self._below(waiting.MEMORY, free, settings.memory_floor_mb)

    def _below(self, code: str, free: int, floor_mb: int, **more: Any) -> dict[str, Any] | None:
        needed = floor_mb * _MEGABYTE * (_ENOUGH if code in self._crossed else 1.0)
        if free >= needed:
            if code in self._crossed:
                log.info("%s: there is room again", code)
            self._crossed.discard(code)
            return None
        if code not in self._crossed:
            log.warning("%s: %d MB are free", code, free // _MEGABYTE)
        self._crossed.add(code)
        return waiting.reason(code, free=free // _MEGABYTE, floor=floor_mb, **more)


def memory_limit(settings: Settings, slots: int) -> int | None:
    """The most bytes of one run; None where there is no limit."""
    text = settings.training_memory_limit
    if text == "off":
        return None
    if text == "auto":
        return int(_SHARE * resources.all_memory() / max(1, slots))
    return read_size(text)
