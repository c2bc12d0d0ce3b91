"""Checkpoints, whole or not there: written aside, hashed, renamed; proved before they are used."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from finetune import schema
from finetune.failures import disk_full, is_disk_full
from finetune.files import sha256_of, sync_folder, write_bytes

_NAME = re.compile(r"^step-(\d+)$")
_UNFINISHED = ".unfinished-"


def checkpoint_name(step: int) -> str:
    """The folder's name, sorted by name as by step."""
    return f"step-{step:08d}"


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder of files, whole or not at all; one that was there is replaced.

    Raises a disk-full failure that has left nothing behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{_UNFINISHED}{target.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for name, content in files.items():
            write_bytes(temporary / name, content)
        sync_folder(temporary)
        _swap_in(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, Exception) and is_disk_full(error):
            raise disk_full(f"{target.parent.name}/{target.name} could not be written.") from error
        raise


def _swap_in(temporary: Path, target: Path) -> None:
    old = target.parent / f"{_UNFINISHED}old-{target.name}"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.rename(target, old)
    os.rename(temporary, target)
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def records_of(files: Mapping[str, bytes]) -> dict[str, schema.FileRecord]:
    """Size and SHA-256 of contents that are still to be written."""
    return {
        name: schema.FileRecord(bytes=len(content), sha256=sha256(content).hexdigest())
        for name, content in files.items()
    }


class CheckpointStore:
    """The checkpoints of a run folder."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep
        #: A step whose checkpoint is never dropped: that of the best validation.
        self.spared: int | None = None
        folder.mkdir(exist_ok=True)
        for left in folder.glob(f"{_UNFINISHED}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    def save(self, manifest: schema.CheckpointManifest, files: Mapping[str, bytes]) -> Path:
        """Write a checkpoint, then drop those beyond the number to keep (oldest first).

        That of the step `spared` stays, beside that number.
        """
        target = self._folder / checkpoint_name(manifest.step)
        text = (manifest.model_dump_json(indent=2) + "\n").encode("utf-8")
        write_folder(target, {**files, schema.CHECKPOINT_MANIFEST_FILE: text})
        plain = [step for step in self.steps() if step != self.spared]
        for step in plain[: -self._keep]:
            shutil.rmtree(self._folder / checkpoint_name(step))
        return target

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        matches = (_NAME.match(path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def last_good(
        self, fingerprint: str, on_unusable: Callable[[int, str, str], None]
    ) -> tuple[tuple[schema.CheckpointManifest, Path] | None, bool]:
        """The newest checkpoint of this training whose files are what they were.

        Broken ones that stand before it are moved aside, and so are those of another training, if
        there is a good one; `on_unusable` gets step, reason and the name that it has now under
        checkpoints/. Returns also whether there are any of another training.
        """
        foreign: list[int] = []
        found: tuple[schema.CheckpointManifest, Path] | None = None
        for step in reversed(self.steps()):
            path = self._folder / checkpoint_name(step)
            try:
                manifest = _proved(path)
            except _Unusable as problem:
                on_unusable(step, str(problem), self._move_aside(path, problem.kind))
                continue
            if manifest.run_fingerprint == fingerprint:
                found = manifest, path
                break
            foreign.append(step)
        if found is not None:
            for step in foreign:
                name = self._move_aside(self._folder / checkpoint_name(step), "foreign")
                on_unusable(step, "it belongs to another training", name)
        return found, bool(foreign)

    def proved(self, step: int) -> Path | None:
        """The folder of a step's checkpoint, if its files are what they were."""
        path = self._folder / checkpoint_name(step)
        try:
            _proved(path)
        except _Unusable:
            return None
        return path

    def set_aside_all(self) -> list[str]:
        """Move all checkpoints out of the way, for a run that begins anew; returns new names."""
        return [
            self._move_aside(self._folder / checkpoint_name(step), "superseded")
            for step in self.steps()
        ]

    def _move_aside(self, path: Path, why: str = "corrupt") -> str:
        number = 1
        while (target := self._folder / f"{why}-{path.name}-{number}").exists():
            number += 1
        os.rename(path, target)
        sync_folder(self._folder)
        return target.name


class _Unusable(Exception):
    """A checkpoint is not what its manifest says, or of a layout that can't be read."""

    def __init__(self, reason: str, kind: str = "corrupt") -> None:
        super().__init__(reason)
        self.kind = kind


def _proved(path: Path) -> schema.CheckpointManifest:
    try:
        manifest = schema.read_document(
            path / schema.CHECKPOINT_MANIFEST_FILE, schema.CheckpointManifest
        )
    except schema.ContractError as error:
        raise _Unusable("its manifest cannot be read") from error
    if manifest.layout != schema.CHECKPOINT_LAYOUT:
        raise _Unusable("another version of the program wrote it", "outdated")
    for name, record in manifest.files.items():
        try:
            same = sha256_of(path / name) == record.sha256
        except OSError as error:
            raise _Unusable(f"{name}: {error.strerror}") from error
        if not same:
            raise _Unusable(f"{name} is not what was written")
    return manifest
