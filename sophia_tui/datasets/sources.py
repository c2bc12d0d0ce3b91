"""Which files of a folder are training data: its *.jsonl, and those of other kinds that are named.

Packed lines (.jsonl.gz, .jsonl.zst) and tables (.csv, .parquet) are read where they are asked for
by name: what else lies in the folder was never data, and an archive there must not become it.

Not taken: subfolders, hidden files, the history file, what is no regular file, and links whose
target lies outside the folder. What looks like data and was passed over is named.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sophia_tui.errors import DataError, NotFoundError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible


@dataclass(frozen=True)
class Passed:
    """A file that was not taken; `code` is hidden, history, link, special, folder, name or unasked
    (of a kind that is taken by name alone)."""

    file: str
    code: str


@dataclass(frozen=True)
class Selection:
    """Files in the order of their names, which is the order they are read in."""

    files: tuple[Path, ...]
    passed: tuple[Passed, ...]


#: The ends of names of the files that are taken by name.
BY_NAME = (".jsonl.gz", ".jsonl.zst", ".csv", ".csv.gz", ".csv.zst", ".parquet")


def select(
    folder: Path, names: Sequence[str], history: Path | None, plain: bool = False
) -> Selection:
    """The data files of a folder; with `names` only those; `plain`: *.jsonl alone.

    Raises DataError D301 to D304 (no folder, not readable, no data file) and NotFoundError D305.
    """
    taken: list[Path] = []
    passed: list[Passed] = []
    for name in _listing(folder):
        by_name = name.endswith(BY_NAME) and not plain
        if not by_name and not name.endswith(".jsonl"):
            continue
        path = folder / name
        code = _why_not(folder, path, history)
        if code is None and by_name and name not in names:
            code = "unasked"
        if code is None:
            taken.append(path)
        else:
            passed.append(Passed(_safe(name), code))
    if names:
        taken = _chosen(folder, taken, names)
    if not taken:
        raise DataError(
            "D304",
            _("There is no training data in {folder}.").format(folder=visible(str(folder))),
            _("No *.jsonl file lies directly in it; the history file is no data."),
            _("Name the files to use (`--files`).")
            if any(each.code == "unasked" for each in passed)
            else _("Collect first (`sophia collect`), or set FINETUNE_DIR to another folder."),
        )
    return Selection(tuple(taken), tuple(passed))


def _listing(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        raise DataError(
            "D301",
            _("The folder {folder} does not exist.").format(folder=visible(str(folder))),
            _("Training data is read from there."),
            _("Collect first (`sophia collect`), or set FINETUNE_DIR to another folder."),
        ) from None
    except NotADirectoryError:
        raise DataError(
            "D302",
            _("{folder} is not a folder.").format(folder=visible(str(folder))),
            remedy=_("Name the folder that the *.jsonl files lie in."),
        ) from None
    except OSError as problem:
        raise DataError(
            "D303",
            _("The folder {folder} can't be read.").format(folder=visible(str(folder))),
            problem.strerror or type(problem).__name__,
            _("Check its owner and mode."),
        ) from problem


def _why_not(folder: Path, path: Path, history: Path | None) -> str | None:
    if path.name.startswith("."):
        return "hidden"
    if path.name != _safe(path.name):
        return "name"  # not UTF-8: it could not be written into a manifest
    real = Path(os.path.realpath(path))
    if history is not None and real == Path(os.path.realpath(history)):
        return "history"
    if path.is_symlink() and real.parent != Path(os.path.realpath(folder)):
        return "link"
    try:
        mode = real.stat().st_mode
    except OSError:
        return "special"
    if stat.S_ISDIR(mode):
        return "folder"
    return None if stat.S_ISREG(mode) else "special"


def _safe(name: str) -> str:
    return name.encode("utf-8", "replace").decode("utf-8")


def _chosen(folder: Path, taken: list[Path], names: Sequence[str]) -> list[Path]:
    by_name = {path.name: path for path in taken}
    for name in names:
        if name not in by_name:
            raise NotFoundError(
                "D305",
                _("{file} is no data file of {folder}.").format(
                    file=visible(_safe(name)), folder=visible(str(folder))
                ),
                _(
                    "Data are *.jsonl files that lie directly in the folder, and by name "
                    "*.jsonl.gz, *.jsonl.zst, *.csv and *.parquet."
                ),
                _("Give the name alone, without folder."),
            )
    return [by_name[name] for name in sorted(set(names))]


def size_of(path: Path) -> int:
    """Bytes of a data file. Raises DataError D306."""
    try:
        return path.stat().st_size
    except OSError as problem:
        raise unreadable(path, problem) from problem


def unreadable(path: Path, problem: OSError) -> DataError:
    """The clear error D306 for a data file that can't be read."""
    return DataError(
        "D306",
        _("{file} can't be read.").format(file=visible(str(path))),
        problem.strerror or type(problem).__name__,
        _("Check its owner and mode, or name the files to use."),
    )
