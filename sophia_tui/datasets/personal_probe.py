"""What an inspection tells of personal data and secrets: how many, in which rows, never a value."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sophia_tui.datasets.blocks import Block, BlockRow
from sophia_tui.datasets.personal import find
from sophia_tui.datasets.personal_gate import suspects
from sophia_tui.datasets.personal_kinds import Kind
from sophia_tui.datasets.redact import redact

#: How many lines of each kind are listed.
FIRST_LINES = 20

#: The two sections.
PERSONAL, SECRETS = "personal", "secrets"
_PLACES = {kind.value: place for place, kind in enumerate(Kind)}

#: Of each row that holds anything its line in the block, and how many values of each kind.
Held = list[tuple[int, dict[str, int]]]

_last: tuple[bytes, Held] = (b"", [])


def look(block: Block) -> Held:
    """What the usable rows of a block hold. Two probes ask for it, so the last answer is kept."""
    global _last
    if _last[0] is not block.data:
        _last = (block.data, _look(block))
    return _last[1]


def _look(block: Block) -> Held:
    held: Held = []
    rows, behind = block.rows, 0
    for line, _start, _end in suspects(block.data):
        # a row stands as many places before its line as there are lines before that are none
        place = min(line - 1 - behind, len(rows) - 1)
        while place >= 0 and rows[place].line > line:
            place -= 1
        behind = line - 1 - place
        if place >= 0 and rows[place].line == line and (counts := _held(rows[place])):
            held.append((line, counts))
    return held


def _held(row: BlockRow) -> dict[str, int]:
    if row.plain is None:
        return dict(redact(row.example, row.raw, rounds=1)[1])
    return dict(Counter(each.kind.value for text in row.plain[1] for each in find(text)))


class PersonalProbe:
    """Looks for personal data, or for secrets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._secrets = name == SECRETS

    def look(self, block: Block) -> Held:
        held: Held = []
        for line, counts in look(block):
            mine = {k: n for k, n in counts.items() if (k == Kind.SECRET) == self._secrets}
            if mine:
                held.append((line, mine))
        return held


@dataclass
class _Kind:
    count: int = 0
    rows: int = 0
    lines: list[int] = field(default_factory=list)


class PersonalCollector:
    """Tells how many there are, in how many rows, and by kind the same and the first lines, counted
    on through all files. Of each row that holds any it keeps ten bytes."""

    def __init__(self, name: str) -> None:
        self._code = "secret" if name == SECRETS else "personal_data"
        self._kinds: dict[str, _Kind] = {}
        self._lines = array("Q")
        self._held = array("H")

    def add(self, first_line: int, found: Held) -> None:
        for line, counts in found:
            number = first_line + line - 1
            self._lines.append(number)
            self._held.append(sum(1 << _PLACES[kind] for kind in counts))
            for kind, count in counts.items():
                known = self._kinds.setdefault(kind, _Kind())
                known.count += count
                known.rows += 1
                if len(known.lines) < FIRST_LINES:
                    known.lines.append(number)

    def issues(self) -> Iterator[tuple[str, int, Mapping[str, str | int]]]:
        for line, held in zip(self._lines, self._held, strict=True):
            kinds = ", ".join(kind for kind, place in _PLACES.items() if held >> place & 1)
            yield self._code, line, {"kinds": kinds}

    def report(self) -> dict[str, Any]:
        return {
            "count": sum(each.count for each in self._kinds.values()),
            "rows": len(self._lines),
            "kinds": {kind: asdict(each) for kind, each in sorted(self._kinds.items())},
        }


def probe(_asked: Any) -> PersonalProbe:
    return PersonalProbe(PERSONAL)


def collector(_asked: Any) -> PersonalCollector:
    return PersonalCollector(PERSONAL)
