"""Tables as lines: each row of a CSV or Parquet file as one JSON object, in flat memory.

Columns have the names of the fields. An empty cell is no field. Where a field may hold lists or
objects, its text may be JSON. Line n is row n, the header not counted; a row that can't be one is
a line that says so (`formats.UNUSABLE_ROW`), so that it is rejected and not lost.
"""

import csv
import io
import json
from collections.abc import Generator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from sophia_tui.datasets.compressed import DamagedFile
from sophia_tui.datasets.formats import UNUSABLE_ROW
from sophia_tui.errors import DataError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

#: Characters of the longest cell, and bytes of the longest line, that are read of a CSV file.
MAX_CELL = 8 * 1024 * 1024
_DELIMITERS = (",", ";", "\t")
_BATCH = 512
#: Rows handed on at once; a few, for each may be as long as a line may be.
_ROWS_AT_ONCE = 16
#: A row group is read whole, column by column: with less, files of long texts can't be read.
_ENGINE: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "220MB",
    "threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}

#: Fields that hold lists or objects by their nature, and some that may.
_NESTED = frozenset(
    {
        *("messages", "conversations", "tools", "preferred_output", "non_preferred_output"),
        *("meta", "metadata", "citations", "values_applied", "history"),
    }
)
_MAYBE_NESTED = frozenset({"prompt", "completion", "chosen", "rejected", "input"})


def csv_lines(stream: BinaryIO, path: Path) -> BinaryIO:
    """The rows of a CSV file (comma, semicolon or tab, UTF-8) as lines.

    Raises DataError D511 where its header is unusable.
    """
    csv.field_size_limit(MAX_CELL)
    try:
        physical = _PhysicalLines(stream)
        rows = csv.reader(physical, delimiter=_delimiter(physical.first), strict=True)
        header = [name.strip() for name in next(rows, [])]
    except (csv.Error, _TooLong):
        raise _no_header(path) from None
    if not header or not all(header) or len(set(header)) != len(header):
        raise _no_header(path)
    return _as_stream(_csv_rows(rows, header), stream)


def parquet_lines(path: Path) -> BinaryIO:
    """The rows of a Parquet file as lines. Raises OSError."""
    import duckdb

    with ExitStack() as stack:
        # It says why a file can't be read; DuckDB opens it again by this handle.
        file = stack.enter_context(path.open("rb"))
        try:
            engine = stack.enter_context(duckdb.connect(config=_ENGINE))
            # A name may hold the signs of a pattern; a descriptor's has none.
            found = engine.execute(
                "SELECT * FROM read_parquet(?)", [f"/proc/self/fd/{file.fileno()}"]
            )
            names = [column[0] for column in found.description or []]
        except duckdb.Error as problem:
            raise DamagedFile(
                f"not a Parquet file that can be read ({type(problem).__name__})"
            ) from None
        return _as_stream(_parquet_rows(found, names, stack.pop_all()), file)


def _no_header(path: Path) -> DataError:
    return DataError(
        "D511",
        _("{file} has no usable header.").format(file=visible(path.name)),
        _("The first line of a table must name its columns, each once."),
        _("Give its columns the names of the fields: question and answer, or messages, say."),
    )


class _TooLong(Exception):
    """A physical line longer than is read; the rest of it was passed over."""


class _PhysicalLines:
    """Lines as text; what is not UTF-8 is kept, to be named by the row it stands in."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.first = self._next().removeprefix("\ufeff")
        self._pending: str | None = self.first

    def __iter__(self) -> "_PhysicalLines":
        return self

    def __next__(self) -> str:
        line, self._pending = self._pending, None
        if line is None:
            line = self._next()
        if not line:
            raise StopIteration
        return line

    def _next(self) -> str:
        raw = self._stream.readline(MAX_CELL)
        if len(raw) == MAX_CELL and not raw.endswith(b"\n"):
            while (rest := self._stream.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
            raise _TooLong
        return raw.decode("utf-8", "surrogateescape")


def _delimiter(header: str) -> str:
    """The sign that splits the header into the most names."""
    return max(_DELIMITERS, key=lambda sign: len(next(csv.reader([header], delimiter=sign), [])))


def _csv_rows(rows: Any, header: list[str]) -> Generator[bytes, None, None]:
    encoder = msgspec.json.Encoder()
    while True:
        try:
            cells = next(rows, None)
        except _TooLong:
            yield _unusable("cell_too_long", limit=MAX_CELL)
            continue
        except csv.Error as problem:
            if str(problem).startswith("field larger"):
                yield _unusable("cell_too_long", limit=MAX_CELL)
            else:
                yield _unusable("csv_syntax")
            continue
        if cells is None:
            return
        if not cells:  # a blank line
            continue
        if len(cells) != len(header):
            yield _unusable("columns", found=len(cells), wanted=len(header))
            continue
        record = {
            name: _value(name, cell) for name, cell in zip(header, cells, strict=True) if cell
        }
        try:
            yield encoder.encode(record) + b"\n"
        except UnicodeEncodeError:  # it was not UTF-8, and is handed on as it was
            text = json.dumps(record, ensure_ascii=False)
            yield text.encode("utf-8", "surrogateescape") + b"\n"


def _parquet_rows(found: Any, names: list[str], opened: ExitStack) -> Generator[bytes, None, None]:
    import duckdb

    encoder = msgspec.json.Encoder(enc_hook=str)
    try:
        with opened:
            while batch := found.fetchmany(_BATCH):
                for row in batch:
                    record = {
                        name: _value(name, cell)
                        for name, cell in zip(names, row, strict=True)
                        if cell is not None
                    }
                    yield encoder.encode(record) + b"\n"
    except duckdb.Error as problem:
        raise DamagedFile(f"damaged Parquet file ({type(problem).__name__})") from None


def _unusable(code: str, **details: int) -> bytes:
    return msgspec.json.encode({UNUSABLE_ROW: {"code": code, **details}}) + b"\n"


def _value(name: str, cell: Any) -> Any:
    """A cell; text that is JSON where the field may hold lists or objects is what it says."""
    if not isinstance(cell, str):
        return cell
    nested = name in _NESTED and cell.lstrip().startswith(("[", "{"))
    if not nested and not (name in _MAYBE_NESTED and cell.lstrip().startswith(('[{"', '{"'))):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    if nested or _holds_messages(value):
        return value
    return cell


def _holds_messages(value: Any) -> bool:
    """Whether it is messages or a hosted pair's input, and not text that happens to be JSON."""
    if isinstance(value, dict):
        return "messages" in value or value.keys() >= {"role", "content"}
    return bool(value) and all(isinstance(each, dict) and "role" in each for each in value)


class _Rows(io.RawIOBase):
    """Lines of bytes as a file to be read."""

    def __init__(self, rows: Generator[bytes, None, None], stream: Any) -> None:
        self._rows = rows
        self._stream = stream
        self._rest = memoryview(b"")

    @property
    def taken(self) -> int:
        raw = getattr(self._stream, "raw", None)
        taken = getattr(raw, "taken", None)
        return int(taken if taken is not None else self._stream.tell())

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(b"".join(islice(self._rows, _ROWS_AT_ONCE)))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._rows.close()
        self._stream.close()
        super().close()


def _as_stream(rows: Generator[bytes, None, None], stream: Any) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Rows(rows, stream), 1 << 18))
