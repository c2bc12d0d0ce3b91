"""The rules of tidying up: what is named by one, and whose files must stay anyway."""

import fnmatch
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import Field

from finetune.schema import CHECKPOINTS_FOLDER, EXPORTED_FOLDER, MERGED_FOLDER
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.models import Model
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Store
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.paths import Paths
from sophia_tui.services.disk_use import newest_change
from sophia_tui.services.job_states import has_ended

_PAGE = 500
_MOST_DAYS = 36_500
#: What writers leave when they are killed, before a file or folder has its name.
_LEFTOVERS = (".unfinished-*", ".pruned-*", "*.part", ".*.part", ".*.tmp")
_LEFTOVER_DAYS = 1


class PruneRequest(Input):
    checkpoint_days: int = Field(
        default=7,
        ge=0,
        le=_MOST_DAYS,
        description=N_(
            "Checkpoints of jobs that succeeded or were cancelled go after so many days."
        ),
    )
    failed_days: int = Field(
        default=30,
        ge=0,
        le=_MOST_DAYS,
        description=N_("Run folders of failed and cancelled jobs go after so many days."),
    )
    merged_days: int = Field(
        default=90,
        ge=0,
        le=_MOST_DAYS,
        description=N_("Merged and exported models go after so many days; they can be made again."),
    )
    event_days: int = Field(
        default=180,
        ge=0,
        le=_MOST_DAYS,
        description=N_(
            "Progress events in the store go after so many days; the run's own file keeps them."
        ),
    )
    log_days: int = Field(
        default=30,
        ge=0,
        le=_MOST_DAYS,
        description=N_(
            "Old logs go after so many days; so do inspections and indexes, which can be made "
            "again."
        ),
    )


@dataclass(frozen=True)
class Find:
    """Something that a rule names. `job` is whose it is, as far as it is a run's."""

    what: str
    of: str
    path: Path
    why: str
    job: Job | None = None


async def needed_jobs(store: Store) -> dict[str, str]:
    """Jobs whose files must stay, with the reason: not ended, deployed, a way back, worked on."""
    models = {each.id: each async for each in _all_models(store)}
    names: dict[str, str] = {}
    reasons: dict[str, str] = {}
    offset = 0
    while page := await store.promotions.page(_PAGE, offset):
        for promotion in page:
            for name in filter(None, (promotion.model_id, promotion.previous_model)):
                names.setdefault(name, _("promoted once, so it is a way back"))
        offset += len(page)
    offset = 0
    while living := await store.deployments.page(_PAGE, offset, living=True):
        names.update({each.model_id: _("it is being served") for each in living})
        offset += len(living)
    async for job in all_jobs(store):
        if not has_ended(job):
            reasons[job.id] = _("job {job} has not ended").format(job=job.id)
            if job.model_id:
                names[job.model_id] = _("job {job} works on it").format(job=job.id)
    for name, why in names.items():
        current = models.get(name)
        while current is not None:  # a merged model, and the adapter that it was made of
            if current.job_id:
                reasons.setdefault(current.job_id, f"{current.id}: {why}")
            current = models.get(current.parent) if current.parent else None
    return reasons


def named(
    request: PruneRequest, jobs: Sequence[Job], paths: Paths, now: datetime
) -> Iterator[Find]:
    """What the rules name, of this machine's data folder alone."""
    for job in jobs:
        run = Path(job.run_folder) if job.run_folder else None
        if run is None or run.parent != paths.runs or not run.is_dir() or not has_ended(job):
            continue
        yield from _of_run(request, job, run, _days(job.finished_at, now))
    yield from _leftovers(paths, now)
    yield from _old(_("log"), paths.logs, "*.log.*", now, request.log_days)
    yield from _old(_("inspection"), paths.inspections, "[!.]*", now, request.log_days)
    yield from _old(_("index"), paths.indexes, "[!.]*", now, request.log_days)


def _of_run(request: PruneRequest, job: Job, run: Path, days: float) -> Iterator[Find]:
    ended = ngettext("ended {days} day ago", "ended {days} days ago", int(days)).format(
        days=int(days)
    )
    failed = job.state != JobState.SUCCEEDED
    if failed and days >= request.failed_days:
        yield Find(
            _("run"),
            job.id,
            run,
            _("{state}, {ended}").format(state=_(job.state), ended=ended),
            job,
        )
        return
    saved = run / CHECKPOINTS_FOLDER
    done = job.state in (JobState.SUCCEEDED, JobState.CANCELLED)
    if done and saved.is_dir() and days >= request.checkpoint_days:
        yield Find(_("checkpoints"), job.id, saved, ended, job)
    merged = run / MERGED_FOLDER
    if job.kind is JobKind.MERGE and merged.is_dir() and days >= request.merged_days:
        why = _("{ended}; it can be merged again").format(ended=ended)
        yield Find(_("merged model"), job.resulting_model or job.id, merged, why, job)
    exported = run / EXPORTED_FOLDER
    if job.kind is JobKind.EXPORT and exported.is_dir() and days >= request.merged_days:
        why = _("{ended}; it can be exported again").format(ended=ended)
        yield Find(_("exported model"), job.resulting_model or job.id, exported, why, job)


def _leftovers(paths: Paths, now: datetime) -> Iterator[Find]:
    """Of writers that were killed; never of a run that goes on, which tidies up itself."""
    before = (now - timedelta(days=_LEFTOVER_DAYS)).timestamp()
    written = (paths.runs, paths.datasets, paths.reports, paths.data, paths.exports, paths.edits)
    for folder in (*written, paths.previews, paths.inspections, paths.indexes):
        places = [folder, *(folder.glob("*/") if folder == paths.datasets else ())]
        for place in places:
            for path in sorted(place.iterdir()) if place.is_dir() else ():
                left = any(fnmatch.fnmatch(path.name, each) for each in _LEFTOVERS)
                if left and newest_change(path) < before:
                    yield Find(_("leftover"), path.name, path, _("half-written, a day old"))


def _old(what: str, folder: Path, pattern: str, now: datetime, days: int) -> Iterator[Find]:
    before = (now - timedelta(days=days)).timestamp()
    why = ngettext("not written for {days} day", "not written for {days} days", days).format(
        days=days
    )
    for path in sorted(folder.glob(pattern)) if folder.is_dir() else ():
        if newest_change(path) < before:
            yield Find(what, path.name, path, why)


def _days(at: datetime | None, now: datetime) -> float:
    return (now - at).total_seconds() / 86_400 if at else 0.0


async def _all_models(store: Store) -> AsyncIterator[Model]:
    offset = 0
    while page := await store.models.page(_PAGE, offset):
        for each in page:
            yield each
        offset += len(page)


async def all_jobs(store: Store) -> AsyncIterator[Job]:
    """Every job, newest first."""
    offset = 0
    while page := await store.jobs.page(_PAGE, offset):
        for each in page:
            yield each
        offset += len(page)
