"""Files that root reads and replaces for others: no link is followed, nothing unsafe is touched.

Every folder from / on is opened by the descriptor of the one above it, without following links, and
must belong to root (or to the declared owner) and be writable by nobody else. The file must be a
regular one with one name. What replaces it is written beside it, by the same folder's descriptor,
and renamed over it: at every moment the old file or the new one is there, whole.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sophia_tui.errors import ConflictError, PromotionError, RefusedError, SetupError, SophiaError
from sophia_tui.i18n import _

#: The largest env file, in bytes.
MOST_BYTES = 256 * 1024
#: How many old contents of a file are kept.
KEPT_BACKUPS = 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: What the kernel computes of a file's bytes; never ours to copy.
_MEASURED = frozenset({"security.ima", "security.evm"})
_ROOT = frozenset({0})


@dataclass(frozen=True)
class Place:
    """An open folder, and the file's name in it."""

    folder: int
    name: str
    path: str
    owners: frozenset[int]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def unsafe(path: str, why: str) -> RefusedError:
    return RefusedError(
        "P055",
        _("{path} is left alone by the root helper.").format(path=path),
        why,
        _("Declare a file that is safe: `sophia env declare --help` says which is."),
    )


@contextlib.contextmanager
def place(path: str, owners: frozenset[int] = _ROOT) -> Iterator[Place]:
    """The file's folder, opened step by step. `owners` are the accounts it may belong to.

    Raises RefusedError P055.
    """
    above, _sign, name = path.rpartition("/")
    handle = os.open("/", _FOLDER)
    try:
        here = "/"
        for part in above.split("/")[1:]:
            _require_folder(handle, here, owners, last=False)
            here = os.path.join(here, part)
            deeper = _open_folder(part, handle, here)
            os.close(handle)
            handle = deeper
        _require_folder(handle, here, owners, last=True)
        yield Place(handle, name, path, owners)
    finally:
        os.close(handle)


def _open_folder(part: str, above: int, here: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=above)
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.ENOTDIR):
            raise unsafe(here, _("It is a link, or no folder.")) from None
        raise unsafe(here, problem.strerror or "") from problem


def _require_folder(handle: int, here: str, owners: frozenset[int], last: bool) -> None:
    found = os.fstat(handle)
    if found.st_uid not in owners | _ROOT:
        raise unsafe(here, _("The folder belongs to another account."))
    # in a folder like /tmp nobody but root moves what is root's
    sticky = not last and found.st_uid == 0 and found.st_mode & stat.S_ISVTX
    if found.st_mode & 0o022 and not sticky:
        raise unsafe(here, _("Others than its owner may write to the folder."))


def _require_file(found: os.stat_result, where: Place) -> None:
    reasons = (
        (stat.S_ISLNK(found.st_mode), _("It is a link.")),
        (not stat.S_ISREG(found.st_mode), _("It is no regular file.")),
        (found.st_nlink != 1, _("It has more than one name (hard links).")),
        (found.st_uid not in where.owners | _ROOT, _("The file belongs to another account.")),
        (found.st_mode & 0o002, _("Everybody may write to the file.")),
        (found.st_mode & 0o7000, _("It has a special bit (setuid, setgid, sticky).")),
        (found.st_dev != os.fstat(where.folder).st_dev, _("Something is mounted over it.")),
        (found.st_size > MOST_BYTES, _("It is larger than {n} bytes.").format(n=MOST_BYTES)),
    )
    for wrong, why in reasons:
        if wrong:
            raise unsafe(where.path, why)


