"""A seeded sample of the rows of a file, for what is too slow to ask of every row.

The sample is the rows whose keyed digest is smallest, so it is the same however the file is dealt
out in blocks, and copies of a row count once: its figures are about distinct rows.
"""

import hashlib
import heapq
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import msgspec

from sophia_tui.datasets.blocks import Block, BlockRow
from sophia_tui.domain.datasets import Pair

#: Rows of a sample. A share of it is known to 3 points of a hundred, in 19 of 20 samples.
ROWS = 1000
#: Characters of a turn that are kept: enough for its language and its subject.
_TURN_CHARACTERS = 1500
_TURNS = 12
#: Standard deviations that hold 19 of 20 samples.
Z95 = 1.959963984540054


class SampleSettings(msgspec.Struct, frozen=True):
    """`rows` None keeps every distinct row. `size` is the file's, in bytes, where it is known: less
    is then sent between processes."""

    seed: int = 42
    rows: int | None = ROWS
    size: int | None = None


@dataclass(frozen=True, slots=True)
class SampledRow:
    """`turns` are (role, text), the answers of a pair among them; `category` as the record names
    it, where it does."""

    line: int
    turns: tuple[tuple[str, str], ...]
    category: str | None = None

    def said(self, *roles: str) -> str:
        """What these roles say, together."""
        return "\n".join(text for role, text in self.turns if role in roles)

    @property
    def talk(self) -> str:
        """What is asked and answered, without the system's words."""
        return self.said("user", "assistant")


#: How many rows a block has, and of those that may be in the sample: digest, line in the block,
#: turns and category.
Found = tuple[int, list[tuple[int, int, tuple[tuple[str, str], ...], str | None]]]


class SampleProbe:
    """The rows of a block that may belong to the sample."""

    name = "sample"

    def __init__(self, settings: SampleSettings | None = None) -> None:
        self._settings = settings or SampleSettings()
        self._key = b"%d" % self._settings.seed

    def look(self, block: Block) -> Found:
        keyed = [(_digest(row.raw, self._key), place, row) for place, row in enumerate(block.rows)]
        most = self._most(len(block.data))
        chosen = keyed if most is None else heapq.nsmallest(most, keyed, key=lambda each: each[:2])
        return len(block.rows), [
            (digest, row.line, turns_of(row), category_of(row)) for digest, _at, row in chosen
        ]

    def _most(self, size: int) -> int | None:
        """How many rows of so many bytes can be in the sample: eight deviations above the share."""
        rows, whole = self._settings.rows, self._settings.size
        if rows is None or not whole:
            return rows
        expected = rows * size / whole
        return min(rows, math.ceil(expected + 8 * math.sqrt(expected)) + 16)


class SampleCollector:
    """Keeps the sample; `rows` is how many there are in all."""

    def __init__(self, settings: SampleSettings | None = None) -> None:
        self._settings = settings or SampleSettings()
        self._kept: dict[int, SampledRow] = {}
        self.rows = 0

    @property
    def whole(self) -> bool:
        """Whether no row was left out, but for copies."""
        most = self._settings.rows
        return most is None or self.rows <= most

    def add(self, first_line: int, found: Found) -> None:
        self.rows += found[0]
        for digest, line, turns, category in found[1]:
            at = first_line + line - 1
            kept = self._kept.get(digest)
            if kept is None or at < kept.line:
                self._kept[digest] = SampledRow(at, turns, category)
        most = self._settings.rows
        if most is not None and len(self._kept) > 4 * most:
            self._kept = self._smallest(most)

    def report(self) -> Any:
        return self.drawn()

    def drawn(self) -> list[SampledRow]:
        """The sample, in the order of the file."""
        most = self._settings.rows
        kept = self._kept if most is None else self._smallest(most)
        return sorted(kept.values(), key=lambda row: row.line)

    def _smallest(self, most: int) -> dict[int, SampledRow]:
        return {digest: self._kept[digest] for digest in heapq.nsmallest(most, self._kept)}


def _digest(raw: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8, key=key).digest())


def turns_of(row: BlockRow) -> tuple[tuple[str, str], ...]:
    """Roles and the beginnings of texts; of a long chat the first turns and the last two."""
    messages = list(row.example.messages)
    if isinstance(row.example, Pair):
        messages += [row.example.chosen, row.example.rejected]
    if len(messages) > _TURNS:
        messages = [*messages[: _TURNS - 2], *messages[-2:]]
    return tuple((each.role, each.content[:_TURN_CHARACTERS]) for each in messages)


def category_of(row: BlockRow) -> str | None:
    """What the record itself says it is about: `category`, at the top or in its metadata."""
    if b'"category"' not in row.raw and b'"categoria"' not in row.raw:
        return None
    try:
        record: Any = msgspec.json.decode(row.raw)
    except (msgspec.DecodeError, UnicodeDecodeError):  # odd JSON that the strict reader accepts
        return None
    for place in (record, record.get("metadata")):
        if isinstance(place, dict):
            for name in ("category", "categoria"):
                if isinstance(place.get(name), str) and place[name].strip():
                    return str(place[name]).strip()[:100]
    return None


def interval(count: int, total: int) -> tuple[float, float]:
    """Where a share lies, in 19 of 20 samples (Wilson 1927)."""
    if not total:
        return 0.0, 1.0
    share, z2 = count / total, Z95 * Z95
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = (
        Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def share(count: int, total: int, whole: bool) -> dict[str, Any]:
    """A count as a share with its interval; of a whole file there is none to tell."""
    found: dict[str, Any] = {"count": count, "share": round(count / total, 4) if total else 0.0}
    if not whole:
        low, high = interval(count, total)
        found |= {"low": round(low, 4), "high": round(high, 4)}
    return found


def percentile(counts: Counter[int], percent: int) -> int:
    """The value that so many of a hundred do not exceed (the nearest rank); 0 of nothing."""
    wanted = max(1, -(-counts.total() * percent // 100))
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            return value
    return 0
