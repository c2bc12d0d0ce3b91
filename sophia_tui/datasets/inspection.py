"""Inspects files in one pass: what their rows are, every issue with its lines, exact duplicates,
and a section for each probe that was asked for. Changes nothing.
"""

import os
import shutil
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from sophia_tui.datasets import passes
from sophia_tui.datasets.blocks import Collector, Probe, Shape
from sophia_tui.datasets.compressed import DamagedFile, as_plain, is_plain
from sophia_tui.datasets.distributions import distribution, rounded
from sophia_tui.datasets.fingerprints import PrintsWriter, Sifter, all_same, parts_for
from sophia_tui.datasets.issues import Issues
from sophia_tui.datasets.sources import size_of, unreadable
from sophia_tui.datasets.tasks import Task, Tell

#: What can be looked at besides structure and duplicates, in the order of the report, and the
#: module of each. There, `probe(asked)` makes the probe and `collector(asked)` its collector.
PROBES: dict[str, str] = {
    "near": "sophia_tui.datasets.near_section",
    "contradictions": "sophia_tui.datasets.contradictions_section",
    "personal": "sophia_tui.datasets.personal_probe",
    "secrets": "sophia_tui.datasets.secrets_probe",
    "tokens": "sophia_tui.datasets.tokens",
    "languages": "sophia_tui.datasets.languages",
    "topics": "sophia_tui.datasets.topics",
    "answers": "sophia_tui.datasets.quality",
    "constitutional": "sophia_tui.datasets.destinations",
}

#: How much an issue matters, where it is no error; an error keeps the row from being used.
WARNING, NOTE, ERROR = "warning", "note", "error"
_BEGINNING = 1 << 16
_NOTES = frozenset(
    {
        *("bom", "crlf", "blank", "copy_end"),
        *("record_fields", "message_fields", "text_parts", "call_ids"),
    }
)


class Asked(msgspec.Struct, frozen=True):
    """What is to be inspected and how. `size` are the bytes of all files together. `sections` are
    names of PROBES. `model` is whose context rows should fit into. `whole`: what is told from a
    sample (by `seed`) by default is told from all rows."""

    files: tuple[str, ...]
    size: int
    sections: tuple[str, ...] = ()
    model: str | None = None
    seed: int = 42
    whole: bool = False


@runtime_checkable
class Lister(Protocol):
    """A collector whose findings are issues, too. Lines are counted on through all files."""

    def issues(self) -> Iterable[tuple[str, int, Mapping[str, str | int]]]:
        """Code, line and details of each; those of one code in the order of their lines."""


class InspectTask(Task):
    """`folder` exists and is empty: the issues are left in it."""

    asked: Asked
    folder: str

    def run(self, tell: Tell) -> dict[str, Any]:
        return inspect(self.asked, Path(self.folder), tell)


#: Of a block: its range, lines, bytes, unusable lines, notes, shape, and what each probe found.
Found = tuple[
    passes.Range, int, list[tuple[int, str, dict[str, Any]]], dict[str, list[int]], Shape, list[Any]
]


def inspect(
    asked: Asked,
    folder: Path,
    tell: Tell,
    range_bytes: int = passes.RANGE_BYTES,
    processes: int | None = None,
) -> dict[str, Any]:
    """The report as plain data; every line of every issue lies in `folder` then.

    Packed files and tables are unpacked there for the time of the pass. Raises DataError D306 for
    a file that can't be read, D511 for a table without a usable header, D501 where a process died,
    OSError where the disk is full.
    """
    files = [Path(each) for each in asked.files]
    unpacked = folder / "unpacked"
    plain = _unpacked(files, unpacked, tell)
    sizes = [(path, size_of(path)) for path in plain]
    total = sum(size for _path, size in sizes)
    processes = passes.processes_for(total) if processes is None else processes
    prints = folder / "prints"
    prints.mkdir()
    survey = _Survey(files, plain, Issues(folder))
    parts = parts_for(total)
    beginning = _beginning(plain)
    names = [name for name in PROBES if name in asked.sections]
    collectors: list[Collector] = [import_module(PROBES[name]).collector(asked) for name in names]

    def make(process: int) -> _Reading:
        return _Reading(asked, beginning, names, PrintsWriter(prints, process, parts))

    found = passes.deal(passes.ranges(sizes, range_bytes), make, processes)
    with closing(found):
        for block in found:
            line = survey.add(block)
            for collector, seen in zip(collectors, block[-1], strict=True):
                collector.add(line, seen)
            tell("read", survey.done, total)
    _duplicates(survey, prints, parts, processes, tell)
    for collector in collectors:
        if isinstance(collector, Lister):
            survey.add_listed(collector)
    shutil.rmtree(unpacked, ignore_errors=True)
    sections = {name: each.report() for name, each in zip(names, collectors, strict=True)}
    return {**survey.report(), "sections": sections}


