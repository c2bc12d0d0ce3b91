"""Ends a job in the store: its state, its result, the model it made, its line in the history.

Each step may be done again: a worker that dies between two of them leaves nothing twice.
"""

import logging
import math
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune.schema import (
    ADAPTER_FOLDER,
    EXPORTED_FOLDER,
    MANIFEST_FILE,
    MERGED_FOLDER,
    ContractError,
    RunManifest,
    read_document,
)
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.models import (
    CheckKind,
    Evaluation,
    Model,
    ModelCheck,
    ModelKind,
    merged_id,
)
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import ConflictError, SetupError, SophiaError
from sophia_tui.i18n import _
from sophia_tui.providers.run_folder import (
    drop_heartbeat,
    evaluation_report,
    made_by_run,
    parity_report,
)
from sophia_tui.services import history, tuned
from sophia_tui.services.job_figures import cost_at_end
from sophia_tui.services.model_parity_views import reasons_of
from sophia_tui.settings import Settings
from sophia_tui.textsafe import visible
from sophia_tui.worker import errors
from sophia_tui.worker.notify import announce
from sophia_tui.worker.observe import Observed

log = logging.getLogger("sophia.worker")

#: What an evaluation says of each question; it stands with the evaluation and nowhere else.
_LONG_PARTS = frozenset({"graded_answers", "samples", "losses"})


