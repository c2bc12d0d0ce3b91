"""The issues that an inspection finds: all of their lines on disk, and the first ones of each code.

A folder has one file of JSON Lines for each code; an issue of neighbouring lines is one entry in
it, so that a file with CRLF at every line costs nothing.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec

#: Places told in the report for each code.
LISTED = 20


class Issue(msgspec.Struct, frozen=True):
    """One issue of one line. `file` is its number in the inspection."""

    code: str
    file: int
    line: int
    details: dict[str, str | int] = {}


class Entry(msgspec.Struct, omit_defaults=True):
    """Lines `line` to `to` of a file, or `line` alone."""

    file: int
    line: int
    to: int = 0
    details: dict[str, str | int] = {}

    @property
    def end(self) -> int:
        """The last of its lines."""
        return self.to or self.line


@dataclass
class _Code:
    stream: IO[bytes]
    count: int = 0
    first: list[tuple[int, int]] = field(default_factory=list)
    open: Entry | None = None


class Issues:
    """Writes issues into a folder that exists; each code's must come in the order of the lines.
    Writing raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._codes: dict[str, _Code] = {}

    def add(self, code: str, file: int, line: int, details: Mapping[str, str | int] = {}) -> None:
        kept = self._codes.get(code)
        if kept is None:
            stream = (self._folder / f"{code}.jsonl").open("wb")
            kept = self._codes[code] = _Code(stream)
        kept.count += 1
        if len(kept.first) < LISTED:
            kept.first.append((file, line))
        last = kept.open
        if (
            last is not None
            and last.file == file
            and last.end + 1 == line
            and last.details == details
        ):
            last.to = line
            return
        _write(kept)
        kept.open = Entry(file, line, details=dict(details))

    def close(self) -> dict[str, tuple[int, list[tuple[int, int]]]]:
        """Everything is on disk; of each code how many, and the first as file and line."""
        for kept in self._codes.values():
            _write(kept)
            kept.stream.close()
        return {code: (kept.count, kept.first) for code, kept in self._codes.items()}


def _write(kept: _Code) -> None:
    if kept.open is not None:
        kept.stream.write(msgspec.json.encode(kept.open) + b"\n")


def read_issues(folder: Path, codes: Iterable[str], offset: int = 0) -> Iterator[Issue]:
    """All issues of some codes, in the order of files and lines; `offset` are passed over."""
    found = [_of(folder, code) for code in sorted(codes)]
    merged = heapq.merge(*found, key=lambda issue: (issue.file, issue.line))
    return islice(merged, offset, None)


decode_entry = msgspec.json.Decoder(Entry).decode


def _of(folder: Path, code: str) -> Iterator[Issue]:
    with (folder / f"{code}.jsonl").open("rb") as stream:
        for line in stream:
            entry = decode_entry(line)
            for number in range(entry.line, entry.end + 1):
                yield Issue(code, entry.file, number, entry.details)


def as_line(issue: Issue, files: Sequence[str], severity: str, reason: str) -> dict[str, Any]:
    """The issue as people and programs are shown it."""
    return {
        "file": files[issue.file],
        "line": issue.line,
        "code": issue.code,
        "severity": severity,
        "reason": reason,
        "details": issue.details,
    }
