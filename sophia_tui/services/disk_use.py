"""What lies in the data folder and how large it is, by kind. Reads, follows no link."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sophia_tui.i18n import number


@dataclass(frozen=True)
class Size:
    """Bytes that files take on the disk, and how many files."""

    bytes: int = 0
    files: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.bytes + other.bytes, self.files + other.files)


def size_of(path: Path) -> Size:
    """Of a file or folder; nothing where it is not there or may not be read."""
    try:
        found = path.lstat()
    except OSError:
        return Size()
    if not stat.S_ISDIR(found.st_mode):
        return Size(found.st_blocks * 512, 1)
    total = Size()
    for folder, names, files in os.walk(path, followlinks=False):
        for name in (*files, *(each for each in names if os.path.islink(Path(folder, each)))):
            total += size_of(Path(folder, name))
    return total


def newest_change(path: Path) -> float:
    """When anything directly in it changed last, in seconds of the epoch; 0 where unknown."""
    try:
        times = [path.lstat().st_mtime]
        if path.is_dir() and not path.is_symlink():
            times += [each.lstat().st_mtime for each in path.iterdir()]
    except OSError:
        return 0.0
    return max(times)


def shown_size(count: float) -> str:
    """Bytes for people, in powers of 1,000."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{number(value, 0 if unit == 'B' else 1)} {unit}"
        value /= 1000
    return f"{number(value, 1)} TB"
