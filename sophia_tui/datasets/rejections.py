"""Collects the records that were not used, in flat memory, and gives them back by file and line."""

import hashlib
import heapq
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sophia_tui.datasets.codes import Problem, reason

#: Examples told for each code; the count is always whole.
LISTED = 20
_IN_MEMORY = 20_000
_HEAD = struct.Struct(">QQI")
_MODULUS = 2**256
_JSON = msgspec.json.Encoder()

Entry = tuple[int, int, bytes]


@dataclass(frozen=True)
class Lot:
    """What one worker rejected: small data for who leads it, the records in sorted `runs`."""

    runs: list[str]
    sum: int
    by_code: dict[str, int]
    by_step: dict[str, int]
    first: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.by_code.values())


class Rejections:
    """`folder` must exist and is the caller's to remove; `name` keeps the spool files of several
    apart. Writing raises OSError (disk full)."""

    def __init__(self, folder: Path, files: list[str], name: str = "") -> None:
        self._folder = folder
        self._files = files
        self._name = name
        self._lots = 0
        self._entries: list[Entry] = []
        self._runs: list[Path] = []
        self._chained: list[Path] = []
        self._sum = 0
        self.by_code: Counter[str] = Counter()
        self.by_step: Counter[str] = Counter()
        self._first: dict[str, list[tuple[int, int]]] = {}

    @property
    def count(self) -> int:
        return self.by_code.total()

    def add(
        self, file: int, line: int, problem: Problem, digest: bytes, source: bytes, step: str
    ) -> None:
        """`digest` stands for the record in the version's hash; `source` is JSON, or empty."""
        code = problem.code
        self.by_code[code] += 1
        self.by_step[step] += 1
        self._remember(code, (file, line))
        single = hashlib.sha256(code.encode() + b"\0" + digest).digest()
        self._sum = (self._sum + int.from_bytes(single, "big")) % _MODULUS
        entry: dict[str, Any] = {
            "file": self._files[file],
            "line": line,
            "step": step,
            "code": code,
            "reason": reason(code, problem.details),
        }
        if problem.details:
            entry["details"] = dict(problem.details)
        if source:
            entry["source"] = msgspec.Raw(source)
        self._entries.append((file, line, _JSON.encode(entry)))
        if len(self._entries) >= _IN_MEMORY:
            self._spill()

    def lot(self) -> Lot:
        """What was added since the last one, for `absorb` of another; this one is empty then."""
        if self._entries:
            self._spill()
        runs = [str(run) for run in self._runs]
        lot = Lot(runs, self._sum, dict(self.by_code), dict(self.by_step), self._first)
        self._runs, self._sum, self._first = [], 0, {}
        self.by_code, self.by_step = Counter(), Counter()
        self._lots += 1
        return lot

    def absorb(self, lot: Lot, follows: bool = False) -> None:
        """Add what a worker rejected. With `follows` all of it comes after the last such lot."""
        self._sum = (self._sum + lot.sum) % _MODULUS
        self.by_code.update(lot.by_code)
        self.by_step.update(lot.by_step)
        for code, places in lot.first.items():
            for where in places:
                self._remember(code, where)
        (self._chained if follows else self._runs).extend(map(Path, lot.runs))

    def _remember(self, code: str, where: tuple[int, int]) -> None:
        first = self._first.setdefault(code, [])
        if len(first) < LISTED or where < first[-1]:
            first.append(where)
            first.sort()
            del first[LISTED:]

    def examples(self) -> dict[str, list[str]]:
        """The first places of each code, as file:line."""
        return {
            code: [f"{self._files[file]}:{line}" for file, line in places]
            for code, places in sorted(self._first.items())
        }

    def fingerprint(self) -> str:
        """The same for the same records and reasons, in whatever order they came."""
        return f"{self.count}:{self._sum:064x}"

    def lines(self) -> Iterator[bytes]:
        """Each rejection as JSON without line end, by file and line."""
        chained = (entry for path in self._chained for entry in self._read(path))
        runs = [self._read(path) for path in self._runs]
        for _file, _line, text in heapq.merge(chained, *runs, sorted(self._entries)):
            yield text

    def _spill(self) -> None:
        path = self._folder / f"rejected-{self._name}-{self._lots}-{len(self._runs)}"
        with path.open("xb") as stream:
            for file, line, text in sorted(self._entries):
                stream.write(_HEAD.pack(file, line, len(text)) + text)
        self._runs.append(path)
        self._entries.clear()

    def _read(self, path: Path) -> Iterator[Entry]:
        with path.open("rb") as stream:
            while head := stream.read(_HEAD.size):
                file, line, length = _HEAD.unpack(head)
                yield file, line, stream.read(length)
