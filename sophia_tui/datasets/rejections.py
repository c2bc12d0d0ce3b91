"""Collects the records that were not used, in flat memory, and gives them back by file and line."""

import hashlib
import heapq
import json
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sophia_tui.datasets.codes import Problem, reason

#: Examples told for each code; the count is always whole.
LISTED = 20
_IN_MEMORY = 20_000
_HEAD = struct.Struct(">QQI")
_MODULUS = 2**256

Entry = tuple[int, int, bytes]


class Rejections:
    """`folder` must exist and is the caller's to remove. Writing raises OSError (disk full)."""

    def __init__(self, folder: Path, files: list[str]) -> None:
        self._folder = folder
        self._files = files
        self._entries: list[Entry] = []
        self._runs: list[Path] = []
        self._sum = 0
        self.by_code: Counter[str] = Counter()
        self._first: dict[str, list[tuple[int, int]]] = {}

    @property
    def count(self) -> int:
        return self.by_code.total()

    def add(self, file: int, line: int, problem: Problem, digest: bytes, source: bytes) -> None:
        """`digest` stands for the record in the version's hash; `source` is JSON, or empty."""
        code = problem.code
        self.by_code[code] += 1
        self._remember(code, (file, line))
        single = hashlib.sha256(code.encode() + b"\0" + digest).digest()
        self._sum = (self._sum + int.from_bytes(single, "big")) % _MODULUS
        entry: dict[str, Any] = {
            "file": self._files[file],
            "line": line,
            "code": code,
            "reason": reason(code, problem.details),
        }
        if problem.details:
            entry["details"] = dict(problem.details)
        if source:
            entry["source"] = json.loads(source)
        text = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
        self._entries.append((file, line, text))
        if len(self._entries) >= _IN_MEMORY:
            self._spill()

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
        runs = [self._read(path) for path in self._runs]
        for _file, _line, text in heapq.merge(*runs, sorted(self._entries)):
            yield text

    def _spill(self) -> None:
        path = self._folder / f"rejected-{len(self._runs):05}"
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
