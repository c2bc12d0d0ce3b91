"""Writes a data set version, datasets/<name>/<hash12>/, whole or not at all; and checks one.

The hash covers the bytes of each part, whose lines stand in the order of their own hash, the
rejected records (as a sum, so that their order does not count) and the steps with their settings;
no path, name, time or host. So the same rows give the same version from any files in any order.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sophia_tui.datasets.split import TEST, TRAIN, VALID
from sophia_tui.errors import DataError
from sophia_tui.files import whole_folder
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
REJECTED = "rejected.jsonl"
PROVENANCE = "provenance.jsonl"
PARTS = (TRAIN, VALID, TEST)
_COPY = 1 << 20


@dataclass(frozen=True)
class Written:
    """`folder` is None where nothing was to be written."""

    manifest: dict[str, Any]
    folder: Path | None
    existed: bool


class VersionFiles:
    """The files of a version while they are made, in an empty folder that is the caller's to
    remove. Writing raises OSError. A context manager."""

    def __init__(self, folder: Path, with_test: bool) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        parts = [TRAIN, VALID, TEST] if with_test else [TRAIN, VALID]
        names = [*(f"{part}.jsonl" for part in parts), REJECTED, PROVENANCE]
        self._parts = {name: _Part(folder / name) for name in names}

    def __enter__(self) -> "VersionFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_unused: object) -> None:
        for part in self._parts.values():
            part.close(quietly=kind is not None)

    def write(self, name: str, line: bytes) -> None:
        """One line, without its end."""
        self._parts[name].write(line + b"\n", 1)

    def append(self, name: str, piece: Path, rows: int) -> None:
        """All lines of another file, which is removed."""
        with piece.open("rb") as stream:
            while data := stream.read(_COPY):
                self._parts[name].write(data, 0)
        self._parts[name].rows += rows
        piece.unlink()

    def about(self) -> dict[str, dict[str, Any]]:
        """Rows, bytes and SHA-256 of each file."""
        return {name: part.about() for name, part in self._parts.items()}


class _Part:
    """One file of the version, hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("xb")
        self._hash = hashlib.sha256()
        self.rows = 0
        self.bytes = 0

    def write(self, data: bytes, rows: int) -> None:
        self._stream.write(data)
        self._hash.update(data)
        self.rows += rows
        self.bytes += len(data)

    def about(self) -> dict[str, Any]:
        return {"rows": self.rows, "bytes": self.bytes, "sha256": self._hash.hexdigest()}

    def close(self, quietly: bool) -> None:
        try:
            self._stream.close()
        except OSError:  # what could not be written was told by the write that failed
            if not quietly:
                raise


def version_hash(
    steps: list[dict[str, Any]], files: dict[str, dict[str, Any]], rejected: str
) -> str:
    """The hash of a version, of its steps, its files and the fingerprint of what was rejected."""
    parts = {part: files[f"{part}.jsonl"]["sha256"] for part in PARTS if f"{part}.jsonl" in files}
    whole = [FORMAT_VERSION, steps, parts, rejected]
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def keep_version(
    files: VersionFiles, manifest: dict[str, Any], rejected: str, target: Path | None
) -> Written:
    """Finish the manifest, and move the closed files below `target`; where the version is there
    already, check and keep that one.

    `manifest` lacks only the hash, the files and the counts of the parts. Raises SetupError S101
    (disk full, read-only) and DataError D309 (the old one is damaged).
    """
    about = files.about()
    rows = {part: about.get(f"{part}.jsonl", {"rows": 0})["rows"] for part in PARTS}
    manifest = {
        **manifest,
        "hash": version_hash(manifest["steps"], about, rejected),
        "counts": {**manifest["counts"], **rows},
        "files": about if target else {},
    }
    if target is None:
        return Written(manifest, None, existed=False)
    folder = target / manifest["hash"][:12]
    if folder.exists():
        return Written(check_version(folder, manifest["hash"]), folder, existed=True)
    with whole_folder(folder) as temporary:
        for name in about:
            shutil.move(files.folder / name, temporary / name)
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
        raise damaged(folder)
    return manifest


def damaged(folder: Path) -> DataError:
    """The clear error D309 for a version whose files are not as they were written."""
    return DataError(
        "D309",
        _("The data set version in {folder} is damaged.").format(folder=visible(str(folder))),
        _("A file is missing, or is not as its manifest says."),
        _("Move the folder away, then prepare again: the version will be the same."),
    )
