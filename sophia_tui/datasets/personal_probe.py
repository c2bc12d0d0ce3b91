"""What an inspection tells of personal data and secrets: how many, in which rows, never a value."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sophia_tui.datasets.blocks import Block, read_block
from sophia_tui.datasets.personal_gate import suspects
from sophia_tui.datasets.personal_kinds import Kind
from sophia_tui.datasets.redact import redact

#: How many lines of each kind are listed.
FIRST_LINES = 20

#: Of each row that holds anything its line in the block, and how many values of each kind.
Held = list[tuple[int, dict[str, int]]]

_NOTHING: tuple[bytes, Held] = (b"", [])
_last = _NOTHING


def look(data: bytes) -> Held:
    """What the usable rows of a block hold. Two probes ask for it, so the last answer is kept."""
    global _last
    if _last[0] is not data:
        _last = (data, _look(data))
    return _last[1]


def _look(data: bytes) -> Held:
    held: Held = []
    for line, start, end in suspects(data):
        raw = data[start:end]
        for row in read_block(raw).rows:
            counts = redact(row.example, raw)[1]
            if counts:
                held.append((line, dict(counts)))
    return held


class PersonalProbe:
    """Personal data: everything but secrets."""

    name = "personal"

    def look(self, block: Block) -> Held:
        return _only(look(block.data), secrets=False)


class SecretsProbe:
    name = "secrets"

    def look(self, block: Block) -> Held:
        return _only(look(block.data), secrets=True)


def _only(held: Held, secrets: bool) -> Held:
    kept = [
        (line, {kind: n for kind, n in counts.items() if (kind == Kind.SECRET.value) == secrets})
        for line, counts in held
    ]
    return [(line, counts) for line, counts in kept if counts]


@dataclass
class _Kind:
    count: int = 0
    rows: int = 0
    lines: list[int] = field(default_factory=list)


class PersonalCollector:
    """For both probes: `rows` with any of it, and by kind `count`, `rows` and the first `lines`."""

    def __init__(self) -> None:
        self._rows = 0
        self._kinds: dict[str, _Kind] = {}

    def add(self, first_line: int, found: Held) -> None:
        for line, counts in found:
            self._rows += 1
            for kind, count in counts.items():
                known = self._kinds.setdefault(kind, _Kind())
                known.count += count
                known.rows += 1
                if len(known.lines) < FIRST_LINES:
                    known.lines.append(first_line + line - 1)

    def report(self) -> dict[str, Any]:
        kinds = {
            kind: {"count": each.count, "rows": each.rows, "lines": each.lines}
            for kind, each in sorted(self._kinds.items())
        }
        total = Counter({kind: each.count for kind, each in self._kinds.items()}).total()
        return {"count": total, "rows": self._rows, "kinds": kinds}
