"""The own store, copied out and put back: COPY of every table, in one transaction each way.

Not by pg_dump: its version has to fit the server's, its archive fits no older server, it takes the
password by a file or the environment, and a cancel is a kill. COPY is the same for the embedded
server and for any other, goes through a pooler, and what is put back can be read again and
compared byte for byte before the commit. What the tables are is known from the migrations.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from sophia_tui.domain.backups import (
    CopiedStore,
    CopiedTable,
    LoadedStore,
    StoreState,
    TakeTable,
)
from sophia_tui.errors import InternalError, SetupError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.paths import Paths
from sophia_tui.settings import Settings
from sophia_tui.store import migrate
from sophia_tui.store.connection_errors import cleaned, connect_problem, statement_problem
from sophia_tui.store.moving import move
from sophia_tui.store.own import is_embedded, own_database
from sophia_tui.store.sql import query

#: What fills itself: a store that holds nothing else is empty.
_OWN_LIFE = frozenset({"audit", "workers"})
#: Seconds in which a living run gives a sign.
_SIGN_SECONDS = 180
#: Values are written alike on every server, rows come in the order in which they lie there, and no
#: time limit of the role's cuts a large table off.
_ALIKE = (
    "SET LOCAL TimeZone = 'UTC'",
    "SET LOCAL DateStyle = 'ISO, YMD'",
    "SET LOCAL IntervalStyle = 'postgres'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL synchronize_seqscans = off",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
)

#: Entries that only the store of before had come behind those that were put back.
_KEEP_AUDIT = b"""
INSERT INTO sophia.audit
    (at, actor, face, role, operation, target, request, outcome, code, seconds)
SELECT b.at, b.actor, b.face, b.role, b.operation, b.target, b.request, b.outcome, b.code, b.seconds
FROM sophia.audit_of_before AS b
WHERE NOT EXISTS (
    SELECT FROM sophia.audit AS a
    WHERE a.at = b.at AND a.actor = b.actor AND a.operation = b.operation
)
ORDER BY b.id
"""

_Connection = psycopg.Connection[Any]


class PostgresCopier:
    """Implements domain.backups.StoreCopier."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings = settings
        self._paths = paths
        self._embedded = is_embedded(settings)

    def known_revisions(self) -> Sequence[str]:
        return migrate.known()

    async def state(self) -> StoreState:
        database = own_database(self._settings, self._paths, size=1)
        try:
            state = await migrate.look(database)
            rows: dict[str, int] = {}
            size = 0
            for each in await database.rows(query("own_tables")):
                size += each["bytes"]
                if state.stored is None or each["name"] in _OWN_LIFE:
                    continue
                counted = sql.SQL("SELECT count(*) AS rows FROM {}").format(_table(each["name"]))
                found = await database.row(counted.as_bytes())
                if found and found["rows"]:
                    rows[each["name"]] = found["rows"]
            at_work: tuple[str, ...] = ()
            if "jobs" in rows:
                living = await database.rows(query("jobs_with_a_sign"), {"seconds": _SIGN_SECONDS})
                at_work = tuple(each["id"] for each in living)
            return StoreState(
                kind="embedded" if self._embedded else "server",
                where=str(self._paths.postgres) if self._embedded else database.where,
                revision=state.stored,
                rows=rows,
                at_work=at_work,
                bytes=size,
            )
        finally:
            await database.close()

    async def ready(self) -> "PostgresCopy":
        database = own_database(self._settings, self._paths, size=1)
        try:
            migrate.require_rights(await migrate.look(database))
            return PostgresCopy(await database.conninfo(), database.where)
        finally:
            await database.close()