def _beginning(files: Sequence[Path]) -> bytes:
    """Of the first file that holds something."""
    for path in files:
        try:
            with path.open("rb") as stream:
                if found := stream.read(_BEGINNING):
                    return found
        except OSError as problem:
            raise unreadable(path, problem) from problem
    return b""


def _unpacked(files: Sequence[Path], folder: Path, tell: Tell) -> list[Path]:
    """Each file whose bytes are its lines, or a copy of its lines in that folder."""
    found: list[Path] = []
    for number, path in enumerate(files):
        if not is_plain(path):
            folder.mkdir(exist_ok=True)
            tell("unpack", number, len(files))
        try:
            found.append(as_plain(path, folder, number))
        except DamagedFile as problem:
            raise unreadable(path, problem) from problem
        except OSError as problem:
            if not path.is_file() or not os.access(path, os.R_OK):
                raise unreadable(path, problem) from problem
            raise
    return found


class _Reading(passes.Worker[passes.Range, Found]):
    """Reads ranges, and has each probe look at them."""

    def __init__(
        self, asked: Asked, beginning: bytes, names: Sequence[str], prints: PrintsWriter
    ) -> None:
        from sophia_tui.datasets.fast import FastReader
        from sophia_tui.datasets.layouts import layout_of

        self._reader = FastReader(layout_of(beginning), keep=bool(names))
        self._probes: list[Probe] = [import_module(PROBES[name]).probe(asked) for name in names]
        self._prints = prints

    def work(self, item: passes.Range) -> Found:
        path = Path(item.path)
        try:
            with path.open("rb") as stream:
                start, data = passes.read_range(stream, item.start, item.end)
        except OSError as problem:
            raise unreadable(path, problem) from problem
        block = self._reader.read(data)
        block.file, block.start = item.file, start
        self._prints.add(block)
        return (
            passes.Range(item.file, item.path, start, item.end),
            block.lines,
            [(line, each.code, dict(each.details)) for line, each in block.unusable],
            {code: note.lines for code, note in block.notes.items()},
            block.shape,
            [probe.look(block) for probe in self._probes],
        )

    def close(self) -> None:
        self._prints.close()


class _File:
    """What is known of one file: its lines, rows and usable rows, and where its blocks begin."""

    def __init__(self, path: Path, plain: Path, lines_before: int, bytes_before: int) -> None:
        self.path = path
        self.plain = plain
        self.lines_before = lines_before
        self.bytes_before = bytes_before
        self.bytes = plain.stat().st_size
        self.lines = self.rows = self.usable = 0
        self.starts: list[int] = []
        self.first_lines: list[int] = []


