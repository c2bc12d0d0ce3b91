"""Reads a binary COPY of the source in batches of columns, without a memory that grows.

Works on libpq's level: one await for a batch, where psycopg's own reader takes one for each row.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from operator import itemgetter

import psycopg
from psycopg import pq

#: A batch ends at so many rows or bytes: small enough for the processor's cache and for a screen
#: that is to go on answering, large enough that what is done once for a batch does not count.
BATCH_ROWS = 400
BATCH_BYTES = 256 * 1024
LOOK_SECONDS = 0.2  # how often a caller is asked whether to go on while the server is silent

#: A column's place where the row has NULL: no UTF-8 text has this byte.
NULL = b"\xff"

_PART = b"\0"
_HEADER_BYTES = 19
_TRAILER_BYTES = 2
_VALUE = itemgetter(slice(6, None))  # behind the number of fields and the only one's length

Column = list[bytes]


class _Arrivals:
    """Wakes a coroutine when the socket has something, and every LOOK_SECONDS."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        self._event.clear()
        timer = self._loop.call_later(LOOK_SECONDS, self._event.set)
        self._loop.add_reader(self._descriptor, self._event.set)
        try:
            await self._event.wait()
        finally:
            timer.cancel()
            self._loop.remove_reader(self._descriptor)


def columns_of(rows: list[memoryview], count: int) -> list[Column]:
    """The values of each column, in which NULL stands for NULL."""
    values = _PART.join(map(_VALUE, rows)).split(_PART)
    return [values[place::count] for place in range(count)]


async def copy_batches(
    connection: psycopg.AsyncConnection, query: bytes, columns: int, check: Callable[[], None]
) -> AsyncGenerator[list[Column], None]:
    """Run a COPY … TO STDOUT (FORMAT binary) and yield batches, each a list of columns.

    `check` is called between batches and while waiting; it raises to stop. Raises psycopg.Error.
    """
    reader = connection.pgconn
    arrivals = _Arrivals(reader.socket)
    reader.send_query(query)
    while reader.flush():  # noqa: ASYNC110  # a query fits the socket's buffer: as good as never
        await asyncio.sleep(0.01)
    await _expect(reader, arrivals, pq.ExecStatus.COPY_OUT, check)
    rows: list[memoryview] = []
    held = 0
    asked, first = False, True
    while True:
        size, data = reader.get_copy_data(1)
        if size > 0:
            asked = False
            if first:  # the format's header comes with the first row
                first, data = False, data[_HEADER_BYTES:]
                size = len(data)
            if size > _TRAILER_BYTES:
                rows.append(data)
                held += size
            if held < BATCH_BYTES and len(rows) < BATCH_ROWS:
                continue
        elif size == 0:
            if asked:  # only what has not come yet is waited for
                check()
                await arrivals.wait()
            asked = not asked
            reader.consume_input()
            continue
        if rows:
            check()
            yield columns_of(rows, columns)
            rows, held = [], 0
            await asyncio.sleep(0)  # the screen's turn
        if size < 0:
            break
    await _expect(reader, arrivals, pq.ExecStatus.COMMAND_OK, check)
    reader.get_result()


async def _expect(
    reader: pq.abc.PGconn, arrivals: _Arrivals, wanted: pq.ExecStatus, check: Callable[[], None]
) -> None:
    """Wait for the next result. Raises psycopg.Error where it is not the wanted one."""
    while reader.is_busy():
        check()
        await arrivals.wait()
        reader.consume_input()
    result = reader.get_result()
    if result is None or result.status != wanted:
        state = result.error_field(pq.DiagnosticField.SQLSTATE) if result is not None else None
        raise _as_exception(state)


def _as_exception(state: bytes | None) -> psycopg.Error:
    """The exception of a server's code; its words are left out, since they may hold data."""
    if state is None:
        return psycopg.OperationalError("the connection broke")
    try:
        return psycopg.errors.lookup(state.decode())(state.decode())
    except KeyError:
        return psycopg.DatabaseError("error of the server")
