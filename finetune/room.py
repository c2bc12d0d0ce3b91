"""Room on the disk, asked for before something large is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from finetune.failures import WorkFailure
from finetune.files import sync_folder

#: Beside what is written: events, logs, and what others write meanwhile.
SPARE_BYTES = 64 << 20


def free_bytes(folder: Path) -> int:
    """What this account may still write there."""
    return shutil.disk_usage(folder).free


def require_room(folder: Path, needed: int, what: str) -> None:
    """Raises WorkFailure 524 where `needed` bytes and some spare ones are not free."""
    free = free_bytes(folder)
    if free < needed + SPARE_BYTES:
        raise WorkFailure(
            524,
            f"The disk has no room for {what}.",
            f"It takes {needed} bytes and {SPARE_BYTES} to spare; {free} are free under {folder}.",
            "Free space there (`sophia setup prune`), or let SOPHIA_DATA_DIR name a larger disk; "
            "then start the run again. Nothing was written.",
        )


def drop_leftovers(folder: Path, pattern: str, drop: Callable[[Path], object]) -> None:
    """Remove what an attempt that was killed left half-written."""
    for path in sorted(folder.glob(pattern)):
        drop(path)
    sync_folder(folder)
