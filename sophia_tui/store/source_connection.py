"""Connections to the owner's database: its address, read-only transactions, errors made clear.

Made for transaction poolers: nothing is set outside a transaction, no statement is prepared.
"""

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from sophia_tui.errors import OutsideError, SetupError, SophiaError, UsageError
from sophia_tui.i18n import _
from sophia_tui.paths import Paths
from sophia_tui.settings import Settings
from sophia_tui.store.connection_errors import cleaned, percent_encode, unambiguous

CONNECT_SECONDS = 10

#: What other programs write behind a Postgres address, and libpq refuses.
_FOREIGN_PARAMETERS = frozenset(
    {"pgbouncer", "schema", "connection_limit", "pool_timeout", "statement_cache_size"}
)
_DRIVER = re.compile(r"^(postgres(?:ql)?)\+\w+://")


def conninfo(settings: Settings) -> str | None:
    """What libpq needs to reach DATABASE_URL; None where it is not set.

    The forms of SQLAlchemy (postgresql+driver://) and of Prisma (?pgbouncer=true) are understood.
    Raises UsageError D101 where the address can't be read; its text is never repeated.
    """
    if settings.database_url is None:
        return None
    what = _("DATABASE_URL is not the address of a Postgres database.")
    address = _DRIVER.sub(r"\1://", settings.database_url.get_secret_value().strip())
    try:
        if "://" in address:
            parts = urlsplit(address)
            kept = [
                (key, value)
                for key, value in parse_qsl(parts.query, keep_blank_values=True)
                if key not in _FOREIGN_PARAMETERS
            ]
            address = urlunsplit(parts._replace(query=urlencode(kept, quote_via=quote)))
        found: dict[str, Any] = dict(conninfo_to_dict(address))
        if not unambiguous(address, found):
            raise UsageError("D101", what, *percent_encode())
        if not found.get("password") and settings.db_pass is not None:
            found["password"] = settings.db_pass.get_secret_value()
        found.setdefault("connect_timeout", CONNECT_SECONDS)
        found.setdefault("application_name", "sophia")
        return make_conninfo(**found)
    except (psycopg.Error, ValueError):
        raise UsageError(
            "D101",
            what,
            _("It has no form that Postgres knows."),
            _(
                "Write it as postgresql://user:password@host:5432/database; signs such as @ and /"
                " in the password are written as %40 and %2F."
            ),
        ) from None


class SourceAddress:
    """Where the source is: DATABASE_URL, or the embedded server where nothing is set."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._conninfo = conninfo(settings)
        self._next_conninfo = _with_next_password(self._conninfo, settings)
        self._paths = paths

    @property
    def embedded(self) -> bool:
        return self._conninfo is None

    async def resolve(self) -> str:
        """The address; starts the embedded server where that is the source."""
        if self._conninfo is not None:
            return self._conninfo
        from sophia_tui.store.embedded import EmbeddedServer

        return await EmbeddedServer(self._paths.postgres).ensure_running(unless_stopped=True)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """A connection inside one read-only transaction that sees one state of the database.

        Raises UnavailableError D102 to D106 and SetupError D107 for what the server refuses.
        """
        connection = await self._connect(await self.resolve(), self._next_conninfo)
        try:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            # inside the transaction: the next user of a pooled connection finds it as it was
            await connection.execute("SET LOCAL client_encoding = 'UTF8'")
            await connection.execute("SET LOCAL TimeZone = 'UTC'")
            yield connection
            await connection.execute("COMMIT")
        except psycopg.Error as problem:
            raise query_problem(problem) from problem
        finally:
            if connection.info.transaction_status is TransactionStatus.ACTIVE:
                with contextlib.suppress(psycopg.Error):  # else the server would go on sorting
                    await connection.cancel_safe(timeout=2.0)
            await connection.close()  # what is still open in it is rolled back by the server

    async def _connect(self, address: str, other: str | None) -> psycopg.AsyncConnection:
        """A connection by `address`, or by `other` where the server refuses the password."""
        try:
            return await psycopg.AsyncConnection.connect(
                address, autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as caught:
            password = str(conninfo_to_dict(address).get("password") or "")
            problem = connect_problem(caught, (password,))
        if other is None or problem.code != "SOPHIA-D102":
            raise problem
        try:
            return await self._connect(other, None)
        except SophiaError:
            raise problem from None


def _with_next_password(address: str | None, settings: Settings) -> str | None:
    """The same address with SOPHIA_NEXT_PASS, where the source is the own store's database."""
    if address is None or settings.next_pass is None or settings.store_url is not None:
        return None
    return make_conninfo(address, password=settings.next_pass.get_secret_value())


def connect_problem(problem: psycopg.Error, secrets: tuple[str, ...] = ()) -> SophiaError:
    """Why no connection came about, told by the server's code or libpq's words."""
    state = problem.sqlstate or ""
    words = " ".join(str(problem).split()).lower()
    why = cleaned(str(problem), secrets)  # the first line tells the cause, later ones give advice
    if state in ("28P01", "28000") or "password" in words or "authentication" in words:
        return OutsideError(
            "D102",
            _("The source database refused the user or the password."),
            why,
            _("Correct DATABASE_URL or DB_PASS; `sophia setup check` tells whether it works."),
        )
    if state == "3D000" or ("database" in words and "does not exist" in words):
        return OutsideError(
            "D103",
            _("The source database does not exist on that server."),
            why,
            _("Correct the database's name in DATABASE_URL."),
        )
    if state == "53300" or "too many clients" in words or "no more connections" in words:
        return OutsideError(
            "D104",
            _("The source server takes no more connections."),
            why,
            _("Try again later, or connect through a pooler."),
        )
    return OutsideError(
        "D105",
        _("The source database can't be reached."),
        why,
        _("Check host, port and network of DATABASE_URL, and that the server runs."),
    )


def query_problem(problem: psycopg.Error) -> SophiaError:
    """Why reading stopped. The server's words may hold data, so only its code is told."""
    state = problem.sqlstate or ""
    if not state or state.startswith(("08", "57P")):
        return OutsideError(
            "D106",
            _("The connection to the source database broke."),
            _("The server ended it, or the network did. {code}").format(code=state).strip(),
            _("Nothing was changed. Try again."),
        )
    if state == "42501":
        return SetupError(
            "D107",
            _("The source database does not let this role read a table."),
            _("Error {code} of the server.").format(code=state),
            _("`sophia source inspect` says which right is missing."),
        )
    if state == "57014":
        return OutsideError(
            "D108",
            _("The source server stopped the query."),
            _("A time limit of this role (statement_timeout), or an administrator."),
            _("Raise the role's statement_timeout, or collect a shorter period."),
        )
    return OutsideError(
        "D109",
        _("The source database could not answer."),
        _("Error {code} of the server ({name}).").format(code=state, name=type(problem).__name__),
        _("Try again; if it stays, look the code up in the server's log."),
    )
