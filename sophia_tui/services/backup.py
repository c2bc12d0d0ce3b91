"""Backups: one archive of store, env file, data sets and what goes with them; and the way back."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui import __version__, envfile
from sophia_tui.domain.backups import StoreCopier, StoreState
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.managed import RootHelper
from sophia_tui.domain.operations import Danger
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import NotFoundError, RefusedError, SetupError, SophiaError
from sophia_tui.files import usable_folder, whole_file
from sophia_tui.i18n import N_, _, number
from sophia_tui.paths import SERVER_ENV, Paths, own_account
from sophia_tui.services.backup_archive import (
    FORMAT_VERSION,
    HEAD,
    MANIFEST,
    SUFFIX,
    Head,
    Manifest,
    StoredFile,
    StoredUnit,
    Writer,
    check,
    read_head,
    stored_tables,
    writing,
)
from sophia_tui.services.backup_parts import Source, Wanted, parts
from sophia_tui.services.backup_views import (
    BackupEntry,
    BackupInput,
    BackupList,
    BackupsInput,
    BackupView,
    RestoreInput,
    RestorePlan,
    RestoreView,
    left_out_of,
    parts_of,
)
from sophia_tui.services.data_files import named_file
from sophia_tui.services.disk_use import shown_size
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.operations import operation
from sophia_tui.services.restoring import KEPT_KEYS, Outcome, Restoring, Unfinished, under_way
from sophia_tui.services.threads import Meter, in_thread
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_PREFIX = "sophia-"
#: Bytes that stay free on the disk whatever is written.
_SPARE = 64_000_000


class BackupService:
    """Opens the store as a store only for what lies beside it (versions, adapters): a store that
    is newer or older than the program can be backed up and replaced all the same."""

    def __init__(
        self,
        open_store: Callable[[], Awaitable[Store]],
        copier: Callable[[], StoreCopier],
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        host: str,
        helper: RootHelper | None = None,
    ) -> None:
        self._open_store = open_store
        self._make_copier = copier
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._host = host
        self._helper = helper

    @property
    def _copier(self) -> StoreCopier:
        return self._make_copier()

    # --- backup ---

    @operation(
        "setup.backup",
        N_("Write one archive of the store, the env file, data sets and adapters in use."),
        role=Role.ADMIN,
        writes=True,
        detaches=True,
        makes="path",
        positional=("folder",),
    )
    async def backup(self, context: Context, request: BackupInput) -> BackupView:
        """Raises SetupError S400 (no room), S101, ConflictError S401, RefusedError S409,
        UnavailableError, CancelledError: nothing is left then."""
        folder = self._folder(context, request.folder)
        wanted = Wanted(request.secrets, request.datasets, request.adapters, request.runs)
        store = await self._open_store()
        return await self._write(context, folder, wanted, store)

    async def _write(
        self, context: Context, folder: Path, wanted: Wanted, store: Store | None
    ) -> BackupView:
        usable_folder(folder)
        _sweep(folder)
        state = await self._copier.state()
        chosen = await parts(store, self._settings, self._paths, wanted)
        packed = state.bytes // 2 + chosen.bytes
        _require_room(folder, packed, "S400")
        copy = await self._copier.ready()
        head = Head(
            format_version=FORMAT_VERSION,
            made_at=self._clock.now(),
            host=self._host,
            program_version=__version__,
            revision=state.revision or "",
            secrets=any(each.kind in ("env", "token") for each in chosen.sources),
        )
        path = _free_name(folder, head)
        meter = Meter(context, _("Writing the backup"), packed, _("bytes"))

        def work() -> tuple[Manifest, str]:
            with whole_file(path, 0o600) as stream:
                # says as long as we live that it is being written
                fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
                hashed = _Hashed(stream)
                with writing(hashed, meter) as archive:  # type: ignore[arg-type]  # writes alone
                    archive.document(HEAD, head)
                    copied = copy.dump(archive.table)
                    units = [_pack(archive, each) for each in chosen.sources]
                    manifest = Manifest(
                        **head.model_dump(),
                        data_folder=str(self._paths.data),
                        server_version=copied.server_version,
                        at_work=list(copied.at_work),
                        tables=stored_tables(copied),
                        units=[each for each in units if each.files],
                        left_out=list(chosen.left_out),
                    )
                    archive.document(MANIFEST, manifest)
            return manifest, hashed.sha.hexdigest()

        manifest, sha = await in_thread(context, work)
        meter.finish()
        size = path.stat().st_size
        return BackupView(
            path=str(path),
            made_at=head.made_at,
            bytes=size,
            size=shown_size(size),
            sha256=sha,
            rows=sum(each.rows for each in manifest.tables),
            schema_version=manifest.revision,
            secrets=manifest.secrets,
            damaged=_damaged(manifest),
            items=parts_of(manifest),
            left_out=left_out_of(manifest),
        )

    def _folder(self, context: Context, given: str | None) -> Path:
        """Raises RefusedError S409 for a folder that is named over HTTP."""
        if given is None:
            return self._settings.backups_folder(self._paths.data)
        if context.from_afar:
            raise RefusedError(
                "S409",
                _("Over HTTP backups lie in Sophia's own folder."),
                _("A path would open any folder of the server."),
                _("Leave the folder out."),
            )
        return Path(given).expanduser().absolute()

    # --- what is there ---

    @operation(
        "setup.backups",
        N_("List backups with their time, size and version."),
        role=Role.ADMIN,
        positional=("folder",),
    )
    async def backups(self, context: Context, request: BackupsInput) -> BackupList:
        """Raises RefusedError S409."""
        folder = self._folder(context, request.folder)
        found = sorted(folder.glob(f"{_PREFIX}*{SUFFIX}")) if folder.is_dir() else []
        items = [_entry(each) for each in found]
        items.sort(key=lambda each: (each.made_at is not None, each.made_at, each.file))
        return BackupList(folder=str(folder), items=items[::-1])

    # --- restore ---

    @operation(
        "setup.restore",
        N_("Put a backup back: store, data sets, adapters and settings; checked before and after."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.TYPE_NAME,
        dry_run=True,
        target="file",
        positional=("file",),
    )
    async def restore(self, context: Context, request: RestoreInput) -> RestoreView:
        """Raises NotFoundError S404, DataError S403, S407, S408, SetupError S405, S406, S411 (no
        room), S412, S413, S415 (undecided), S416 (files not placed), S101, RefusedError S409,
        S410 (not empty), S414 (jobs at work), CancelledError."""
        path = self._archive(context, request.file)
        known = self._copier.known_revisions()
        meter = Meter(context, _("Checking the backup"), None, _("bytes"))
        manifest = await in_thread(context, lambda: check(path, known, meter))
        with under_way(self._paths) as unfinished:
            if unfinished is not None and not context.dry_run:
                ended = await self._settle(context, unfinished)
                if ended and unfinished.made_at == manifest.made_at:
                    return self._view(path, manifest, _resumed(unfinished))
            return await self._restore(context, request, path, manifest)

    async def _settle(self, context: Context, unfinished: Unfinished) -> bool:
        """End what a killed restore left: forward where its store came to be, else away with it."""
        copy = await self._copier.ready()
        came = await in_thread(context, lambda: copy.committed(unfinished.transaction))
        if came is None:
            raise SetupError(
                "S415",
                _("A restore of before is not decided yet."),
                _("Its transaction is still open on the server."),
                _("Try again in a moment."),
            )
        unfinished.finish() if came else unfinished.drop()
        return came

    async def _restore(
        self, context: Context, request: RestoreInput, path: Path, manifest: Manifest
    ) -> RestoreView:
        state = await self._copier.state()
        self._permit(context, request, state, manifest)
        work = Restoring(path, manifest, self._settings, self._paths, request.secrets)
        work.plan()
        _require_room(self._paths.data, work.outcome.bytes + manifest.store_bytes, "S411")
        if context.dry_run:
            return self._view(path, manifest, work.outcome, RestorePlan)
        before = None
        if not state.empty:
            wanted = Wanted(datasets=False, adapters="none")
            usable_folder(self._paths.backups)
            before = (await self._write(context, self._paths.backups, wanted, None)).path
        copy = await self._copier.ready()
        total = work.outcome.bytes + manifest.store_bytes
        meter = Meter(context, _("Putting it back"), total, _("bytes"))
        try:
            loaded = await in_thread(context, lambda: work.perform(copy, meter))
            meter.finish()
        except BaseException:
            if (left := work.unfinished()) is not None:
                # the answer to the commit may have been lost: what came of it, decides
                await self._settle(context, left)
            raise
        await self._env_by_helper(work)
        after = await self._copier.state()
        missing = {
            name: rows for name, rows in after.rows.items() if loaded.rows.get(name, 0) > rows
        }
        if missing:
            names = ", ".join(sorted(missing))
            work.outcome.notes.append(
                _(
                    "Since the commit rows went from: {tables}. Something works on the store."
                ).format(tables=names)
            )
        return self._view(
            path, manifest, work.outcome, audit_kept=loaded.audit_kept, backup_before=before
        )

    async def _env_by_helper(self, work: Restoring) -> None:
        """On a server the env file is root's: the root helper writes it, where there is one. What
        it refuses stays as a file for a person."""
        if not work.for_helper:
            return
        env = ManagedEnv(self._helper)
        try:
            if (await env.declared()).get(str(SERVER_ENV)) is None:
                return
            before = await env.read(SERVER_ENV)
            after = envfile.change(before, work.for_helper)
            envfile.check(after, str(SERVER_ENV))
            if after != before:
                await env.replace(SERVER_ENV, before, after, self._paths.env_backups)
        except SophiaError as problem:
            work.outcome.notes.append(f"{problem.code} {problem.what} {problem.why}".strip())
            return
        for name in ("sophia.env", "whole.env"):
            (self._paths.restored / name).unlink(missing_ok=True)
        work.outcome.notes[:] = [
            each
            for each in work.outcome.notes
            if str(self._paths.restored / "whole.env") not in each
        ]
        work.outcome.notes.append(
            _(
                "The env file has the backup's keys, but for {keys}. The services read them at "
                "their start: `sophia setup restart`."
            ).format(keys=", ".join(sorted(KEPT_KEYS)))
        )

    def _permit(
        self, context: Context, request: RestoreInput, state: StoreState, manifest: Manifest
    ) -> None:
        """Raises RefusedError S410, S414."""
        alone = [each for each in state.at_work if each not in manifest.at_work]
        if alone:
            raise RefusedError(
                "S414",
                _("Jobs are at work that the backup does not know: {jobs}.").format(
                    jobs=", ".join(alone[:5])
                ),
                _("Nobody would keep what comes of them."),
                _("Wait for them or cancel them, then try again."),
            )
        if state.empty or context.dry_run or request.replace == self._host:
            return
        held = ", ".join(f"{name} {number(rows)}" for name, rows in sorted(state.rows.items()))
        raise RefusedError(
            "S410",
            _("The store at {where} is not empty.").format(where=state.where),
            _("It holds {rows} (rows by table).").format(rows=held),
            _(
                "To replace them, say this machine's name: --replace {host}. A backup of them is "
                "made first."
            ).format(host=self._host),
        )

    def _archive(self, context: Context, given: str) -> Path:
        """Raises NotFoundError S404, RefusedError S409."""
        inside = self._paths.backups / Path(given).name
        if context.from_afar:
            remedy = _("`sophia setup backups` lists them.")
            inside = named_file(self._paths.backups, given, "S409", remedy)
            tries = [inside]
        else:
            tries = [Path(given).expanduser().absolute(), inside]
        for each in tries:
            if _is_file(each):
                return each
        raise NotFoundError(
            "S404",
            _("There is no backup {path}.").format(path=visible(given)),
            _("Or the account {account} may not look there.").format(account=own_account()),
            _("`sophia setup backups` lists them; one from elsewhere is put into {folder}.").format(
                folder=self._paths.backups
            ),
        )

    def _view(
        self,
        path: Path,
        manifest: Manifest,
        done: Outcome,
        kind: type[RestoreView] = RestoreView,
        **more: Any,
    ) -> RestoreView:
        damaged = _damaged(manifest)
        notes = list(done.notes)
        if damaged:
            notes.append(
                _("Damaged already when the backup was made: {files}").format(
                    files=", ".join(damaged)
                )
            )
        return kind(
            path=str(path),
            made_at=manifest.made_at,
            host=manifest.host,
            rows=sum(each.rows for each in manifest.tables),
            tables={each.name: each.rows for each in manifest.tables},
            schema_before=manifest.revision,
            schema_version=self._copier.known_revisions()[-1],
            files=done.files,
            bytes=done.bytes,
            already_there=done.already_there,
            moved_aside=done.moved_aside,
            resumed=done.resumed,
            notes=notes,
            **more,
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.R_OK)
    except OSError:  # a folder that we may not pass through
        return False


class _Hashed:
    """A stream that knows the SHA-256 of what went through it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.sha = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha.update(data)
        return int(self._stream.write(data))

    def flush(self) -> None:
        self._stream.flush()


