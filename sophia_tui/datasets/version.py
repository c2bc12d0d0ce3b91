"""Writes a data set version, datasets/<name>/<hash12>/, whole or not at all; and checks one.

The hash covers the canonical lines in the order of their own hash, the rejected records (as a sum,
so that their order does not count) and the steps with their settings; no path, name, time or host.
So the same rows give the same version from any files in any order.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sophia_tui.datasets import dedupe
from sophia_tui.datasets.rejections import Rejections
from sophia_tui.datasets.split import TEST, TRAIN, VALID, Split
from sophia_tui.errors import DataError
from sophia_tui.files import whole_folder
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
REJECTED = "rejected.jsonl"
PROVENANCE = "provenance.jsonl"
_PROGRESS_ROWS = 2000


@dataclass(frozen=True)
class Draft:
    """A version that lacks only its files. `kept` is the file of kept rows that dedupe packed."""

    hash: str
    kept: Path
    files: list[str]
    split: Split
    with_test: bool
    rejections: Rejections
    manifest: dict[str, Any]

    @property
    def parts(self) -> list[str]:
        return [TRAIN, VALID, TEST] if self.with_test else [TRAIN, VALID]


@dataclass(frozen=True)
class Written:
    """`folder` is None where nothing was to be written."""

    manifest: dict[str, Any]
    folder: Path | None
    existed: bool


def version_hash(steps: list[dict[str, Any]]) -> "hashlib._Hash":
    """The hash of a version, begun with its steps; the rows come next, then the rejections."""
    begun = json.dumps([FORMAT_VERSION, steps], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(begun.encode() + b"\n")


def write_version(
    draft: Draft, target: Path | None, progress: Callable[[str, int, int | None], None]
) -> Written:
    """Write the draft below `target`; where the version is there already, check and keep it.

    Raises SetupError S101 (disk full, read-only) and DataError D309 (the old one is damaged).
    """
    if target is None:
        return Written(_finished(draft, _count(draft), {}), None, existed=False)
    folder = target / draft.hash[:12]
    if folder.exists():
        return Written(check_version(folder, draft.hash), folder, existed=True)
    with whole_folder(folder) as temporary:
        counts, files = _write_files(draft, temporary, progress)
        manifest = _finished(draft, counts, files)
        text = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
        (temporary / MANIFEST).write_text(text, encoding="utf-8")
    return Written(manifest, folder, existed=False)


def check_version(folder: Path, full_hash: str | None = None) -> dict[str, Any]:
    """The manifest of a version whose files are as they were written. Raises DataError D309."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = full_hash is None or manifest["hash"] == full_hash
        for name, about in manifest["files"].items():
            with (folder / name).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            whole = whole and digest == about["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise DataError(
            "D309",
            _("The data set version in {folder} is damaged.").format(folder=visible(str(folder))),
            _("A file is missing, or is not as its manifest says."),
            _("Move the folder away, then prepare again: the version will be the same."),
        )
    return manifest


def _rows(draft: Draft) -> Iterator[tuple[str, dedupe.Row]]:
    with draft.kept.open("rb") as stream:
        for row in dedupe.unpack(stream):
            yield draft.split.side(row.place), row


def _count(draft: Draft) -> Counter[str]:
    return Counter(side for side, _row in _rows(draft))


class _Part:
    """One file of the version, hashed while it is written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.rows = 0
        self.bytes = 0

    def write(self, line: bytes) -> None:
        line += b"\n"
        self._stream.write(line)
        self._hash.update(line)
        self.rows += 1
        self.bytes += len(line)

    def about(self) -> dict[str, Any]:
        return {"rows": self.rows, "bytes": self.bytes, "sha256": self._hash.hexdigest()}


def _write_files(
    draft: Draft, folder: Path, progress: Callable[[str, int, int | None], None]
) -> tuple[Counter[str], dict[str, Any]]:
    counts: Counter[str] = Counter()
    total = draft.manifest["counts"]["rows_kept"]
    with ExitStack() as stack:
        parts = {
            name: _Part(stack.enter_context((folder / name).open("xb")))
            for name in [*(f"{part}.jsonl" for part in draft.parts), REJECTED, PROVENANCE]
        }
        for side, row in _rows(draft):
            parts[f"{side}.jsonl"].write(row.row)
            parts[PROVENANCE].write(_origin(draft, side, row))
            counts[side] += 1
            if counts.total() % _PROGRESS_ROWS == 0:
                progress("write", counts.total(), total)
        for line in draft.rejections.lines():
            parts[REJECTED].write(line)
    return counts, {name: part.about() for name, part in parts.items()}


def _origin(draft: Draft, side: str, row: dedupe.Row) -> bytes:
    entry: dict[str, Any] = {
        "hash": row.digest.hex(),
        "part": side,
        "file": draft.files[row.file],
        "line": row.line,
    }
    if row.source:
        entry["source"] = json.loads(row.source)
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()


def _finished(draft: Draft, counts: Counter[str], files: dict[str, Any]) -> dict[str, Any]:
    parts = {part: counts[part] for part in (TRAIN, VALID, TEST)}
    counted = {**draft.manifest["counts"], **parts}
    return {**draft.manifest, "hash": draft.hash, "counts": counted, "files": files}