class PostgresCopy:
    """Implements domain.backups.StoreCopy."""

    def __init__(self, conninfo: str, where: str) -> None:
        self._conninfo = conninfo
        self._where = where

    def dump(self, take: TakeTable) -> CopiedStore:
        try:
            with self._connected() as connection:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                connection.read_only = True
                with connection.transaction():
                    return _dump(connection, take)
        except psycopg.Error as problem:
            raise statement_problem(problem, self._where) from problem

    def load(
        self,
        store: CopiedStore,
        tables: Iterable[tuple[str, Iterator[bytes]]],
        moved: Mapping[str, str],
        before_commit: Callable[[str], None],
    ) -> LoadedStore:
        told = {each.name: each for each in store.tables}
        kept = 0

        def fill(connection: _Connection) -> None:
            for name, pieces in tables:
                _load(connection, told[name], pieces)
            for each in store.tables:
                _check(connection, each)
                _count_on(connection, each)
            move(connection, moved)

        def finish(connection: _Connection) -> None:
            nonlocal kept
            kept = _keep_audit(connection)
            [transaction] = _one(connection, "SELECT pg_catalog.pg_current_xact_id()::text")
            before_commit(transaction)

        try:
            migrate.rebuild(self._conninfo, store.revision, _clear, fill, finish)
        except psycopg.Error as problem:
            raise _not_loaded(problem) from problem
        rows = {each.name: each.rows for each in store.tables}
        return LoadedStore(revision=migrate.head(), rows=rows, audit_kept=kept)

    def committed(self, transaction: str) -> bool | None:
        with self._connected() as connection:
            statement = "SELECT pg_catalog.pg_xact_status(%s::text::xid8)"
            [status] = _one(connection, statement, transaction)
        return None if status == "in progress" else status == "committed"

    def _connected(self) -> _Connection:
        try:
            return psycopg.connect(self._conninfo, prepare_threshold=None)
        except psycopg.Error as problem:
            raise connect_problem(problem, self._where) from None


def _table(name: str) -> sql.Identifier:
    return sql.Identifier(migrate.SCHEMA, name)


def _one(connection: _Connection, statement: str, *values: Any) -> tuple[Any, ...]:
    found = connection.execute(statement.encode(), values or None).fetchone()
    if found is None:
        raise InternalError("S094", "a statement of one row gave none")
    return tuple(found)


def _read_alike(connection: _Connection) -> None:
    for each in _ALIKE:
        connection.execute(each.encode())


def _dump(connection: _Connection, take: TakeTable) -> CopiedStore:
    _read_alike(connection)
    [revision] = _one(connection, "SELECT version_num FROM sophia.alembic_version")
    [server] = _one(connection, "SHOW server_version")
    tables = tuple(_dump_table(connection, each, take) for each in _in_order(connection))
    at_work = connection.execute(query("unended_jobs")).fetchall()
    return CopiedStore(revision, str(server).split()[0], tables, tuple(each[0] for each in at_work))


def _in_order(connection: _Connection) -> list[str]:
    """The tables, each behind those that it points to."""
    names = [each[0] for each in connection.execute(query("own_tables")).fetchall()]
    needs: dict[str, set[str]] = {name: set() for name in names}
    for table, other in connection.execute(query("own_references")).fetchall():
        needs[table].add(other)
    ordered: list[str] = []
    while needs:
        free = sorted(name for name, others in needs.items() if others <= {name, *ordered})
        if not free:
            raise InternalError("S093", f"Tables point to each other: {', '.join(sorted(needs))}.")
        for name in free:
            del needs[name]
        ordered += free
    return ordered


def _dump_table(connection: _Connection, name: str, take: TakeTable) -> CopiedTable:
    columns = connection.execute(query("own_columns"), {"table": name}).fetchall()
    chosen = tuple(each[0] for each in columns)
    measured = _Measured(_pieces(connection, name, chosen))
    take(name, iter(measured))
    numbers = {
        column: _last_number(connection, name, column) for column, identity in columns if identity
    }
    return CopiedTable(
        name, chosen, measured.rows, measured.bytes, measured.sha.hexdigest(), numbers
    )