def _resumed(unfinished: Unfinished) -> Outcome:
    """Of a restore that a killed process had all but ended."""
    return Outcome(files=len(unfinished.moves), resumed=True, moved_aside=unfinished.moved_aside)


def _pack(archive: Writer, source: Source) -> StoredUnit:
    files: list[StoredFile] = []
    for each in source.files:
        found = archive.file(source.name, each, source.path(each))
        if found is not None:
            files.append(found)
    sums = {each.path: each.sha256 for each in files}
    damaged = sorted(name for name, sha in source.expected.items() if sums.get(name) != sha)
    return StoredUnit(
        name=source.name,
        kind=source.kind,
        place=str(source.place),
        of=source.of,
        folder=source.folder,
        files=files,
        damaged=damaged,
    )


def _damaged(manifest: Manifest) -> list[str]:
    return [f"{unit.of}: {name}" for unit in manifest.units for name in unit.damaged]


def _free_name(folder: Path, head: Head) -> Path:
    host = "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in head.host)
    stem = f"{_PREFIX}{host}-{head.made_at:%Y%m%dT%H%M%SZ}"
    path, count = folder / f"{stem}{SUFFIX}", 1
    while path.exists():
        count += 1
        path = folder / f"{stem}-{count}{SUFFIX}"
    return path


def _sweep(folder: Path) -> None:
    """Remove what a killed backup left half written; never what is being written."""
    for left in folder.glob(f".{_PREFIX}*{SUFFIX}.*.tmp"):
        try:
            with left.open("rb") as stream:
                fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(left)
        except OSError:  # being written, or gone meanwhile
            continue


def _entry(path: Path) -> BackupEntry:
    size = path.stat().st_size
    told = {"file": path.name, "path": str(path), "bytes": size, "size": shown_size(size)}
    try:
        head = read_head(path)
    except SophiaError as problem:
        return BackupEntry(**told, state=f"{problem.code} {problem.why}".strip())
    return BackupEntry(
        **told,
        made_at=head.made_at,
        host=head.host,
        version=head.program_version,
        schema_version=head.revision,
        secrets=head.secrets,
        state="ok",
    )


def _require_room(folder: Path, needed: int, code: str) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise SetupError(
            code,
            _("There is not enough room under {path}.").format(path=folder),
            _("About {needed} are needed and {free} are free.").format(
                needed=shown_size(needed + _SPARE), free=shown_size(free)
            ),
            _("Nothing was changed. Free room there, or use another disk."),
        )
