"""Lets the provenance of a version go on in another one that is made of it."""

from pathlib import Path
from typing import Any

import msgspec

from sophia_tui.datasets.sources import unreadable
from sophia_tui.datasets.version import PARTS, PROVENANCE


class _Origin(msgspec.Struct):
    hash: str
    part: str
    file: str
    line: int
    source: dict[str, Any] | None = None


_ORIGINS = msgspec.json.Decoder(_Origin)
_JSON = msgspec.json.Encoder()


class Origins:
    """`names` are the files that the version's rows came from, numbered from `first`; `beside` is
    where, for each of its parts, what is known of its lines was written, below `scratch`.

    Raises DataError D306 where the provenance can't be read, OSError (disk full).
    """

    def __init__(self, version: Path, scratch: Path, first: int) -> None:
        self._first = first
        self.names: list[str] = []
        self.beside = {f"{part}.jsonl": scratch / f"origins-{part}" for part in PARTS}
        streams = {part: self.beside[f"{part}.jsonl"].open("xb") for part in PARTS}
        lines = dict.fromkeys(PARTS, 0)
        numbers: dict[str, int] = {}
        try:
            for origin in self._read(version / PROVENANCE):
                number = numbers.get(origin.file)
                if number is None:
                    number = numbers[origin.file] = first + len(self.names)
                    self.names.append(origin.file)
                lines[origin.part] += 1
                source = origin.source or {"table": "", "key": {}}
                entry = {
                    "line": lines[origin.part],
                    "hash": origin.hash,
                    **source,
                    "file": number,
                    "at": origin.line,
                }
                streams[origin.part].write(_JSON.encode(entry) + b"\n")
        finally:
            for stream in streams.values():
                stream.close()

    def _read(self, path: Path) -> Any:
        try:
            with path.open("rb") as stream:
                for raw in stream:
                    yield _ORIGINS.decode(raw)
        except OSError as problem:
            raise unreadable(path, problem) from problem
