"""Reads a JSON Lines file line by line in flat memory, and names each line that can't be used.

A byte-order mark, CRLF and blank lines are accepted and noted; a blank line is no row.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from sophia_tui.datasets.codes import Problem, Unusable
from sophia_tui.datasets.copy_export import END_OF_DATA, NULL, damage, unescape

#: Bytes of the longest line that is read; a longer one is named and passed over.
MAX_LINE_BYTES = 32 * 1024 * 1024
#: Line numbers kept for each note; the count is always whole.
LISTED_LINES = 20

_BOM = b"\xef\xbb\xbf"
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class Note:
    """Something odd that did no harm: how often, and the first lines; `listed` None: all."""

    count: int = 0
    lines: list[int] = field(default_factory=list)
    listed: int | None = LISTED_LINES

    def add(self, line: int) -> None:
        self.count += 1
        if self.listed is None or len(self.lines) < self.listed:
            self.lines.append(line)


@dataclass(slots=True)
class Line:
    """One row. `raw` is without line end and byte-order mark; either `value` or `problem` is set.

    Of a line that is too long, `raw` is the beginning.
    """

    number: int
    raw: bytes
    value: dict[str, Any] | None = None
    problem: Problem | None = None


class ReadFailed(Exception):
    """The file could not be read on; apart from OSError, which writing raises too."""

    def __init__(self, problem: OSError) -> None:
        super().__init__(str(problem))
        self.problem = problem


class LineReader:
    """Iterates the rows of one open binary file; afterwards `sha256`, `rows` and `notes` are whole.

    With `repair` each line is taken out of COPY's text format before it is parsed. With `damaged`
    (a file that is such an export, not to be repaired) every line with a backslash is a bad one:
    those that still are JSON say something else than they did. `listed` is how many lines of each
    note are kept, None all.
    """

    def __init__(
        self,
        stream: BinaryIO,
        repair: bool = False,
        damaged: bool = False,
        max_bytes: int = MAX_LINE_BYTES,
        listed: int | None = LISTED_LINES,
    ) -> None:
        self._stream = stream
        self._repair = repair
        self._damaged = damaged
        self._max = max_bytes
        self._listed = listed
        self._hash = hashlib.sha256()
        self.bytes_read = 0
        self.rows = 0
        self.notes: dict[str, Note] = {}

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def note(self, code: str, line: int) -> None:
        self.notes.setdefault(code, Note(listed=self._listed)).add(line)

    def __iter__(self) -> Iterator[Line]:
        number = 0
        while raw := self._read(self._max + 2):
            number += 1
            if len(raw) > self._max and len(raw.rstrip(b"\r\n")) > self._max:
                if not raw.endswith(b"\n"):
                    self._pass_over()
                self.rows += 1
                yield Line(number, raw, problem=Problem("too_long", {"limit": self._max}))
                continue
            line = self.row(number, raw)
            if line is not None:
                self.rows += 1
                yield line

    def _read(self, limit: int) -> bytes:
        try:
            raw = self._stream.readline(limit)
        except OSError as problem:
            raise ReadFailed(problem) from problem
        self._hash.update(raw)
        self.bytes_read += len(raw)
        return raw

    def _pass_over(self) -> None:
        while rest := self._read(1 << 20):
            if rest.endswith(b"\n"):
                return

    def row(self, number: int, raw: bytes) -> Line | None:
        """One line that was read elsewhere, with or without its end; None of what is no row."""
        raw = raw.removesuffix(b"\n")
        if raw.endswith(b"\r"):
            raw = raw[:-1]
            self.note("crlf", number)
        if raw.startswith(_BOM):
            raw = raw[len(_BOM) :]
            self.note("bom", number)
        if not raw.strip():
            self.note("blank", number)
            return None
        if raw == END_OF_DATA:
            self.note("copy_end", number)
            return None
        if self._damaged and b"\\" in raw and raw != NULL:
            return Line(number, raw, problem=Problem("copy_export"))
        try:
            return Line(number, raw, value=parse(unescape(raw) if self._repair else raw))
        except Unusable as problem:
            return Line(number, raw, problem=problem.problem)


def delimiters(raw: bytes) -> int:
    """Quotation marks of JSON that are not escaped."""
    if b"\\" not in raw:
        return raw.count(b'"')
    raw = raw.replace(b"\\\\", b"")
    return raw.count(b'"') - raw.count(b'\\"')


def parse(raw: bytes) -> dict[str, Any]:
    """The object on one line. Raises Unusable with the code of what is wrong with it."""
    if raw == NULL:
        raise Unusable("copy_null")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise Unusable("not_utf8", byte=problem.start + 1) from None
    if "\0" in text:
        raise Unusable("nul")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as problem:
        if damage(raw):
            raise Unusable("copy_export") from None
        raise Unusable("json", column=problem.pos + 1) from None
    except RecursionError:
        raise Unusable("too_deep") from None
    except ValueError:  # a whole number of more digits than Python converts
        raise Unusable("long_number") from None
    if not isinstance(value, dict):
        raise Unusable("not_object")
    if _SURROGATE_ESCAPE.search(raw) and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise Unusable("surrogate")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Unusable("duplicate_key")
    return value


def _not_finite(word: str) -> Any:
    raise Unusable("not_finite")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Unusable("not_finite")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_not_finite, parse_float=_float
)
