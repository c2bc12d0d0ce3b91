"""Changing columns of one row, for every table of ours that has a domain object for a row."""

from typing import Any

from psycopg import sql

from sophia_tui.errors import InternalError
from sophia_tui.store.connection import Database


async def update_row(
    database: Database,
    table: str,
    shape: type[Any],
    row_id: str,
    columns: dict[str, Any],
    versioned: bool = False,
    more: frozenset[str] = frozenset(),
    unless_moved_from: int | None = None,
) -> dict[str, Any] | None:
    """Change columns of one row and give it back; None where there is none, or none of the version
    `unless_moved_from`. `more` are columns that stand in no field of `shape` by their own name."""
    fixed = {"id", "version", "created_at", "created_by"}
    if unknown := set(columns) - (set(shape.__dataclass_fields__) - fixed | more):
        raise InternalError("S091", f"No column of {table}: {', '.join(sorted(unknown))}.")
    assignments: list[sql.Composable] = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in columns
    ]
    if versioned:
        assignments.append(sql.SQL("version = version + 1"))
    which = "id = %(this_id)s"
    if unless_moved_from is not None:
        which += " AND version = %(this_version)s"
    statement = sql.SQL("UPDATE sophia.{} SET {} WHERE {} RETURNING *").format(
        sql.Identifier(table), sql.SQL(", ").join(assignments), sql.SQL(which)
    )
    parameters = {**columns, "this_id": row_id, "this_version": unless_moved_from}
    async with database.connection() as connection:
        cursor = await connection.execute(statement, parameters)
        return await cursor.fetchone()
