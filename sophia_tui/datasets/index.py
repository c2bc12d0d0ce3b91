"""Where the lines of a file begin: a small index of it, and a guess where there is none yet.

The index holds how many line feeds stand before each block of 128 KiB, so it is 8 bytes a block
(0.6 MB for 10 GB) however long or short the lines are, and is built by counting bytes. A jump looks
the block up and reads that one. It lies in the cache under a name made of the file's real path, and
counts only while the file is the one that it was made of.
"""

import bisect
import contextlib
import hashlib
import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sophia_tui.datasets.sources import unreadable
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.errors import ConflictError, SetupError
from sophia_tui.files import usable_folder, write_whole
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

BLOCK = 128 * 1024
_READ = 32 * BLOCK
_MAGIC = b"sophia-index-1\n"
_EDGE = 4096
_HEADER = struct.Struct("<32sQQ")
_SAMPLES = 16
_SAMPLE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Stamp:
    """What tells one state of a file from another: size, times, inode, and both ends' bytes."""

    size: int
    modified_ns: int
    inode: int
    device: int
    ends: str

    @property
    def digest(self) -> bytes:
        told = f"{self.size}:{self.modified_ns}:{self.inode}:{self.device}:{self.ends}"
        return hashlib.sha256(told.encode()).digest()


def stamp_of(stream: BinaryIO) -> Stamp:
    """The stamp of an open file; where it is read does not change."""
    handle = stream.fileno()
    known = os.fstat(handle)
    ends = os.pread(handle, _EDGE, 0) + os.pread(handle, _EDGE, max(0, known.st_size - _EDGE))
    return Stamp(
        known.st_size,
        known.st_mtime_ns,
        known.st_ino,
        known.st_dev,
        hashlib.sha256(ends).hexdigest()[:32],
    )


@dataclass(frozen=True)
class Place:
    """The byte at which a line begins. `exact` False: `line` is only about right."""

    line: int
    at: int
    exact: bool = True


