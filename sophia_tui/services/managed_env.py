"""Managed env files of other services: read, planned, compared and replaced whole."""

import difflib
import glob
import hashlib
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from pathlib import Path

from sophia_tui import envfile
from sophia_tui.domain.managed import Declared, ManagedFile, RootHelper, UnitState
from sophia_tui.domain.models import FileChange
from sophia_tui.errors import (
    ConflictError,
    NotFoundError,
    PromotionError,
    SophiaError,
    UnavailableError,
)
from sophia_tui.files import usable_folder, whole_file, write_whole
from sophia_tui.i18n import _
from sophia_tui.paths import SERVER_BACKUPS

#: How many old contents of an env file are kept where we write it ourselves.
_KEPT_BACKUPS = 20


def changed_lines(before: str, after: str) -> tuple[str, ...]:
    """The changed assignments alone: the lines around them may hold secrets."""
    old, new = ([line.raw.rstrip("\r") for line in envfile.parse(text)] for text in (before, after))
    found = difflib.unified_diff(old, new, n=0, lineterm="")
    return tuple(line for line in found if line[0] in "-+" and line[:3] not in ("---", "+++"))


def read_env(path: Path) -> str:
    """A managed env file's text. Raises NotFoundError P406 or PromotionError P009, P011."""
    try:
        # a pipe would be waited for without end, and a device replaced by a file
        if not stat.S_ISREG(path.stat().st_mode):
            raise PromotionError(
                "P011",
                _("{path} is not a regular file.").format(path=path),
                _("A folder, a device or a pipe can't be an env file."),
                _("Correct SOPHIA_MANAGED_ENV_FILES or --env-file."),
            )
        # bytes are kept: a file with CRLF ends keeps them
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise NotFoundError(
            "P406",
            _("The env file {path} does not exist.").format(path=path),
            remedy=_("Correct SOPHIA_MANAGED_ENV_FILES or --env-file."),
        ) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise PromotionError(
            "P009",
            _("The env file {path} can't be read.").format(path=path),
            getattr(problem, "strerror", None) or type(problem).__name__,
            _("Check its owner, its mode and its encoding (UTF-8)."),
        ) from problem


def write_env(change: FileChange) -> None:
    """Write one planned change. Raises ConflictError P005 where the file is not as planned."""
    path = Path(change.path)
    content = path.read_bytes()
    if content_hash(content) != change.before_hash:
        raise _changed(path)
    replace_env(path, _new_content(content.decode("utf-8"), change.after, change.restores))


def _changed(path: Path) -> ConflictError:
    return ConflictError(
        "P005",
        _("{path} was changed by somebody else just now.").format(path=path),
        remedy=_("Look at it again, then do it again."),
    )


def _keep(folder: Path, path: Path, content: str) -> None:
    """Keep an old content for us alone; the newest ones stay."""
    usable_folder(folder)
    kind = f"{content_hash(str(path).encode())[:12]}-{path.name}."
    write_whole(folder / f"{kind}{time.time_ns():020d}", content.encode("utf-8"))
    for each in sorted(folder.glob(f"{glob.escape(kind)}*"))[:-_KEPT_BACKUPS]:
        each.unlink(missing_ok=True)


def replace_env(path: Path, content: bytes) -> None:
    """Replace a file whole; owner, mode, access list and link stay. Raises SetupError S101."""
    real = Path(os.path.realpath(path))
    # a rename would silently replace a read-only file, and root passes every access check
    if not (os.access(real, os.W_OK) and real.stat().st_mode & 0o222):
        raise PromotionError(
            "P010",
            _("The env file {path} is read-only.").format(path=path),
            _("Its owner did not mean it to be changed."),
            _("Give the user of Sophia the right to write it."),
        )
    kept = [name for name in os.listxattr(real) if name.startswith(("system.posix_acl", "user."))]
    attributes = {name: os.getxattr(real, name) for name in kept}
    with whole_file(real, like=real.stat()) as stream:
        stream.write(content)
        for name, value in attributes.items():
            os.setxattr(stream.fileno(), name, value)


