"""Files written whole or not at all. The one place that knows temporary file, fsync and rename."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
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


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_problem(path: Path, problem: OSError) -> SophiaError:
    """The clear error for a file that could not be written."""
    number = _cause(problem)
    remedy = _("Check the folder's owner and mode, then try again.")
    if number in _NO_ROOM:
        remedy = _("Free disk space, then try again; nothing was changed.")
    return SetupError(
        "S101",
        _("{path} could not be written.").format(path=path),
        os.strerror(number) if number else type(problem).__name__,
        remedy,
    )


def _cause(problem: OSError) -> int | None:
    """The system's error number. shutil tells many failures at once, as tuples of source, target
    and text: there the first one counts, and a full disk before all others."""
    if not isinstance(problem, shutil.Error):
        return problem.errno
    told = str(problem.args[0]) if problem.args else ""
    every = [*_NO_ROOM, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO]
    return next((number for number in every if os.strerror(number) in told), None)


def usable_folder(folder: Path) -> None:
    """Make one of Sophia's own folders where it is missing. Raises SetupError S102 where it can't
    be made or entered, S101 where the disk is full."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.stat(folder / ".")
    except OSError as problem:
        if problem.errno in _NO_ROOM:
            raise write_problem(folder, problem) from problem
        why = problem.strerror or type(problem).__name__
        if isinstance(problem, FileExistsError | NotADirectoryError):
            why = _("It, or a folder above it, is a file.")
        raise SetupError(
            "S102",
            _("The data folder {path} can't be used.").format(path=folder),
            why,
            _("Set SOPHIA_DATA_DIR to a folder that you may make and write to."),
        ) from problem


#: What `temporary_beside` names.
_TEMPORARY = re.compile(r"\..+\.[0-9]+-[0-9a-f]{8}\.tmp")


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


def replace_whole(path: Path, content: bytes) -> None:
    """As write_whole for whoever reads, and whatever kills us; but the disk is not waited for, so
    that a machine that loses its power may lose it too. Raises SetupError S101."""
    temporary = temporary_beside(path)
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(temporary, path)
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise write_problem(path, problem) from problem


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder that appears under `path` on success, and leaves no trace on failure.

    Where `path` exists already (the same content-addressed version) it is kept and the new one
    dropped. Raises SetupError S101.
    """
    with temporary_folder(path) as temporary:
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


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A new hidden folder beside `path`, gone at the end whatever happens; what a process left that
    was killed in here goes first. Raises SetupError S101 for every OSError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep_folders(path.parent)
        temporary, held = _held_folder(path)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(held)
    except OSError as problem:
        raise write_problem(path, problem) from problem


def _held_folder(path: Path) -> tuple[Path, int]:
    """A new temporary folder for `path`, and the lock that says as long as we live that it is
    being filled."""
    while True:
        temporary = temporary_beside(path)
        temporary.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):  # swept before we had the lock
            held = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(held, fcntl.LOCK_EX)
            if temporary.exists():
                return temporary, held
            os.close(held)


def _sweep_folders(parent: Path) -> None:
    """Remove temporary folders that nobody fills any more."""
    for left in parent.glob(".*.tmp"):
        if not _TEMPORARY.fullmatch(left.name):
            continue
        with contextlib.suppress(OSError):  # no folder, gone meanwhile, or being filled
            held = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(held)


def _open_or_make(path: Path, mode: int) -> tuple[int, bool]:
    """The file's descriptor, and whether it is a new file."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags), False
    except FileNotFoundError:
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, mode), True
        except FileExistsError:  # another writer was faster, or a link leads nowhere yet
            return os.open(path, flags | os.O_CREAT, mode), False


def open_locked(path: Path, mode: int = 0o600) -> tuple[int, bool]:
    """The file to append to, locked, and whether it is new; opened again where it was renamed or
    taken away while we waited."""
    while True:
        handle, new = _open_or_make(path, mode)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    return handle, new
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def append_line(
    path: Path, line: bytes, mode: int = 0o600, unless: Callable[[], bool] = lambda: False
) -> None:
    """Append one line with a single write and fsync; a torn last line is closed first.

    Writers, of other processes too, take turns by a lock on the file. `unless` is asked once the
    turn is ours: where it says yes, nothing is written. On failure the file is as it was, and a new
    one is taken away again. Raises SetupError S101.
    """
    try:
        handle, new = open_locked(path, mode)
        try:
            size = os.fstat(handle).st_size
            if unless():
                return
            try:
                _append(handle, size, line)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)
                if new and size == 0:
                    path.unlink(missing_ok=True)
                raise
        finally:
            os.close(handle)
    except OSError as problem:
        raise write_problem(path, problem) from problem


def _append(handle: int, size: int, line: bytes) -> None:
    torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
    whole = (b"\n" if torn else b"") + line.rstrip(b"\n") + b"\n"
    if os.write(handle, whole) < len(whole):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(handle)
