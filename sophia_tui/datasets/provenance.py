"""Reads what collect wrote beside a data file: which database row each line came from.

`provenance/<stem>.jsonl` has, in the order of the lines, `{"line","hash","table","key"}`, where
hash is the xxh3_128 of the line's bytes. Of a line whose hash differs, which was changed since, the
row is not told.
"""

from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import xxhash

from sophia_tui.domain.datasets import SourceRow

FOLDER = "provenance"


class Entry(msgspec.Struct):
    """`table` is empty where the row came from none. `file` and `at` tell another file (by number)
    and line that the row came from before."""

    line: int
    hash: str
    table: str
    key: dict[str, Any]
    file: int | None = None
    at: int = 0

    @property
    def source(self) -> SourceRow | None:
        return SourceRow(self.table, self.key) if self.table else None


class _Place(msgspec.Struct):
    line: int


_ENTRIES = msgspec.json.Decoder(Entry)
_PLACES = msgspec.json.Decoder(_Place)


def beside(data_file: Path) -> Path:
    """Where the provenance of a data file lies, if it has one."""
    return data_file.parent / FOLDER / f"{data_file.stem}.jsonl"


class ProvenanceCuts:
    """Says which bytes of the provenance belong to the next lines of the data, as they are dealt
    out. Without a file there are none."""

    def __init__(self, path: Path) -> None:
        try:
            self._stream: BinaryIO | None = path.open("rb")
        except OSError:
            self._stream = None
        self._at = 0
        self._waiting: int | None = None
        self._waiting_bytes = 0

    @property
    def there(self) -> bool:
        return self._stream is not None

    def until(self, line: int | None) -> tuple[int, int]:
        """First and last byte of the entries up to the one before `line`; of all with None."""
        start = self._at
        if self._stream is None:
            return 0, 0
        while line is None or self._waiting is None or self._waiting < line:
            self._at += self._waiting_bytes
            self._waiting, self._waiting_bytes = None, 0
            raw = self._stream.readline()
            if not raw:
                break
            self._waiting_bytes = len(raw)
            try:
                self._waiting = _PLACES.decode(raw).line
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self._waiting = None  # counted as stale by who reads it
        return start, self._at

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


class Provenance:
    """Follows some lines of a data file by the entries for them, as bytes."""

    def __init__(self, entries: bytes) -> None:
        self._stream = BytesIO(entries)
        self._next: Entry | None = None
        self.found = 0
        self.stale = 0
        self._advance()

    def entry_of(self, line: int, raw: bytes) -> Entry | None:
        """What is known of a line; lines must be asked for in rising order."""
        while self._next is not None and self._next.line < line:
            self.stale += 1  # a line that is no longer there
            self._advance()
        entry = self._next
        if entry is None or entry.line != line:
            self.stale += 1
            return None
        self._advance()
        if entry.hash != xxhash.xxh3_128_hexdigest(raw):
            self.stale += 1
            return None
        self.found += 1
        return entry

    def end(self) -> None:
        """There are no more lines: entries that are left belong to none."""
        while self._next is not None:
            self.stale += 1
            self._advance()

    def _advance(self) -> None:
        self._next = None
        while raw := self._stream.readline():
            try:
                self._next = _ENTRIES.decode(raw)
                return
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.stale += 1


def state(there: bool, stale: int) -> str:
    """`none` (no file), `stale` (it belongs to another state of the data) or `whole`."""
    if not there:
        return "none"
    return "stale" if stale else "whole"
