"""Hands one job over to its provider, once: files first, then the create that is never repeated
blindly. Every step is noted in the job's row before the next one, so that a crash loses none."""

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sophia_tui.datasets.hosted_rules import (
    has_critiques,
    write_hosted_chats,
    write_hosted_pairs,
)
from sophia_tui.domain.hosted import DPO, HostedFile, HostedJob, HostedOrder, HostedTrainer, Sent
from sophia_tui.domain.jobs import Job, JobState
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import JobError, NotFoundError, UnavailableError
from sophia_tui.services.jobs_hosted import HELD
from sophia_tui.services.train_hosted import door_is_open, require_redacted
from sophia_tui.worker import errors
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.hosted_origins import origins, told

log = logging.getLogger("sophia.worker")

#: A create that nobody answered may still be under way for so long.
SETTLE_SECONDS = 30.0
MOST_ATTEMPTS = 3
#: Some servers never say that a file is ready, so it is tried after so many seconds; those that
#: refuse it as not ready yet are asked again, until it is too long.
FILE_SECONDS = 30.0
LONGEST_FILE_SECONDS = 1800.0
_NOT_READY = frozenset({"uploaded", "pending", "processing", "queued", "running", "in_progress"})


class Submitter:
    """Brings a job to its provider."""

    def __init__(self, clock: Clock, finisher: Finisher) -> None:
        self._clock = clock
        self._finisher = finisher
        self.settle_seconds = SETTLE_SECONDS

    async def put_away(self, store: Store, job: Job) -> None:
        """A person stops a job of which the provider knows nothing yet."""
        if job.wanted == "cancel":
            await self._finisher.cancel(store, job)
            return
        state = JobState.PAUSED if job.wanted == "pause" else JobState.VALIDATING
        await store.jobs.update(job.id, version=job.version, state=state.value, wanted=None)

    async def submit(
        self, store: Store, job: Job, order: HostedOrder, trainer: HostedTrainer
    ) -> bool:
        """Go on with handing over; whether there was something to do but wait."""
        if order.training_file is None:
            # a closed door is told before a byte is sent; one that can't be asked, by the upload
            with contextlib.suppress(UnavailableError):
                await door_is_open(trainer, order, job.dataset or "", self._clock.now())
        job, order = await self._files(store, job, order, trainer)
        if not await self._ready(job, order, trainer):
            return False
        if order.attempts:
            found = await self._found(job, order, trainer)
            if found is not None:
                await self._take(store, job, found)
                return True
            if self._age(order.attempted_at) < self.settle_seconds:
                return False
            if job.wanted == "cancel":
                await self._finisher.cancel(store, job)
                return True
            if order.attempts >= MOST_ATTEMPTS:
                why = str((job.error or {}).get("why") or "-")
                raise errors.hosted_given_up(job, order.attempts, why)
        job, order = await self._note(
            store, job, order, attempts=order.attempts + 1, attempted_at=self._now()
        )
        try:
            created = await trainer.create(order, job.id)
        except JobError as problem:
            too_long = self._age(order.uploaded_at) > LONGEST_FILE_SECONDS
            if problem.code in HELD:
                await self._note(store, job, order, attempts=order.attempts - 1)  # it made no job
                raise
            if too_long or not _not_ready_yet(problem):
                raise
            await self._note(store, job, order, attempts=order.attempts - 1)  # it made no job
            return False
        await self._take(store, job, created)
        return True

    async def _files(
        self, store: Store, job: Job, order: HostedOrder, trainer: HostedTrainer
    ) -> tuple[Job, HostedOrder]:
        """Upload what is not there yet. Raises RefusedError R410, DataError D309."""
        for kind in ("training", "validation"):
            path = getattr(order, kind)
            if path is None or getattr(order, f"{kind}_file") is not None:
                continue
            await asyncio.to_thread(_still_fit, job, order, Path(path))
            wanted = self._still_wanted(store, job)
            name = f"{job.id}-{Path(path).name}"
            async with _as_sent(order, Path(path)) as file:
                sent = await trainer.upload(file, name, wanted)
            log.info("hosted job %s: %s is at the provider as %s", job.id, path, sent.id)
            job, order = await self._note(
                store, job, order, **{f"{kind}_file": sent.id, "uploaded_at": self._now()}
            )
        return job, order

    def _still_wanted(self, store: Store, job: Job) -> Sent:
        """Told of each part of a large file: a person's wish ends the upload (ConflictError J409),
        and the next look heeds it."""

        async def sent(done: int, size: int) -> None:
            log.info("hosted job %s: %s of %s bytes are there", job.id, done, size)
            now = await store.jobs.update(job.id, heartbeat_at=self._clock.now())
            if now.version != job.version:
                await store.jobs.update(job.id, version=job.version, wanted=None)  # never arrives

        return sent

    async def _ready(self, job: Job, order: HostedOrder, trainer: HostedTrainer) -> bool:
        """Whether the files may be used. Raises JobError J527 where one was refused."""
        for kind in ("training_file", "validation_file"):
            file_id = getattr(order, kind)
            if file_id is None:
                continue
            try:
                seen = await trainer.file(file_id)
            except NotFoundError:  # a server without that call: the create will tell
                seen = HostedFile(file_id)
            status = (seen.status or "").lower()
            if status == "error":
                lines = await origins(job, order, kind, seen.problem)
                why = (seen.problem or "-") + (f" [{told(lines)}]" if lines else "")
                raise errors.hosted_file_refused(kind, why, lines)
            if status in _NOT_READY and self._age(order.uploaded_at) < FILE_SECONDS:
                return False
        return True

    async def _found(
        self, job: Job, order: HostedOrder, trainer: HostedTrainer
    ) -> HostedJob | None:
        """Our job there, if the create arrived; more than one is one too many, and is cancelled.

        Raises JobError J530 where the provider can't be asked.
        """
        try:
            found = await trainer.find(order, job.id)
        except (JobError, NotFoundError) as problem:
            raise errors.hosted_unknown(job, f"{problem.what} {problem.why}") from problem
        going = [each for each in found if each.ended in (None, "succeeded")] or found
        for surplus in going[1:]:
            if surplus.ended is None:
                log.warning("hosted job %s: %s is one too many", job.id, surplus.id)
                await trainer.cancel(surplus.id)
        return going[0] if going else None

    async def _take(self, store: Store, job: Job, found: HostedJob) -> None:
        log.info("hosted job %s is %s at the provider", job.id, found.id)
        state = JobState.VALIDATING.value if job.state == JobState.PAUSED else job.state
        await store.jobs.update(
            job.id, version=job.version, provider_job_id=found.id, state=state, error=None
        )

    async def _note(
        self, store: Store, job: Job, order: HostedOrder, **changes: Any
    ) -> tuple[Job, HostedOrder]:
        """Write the order as it is now; a person's wish, or another worker, is told by the version
        (ConflictError J409)."""
        order = replace(order, **changes)
        request = {**job.request, "hosted": asdict(order)}
        job = await store.jobs.update(
            job.id,
            version=job.version,
            request=request,
            started_at=job.started_at or self._clock.now(),
        )
        return job, order

    def _now(self) -> str:
        return self._clock.now().isoformat()

    def _age(self, at: str | None) -> float:
        if at is None:
            return float("inf")
        return (self._clock.now() - datetime.fromisoformat(at)).total_seconds()


@contextlib.asynccontextmanager
async def _as_sent(order: HostedOrder, path: Path) -> AsyncIterator[Path]:
    """The file as it is sent: preference pairs are put into the protocol's form on the way, and of
    chats critiques are left out."""
    write = write_hosted_pairs
    if order.method != DPO:
        if not await asyncio.to_thread(has_critiques, path):
            yield path
            return
        write = write_hosted_chats
    with tempfile.TemporaryDirectory(prefix="sophia-hosted-") as folder:
        target = Path(folder) / path.name
        await asyncio.to_thread(write, path, target)
        yield target


def _not_ready_yet(problem: JobError) -> bool:
    """Whether a create was refused because its file is still being looked at."""
    told = problem.why.lower()
    return any(each in told for each in ("being processed", "not ready", "not yet processed"))


def _still_fit(job: Job, order: HostedOrder, path: Path) -> None:
    """The version is what was asked for: whole, and redacted. Raises RefusedError R410, DataError
    D309."""
    from sophia_tui.datasets.version import check_version

    manifest = check_version(path.parent, order.dataset_hash)
    require_redacted(job.dataset or path.parent.name, manifest)
