"""Connections to one Postgres: a pool that works behind poolers and comes back after restarts."""

import asyncio
import contextlib
import logging
import select
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from sophia_tui.errors import SophiaError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.store.connection_errors import (
    connect_problem,
    parsed,
    redact_url,
    statement_problem,
)

__all__ = ["Connection", "Database", "redact_url"]

Connection = psycopg.AsyncConnection[DictRow]

CHECKOUT_SECONDS = 10.0
_RETRIES = 3
_CLOSE_SECONDS, _RENEW_SECONDS, _END_ROUNDS = 5.0, 1.0, 50
#: What an address may override. Keep-alives find a peer that is gone behind a firewall.
_DEFAULTS = {
    "connect_timeout": "8",
    "application_name": "sophia",
    "client_encoding": "utf8",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_log = logging.getLogger("sophia")
# the pool tells each failed attempt to the log; our errors tell it to the person, once
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


class Database:
    """A lazily opened pool for `address`: an async function that gives the address with its
    password, and makes sure that the server runs where it is ours (the embedded one).

    No statement leaves state in a session: autocommit, no prepared statements, names with their
    schema, so that a pooler in transaction mode may stand in between. `next_password` takes the
    place of the address's or of `password` once the server refuses that: the password is being
    changed. All methods raise UnavailableError S001 to S007, UsageError S008, SetupError S009,
    S013, S017 and InternalError S099.
    """

    def __init__(
        self,
        address: Callable[[], Awaitable[str]],
        password: str | None = None,
        size: int = 4,
        options: Mapping[str, str] | None = None,
        next_password: str | None = None,
    ) -> None:
        self._address = address
        self._password = password
        self._next_password = next_password
        self._changed = False  # whether the next password is the one that the server takes
        self._size = size
        self._options = dict(options or {})
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._opening = asyncio.Lock()
        self.where = ""
        #: Set once this process ends: what is open may be used, nothing is opened or started again.
        self.ending = False

    async def conninfo(self) -> str:
        """The address as libpq takes it, with our defaults, and DB_PASS where it has none."""
        if self.ending:
            raise ending_error()
        url = await self._address()
        given = parsed(url)
        self.where = redact_url(url)
        if self._password and "password" not in given:
            given["password"] = self._password
        if self._changed and self._next_password:
            given["password"] = self._next_password
        return make_conninfo("", **{**_DEFAULTS, **given, **self._options})

    async def connect(self) -> Connection:
        """A connection of its own, outside the pool; the caller closes it."""
        try:
            return await self._login()
        except UnavailableError as problem:
            if self._next_password is None or problem.code != "SOPHIA-S002":
                raise
            self._changed = not self._changed
            try:
                return await self._login()
            except SophiaError:
                self._changed = not self._changed
                raise problem from None

    async def _login(self) -> Connection:
        conninfo = await self.conninfo()
        secrets = (parsed(conninfo).get("password", ""),)
        try:
            return await psycopg.AsyncConnection.connect(
                conninfo, autocommit=True, prepare_threshold=None, row_factory=dict_row
            )
        except psycopg.Error as problem:
            raise connect_problem(problem, self.where, secrets) from None

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A pooled connection in autocommit; use `connection.transaction()` for more than one."""
        pool, taken = await self._take()
        try:
            yield taken
        except psycopg.Error as problem:
            raise statement_problem(problem, self.where) from problem
        finally:
            await pool.putconn(taken)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A pooled connection inside one transaction."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def rows(
        self, query: bytes, parameters: Mapping[str, Any] | None = None
    ) -> list[DictRow]:
        """All rows of one statement."""
        async with self.connection() as connection:
            return await (await connection.execute(query, parameters)).fetchall()

    async def row(
        self, query: bytes, parameters: Mapping[str, Any] | None = None
    ) -> DictRow | None:
        """The first row of one statement, or None."""
        async with self.connection() as connection:
            return await (await connection.execute(query, parameters)).fetchone()

    async def run(self, query: bytes, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one statement; how many rows it touched."""
        async with self.connection() as connection:
            return (await connection.execute(query, parameters)).rowcount

    async def ping(self) -> float:
        """Milliseconds of one round trip."""
        async with self.connection() as connection:
            started = time.perf_counter()
            await connection.execute(b"SELECT 1")
            return (time.perf_counter() - started) * 1000

    async def close(self) -> None:
        async with self._opening:
            if self._pool is not None:
                pool, self._pool = self._pool, None
                await _ended(pool, _CLOSE_SECONDS)

    async def _take(self) -> tuple[AsyncConnectionPool[Connection], Connection]:
        """A connection that lives. One that broke while it lay idle is noticed by its socket, and
        then the whole pool is renewed, after a probe that tells the true reason if it fails."""
        problem: Exception | None = None
        for _attempt in range(_RETRIES):
            pool = await self._open()
            try:
                taken = await pool.getconn(timeout=CHECKOUT_SECONDS)
            except (PoolTimeout, PoolClosed) as caught:
                problem = caught
                await self._renew(pool)
                continue
            if await _lives(taken):
                return pool, taken
            await taken.close()
            await pool.putconn(taken)
            await self._renew(pool)
        raise connect_problem(problem or PoolTimeout(), self.where)

    async def _open(self) -> AsyncConnectionPool[Connection]:
        async with self._opening:
            if self._pool is None:
                await self._probe()
                pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
                    self.conninfo,
                    min_size=0,
                    max_size=self._size,
                    open=False,
                    timeout=CHECKOUT_SECONDS,
                    reconnect_timeout=CHECKOUT_SECONDS,
                    max_idle=300,
                    kwargs={
                        "autocommit": True,
                        "prepare_threshold": None,
                        "row_factory": dict_row,
                    },
                )
                await pool.open()
                self._pool = pool
            return self._pool

    async def _probe(self) -> None:
        """Connect once, so that a wrong password is told at once and as what it is. A server that
        was killed a moment ago may look alive for some milliseconds, hence a second try."""
        try:
            connection = await self.connect()
        except SophiaError as problem:
            if problem.code != "SOPHIA-S001":
                raise
            await asyncio.sleep(0.3)
            connection = await self.connect()
        await connection.close()

    async def _renew(self, old: AsyncConnectionPool[Connection]) -> None:
        async with self._opening:
            if self._pool is not old:
                return  # who was first ends it
            self._pool = None
        await _ended(old, _RENEW_SECONDS)


def ending_error() -> UnavailableError:
    return UnavailableError("S037", _("This process is ending."))


async def _ended(pool: AsyncConnectionPool[Connection], seconds: float) -> None:
    """Close a pool, and end its workers: one that is connecting outlives `close`, and one whose
    cancellation was lost between two waits (CPython's wait_for before 3.12) would keep the event
    loop, and so the program, from ever ending."""
    with contextlib.suppress(psycopg.Error):
        await pool.close(timeout=seconds)
    for _round in range(_END_ROUNDS):
        left = [each for each in asyncio.all_tasks() if each.get_name().startswith(f"{pool.name}-")]
        if not left:
            return
        for each in left:
            each.cancel()
        await asyncio.wait(left, timeout=0.1)
    _log.warning("a connection pool could not be ended: %s", pool.name)


async def _lives(connection: Connection) -> bool:
    """Whether an idle connection still is one: nothing waits on its socket, or it answers."""
    if connection.closed:
        return False
    try:
        socket = select.poll()
        socket.register(connection.fileno(), select.POLLIN)
        if socket.poll(0):
            await connection.execute(b"SELECT 1")
    except (psycopg.Error, OSError, ValueError):
        return False
    return True
