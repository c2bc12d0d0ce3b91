"""Reads rows of the source in batches, without a memory that grows.

Works on libpq's level, since psycopg's readers take an await for each row. Rows come in chunks of
libpq's: that costs the client half of what COPY does, which hands over one buffer for each row.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import psycopg
from psycopg import pq

from sophia_tui.store.export_shapes import PART

#: A batch ends at so many rows or bytes: small enough for the processor's cache and for a screen
#: that is to go on answering, large enough that what is done once for a batch does not count.
BATCH_ROWS = 400
BATCH_BYTES = 256 * 1024
CHUNK_ROWS = 8  # libpq holds as many, and one may have megabytes
LOOK_SECONDS = 0.2  # how often a caller is asked whether to go on while the server is silent

_GOOD = (
    pq.ExecStatus.TUPLES_CHUNK,
    pq.ExecStatus.SINGLE_TUPLE,
    pq.ExecStatus.TUPLES_OK,
)


@dataclass(frozen=True)
class Batch:
    """So many rows, and their values one after the other, parted by PART."""

    rows: int
    values: bytes


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


async def batches_of(
    connection: psycopg.AsyncConnection, query: bytes, check: Callable[[], None]
) -> AsyncGenerator[Batch, None]:
    """Run a query of one binary column without NULL and yield batches.

    `check` is called between batches and while waiting; it raises to stop. Raises psycopg.Error.
    """
    reader = connection.pgconn
    arrivals = _Arrivals(reader.socket)
    _send(reader, query)
    values: list[bytes] = []
    held = 0
    while (result := await _next_result(reader, arrivals, check)) is not None:
        value_at = result.get_value
        for row in range(result.ntuples):
            value = value_at(row, 0) or b""
            values.append(value)
            held += len(value)
            if held >= BATCH_BYTES or len(values) >= BATCH_ROWS:
                check()
                yield Batch(len(values), PART.join(values))
                values, held = [], 0
                await asyncio.sleep(0)  # the screen's turn
    if values:
        yield Batch(len(values), PART.join(values))


def _send(reader: pq.abc.PGconn, query: bytes) -> None:
    """Ask for rows as they come, some at a time (one, where libpq is older than 17)."""
    reader.send_query_params(query, None, result_format=pq.Format.BINARY)
    if psycopg.capabilities.has_stream_chunked():
        reader.set_chunked_rows_mode(CHUNK_ROWS)
    else:
        reader.set_single_row_mode()


async def _next_result(
    reader: pq.abc.PGconn, arrivals: _Arrivals, check: Callable[[], None]
) -> pq.abc.PGresult | None:
    """The next chunk of rows, None at the end. Raises psycopg.Error."""
    asked = False
    while reader.is_busy():
        if asked:  # only what has not come yet is waited for
            check()
            await arrivals.wait()
        asked = not asked
        reader.flush()
        reader.consume_input()
    result = reader.get_result()
    if result is not None and result.status not in _GOOD:
        raise _as_exception(result.error_field(pq.DiagnosticField.SQLSTATE))
    return result


def _as_exception(state: bytes | None) -> psycopg.Error:
    """The exception of a server's code; its words are left out, since they may hold data."""
    if state is None:
        return psycopg.OperationalError("the connection broke")
    try:
        return psycopg.errors.lookup(state.decode())(state.decode())
    except KeyError:
        return psycopg.DatabaseError("error of the server")
