"""The archive of a backup: one tar, packed by zstd, written and read as a stream in flat memory.

    head.json              who made it, when, in which format: read alone for a list of backups
    store/TABLE/000001     the own store's tables in pieces, as COPY writes them
    files/UNIT[/PATH]      data set versions, adapters and the rest, unit by unit
    manifest.json          all of it with sizes and SHA-256; what is not in it, is not read

A member is named by us alone: nothing of an archive is ever used as a path as it stands.
"""

import contextlib
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sophia_tui.datasets.compressed import DamagedFile, open_lines, packing
from sophia_tui.domain.backups import CopiedStore, CopiedTable
from sophia_tui.errors import ConflictError, DataError, NotFoundError, SetupError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

FORMAT_VERSION = 1
SUFFIX = ".tar.zst"
HEAD, MANIFEST = "head.json", "manifest.json"
_STORE, _FILES = "store", "files"
_PIECE_BYTES = 4 * 1024 * 1024
_READ_BYTES = 1024 * 1024
#: A head or a manifest that is larger is none of ours.
_MOST_JSON = 256 * 1024 * 1024
_PIECE_NAME = re.compile(r"store/([a-z_0-9]+)/([0-9]{6})")

Kind = Literal["dataset", "adapter", "run", "data", "env", "token", "history", "managed", "prices"]
#: Kinds whose files appear together, by one rename of their folder.
WHOLE: frozenset[str] = frozenset({"dataset", "adapter", "run"})
Tick = Callable[[int], None]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StoredFile(_Part):
    """`path` is relative to the unit's place; empty where the unit is one file."""

    path: str
    bytes: int = Field(ge=0)
    sha256: str
    mode: int = Field(ge=0, le=0o777)


class StoredUnit(_Part):
    """What belongs together: a version's folder, an adapter, or one file. `place` is where it was;
    `of` says whose it is; `damaged` names files that were otherwise than their version says."""

    name: str
    kind: Kind
    place: str
    of: str = ""
    folder: bool
    files: list[StoredFile]
    damaged: list[str] = Field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.files)


class LeftOut(_Part):
    """What is on this machine and not in the archive."""

    what: str
    path: str
    bytes: int
    files: int
    why: str


class Head(_Part):
    format_version: int
    made_at: datetime
    host: str
    program_version: str
    revision: str
    secrets: bool


class StoredTable(_Part):
    name: str = Field(pattern=r"^[a-z_0-9]+$")
    columns: list[str]
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str
    numbers: dict[str, int | None]


class Manifest(Head):
    """`data_folder` is where Sophia's data lay, so that places can be moved with it."""

    data_folder: str
    server_version: str
    at_work: list[str]
    tables: list[StoredTable]
    units: list[StoredUnit]
    left_out: list[LeftOut]

    @property
    def store(self) -> CopiedStore:
        return CopiedStore(
            revision=self.revision,
            server_version=self.server_version,
            tables=tuple(
                CopiedTable(
                    each.name, tuple(each.columns), each.rows, each.bytes, each.sha256, each.numbers
                )
                for each in self.tables
            ),
            at_work=tuple(self.at_work),
        )

    @property
    def store_bytes(self) -> int:
        return sum(each.bytes for each in self.tables)

    @property
    def file_bytes(self) -> int:
        return sum(each.bytes for each in self.units)


def stored_tables(store: CopiedStore) -> list[StoredTable]:
    return [
        StoredTable(
            name=each.name,
            columns=list(each.columns),
            rows=each.rows,
            bytes=each.bytes,
            sha256=each.sha256,
            numbers=each.numbers,
        )
        for each in store.tables
    ]


def member_of(unit: StoredUnit, file: StoredFile) -> str:
    return f"{_FILES}/{unit.name}/{file.path}" if unit.folder else f"{_FILES}/{unit.name}"


# --- writing ---


class Writer:
    """Adds members; `tick` is told the bytes of each piece, and may raise to stop."""

    def __init__(self, tar: tarfile.TarFile, tick: Tick) -> None:
        self._tar = tar
        self._tick = tick

    def document(self, name: str, content: BaseModel) -> None:
        plain = content.model_dump_json(indent=1).encode() + b"\n"
        self._tar.addfile(_member(name, len(plain)), io.BytesIO(plain))

    def table(self, name: str, pieces: Iterator[bytes]) -> None:
        """One table, in pieces of some megabytes: a member's size comes before its bytes."""
        number = 0
        for number, piece in enumerate(_gathered(pieces), 1):
            self._tar.addfile(
                _member(f"{_STORE}/{name}/{number:06}", len(piece)), io.BytesIO(piece)
            )
            self._tick(len(piece))
        if number == 0:
            self._tar.addfile(_member(f"{_STORE}/{name}/000001", 0), io.BytesIO())

    def file(self, unit: str, path: str, source: Path) -> StoredFile | None:
        """One file as long as it is now; None where it is gone, or no plain file. Raises
        ConflictError S401 where it grows shorter under us, OSError."""
        try:
            handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            if source.is_symlink() or not source.exists():
                return None
            raise
        with os.fdopen(handle, "rb", buffering=0) as stream:
            found = os.fstat(stream.fileno())
            if not source.is_file():
                return None
            passing = _Passing(stream, found.st_size, source, self._tick)
            name = f"{_FILES}/{unit}/{path}" if path else f"{_FILES}/{unit}"
            self._tar.addfile(_member(name, found.st_size), cast(IO[bytes], passing))
            return StoredFile(
                path=path,
                bytes=found.st_size,
                sha256=passing.sha.hexdigest(),
                mode=found.st_mode & 0o777,
            )


