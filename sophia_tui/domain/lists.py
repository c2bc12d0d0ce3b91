"""Lists: which of many rows are wanted, in which order, and what was found of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
_Raw = TypeVar("_Raw")


@dataclass(frozen=True)
class Wanted:
    """`match` is looked for in what people see of a row, in any case of letters; `words` are those
    of our values (states, kinds) whose name in the person's language holds it. `sort` is a column
    that the list may be sorted by, `-` before it for descending; empty: the list's own order.
    `counted` says whether it is of interest how many there are."""

    match: str = ""
    words: tuple[str, ...] = ()
    sort: str = ""
    limit: int = 100
    offset: int = 0
    counted: bool = True

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")


#: The first rows in the list's own order, whatever the number of all.
FIRST = Wanted(counted=False)


@dataclass(frozen=True)
class Found(Generic[T]):
    """A page of rows, how many match, and how many there are without the text that they are to
    match."""

    items: list[T]
    total: int = 0
    unfiltered: int = 0

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    @classmethod
    def of(cls, found: "Found[_Raw]", make: Callable[[_Raw], T]) -> "Found[T]":
        """The same page with each row made into something else."""
        return cls([make(each) for each in found.items], found.total, found.unfiltered)
