"""Rows between reading and writing: spooled on disk in parts by their hash, so that any number of
them is put in order, and exact duplicates are found, in flat memory.

A part is two files for each writing process: the heads, all of one size, and the rows' bytes. Equal
hashes are confirmed on the bytes.
"""

import os
from pathlib import Path
from struct import Struct
from typing import NamedTuple

import xxhash

VERSION = 1

#: Bytes that a writer keeps before they go to disk, and that a part should hold at most.
_KEPT_BACK = 8 << 20
_PART_BYTES = 8 << 20
_MOST_PARTS = 1024
#: Bytes of a part that are read at once.
_AT_ONCE = 32 << 20


class Head(NamedTuple):
    """What is known of a row apart from its text. The order of heads is the order of a version:
    by the hash of the row, then by file and line.

    `spool` is which process wrote it, `at` where its row lies there; behind the row, `source` bytes
    long, stands where it came from. `place` is its group's place in the split, `stratum` the part
    of the data that is split by itself, `kind` what balance counts.
    """

    digest: bytes
    file: int
    line: int
    spool: int
    at: int
    length: int
    source: int
    place: int
    stratum: int
    kind: int


#: Big-endian, so that heads as bytes sort as heads do.
HEAD = Struct(">16sHQHQIIQII")
#: The same, with the place as bytes.
_PLACED = Struct(">16sHQHQII8sII")
#: Where place and stratum stand in a head's bytes.
GROUP_AT = slice(44, 56)


def digest_of(row: bytes) -> bytes:
    """The 16 bytes by which a row is found again (not a proof: compare the bytes)."""
    return xxhash.xxh3_128_digest(row)


def parts_for(size: int) -> int:
    """Into how many parts so many bytes are cut: a power of two, as the open files allow."""
    import resource

    most = _MOST_PARTS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = hard if hard != resource.RLIM_INFINITY else 1 << 20
    while most > 1 and most * 2 + 64 > room:
        most //= 2
    parts = 1
    while parts < most and parts * _PART_BYTES < size:
        parts *= 2
    if soft != resource.RLIM_INFINITY and soft < parts * 2 + 64:
        resource.setrlimit(resource.RLIMIT_NOFILE, (parts * 2 + 64, hard))
    return parts


def heads_path(folder: Path, part: int, spool: int) -> Path:
    return folder / f"heads-{part:04}-{spool}"


def rows_path(folder: Path, part: int, spool: int) -> Path:
    return folder / f"rows-{part:04}-{spool}"


class SpoolWriter:
    """Takes rows in any order. The folder must exist and is the caller's to remove.

    Writing raises OSError (disk full).
    """

    def __init__(self, folder: Path, spool: int, parts: int) -> None:
        self._folder = folder
        self._spool = spool
        self._shift = 16 - (parts.bit_length() - 1)
        self._heads: list[list[bytes]] = [[] for _ in range(parts)]
        self._rows: list[list[bytes]] = [[] for _ in range(parts)]
        self._sizes = [0] * parts
        self._files: dict[int, tuple[int, int]] = {}
        self._waiting = 0

    def add(
        self,
        row: bytes,
        file: int,
        line: int,
        place: int,
        source: bytes = b"",
        stratum: int = 0,
        kind: int = 0,
    ) -> None:
        digest = digest_of(row)
        part = (digest[0] << 8 | digest[1]) >> self._shift
        length, more = len(row), len(source)
        at = self._sizes[part]
        self._heads[part].append(
            HEAD.pack(digest, file, line, self._spool, at, length, more, place, stratum, kind)
        )
        rows = self._rows[part]
        rows.append(row)
        if more:
            rows.append(source)
        self._sizes[part] = at + length + more
        self._waiting += length + more + HEAD.size
        if self._waiting >= _KEPT_BACK:
            self.flush()

    def add_all(self, rows: list[bytes], file: int, first: int, places: list[bytes]) -> None:
        """Add rows that stand on the lines of a file from the first on, with their places as heads
        hold them."""
        pack, shift, spool = _PLACED.pack, self._shift, self._spool
        all_heads, all_rows, sizes = self._heads, self._rows, self._sizes
        for line, (row, place) in enumerate(zip(rows, places, strict=True), start=first):
            digest = digest_of(row)
            part = (digest[0] << 8 | digest[1]) >> shift
            length, at = len(row), sizes[part]
            all_heads[part].append(pack(digest, file, line, spool, at, length, 0, place, 0, 0))
            all_rows[part].append(row)
            sizes[part] = at + length
            self._waiting += length + HEAD.size
        if self._waiting >= _KEPT_BACK:
            self.flush()

    def flush(self) -> None:
        """Write what was added so far."""
        for part, heads in enumerate(self._heads):
            if heads:
                to_heads, to_rows = self._open(part)
                _write(to_heads, b"".join(heads))
                _write(to_rows, b"".join(self._rows[part]))
                heads.clear()
                self._rows[part].clear()
        self._waiting = 0

    def close(self) -> None:
        """Close the files; what was not flushed is lost."""
        for pair in self._files.values():
            for handle in pair:
                os.close(handle)
        self._files.clear()

    def _open(self, part: int) -> tuple[int, int]:
        pair = self._files.get(part)
        if pair is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            pair = self._files[part] = (
                os.open(heads_path(self._folder, part, self._spool), flags, 0o600),
                os.open(rows_path(self._folder, part, self._spool), flags, 0o600),
            )
        return pair


