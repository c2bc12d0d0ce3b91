"""The files of one collect: written beside their names, put in place together or not at all."""

import contextlib
import fcntl
import os
import re
from pathlib import Path
from types import TracebackType
from typing import IO

from sophia_tui.errors import ConflictError
from sophia_tui.files import temporary_beside, write_problem
from sophia_tui.i18n import _
from sophia_tui.store.source_columns import EXPORTS

_LEFTOVER = re.compile(
    rf"\.({'|'.join(EXPORTS)})(\.rejected\.jsonl|\.jsonl|\.manifest\.json)"
    r"\.(?P<pid>\d+)-[0-9a-f]+\.tmp"
)


class StagedFile:
    """One file on its way, under a temporary name beside its own."""

    def __init__(self, path: Path, mode: int) -> None:
        self.path = Path(os.path.realpath(path))  # a link stays a link: its target is replaced
        self.temporary = temporary_beside(self.path)
        try:
            handle = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(handle, mode)
            os.close(handle)
        except OSError as problem:
            raise write_problem(self.path, problem) from problem

    def write(self, content: bytes) -> None:
        """All of a small file, on disk. Raises SetupError S101."""
        try:
            with self.temporary.open("r+b") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as problem:
            raise write_problem(self.path, problem) from problem

    def place(self) -> None:
        try:
            os.replace(self.temporary, self.path)
        except OSError as problem:
            raise write_problem(self.path, problem) from problem

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self.temporary.unlink(missing_ok=True)


class Staging:
    """The files of one collect in one folder. A context; `place` is the last call in it.

    One process at a time collects into a folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder / "provenance"
        self._files: list[StagedFile] = []
        self._lock: IO[bytes] | None = None
        self._made: list[Path] = []  # folders, the innermost first

    def __enter__(self) -> "Staging":
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
        lock = self.notes / ".lock"
        try:
            self._made = [each for each in (self.notes, *self.notes.parents) if not each.exists()]
            self.notes.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = open(lock, "wb")  # noqa: SIM115  # held until the end
        except OSError as problem:
            self._leave_no_folder()
            raise write_problem(self.notes, problem) from problem
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._lock.fileno()), os.stat(lock)):
                raise BlockingIOError  # who had it has just taken it away, and another is here
        except OSError:
            self._lock.close()
            raise ConflictError(
                "D112",
                _("Another collect is writing into {path}.").format(path=self.folder),
                remedy=_("Wait until it is done."),
            ) from None

    def _leave_no_folder(self) -> None:
        """Take away the folders that we made and that nothing came into."""
        with contextlib.suppress(OSError):
            for each in self._made:
                each.rmdir()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self._files:
            each.drop()
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (self.notes / ".lock").unlink()
            self._lock.close()
        self._leave_no_folder()

    def open(self, path: Path) -> StagedFile:
        """A file that will appear under `path`. Raises SetupError S101."""
        shared = self.folder.stat().st_mode & 0o2000  # a folder of a group: its members read on
        mode = 0o660 if shared else 0o600
        staged = StagedFile(path, mode)
        self._files.append(staged)
        return staged

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
