"""Places that rows name, after a restore into another data folder: one list of columns."""

import json
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

#: Columns that hold one absolute path, by table. tests/integration/test_backup_store.py holds the
#: list against what a seeded store names.
PATHS = {
    "dataset_versions": ("folder",),
    "jobs": ("run_folder", "folder"),
    "models": ("path",),
    "deployments": ("folder",),
    "uploaded_files": ("path",),
}
#: Columns of JSON that hold paths among other things.
DOCUMENTS = {"jobs": ("request",), "promotions": ("changes", "notes")}
#: Columns that are lists of paths.
LISTS = {"jobs": ("files",)}


def move(connection: psycopg.Connection[Any], moved: Mapping[str, str]) -> None:
    """Let every row name the new place of each folder, and of what lies below it. Columns that the
    version of the tables at hand has not yet are passed over."""
    ways = {old: new for old, new in moved.items() if old != new}
    if not ways:
        return
    there = {
        (each[0], each[1])
        for each in connection.execute(
            b"SELECT table_name, column_name FROM information_schema.columns"
            b" WHERE table_schema = 'sophia'"
        ).fetchall()
    }
    # of two folders, one in the other, the inner one's own way counts
    for old in sorted(ways, key=len):
        new = ways[old]
        for table, columns in PATHS.items():
            for column in columns:
                if (table, column) in there:
                    _move_path(connection, table, column, old, new)
        for table, columns in DOCUMENTS.items():
            for column in columns:
                _move_document(connection, table, column, old, new)
        for table, columns in LISTS.items():
            for column in columns:
                _move_list(connection, table, column, old, new)


def _names(table: str, column: str) -> dict[str, sql.Identifier]:
    return {"table": sql.Identifier("sophia", table), "column": sql.Identifier(column)}


def _move_path(
    connection: psycopg.Connection[Any], table: str, column: str, old: str, new: str
) -> None:
    statement = sql.SQL(
        "UPDATE {table} SET {column} = %(new)s::text || substr({column}, length(%(old)s::text) + 1)"
        " WHERE {column} = %(old)s OR starts_with({column}, %(old)s::text || '/')"
    )
    connection.execute(statement.format(**_names(table, column)), {"old": old, "new": new})


def _move_document(
    connection: psycopg.Connection[Any], table: str, column: str, old: str, new: str
) -> None:
    """By the text of the JSON: a string that is the folder, or begins with it and a slash."""
    statement = sql.SQL(
        "UPDATE {table} SET {column} = replace(replace({column}::text, %(old)s || '\"',"
        " %(new)s || '\"'), %(old)s || '/', %(new)s || '/')::jsonb"
        " WHERE strpos({column}::text, %(old)s) > 0"
    )
    # jsonb writes its text as JSON does, letters beyond ASCII as they are
    texts = {
        name: json.dumps(each, ensure_ascii=False)[:-1]
        for name, each in (("old", old), ("new", new))
    }
    connection.execute(statement.format(**_names(table, column)), texts)


def _move_list(
    connection: psycopg.Connection[Any], table: str, column: str, old: str, new: str
) -> None:
    statement = sql.SQL(
        "UPDATE {table} SET {column} = ARRAY(SELECT CASE WHEN starts_with(item, %(old)s::text ||"
        " '/') THEN %(new)s::text || substr(item, length(%(old)s::text) + 1) ELSE item END"
        " FROM unnest({column}) WITH ORDINALITY AS each (item, place) ORDER BY place)"
        " WHERE EXISTS (SELECT FROM unnest({column}) AS item"
        " WHERE starts_with(item, %(old)s::text || '/'))"
    )
    connection.execute(statement.format(**_names(table, column)), {"old": old, "new": new})
