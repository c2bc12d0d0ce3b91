"""Passes over files: their lines are dealt out to processes as ranges of bytes, and what was found
comes back in the order of the files.

A line belongs to the range in which it begins, so that it does not matter where ranges are cut. The
processes are forked: the asking process may have no thread that holds a lock they need.
"""

import ctypes
import gc
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from sophia_tui.datasets.reader import MAX_LINE_BYTES
from sophia_tui.datasets.sources import unreadable
from sophia_tui.errors import DataError, SophiaError
from sophia_tui.i18n import _

#: Bytes of one range. A file of up to two is read in the asking process: a fork costs more.
RANGE_BYTES = 2 * 1024 * 1024
_PIECE = 1 << 16
_AHEAD = 8
#: Bytes that may be sent to a worker that does not read now: it may be sending what it found.
_UNREAD_BYTES = 16 * 1024
#: What a worker is sent instead of an item when there is no more.
_DONE = "done"
_PR_SET_PDEATHSIG = 1
# mallopt: what is larger is mapped anew each time, and what is free beyond that is given back.
# Ranges and what is made of them come and go: page by page that costs a third of the time.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 64 * 1024 * 1024

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Range:
    """Of a file (its number in the run) the lines that begin from byte `start` to before `end`."""

    file: int
    path: str
    start: int
    end: int


def ranges(files: Sequence[tuple[Path, int]], size: int = RANGE_BYTES) -> Iterator[Range]:
    """The ranges of files, given with their sizes in bytes, in the order of the files."""
    for number, (path, length) in enumerate(files):
        for start in range(0, length, size):
            yield Range(number, str(path), start, min(start + size, length))


def read_range(stream: BinaryIO, start: int, end: int) -> tuple[int, bytes]:
    """Where the first line begins that begins in the range, and all such lines, whole.

    Of a last line that is longer than may be read, only the beginning is kept.
    """
    offset = max(start - 1, 0)  # the byte before says whether a line begins at the first
    wanted = end - offset
    stream.seek(offset)
    data = stream.read(wanted + _PIECE)
    begin = data.find(b"\n") + 1 if start else 0
    if begin >= wanted or (start and not begin):
        return end, b""
    stop = data.find(b"\n", wanted - 1) + 1
    if stop or len(data) < wanted + _PIECE:
        return offset + begin, data[begin : stop or len(data)]
    pieces = [data[begin:]]
    kept = len(data) - max(data.rfind(b"\n") + 1, begin)
    while kept <= MAX_LINE_BYTES + 2 and (piece := stream.readline(_PIECE)):
        pieces.append(piece)
        kept += len(piece)
        if piece.endswith(b"\n"):
            break
    return offset + begin, b"".join(pieces)


def lines_in(part: Range) -> tuple[int, bytes]:
    """What `read_range` says of a range of a file. Raises DataError D306."""
    path = Path(part.path)
    try:
        with path.open("rb") as stream:
            return read_range(stream, part.start, part.end)
    except OSError as problem:
        raise unreadable(path, problem) from problem


def processes_for(total: int) -> int:
    """How many processes are worth their start for so many bytes; 1 is the asking one alone."""
    return 1 if total <= 2 * RANGE_BYTES else min(len(os.sched_getaffinity(0)), 64)


class Worker(Generic[Item, Found]):
    """What works in a process; made there. `close` is called once there is no more to do."""

    def work(self, item: Item) -> Found:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held open by default."""


def deal(
    items: Iterable[Item], make: Callable[[int], Worker[Item, Found]], processes: int
) -> Generator[Found, None, None]:
    """What a worker makes of each item, in the order of the items.

    `make(number)` is called once in each process and gives its worker. Only a few
    results wait for an earlier one. Raises what a worker raised, an OSError or an error of
    Sophia's; DataError D501 where one was ended from outside. Closing the generator ends the
    processes.
    """
    _keep_freed_memory()
    if processes == 1:
        worker = make(0)
        for item in items:
            yield worker.work(item)
        worker.close()
        return
    with _workers(make, processes) as connections:
        yield from _dealt(iter(items), connections)
        for connection in connections:
            _send(connection, pickle.dumps(_DONE))
        for connection in connections:
            _receive(connection)


def _keep_freed_memory() -> None:
    """For large pieces, to be used again; forked processes do as the one that asked."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _dealt(items: Iterator[Item], connections: list[Connection]) -> Generator[Any, None, None]:
    places: dict[Connection, list[int]] = {each: [] for each in connections}
    waiting: dict[int, Any] = {}
    given = told = 0
    written = map(pickle.dumps, items)
    item = next(written, None)
    while item is not None or told < given:
        for connection in sorted(connections, key=lambda each: len(places[each])):
            while (
                item is not None
                and _takes(len(places[connection]), item)
                and given - told < _AHEAD * len(connections)
            ):
                _send(connection, item)
                places[connection].append(given)
                given += 1
                item = next(written, None)
        for ready in wait([each for each in connections if places[each]]):
            assert isinstance(ready, Connection)  # nothing else is waited for
            waiting[places[ready].pop(0)] = _receive(ready)
        while told in waiting:
            yield waiting.pop(told)
            told += 1


def _takes(busy: int, item: bytes) -> bool:
    """Whether a worker that has so many items to do may be given one more. A large one waits until
    the worker reads: both ends would wait for each other while it sends what is large, too."""
    return not busy or (busy == 1 and len(item) <= _UNREAD_BYTES)


def _send(connection: Connection, item: bytes) -> None:
    try:
        connection.send_bytes(item)
    except OSError:
        raise _ended() from None


def _receive(connection: Connection) -> Any:
    try:
        failed, found = connection.recv()
    except (EOFError, OSError):
        raise _ended() from None
    if failed:
        raise found if isinstance(found, BaseException) else _told(found)
    return found


def _ended() -> DataError:
    return DataError(
        "D501",
        _("A process that reads data ended before it was done."),
        _("The machine may be short of memory."),
        _("Nothing was changed. Try again."),
    )


@contextmanager
def _workers(make: Callable[[int], Worker[Any, Any]], processes: int) -> Iterator[list[Connection]]:
    started: list[int] = []
    connections: list[Connection] = []
    try:
        for number in range(processes):
            ours, theirs = Pipe()
            asker = os.getpid()
            process = os.fork()
            if not process:
                for each in (*connections, ours):
                    each.close()
                _serve(theirs, make, number, asker)
            theirs.close()
            started.append(process)
            connections.append(ours)
        yield connections
    finally:
        for connection in connections:
            connection.close()
        for process in started:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _serve(
    connection: Connection, make: Callable[[int], Worker[Any, Any]], number: int, asker: int
) -> None:
    """The life of a worker. It ends with the process that asked, however that ends."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != asker:
            os._exit(1)
        gc.freeze()  # what the asking process left behind may need threads that are not here
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asking process ends us
        worker = make(number)
        while True:
            item = connection.recv()
            try:
                answer = (False, _done(worker, item))
            except OSError as problem:
                answer = (True, OSError(problem.errno, problem.strerror, problem.filename))
            except SophiaError as problem:
                answer = (True, {"kind": type(problem).__name__, **problem.as_dict()})
            connection.send(answer)
    except (EOFError, OSError):
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _done(worker: Worker[Any, Any], item: Any) -> Any:
    if item != _DONE:
        return worker.work(item)
    worker.close()
    return None


def _told(found: dict[str, Any]) -> SophiaError:
    from sophia_tui.datasets.process import raised

    return raised(found)
