"""Prepares a job's run folder and launches the run, for the first time or once more."""

import json
import logging
from pathlib import Path
from typing import Any

from finetune.schema import ContractError, RunSpec, load_run_spec
from finetune.schema import write_run_spec as write_spec
from sophia_tui.domain.jobs import Job, JobEvent, JobKind, JobState
from sophia_tui.domain.protocols import Clock, RunLauncher, Store
from sophia_tui.files import write_whole
from sophia_tui.paths import Paths
from sophia_tui.providers import run_folder
from sophia_tui.worker import errors

log = logging.getLogger("sophia.worker")

_PAGE = 500


class Starter:
    """Brings jobs to life."""

    def __init__(self, worker_id: str, launcher: RunLauncher, paths: Paths, clock: Clock) -> None:
        #: The GPUs that runs share, and how many runs: slot 1 of 2 gets every second one.
        self.gpus: tuple[str, ...] = ()
        self.slots = 1
        self.memory_bytes: int | None = None
        self._worker_id = worker_id
        self._launcher = launcher
        self._paths = paths
        self._clock = clock

    async def start(
        self,
        store: Store,
        job: Job,
        resumes: int | None = None,
        died: dict[str, Any] | None = None,
    ) -> Job:
        """Launch the job's run; `died` is a warning about the attempt before, for its events. The
        row is changed before anything starts, so that a person who was faster (ConflictError J409)
        keeps the last word.

        Raises JobError J502 (not started), J503 (folder gone), J504 (folder not writable).
        """
        folder = Path(job.run_folder) if job.run_folder else self._paths.runs / job.id
        job = await store.jobs.update(
            job.id,
            version=job.version,
            state=JobState.VALIDATING.value,
            identity=None,
            worker_id=self._worker_id,
            resumes=job.resumes if resumes is None else resumes,
            started_at=job.started_at or self._clock.now(),
            seconds_left=None,
            waiting=None,
        )
        offset = 0
        if job.run_folder is None:
            self._make_folder(job, folder)
        else:
            offset = await self._tidy_folder(store, job, folder, died)
        job = await store.jobs.update(job.id, run_folder=str(folder), event_offset=offset)
        gpus = self.gpus[job.slot :: self.slots] if job.slot is not None else ()
        identity = await self._launcher.launch(job.kind.value, str(folder), gpus, self.memory_bytes)
        log.info("job %s runs as process %d (resumes: %d)", job.id, identity.pid, job.resumes)
        return await store.jobs.update(job.id, identity=identity, heartbeat_at=self._clock.now())

    def missing_path(self, job: Job) -> str | None:
        """A file or folder that the job needs and that is not on this machine."""
        run = job.request.get("run") or {}
        for name in ("dataset_path", "adapter_path", "base"):
            path = str(run.get(name) or "")
            if path.startswith("/") and not Path(path).exists():
                return path
        return None

    def _make_folder(self, job: Job, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if job.kind is JobKind.DATA:
                text = json.dumps(job.request["asked"], ensure_ascii=False, indent=2) + "\n"
                write_whole(folder / run_folder.OPERATION_FILE, text.encode())
            else:
                write_spec(folder, RunSpec.model_validate(job.request["run"]))
        except OSError as problem:
            raise errors.folder_not_written(folder, problem) from problem

    async def _tidy_folder(
        self, store: Store, job: Job, folder: Path, died: dict[str, Any] | None
    ) -> int:
        """Ready a used folder for one more attempt; returns the size of those of its events that
        the store has.

        The old heartbeat goes, so that the old process is never taken for the new one.
        """
        try:
            if job.kind is JobKind.DATA:
                (folder / run_folder.OPERATION_FILE).stat()
            else:
                load_run_spec(folder)
        except (ContractError, OSError) as problem:
            raise errors.folder_missing(job) from problem
        try:
            run_folder.drop_heartbeat(folder)
            run_folder.ask(folder, "none")
            whole = run_folder.whole_events(folder)
            stored = await self._stored_events(store, job, whole)
            size = run_folder.repair_events(folder, stored)
            if died is not None:
                last = max(whole, stored[-1].number if stored else 0)
                told = JobEvent(job.id, last + 1, self._clock.now(), "warning", died)
                run_folder.repair_events(folder, [told])
            return size
        except OSError as problem:
            raise errors.folder_not_written(folder, problem) from problem

    async def _stored_events(self, store: Store, job: Job, after: int) -> list[JobEvent]:
        """What the store has and the file lost."""
        found: list[JobEvent] = []
        while after + len(found) < job.last_event:
            page = await store.jobs.events(job.id, after + len(found), _PAGE)
            if not page:
                break
            found += page
        return found
