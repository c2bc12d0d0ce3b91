"""Pages of our tables: rows that show a text, in the order of a column, and how many there are.

The text is a parameter, compared as it stands; columns come from the closed lists below alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sophia_tui.domain.lists import Found, Wanted
from sophia_tui.errors import InternalError
from sophia_tui.store import rows
from sophia_tui.store.connection import Database
from sophia_tui.store.sql import query

T = TypeVar("T")


@dataclass(frozen=True)
class Table:
    """A list: the named query that gives its rows, the columns whose text people see, those that
    hold words of ours, what it can be sorted by, and its order without that, which is unique.
    `time` is the column of that order; sorted by it, the other direction reads the same index."""

    query: str
    seen: tuple[str, ...]
    worded: tuple[str, ...]
    columns: Mapping[str, str]
    order: str
    time: str = ""
    reverse: str = ""


def _text(*names: str) -> dict[str, str]:
    """Columns of text, sorted in the same way on every server."""
    return {name: f'{name} COLLATE "C"' for name in names}


def _plain(*names: str) -> dict[str, str]:
    return dict(zip(names, names, strict=True))


JOBS = Table(
    "list_jobs",
    (
        "id",
        "kind",
        "state",
        "base",
        "dataset",
        "provider_job_id",
        "resulting_model",
        "model_id",
        "created_by",
    ),
    ("kind", "state"),
    {
        **_text("id", "kind", "base", "dataset", "created_by"),
        "status": 'state COLLATE "C"',
        **_plain("step", "loss", "seconds_left", "created_at", "started_at", "finished_at"),
    },
    "created_at DESC, place DESC",
    "created_at",
    "created_at, place",
)
DATASETS = Table(
    "list_datasets",
    ("name || '@' || hash", "array_to_string(tags, ' ')", "created_by"),
    (),
    {
        **_text("name", "created_by"),
        "id": "(name || '@' || hash) COLLATE \"C\"",
        "rows_kept": "(counts ->> 'rows_kept')::bigint",
        "rows_rejected": "(counts ->> 'rows_rejected')::bigint",
        "created_at": "created_at",
    },
    "created_at DESC, name, hash",
    "created_at",
    "created_at, name DESC, hash DESC",
)
MODELS = Table(
    "known_models",
    ("id", "kind", "standing", "base", "job_id", "dataset"),
    ("kind", "standing"),
    {
        **_text("id", "kind", "base", "dataset"),
        "state": 'standing COLLATE "C"',
        "job": 'job_id COLLATE "C"',
        "size": "(SELECT sum((each.value ->> 'bytes')::bigint) FROM jsonb_each(files) AS each)",
        "created_at": "created_at",
    },
    "created_at DESC, id",
    "created_at",
    "created_at, id DESC",
)
AUDIT = Table(
    "list_audit",
    ("actor", "face", "role", "operation", "target", "outcome", "code"),
    ("outcome",),
    {
        **_text("actor", "face", "operation", "target", "outcome", "code"),
        **_plain("seconds", "at"),
    },
    "at DESC, id DESC",
    "at",
    "at, id",
)
SCHEDULES = Table(
    "list_schedules",
    ("id", "operation", "every", "created_by", "changed_by", "last_outcome", "request ->> 'name'"),
    ("last_outcome",),
    {
        "name": 'id COLLATE "C"',
        **_text("operation", "every", "created_by"),
        "outcome": 'last_outcome COLLATE "C"',
        **_plain("last_at", "created_at"),
        "next_at": "CASE WHEN enabled THEN next_at END",
    },
    "created_at, id",
)
DEPLOYMENTS = Table(
    "list_deployments",
    ("id", "name", "model_id", "engine", "state", "created_by"),
    ("state",),
    {
        **_text("name", "engine", "state", "created_by"),
        "model": 'model_id COLLATE "C"',
        **_plain("restarts", "created_at"),
    },
    "created_at DESC, id",
    "created_at",
    "created_at, id DESC",
)


async def listed(
    database: Database,
    table: Table,
    wanted: Wanted,
    make: Callable[[rows.Row], T],
    parameters: Mapping[str, Any] | None = None,
) -> Found[T]:
    """A page of what is wanted. `parameters` are the named query's own."""
    given = {
        **(parameters or {}),
        "match": rows.text(wanted.match),
        "words": [rows.text(each) for each in wanted.words],
    }
    found = await database.rows(
        page_query(table, wanted), {**given, "limit": wanted.limit, "offset": wanted.offset}
    )
    items = [make(each) for each in found]
    if not wanted.counted:
        return Found(items)
    # a page that is not full says itself how many there are
    full = len(items) >= wanted.limit or (wanted.offset and not items)
    total = await _count(database, table, bool(wanted.match), given) if full else None
    if total is None:
        total = wanted.offset + len(items)
    unfiltered = await _count(database, table, False, given) if wanted.match else total
    return Found(items, total, unfiltered)


async def _count(
    database: Database, table: Table, matching: bool, parameters: Mapping[str, Any]
) -> int:
    found = await database.row(count_query(table, matching), parameters)
    return int(found["number"]) if found else 0


def page_query(table: Table, wanted: Wanted) -> bytes:
    """The statement for one page."""
    order = f"ORDER BY {_order(table, wanted)} LIMIT %(limit)s OFFSET %(offset)s"
    return _from("*", table, bool(wanted.match), order)


def count_query(table: Table, matching: bool) -> bytes:
    """The statement that counts rows."""
    return _from("count(*) AS number", table, matching)


def _from(what: str, table: Table, matching: bool, end: str = "") -> bytes:
    rows_of = query(table.query).decode()
    where = _where(table) if matching else ""
    return "\n".join(["SELECT", what, "FROM (", rows_of, ") AS listed", where, end]).encode()


def _where(table: Table) -> str:
    # no pattern: what people type has no sign of its own
    seen = f"concat_ws(E'\\n', {', '.join(table.seen)})"
    tests = [f"strpos(lower({seen}), lower(%(match)s::text)) > 0"]
    tests += [f"{each} = ANY (%(words)s::text[])" for each in table.worded]
    return f"WHERE ({' OR '.join(tests)})"


def _order(table: Table, wanted: Wanted) -> str:
    if not wanted.sort:
        return table.order
    if wanted.column not in table.columns:  # the input's own list is narrower, never wider
        raise InternalError("S097", f"{table.query} has no column {wanted.column!r} to sort by.")
    if wanted.column == table.time:
        return table.order if wanted.descending else table.reverse
    direction = " DESC" if wanted.descending else ""
    return f"{table.columns[wanted.column]}{direction} NULLS LAST, {table.order}"
