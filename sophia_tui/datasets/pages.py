"""Reads lines of a file as they stand, a page or a block at a time, with what is wrong with each.

A compressed file is read from its beginning alone: there is no jump in it.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sophia_tui.datasets import index
from sophia_tui.datasets.blocks import read_block
from sophia_tui.datasets.codes import Problem
from sophia_tui.datasets.compressed import is_plain, is_table, open_lines
from sophia_tui.datasets.index import Place
from sophia_tui.datasets.reader import MAX_LINE_BYTES
from sophia_tui.datasets.sources import unreadable
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.domain.datasets import Example, Pair

#: A page ends with the line that reaches this many bytes.
PAGE_BYTES = 8 * 1024 * 1024
#: So much is read to be exact without being asked to.
AT_ONCE_BYTES = 32 * 1024 * 1024
#: The answer of who did not read on to a place that lies too far.
FAR = -1
#: Of a record's last question and answer so much stands in a list.
SUMMARY_CHARS = 200
_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"

Edited = Mapping[int, bytes]


@dataclass(slots=True)
class Record:
    """One line. `raw` is without its line end, of a line that is too long the beginning; `at` and
    `length` are its bytes in the file as it lies there, line end included."""

    line: int
    at: int
    length: int
    raw: bytes
    problems: list[Problem] = field(default_factory=list)
    example: Example | Pair | None = None


@dataclass(frozen=True)
class PageOfLines:
    records: list[Record]
    next: Place | None


def kind_of(path: Path) -> str:
    """plain, gzip, zstd or table: only a plain file's own bytes are its lines. Raises DataError
    D306."""
    try:
        path.open("rb").close()
    except OSError as problem:
        raise unreadable(path, problem) from problem
    if is_plain(path):
        return "plain"
    if is_table(path):
        return "table"
    return "gzip" if path.name.endswith(".gz") else "zstd"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """The file's lines, unpacked. Raises DataError D306, for damage met later, too."""
    try:
        with open_lines(path) as stream:
            yield stream
    except OSError as problem:
        raise unreadable(path, problem) from problem


def read_page(
    stream: BinaryIO, place: Place, count: int, edited: Edited, most_bytes: int = PAGE_BYTES
) -> PageOfLines:
    """At most `count` records from where the stream stands, which is `place`."""
    records: list[Record] = []
    at, line, taken = place.at, place.line, 0
    while len(records) < count and taken < most_bytes:
        raw = stream.readline(MAX_LINE_BYTES + 2)
        if not raw:
            return _looked_at(records, edited, None)
        length = len(raw)
        too_long = len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n")
        if too_long:
            length += _to_line_end(stream)
        record = Record(line, at, length, raw.removesuffix(b"\n"))
        if too_long:
            record.problems.append(Problem("too_long", {"limit": MAX_LINE_BYTES}))
        records.append(record)
        at += length
        line += 1
        taken += len(raw)
    more = bool(stream.read(1))
    return _looked_at(records, edited, Place(line, at, place.exact) if more else None)


def _to_line_end(stream: BinaryIO) -> int:
    passed = 0
    while rest := stream.readline(_CHUNK):
        passed += len(rest)
        if rest.endswith(b"\n"):
            break
    return passed


def _looked_at(records: list[Record], edited: Edited, following: Place | None) -> PageOfLines:
    """With what the strict reader says of each line; edited ones as they were edited."""
    for record in records:
        if record.line in edited:
            record.raw, record.problems = edited[record.line], []
    lines = [b"" if each.problems else each.raw for each in records]
    block = read_block(b"\n".join(lines) + b"\n")
    for row in block.rows:
        records[row.line - 1].example = row.example
    for line, problem in block.unusable:
        records[line - 1].problems.append(problem)
    for record in records:
        odd = {
            "bom": record.raw.startswith(_BOM),
            "crlf": record.raw.endswith(b"\r"),
            "blank": not record.raw.strip(),
        }
        record.problems += [Problem(code) for code, is_so in odd.items() if is_so]
        record.raw = record.raw.removesuffix(b"\r").removeprefix(_BOM)
    return PageOfLines(records, following)


def plain_page(path: Path, place: Place, count: int, chars: int, edited: Edited) -> dict[str, Any]:
    """A page of a plain file as plain data, each text at most `chars` long (0: as long as it is).

    Raises DataError D306.
    """
    with reading(path) as stream:
        stream.seek(place.at)
        return as_plain(read_page(stream, place, count, edited), chars, edited)


def as_plain(page: PageOfLines, chars: int, edited: Edited) -> dict[str, Any]:
    records = [_plain(each, chars, each.line in edited) for each in page.records]
    following = page.next
    return {
        "records": records,
        "next": None if following is None else [following.line, following.at],
    }


def _plain(record: Record, chars: int, edited: bool) -> dict[str, Any]:
    text = record.raw.decode("utf-8", "backslashreplace")
    said = record.example.messages if record.example else ()
    if isinstance(record.example, Pair):
        said = (*said, record.example.chosen)
    asked = [each.content for each in said if each.role == "user"]
    answers = [each.content for each in said if each.role == "assistant"]
    return {
        "line": record.line,
        "at": record.at,
        "problems": [[each.code, dict(each.details)] for each in record.problems],
        "usable": record.example is not None,
        "edited": edited,
        "question": asked[-1][:SUMMARY_CHARS] if asked else "",
        "answer": answers[-1][:SUMMARY_CHARS] if answers else "",
        "text": text[:chars] if chars else text,
        "chars": len(text),
        "bytes": record.length,
    }


