"""Reads a binary COPY of the source in batches of columns, without a memory that grows.

Works on libpq's level: one await for a batch, where psycopg's own reader takes one for each row.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator, Callable

import psycopg
from psycopg import pq

#: A batch ends at so many rows or bytes: small enough for the processor's cache and for a screen
#: that is to go on answering, large enough that what is done once for a batch does not count.
BATCH_ROWS = 400
BATCH_BYTES = 256 * 1024
LOOK_SECONDS = 0.2  # how often a caller is asked whether to go on while the server is silent

_HEADER = b"PGCOPY\n\xff\r\n\x00"
_HEADER_BYTES = 19
_length_at = struct.Struct("!i").unpack_from

Column = list[bytes | None]


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


def columns_of(rows: list[bytes], count: int) -> list[Column]:
    """The values of each column; None for NULL."""
    columns: list[Column] = [[] for _unused in range(count)]
    adders = [column.append for column in columns]
    for row in rows:
        at = 2  # behind the number of fields
        for add in adders:
            (length,) = _length_at(row, at)
            at += 4
            if length < 0:
                add(None)
            else:
                end = at + length
                add(row[at:end])
                at = end
    return columns


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
    rows: list[bytes] = []
    held = 0
    fresh = True
    asked = False
    while True:
        size, data = reader.get_copy_data(1)
        if size > 0:
            asked = False
            row = bytes(data)
            if fresh:
                row = row[_HEADER_BYTES:] if row.startswith(_HEADER) else row
                fresh = False
            if len(row) > 2:
                rows.append(row)
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
