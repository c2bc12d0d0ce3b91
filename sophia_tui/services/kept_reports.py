"""What was found in files, kept while they are as they were: by what it is known, and when it
goes."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def file_states(paths: Iterable[str]) -> list[list[Any]]:
    """Path, size and time of change of each file; a file that is gone has the path alone."""
    found: list[list[Any]] = []
    for path in paths:
        try:
            state = Path(path).stat()
        except OSError:
            found.append([path])
            continue
        found.append([path, state.st_size, state.st_mtime_ns])
    return found


def key_of(identity: dict[str, Any]) -> str:
    """A name for what depends on this alone."""
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def sweep(folder: Path, pattern: str, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Remove the folders whose identity, in the files of this pattern, holds no longer."""
    for each in folder.glob(pattern):
        try:
            identity = json.loads(each.read_bytes())
        except FileNotFoundError:  # somebody else sweeps too
            continue
        if not holds(identity):
            shutil.rmtree(each.parent, ignore_errors=True)
