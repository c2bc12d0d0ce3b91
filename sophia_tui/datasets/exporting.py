"""Copies files of a data set version out of it, compressed where that is asked for."""

import hashlib
import os
from pathlib import Path
from typing import IO, Any

from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.errors import DataError
from sophia_tui.files import write_problem
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

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
                raise DataError(
                    "D309",
                    _("The data set version in {folder} is damaged.").format(
                        folder=visible(str(Path(source).parent))
                    ),
                    _("A file is missing, or is not as its manifest says."),
                    _("Move the folder away, then prepare again: the version will be the same."),
                )
            done += about["content_bytes"]
            written[Path(target).name] = about
        return written


def _copy(
    source: Path, target: Path, compression: str, tell: Tell, before: int, total: int
) -> dict[str, Any]:
    """Sizes and hashes of what was read (content_…) and of the file that was written."""
    content, content_bytes = hashlib.sha256(), 0
    with source.open("rb") as stream, target.open("xb") as file:
        packed = _packed(file, compression)
        while chunk := stream.read(_CHUNK):
            content.update(chunk)
            content_bytes += len(chunk)
            packed.write(chunk)
            tell("export", before + content_bytes, total)
        if packed is not file:
            packed.close()
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


def _packed(file: IO[bytes], compression: str) -> Any:
    """What compresses into `file`; the same content gives the same bytes (no name, no time)."""
    if compression == "gz":
        import gzip

        return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6)
    if compression == "zst":
        import zstandard

        return zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False)
    return file
