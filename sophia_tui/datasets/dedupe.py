"""Exact duplicates among any number of rows in flat memory: rows are spooled into parts on disk by
their hash, and each part is sorted on its own. Equal hashes are confirmed on the bytes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xxhash

VERSION = 1

_PARTS = 64
# length of row, length of source, file, line, place in the split
_HEAD = struct.Struct(">IIIQQ")


@dataclass(frozen=True, slots=True)
class Row:
    """A canonical line, where it came from, and its place in the split; `source` may be empty."""

    digest: bytes
    row: bytes
    file: int
    line: int
    place: int
    source: bytes

    @property
    def order(self) -> tuple[bytes, bytes, int, int]:
        return self.digest, self.row, self.file, self.line


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A row that is the same as one read earlier."""

    row: Row
    first: Row


def digest_of(row: bytes) -> bytes:
    """The 16 bytes by which a row is found again (not a proof: compare the bytes)."""
    return xxhash.xxh3_128_digest(row)


def pack(row: Row) -> bytes:
    """The row as bytes that `unpack` reads."""
    head = _HEAD.pack(len(row.row), len(row.source), row.file, row.line, row.place)
    return row.digest + head + row.row + row.source


def unpack(stream: BinaryIO) -> Iterator[Row]:
    """The rows that were packed into a stream, one after the other."""
    while digest := stream.read(16):
        length, source, file, line, place = _HEAD.unpack(stream.read(_HEAD.size))
        yield Row(digest, stream.read(length), file, line, place, stream.read(source))


class Spool:
    """Takes rows in any order, gives them back once each, in the order of their hash.

    The folder must exist and is the caller's to remove. Writing raises OSError (disk full).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: dict[int, BinaryIO] = {}
        self.rows = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_unused: object) -> None:
        for part in self._parts.values():
            try:
                part.close()
            except OSError:  # what could not be flushed was reported by the write that failed
                if kind is None:
                    raise

    def add(self, row: bytes, file: int, line: int, place: int, source: bytes) -> None:
        found = Row(digest_of(row), row, file, line, place, source)
        number = found.digest[0] * _PARTS // 256
        part = self._parts.get(number)
        if part is None:
            part = self._parts[number] = open(self._path(number), "xb", buffering=1 << 16)  # noqa: SIM115
        part.write(pack(found))
        self.rows += 1

    def unique(self) -> Iterator[Row | Duplicate]:
        """Every row once; what is the same as an earlier one comes as Duplicate.

        Earlier means: of an earlier file, or further up in the same one.
        """
        for part in self._parts.values():
            part.close()
        for number in sorted(self._parts):
            with self._path(number).open("rb") as stream:
                rows = sorted(unpack(stream), key=lambda each: each.order)
            first: Row | None = None
            for row in rows:
                if first is not None and first.row == row.row:
                    yield Duplicate(row, first)
                else:
                    first = row
                    yield row
            self._path(number).unlink()

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:02}"