class _Measured:
    """Pieces of a table as they pass by. A row is a line; a line feed in a value is written out."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.rows = 0
        self.bytes = 0
        self.sha = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.rows += piece.count(b"\n")
            self.bytes += len(piece)
            self.sha.update(piece)
            yield piece


def _pieces(connection: _Connection, name: str, columns: Sequence[str]) -> Iterator[bytes]:
    with connection.cursor() as cursor, cursor.copy(_copy(name, columns, "TO STDOUT")) as rows:
        for each in rows:
            yield bytes(each)


def _copy(name: str, columns: Sequence[str], direction: str) -> sql.Composed:
    return sql.SQL("COPY {} ({}) {}").format(
        _table(name),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(direction),  # one of two words of ours
    )


def _last_number(connection: _Connection, name: str, column: str) -> int | None:
    sequence = _sequence(connection, name, column)
    statement = sql.SQL("SELECT last_value, is_called FROM {}").format(sequence)
    found = connection.execute(statement).fetchone()
    return int(found[0]) if found and found[1] else None


def _sequence(connection: _Connection, name: str, column: str) -> sql.Identifier:
    statement = "SELECT pg_catalog.pg_get_serial_sequence(%s, %s)"
    [found] = _one(connection, statement, f"{migrate.SCHEMA}.{name}", column)
    return sql.Identifier(*str(found).replace('"', "").split("."))


def _clear(connection: _Connection) -> None:
    """Take our tables and functions away; the audit is kept aside, it is for good. Nothing goes
    that another schema's view or key leans on: then the whole fails, and nothing is changed."""
    _read_alike(connection)
    names = [each[0] for each in connection.execute(query("own_tables")).fetchall()]
    if "audit" in names:
        connection.execute(b"CREATE TABLE sophia.audit_of_before AS SELECT * FROM sophia.audit")
    dropped = [*names, "alembic_version"] if names else []
    if dropped:
        tables = sql.SQL(", ").join(map(_table, dropped))
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(tables))
    for [signature] in connection.execute(query("own_functions")).fetchall():
        connection.execute(b"DROP FUNCTION " + str(signature).encode())


def _load(connection: _Connection, table: CopiedTable, pieces: Iterator[bytes]) -> None:
    with connection.cursor() as cursor:
        with cursor.copy(_copy(table.name, table.columns, "FROM STDIN")) as rows:
            for each in pieces:
                rows.write(each)
        if cursor.rowcount != table.rows:
            raise _differs(table.name)


def _check(connection: _Connection, table: CopiedTable) -> None:
    """Read the table again: it has to be what the backup holds, byte for byte."""
    measured = _Measured(_pieces(connection, table.name, table.columns))
    for _piece in measured:
        continue
    if (measured.rows, measured.sha.hexdigest()) != (table.rows, table.sha256):
        raise _differs(table.name)


def _count_on(connection: _Connection, table: CopiedTable) -> None:
    for column, last in table.numbers.items():
        if last is not None:
            sequence = _sequence(connection, table.name, column).as_string()
            connection.execute(b"SELECT pg_catalog.setval(%s::regclass, %s)", [sequence, last])


def _keep_audit(connection: _Connection) -> int:
    """What the store's audit had and the backup has not comes behind it."""
    there = connection.execute(b"SELECT to_regclass('sophia.audit_of_before')").fetchone()
    if not there or there[0] is None:
        return 0
    kept = connection.execute(_KEEP_AUDIT).rowcount
    connection.execute(b"DROP TABLE sophia.audit_of_before")
    return kept


def _differs(table: str) -> SetupError:
    return SetupError(
        "S413",
        _("What was put back is not what the backup holds: the table {table}.").format(table=table),
        _("Read again, its rows differ."),
        _("Nothing was changed. Report it with the log; another backup may serve."),
    )


def _not_loaded(problem: psycopg.Error) -> SetupError | UnavailableError:
    """Messages that may quote a row are left out; those on what leans on our tables are not."""
    if isinstance(problem, psycopg.errors.DependentObjectsStillExist):
        detail = (problem.diag.message_detail or "").split("\n")[0]
        why = _("Something outside Sophia's schema leans on its tables: {detail}").format(
            detail=cleaned(detail)
        )
        return _failed(why, _("Nothing was changed. Drop that, restore, and make it again."))
    if isinstance(problem, psycopg.errors.DiskFull):
        return _failed(
            _("The database has no room left."), _("Nothing was changed. Free room there.")
        )
    if isinstance(problem, psycopg.errors.LockNotAvailable):
        return _failed(
            _("Another program of Sophia's uses the store."),
            _("Nothing was changed. Stop the services, then try again."),
        )
    if isinstance(problem, (psycopg.OperationalError, psycopg.InterfaceError)):
        return _failed(
            cleaned(str(problem)), _("Nothing was changed. Try again once the database answers.")
        )
    return _failed(
        f"{type(problem).__name__} {problem.sqlstate or ''}".strip(),
        _("Nothing was changed. Report it with the log."),
    )


def _failed(why: str, remedy: str) -> SetupError:
    return SetupError("S412", _("The store could not be put back."), why, remedy)
