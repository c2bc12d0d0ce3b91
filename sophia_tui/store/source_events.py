"""Reads answer events from the owner's table ai_events, as it was found."""

import psycopg
from psycopg import sql

from sophia_tui.domain.events import AnswerEvent, FoundAnswers
from sophia_tui.i18n import _
from sophia_tui.store.source_columns import FoundTable, Kind
from sophia_tui.store.source_tables import find_table
from sophia_tui.textsafe import visible

TABLE = "ai_events"
_META = frozenset({Kind.JSON, Kind.JSONB, Kind.TEXT})


async def answers(
    connection: psycopg.AsyncConnection, schema: str | None, limit: int, tenant: str | None
) -> FoundAnswers:
    """Newest first; of one tenant where it is named. Raises psycopg.Error."""
    table = await find_table(connection, TABLE, schema)
    if table is None:
        return FoundAnswers()
    label = visible(table.label)
    if problem := _hindrance(table, tenant):
        return FoundAnswers(table=label, problem=problem)
    cursor = await connection.execute(_query(table, limit, tenant))
    items = tuple(AnswerEvent(label, str(key), meta) for key, meta in await cursor.fetchall())
    return FoundAnswers(items, label)


def _hindrance(table: FoundTable, tenant: str | None) -> str:
    needed = ["kind", "meta", "created_at", *(["tenant_id"] if tenant else [])]
    for name in needed:
        column = table.columns.get(name)
        if column is None:
            return _("{table} has no column {column}.").format(
                table=visible(table.label), column=name
            )
        if not (table.schema_usable and column.readable):
            return _("This role has no right to read {column} of {table}.").format(
                table=visible(table.label), column=name
            )
        if name == "meta" and column.kind not in _META:
            return _("Type {type} does not fit.").format(type=visible(column.type))
    return ""


def _query(table: FoundTable, limit: int, tenant: str | None) -> sql.Composed:
    numbered = "id" in table.columns and table.columns["id"].readable
    return sql.SQL(
        "SELECT {key}::text, meta::text FROM {table} WHERE kind::text = 'answer'{tenant}"
        " ORDER BY created_at DESC LIMIT {limit}"
    ).format(
        key=sql.Identifier("id" if numbered else "created_at"),
        table=table.sql,
        tenant=sql.SQL("")
        if tenant is None
        else sql.SQL(" AND tenant_id::text = {}").format(sql.Literal(tenant)),
        limit=sql.Literal(limit),
    )
