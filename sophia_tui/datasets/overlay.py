"""Edits of single records, kept beside a file that is not touched: a journal that is only added to.

Each entry says what was done (edit, undo, redo), by whom, when, and of which state of the file.
Undo and redo are entries, too, so nothing that was typed is lost. A journal begins anew when its
edits are saved into the file or dropped: their texts are gone from it then.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from sophia_tui.datasets.codes import Unusable, explain
from sophia_tui.datasets.index import Stamp, changed, index_path, stamp_of
from sophia_tui.datasets.reader import MAX_LINE_BYTES, parse
from sophia_tui.datasets.sources import unreadable
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.errors import ConflictError, DataError
from sophia_tui.files import (
    append_line,
    open_locked,
    usable_folder,
    whole_file,
    write_problem,
    write_whole,
)
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

_COPY = 1 << 20


@dataclass(frozen=True)
class Edit:
    """One record as it was edited. `number` is the journal's entry; `at` and `length` are the
    line's bytes in the file, line end included, `sha256` theirs."""

    number: int
    line: int
    at: int
    length: int
    sha256: str
    text: str
    by: str
    on: str


@dataclass(frozen=True)
class Overlay:
    """What stands: by line the newest edit. `version` counts entries, also those before `base`,
    when edits were saved or dropped last; `stale` that the file is no longer the one that was
    edited."""

    edits: dict[int, Edit]
    history: tuple[Edit, ...]
    undone: tuple[Edit, ...]
    version: int
    base: int
    stale: bool


def journal_path(folder: Path, path: Path) -> Path:
    return folder / f"{index_path(folder, path).stem}.jsonl"


def read_overlay(folder: Path, path: Path, stamp: Stamp) -> Overlay:
    """The edits of a file that stand. Raises DataError D306 for a journal that can't be read."""
    journal = journal_path(folder, path)
    try:
        lines = journal.read_bytes().split(b"\n")
    except FileNotFoundError:
        lines = []
    except OSError as problem:
        raise unreadable(journal, problem) from problem
    standing: list[Edit] = []
    undone: list[Edit] = []
    known = stamp.digest.hex()
    version, base, stale = 0, 0, False
    for raw in filter(None, lines):
        version += 1
        try:
            entry = json.loads(raw)
        except ValueError:  # torn by a power cut: nobody was told that it stands
            continue
        if entry["do"] == "edit":
            standing.append(Edit(number=version, **entry["edit"]))
            undone.clear()
            stale = entry["stamp"] != known
        elif entry["do"] == "undo" and standing:
            undone.append(standing.pop())
        elif entry["do"] == "redo" and undone:
            standing.append(undone.pop())
        elif entry["do"] == "begin":
            version = base = entry["base"]
    newest = {edit.line: edit for edit in standing}
    stale = stale and bool(standing)
    return Overlay(newest, tuple(standing), tuple(undone), version, base, stale)


def add_entry(
    folder: Path, path: Path, entry: dict[str, Any], unless: Callable[[Overlay], bool]
) -> bool:
    """Write one entry once it is our turn, unless something speaks against it then: False.

    Raises ConflictError D561 where the file is no longer the one of the entry, SetupError S101,
    S102.
    """
    usable_folder(folder)
    journal = journal_path(folder, path)
    refused = False

    def against() -> bool:
        nonlocal refused
        with path.open("rb") as stream:
            stamp = stamp_of(stream)
        if stamp.digest.hex() != entry.get("stamp", stamp.digest.hex()):
            raise changed(path)
        overlay = read_overlay(folder, path, stamp)
        refused = unless(overlay)
        if not refused and entry["do"] == "drop":
            _begin_anew(journal, overlay.version, entry)
            return True  # that was it
        return refused

    append_line(journal, msgspec.json.encode(entry), unless=against)
    return not refused


def _begin_anew(journal: Path, version: int, why: dict[str, Any]) -> None:
    """Leave nothing of what was edited, but that something was: who saw it is told so."""
    kept = {**why, "do": "begin", "base": version + 1}
    write_whole(journal, msgspec.json.encode(kept) + b"\n")


def stale_problem(path: Path) -> ConflictError:
    return ConflictError(
        "D563",
        _("{file} changed since records of it were edited.").format(file=visible(str(path))),
        _("The edits may not fit its lines any more; they are kept."),
        _("Put the file back as it was, or drop the edits (`sophia prepare undo --all`)."),
    )


