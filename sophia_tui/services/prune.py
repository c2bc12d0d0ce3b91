"""Tidying up: how much room Sophia's things take, and what may go by which rule.

Never what is deployed, a way back, or running; never what Sophia did not make. What a person may
still want (a failed run to be resumed) waits longer than what is only a leftover.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from finetune.schema import (
    ADAPTER_FOLDER,
    CHECKPOINTS_FOLDER,
    EVENTS_FILE,
    EXPORTED_FOLDER,
    LOCK_FILE,
    LOG_FILE,
    MERGED_FOLDER,
)
from sophia_tui.domain.context import Context, Progress, Role
from sophia_tui.domain.operations import Danger, NoInput, Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.paths import Paths, cache_folder, model_cache
from sophia_tui.services.disk_use import Size, shown_size, size_of
from sophia_tui.services.operations import operation
from sophia_tui.services.prune_rules import Find, PruneRequest, all_jobs, named, needed_jobs

_MOST_DAYS = 36_500


class UseView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("what", "size", "files", "path")

    what: str = Field(title=N_("What"))
    size: str = Field(title=N_("Size"))
    bytes: int = Field(title=N_("Bytes"))
    files: int = Field(title=N_("Files"))
    path: str = Field(default="", title=N_("Folder"))


class UseReport(Output):
    free_bytes: int = Field(title=N_("Free on the disk (bytes)"))
    items: list[UseView] = Field(title=N_("What takes room"))


class PrunedView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("what", "of", "size", "why")

    what: str = Field(title=N_("What"))
    of: str = Field(title=N_("Of"))
    path: str = Field(default="", title=N_("Folder"))
    bytes: int = Field(title=N_("Bytes"))
    size: str = Field(title=N_("Size"))
    why: str = Field(title=N_("Why"))


class PruneReport(Output):
    """What went, and what stays although a rule names it."""

    freed_bytes: int = Field(title=N_("Freed (bytes)"))
    items: list[PrunedView] = Field(title=N_("Removed"))
    kept: list[PrunedView] = Field(title=N_("Kept"))


class PrunePlan(PruneReport):
    """The same of a dry run: what would go."""

    freed_bytes: int = Field(title=N_("Would be freed (bytes)"))
    items: list[PrunedView] = Field(title=N_("Would be removed"))
    kept: list[PrunedView] = Field(title=N_("Would be kept"))


class PruneService:
    """Shows sizes and removes what rules allow."""

    def __init__(self, store: Store, paths: Paths, clock: Clock) -> None:
        self._store = store
        self._paths = paths
        self._clock = clock

    @operation("setup.usage", N_("Show what takes room: runs, checkpoints, events, logs, caches."))
    async def usage(self, context: Context, request: NoInput) -> UseReport:
        converted = model_cache(self._paths)
        elsewhere = not converted.is_relative_to(self._paths.models)
        caches = converted if elsewhere else cache_folder()
        items = [
            _use(_("data sets"), size_of(self._paths.datasets), self._paths.datasets),
            *self._runs(),
            _use(_("base models"), size_of(self._paths.models), self._paths.models),
            _use(_("served models"), size_of(self._paths.deployments), self._paths.deployments),
            _use(_("uploaded files"), size_of(self._paths.uploads), self._paths.uploads),
            _use(_("exported data sets"), size_of(self._paths.exports), self._paths.exports),
            _use(_("backups"), size_of(self._paths.backups), self._paths.backups),
            _use(_("archives for support"), size_of(self._paths.bundles), self._paths.bundles),
            _use(_("variations"), size_of(self._paths.variations), self._paths.variations),
            _use(_("unsaved edits"), size_of(self._paths.edits), self._paths.edits),
            _use(_("inspections"), size_of(self._paths.inspections), self._paths.inspections),
            _use(_("indexes of files"), size_of(self._paths.indexes), self._paths.indexes),
            _use(_("previews"), size_of(self._paths.previews), self._paths.previews),
            _use(_("reports"), size_of(self._paths.reports), self._paths.reports),
            _use(_("logs"), size_of(self._paths.logs), self._paths.logs),
            _use(_("caches"), size_of(caches), caches),
            _use(_("store"), size_of(self._paths.postgres), self._paths.postgres),
        ]
        events = await self._store.jobs.events_size()
        items.append(_use(_("events in the store"), Size(events.bytes, events.rows), None))
        folder = self._paths.data
        free = shutil.disk_usage(folder).free if folder.is_dir() else 0
        return UseReport(free_bytes=free, items=[each for each in items if each.bytes])

    def _runs(self) -> Iterator[UseView]:
        runs = sorted(self._paths.runs.iterdir()) if self._paths.runs.is_dir() else []
        known = {
            _("checkpoints"): CHECKPOINTS_FOLDER,
            _("adapters"): ADAPTER_FOLDER,
            _("merged models"): MERGED_FOLDER,
            _("exported models"): EXPORTED_FOLDER,
            _("events of runs"): EVENTS_FILE,
            _("logs of runs"): LOG_FILE,
        }
        whole = sum((size_of(run) for run in runs), Size())
        parts = {
            title: sum((size_of(run / name) for run in runs), Size())
            for title, name in known.items()
        }
        for title, size in parts.items():
            yield _use(title, size, self._paths.runs)
        rest = Size(
            whole.bytes - sum(each.bytes for each in parts.values()),
            whole.files - sum(each.files for each in parts.values()),
        )
        yield _use(_("other parts of runs"), rest, self._paths.runs)

    @operation(
        "setup.prune",
        N_("Remove old checkpoints, failed runs, logs and leftovers; --dry-run only lists them."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
        dry_run=True,
    )
    async def prune(self, context: Context, request: PruneRequest) -> PruneReport:
        needed = await needed_jobs(self._store)
        gone: list[PrunedView] = []
        kept: list[PrunedView] = []
        jobs = [each async for each in all_jobs(self._store)]
        finds = list(named(request, jobs, self._paths, self._clock.now()))
        for place, find in enumerate(finds):
            context.cancel.check(_("What was removed by then stays removed."))
            context.progress(Progress(_("tidying up"), place, len(finds)))
            size = size_of(find.path)
            stays = needed.get(find.job.id) if find.job else None
            if stays is None and not context.dry_run:
                stays = await self._remove(find)
            if stays is None:
                gone.append(_pruned(find, size, find.why))
            else:
                kept.append(_pruned(find, size, stays))
        before = self._clock.now() - timedelta(days=request.event_days)
        rows = await self._store.jobs.drop_progress(before, dry_run=context.dry_run)
        if rows:
            why = _("progress of jobs that ended before {day}").format(day=f"{before:%Y-%m-%d}")
            text = ngettext("{number} row", "{number} rows", rows).format(number=number(rows))
            gone.append(
                PrunedView(what=_("events in the store"), of=text, bytes=0, size="", why=why)
            )
        report = PrunePlan if context.dry_run else PruneReport
        return report(freed_bytes=sum(x.bytes for x in gone), items=gone, kept=kept)

    async def _remove(self, find: Find) -> str | None:
        """Remove it; or why it stays after all (somebody took it up meanwhile)."""
        if find.job is None:
            return _dropped(find.path)
        current = await self._store.jobs.get(find.job.id)
        if current is None or current.version != find.job.version:
            return _("the job was taken up again")
        with _alone(Path(find.job.run_folder or "")) as alone:
            return _dropped(find.path) if alone else _("a process works on it")


@contextmanager
def _alone(run: Path) -> Iterator[bool]:
    """Whether no run program works in the folder; none can begin until we are done."""
    try:
        lock = open(run / LOCK_FILE, "ab")  # noqa: SIM115
    except OSError:
        yield True  # never began, or gone already
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _dropped(path: Path) -> str | None:
    """Out of the way by one rename, then gone: a kill in between leaves what the next look finds.
    None where it is gone, else why it stays."""
    aside = path.with_name(f".pruned-{path.name}")
    try:
        if path.is_dir() and not path.is_symlink():
            if not path.name.startswith(".pruned-"):
                shutil.rmtree(aside, ignore_errors=True)
                os.rename(path, aside)
                path = aside
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return None
    except OSError as problem:
        return problem.strerror or type(problem).__name__
    return None


def _use(what: str, size: Size, path: Path | None) -> UseView:
    return UseView(
        what=what,
        size=shown_size(size.bytes),
        bytes=size.bytes,
        files=size.files,
        path=str(path) if path else "",
    )


def _pruned(find: Find, size: Size, why: str) -> PrunedView:
    return PrunedView(
        what=find.what,
        of=find.of,
        path=str(find.path),
        bytes=size.bytes,
        size=shown_size(size.bytes),
        why=why,
    )
