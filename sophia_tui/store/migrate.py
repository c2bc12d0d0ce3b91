"""Our schema's version: a quick look at it, and the migration itself (Alembic, imported only then).

Nothing is made outside the schema `sophia`; a migration is one transaction under one lock.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sophia_tui.errors import SetupError, SophiaError
from sophia_tui.i18n import _
from sophia_tui.store.connection import Database
from sophia_tui.store.connection_errors import cleaned, statement_problem
from sophia_tui.store.migrations import FOLDER
from sophia_tui.store.sql import query
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection as EngineConnection
    from sqlalchemy import Engine

SCHEMA = "sophia"
#: The letters SOPHIA: one migration at a time, for all programs on that database.
LOCK_KEY = 0x534F50484941
_LOCK_TIMEOUT = "60s"


@dataclass(frozen=True)
class SchemaState:
    """What is there. `stored` None: our tables were never made; `may_*` are the role's rights."""

    role: str
    database: str
    schema_exists: bool
    may_create: bool
    may_write: bool
    stored: str | None

    @property
    def current(self) -> bool:
        return self.stored == head()


def known() -> list[str]:
    """The revisions this program knows, oldest first, from the file names."""
    names = (path.name for path in (FOLDER / "versions").glob("[0-9]*.py"))
    return sorted(name.split("_")[0] for name in names)


def head() -> str:
    """The newest revision that this program knows."""
    return known()[-1]


async def look(database: Database) -> SchemaState:
    """Two light queries. Raises SetupError S018 where the role may not even look."""
    found = await database.row(query("schema_state"))
    if found is None:
        raise AssertionError("a query without FROM gives one row")
    stored = None
    if found["versioned"]:
        if not found["may_read"]:
            raise _foreign_schema(found["role"])
        version = await database.row(query("schema_version"))
        stored = version["version_num"] if version else None
    return SchemaState(
        role=found["role"],
        database=found["database"],
        schema_exists=found["schema_exists"],
        may_create=found["may_create"],
        may_write=found["may_write"],
        stored=stored,
    )


async def ensure(database: Database, automatic: bool) -> SchemaState:
    """Bring the store to this program's version where that is allowed to happen by itself:
    where there is none yet, or with `automatic` (the embedded store, `store migrate`).

    Raises SetupError S010 (may not create), S011 (newer than the program), S012 (older, and not
    automatic), S014 (failed, nothing changed), S018 (schema of another role).
    """
    state = await look(database)
    if state.current:
        return state
    _refuse(state, automatic)
    conninfo = await database.conninfo()
    await asyncio.to_thread(migrate, conninfo)
    return await look(database)


def _refuse(state: SchemaState, automatic: bool) -> None:
    if state.stored is not None and state.stored not in known():
        raise SetupError(
            "S011",
            _("The store is newer than this program."),
            _("It has version {stored}; this program knows up to {known}.").format(
                stored=visible(state.stored), known=head()
            ),
            _("Update Sophia on this machine; nothing was changed."),
        )
    if state.stored is not None and not automatic:
        raise SetupError(
            "S012",
            _("The store is older than this program."),
            _("It has version {stored}; this program needs {known}.").format(
                stored=state.stored, known=head()
            ),
            _("`sophia store migrate` brings it up to date; older programs then stop working."),
        )
    require_rights(state)


def require_rights(state: SchemaState) -> None:
    """Raises SetupError S010 where our schema can't be made, S018 where it can't be written."""
    if not state.schema_exists and not state.may_create:
        raise _may_not_create(state.role, state.database)
    if state.schema_exists and not state.may_write:
        raise _foreign_schema(state.role)


def _may_not_create(role: str, database: str) -> SetupError:
    command = f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {quoted(role)};"
    return SetupError(
        "S010",
        _("The role {role} may not create Sophia's schema in {database}.").format(
            role=visible(role), database=visible(database)
        ),
        _("Sophia keeps its own tables in a schema of their own, {schema}.").format(schema=SCHEMA),
        _(
            "Have the database's administrator run: {command} Or keep the store elsewhere: set"
            " SOPHIA_STORE_URL=embedded (or to another Postgres); DATABASE_URL stays the source."
        ).format(command=visible(command)),
        sql=command,
    )


def _foreign_schema(role: str) -> SetupError:
    command = f"ALTER SCHEMA {SCHEMA} OWNER TO {quoted(role)};"
    return SetupError(
        "S018",
        _("The schema {schema} belongs to another role.").format(schema=SCHEMA),
        _("The role {role} may not use it as Sophia needs.").format(role=visible(role)),
        _(
            "Have the database's administrator run: {command} Or set SOPHIA_STORE_URL=embedded"
            " (or to another Postgres); DATABASE_URL stays the source."
        ).format(command=visible(command)),
        sql=command,
    )


def quoted(name: str) -> str:
    """An SQL identifier, for texts that a person copies."""
    return '"' + name.replace('"', '""') + '"'


def migrate(conninfo: str) -> None:
    """Run all missing migrations on the database at `conninfo`; blocks. Raises SetupError S014.

    The schema is made where it is missing (looked up first: IF NOT EXISTS asks for the right to
    create even where it exists).
    """
    import psycopg
    from sqlalchemy import exc

    engine = _engine(conninfo)
    try:
        with engine.begin() as connection:
            _upgrade(connection, "head")
    except exc.DBAPIError as problem:
        raise _failed(problem.orig or problem) from problem
    except psycopg.Error as problem:
        raise _failed(problem) from problem
    finally:
        engine.dispose()


Step = Callable[["psycopg.Connection[Any]"], None]


def rebuild(conninfo: str, revision: str, clear: Step, fill: Step, finish: Step) -> None:
    """Our tables anew: `clear` takes away what is there, `fill` puts rows into tables of that
    revision, `finish` has the last word once they are of this program's; one transaction, under the
    migrations' lock. Blocks. Raises psycopg.Error, and what the steps raise: nothing was changed
    then."""
    from sqlalchemy import exc

    engine = _engine(conninfo)
    try:
        with engine.begin() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None  # it is open
            _lock(connection)
            clear(driver)
            _upgrade(connection, revision)
            fill(driver)
            _upgrade(connection, "head")
            finish(driver)
    except exc.DBAPIError as problem:
        raise (problem.orig or problem) from problem
    finally:
        engine.dispose()


def _engine(conninfo: str) -> "Engine":
    import psycopg
    from sqlalchemy import create_engine, pool

    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(conninfo, prepare_threshold=None),
        poolclass=pool.NullPool,
        use_native_hstore=False,
    )


def _lock(connection: "EngineConnection") -> None:
    from sqlalchemy import text

    connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
    connection.execute(text("SELECT pg_catalog.pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})


def _upgrade(connection: "EngineConnection", revision: str) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    _lock(connection)
    exists = text("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = :name")
    if connection.execute(exists, {"name": SCHEMA}).first() is None:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    config.attributes.update(connection=connection, schema=SCHEMA)
    command.upgrade(config, revision)


def _failed(problem: BaseException) -> SophiaError:
    import psycopg

    if isinstance(problem, psycopg.OperationalError) and problem.sqlstate is None:
        return statement_problem(problem, "")
    return SetupError(
        "S014",
        _("The store could not be brought up to date."),
        cleaned(str(problem)),
        _("Nothing was changed. Correct the cause and run `sophia store migrate` again."),
    )
