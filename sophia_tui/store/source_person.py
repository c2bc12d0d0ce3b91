"""Which rows of the owner's tables are a person's: customers, their conversations and messages."""

from collections.abc import Iterable, Sequence

import psycopg
from psycopg import sql

from sophia_tui.domain.protocols import PersonRows
from sophia_tui.i18n import _
from sophia_tui.store.source_columns import FoundTable
from sophia_tui.store.source_tables import Tables


async def person_rows(
    connection: psycopg.AsyncConnection,
    tables: Tables,
    customers: Sequence[str],
    emails: Sequence[str],
    phones: Sequence[str],
) -> PersonRows:
    """Rows by table's bare name, and the e-mails and phones that the customers have. Raises
    psycopg.Error."""
    people, talks, messages = (
        tables.get(name) for name in ("customers", "conversations", "messages")
    )
    ids = list(dict.fromkeys(customers))
    own_emails: list[str] = []
    own_phones: list[str] = []
    if people is not None and people.usable("id"):
        for row in await _customers(connection, people, customers, emails, phones):
            ids.append(row[0])
            own_emails += filter(None, [row[1]])
            own_phones += filter(None, [row[2]])
    ids = list(dict.fromkeys(ids))
    rows = {"customers": tuple(ids)}
    of_talks = await _keys(connection, talks, "customer_id", ids)
    rows["conversations"] = of_talks
    rows["messages"] = await _keys(connection, messages, "conversation_id", of_talks)
    missing = [
        name for name, table in (("customers", people), ("conversations", talks)) if table is None
    ]
    return PersonRows(
        rows={table: keys for table, keys in rows.items() if keys},
        emails=tuple(own_emails),
        phones=tuple(own_phones),
        problem=_("There is no table {table}.").format(table=", ".join(missing)) if missing else "",
    )


def _any(expression: sql.Composable, values: Iterable[str]) -> sql.Composed:
    listed = sql.SQL(", ").join(sql.Literal(each) for each in values)
    return sql.SQL("{} = ANY (ARRAY[{}]::text[])").format(expression, listed)


def _text(table: FoundTable, column: str) -> sql.Composed:
    if not table.usable(column):
        return sql.SQL("NULL::text").format()
    return sql.SQL("{}::text").format(table.columns[column].sql)


async def _customers(
    connection: psycopg.AsyncConnection,
    people: FoundTable,
    customers: Sequence[str],
    emails: Sequence[str],
    phones: Sequence[str],
) -> list[tuple[str, str | None, str | None]]:
    """Phones are compared by their last ten digits: country code and zeros are written or not."""
    number = sql.SQL("pg_catalog.right(pg_catalog.regexp_replace({}, '\\D', '', 'g'), 10)").format(
        _text(people, "phone")
    )
    wanted = [
        _any(_text(people, "id"), customers),
        _any(
            sql.SQL("pg_catalog.lower({})").format(_text(people, "email")), map(str.lower, emails)
        ),
        _any(number, (each[-10:] for each in phones)),
    ]
    query = sql.SQL("SELECT {}, {}, {} FROM {} WHERE {}").format(
        _text(people, "id"),
        _text(people, "email"),
        _text(people, "phone"),
        people.sql,
        sql.SQL(" OR ").join(wanted),
    )
    return await (await connection.execute(query)).fetchall()


async def _keys(
    connection: psycopg.AsyncConnection,
    table: FoundTable | None,
    column: str,
    values: Sequence[str],
) -> tuple[str, ...]:
    if table is None or not values or not table.usable("id") or not table.usable(column):
        return ()
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
        _text(table, "id"), table.sql, _any(_text(table, column), values)
    )
    return tuple(row[0] for row in await (await connection.execute(query)).fetchall())
