"""Whole lines of a file, a few megabytes at a time, as probes look at them; and what a probe is.

A pass over a file deals its blocks out to processes. There each probe looks at each block; what it
found goes back to its collector in the asking process, in the order of the blocks.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

from sophia_tui.datasets import formats
from sophia_tui.datasets.codes import Problem, Unusable
from sophia_tui.datasets.reader import LineReader, Note
from sophia_tui.domain.datasets import Example, Message, Pair

if TYPE_CHECKING:
    import numpy

#: Roles told apart in the order of a row's turns; what follows is one sign for more.
LISTED_ROLES = 8
MORE = "…"


class BlockRow:
    """A usable row. `line` counts from 1 within its block; `raw` is without its line end.

    Made either of its example, or of its roles and texts: then the example is made when asked for.
    """

    __slots__ = ("_example", "_said", "line", "raw")

    def __init__(
        self,
        line: int,
        raw: bytes,
        example: Example | Pair | None = None,
        said: tuple[Sequence[str], Sequence[str]] = ((), ()),
    ) -> None:
        self.line = line
        self.raw = raw
        self._example = example
        self._said = said

    @property
    def example(self) -> Example | Pair:
        if self._example is None:
            self._example = Example(tuple(map(Message, *self._said)))
        return self._example

    @property
    def plain(self) -> tuple[Sequence[str], Sequence[str]] | None:
        """Roles and texts of a chat that has nothing else; None where the example has to be asked,
        or was."""
        return self._said if self._example is None else None

    @property
    def texts(self) -> Iterator[str]:
        """What is said in it, turn by turn; of a pair the prompt, the better, the worse answer."""
        if self._example is None:
            yield from self._said[1]
            return
        for message in self._example.messages:
            yield message.content
        if isinstance(self._example, Pair):
            yield self._example.chosen.content
            yield self._example.rejected.content


@dataclass(slots=True)
class Shape:
    """What usable rows are like: how many of which form, with which roles in which order (the
    first LISTED_ROLES), of how many turns, and of how many characters in all their texts."""

    forms: Counter[str] = field(default_factory=Counter)
    roles: Counter[tuple[str, ...]] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    characters: Counter[int] = field(default_factory=Counter)

    def add(self, form: str, roles: tuple[str, ...], characters: int) -> None:
        self.forms[form] += 1
        self.turns[len(roles)] += 1
        self.roles[listed(roles)] += 1
        self.characters[characters] += 1

    def merge(self, other: "Shape") -> None:
        self.forms.update(other.forms)
        self.roles.update(other.roles)
        self.turns.update(other.turns)
        self.characters.update(other.characters)


def listed(roles: tuple[str, ...]) -> tuple[str, ...]:
    """The order of roles as it is counted."""
    return roles if len(roles) <= LISTED_ROLES else (*roles[:LISTED_ROLES], MORE)


@dataclass(frozen=True, slots=True)
class Run:
    """Fingerprints of rows on neighbouring lines, from line `first` of the block, which begins at
    byte `start` of it; the line ends lie `ends` bytes after that."""

    keys: "numpy.ndarray[Any, Any]"
    first: int
    start: int
    ends: "numpy.ndarray[Any, Any]"


@dataclass(slots=True)
class Prints:
    """For each usable row its fingerprint (64 bits, the same for rows that say the same), its line
    in the block, and the byte of the block at which that line begins; and runs of more rows."""

    keys: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)


@dataclass(slots=True)
class Block:
    """`data` are whole lines, `lines` how many. `unusable` are lines with what is wrong, `notes`
    what is odd and did no harm; their line numbers count within the block, each of them is there.
    `file` and `start` say where the block lies: which file of the run, and at which byte."""

    data: bytes
    lines: int = 0
    rows: Sequence[BlockRow] = field(default_factory=list)
    unusable: list[tuple[int, Problem]] = field(default_factory=list)
    notes: dict[str, Note] = field(default_factory=dict)
    shape: Shape = field(default_factory=Shape)
    prints: Prints = field(default_factory=Prints)
    file: int = 0
    start: int = 0


class Probe(Protocol):
    """One question asked of every row. It lives in a worker process and keeps nothing from block to
    block, so that blocks may be dealt out in any way; made anew in each process by its class."""

    name: str

    def look(self, block: Block) -> Any:
        """What the block holds, as small plain data (it is sent to another process)."""


class Collector(Protocol):
    """Adds up what one kind of probe found, in the order of the file."""

    def add(self, first_line: int, found: Any) -> None:
        """`first_line` is the number of the block's first line in the file, from 1."""

    def report(self) -> Any:
        """What is told in the end, as plain data."""


def roles_of(example: Example | Pair) -> tuple[str, ...]:
    """Turn by turn; of a pair those of the prompt, and one answer."""
    roles = tuple(message.role for message in example.messages)
    return (*roles, "assistant") if isinstance(example, Pair) else roles


def read_block(data: bytes) -> Block:
    """The block of some whole lines, by the slow and strict reader that is the authority."""
    reader = LineReader(BytesIO(data), listed=None)
    rows: list[BlockRow] = []
    block = Block(data, data.count(b"\n") + (not data.endswith(b"\n") and bool(data)), rows)
    for line in reader:
        try:
            if line.value is None:
                problem = line.problem or Problem("json")
                raise Unusable(problem.code, **problem.details)
            number = line.number
            example = formats.convert(line.value, lambda code, at=number: reader.note(code, at))  # type: ignore[misc]
            row = BlockRow(line.number, line.raw, example)
            rows.append(row)
            form = str(formats.form_of(line.value))
            block.shape.add(form, roles_of(example), sum(map(len, row.texts)))
        except Unusable as unusable:
            block.unusable.append((line.number, unusable.problem))
    block.notes = reader.notes
    return block
