"""Cuts files into ranges of whole lines, numbered, with the provenance that is about them; reads
those ranges."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sophia_tui.datasets.compressed import is_plain, open_lines
from sophia_tui.datasets.copy_export import Verdict, judge
from sophia_tui.datasets.provenance import ProvenanceCuts
from sophia_tui.datasets.reader import MAX_LINE_BYTES
from sophia_tui.datasets.sources import unreadable
from sophia_tui.errors import DataError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

_READ = 1 << 20
#: Bytes of a range that is read at once; more is one long line, read bit by bit.
_AT_ONCE = 48 << 20
#: Bytes of lines that are looked at together.
_BLOCK = 1 << 19


@dataclass(frozen=True, slots=True)
class Range:
    """Whole lines of a file: from byte to byte, the number of the first, and which bytes of the
    file's provenance are about them."""

    file: int
    start: int
    end: int
    first_line: int
    origin: tuple[int, int]


class Cutter:
    """Reads one file once; afterwards `sha256` and `bytes` (of its lines, unpacked) are whole.

    What is packed, or a table, is written to `copy` as plain lines before they are told.
    """

    def __init__(
        self, number: int, path: Path, provenance: Path, size: int, copy: Path | None = None
    ) -> None:
        self._number = number
        self._path = path
        self._copy = copy
        self._size = size
        self._hash = hashlib.sha256()
        self._provenance = provenance
        self.has_provenance = False
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def ranges(self) -> Iterator[Range]:
        """Of at least `size` bytes each but for the last. Raises DataError D306."""
        cuts = ProvenanceCuts(self._provenance)
        self.has_provenance = cuts.there
        try:
            start, line, lines = 0, 1, 0
            for chunk in self._chunks():
                before, self.bytes = self.bytes, self.bytes + len(chunk)
                lines += chunk.count(b"\n")
                if self.bytes - start < self._size or (cut := chunk.rfind(b"\n")) < 0:
                    continue
                end = before + cut + 1
                yield Range(self._number, start, end, line, cuts.until(line + lines))
                start, line, lines = end, line + lines, 0
            if start < self.bytes or cuts.there:
                yield Range(self._number, start, self.bytes, line, cuts.until(None))
        finally:
            cuts.close()

    def _chunks(self) -> Iterator[bytes]:
        with ExitStack() as stack:
            copy = stack.enter_context(self._copy.open("xb", 0)) if self._copy else None
            try:
                stream = stack.enter_context(open_lines(self._path))
            except OSError as problem:
                raise unreadable(self._path, problem) from problem
            while chunk := self._read(stream):
                self._hash.update(chunk)
                if copy is not None:
                    copy.write(chunk)
                yield chunk

    def _read(self, stream: BinaryIO) -> bytes:
        try:
            return stream.read(_READ)
        except OSError as problem:
            raise unreadable(self._path, problem) from problem


def bytes_of(path: Path, start: int, end: int) -> bytes:
    """Some bytes of a file. Raises DataError D306."""
    if end <= start:
        return b""
    try:
        with path.open("rb") as stream:
            return os.pread(stream.fileno(), end - start, start)
    except OSError as problem:
        raise unreadable(path, problem) from problem


def blocks_of(path: Path, part: Range) -> Iterator[tuple[bytes, list[bytes]]]:
    """The bytes of a range, some whole lines at a time; of lines that are too long only their
    beginning, as a line by itself, and no bytes. Raises DataError D306."""
    try:
        with path.open("rb") as stream:
            if part.end - part.start > _AT_ONCE:
                stream.seek(part.start)
                for line in _long_lines(stream, part.end):
                    yield b"", [line]
                return
            data = os.pread(stream.fileno(), part.end - part.start, part.start)
    except OSError as problem:
        raise unreadable(path, problem) from problem
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + _BLOCK) + 1 or len(data)
        yield data[start:end], []
        start = end


def _long_lines(stream: BinaryIO, end: int) -> Iterator[bytes]:
    most = MAX_LINE_BYTES + 2
    while stream.tell() < end and (raw := stream.readline(most)):
        if len(raw) == most and not raw.endswith(b"\n"):
            while (rest := stream.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
        yield raw.removesuffix(b"\n")


def lines_of(block: bytes) -> list[bytes]:
    """Its lines without their line feeds."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


class Watched:
    """A file's state when the work began. `verdict` is that of COPY exports. Raises DataError D306
    where it can't be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._before = _state(path)
            self.size = self._before[0]
            self.plain = is_plain(path)
            suspect = self.plain and _has_backslash(path)
            self.verdict = judge(path, MAX_LINE_BYTES) if suspect else Verdict.NO
        except OSError as problem:
            raise unreadable(path, problem) from problem

    def check(self) -> None:
        """Raises DataError D308 where somebody has written to it since."""
        try:
            now = _state(self.path)
        except OSError as problem:
            raise unreadable(self.path, problem) from problem
        if now != self._before:
            raise DataError(
                "D308",
                _("{file} changed while it was read.").format(file=visible(self.path.name)),
                _("Somebody writes to it, an export perhaps."),
                _("Wait until it is done, then prepare again."),
            )


def _state(path: Path) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns


def _has_backslash(path: Path) -> bool:
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(_READ):
            if b"\\" in chunk:
                return True
    return False
