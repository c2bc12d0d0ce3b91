"""Exact duplicates among any number of rows in flat memory.

Two rows are the same when their canonical lines are (`formats.encode`): the same turns with the
same texts, however the lines are written, whatever their form, citations and metadata aside. That
is what preparing removes.

Each process that reads appends 24 bytes a row to parts on disk, by the first bits of the row's
fingerprint. Afterwards each part is sorted on its own; rows with equal fingerprints are read again
and compared: by the bytes of their lines, and where those differ by their canonical bytes.
"""

import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sophia_tui.datasets import formats
from sophia_tui.datasets.blocks import Block, Prints, Run
from sophia_tui.datasets.passes import Worker
from sophia_tui.datasets.reader import LineReader

if TYPE_CHECKING:
    import numpy

#: Bytes of files for each part, so that a part of short rows still sorts in little memory.
_PART_BYTES = 64 * 1024 * 1024
_MOST_PARTS = 256
_PIECE = 8192


def parts_for(total: int) -> int:
    """How many parts rows of so many bytes are kept in: a power of two."""
    return min(_MOST_PARTS, 1 << (total // _PART_BYTES).bit_length())


def _record() -> "numpy.dtype[Any]":
    import numpy

    return numpy.dtype([("key", "<u8"), ("at", "<u8"), ("file", "<u4"), ("line", "<u4")])


def _of_run(run: Run) -> "numpy.ndarray[Any, Any]":
    import numpy

    records = numpy.zeros(len(run.keys), _record())
    records["key"] = run.keys
    records["at"][0] = run.start
    records["at"][1:] = run.ends[:-1] + run.start + 1
    records["line"] = numpy.arange(run.first, run.first + len(run.keys))
    return records


def _of_rows(prints: Prints) -> "numpy.ndarray[Any, Any]":
    import numpy

    records = numpy.zeros(len(prints.keys), _record())
    records["key"] = numpy.array(prints.keys, numpy.uint64)
    records["at"] = prints.offsets
    records["line"] = prints.lines
    return records


class PrintsWriter:
    """Appends the fingerprints of blocks to the parts of one process. Writing raises OSError."""

    def __init__(self, folder: Path, process: int, parts: int) -> None:
        self._bits = parts.bit_length() - 1
        self._files = [
            open(folder / f"prints-{part:03}-{process:02}", "wb", buffering=1 << 16)  # noqa: SIM115
            for part in range(parts)
        ]

    def add(self, block: Block) -> None:
        import numpy

        records = numpy.concatenate([*map(_of_run, block.prints.runs), _of_rows(block.prints)])
        records["at"] += block.start
        records["file"] = block.file
        if not self._bits:
            self._files[0].write(records.tobytes())
            return
        part = records["key"] >> numpy.uint64(64 - self._bits)
        order = numpy.argsort(part, kind="stable")
        bounds = numpy.searchsorted(part[order], numpy.arange(len(self._files) + 1))
        records = records[order]
        for number, (start, end) in enumerate(pairwise(bounds.tolist())):
            if end > start:
                self._files[number].write(records[start:end].tobytes())

    def close(self) -> None:
        for each in self._files:
            each.close()


#: A row that is the same as an earlier one: its file and line, and those of the first.
Same = tuple[int, int, int, int]
#: From the file, the byte and the line in its block of a row: its line in the file.
LineOf = Callable[[int, int, int], int]


class Sifter(Worker[int, int]):
    """Finds in one part the rows that are the same as an earlier one, keeps them beside the part,
    and says how many they are."""

    def __init__(self, folder: Path, files: Sequence[Path], line_of: LineOf) -> None:
        self._folder = folder
        self._files = files
        self._line_of = line_of

    def work(self, item: int) -> int:
        import numpy

        parts = [
            numpy.fromfile(each, _record()) for each in self._folder.glob(f"prints-{item:03}-*")
        ]
        records = _alike(numpy.concatenate(parts))
        kept = self._folder / f"same-{item:03}"
        with ExitStack() as stack, kept.open("wb") as target:
            streams = [stack.enter_context(each.open("rb", buffering=0)) for each in self._files]
            same = numpy.fromiter(_confirmed(records, streams, self._line_of), _same())
            target.write(numpy.sort(same, order=["file", "line"]).tobytes())
        return len(same)


def _alike(records: "numpy.ndarray[Any, Any]") -> "numpy.ndarray[Any, Any]":
    """Those that share their fingerprint with another, by fingerprint, file and place."""
    import numpy

    order = numpy.argsort(records["key"], kind="stable")
    keys = records["key"][order]
    alike = numpy.flatnonzero(keys[1:] == keys[:-1])
    chosen = numpy.zeros(len(keys), bool)
    chosen[alike] = True
    chosen[alike + 1] = True
    records = records[order[chosen]]
    return records[numpy.lexsort((records["at"], records["file"], records["key"]))]


def all_same(folder: Path) -> Iterator[Same]:
    """What `same_in_part` found in all parts, in the order of files and lines."""
    return heapq.merge(*map(_kept, sorted(folder.glob("same-*"))))


def _kept(path: Path) -> Iterator[Same]:
    import numpy

    with path.open("rb") as stream:
        while piece := stream.read(_same().itemsize * 512):
            yield from numpy.frombuffer(piece, _same()).tolist()


def _same() -> "numpy.dtype[Any]":
    import numpy

    names = ("file", "line", "first_file", "first_line")
    return numpy.dtype([(each, "<u8") for each in names])


def _confirmed(
    records: "numpy.ndarray[Any, Any]", streams: Sequence[BinaryIO], line_of: LineOf
) -> Iterator[Same]:
    """Of rows in the order of fingerprint, file and place, those that really are the same."""
    firsts: list[tuple[int, int, bytes]] = []
    last: int | None = None
    for start in range(0, len(records), 4096):
        for key, at, file, line in records[start : start + 4096].tolist():
            raw = _line_at(streams[file], at)
            number = line_of(file, at, line)
            if key != last:
                last, firsts = key, [(file, number, raw)]
                continue
            for first_file, first_number, first_raw in firsts:
                if raw == first_raw or _canonical(raw) == _canonical(first_raw):
                    yield file, number, first_file, first_number
                    break
            else:
                firsts.append((file, number, raw))


def _line_at(stream: BinaryIO, at: int) -> bytes:
    """The line, without its end; the next piece is as long as all before."""
    line = os.pread(stream.fileno(), _PIECE, at)
    while b"\n" not in line:
        more = os.pread(stream.fileno(), max(_PIECE, len(line)), at + len(line))
        if not more:
            break
        line += more
    return line.partition(b"\n")[0]


def _canonical(raw: bytes) -> bytes:
    from io import BytesIO

    [line] = LineReader(BytesIO(raw))
    assert line.value is not None  # only usable rows have fingerprints
    return formats.encode(formats.convert(line.value))