class _Passing:
    """Exactly so many bytes of a file, hashed as they are read."""

    def __init__(self, stream: IO[bytes], size: int, path: Path, tick: Tick) -> None:
        self._stream = stream
        self._left = size
        self._path = path
        self._tick = tick
        self.sha = hashlib.sha256()

    def read(self, count: int) -> bytes:
        found = b""
        while len(found) < count and self._left > 0:
            piece = self._stream.read(min(count - len(found), self._left))
            if not piece:
                raise ConflictError(
                    "S401",
                    _("{path} was changed while it was read.").format(path=self._path),
                    _("It became shorter, so the backup would hold half of it."),
                    _("Nothing was written. Try again."),
                )
            self._left -= len(piece)
            found += piece
        self.sha.update(found)
        self._tick(len(found))
        return found


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for each in pieces:
        waiting += each
        if len(waiting) >= _PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _member(name: str, size: int) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size = size
    found.mode = 0o600
    return found


@contextlib.contextmanager
def writing(stream: IO[bytes], tick: Tick) -> Iterator[Writer]:
    """An archive into that stream. Raises OSError."""
    with (
        packing(stream, SUFFIX) as packed,
        tarfile.open(mode="w|", fileobj=packed, format=tarfile.PAX_FORMAT) as tar,
    ):
        yield Writer(tar, tick)


# --- reading ---


def read_head(path: Path) -> Head:
    """Who made it, and when; the rest is not read. Raises NotFoundError S404, DataError S403."""
    with _told(path), _opened(path) as tar:
        return _head(path, tar)


def check(path: Path, known: Sequence[str], tick: Tick = lambda _count: None) -> Manifest:
    """Read the whole archive and hold every byte against the manifest; changes nothing.

    `known` are the versions of the tables that this program knows. Raises NotFoundError S404,
    DataError S403 (no archive of ours, cut off, damaged), S407 (changed), SetupError S405 (newer
    format), S406 (newer store).
    """
    found: dict[str, tuple[int, str]] = {}
    tables: dict[str, Any] = {}
    manifest: Manifest | None = None
    with _told(path), _opened(path) as tar:
        _require_known(path, _head(path, tar), known)
        for member in _members(tar):
            if manifest is not None or not member.isreg() or member.name in found:
                raise _changed(path, member.name)
            if member.name == MANIFEST:
                manifest = _document(path, tar, member, Manifest)
                continue
            sha = hashlib.sha256()
            piece = _PIECE_NAME.fullmatch(member.name)
            whole = tables.setdefault(piece[1], [0, 0, hashlib.sha256()]) if piece else None
            for part in _parts(tar, member):
                sha.update(part)
                if whole is not None:
                    whole[0] += part.count(b"\n")
                    whole[1] += len(part)
                    whole[2].update(part)
                tick(len(part))
            if whole is None:
                found[member.name] = (member.size, sha.hexdigest())
        _drain(tar)
    if manifest is None:
        raise _damaged(path, _("It ends before its end."))
    _compare(path, manifest, tables, found)
    return manifest


