"""What an inspection found in one file, looked up by line: its report is kept in the cache.

The lines of each code lie there in order, so that a look-up reads a few entries however many there
are.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from sophia_tui.datasets.issues import Entry, decode_entry


@dataclass(frozen=True)
class Found:
    """The issues of one file. `number` is the file's in the inspection; `codes` say how many lines
    each code has in all its files."""

    folder: Path
    number: int
    codes: dict[str, int]

    def between(
        self, code: str, first: int, last: int
    ) -> Iterator[tuple[int, dict[str, str | int]]]:
        """The lines with that code from the first to the last, each with its details."""
        for entry in self._from(code, first):
            if entry.file != self.number or entry.line > last:
                return
            for line in range(max(first, entry.line), min(last, entry.end) + 1):
                yield line, entry.details

    def after(self, code: str, line: int) -> Iterator[int]:
        """The lines with that code from this one on."""
        for entry in self._from(code, line):
            if entry.file != self.number:
                return
            yield from range(max(line, entry.line), entry.end + 1)

    def before(self, code: str, line: int) -> Iterator[int]:
        """The lines with that code before this one, the nearest first."""
        with self._open(code) as stream:
            at = _search(stream, (self.number, line))
            while at > 0:
                at = _start_of_line(stream, at - 1)
                stream.seek(at)
                entry = decode_entry(stream.readline())
                if entry.file != self.number:
                    return
                yield from range(min(line - 1, entry.end), entry.line - 1, -1)

    def nearest(self, line: int, code: str | None, backwards: bool) -> int | None:
        """The line nearest to this one that has the code, or without one any error: from it on, or
        backwards before it."""
        from sophia_tui.datasets.inspection import ERROR, severity  # what inspects is heavy

        errors = [each for each in self.codes if severity(each) == ERROR]
        codes = errors if code is None else [code] if code in self.codes else []
        way = self.before if backwards else self.after
        found = [near for each in codes for near in islice(way(each, line), 1)]
        return (max if backwards else min)(found, default=None)

    def _from(self, code: str, line: int) -> Iterator[Entry]:
        with self._open(code) as stream:
            at = _search(stream, (self.number, line))
            if at > 0:  # the entry before may reach to this line
                stream.seek(_start_of_line(stream, at - 1))
                entry = decode_entry(stream.readline())
                if entry.file == self.number and entry.end >= line:
                    yield entry
            stream.seek(at)
            yield from map(decode_entry, stream)

    def _open(self, code: str) -> IO[bytes]:
        return (self.folder / f"{code}.jsonl").open("rb")


def _search(stream: IO[bytes], wanted: tuple[int, int]) -> int:
    """Where the first entry that begins at (file, line) or later stands; the size if none does."""
    low, high = 0, stream.seek(0, 2)
    while low < high:
        middle = _start_of_line(stream, (low + high) // 2)
        stream.seek(middle)
        raw = stream.readline()
        entry = decode_entry(raw)
        if (entry.file, entry.line) < wanted:
            low = middle + len(raw)
        else:
            high = middle
    return low


def _start_of_line(stream: IO[bytes], at: int) -> int:
    """Entries are short: one step back of 4 KiB nearly always finds the line feed."""
    end = at
    while end > 0:
        start = max(0, end - 4096)
        stream.seek(start)
        feed = stream.read(end - start).rfind(b"\n")
        if feed >= 0:
            return start + feed + 1
        end = start
    return 0


def outdated(reports: Path, path: Path) -> bool:
    """Whether reports of the file are kept, and none of them is of the file as it is now."""
    state = path.stat()
    now = [str(path), state.st_size, state.st_mtime_ns]
    known: list[list[object]] = []
    for asked in reports.glob("[!.]*/asked.json"):
        try:
            files = json.loads(asked.read_bytes())["files"]
        except (OSError, ValueError, KeyError):  # another version's, or being removed
            continue
        known += [each for each in files if each[0] == str(path)]
    return bool(known) and now not in known


def find_report(reports: Path, path: Path) -> Found | None:
    """The kept report that says most of the file as it is now."""
    state = path.stat()
    wanted = [str(path), state.st_size, state.st_mtime_ns]
    best: Found | None = None
    for asked in reports.glob("[!.]*/asked.json"):
        try:
            files = json.loads(asked.read_bytes())["files"]
            if wanted not in files:
                continue
            report = json.loads((asked.parent / "report.json").read_bytes())
        except (OSError, ValueError, KeyError):  # another version's, or being removed
            continue
        codes = {each["code"]: each["count"] for each in report["issues"]}
        if best is None or len(codes) > len(best.codes):
            best = Found(asked.parent, files.index(wanted), codes)
    return best
