"""Finds the owner's tables in the catalogue, and says column by column what does not fit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg

from sophia_tui.domain.protocols import ColumnReport, TableReport
from sophia_tui.i18n import N_, _
from sophia_tui.store.source_columns import (
    EXPORTS,
    GROUPS,
    NOT_NEEDED,
    TABLES,
    FoundColumn,
    FoundTable,
    Kind,
    Wanted,
    kind_of,
)
from sophia_tui.textsafe import visible

RELATIONS = {
    "r": N_("table"),
    "v": N_("view"),
    "m": N_("materialized view"),
    "p": N_("partitioned table"),
    "f": N_("foreign table"),
}

# A domain counts as its base type. Sophia's own schema is no source, unless a setting names it.
_CATALOGUE = r"""
SELECT n.nspname, c.relname, c.relkind::text, c.reltuples::float8,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       CASE WHEN c.relkind IN ('r', 'p') THEN pg_catalog.row_security_active(c.oid) ELSE false END,
       a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
       coalesce(b.typname, t.typname)::text, coalesce(b.typcategory, t.typcategory)::text,
       a.attnotnull, pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),
       array_position(pg_catalog.current_schemas(false), n.nspname)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
WHERE c.relname = ANY(%(names)s) AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
  AND NOT c.relispartition AND n.nspname <> 'information_schema'
  AND n.nspname NOT LIKE 'pg\_%%'
  AND CASE WHEN %(schema)s::text IS NULL THEN n.nspname <> 'sophia' ELSE n.nspname = %(schema)s END
ORDER BY n.nspname, c.relname, a.attnum
"""


class Tables:
    """What was found: each table's place, or why none was chosen."""

    def __init__(self, found: Iterable[FoundTable], path: Mapping[str, int]) -> None:
        self._by_name: dict[str, dict[str, FoundTable]] = {}
        for table in found:
            self._by_name.setdefault(table.name, {})[table.schema] = table
        self._path = path
        self._chosen: dict[str, FoundTable] = {}
        self._unclear: dict[str, list[str]] = {}
        for group in GROUPS:
            self._choose(group)

    def _choose(self, group: Sequence[str]) -> None:
        """By the search path where that has the whole group, as the owner's own queries do; else
        by who has most of it, so that a table of the same name elsewhere is not mixed in."""
        schemas = {schema for name in group for schema in self._by_name.get(name, {})}
        by_path = all(set(self._by_name.get(name, {})) & set(self._path) for name in group)

        def rank(schema: str) -> tuple[int, int]:
            count = sum(schema in self._by_name.get(name, {}) for name in group)
            position = self._path.get(schema, 1_000_000)
            return (position, -count) if by_path else (-count, position)

        order = sorted(schemas, key=lambda schema: (*rank(schema), schema))
        for name in group:
            having = [schema for schema in order if schema in self._by_name.get(name, {})]
            if not having:
                continue
            equals = [schema for schema in having if rank(schema) == rank(having[0])]
            if len(equals) > 1:
                self._unclear[name] = equals
            else:
                self._chosen[name] = self._by_name[name][having[0]]

    def get(self, name: str) -> FoundTable | None:
        return self._chosen.get(name)

    def report(self, name: str) -> TableReport:
        """What was found for one table, and for each of its columns."""
        table = self._chosen.get(name)
        if table is None:
            return TableReport(name, None, None, False, None, problem=self._absence(name))
        columns = tuple(
            _column_report(table, column, wanted) for column, wanted in TABLES[name].items()
        )
        readable = table.schema_usable and any(each.readable for each in table.columns.values())
        return TableReport(
            table=name,
            found=visible(table.label),
            kind=_(RELATIONS[table.relation]),
            readable=readable,
            rows_estimate=table.rows_estimate,
            columns=columns,
            problem=_right_problem(table) if not readable else "",
            note=_row_security_note() if table.row_security else "",
        )

    def _absence(self, name: str) -> str:
        if name in self._unclear:
            return _("It is in several schemas: {schemas}. Set SOPHIA_SOURCE_SCHEMA.").format(
                schemas=visible(", ".join(self._unclear[name]))
            )
        return _(
            "It was not found. If it is in another database, correct DATABASE_URL; if in a"
            " schema that this role does not see, set SOPHIA_SOURCE_SCHEMA."
        )

    def hindrance(self, export: str) -> str:
        """Why an export can't be made, naming each table and column; empty where it can."""
        missing = [
            name
            for name in EXPORTS[export]
            if name not in self._chosen and name not in self._unclear
        ]
        reasons = []
        if missing:
            reasons.append(_("Not found: {tables}.").format(tables=", ".join(missing)))
        for name in EXPORTS[export]:
            if name in missing:
                continue
            report = self.report(name)
            if report.found is None or not report.readable:
                reasons.append(f"{name}: {report.problem}")
                continue
            reasons += [
                f"{name}.{column.column}: {column.problem}"
                for column in report.columns
                if not column.usable
                and (name, column.column) not in NOT_NEEDED.get(export, frozenset())
            ]
        return " ".join(reasons)


