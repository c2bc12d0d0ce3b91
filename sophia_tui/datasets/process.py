"""Runs the engine in a process of its own from an event loop: with progress, and with an end at any
moment that leaves everything as it was.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Any

import msgspec

import sophia_tui
from sophia_tui import errors
from sophia_tui.datasets.tasks import Task
from sophia_tui.domain.context import Context, Progress
from sophia_tui.errors import ConflictError, DataError, SophiaError
from sophia_tui.files import write_problem
from sophia_tui.i18n import N_, _
from sophia_tui.textsafe import visible

_PASSED_ON = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
_CANCEL_SECONDS = 0.1
_DYING_SECONDS = 0.5
_LINE_LIMIT = 64 * 1024 * 1024


#: How the stages of tasks are said to people, and what is counted in them.
STAGES = {
    "unpack": (N_("Unpacking"), N_("files")),
    "read": (N_("Reading"), N_("bytes")),
    "preview": (N_("Choosing a sample"), N_("bytes")),
    "sift": (N_("Finding duplicates"), N_("rows")),
    "write": (N_("Writing"), N_("rows")),
    "near": (N_("Comparing"), N_("rows")),
    "repair": (N_("Repairing"), N_("lines")),
    "seek": (N_("Searching"), N_("rows")),
    "index": (N_("Finding the lines"), N_("bytes")),
    "search": (N_("Searching"), N_("bytes")),
    "issues": (N_("Looking for issues"), N_("bytes")),
    "save": (N_("Saving"), N_("bytes")),
    "compare": (N_("Comparing"), N_("rows")),
    "export": (N_("Exporting"), N_("bytes")),
}


async def run_engine(
    task: Task,
    context: Context,
    keep_open: tuple[int, ...] = (),
    part: Callable[[Any], None] = lambda _part: None,
) -> Any:
    """The result of one task as plain data; `part` is given what a StreamingTask tells before.

    `keep_open` are file descriptors of locks that must live as long as the process. Raises what the
    engine raised, CancelledError U499 when asked to stop, DataError D311 when the process died.
    """
    context.cancel.check()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "sophia_tui.datasets",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_LINE_LIMIT,
        pass_fds=keep_open,
        start_new_session=True,
        env=_environment(),
    )
    try:
        assert process.stdin is not None  # asked for above
        process.stdin.write(encoded(task) + b"\n")
        with contextlib.suppress(ConnectionError):  # it died: told below
            await process.stdin.drain()
        async for message in _messages(process, context):
            if "progress" in message:
                context.progress(_progress(message["progress"]))
            elif "part" in message:
                part(message["part"])
            elif "error" in message:
                raise raised(message["error"])
            else:
                return message["result"]
        raise _died(await process.wait())
    finally:
        await _end(process)


def encoded(task: Task) -> bytes:
    """The task as one line of JSON, named so that the engine's process finds its kind."""
    kind = type(task)
    return msgspec.json.encode({"module": kind.__module__, "name": kind.__name__, "task": task})


def _environment() -> dict[str, str]:
    """The engine needs no secret of ours, so it gets none; and it finds this very package."""
    kept = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    root = str(Path(sophia_tui.__file__).resolve().parents[1])
    return {**kept, "PYTHONPATH": root, "PYTHONUTF8": "1"}


async def _messages(
    process: asyncio.subprocess.Process, context: Context
) -> AsyncIterator[dict[str, Any]]:
    assert process.stdout is not None
    reading = asyncio.ensure_future(process.stdout.readline())
    try:
        while True:
            done, _pending = await asyncio.wait({reading}, timeout=_CANCEL_SECONDS)
            context.cancel.check()
            if not done:
                continue
            line = reading.result()
            if not line.endswith(b"\n"):
                return
            yield msgspec.json.decode(line)
            reading = asyncio.ensure_future(process.stdout.readline())
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()
    await process.wait()


def _progress(told: dict[str, Any]) -> Progress:
    if told["stage"] not in STAGES:
        return Progress(told["stage"], told["done"], told["total"], "")
    stage, unit = STAGES[told["stage"]]
    return Progress(_(stage), told["done"], told["total"], _(unit))


def raised(told: dict[str, Any]) -> SophiaError:
    kind = getattr(errors, told["kind"], DataError)
    problem: SophiaError = kind(
        told["code"].removeprefix("SOPHIA-"),
        told["what"],
        told["why"],
        told["remedy"],
        **told["details"],
    )
    return problem


def _died(code: int) -> DataError:
    why = _("It ended with status {code}.").format(code=code)
    if code < 0:
        why = _("It was ended by signal {number}; the machine may be short of memory.").format(
            number=-code
        )
    return DataError(
        "D311",
        _("The process that prepares data ended before it was done."),
        why,
        _("Nothing was changed. Try again."),
    )


@contextlib.asynccontextmanager
async def locked(target: Path) -> AsyncIterator[int]:
    """Hold the right to write below datasets/<name>; yields the lock's descriptor.

    What killed processes left half done is swept first, of other data sets too, and at the end
    whatever is half done. A folder that is then empty goes too. Raises ConflictError D312 while
    another process has it.
    """
    with _open_lock(_lock_of(target)) as stream:
        if not await _taken(stream):
            raise ConflictError(
                "D312",
                _("The data set {name} is being prepared already.").format(
                    name=visible(target.name)
                ),
                remedy=_("Wait until that is done, or choose another name."),
            )
        try:
            _sweep(target)
            _sweep_others(target)
            yield stream.fileno()
        finally:
            _sweep(target)


async def _taken(stream: IO[bytes]) -> bool:
    """Whether the lock is ours now. One that was killed a moment ago may hold it by its workers
    for an instant longer."""
    import fcntl
    import time

    end = time.monotonic() + _DYING_SECONDS
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(0.02)


def _lock_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _open_lock(lock: Path) -> IO[bytes]:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return lock.open("ab")
    except OSError as problem:
        raise write_problem(lock, problem) from problem


def scratch_folder(target: Path) -> Path:
    """A new folder for spool files, beside the versions: the same disk, and swept with the lock."""
    scratch = target / f".spool.{os.getpid()}.tmp"
    try:
        scratch.mkdir(parents=True, mode=0o700)
    except OSError as problem:
        raise write_problem(scratch, problem) from problem
    return scratch


def _sweep(target: Path) -> None:
    for left in target.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    with contextlib.suppress(OSError):  # it holds versions, or never was there
        target.rmdir()


def _sweep_others(target: Path) -> None:
    """Other data sets that nobody works on: their rows must not lie about until they are prepared
    again, which may be never."""
    import fcntl

    for other in {left.parent for left in target.parent.glob("*/.*.tmp")}:
        with contextlib.suppress(OSError), _lock_of(other).open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sweep(other)