class Finisher:
    """Writes how a job ended."""

    def __init__(self, clock: Clock, settings: Settings) -> None:
        self._clock = clock
        self.settings = settings  # who is told, and of what

    async def succeed(self, store: Store, job: Job, observed: Observed) -> None:
        """Model or scores, then history, then the state: the state says that all is there."""
        result = dict(observed.result or {})
        now = self._clock.now()
        if job.started_at is not None:
            result["seconds_in_all"] = round((now - job.started_at).total_seconds(), 1)
        try:
            if job.is_try:
                result.update(extrapolated(job, result))
            elif job.kind is JobKind.TRAIN:
                job = await self._add_model(store, job, result)
                await self._note(store, job, result)
            elif job.kind is JobKind.MERGE:
                job = await self._add_merged(store, job)
            elif job.kind is JobKind.PARITY:
                await self._add_check(store, job, now)
            elif job.kind is JobKind.EXPORT:
                job = await self._add_exported(store, job)
            elif job.kind is JobKind.EVALUATE:
                await self._add_scores(store, job, result, now)
        except (SophiaError, ContractError) as problem:
            if isinstance(problem, ContractError):
                problem = errors.events_unreadable(job, problem)
            if problem.exit_code == 5:  # the store went away: try again, all steps can be repeated
                raise
            await self.fail(store, job, problem.as_dict())
            return
        self._history(job, JobState.SUCCEEDED, now, result)
        await self._end(store, job, JobState.SUCCEEDED, now, result=result, error=None)

    async def succeed_hosted(
        self,
        store: Store,
        job: Job,
        model: str,
        result: dict[str, Any],
        shutdown_at: datetime | None,
    ) -> None:
        """The same for a job at a provider, which named the tuned model."""
        now = self._clock.now()
        if job.started_at is not None:
            result["seconds_in_all"] = round((now - job.started_at).total_seconds(), 1)
        made = Model(
            id=model,
            kind=ModelKind.HOSTED,
            base=job.base,
            created_at=now,
            job_id=job.id,
            dataset=job.dataset,
            shutdown_at=shutdown_at,
        )
        if not await self._enter(store, made):
            remark = _("Another model has the name {model} here; this one is only at the provider.")
            result["remark"] = remark.format(model=visible(model))
            log.warning("hosted job %s: the name %s is taken", job.id, model)
        if job.resulting_model != model:
            job = await store.jobs.update(job.id, version=job.version, resulting_model=model)
        self._history(job, JobState.SUCCEEDED, now, result)
        await self._end(store, job, JobState.SUCCEEDED, now, result=result, error=None)

    async def _enter(self, store: Store, made: Model) -> bool:
        """Enter a hosted model into the registry; False where its name is another one's: servers
        count theirs as we count ours."""
        known = await store.models.get(made.id)
        if known is not None:
            return known.job_id == made.job_id
        try:
            await store.models.add(made)
        except ConflictError:  # the name of one that was deleted
            return False
        return True

    async def fail(self, store: Store, job: Job, error: dict[str, Any]) -> None:
        now = self._clock.now()
        if job.run_folder is not None:
            drop_heartbeat(job.run_folder)  # a person may resume it, as a new attempt
        self._history(job, JobState.FAILED, now, {})
        await self._end(store, job, JobState.FAILED, now, error=error)

    async def cancel(self, store: Store, job: Job) -> None:
        now = self._clock.now()
        self._history(job, JobState.CANCELLED, now, {})
        await self._end(store, job, JobState.CANCELLED, now)

    async def _end(
        self, store: Store, job: Job, state: JobState, now: datetime, **changes: Any
    ) -> None:
        await announce(store, self.settings, job, state.value, error=changes.get("error"))
        changes |= await cost_at_end(job, store, self.settings)
        await store.jobs.update(
            job.id,
            version=job.version,
            state=state.value,
            wanted=None,
            seconds_left=None,
            waiting=None,
            not_before=None,
            finished_at=now,
            **changes,
        )
        code = (changes.get("error") or {}).get("code", "")
        log.info("job %s ended: %s %s", job.id, state.value, code)

    async def _add_model(self, store: Store, job: Job, result: dict[str, Any]) -> Job:
        adapter = Path(job.run_folder or "") / ADAPTER_FOLDER
        if not (adapter / "adapter_config.json").is_file():
            raise errors.adapter_missing(job)
        if isinstance(loss := result.get("eval_loss"), int | float):
            result["perplexity"] = round(math.exp(min(loss, 700.0)), 4)
        if job.resulting_model is None:
            model_id = await store.models.next_id(job.request.get("model_prefix") or "sophia")
            job = await store.jobs.update(job.id, version=job.version, resulting_model=model_id)
        assert job.resulting_model is not None
        if await store.models.get(job.resulting_model) is None:
            await store.models.add(
                Model(
                    id=job.resulting_model,
                    kind=ModelKind.ADAPTER,
                    base=job.base,
                    created_at=self._clock.now(),
                    job_id=job.id,
                    dataset=job.dataset,
                    path=str(adapter),
                    **_made(job, ModelKind.ADAPTER),
                )
            )
        return job

    async def _note(self, store: Store, job: Job, result: dict[str, Any]) -> None:
        """A link that can't be made doesn't undo what was made; the job tells of it."""
        try:
            await tuned.note_success(store, job, Path(job.run_folder or "") / ADAPTER_FOLDER)
        except SetupError as problem:
            log.warning("job %s is not linked: %s", job.id, problem.why)
            result["link_problem"] = problem.as_dict()

    async def _add_merged(self, store: Store, job: Job) -> Job:
        """The merged model, under the adapter's name; one that went lost gets its new folder."""
        folder = Path(job.run_folder or "") / MERGED_FOLDER
        parent = await store.models.get(job.model_id or "")
        if parent is None or not (folder / "config.json").is_file():
            raise errors.merged_missing(job)
        written = read_document(folder.parent / MANIFEST_FILE, RunManifest)
        made = Model(
            id=merged_id(parent.id),
            kind=ModelKind.MERGED,
            base=job.base,
            created_at=self._clock.now(),
            job_id=job.id,
            dataset=job.dataset,
            path=str(folder),
            parent=parent.id,
            files={name: each.model_dump() for name, each in written.merged_files.items()},
            template_fingerprint=written.template_fingerprint,
        )
        await _put(store, made)
        return await store.jobs.update(job.id, version=job.version, resulting_model=made.id)

    async def _add_exported(self, store: Store, job: Job) -> Job:
        """The GGUF file as a model of its own, made of the one that was asked for; one that went
        lost gets its new file."""
        folder = Path(job.run_folder or "")
        written = read_document(folder / MANIFEST_FILE, RunManifest)
        files = {name: each.model_dump() for name, each in written.exported_files.items()}
        path = folder / EXPORTED_FOLDER / next(iter(files), "missing")
        if not path.is_file():
            raise errors.exported_missing(job)
        made = Model(
            id=str(job.request["makes"]),
            kind=ModelKind.EXPORTED,
            base=job.base,
            created_at=self._clock.now(),
            job_id=job.id,
            dataset=job.dataset,
            path=str(path),
            parent=job.model_id,
            files=files,
            template_fingerprint=written.template_fingerprint,
        )
        await _put(store, made)
        return await store.jobs.update(job.id, version=job.version, resulting_model=made.id)

    async def _add_check(self, store: Store, job: Job, now: datetime) -> None:
        """What was compared, and what stands against it: a check that failed is a job that did
        what it was to do."""
        report = parity_report(job.run_folder or "")
        reasons = [
            {"code": each["code"], "what": f"{each['form']}: {each['what']}"}
            for each in reasons_of(report)
        ]
        if job.model_id is not None:
            await store.checks.add(
                ModelCheck(
                    id=job.id,
                    model_id=job.model_id,
                    kind=CheckKind.PARITY,
                    passed=report["passed"],
                    report={**report, "reasons": reasons},
                    created_at=now,
                    created_by=job.created_by,
                )
            )

    async def _add_scores(
        self, store: Store, job: Job, result: dict[str, Any], now: datetime
    ) -> None:
        report = evaluation_report(job.run_folder or "")
        if job.model_id is not None:
            await store.evaluations.add(
                Evaluation(job.id, job.model_id, job.dataset, report, created_at=now)
            )
            model = await store.models.get(job.model_id)
            # measured on another model's held-out part, it is told of beside that one alone
            if model is not None and job.dataset in (None, model.dataset):
                newest = {key: value for key, value in report.items() if key not in _LONG_PARTS}
                newest["at"] = now.isoformat()
                await store.models.update(job.model_id, evaluation=newest)
        result.update(
            {key: value for key, value in report.items() if key not in _LONG_PARTS | {"answers"}}
        )

    def _history(self, job: Job, ended: JobState, at: datetime, result: dict[str, Any]) -> None:
        """A history that can't be written doesn't undo what was made; the job tells of it."""
        try:
            history.record(job, ended, at, job.resulting_model)
        except SophiaError as problem:
            log.warning("history of job %s not written: %s", job.id, problem.why)
            result["history_problem"] = problem.as_dict()