class ManagedEnv:
    """Env files and units of other services: files by our own right where we have it, else, and
    units always, by the root helper, which knows those alone that root declared."""

    def __init__(self, helper: RootHelper | None = None) -> None:
        self._helper = helper

    async def declared(self) -> Declared:
        return Declared() if self._helper is None else await self._helper.declared()

    async def to_promote(self) -> tuple[Path, ...]:
        """The declared files that may be written, Sophia's own aside. Raises PromotionError P068
        for one that the helper leaves alone: it must not keep the old model in silence."""
        found = [each for each in (await self.declared()).files if each.writable and not each.own]
        for each in found:
            if each.refused:
                raise PromotionError(
                    "P068",
                    _("{path} is declared, but the root helper leaves it alone.").format(
                        path=each.path
                    ),
                    each.refused,
                    _("Mend the cause, or take it out: `sudo sophia env undeclare {path}`.").format(
                        path=each.path
                    ),
                )
        return tuple(Path(each.path) for each in found)

    async def read(self, path: Path) -> str:
        """The file's text. Raises NotFoundError P406, PromotionError P009, P011."""
        try:
            return read_env(path)
        except SophiaError:
            declared = await self._by_helper(path)
            if declared is None or self._helper is None:
                raise
            return (await self._helper.read(declared.path)).content

    async def checked(self, path: Path, content: bytes) -> None:
        """What the root helper will say of a new content. Raises UsageError S440."""
        if not _directly(path) and await self._by_helper(path) is not None:
            envfile.check(content, str(path))

    async def write(self, change: FileChange) -> None:
        """Write one planned change. Raises ConflictError P005 where the file is not as planned."""
        path = Path(change.path)
        declared = None if _directly(path) else await self._by_helper(path)
        if declared is None or self._helper is None:
            write_env(change)
            return
        found = await self._helper.read(declared.path)
        if found.sha256 != change.before_hash:
            raise _changed(path)
        new = _new_content(found.content, change.after, change.restores)
        await self._helper.replace(declared.path, found.sha256, new.decode("utf-8"))

    async def replace(self, path: Path, before: str, after: str, backups: Path) -> None:
        """Replace a text that was read as `before`. The old one is kept: by the helper where it
        writes, else in `backups`. Raises ConflictError P005."""
        declared = None if _directly(path) else await self._by_helper(path)
        if declared is not None and self._helper is not None:
            await self._helper.replace(declared.path, content_hash(before.encode("utf-8")), after)
            return
        if read_env(path) != before:
            raise _changed(path)
        _keep(backups, path, before)
        replace_env(path, after.encode("utf-8"))

    async def backup_folder(self, path: Path, backups: Path) -> str:
        """Where `replace` keeps the old text of this file."""
        declared = None if _directly(path) else await self._by_helper(path)
        return str(backups) if declared is None else str(SERVER_BACKUPS)

    async def put_back(self, change: FileChange) -> "PutBack":
        """Put the file back: byte for byte where it still is as we wrote it; where somebody changed
        other things since, the keys alone; a key that they changed stays theirs."""
        path = Path(change.path)
        try:
            text = await self.read(path)
        except NotFoundError:
            return PutBack.LEFT
        found = content_hash(text.encode("utf-8"))
        if found == change.before_hash:
            return PutBack.AS_BEFORE
        old = _old_content(change, text, found)
        if old is None:
            return PutBack.LEFT
        declared = None if _directly(path) else await self._by_helper(path)
        if declared is None or self._helper is None:
            replace_env(path, old)
        else:
            await self._helper.replace(declared.path, found, old.decode("utf-8"))
        return PutBack.PUT_BACK

    async def stands(self, change: FileChange) -> bool:
        """Whether the file is exactly as the change wrote it."""
        try:
            text = await self.read(Path(change.path))
        except NotFoundError:
            return False
        return content_hash(text.encode("utf-8")) == change.after_hash

    async def units(self, changes: Iterable[FileChange]) -> tuple[str, ...]:
        """The units that root declared for these files, each once."""
        declared = await self.declared()
        found: dict[str, None] = {}
        for each in changes:
            file = declared.get(os.path.realpath(each.path))
            found |= dict.fromkeys(file.restart if file else ())
        return tuple(found)

    async def elsewhere(self, changes: Iterable[FileChange]) -> tuple[str, ...]:
        """The units of other hosts (HOST:UNIT) that root declared for these files, each once."""
        declared = await self.declared()
        found: dict[str, None] = {}
        for each in changes:
            file = declared.get(os.path.realpath(each.path))
            found |= dict.fromkeys(file.elsewhere if file else ())
        return tuple(found)

    async def not_up(self, units: Sequence[str]) -> list[UnitState]:
        """Those of the declared units that are not active now."""
        if not units or self._helper is None:
            return []
        return [each for each in await self._helper.status(units) if not each.healthy]

    async def restart(self, unit: str) -> None:
        """Restart it. Raises PromotionError P061 where it does not stay up."""
        state = await self._restarted(unit)
        if not state.healthy:
            raise PromotionError(
                "P061",
                _("{unit} does not stay up with it: {state}.").format(unit=unit, state=state.state),
                state.detail,
                _("See `journalctl -u {unit}`.").format(unit=unit),
            )

    async def restart_all(self, units: Sequence[str]) -> list[str]:
        """Restart each, whatever comes of the others; those that are not up again. Raises
        UnavailableError once all had their turn, where one could not even be asked for."""
        down: list[str] = []
        away: UnavailableError | None = None
        for unit in units:
            try:
                healthy = (await self._restarted(unit)).healthy
            except UnavailableError as problem:
                away = away or problem
                continue
            except SophiaError:  # it is not declared any more
                healthy = False
            if not healthy:
                down.append(unit)
        if away is not None:
            raise away
        return down

    async def _restarted(self, unit: str) -> UnitState:
        assert self._helper is not None  # units are known from it alone
        return await self._helper.restart(unit)

    async def _by_helper(self, path: Path) -> ManagedFile | None:
        return (await self.declared()).get(os.path.realpath(path))