def _open_file(where: Place) -> int:
    """The file's descriptor. It is looked at before it is opened: to open a device may act."""
    try:
        looked = os.open(where.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=where.folder)
        try:
            first = os.fstat(looked)
        finally:
            os.close(looked)
        _require_file(first, where)
        handle = os.open(where.name, _FILE, dir_fd=where.folder)
    except OSError as problem:
        raise unsafe(where.path, problem.strerror or "") from problem
    try:
        found = os.fstat(handle)
        _require_file(found, where)
        if not os.path.samestat(first, found):
            raise _changed(where.path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _content(handle: int, where: Place) -> bytes:
    parts = []
    left = MOST_BYTES + 1
    while left and (part := os.read(handle, left)):
        parts.append(part)
        left -= len(part)
    if not left:
        raise unsafe(where.path, _("It is larger than {n} bytes.").format(n=MOST_BYTES))
    return b"".join(parts)


def read(path: str, owners: frozenset[int] = _ROOT) -> bytes:
    """A safe file's content. Raises RefusedError P055, ConflictError P056."""
    with place(path, owners) as where:
        handle = _open_file(where)
        try:
            return _content(handle, where)
        finally:
            os.close(handle)


def replace(
    path: str,
    owners: frozenset[int],
    expected: str,
    content: bytes,
    approve: Callable[[bytes], None],
) -> None:
    """Replace a safe file whose sha256 is `expected`; owner, mode, access list and extended
    attributes stay. `approve` is given the old content before anything is written.

    The caller holds the lock. Raises RefusedError P055, ConflictError P056, PromotionError P059 and
    what `approve` raises, and the file is as it was then; SetupError S450 where it is the new one.
    """
    with place(path, owners) as where:
        handle = _open_file(where)
        try:
            before = os.fstat(handle)
            if not before.st_mode & 0o222:
                raise unsafe(path, _("It is read-only: its owner did not mean it to be changed."))
            old = _content(handle, where)
            if digest(old) != expected:
                raise _changed(path)
            approve(old)
            try:
                _put(where, handle, before, content)
            except OSError as problem:
                raise cannot_write(path, problem) from problem
        finally:
            os.close(handle)


def _put(where: Place, like: int, before: os.stat_result, content: bytes) -> None:
    # always the same and never too long, so that the next writer finds what a killed one left
    temporary = f".{digest(where.name.encode())[:16]}.sophia-helper"
    with contextlib.suppress(FileNotFoundError):  # what a killed helper left; the lock is ours
        os.unlink(temporary, dir_fd=where.folder)
    handle = os.open(temporary, _NEW, 0o600, dir_fd=where.folder)
    try:
        try:
            _write(handle, content)
            os.fchown(handle, before.st_uid, before.st_gid)
            os.fchmod(handle, stat.S_IMODE(before.st_mode))
            for name in os.listxattr(like):
                if name not in _MEASURED:
                    os.setxattr(handle, name, os.getxattr(like, name))
            os.fsync(handle)
            now = os.stat(where.name, dir_fd=where.folder, follow_symlinks=False)
            if _identity(now) != _identity(before):
                raise _changed(where.path)
            os.rename(temporary, where.name, src_dir_fd=where.folder, dst_dir_fd=where.folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=where.folder)
            raise
    finally:
        os.close(handle)
    try:
        os.fsync(where.folder)
    except OSError as problem:
        raise SetupError(
            "S450",
            _("{path} is written, but its disk did not confirm it.").format(path=where.path),
            problem.strerror or type(problem).__name__,
            _("Look at the disk (`dmesg`), then at the file."),
        ) from problem


def _identity(found: os.stat_result) -> tuple[int, ...]:
    """What changes when somebody else writes or replaces the file."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)


def _write(handle: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]


def keep(folder: str, path: str, content: bytes) -> str:
    """Keep an old content, readable by root alone; only the newest ones stay. Its name.

    Raises PromotionError P059, RefusedError P055.
    """
    kind = f"{digest(path.encode())[:16]}-{path.rpartition('/')[2][:40]}."
    name = f"{kind}{time.time_ns():020d}"
    try:
        with place(f"{folder}/{name}") as where:
            handle = os.open(name, _NEW, 0o600, dir_fd=where.folder)
            try:
                _write(handle, content)
                os.fsync(handle)
            except BaseException:
                os.unlink(name, dir_fd=where.folder)
                raise
            finally:
                os.close(handle)
            every = sorted(each for each in os.listdir(where.folder) if each.startswith(kind))
            for each in every[:-KEPT_BACKUPS]:
                os.unlink(each, dir_fd=where.folder)
            os.fsync(where.folder)
    except OSError as problem:
        raise cannot_write(f"{folder}/{name}", problem) from problem
    return name


@contextlib.contextmanager
def locked(folder: str, seconds: float) -> Iterator[None]:
    """One writer at a time. Raises ConflictError P060 where another one takes too long."""
    deadline = time.monotonic() + seconds
    with place(f"{folder}/lock") as where:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open("lock", flags, 0o600, dir_fd=where.folder)
        try:
            while not _taken(handle):
                if time.monotonic() > deadline:
                    raise ConflictError(
                        "P060",
                        _("Another change by the root helper is going on."),
                        remedy=_("Try again in a minute."),
                    )
                time.sleep(0.02)
            yield
        finally:
            os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _changed(path: str) -> ConflictError:
    return ConflictError(
        "P056",
        _("{path} was changed by somebody else just now.").format(path=path),
        remedy=_("Look at it again, then try again."),
    )


def cannot_write(path: str, problem: OSError) -> SophiaError:
    """The error for a file that stays as it was since the new one could not be written."""
    return PromotionError(
        "P059",
        _("{path} could not be written; it is as it was.").format(path=path),
        problem.strerror or type(problem).__name__,
        _("Mend the cause, then try again."),
    )
