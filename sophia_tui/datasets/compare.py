"""What differs between two versions: rows added, removed, changed, moved to another part.

The comparison is an index of hashes and places in a file (no text is in it), made once for two
versions, which never change; a page of it is read from the versions themselves. SQLite sorts and
joins on disk, so memory stays flat at any size.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from sophia_tui.datasets.contents import line_at, rows_of, said
from sophia_tui.datasets.split import plain
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.datasets.version import PARTS, PROVENANCE
from sophia_tui.files import temporary_beside, write_problem

KINDS = ("changed", "removed", "added", "moved")
_BATCH = 5000
_CACHE_KIB = 32 * 1024
#: Indexes that are kept; they can be made again.
_KEPT = 4

_TABLES = """
CREATE TABLE rows (
    id INTEGER PRIMARY KEY, side INTEGER, digest BLOB, part INTEGER, place INTEGER,
    source BLOB, origin INTEGER
);
CREATE TABLE loose (id INTEGER PRIMARY KEY, side INTEGER, source BLOB, question BLOB);
CREATE TABLE found (id INTEGER PRIMARY KEY, kind TEXT, first INTEGER, second INTEGER);
"""
#: A row is loose where the other side has none of that text.
_LOOSE = """
CREATE INDEX rows_digest ON rows (digest, side, part);
INSERT INTO loose SELECT id, side, source, NULL FROM rows r
WHERE NOT EXISTS (SELECT 1 FROM rows o WHERE o.digest = r.digest AND o.side <> r.side)
ORDER BY id;
"""
_MOVED = """
INSERT INTO found (kind, first, second)
SELECT 'moved', (
    SELECT min(o.id) FROM rows o WHERE o.digest = r.digest AND o.side = 0
), r.id FROM rows r WHERE r.side = 1
    AND EXISTS (SELECT 1 FROM rows o WHERE o.digest = r.digest AND o.side = 0)
    AND NOT EXISTS (
        SELECT 1 FROM rows o WHERE o.digest = r.digest AND o.side = 0 AND o.part = r.part
    )
