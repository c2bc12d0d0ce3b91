"""The files of one collect: written beside their names, put in place together or not at all."""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO

from sophia_tui.errors import ConflictError
from sophia_tui.files import temporary_beside, write_problem
from sophia_tui.i18n import _
from sophia_tui.store.source_columns import EXPORTS

_BUFFER = 1024 * 1024
_LEFTOVER = re.compile(
    rf"\.({'|'.join(EXPORTS)})(\.rejected\.jsonl|\.jsonl|\.manifest\.json)"
    r"\.(?P<pid>\d+)-[0-9a-f]+\.tmp"
)


class StagedFile:
    """One file on its way. `hashed` files know their SHA-256 and length when they are finished."""

    def __init__(self, path: Path, mode: int, hashed: bool = False) -> None:
        self.path = Path(os.path.realpath(path))  # a link stays a link: its target is replaced
        self.bytes_written = 0
        self._mode = mode
        self._digest = hashlib.sha256() if hashed else None
        self._temporary = temporary_beside(self.path)
        try:
            handle = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as problem:
            raise write_problem(self.path, problem) from problem
        self._stream: IO[bytes] = os.fdopen(handle, "wb", buffering=_BUFFER)

    @property
    def sha256(self) -> str:
        assert self._digest is not None
        return self._digest.hexdigest()

    def write(self, content: bytes) -> None:
        """Raises SetupError S101."""
        try:
            self._stream.write(content)
        except OSError as problem:
            raise write_problem(self.path, problem) from problem
        self.bytes_written += len(content)
        if self._digest is not None:
            self._digest.update(content)

    def settle(self) -> None:
        """All of it on disk, under the temporary name."""
        try:
            self._stream.flush()
            os.fchmod(self._stream.fileno(), self._mode)
            os.fsync(self._stream.fileno())
            self._stream.close()
        except OSError as problem:
            raise write_problem(self.path, problem) from problem

    def place(self) -> None:
        try:
            os.replace(self._temporary, self.path)
        except OSError as problem:
            raise write_problem(self.path, problem) from problem

    def drop(self) -> None:
        with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
            self._stream.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


class Staging:
    """The files of one collect in one folder. An async context; `place` is the last call in it.

    Writing, hashing and fsync run in one thread beside the reader: they wait for the disk and give
    up the interpreter's lock. One process at a time collects into a folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder / "provenance"
        self._files: list[StagedFile] = []
        self._lock: IO[bytes] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="export")
        self._pending: Future[None] | None = None

    async def __aenter__(self) -> "Staging":
        self._take()
        self._clear()
        return self

    def _clear(self) -> None:
        """Take away what a collect left that was killed; the lock says that none is at work."""
        for folder in (self.folder, self.notes):
            for path in folder.glob(".*.tmp"):
                found = _LEFTOVER.fullmatch(path.name)
                if found and not Path("/proc", found["pid"]).exists():
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _take(self) -> None:
        """The folder is there and ours alone. Raises SetupError S101, ConflictError D112."""
        try:
            self.notes.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = open(self.notes / ".lock", "wb")  # noqa: SIM115  # held until the end
        except OSError as problem:
            raise write_problem(self.notes, problem) from problem
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ConflictError(
                "D112",
                _("Another collect is writing into {path}.").format(path=self.folder),
                remedy=_("Wait until it is done."),
            ) from None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        for each in self._files:
            each.drop()
        if self._lock is not None:
            self._lock.close()

    def open(self, path: Path, hashed: bool = False) -> StagedFile:
        """A file that will appear under `path`. Raises SetupError S101."""
        shared = self.folder.stat().st_mode & 0o2000  # a folder of a group: its members read on
        mode = 0o660 if shared else 0o600
        staged = StagedFile(path, mode, hashed)
        self._files.append(staged)
        return staged

    async def write(self, *pieces: tuple[StagedFile, bytes]) -> None:
        """Append to files while the caller goes on; waits for the write before. Raises S101."""
        await self._settled()
        self._pending = self._thread.submit(_write, pieces)

    async def _settled(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            if pending.done():
                pending.result()
            else:
                await asyncio.wrap_future(pending)

    async def settle(self, *files: StagedFile) -> None:
        """All of these files on disk, under their temporary names."""
        await self._settled()
        loop = asyncio.get_running_loop()
        for each in files:
            await loop.run_in_executor(self._thread, each.settle)

    def place(self) -> None:
        """Give all files their names, in the order in which they were opened."""
        for each in self._files:
            each.place()
        self._files.clear()
        for folder in (self.folder, self.notes):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _write(pieces: tuple[tuple[StagedFile, bytes], ...]) -> None:
    for staged, content in pieces:
        staged.write(content)
