"""Whole lines of a file, a few megabytes at a time, as probes look at them; and what a probe is.

A pass over a file deals its blocks out to processes. There each probe looks at each block; what it
found goes back to its collector in the asking process, in the order of the blocks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Protocol

from sophia_tui.datasets import formats
from sophia_tui.datasets.codes import Problem, Unusable
from sophia_tui.datasets.reader import LineReader, Note
from sophia_tui.domain.datasets import Example, Pair


@dataclass(frozen=True, slots=True)
class BlockRow:
    """A usable row. `line` counts from 1 within its block; `raw` is without its line end."""

    line: int
    raw: bytes
    example: Example | Pair

    @property
    def texts(self) -> Iterator[str]:
        """What is said in it, turn by turn; of a pair the prompt, the better, the worse answer."""
        for message in self.example.messages:
            yield message.content
        if isinstance(self.example, Pair):
            yield self.example.chosen.content
            yield self.example.rejected.content


@dataclass(slots=True)
class Block:
    """`data` are whole lines, `lines` how many. `unusable` are lines with what is wrong, `notes`
    what is odd and did no harm; their line numbers count within the block."""

    data: bytes
    lines: int = 0
    rows: list[BlockRow] = field(default_factory=list)
    unusable: list[tuple[int, Problem]] = field(default_factory=list)
    notes: dict[str, Note] = field(default_factory=dict)


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


def read_block(data: bytes) -> Block:
    """The block of some whole lines, by the slow and strict reader that is the authority."""
    reader = LineReader(BytesIO(data))
    block = Block(data, lines=data.count(b"\n") + (not data.endswith(b"\n") and bool(data)))
    for line in reader:
        try:
            if line.value is None:
                problem = line.problem or Problem("json")
                raise Unusable(problem.code, **problem.details)
            number = line.number
            example = formats.convert(line.value, lambda code, at=number: reader.note(code, at))  # type: ignore[misc]
            block.rows.append(BlockRow(line.number, line.raw, example))
        except Unusable as unusable:
            block.unusable.append((line.number, unusable.problem))
    block.notes = reader.notes
    return block