ORDER BY r.id
"""
#: The n-th loose row of a source row, or with a question, on one side is the n-th of the other.
_PAIRED = """
INSERT INTO found (kind, first, second)
SELECT 'changed', a.id, b.id FROM (
    SELECT id, {by}, row_number() OVER (PARTITION BY {by} ORDER BY id) AS n
    FROM loose WHERE side = 0 AND {by} IS NOT NULL
) a JOIN (
    SELECT id, {by}, row_number() OVER (PARTITION BY {by} ORDER BY id) AS n
    FROM loose WHERE side = 1 AND {by} IS NOT NULL
) b ON a.{by} = b.{by} AND a.n = b.n
ORDER BY a.id
"""
_TAKE_PAIRED = """
DELETE FROM loose WHERE id IN (
    SELECT first FROM found WHERE kind = 'changed' UNION ALL
    SELECT second FROM found WHERE kind = 'changed'
)
"""
_ALONE = """
INSERT INTO found (kind, first, second) SELECT 'removed', id, NULL FROM loose WHERE side = 0
ORDER BY id;
INSERT INTO found (kind, first, second) SELECT 'added', NULL, id FROM loose WHERE side = 1
ORDER BY id;
"""


class CompareTask(Task):
    """Compare the versions in two folders; `index` is the file that the index is, or is made."""

    first: str
    second: str
    index: str
    kind: str | None = None
    limit: int = 100
    offset: int = 0

    def run(self, tell: Tell) -> Any:
        folders = (Path(self.first), Path(self.second))
        index = Path(self.index)
        if not index.exists():
            make_index(folders, index, tell)
        return read_index(folders, index, self.kind, self.limit, self.offset)


def make_index(folders: tuple[Path, Path], index: Path, tell: Tell) -> None:
    """Make the index file, whole or not at all. Raises OSError of the versions' files, SetupError
    S101 where it can't be written."""
    index.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = temporary_beside(index)
    try:
        with contextlib.closing(sqlite3.connect(temporary)) as database:
            database.executescript(
                f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{_CACHE_KIB};"
                f"PRAGMA temp_store=FILE; {_TABLES}"
            )
            for side, folder in enumerate(folders):
                _take_rows(database, side, folder, tell)
            database.executescript(_LOOSE)
            database.execute(_PAIRED.format(by="source"))
            database.execute(_TAKE_PAIRED)
            _ask_questions(database, folders, tell)
            database.execute(_PAIRED.format(by="question"))
            database.execute(_TAKE_PAIRED)
            database.executescript(_ALONE)
            database.execute(_MOVED)
            database.execute("DELETE FROM loose")
            database.commit()
        os.replace(temporary, index)
    except sqlite3.Error as problem:
        raise write_problem(index, OSError(*_as_errno(problem))) from problem
    finally:
        temporary.unlink(missing_ok=True)
    for old in sorted(index.parent.glob("diff-*.sqlite"), key=_age)[_KEPT:]:
        old.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """Newest first; what went away meanwhile is the oldest."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def _as_errno(problem: sqlite3.Error) -> tuple[int, str]:
    import errno

    full = getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    number = errno.ENOSPC if full else errno.EIO
    return number, os.strerror(number)


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _take_rows(database: sqlite3.Connection, side: int, folder: Path, tell: Tell) -> None:
    def columns() -> Iterator[tuple[Any, ...]]:
        for number, row in enumerate(rows_of(folder)):
            if number % _BATCH == 0:
                tell("compare", number, None)
            source = bytes(row.origin.source) if row.origin else b"null"
            yield (
                side,
                _hash(row.raw),
                PARTS.index(row.part),
                row.place,
                None if source == b"null" else _hash(source),
                row.origin_place,
            )

    database.executemany(
        "INSERT INTO rows (side, digest, part, place, source, origin) VALUES (?, ?, ?, ?, ?, ?)",
        columns(),
    )


class _Line(msgspec.Struct):
    messages: list[dict[str, Any]] = []


_LINE = msgspec.json.Decoder(_Line)


def _ask_questions(database: sqlite3.Connection, folders: tuple[Path, Path], tell: Tell) -> None:
    """The question of each loose row that no source row paired, as a hash."""
    with ExitStack() as stack:
        for side, folder in enumerate(folders):
            streams = _streams(stack, folder)
            loose = database.execute(
                "SELECT l.id, r.part, r.place FROM loose l JOIN rows r ON r.id = l.id"
                " WHERE l.side = ? ORDER BY l.id",
                [side],
            )
            done = 0
            while batch := loose.fetchmany(_BATCH):
                asked = []
                for number, part, place in batch:
                    stream = streams[PARTS[part]]
                    stream.seek(place)
                    question = _question(stream.readline())
                    asked.append((_hash(question.encode()) if question else None, number))
                database.executemany("UPDATE loose SET question = ? WHERE id = ?", asked)
                done += len(batch)
                tell("compare", done, None)


def _question(raw: bytes) -> str:
    """The first thing a user says, as the split groups by it."""
    for message in _LINE.decode(raw).messages:
        if message.get("role") == "user":
            return plain(str(message.get("content") or ""))
    return ""


def _streams(stack: ExitStack, folder: Path) -> dict[str, Any]:
    names = [*(f"{part}.jsonl" for part in PARTS), PROVENANCE]
    return {
        name.removesuffix(".jsonl"): stack.enter_context((folder / name).open("rb"))
        for name in names
        if (folder / name).exists()
    }


def read_index(
    folders: tuple[Path, Path], index: Path, kind: str | None, limit: int, offset: int
) -> dict[str, Any]:
    """The counts, and one page of what differs, with its texts."""
    with contextlib.closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as database:
        counts = dict.fromkeys(KINDS, 0)
        counts |= dict(database.execute("SELECT kind, count(*) FROM found GROUP BY kind"))
        in_second = database.execute("SELECT count(*) FROM rows WHERE side = 1").fetchone()[0]
        counts["same"] = in_second - counts["added"] - counts["changed"] - counts["moved"]
        page = database.execute(
            "SELECT f.kind, a.part, a.place, a.origin, b.part, b.place, b.origin FROM found f"
            " LEFT JOIN rows a ON a.id = f.first LEFT JOIN rows b ON b.id = f.second"
            " WHERE ?1 IS NULL OR f.kind = ?1 ORDER BY f.id LIMIT ?2 OFFSET ?3",
            [kind, limit, offset],
        ).fetchall()
    with ExitStack() as stack:
        before, after = (_streams(stack, folder) for folder in folders)
        items = [
            {
                "kind": each[0],
                "before": _shown(before, *each[1:4]) if each[1] is not None else None,
                "after": _shown(after, *each[4:7]) if each[4] is not None else None,
            }
            for each in page
        ]
    return {"counts": counts, "items": items}


def _shown(streams: dict[str, Any], part: int, place: int, origin: int) -> dict[str, Any]:
    question, answer, worse = said(line_at(streams[PARTS[part]], place))
    from_where = line_at(streams["provenance"], origin) if origin >= 0 else {}
    return {
        "part": PARTS[part],
        "question": question,
        "answer": answer,
        "rejected": worse,
        "file": from_where.get("file", ""),
        "line": from_where.get("line", 0),
        "source": from_where.get("source"),
    }


def steps_that_differ(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of two manifests that are not the same: `first` and `second` are a step's version
    and settings, None where that one has no such step."""

    def by_name(manifest: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for step in manifest.get("steps") or []:
            name, count = str(step.get("step", "")), 1
            while (label := name if count == 1 else f"{name} {count}") in found:
                count += 1
            found[label] = {key: value for key, value in step.items() if key != "step"}
        return found

    ours, theirs = by_name(first), by_name(second)
    return [
        {"step": name, "first": ours.get(name), "second": theirs.get(name)}
        for name in dict.fromkeys([*ours, *theirs])
        if json.dumps(ours.get(name), sort_keys=True)
        != json.dumps(theirs.get(name), sort_keys=True)
    ]
