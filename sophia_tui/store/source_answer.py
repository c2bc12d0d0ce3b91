"""One answer of the owner's tables: when it was made, so that its model can be named."""

import psycopg
from psycopg import sql

from sophia_tui.domain.protocols import AnswerRow
from sophia_tui.store.source_columns import FoundTable, Kind
from sophia_tui.store.source_sql import instant
from sophia_tui.store.source_tables import Tables

#: The key of each table that holds answers.
KEYS = {"qa_cache": "qhash", "messages": "id"}


async def answer_row(
    connection: psycopg.AsyncConnection, tables: Tables, name: str, key: str, zone: str
) -> AnswerRow | None:
    """The row of `qa_cache` or `messages` with that key; None where there is none, or the table or
    its key can't be read. Times without zone are read in `zone`. Raises psycopg.Error."""
    table = tables.get(name)
    if table is None or not table.usable(KEYS[name]):
        return None
    found = await (await connection.execute(_query(table, name, key, zone))).fetchone()
    if found is None:
        return None
    created = table.columns.get("created_at")
    local = created is not None and created.kind is not Kind.ZONED
    return AnswerRow(
        table=table.label,
        key=key,
        at=found[0],
        question=found[1] or "",
        sender=found[2],
        assumed_zone=zone if local else None,
    )


def _query(table: FoundTable, name: str, key: str, zone: str) -> sql.Composed:
    """Of qa_cache its question, of a message its sender; a message's text is not read."""
    at: sql.Composable = sql.SQL("NULL::timestamptz")
    if table.usable("created_at"):
        at = instant("a", table.columns["created_at"], zone)
    return sql.SQL("SELECT {}, {}, {} FROM {} AS a WHERE a.{}::text = {} LIMIT 1").format(
        at,
        _text(table, "question"),
        _text(table, "sender_type"),
        table.sql,
        table.columns[KEYS[name]].sql,
        sql.Literal(key),
    )


def _text(table: FoundTable, column: str) -> sql.Composable:
    """NULL where the table has no such column, or none that may be read."""
    if not table.usable(column):
        return sql.SQL("NULL::text")
    return sql.SQL("a.{}::text").format(table.columns[column].sql)
