"""Versions of data sets as things to keep: what was trained on each, tags, comparing, exporting,
deleting."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.datasets import DatasetUser, DatasetVersion
from sophia_tui.domain.jobs import JobState
from sophia_tui.domain.operations import Danger
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import (
    ConflictError,
    NotFoundError,
    RefusedError,
    SetupError,
    UnconfirmedError,
    UsageError,
)
from sophia_tui.files import temporary_folder, write_problem
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.datasets import (
    files_gone,
    notice_text,
    unknown_dataset,
)
from sophia_tui.services.models import named_in_production
from sophia_tui.services.operations import operation
from sophia_tui.services.version_views import (
    DeletedDataset,
    DeleteInput,
    DiffInput,
    DiffRow,
    ExportedFile,
    ExportInput,
    ExportOutput,
    PartDiff,
    StepDiff,
    TagInput,
    TagView,
    UntaggedView,
    UntagInput,
    VersionDiff,
    VersionList,
    VersionsInput,
    VersionView,
)
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

#: Hexadecimal digits alone would be read as the beginning of a hash.
_TAG = re.compile(r"(?![0-9a-f]+$)[a-z0-9][a-z0-9._-]{0,39}")
_NO_NEED = (JobState.SUCCEEDED.value, JobState.FAILED.value, JobState.CANCELLED.value)
#: What an export writes beside the data, and by which a folder is known as one.
MANIFEST = "manifest.json"
#: How a row differs; shown in the active language.
KIND_WORDS = (N_("changed"), N_("removed"), N_("added"), N_("moved"))
_SUFFIXES = {".jsonl": "none", ".jsonl.gz": "gz", ".jsonl.zst": "zst"}


async def reasons_to_keep(
    store: Store, version: DatasetVersion, users: Sequence[DatasetUser], managed: Sequence[Path]
) -> list[str]:
    """What speaks against deleting it: protecting tags, models of it that are in use."""
    found = [_("the tag {tag} protects it").format(tag=tag) for tag in version.protected]
    for each in users:
        if each.what != "model" or each.state:
            continue
        uses = [use for use, _who in await store.models.uses(each.id)]
        if "served" in uses:
            found.append(_("model {model} of it is served").format(model=each.id))
        if "promoted" in uses or named_in_production(managed, each.id):
            found.append(
                _("model {model} of it is in production, or the way back").format(model=each.id)
            )
    return found


def jobs_at_work(users: Sequence[DatasetUser]) -> list[str]:
    """Jobs on it that have not ended."""
    return [each.id for each in users if each.what == "job" and each.state not in _NO_NEED]


class VersionsService:
    """Needs `settings` for the env files of production, `paths` for where things lie."""

    def __init__(self, store: Store, settings: "Settings", paths: Paths, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._paths = paths
        self._clock = clock

    @operation(
        "prepare.versions",
        N_("List versions of data sets with their tags, sizes, and what was trained on each."),
        positional=("name",),
    )
    async def versions(self, context: Context, request: VersionsInput) -> VersionList:
        found = await self._store.datasets.page(
            request.limit, request.offset, request.name, request.deleted
        )
        users = await self._store.datasets.users([each.id for each in found])
        return VersionList(items=[VersionView.of(each, users) for each in found])

    @operation(
        "prepare.diff",
        N_("Compare two versions: rows added, removed, changed, and the steps that differ."),
        positional=("first", "second"),
    )
    async def diff(self, context: Context, request: DiffInput) -> VersionDiff:
        """Raises NotFoundError D404, D405, SetupError S101, CancelledError."""
        from sophia_tui.datasets.compare import CompareTask, steps_that_differ
        from sophia_tui.datasets.process import run_engine

        first, second = await self._get(request.first), await self._get(request.second)
        for each in (first, second):
            _require_files(each)
        index = self._paths.previews / f"diff-{first.hash[:24]}-{second.hash[:24]}.sqlite"
        found = await run_engine(
            CompareTask(
                context.language,
                first.folder,
                second.folder,
                str(index),
                request.kind,
                request.limit + 1,
                request.offset,
            ),
            context,
        )
        items = [DiffRow.model_validate(each) for each in found["items"][: request.limit]]
        return VersionDiff(
            first=first.id,
            second=second.id,
            **found["counts"],
            parts=[
                PartDiff(
                    part=part,
                    first=first.counts.get(part, 0),
                    second=second.counts.get(part, 0),
                )
                for part in ("train", "valid", "test")
            ],
            steps=[StepDiff(**each) for each in steps_that_differ(first.manifest, second.manifest)],
            items=items,
            more=len(found["items"]) > request.limit,
        )

    @operation(
        "datasets.tag",
        N_("Give a version a name of your own: name@tag stands for it from then on."),
        role=Role.OPERATOR,
        writes=True,
        target="dataset",
        positional=("dataset", "tag"),
    )
    async def tag(self, context: Context, request: TagInput) -> TagView:
        """Raises NotFoundError D404, UsageError D551."""
        if not _TAG.fullmatch(request.tag):
            raise UsageError(
                "D551",
                _("{tag} can't be a tag.").format(tag=visible(request.tag)),
                _(
                    "A tag has up to 40 small letters, digits, dots, - and _, and is not made of "
                    "hexadecimal digits alone: they are read as the beginning of a hash."
                ),
                _("Choose another word, e.g. production or v2."),
            )
        version = await self._get(request.dataset)
        before = await self._store.datasets.get(f"{version.name}@{request.tag}")
        await self._store.datasets.tag(
            version, request.tag, request.protect, context.actor, self._clock.now()
        )
        moved = before.id if before and before.hash != version.hash else None
        return TagView(
            dataset=version.id,
            tag=request.tag,
            reference=f"{version.name}@{request.tag}",
            protected=request.protect,
            moved_from=moved,
        )

    @operation(
        "datasets.untag",
        N_("Take a tag away from its version."),
        role=Role.OPERATOR,
        writes=True,
        target="dataset",
        positional=("dataset", "tag"),
    )
    async def untag(self, context: Context, request: UntagInput) -> UntaggedView:
        """Raises NotFoundError D552."""
        name, _sign, tag = request.dataset.partition("@")
        tag = request.tag or tag
        if not tag or not await self._store.datasets.untag(name, tag):
            raise NotFoundError(
                "D552",
                _("The data set {name} has no tag {tag}.").format(
                    name=visible(name), tag=visible(tag or "-")
                ),
                remedy=_("`sophia prepare versions` lists the tags."),
            )
        return UntaggedView(name=name, tag=tag, removed=True)

    # --- export ---

    @operation(
        "datasets.export",
        N_("Copy a version out, all parts or one, with its manifest, compressed on request."),
        role=Role.OPERATOR,
        writes=True,
        detaches=True,
        target="dataset",
        positional=("dataset", "to"),
    )
    async def export(self, context: Context, request: ExportInput) -> ExportOutput:
        """Raises NotFoundError D404, D405, UsageError D553, UnconfirmedError D554, RefusedError
        D557, D558, DataError D309 (damaged), SetupError S101, CancelledError: nothing is written
        then."""
        version = await self._get(request.dataset)
        _require_files(version)
        place = _target(context, version, request, self._paths)
        taken = os.path.lexists(place.path)
        if taken:
            _may_replace(context, place)
        with temporary_folder(place.path) as temporary:
            written = await self._copy(context, version, place, temporary)
            manifest = _export_manifest(version, place.compression, written)
            beside = _manifest_place(place.path, temporary, place.folder)
            beside.write_text(
                json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
            )
            _put_in_place(temporary, place, beside)
        return ExportOutput(
            dataset=version.id,
            path=str(place.path),
            manifest=str(place.path / MANIFEST if place.folder else _beside(place.path)),
            files=[
                ExportedFile(file=name, **_told(each)) for name, each in manifest["files"].items()
            ],
            replaced=taken,
            warnings=_export_warnings(version),
        )

    async def _copy(
        self, context: Context, version: DatasetVersion, place: "_Place", temporary: Path
    ) -> dict[str, dict[str, Any]]:
        from sophia_tui.datasets.exporting import SUFFIXES, ExportTask
        from sophia_tui.datasets.process import run_engine

        folder = Path(version.folder)
        listed = version.manifest.get("files") or {}
        files = []
        for name in place.files:
            told = name + SUFFIXES[place.compression] if place.folder else place.path.name
            target = temporary / told
            expected = (listed.get(name) or {}).get("sha256")
            files.append((str(folder / name), str(target), expected))
        written: dict[str, dict[str, Any]] = await run_engine(
            ExportTask(context.language, files, place.compression), context
        )
        for name, source in zip(written, place.files, strict=True):
            written[name]["rows"] = (listed.get(source) or {}).get("rows", 0)
        return written

    # --- delete ---

    @operation(
        "datasets.delete",
        N_("Delete a version's files for good; that it existed stays known."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.TYPE_NAME,
        dry_run=True,
        target="dataset",
        positional=("dataset",),
    )
    async def delete(self, context: Context, request: DeleteInput) -> DeletedDataset:
        """Raises NotFoundError D404, ConflictError D555 (a job uses it), D312 (being written),
        RefusedError D556 (protected, or in use), SetupError S101."""
        version = await self._get(request.dataset)
        users = await self._store.datasets.users([version.id])
        if working := jobs_at_work(users):
            raise _needed(version, working)
        against = await reasons_to_keep(self._store, version, users, self._settings.managed_files)
        if against and not request.regardless:
            raise RefusedError(
                "D556",
                _("The data set {dataset} is not deleted.").format(dataset=version.id),
                "; ".join(against) + ".",
                _("Take the tag away or the model out of use, or say --regardless."),
            )
        notes = [] if Path(version.folder).is_dir() else [_("Its folder was gone already.")]
        if not context.dry_run:
            await delete_version(self._store, version, context.actor, self._clock.now())
        view = VersionView.of(version, users)
        return DeletedDataset(
            dataset=version.id,
            deleted=not context.dry_run,
            folder=version.folder,
            size=view.size,
            jobs=view.jobs,
            models=view.models,
            tags=view.tags,
            kept_by=against,
            notes=notes,
        )

    async def _get(self, reference: str) -> DatasetVersion:
        found = await self._store.datasets.get(reference)
        if found is None:
            raise unknown_dataset(reference)
        return found


async def delete_version(store: Store, version: DatasetVersion, by: str, at: datetime) -> None:
    """Take the files away and mark the version as deleted. Where a job wants it meanwhile, or the
    store does not answer, the files are back.

    Raises ConflictError D555, D312, SetupError S101 where the folder can't be moved.
    """
    from sophia_tui.datasets.process import locked

    folder = Path(version.folder)
    aside = folder.with_name(f".{folder.name}.deleted.tmp")  # swept by who has the lock next
    async with locked(folder.parent) if folder.is_dir() else contextlib.nullcontext():
        try:
            if folder.is_dir():
                folder.rename(aside)
        except OSError as problem:
            raise write_problem(folder, problem) from problem
        try:
            if not await store.datasets.delete(version, by, at):
                raise _needed(version, jobs_at_work(await store.datasets.users([version.id])))
        except BaseException:
            if aside.is_dir():
                aside.rename(folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    if aside.exists():
        raise SetupError(
            "S101",
            _("{path} could not be written.").format(path=aside),
            _("Not all files could be removed."),
            _("Check the folder's owner and mode, then remove it."),
        )


def _needed(version: DatasetVersion, jobs: Sequence[str]) -> ConflictError:
    return ConflictError(
        "D555",
        _("The data set {dataset} is in use.").format(dataset=version.id),
        _("Job {job} has not ended.").format(job=", ".join(jobs) or "-"),
        _("Wait until it ends, or cancel it: `sophia jobs cancel`."),
    )


def _require_files(version: DatasetVersion) -> None:
    if not (Path(version.folder) / "train.jsonl").is_file():
        raise files_gone(version, os.strerror(2))


class _Place:
    """Where an export goes, and which files of the version."""

    def __init__(self, path: Path, folder: bool, compression: str, files: list[str]) -> None:
        self.path = path
        self.folder = folder
        self.compression = compression
        self.files = files


def _target(
    context: Context, version: DatasetVersion, request: ExportInput, paths: Paths
) -> _Place:
    if context.from_afar and request.to:
        raise RefusedError(
            "D557",
            _("Over HTTP an export goes into the data folder alone."),
            _("A path would let any file of the server be written."),
            _("Leave `to` out, or export on the server itself."),
        )
    source = Path(version.folder)
    every = [f"{part}.jsonl" for part in ("train", "valid", "test", "rejected")]
    every.append("provenance.jsonl")
    files = [f"{request.part}.jsonl"] if request.part else every
    files = [name for name in files if (source / name).is_file()]
    if not files:
        raise _misfit(_("The version has no part {part}.").format(part=request.part))
    text = request.to or ""
    suffix = next((each for each in sorted(_SUFFIXES, key=len)[::-1] if text.endswith(each)), None)
    if suffix is None:
        place = Path(text).expanduser().absolute() if text else _default_place(version, paths)
        return _Place(place, True, request.compression or "none", files)
    if request.part is None:
        raise _misfit(_("A file holds one part, and no part is named."))
    if request.compression not in (None, _SUFFIXES[suffix]):
        raise _misfit(_("The file's name says another compression."))
    return _Place(Path(text).expanduser().absolute(), False, _SUFFIXES[suffix], files)


def _default_place(version: DatasetVersion, paths: Paths) -> Path:
    return paths.exports / f"{version.name}-{version.hash[:12]}"


def _misfit(why: str) -> UsageError:
    return UsageError(
        "D553",
        _("It can't be exported like that."),
        why,
        _("Name a part (--part train) for a file, or a folder for all parts."),
    )


def _may_replace(context: Context, place: _Place) -> None:
    """Raises RefusedError D558 where something else is there, UnconfirmedError D554 without a
    yes."""
    path = place.path
    ours = path.is_file() and not path.is_symlink()
    if place.folder:
        names = {each.name for each in path.iterdir()} if path.is_dir() else set()
        ours = path.is_dir() and (not names or MANIFEST in names)
        ours = ours and all(_is_export_name(name) for name in names)
    if not ours:
        raise RefusedError(
            "D558",
            _("{path} is there already, and is no export.").format(path=visible(str(path))),
            _("What Sophia did not write is not replaced."),
            _("Choose another name."),
        )
    if not context.confirmed:
        raise UnconfirmedError(
            "D554",
            _("{path} is there already and would be replaced.").format(path=visible(str(path))),
            _("An export overwrites nothing without a yes."),
            _('Confirm it: --yes on the command line, "confirm": true over HTTP.'),
        )


def _is_export_name(name: str) -> bool:
    return name == MANIFEST or any(name.endswith(each) for each in _SUFFIXES)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{MANIFEST}")


def _manifest_place(path: Path, temporary: Path, folder: bool) -> Path:
    return temporary / (MANIFEST if folder else _beside(path).name)


def _put_in_place(temporary: Path, place: _Place, manifest: Path) -> None:
    """One rename makes it appear; what stood there before goes once the new one stands."""
    if not place.folder:
        [data] = [each for each in temporary.iterdir() if each != manifest]
        os.replace(manifest, _beside(place.path))
        os.replace(data, place.path)
        return
    whole = temporary / "whole"
    files = list(temporary.iterdir())
    whole.mkdir(mode=0o700)
    for each in files:
        each.rename(whole / each.name)
    if place.path.is_dir():
        before = temporary / "before"
        place.path.rename(before)
        try:
            whole.rename(place.path)
        except OSError:
            before.rename(place.path)
            raise
        return
    whole.rename(place.path)


def _export_manifest(
    version: DatasetVersion, compression: str, written: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The version's own manifest, with the files as they were exported."""
    about = {"dataset": version.id, "compression": compression}
    return {**version.manifest, "hash": version.hash, "export": about, "files": written}


def _told(about: dict[str, Any]) -> dict[str, Any]:
    return {name: about[name] for name in ("rows", "bytes", "sha256")}


def _export_warnings(version: DatasetVersion) -> list[str]:
    told = []
    if version.manifest.get("redacted") is not True:
        told.append(_("Personal data was not replaced: this version must not leave the machine."))
    if notice := notice_text(version):
        told.append(notice)
    return told