def store_pieces(path: Path, tick: Tick) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The tables in their order, each with its bytes; to be used up in turn."""
    with _told(path), _opened(path) as tar:
        _head(path, tar)
        member = tar.next()
        while member is not None and (piece := _PIECE_NAME.fullmatch(member.name)):
            name = piece[1]

            def pieces(table: str) -> Iterator[bytes]:
                nonlocal member
                while (
                    member is not None
                    and (own := _PIECE_NAME.fullmatch(member.name))
                    and own[1] == table
                ):
                    for part in _parts(tar, member):
                        tick(len(part))
                        yield part
                    member = tar.next()

            yield name, pieces(name)


def unpack(path: Path, manifest: Manifest, place: Callable[[str], Path | None], tick: Tick) -> None:
    """Write each file where `place` says for its member's name; None: not at all. Raises DataError
    S407 where it is not what was checked, OSError."""
    expected = {member_of(unit, file): file for unit in manifest.units for file in unit.files}
    with _told(path), _opened(path) as tar:
        for member in _members(tar):
            file = expected.get(member.name)
            target = place(member.name) if file else None
            if file is None or target is None:
                continue
            sha = hashlib.sha256()
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(target, "xb", opener=_private) as stream:
                for part in _parts(tar, member):
                    sha.update(part)
                    stream.write(part)
                    tick(len(part))
                os.fchmod(stream.fileno(), file.mode)
                stream.flush()
                os.fsync(stream.fileno())
            if sha.hexdigest() != file.sha256:
                raise _changed(path, member.name)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    with (
        open_lines(path) as stream,
        tarfile.open(mode="r|", fileobj=stream, bufsize=_READ_BYTES) as tar,
    ):
        yield tar


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError(
            "S404",
            _("There is no backup {path}.").format(path=visible(str(path))),
            remedy=_("`sophia setup backups` lists them."),
        ) from None
    except DamagedFile as problem:
        raise _damaged(path, problem.strerror or "") from problem
    except tarfile.TarError as problem:
        raise _damaged(path, str(problem)) from problem
    except EOFError as problem:
        raise _damaged(path, _("It ends before its end.")) from problem
    except (IsADirectoryError, PermissionError) as problem:
        raise _damaged(path, problem.strerror or "") from problem


def _head(path: Path, tar: tarfile.TarFile) -> Head:
    member = tar.next()
    if member is None or member.name != HEAD:
        raise _damaged(path, _("It is no backup of Sophia's."))
    return cast(Head, _document(path, tar, member, Head))


def _document(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, kind: type[Any]) -> Any:
    if member.size > _MOST_JSON or not member.isreg():
        raise _damaged(path, _("It is no backup of Sophia's."))
    try:
        return kind.model_validate_json(b"".join(_parts(tar, member)))
    except ValidationError as problem:
        raise _damaged(path, _("{file} can't be read.").format(file=member.name)) from problem


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """What comes from here on; tarfile itself would keep all it has seen."""
    while (member := tar.next()) is not None:
        yield member
        tar.members = []  # type: ignore[attr-defined]


def _parts(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = tar.extractfile(member)
    if stream is None:
        return
    while part := stream.read(_READ_BYTES):
        yield part


def _drain(tar: tarfile.TarFile) -> None:
    """To the end of the packed stream: the check sum stands there."""
    stream = cast(Any, tar.fileobj)
    while stream.read(_READ_BYTES):
        continue


def _require_known(path: Path, head: Head, known: Sequence[str]) -> None:
    if head.format_version > FORMAT_VERSION:
        raise SetupError(
            "S405",
            _("{path} has a newer format than this program knows.").format(path=visible(path.name)),
            _("It has format {found}; this program knows up to {known}.").format(
                found=head.format_version, known=FORMAT_VERSION
            ),
            _("Restore it with Sophia {version} or newer; nothing was changed.").format(
                version=visible(head.program_version)
            ),
        )
    if head.revision not in known:
        raise SetupError(
            "S406",
            _("The store in {path} is newer than this program.").format(path=visible(path.name)),
            _("It has version {stored}; this program knows up to {known}.").format(
                stored=visible(head.revision), known=known[-1]
            ),
            _("Restore it with Sophia {version} or newer; nothing was changed.").format(
                version=visible(head.program_version)
            ),
        )


def _compare(
    path: Path, manifest: Manifest, tables: dict[str, Any], files: dict[str, tuple[int, str]]
) -> None:
    for table in manifest.tables:
        rows, size, sha = tables.pop(table.name, (0, 0, hashlib.sha256()))
        if (rows, size, sha.hexdigest()) != (table.rows, table.bytes, table.sha256):
            raise _changed(path, f"{_STORE}/{table.name}")
    for unit in manifest.units:
        for file in unit.files:
            _require_safe(path, unit, file)
            name = member_of(unit, file)
            if files.pop(name, None) != (file.bytes, file.sha256):
                raise _changed(path, name)
    if tables or files:
        raise _changed(path, next(iter([*tables, *files])))


def _require_safe(path: Path, unit: StoredUnit, file: StoredFile) -> None:
    """Raises DataError S408 for a name that would lead out of its place."""
    for name in (unit.name, *([file.path] if unit.folder else [])):
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise DataError(
                "S408",
                _("{path} has a file whose name leads elsewhere: {name}").format(
                    path=visible(path.name), name=visible(name)
                ),
                _("Sophia writes no such archive."),
                _("Nothing was changed. Use another backup."),
            )


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        "S403",
        _("{path} can't be read as a backup.").format(path=visible(path.name)),
        visible(why),
        _("Nothing was changed. Copy it again from where it was made, or use another one."),
    )


def _changed(path: Path, name: str) -> DataError:
    return DataError(
        "S407",
        _("{path} was changed since it was made.").format(path=visible(path.name)),
        _("{name} is not what the manifest says.").format(name=visible(name)),
        _("Nothing was changed. Use another backup."),
    )