def _right_problem(table: FoundTable) -> str:
    if not table.schema_usable:
        return _("This role may not use schema {schema}: GRANT USAGE ON SCHEMA.").format(
            schema=visible(table.schema)
        )
    return _("This role has no right to read it: GRANT SELECT ON {table}.").format(
        table=visible(table.label)
    )


def _row_security_note() -> str:
    return _("Row-level security holds for this role: rows that it hides are not collected.")


def _column_report(table: FoundTable, name: str, wanted: Wanted) -> ColumnReport:
    found = table.columns.get(name)
    problem = ""
    if found is None:
        if wanted.required:
            problem = _("It is missing: offer a view in which a column has this name.")
    elif not found.readable:
        if wanted.required:
            problem = _("This role has no right to read it: GRANT SELECT ({column}).").format(
                column=name
            )
    elif found.kind not in wanted.kinds and wanted.required:
        problem = _("Type {type} does not fit; {kinds} would: offer a view that casts it.").format(
            type=visible(found.type), kinds=", ".join(sorted(_type_words(wanted.kinds)))
        )
    return ColumnReport(
        column=name,
        found=visible(found.type) if found else None,
        required=wanted.required,
        usable=not problem,
        problem=problem,
    )


def _type_words(kinds: frozenset[Kind]) -> list[str]:
    words = {Kind.NUMBER: "integer", Kind.FLOAT: "double precision"}
    return [words.get(kind, kind.value) for kind in kinds]


async def find_tables(connection: psycopg.AsyncConnection, schema: str | None) -> Tables:
    """Look the owner's tables up; reads the catalogue alone."""
    return Tables(*await _catalogue(connection, list(TABLES), schema))


async def find_table(
    connection: psycopg.AsyncConnection, name: str, schema: str | None
) -> FoundTable | None:
    """One table that belongs to no group: by the search path, else the only one of that name."""
    tables, path = await _catalogue(connection, [name], schema)
    by_path = sorted((each for each in tables if each.schema in path), key=lambda t: path[t.schema])
    if by_path:
        return by_path[0]
    return tables[0] if len(tables) == 1 else None


async def _catalogue(
    connection: psycopg.AsyncConnection, names: list[str], schema: str | None
) -> tuple[list[FoundTable], dict[str, int]]:
    """Tables of those names in every schema, and each schema's place in the search path."""
    cursor = await connection.execute(_CATALOGUE, {"names": names, "schema": schema})
    found: dict[tuple[str, str], dict[str, FoundColumn]] = {}
    heads: dict[tuple[str, str], tuple[Any, ...]] = {}
    path: dict[str, int] = {}
    for row in await cursor.fetchall():
        (space, name, relation, rows, usage, secured) = row[:6]
        (column, shown, base, category, not_null, readable, position) = row[6:]
        heads[space, name] = (relation, usage, rows, secured)
        found.setdefault((space, name), {})[column] = FoundColumn(
            column, shown, kind_of(base, category), not_null, readable
        )
        if position is not None:
            path[space] = position
    tables = [
        FoundTable(
            schema=space,
            name=name,
            relation=relation,
            schema_usable=usage,
            rows_estimate=int(rows) if rows >= 0 and relation != "v" else None,
            row_security=secured,
            columns=found[space, name],
        )
        for (space, name), (relation, usage, rows, secured) in heads.items()
    ]
    return tables, path
