"""The databases: whether they answer, their versions, and what is in them; and the backups."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from sophia_tui.domain.protocols import Source, Store, StoreStatus
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.checks.running import Check, Found, aside, trouble

#: A backup older than this wants attention, in days.
_OLD_DAYS = 8
_MILLISECONDS = (50, 200, 1000)
_MIGRATE = "sophia store migrate"
#: Codes of a store that is older than the program, or has no tables yet.
_OLD_STORE = ("SOPHIA-S012",)


class DatabaseChecks:
    """`status` is asked once for all checks of one run."""

    def __init__(
        self,
        open_store: Callable[[], Awaitable[Store]],
        open_source: Callable[[], Awaitable[Source]],
        status: Callable[[], Awaitable[StoreStatus]],
        installed: bool,
    ) -> None:
        self._open_store = open_store
        self._open_source = open_source
        self._status = status
        self._installed = installed

    def all(self) -> list[Check]:
        return [
            Check("store", N_("Sophia's store"), self._store, 20.0),
            Check("schema", N_("Version of the tables"), self._schema, 20.0),
            Check("source", N_("Source database"), self._source, 20.0),
        ]

    async def _store(self) -> Found:
        try:
            milliseconds = await (await self._open_store()).ping()
        except SophiaError as problem:
            return trouble(problem, self._store_step(problem))
        status = await self._status()
        # coarse: a figure that trembles is sent over the line at every look
        limit = next((each for each in _MILLISECONDS if milliseconds < each), None)
        told = _("< {ms} ms").format(ms=limit) if limit else _("slow: above 1 s")
        if status.server_version:
            told = f"Postgres {status.server_version.split()[0]}, {told}"
        return Found("ok", told, (_("Where: {where}").format(where=status.where),))

    def _store_step(self, problem: SophiaError) -> str:
        if problem.code in _OLD_STORE:
            return self._migration()
        return "postgres" if self._installed else "sophia store start"

    def _migration(self) -> str:
        return "migrate" if self._installed else _MIGRATE

    async def _schema(self) -> Found:
        try:
            status = await self._status()
        except SophiaError as problem:
            return Found("unknown", f"{problem.code} {problem.what}", remedy=problem.remedy)
        stored, needed = status.schema_version, status.program_version
        if not status.running:
            return Found("unknown", _("the store does not run"))
        if stored == needed:
            return Found("ok", str(stored))
        told = _("{stored}; this program needs {known}").format(
            stored=stored or _("none"), known=needed
        )
        if stored is not None and needed is not None and stored > needed:
            return Found("problem", told, remedy=_("Update Sophia on this machine."))
        remedy = _("Bring the tables up to date; a backup first is wise.")
        return Found("problem", told, remedy=remedy, step=self._migration())

    async def _source(self) -> Found:
        tables = await (await self._open_source()).inspect()
        usable = [each for each in tables if each.usable]
        lines = tuple(
            f"{each.table}: {each.found or _('not there')}"
            + (f" ({each.problem})" if each.problem else "")
            for each in tables
        )
        if not usable:
            told = _("no table that can be read")
            remedy = _("`sophia source inspect` says what is missing.")
            return Found("attention", told, lines, remedy, "sophia source inspect")
        return Found("ok", ", ".join(each.table for each in usable), lines)


def backup_check(folder: Path, now: Callable[[], datetime]) -> Check:
    """How old the newest backup is."""

    async def look() -> Found:
        newest = await aside(lambda: newest_backup(folder))
        remedy = _("Make one, and keep copies elsewhere.")
        where = (_("Folder: {path}").format(path=folder),)
        if newest is None:
            return Found("attention", _("none yet"), where, remedy, "sophia setup backup")
        days = max(0, (now() - newest).days)
        told = ngettext("{days} day old", "{days} days old", days).format(days=number(days))
        if days >= _OLD_DAYS:
            return Found("attention", told, where, remedy, "sophia setup backup")
        return Found("ok", told, where)

    return Check("backups", N_("Backups"), look)


def newest_backup(folder: Path) -> datetime | None:
    """When the newest backup in the folder was finished; None where there is none, or no folder.

    Raises PermissionError where the folder may not be read.
    """
    from datetime import UTC

    from sophia_tui.services.backup_archive import SUFFIX

    try:
        found = [
            each
            for each in folder.iterdir()
            if each.name.endswith(SUFFIX) and not each.name.startswith(".")
        ]
    except (FileNotFoundError, NotADirectoryError):
        return None
    times = [each.stat().st_mtime for each in found]
    return datetime.fromtimestamp(max(times), UTC) if times else None
