"""Near-duplicates and contradicting answers among the rows of files: as sections of an inspection,
and as files of their own that pages of them are read from.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec

from sophia_tui.datasets.blocks import Block
from sophia_tui.datasets.contradictions import Asked as Question
from sophia_tui.datasets.contradictions import Contradiction, asked, find_contradictions
from sophia_tui.datasets.looking import looked
from sophia_tui.datasets.near import THRESHOLD, Cluster, NearTexts, text_of
from sophia_tui.datasets.near_words import Read, WordReader
from sophia_tui.datasets.sources import size_of
from sophia_tui.datasets.tasks import Task, Tell

NEAR, CONTRADICTIONS = "near", "contradictions"

#: In a section of an inspection.
_LISTED = 20
_TEXTS = 10
_SHOWN = 300


class Place(msgspec.Struct, frozen=True):
    """A row by the number of its file in the run and its line, with the beginning of its texts."""

    file: int
    line: int
    question: str = ""
    answer: str = ""


class Group(msgspec.Struct, frozen=True):
    """A cluster; only the first of `others` have their texts."""

    kept: Place
    others: list[Place]


class Difference(msgspec.Struct, frozen=True):
    kind: str
    first: str
    second: str


class Contradicting(msgspec.Struct, frozen=True):
    first: Place
    second: Place
    differs: list[Difference]


class WordsProbe:
    """The words of each row: of all that is said (`near`), or of what is asked alone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._reader = WordReader()

    def look(self, block: Block) -> tuple[int, Read]:
        texts = [
            (row.line, text_of(row.example) if self.name == NEAR else asked(row.example)[0])
            for row in block.rows
        ]
        return os.getpid(), self._reader.read(texts)


class ClusterCollector:
    """Rows are numbered by their lines, counted on through all files."""

    def __init__(self) -> None:
        self._texts = NearTexts()

    @property
    def rows(self) -> int:
        return len(self._texts.rows)

    def add(self, first_line: int, found: tuple[int, Read]) -> None:
        reader, read = found
        rows = [first_line + line - 1 for line in read.rows]
        self._texts.add(reader, read._replace(rows=rows))

    def clusters(self) -> list[Cluster]:
        return list(self._texts.clusters(THRESHOLD))

    def report(self) -> dict[str, Any]:
        """Lines are counted on through all files; the largest clusters first."""
        clusters = self.clusters()
        others = sum(len(each.others) for each in clusters)
        largest = sorted(clusters, key=lambda each: (-len(each.others), each.kept))[:_LISTED]
        return {
            "rows": self.rows,
            "clusters": len(clusters),
            "others": others,
            "share": others / self.rows if self.rows else 0.0,
            "lines": sorted(row for each in largest for row in each.others)[:_LISTED],
            "largest": [
                {"kept": each.kept, "others": list(each.others[:_LISTED])} for each in largest
            ],
        }


class NearRows:
    """The rows of some files, read range by range in processes."""

    def __init__(self, files: Sequence[Path], tell: Tell) -> None:
        self._files = files
        self._sizes = [(path, size_of(path)) for path in files]
        self._tell = tell
        self._lines = [0] * len(files)

    def collected(self, name: str) -> ClusterCollector:
        collector = ClusterCollector()
        for first, seen in self._pass(WordsProbe(name).look):
            collector.add(first, seen)
        return collector

    def said(self, wanted: set[int]) -> Iterator[Question]:
        """The rows with these numbers, question in its context and answer, in their order."""
        for first, seen in self._pass(_said):
            for line, question, answer in seen:
                if first + line - 1 in wanted:
                    yield Question(first + line - 1, question, answer)

    def place(self, row: int) -> tuple[int, int]:
        """The file and the line of a row."""
        for file, before in enumerate(accumulate(self._lines, initial=0)):
            if row <= before + self._lines[file]:
                return file, row - before
        raise IndexError(row)

    def _pass(self, look: Callable[[Block], Any]) -> Iterator[tuple[int, Any]]:
        lines = [0] * len(self._files)
        for file, count, seen in looked(self._sizes, look, self._tell):
            yield sum(lines) + 1, seen
            lines[file] += count
        self._lines = lines


def _said(block: Block) -> list[tuple[int, str, str]]:
    return [(row.line, *asked(row.example)) for row in block.rows]


class NearTask(Task):
    """Finds what `name` says in files, and leaves it in `folder` (it exists and is empty) as JSON
    Lines; the result are counts."""

    name: str
    files: list[str]
    folder: str

    def run(self, tell: Tell) -> dict[str, int]:
        rows = NearRows([Path(each) for each in self.files], tell)
        collector = rows.collected(self.name)
        clusters = collector.clusters()
        with (Path(self.folder) / "found.jsonl").open("xb") as stream:
            if self.name == NEAR:
                found = _write_groups(stream, rows, clusters)
            else:
                found = _write_contradicting(stream, rows, clusters)
        return {"rows": collector.rows, **found}


def _write_groups(stream: Any, rows: NearRows, clusters: list[Cluster]) -> dict[str, int]:
    encode = msgspec.json.Encoder().encode
    shown = {row for each in clusters for row in (each.kept, *each.others[:_TEXTS])}
    texts = {each.row: each for each in rows.said(shown)} if shown else {}
    for cluster in clusters:
        kept, *others = (_place(rows, row, texts) for row in (cluster.kept, *cluster.others))
        stream.write(encode(Group(kept, others)) + b"\n")
    return {"found": len(clusters), "others": sum(len(each.others) for each in clusters)}


def _write_contradicting(stream: Any, rows: NearRows, clusters: list[Cluster]) -> dict[str, int]:
    encode = msgspec.json.Encoder().encode
    found, texts = contradicting(rows, clusters)
    for each in found:
        first, second = (_place(rows, row, texts) for row in (each.first, each.second))
        differs = [Difference(one.kind, one.first, one.second) for one in each.differs]
        stream.write(encode(Contradicting(first, second, differs)) + b"\n")
    return {"found": len(found), "others": 0}


def contradicting(
    rows: NearRows, clusters: list[Cluster]
) -> tuple[list[Contradiction], dict[int, Question]]:
    """Pairs in the order of their first rows, and what is said in rows of these clusters."""
    wanted = {row for each in clusters for row in (each.kept, *each.others)}
    texts = {each.row: each for each in rows.said(wanted)} if wanted else {}
    return find_contradictions(clusters, texts), texts


def _place(rows: NearRows, row: int, texts: dict[int, Question]) -> Place:
    file, line = rows.place(row)
    said = texts.get(row)
    if said is None:
        return Place(file, line)
    return Place(file, line, said.question[-_SHOWN:], said.answer[:_SHOWN])
