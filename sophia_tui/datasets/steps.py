"""The steps of cleaning, by name: what each does to one row, and what is recorded of it."""

from collections import Counter
from typing import Any, ClassVar, Protocol

from sophia_tui.datasets import redact
from sophia_tui.datasets.clean import Item
from sophia_tui.datasets.personal import may_hold


class RowStep(Protocol):
    """A step that looks at one row by itself."""

    name: ClassVar[str]
    version: ClassVar[int]

    @property
    def settings(self) -> dict[str, Any]:
        """What is recorded, and counts for the version's hash: no path, no secret."""

    def look(self, item: Item) -> Counter[str] | None:
        """Change the row or leave it; returns what is counted. Raises Unusable if it must leave."""


class Redact:
    name: ClassVar[str] = "redact"
    version: ClassVar[int] = redact.VERSION

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def look(self, item: Item) -> Counter[str] | None:
        if not may_hold(item.row):
            return None
        example, counts = redact.redact(item.example, item.row)
        if not counts:
            return None
        item.example = example
        return counts
