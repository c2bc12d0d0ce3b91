"""Copies files of a data set version out of it, compressed where that is asked for."""

import hashlib
import os
from pathlib import Path
from typing import Any

from sophia_tui.datasets.compressed import packing
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.datasets.version import damaged
from sophia_tui.files import write_problem

_CHUNK = 1 << 20
#: Compression by the end of a file's name.
SUFFIXES = {"none": "", "gz": ".gz", "zst": ".zst"}


class ExportTask(Task):
    """Copy `files` (source, target, and the source's SHA-256 where it is known)."""

    files: list[tuple[str, str, str | None]]
    compression: str

    def run(self, tell: Tell) -> Any:
        total = sum(os.path.getsize(source) for source, _target, _sha in self.files)
        done = 0
        written: dict[str, dict[str, Any]] = {}
        for source, target, expected in self.files:
            try:
                about = _copy(Path(source), Path(target), self.compression, tell, done, total)
            except OSError as problem:
                raise write_problem(Path(target), problem) from problem
            if expected is not None and about["content_sha256"] != expected:
                raise damaged(Path(source).parent)
            done += about["content_bytes"]
            written[Path(target).name] = about
        return written


def _copy(
    source: Path, target: Path, compression: str, tell: Tell, before: int, total: int
) -> dict[str, Any]:
    """Sizes and hashes of what was read (content_…) and of the file that was written."""
    content, content_bytes = hashlib.sha256(), 0
    with source.open("rb") as stream, target.open("xb") as file:
        with packing(file, SUFFIXES[compression]) as packed:
            while chunk := stream.read(_CHUNK):
                content.update(chunk)
                content_bytes += len(chunk)
                packed.write(chunk)
                tell("export", before + content_bytes, total)
        file.flush()
        os.fsync(file.fileno())
    with target.open("rb") as stream:
        written = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "bytes": target.stat().st_size,
        "sha256": written,
        "content_bytes": content_bytes,
        "content_sha256": content.hexdigest(),
    }
