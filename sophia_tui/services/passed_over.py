"""Files that were not read, and why, in words."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sophia_tui.domain.operations import Output
from sophia_tui.i18n import N_, _
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.datasets.sources import Passed

_WHY = {
    "hidden": N_("hidden files are no data"),
    "history": N_("the history file is no data"),
    "link": N_("a link that leads out of the folder is not followed"),
    "special": N_("it is no regular file"),
    "folder": N_("it is a folder"),
    "name": N_("its name is not UTF-8"),
    "unasked": N_("packed files and tables are read when they are named"),
}


class PassedFile(Output):
    """`code` is hidden, history, link, special, folder, name or unasked."""

    table_columns: ClassVar[tuple[str, ...]] = ("file", "reason")
    machine_only: ClassVar[frozenset[str]] = frozenset({"code"})

    file: str = Field(title=N_("File"))
    code: str = Field(title=N_("Code"))
    reason: str = Field(title=N_("Reason"))


def why(code: str) -> str:
    """In the active language; a code that is not known here as it is."""
    return _(_WHY[code]) if code in _WHY else visible(code)


def passed_files(passed: "Iterable[Passed]") -> list[PassedFile]:
    return [PassedFile(file=each.file, code=each.code, reason=why(each.code)) for each in passed]


def not_read(file: str, code: str) -> str:
    """As a sentence."""
    return _("{file} was not read: {why}.").format(file=visible(file), why=why(code))
