"""Reads what collect wrote beside a data file: which database row each line came from.

`provenance/<stem>.jsonl` has, in the order of the lines, `{"line","hash","table","key"}`, where
hash is the xxh3_128 of the line's bytes. Of a line whose hash differs, which was changed since, the
row is not told.
"""

import json
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from sophia_tui.domain.datasets import SourceRow

FOLDER = "provenance"


class Provenance:
    """Follows one data file line by line. A context manager; without a file, nothing is known."""

    def __init__(self, data_file: Path) -> None:
        self._path = data_file.parent / FOLDER / f"{data_file.stem}.jsonl"
        self._stream: BinaryIO | None = None
        self._next: dict[str, Any] | None = None
        self.found = 0
        self.stale = 0

    def __enter__(self) -> "Provenance":
        try:
            self._stream = open(self._path, "rb")
        except OSError:
            self._stream = None
        self._advance()
        return self

    def __exit__(self, *_unused: object) -> None:
        if self._stream:
            self._stream.close()

    @property
    def state(self) -> str:
        """`none` (no file), `stale` (it belongs to another state of the data) or `whole`."""
        if self._stream is None:
            return "none"
        return "stale" if self.stale or self._next is not None else "whole"

    def row_of(self, line: int, raw: bytes) -> SourceRow | None:
        """The database row of a line; lines must be asked for in rising order."""
        if self._stream is None:
            return None
        while self._next is not None and self._next["line"] < line:
            self.stale += 1  # a line that is no longer there
            self._advance()
        entry = self._next
        if entry is None or entry["line"] != line:
            self.stale += 1
            return None
        self._advance()
        if entry["hash"] != xxhash.xxh3_128_hexdigest(raw):
            self.stale += 1
            return None
        self.found += 1
        return SourceRow(entry["table"], entry["key"])

    def _advance(self) -> None:
        self._next = None
        while self._stream is not None and (raw := self._stream.readline()):
            try:
                entry = json.loads(raw)
                if _is_entry(entry):
                    self._next = entry
                    return
            except ValueError:
                pass  # counted like any other entry that can't be used
            self.stale += 1


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("line"), int)
        and isinstance(entry.get("hash"), str)
        and isinstance(entry.get("table"), str)
        and isinstance(entry.get("key"), dict)
    )