def pass_lines(stream: BinaryIO, lines: int, most_bytes: int | None, tell: Tell) -> int | None:
    """Read on over so many lines; how many bytes they were. None where the file ends before or
    with them, FAR where `most_bytes` do."""
    passed, left = 0, lines
    while left:
        raw = stream.readline(_CHUNK)
        if not raw:
            return None
        if most_bytes is not None and passed > most_bytes:
            return FAR
        passed += len(raw)
        if raw.endswith(b"\n"):
            left -= 1
            if left % 4096 == 0:
                tell("read", passed, None)
    return passed


@dataclass(frozen=True, slots=True)
class Stretch:
    """Whole lines of a file, `line` the number of the first."""

    line: int
    at: int
    data: bytes


def stretches(stream: BinaryIO, place: Place, edited: Edited) -> Iterator[Stretch]:
    """The rest of the file in stretches of about a megabyte, edits put in. Of a line that is too
    long only the beginning is given, closed by a line feed."""
    at, line = place.at, place.line
    while data := stream.read(_CHUNK):
        passed = 0
        if not data.endswith(b"\n"):
            end = stream.readline(MAX_LINE_BYTES)
            data += end
            if len(end) == MAX_LINE_BYTES and not end.endswith(b"\n"):
                data += b"\n"
                passed = _to_line_end(stream) - 1
        yield _with_edits(Stretch(line, at, data), edited)
        at += len(data) + passed
        line += data.count(b"\n")


def stretches_back(stream: BinaryIO, place: Place, edited: Edited) -> Iterator[Stretch]:
    """The lines of a plain file before a place in stretches of about a megabyte, the nearest first,
    edits put in."""
    end, line = place.at, place.line
    while end > 0:
        start = index.line_start(stream, max(0, end - _CHUNK))
        data = os.pread(stream.fileno(), end - start, start)
        line -= data.count(b"\n")
        yield _with_edits(Stretch(line, start, data), edited)
        end = start


def _with_edits(stretch: Stretch, edited: Edited) -> Stretch:
    last = stretch.line + stretch.data.count(b"\n") - stretch.data.endswith(b"\n")
    touched = [line for line in edited if stretch.line <= line <= last]
    if not touched:
        return stretch
    lines = stretch.data.split(b"\n")
    for line in touched:
        lines[line - stretch.line] = edited[line]
    return Stretch(stretch.line, stretch.at, b"\n".join(lines))


def edited_bytes(edited: Mapping[str, str]) -> dict[int, bytes]:
    """Edits as a task carries them: JSON has no numbers for keys."""
    return {int(line): text.encode() for line, text in edited.items()}


class PageTask(Task):
    """A page of a packed file or a table, read from its beginning for it; None beyond its end.
    With `at_once` not further than is quick: FAR."""

    path: str
    line: int
    count: int
    chars: int
    at_once: bool

    def run(self, tell: Tell) -> Any:
        path = Path(self.path)
        with reading(path) as stream:
            most = AT_ONCE_BYTES if self.at_once else None
            at = pass_lines(stream, self.line - 1, most, tell)
            if at is None or at == FAR:
                return at
            page = read_page(stream, Place(self.line, at), self.count, {})
        if not page.records and self.line > 1:
            return None
        return as_plain(page, self.chars, {})


class IssueTask(Task):
    """The first line with something wrong from `line` on, or the last one before it.

    `at` is where `line` begins. Without `code` any issue that keeps a line from being used.
    """

    path: str
    kind: str
    line: int
    at: int
    code: str | None
    backwards: bool
    edited: dict[str, str]

    def run(self, tell: Tell) -> Any:
        edited = edited_bytes(self.edited)
        with reading(Path(self.path)) as stream:
            if self.backwards:
                return self._before(stream, edited, tell)
            return self._after(stream, edited, tell)

    def _after(self, stream: BinaryIO, edited: Edited, tell: Tell) -> dict[str, int] | None:
        size = os.stat(self.path).st_size if self.kind == "plain" else None
        place = Place(self.line, self.at)
        if self.kind == "plain":
            stream.seek(self.at)
        else:
            passed = pass_lines(stream, self.line - 1, None, tell)
            if passed is None:
                return None
            place = Place(self.line, passed)
        for stretch in stretches(stream, place, edited):
            if found := self._wrong(stretch):
                return _spot(stretch, min(found), edited)
            tell("issues", stretch.at, size)
        return None

    def _before(self, stream: BinaryIO, edited: Edited, tell: Tell) -> dict[str, int] | None:
        for stretch in stretches_back(stream, Place(self.line, self.at), edited):
            if found := self._wrong(stretch):
                return _spot(stretch, max(found), edited)
            tell("issues", self.at - stretch.at, self.at)
        return None

    def _wrong(self, stretch: Stretch) -> list[int]:
        from sophia_tui.datasets.fast import FastReader  # heavy, and only the engine looks so

        block = FastReader(keep=False).read(stretch.data)
        found = [line for line, problem in block.unusable if self.code in (None, problem.code)]
        if self.code in block.notes:
            found += block.notes[self.code].lines
        return [stretch.line + line - 1 for line in found]


def _spot(stretch: Stretch, line: int, edited: Edited) -> dict[str, int]:
    """Where the line is; its byte is told only where no edit moved it."""
    before = stretch.data.split(b"\n")[: line - stretch.line]
    moved = any(stretch.line <= each <= line for each in edited)
    return {"line": line, "at": -1 if moved else stretch.at + sum(len(x) + 1 for x in before)}
