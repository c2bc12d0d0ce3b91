"""What is told to people where the data alone says little: sentences and tables under a title.

Every face shows them in its own way; nothing here is interpreted or harmless yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Share(float):
    """A share of 1."""


#: A number without separators is written as a text.
Cell = str | int | float


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under their titles. The last column may be of any length."""

    titles: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """`parts` are sentences, tables, and plain data that nobody has words for, in their order."""

    title: str
    parts: tuple[str | Table | Mapping[str, Any], ...]
