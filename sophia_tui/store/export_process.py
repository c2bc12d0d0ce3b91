"""Starts the process that writes the lines, feeds it, and ends it at any moment."""

import asyncio
import contextlib
import fcntl
import os
import sys
from pathlib import Path
from types import TracebackType

import msgspec

import sophia_tui
from sophia_tui.domain.context import Context
from sophia_tui.errors import DataError, SophiaError
from sophia_tui.files import write_problem
from sophia_tui.i18n import _
from sophia_tui.store.export_shapes import BEGIN, FINISH, HEAD, ROWS, Begin, Done, Failed, Shape

#: What may wait between the reader and the writer, so that neither stands still for the other.
WAITING_BYTES = 8 * 1024 * 1024
_PIPE_BYTES = 1024 * 1024
_LOOK_SECONDS = 0.1
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH")


class WritingProcess:
    """The process, for all exports of one collect. An async context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._process: asyncio.subprocess.Process | None = None
        self._paths: tuple[Path, ...] = ()

    async def __aenter__(self) -> "WritingProcess":
        root = str(Path(sophia_tui.__file__).resolve().parents[1])
        kept = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "sophia_tui.store.export_writer",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for the reader, which then ends this one
            env={**kept, "PYTHONPATH": root, "PYTHONUTF8": "1"},  # no secret of ours
        )
        transport = self._input.transport
        transport.set_write_buffer_limits(high=WAITING_BYTES)
        with contextlib.suppress(OSError, AttributeError):
            pipe = transport.get_extra_info("pipe")
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._input.close()
        with contextlib.suppress(ConnectionError):
            await self._input.wait_closed()
        await self._process.wait()

    @property
    def _input(self) -> asyncio.StreamWriter:
        assert self._process is not None and self._process.stdin is not None
        return self._process.stdin

    async def begin(self, shape: Shape, files: tuple[tuple[Path, str], ...]) -> None:
        """Start one export. `files`: the path (for errors) and the temporary name of each."""
        self._paths = tuple(path for path, _name in files)
        names = tuple(name for _path, name in files)
        order = Begin(shape, self._context.language, names if len(names) == 3 else None)
        await self._send(BEGIN, 0, msgspec.json.encode(order))

    async def feed(self, values: bytes, columns: int) -> None:
        """Hand a batch over. Raises SetupError S101 where the disk refuses."""
        await self._send(ROWS, columns, values)

    async def finish(self) -> Done:
        """End one export; its files are on disk then. Raises SetupError S101, DataError D114."""
        await self._send(FINISH, 0, b"")
        return await self._answer()

    async def _send(self, kind: bytes, columns: int, content: bytes) -> None:
        self._input.write(HEAD.pack(kind, columns, len(content)))
        self._input.write(content)
        try:
            await self._input.drain()
        except ConnectionError:
            await self._answer()  # it says why, then ends

    async def _answer(self) -> Done:
        assert self._process is not None and self._process.stdout is not None
        reading = asyncio.ensure_future(self._process.stdout.readline())
        try:
            while not (await asyncio.wait({reading}, timeout=_LOOK_SECONDS))[0]:
                self._context.cancel.check()
        finally:
            if not reading.done():
                reading.cancel()
        answer = msgspec.json.decode(reading.result() or b"null", type=Done | Failed | None)
        if isinstance(answer, Done):
            return answer
        raise self._problem(answer)

    def _problem(self, answer: Failed | None) -> SophiaError:
        if answer is not None:
            problem = OSError(answer.number, os.strerror(answer.number))
            return write_problem(self._paths[answer.file], problem)
        return DataError(
            "D114",
            _("The process that writes the export ended."),
            _("It was killed, or the memory was not enough."),
            _("Nothing was changed. Try again; if it stays, look into the system's log."),
        )
