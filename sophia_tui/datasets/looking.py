"""A pass over the rows of files with one look at each block of them."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from sophia_tui.datasets import passes
from sophia_tui.datasets.blocks import Block
from sophia_tui.datasets.fast import FastReader
from sophia_tui.datasets.tasks import Tell

Seen = TypeVar("Seen")
#: Lives in each process, as a probe does.
Look = Callable[[Block], Seen]


class _Reading(passes.Worker[passes.Range, tuple[int, Seen]], Generic[Seen]):
    def __init__(self, look: Look[Seen]) -> None:
        self._reader = FastReader()
        self._look = look

    def work(self, item: passes.Range) -> tuple[int, Seen]:
        _start, data = passes.lines_in(item)
        block = self._reader.read(data)
        return block.lines, self._look(block)


def looked(
    files: Sequence[tuple[Path, int]], look: Look[Seen], tell: Tell
) -> Generator[tuple[int, int, Seen], None, None]:
    """Of files, given with their sizes in bytes, block by block: the file's number, how many lines
    the block has, and what was seen in it. Raises DataError D306, D501."""
    total = sum(size for _path, size in files)
    parts = list(passes.ranges(files))
    dealt = passes.deal(parts, lambda _number: _Reading(look), passes.processes_for(total))
    done = 0
    for part, (lines, seen) in zip(parts, dealt, strict=True):
        yield part.file, lines, seen
        done += part.end - part.start
        tell("read", done, total)
