"""Writes a COPY export as true JSON Lines: in the original's place, the original kept beside it."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sophia_tui.datasets.copy_export import END_OF_DATA, Verdict, judge, unescape
from sophia_tui.datasets.reader import MAX_LINE_BYTES
from sophia_tui.datasets.sources import unreadable
from sophia_tui.errors import ConflictError
from sophia_tui.files import whole_file, write_problem
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

#: Appended to the original's name, which then no longer ends in .jsonl: it is no data any more.
SUFFIX = ".copy-export"


@dataclass(frozen=True)
class Repaired:
    """`original` is where the damaged file is kept; None where nothing was (or is to be) done."""

    file: str
    verdict: Verdict
    lines: int
    lines_changed: int
    original: str | None


def repair_file(
    path: Path, suspected: bool, dry_run: bool, progress: Callable[[int], None] = lambda lines: None
) -> Repaired:
    """Repair one file if it is a COPY export for certain, or with `suspected` perhaps.

    Raises DataError D306 (unreadable), ConflictError D310 (an original is kept already), SetupError
    S101 (not writable); then everything is as it was.
    """
    try:
        verdict = judge(path, MAX_LINE_BYTES)
        wanted = verdict is Verdict.CERTAIN or (suspected and verdict is Verdict.SUSPECTED)
        lines, changed = _count(path) if wanted else (0, 0)
    except OSError as problem:
        raise unreadable(path, problem) from problem
    if not wanted or dry_run:
        return Repaired(path.name, verdict, lines, changed, None)
    kept = path.with_name(path.name + SUFFIX)
    _keep(path, kept)
    try:
        with path.open("rb") as source, whole_file(path, like=path.stat()) as stream:
            for number, line in enumerate(source, start=1):
                if line.strip() != END_OF_DATA:
                    stream.write(_one_line(line))
                if number % 2000 == 0:
                    progress(number)
    except BaseException:
        kept.unlink()
        raise
    return Repaired(path.name, verdict, lines, changed, str(kept))


def _one_line(line: bytes) -> bytes:
    """The repaired line. A line feed of COPY's own stands between JSON tokens, so a blank does."""
    ending = b"\n" if line.endswith(b"\n") else b""
    return unescape(line.removesuffix(b"\n")).replace(b"\n", b" ").replace(b"\r", b" ") + ending


def _count(path: Path) -> tuple[int, int]:
    lines = changed = 0
    with path.open("rb") as stream:
        for line in stream:
            lines += 1
            changed += b"\\" in line
    return lines, changed


def _keep(path: Path, kept: Path) -> None:
    try:
        os.link(path, kept)
    except FileExistsError:
        raise ConflictError(
            "D310",
            _("{file} exists already.").format(file=visible(str(kept))),
            _("It is the original of an earlier repair."),
            _("Move it away, then repair again."),
        ) from None
    except OSError:  # a file system without hard links
        try:
            shutil.copy2(path, kept)
        except OSError as problem:
            kept.unlink(missing_ok=True)
            raise write_problem(kept, problem) from problem
