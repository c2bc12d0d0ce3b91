"""One worker for each data folder: a lock that the kernel frees when its holder dies."""

import fcntl
import os
from pathlib import Path

from sophia_tui.paths import Paths

LOCK_NAME = "worker.lock"


def lock_path(paths: Paths) -> Path:
    return paths.data / LOCK_NAME


class WorkerLock:
    """Held while a worker works; the file holds its pid for people."""

    def __init__(self, paths: Paths) -> None:
        self._path = lock_path(paths)
        self._handle: int | None = None

    def take(self) -> bool:
        """Whether we hold the lock now. Raises OSError where the data folder can't be written."""
        if self._handle is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def is_held(paths: Paths) -> bool:
    """Whether a worker of this data folder lives. Where another account's worker keeps the folder,
    nobody else can look, nor work in it: then it counts as held."""
    try:
        handle = os.open(lock_path(paths), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