def read_record(path: Path) -> bytes:
    """A record that was written into a file. Raises DataError D564 where it is too long."""
    with path.open("rb") as stream:
        raw = stream.read(MAX_LINE_BYTES + 2)
    if len(raw.rstrip()) > MAX_LINE_BYTES:
        raise _no_record(explain("too_long", {"limit": MAX_LINE_BYTES}), {"problem": "too_long"})
    return raw


def one_line(text: str | bytes) -> bytes:
    """A record that a person wrote, as the line of a file: what was typed on one line stays so.

    Raises DataError D564 with what is wrong with it.
    """
    try:
        raw = text.strip() if isinstance(text, bytes) else text.strip().encode()
        value = parse(raw)
    except UnicodeEncodeError:
        raise _no_record(explain("surrogate"), {"problem": "surrogate"}) from None
    except Unusable as unusable:
        problem = unusable.problem
        told = {"problem": problem.code, **problem.details}
        raise _no_record(explain(problem.code, problem.details), told) from None
    if b"\n" in raw or b"\r" in raw:
        raw = json.dumps(value, ensure_ascii=False).encode()
    if len(raw) > MAX_LINE_BYTES:
        raise _no_record(explain("too_long", {"limit": MAX_LINE_BYTES}), {"problem": "too_long"})
    return raw


def _no_record(why: str, details: dict[str, Any]) -> DataError:
    return DataError(
        "D564",
        _("This is no record: the edit was not taken."),
        why,
        _("Write one JSON object."),
        **details,
    )


class SaveTask(Task):
    """Write the file with its edits under another name, or in its place with the original kept
    as `kept`. Tells how many records were put in."""

    path: str
    folder: str
    target: str
    kept: str | None

    def run(self, tell: Tell) -> Any:
        path, folder = Path(self.path), Path(self.folder)
        with _journal_held(journal_path(folder, path)) as journal:
            try:
                with path.open("rb") as source:
                    stamp = stamp_of(source)
                    overlay = read_overlay(folder, path, stamp)
                    if overlay.stale:
                        raise stale_problem(path)
                    self._write(source, path, stamp, overlay, tell)
            except OSError as problem:
                raise unreadable(path, problem) from problem
            if self.kept is not None:
                _begin_anew(journal, overlay.version, {})
        return {"records": len(overlay.edits)}

    def _write(
        self, source: BinaryIO, path: Path, stamp: Stamp, overlay: Overlay, tell: Tell
    ) -> None:
        with whole_file(Path(self.target), like=os.fstat(source.fileno())) as target:
            done = 0
            for edit in sorted(overlay.edits.values(), key=lambda each: each.at):
                self._copy(source, target, done, edit.at, stamp.size, tell)
                source.seek(edit.at)
                old = source.read(edit.length)
                if hashlib.sha256(old).hexdigest() != edit.sha256:
                    raise stale_problem(path)
                body = old.removesuffix(b"\n").removesuffix(b"\r")
                target.write(edit.text.encode() + old[len(body) :])
                done = edit.at + edit.length
            self._copy(source, target, done, stamp.size, stamp.size, tell)
            with path.open("rb") as now:
                if stamp_of(now) != stamp:
                    raise changed(path)
            if self.kept is not None:
                _keep(path, Path(self.kept))

    def _copy(
        self, source: BinaryIO, target: Any, start: int, end: int, size: int, tell: Tell
    ) -> None:
        source.seek(start)
        while start < end:
            data = source.read(min(_COPY, end - start))
            if not data:
                raise changed(Path(self.path))
            target.write(data)
            start += len(data)
            tell("save", start, size)


@contextlib.contextmanager
def _journal_held(journal: Path) -> Iterator[Path]:
    """While the edits are saved nobody adds one that would be lost with the journal."""
    handle, _new = open_locked(journal)
    try:
        yield journal
    finally:
        os.close(handle)


def _keep(path: Path, kept: Path) -> None:
    """The original under a second name, before the first one is given to the new file."""
    try:
        os.link(path, kept)
    except FileExistsError:
        raise ConflictError(
            "D565",
            _("{file} exists already.").format(file=visible(str(kept))),
            _("Nothing is written over."),
            _("Choose another name, or move it away."),
        ) from None
    except OSError:  # a file system without hard links
        try:
            shutil.copy2(path, kept)
        except OSError as problem:
            with contextlib.suppress(OSError):
                kept.unlink()
            raise write_problem(kept, problem) from problem