def _write(handle: int, data: bytes) -> None:
    """All of it: a nearly full disk takes a part first and refuses the rest."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


class PartReader:
    """One part of what all processes spooled. A context manager."""

    def __init__(self, folder: Path, part: int, spools: int) -> None:
        self._folder = folder
        self._part = part
        self._spools = spools
        self._rows: dict[int, bytes | int] = {}

    def __enter__(self) -> "PartReader":
        return self

    def __exit__(self, *_unused: object) -> None:
        for rows in self._rows.values():
            if isinstance(rows, int):
                os.close(rows)
        self._rows.clear()

    def row(self, head: Head) -> bytes:
        return self.read(head.spool, head.at, head.length)

    def source(self, head: Head) -> bytes:
        return self.read(head.spool, head.at + head.length, head.source) if head.source else b""

    def read(self, spool: int, at: int, length: int) -> bytes:
        rows = self._rows.get(spool)
        if rows is None:
            rows = self._rows[spool] = self._load(spool)
        if isinstance(rows, int):
            return os.pread(rows, length, at)
        return rows[at : at + length]

    def _load(self, spool: int) -> bytes | int:
        """What one process wrote of the part; of very much the open file."""
        handle = os.open(rows_path(self._folder, self._part, spool), os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(handle).st_size
        if size > _AT_ONCE:
            return handle
        try:
            return os.pread(handle, size, 0)
        finally:
            os.close(handle)

    def heads(self) -> list[bytes]:
        """The part's heads as bytes, in the order of a version."""
        heads: list[bytes] = []
        for spool in range(self._spools):
            data = read_heads(heads_path(self._folder, self._part, spool))
            heads += [data[at : at + HEAD.size] for at in range(0, len(data), HEAD.size)]
        heads.sort()
        return heads

    def sifted(self) -> tuple[list[bytes], list[tuple[Head, Head]]]:
        """The part's heads as bytes, in the order of a version, of each row once; and the others,
        each with the first row that it is the same as. First means: of an earlier file, or further
        up in the same one."""
        kept: list[bytes] = []
        again: list[tuple[Head, Head]] = []
        alike: list[bytes] = []
        before = b""
        for head in self.heads():
            digest = head[:16]
            if digest == before:
                alike = alike or [kept.pop()]
                alike.append(head)
                continue
            if alike:
                self._tell_apart(alike, kept, again)
                alike = []
            kept.append(head)
            before = digest
        if alike:
            self._tell_apart(alike, kept, again)
        return kept, again

    def _tell_apart(
        self, alike: list[bytes], kept: list[bytes], again: list[tuple[Head, Head]]
    ) -> None:
        """Of rows with one hash, by their bytes.

        The row that stays is that of the first place, but its group, stratum and kind are the
        lowest of all that say the same: what a file is called, or where a row stands in it, changes
        nothing about a version.
        """
        alike_by_row: dict[bytes, list[Head]] = {}
        for raw in alike:
            head = Head._make(HEAD.unpack(raw))
            alike_by_row.setdefault(self.row(head), []).append(head)
        for row in sorted(alike_by_row):
            first, *others = every = alike_by_row[row]
            again += [(head, first) for head in others]
            lowest = first._replace(
                place=min(head.place for head in every),
                stratum=min(head.stratum for head in every),
                kind=min(head.kind for head in every),
            )
            kept.append(HEAD.pack(*lowest))


def read_heads(path: Path) -> bytes:
    """The heads in a file; nothing where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