def _made(job: Job, kind: ModelKind) -> dict[str, Any]:
    """Files and template as the run wrote them down; a run without a manifest tells nothing."""
    made = made_by_run(job.run_folder or "", kind)
    if made is None or not made.files:
        log.warning("job %s: its manifest names no files of the model", job.id)
        return {}
    return {"files": made.files, "template_fingerprint": made.template_fingerprint}


def extrapolated(job: Job, result: dict[str, Any]) -> dict[str, Any]:
    """What one step says about the whole training: steps planned, and the seconds they would take
    with the loading before them."""
    planned, step = job.request.get("planned_steps"), result.get("step_seconds")
    if not isinstance(planned, int) or not isinstance(step, int | float):
        return {}
    before = max(0.0, float(result.get("seconds") or 0) - step)
    return {"planned_steps": planned, "whole_seconds": round(before + step * planned, 1)}


async def _put(store: Store, made: Model) -> None:
    """Enter a model, or give the one of that name what was made anew. One that was deleted lives
    again, and is judged from the beginning."""
    found: dict[str, Any] = {
        "path": made.path,
        "job_id": made.job_id,
        "files": made.files,
        "template_fingerprint": made.template_fingerprint,
    }
    if await store.models.get(made.id) is None:
        try:
            await store.models.add(made)
            return
        except ConflictError:
            found |= {"deleted_at": None, "evaluation": None, "state": made.state.value}
            found |= {"state_reason": None, "state_conditions": (), "state_until": None}
    await store.models.update(made.id, **found)