class _Survey:
    """Adds up what blocks tell, in the order of files and lines."""

    def __init__(self, files: Sequence[Path], plain: Sequence[Path], issues: Issues) -> None:
        self._paths = files
        self._plain = plain
        self._issues = issues
        self._shape = Shape()
        self.done = 0
        self.files: list[_File] = []

    def _file(self, number: int) -> _File:
        while len(self.files) <= number:
            next_one, last = len(self.files), self.files[-1] if self.files else None
            path, plain = self._paths[next_one], self._plain[next_one]
            lines = last.lines_before + last.lines if last else 0
            self.files.append(
                _File(path, plain, lines, last.bytes_before + last.bytes if last else 0)
            )
        return self.files[number]

    def add(self, found: Found) -> int:
        """The number of the block's first line, counted on through all files."""
        part, lines, unusable, notes, shape, _looked = found
        file = self._file(part.file)
        before = file.lines
        file.starts.append(part.start)
        file.first_lines.append(before + 1)
        for line, code, details in unusable:
            self._issues.add(code, part.file, before + line, details)
        for code, noted in notes.items():
            for line in noted:
                self._issues.add(code, part.file, before + line)
        self.done = file.bytes_before + part.end
        usable = shape.forms.total()
        file.lines += lines
        file.usable += usable
        file.rows += usable + len(unusable)
        shape.characters = rounded(shape.characters)
        self._shape.merge(shape)
        return file.lines_before + before + 1

    def line_of(self, file: int, at: int, line: int) -> int:
        """The number in its file of a line of the block that holds byte `at`."""
        known = self.files[file]
        return known.first_lines[bisect_right(known.starts, at) - 1] + line - 1

    def add_same(self, file: int, line: int, first_file: int, first_line: int) -> None:
        details: dict[str, str | int] = {
            "first_line": first_line,
            "first_file": self._paths[first_file].name,
        }
        self._issues.add("duplicate", file, line, details)

    def add_listed(self, lister: Lister) -> None:
        before = [file.lines_before for file in self.files]
        for code, line, details in lister.issues():
            file = bisect_right(before, line - 1) - 1
            self._issues.add(code, file, line - before[file], details)

    def report(self) -> dict[str, Any]:
        if self._paths:
            self._file(len(self._paths) - 1)
        issues = self._issues.close()
        files = [
            {
                "file": str(each.path),
                "bytes": each.bytes,
                "lines": each.lines,
                "rows": each.rows,
                "usable": each.usable,
            }
            for each in self.files
        ]
        return {
            "files": files,
            "bytes": sum(each.bytes for each in self.files),
            "lines": sum(each.lines for each in self.files),
            "rows": sum(each.rows for each in self.files),
            "usable": sum(each.usable for each in self.files),
            "duplicates": issues.get("duplicate", (0, []))[0],
            "forms": dict(self._shape.forms.most_common()),
            "issues": [
                {"code": code, "severity": severity(code), "count": count, "places": first}
                for code, (count, first) in sorted(issues.items(), key=_by_weight)
            ],
            "roles": [
                {"roles": list(roles), "rows": rows}
                for roles, rows in sorted(
                    self._shape.roles.items(), key=lambda each: (-each[1], each[0])
                )
            ],
            "turns": distribution(self._shape.turns),
            "characters": distribution(self._shape.characters),
        }


def severity(code: str) -> str:
    """`error` (the row can't be used), `warning` or `note`."""
    if code in _NOTES:
        return NOTE
    return WARNING if code in _WARNINGS else ERROR


#: Codes of issues that do not keep a row from being used, but want a look.
_WARNINGS = {"duplicate", "personal_data", "secret", "cut", "mixed_languages", "same_id"}


def _by_weight(item: tuple[str, tuple[int, Any]]) -> tuple[int, int, str]:
    code, (count, _places) = item
    return (ERROR, WARNING, NOTE).index(severity(code)), -count, code


def _duplicates(survey: _Survey, folder: Path, parts: int, processes: int, tell: Tell) -> None:
    paths = [each.plain for each in survey.files]
    total = sum(each.usable for each in survey.files)
    with closing(
        passes.deal(
            range(parts),
            lambda _process: Sifter(folder, paths, survey.line_of),
            min(processes, parts),
        )
    ) as found:
        for done, _count in enumerate(found, start=1):
            tell("sift", total * done // parts, total)
    for same in all_same(folder):
        survey.add_same(*same)
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()