class Index:
    """The built index of one file. `lines` counts a last line without line feed as well."""

    def __init__(self, before: "array[int] | memoryview[int]", lines: int) -> None:
        self.before = before
        self.lines = lines

    def place(self, stream: BinaryIO, line: int) -> Place | None:
        """Where that line (from 1) begins; None beyond the last. Reads one block at most."""
        if line > self.lines:
            return None
        if line <= 1:
            return Place(1, 0)
        wanted = line - 1  # the line begins after that many line feeds
        block = bisect.bisect_left(self.before, wanted) - 1
        data = os.pread(stream.fileno(), BLOCK, block * BLOCK)
        position = -1
        for _feed in range(wanted - self.before[block]):
            position = data.index(b"\n", position + 1)
        return Place(line, block * BLOCK + position + 1)

    def line_at(self, stream: BinaryIO, at: int) -> int:
        """The number of the line that byte `at` belongs to."""
        block = min(at // BLOCK, len(self.before) - 1)
        start = block * BLOCK
        data = os.pread(stream.fileno(), max(0, at - start), start)
        return self.before[block] + data.count(b"\n") + 1


def index_path(folder: Path, path: Path) -> Path:
    """Where the index of a file lies in the cache's folder."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]
    return folder / f"{name}.idx"


def load(folder: Path, path: Path, stamp: Stamp) -> Index | None:
    """The index in the cache, if it stands and is of this state of the file; one of an earlier
    state is removed."""
    kept = index_path(folder, path)
    try:
        with kept.open("rb") as stream:
            mapped = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # there is none, or it is empty
        return None
    start = len(_MAGIC) + _HEADER.size
    if len(mapped) > start and mapped[: len(_MAGIC)] == _MAGIC:
        digest, lines, blocks = _HEADER.unpack(mapped[len(_MAGIC) : start])
        if digest == stamp.digest and len(mapped) == start + 8 * blocks:
            return Index(mapped[start:].cast("Q"), lines)
    with contextlib.suppress(OSError):
        kept.unlink()
    return None


def count_blocks(stream: BinaryIO, tell: Tell) -> Index:
    """Count through an open file; in the memory of one buffer and of the index itself."""
    size = os.fstat(stream.fileno()).st_size
    before = array("Q", [0])
    buffer = bytearray(_READ)
    feeds = done = 0
    last = b"\n"
    stream.seek(0)
    while taken := stream.readinto(buffer):  # type: ignore[attr-defined]
        # a short read ends within a block only at the end of the file
        while taken % BLOCK:
            more = stream.readinto(memoryview(buffer)[taken:])  # type: ignore[attr-defined]
            if not more:
                break
            taken += more
        for start in range(0, taken, BLOCK):
            feeds += buffer.count(b"\n", start, min(start + BLOCK, taken))
            before.append(feeds)
        last = bytes(buffer[taken - 1 : taken])
        done += taken
        tell("index", done, size)
    return Index(before, feeds + (last != b"\n"))


def build(folder: Path, path: Path, tell: Tell) -> Index:
    """Build the index of a file and keep it in the cache, whole or not at all.

    Raises DataError D306 (unreadable), ConflictError D561 where the file changed meanwhile. A
    cache that can't be written costs only the next build.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            stamp = stamp_of(stream)
            index = count_blocks(stream, tell)
            with path.open("rb") as now:
                if stamp_of(now) != stamp:
                    raise changed(path)
    except OSError as problem:
        raise unreadable(path, problem) from problem
    before = index.before
    head = _MAGIC + _HEADER.pack(stamp.digest, index.lines, len(before))
    with contextlib.suppress(SetupError):
        usable_folder(folder)
        write_whole(index_path(folder, path), head + before.tobytes())
    return index


def changed(path: Path) -> ConflictError:
    return ConflictError(
        "D561",
        _("{file} changed while it was read.").format(file=visible(str(path))),
        remedy=_("Try again once nobody writes to it."),
    )


def estimate(stream: BinaryIO, line: int) -> Place:
    """Where a line may begin, from the length of lines at some places spread over the file."""
    size, read, feeds = _sampled(stream)
    guess = min((line - 1) * read // max(1, feeds), max(0, size - _SAMPLE_BYTES))
    at = next_line(stream, guess)
    return Place(line, at, exact=at == 0)


def lines_about(stream: BinaryIO) -> int:
    """How many lines the file may have."""
    size, read, feeds = _sampled(stream)
    return max(1, round(size * feeds / max(1, read)))


def _sampled(stream: BinaryIO) -> tuple[int, int, int]:
    """The file's size, the bytes read at places spread over it, and the line feeds in those."""
    size = os.fstat(stream.fileno()).st_size
    read = feeds = 0
    for sample in range(_SAMPLES):
        data = os.pread(stream.fileno(), _SAMPLE_BYTES, size * sample // _SAMPLES)
        read += len(data)
        feeds += data.count(b"\n")
    return size, read, feeds


def next_line(stream: BinaryIO, at: int) -> int:
    """The first beginning of a line at or after byte `at`; of a last line that is long, its own."""
    if at <= 0:
        return 0
    handle = stream.fileno()
    for start, data in _forward(handle, at - 1):
        found = data.find(b"\n")
        if found >= 0:
            begins = start + found + 1
            if begins < os.fstat(handle).st_size:
                return begins
            break
    return line_start(stream, at - 1)


def line_start(stream: BinaryIO, at: int) -> int:
    """The beginning of the line that byte `at` belongs to."""
    handle, end = stream.fileno(), at
    while end > 0:
        start = max(0, end - BLOCK)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def scan(stream: BinaryIO, line: int, limit: int) -> Place | None:
    """Where a line begins, by counting from the first, not further than byte `limit`."""
    if line <= 1:
        return Place(1, 0)
    wanted = line - 1
    for start, data in _forward(stream.fileno(), 0):
        if start >= limit:
            return None
        feeds = data.count(b"\n")
        if feeds < wanted:
            wanted -= feeds
            continue
        position = -1
        for _feed in range(wanted):
            position = data.index(b"\n", position + 1)
        at = start + position + 1
        return Place(line, at) if at < os.fstat(stream.fileno()).st_size else None
    return None


def lines_before(stream: BinaryIO, at: int) -> int:
    """How many lines end before byte `at`, by counting."""
    lines = 0
    for start, data in _forward(stream.fileno(), 0):
        if start >= at:
            break
        lines += data.count(b"\n", 0, at - start)
    return lines


def _forward(handle: int, at: int) -> Iterator[tuple[int, bytes]]:
    while data := os.pread(handle, BLOCK, at):
        yield at, data
        at += len(data)


class IndexTask(Task):
    """Build the index of a plain file; tells how many lines it has."""

    path: str
    folder: str

    def run(self, tell: Tell) -> Any:
        return build(Path(self.folder), Path(self.path), tell).lines
