"""Files written whole or not at all. The one place that knows temporary file, fsync and rename."""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sophia_tui.errors import SetupError, SophiaError
from sophia_tui.i18n import _


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_problem(path: Path, problem: OSError) -> SophiaError:
    """The clear error for a file that could not be written."""
    remedy = _("Check the folder's owner and mode, then try again.")
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = _("Free disk space, then try again; nothing was changed.")
    return SetupError(
        "S101",
        _("{path} could not be written.").format(path=path),
        problem.strerror or str(problem),
        remedy,
    )


def temporary_beside(path: Path) -> Path:
    """A name in the same folder (so that the rename is atomic) that no glob of ours matches."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextlib.contextmanager
def whole_file(
    path: Path, mode: int = 0o600, like: os.stat_result | None = None
) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under `path` on success, and leaves no trace on failure.

    `mode` is the new file's mode; with `like` the owner, group and mode of that file are kept.
    Raises SetupError S101 where the file can't be written (disk full, read-only, no such folder).
    """
    path = Path(os.path.realpath(path))  # a link stays a link: its target is replaced
    temporary = temporary_beside(path)
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            if like is not None:
                with contextlib.suppress(PermissionError):  # only root may give a file away
                    os.fchown(stream.fileno(), like.st_uid, like.st_gid)
                mode = like.st_mode & 0o7777
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        _fsync_folder(path.parent)
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise write_problem(path, problem) from problem
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` to `path`, whole or not at all. Raises SetupError S101."""
    with whole_file(path, mode) as stream:
        stream.write(content)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder that appears under `path` on success, and leaves no trace on failure.

    Where `path` exists already (the same content-addressed version) it is kept and the new one
    dropped. Raises SetupError S101.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.mkdir(mode=0o700)
        yield temporary
        for name in temporary.iterdir():
            if name.is_file():
                with name.open("rb") as stream:
                    os.fsync(stream.fileno())
        _fsync_folder(temporary)
        try:
            os.rename(temporary, path)
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        _fsync_folder(path.parent)
    except OSError as problem:
        raise write_problem(path, problem) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _open_locked(path: Path, mode: int) -> int:
    """The file to append to, locked; opened again where it was renamed while we waited."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def append_line(path: Path, line: bytes, mode: int = 0o600) -> None:
    """Append one line with a single write and fsync; a torn last line is closed first.

    Writers take turns by a lock on the file. Raises SetupError S101.
    """
    try:
        handle = _open_locked(path, mode)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            whole = (b"\n" if torn else b"") + line.rstrip(b"\n") + b"\n"
            if os.write(handle, whole) < len(whole):
                os.ftruncate(handle, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as problem:
        raise write_problem(path, problem) from problem