class PutBack(StrEnum):
    """What became of a file that was to be put back: LEFT is not as before, for somebody else
    changed what we wrote, or took the file away."""

    AS_BEFORE = "as_before"
    PUT_BACK = "put_back"
    LEFT = "left"


def _old_content(change: FileChange, text: str, found: str) -> bytes | None:
    """What the file's content should be again; None where what we wrote is not there."""
    if found == change.after_hash and change.snapshot and os.path.isfile(change.snapshot):
        return Path(change.snapshot).read_bytes()
    values = envfile.values(text)
    ours = {key: old for key, old in change.before.items() if values.get(key) == change.after[key]}
    return envfile.change(text, ours).encode("utf-8") if ours else None


def _directly(path: Path) -> bool:
    """Whether we may replace the file ourselves, and it stays its owner's."""
    real = Path(os.path.realpath(path))
    try:
        owner = real.stat().st_uid
    except OSError:
        return False
    user = os.geteuid()
    return user == 0 or (owner == user and os.access(real.parent, os.W_OK | os.X_OK))


def planned(
    path: Path,
    text: str,
    before: dict[str, str | None],
    after: dict[str, str | None],
    restores: str | None = None,
) -> FileChange:
    """The change of one file whose text is `text`."""
    new = _new_content(text, after, restores)
    return FileChange(
        path=str(path),
        before=before,
        after=after,
        before_hash=content_hash(text.encode("utf-8")),
        after_hash=content_hash(new),
        diff=changed_lines(text, new.decode("utf-8")),
        restores=restores,
    )


def _new_content(text: str, after: dict[str, str | None], restores: str | None) -> bytes:
    if restores is not None:
        return Path(restores).read_bytes()
    return envfile.change(text, after).encode("utf-8")


def refers_to(value: str, keys: Collection[str]) -> bool:
    """Whether a value only names another key (`${GEN_MODEL}`), and so follows it by itself."""
    found = re.fullmatch(r"\$(?:\{(\w+)\}|(\w+))", value)
    return found is not None and (found.group(1) or found.group(2)) in keys


def content_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
