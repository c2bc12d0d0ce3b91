"""What is asked of the browser of data files, and what it answers."""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_, _
from sophia_tui.services.views import MOST_ROWS

_MOST_LINES = 100_000_000_000
_MOST_BYTES = 1 << 62


def places_of(text: str, wanted: str, regex: bool, match_case: bool) -> list[tuple[int, int]]:
    """Where a text as people read it holds what `prepare.search` looks for: beginning and end of
    each place. Raises UsageError D566 for a pattern that can't be searched for."""
    from sophia_tui.datasets.search import places

    return places(text, wanted, regex, not match_case)


class FileInput(Input):
    file: str = Field(
        description=N_(
            "The file: a path, or the name of one in FINETUNE_DIR (over HTTP only that)."
        )
    )


class LinesInput(Input):
    file: str = Field(
        description=N_(
            "The file: a path, or the name of one in FINETUNE_DIR (over HTTP only that); with a "
            "part, a data set version."
        )
    )
    part: Literal["train", "valid", "test", "rejected"] | None = Field(
        default=None, description=N_("This part of the data set version that FILE names.")
    )


class BrowseInput(LinesInput):
    line: int = Field(default=1, ge=1, le=_MOST_LINES, description=N_("The first line to show."))
    count: int = Field(default=50, ge=1, le=500, description=N_("How many at most."))
    at: int | None = Field(
        default=None,
        ge=0,
        le=_MOST_BYTES,
        description=N_("Go on at this byte, where an earlier page ended (next_at)."),
    )
    exact: bool = Field(
        default=False,
        description=N_(
            "Read as far as it takes to be exact: an index of the file's lines is built and kept, "
            "a compressed file is read from its beginning. Else a distant line is estimated."
        ),
    )
    issue: Literal["next", "previous"] | None = Field(
        default=None,
        description=N_("From the line on, go to the next or previous one that can't be used."),
    )
    code: str | None = Field(
        default=None, max_length=60, description=N_("Only issues with this code.")
    )
    chars: int = Field(
        default=2000,
        ge=0,
        le=40_000_000,
        description=N_("Characters of each record at most; 0: all."),
    )


class IssueView(Output):
    code: str = Field(title=N_("Code"))
    reason: str = Field(title=N_("Reason"))

    def __str__(self) -> str:
        return self.code


class RecordView(Output):
    """One line as it stands, edits put in. `chars` is the whole text's length, `bytes` that of the
    line in the file, its end included: of a line that is too long only the beginning is read."""

    table_columns: ClassVar[tuple[str, ...]] = ("line", "codes", "question", "answer")
    as_is: ClassVar[frozenset[str]] = frozenset({"line", "at"})

    line: int = Field(title=N_("Line"))
    at: int = Field(title=N_("Byte"))
    codes: list[str] = Field(title=N_("Issues"))
    issues: list[IssueView] = Field(title=N_("Reasons"))
    usable: bool = Field(title=N_("Usable"))
    edited: bool = Field(title=N_("Edited"))
    edited_by: str | None = Field(default=None, title=N_("Edited by"))
    edited_at: datetime | None = Field(default=None, title=N_("Edited at"))
    question: str = Field(title=N_("Question"))
    answer: str = Field(title=N_("Answer"))
    text: str = Field(title=N_("Record"))
    chars: int = Field(title=N_("Characters"))
    bytes: int | None = Field(default=None, title=N_("Bytes"))


class EditsView(Output):
    """What stands beside the file. `stale`: the file changed since."""

    version: int = Field(title=N_("Version"))
    records: int = Field(title=N_("Edited records"))
    can_undo: int = Field(title=N_("To undo"))
    can_redo: int = Field(title=N_("To redo"))
    stale: bool = Field(title=N_("File changed since"))


class BrowseOutput(Output):
    """A page of a file. `lines` is known once an index stands or the end was seen; until then
    `lines_about` says how many there may be. `exact` False: the line numbers are estimates.
    `inspection_outdated`: the kept inspections of the file are all of an earlier state of it."""

    as_is: ClassVar[frozenset[str]] = frozenset({"next_line", "next_at"})

    file: str = Field(title=N_("File"))
    compression: str | None = Field(default=None, title=N_("Compressed"))
    bytes: int = Field(title=N_("Bytes"))
    lines: int | None = Field(default=None, title=N_("Lines"))
    lines_about: int | None = Field(default=None, title=N_("Lines, about"))
    exact: bool = Field(title=N_("Exact"))
    found: bool = Field(default=True, title=N_("Found"))
    next_line: int | None = Field(default=None, title=N_("Next line"))
    next_at: int | None = Field(default=None, title=N_("Next byte"))
    edits: EditsView | None = Field(default=None, title=N_("Edits"))
    inspection_outdated: bool = Field(default=False, title=N_("Inspected in an earlier state"))
    items: list[RecordView] = Field(title=N_("Records"))

    def remarks(self) -> list[str]:
        found = []
        if not self.exact:
            found.append(
                _("The line numbers are estimates; --exact reads the file once and keeps an index.")
            )
        if not self.found:
            found.append(_("There is no such issue from there on."))
        if self.compression:
            found.append(_("It is no plain file: it is read from its beginning, without jumps."))
        if self.edits and self.edits.stale:
            found.append(_("The file changed since records of it were edited; no edit is shown."))
        if self.inspection_outdated:
            found.append(
                _(
                    "The file changed since it was inspected: what only an inspection knows is not "
                    "shown. `sophia prepare inspect` reads it again."
                )
            )
        return found


class SearchInput(LinesInput):
    text: str = Field(
        min_length=1,
        max_length=1000,
        description=N_("What to look for, however it is written in JSON."),
    )
    regex: bool = Field(
        default=False, description=N_("It is a regular expression (RE2), not plain text.")
    )
    match_case: bool = Field(
        default=False, description=N_("Capital and small letters are different.")
    )
    line: int = Field(default=1, ge=1, le=_MOST_LINES, description=N_("Begin with this line."))
    backwards: bool = Field(
        default=False,
        description=N_("Look before LINE, the nearest first; beyond the last line is the end."),
    )
    count: bool = Field(
        default=False, description=N_("Count all lines that hold it: the whole file is read.")
    )
    limit: int = Field(default=100, ge=1, le=500, description=N_("How many at most."))


class SearchHit(Output):
    """A line that holds it: the first place in it, with what stands around."""

    as_is: ClassVar[frozenset[str]] = frozenset({"line"})

    line: int = Field(title=N_("Line"))
    before: str = Field(title=N_("Before"))
    found: str = Field(title=N_("Found"))
    after: str = Field(title=N_("After"))


class SearchOutput(Output):
    """`next_line` is where to go on, where lines are left that were not looked at (`more`). Where
    they were counted, `total` lines hold it, `passed` of them before the line that was asked for.
    """

    as_is: ClassVar[frozenset[str]] = frozenset({"next_line"})

    file: str = Field(title=N_("File"))
    more: bool = Field(title=N_("More"))
    next_line: int | None = Field(default=None, title=N_("Next line"))
    total: int | None = Field(default=None, title=N_("Lines that hold it"))
    passed: int | None = Field(default=None, title=N_("Of these before the line"))
    items: list[SearchHit] = Field(title=N_("Lines"))


class EditInput(FileInput):
    private: ClassVar[frozenset[str]] = frozenset({"record"})
    piped: ClassVar[frozenset[str]] = frozenset({"record"})

    line: int = Field(ge=1, le=_MOST_LINES, description=N_("The record's line."))
    record: str = Field(
        min_length=1,
        description=N_(
            "The record as it is to be: one JSON object. At the command line it is read from "
            "standard input where it is left out, or -."
        ),
    )
    seen_version: int | None = Field(
        default=None,
        ge=0,
        le=MOST_ROWS,
        description=N_("The version of the edits that you saw; a later edit of the line refuses."),
    )


class EditOutput(Output):
    as_is: ClassVar[frozenset[str]] = frozenset({"line"})

    file: str = Field(title=N_("File"))
    line: int = Field(title=N_("Line"))
    before: str = Field(title=N_("Before"))
    after: str = Field(title=N_("After"))
    usable: bool = Field(title=N_("Usable"))
    issues: list[IssueView] = Field(title=N_("Issues"))
    edits: EditsView = Field(title=N_("Edits"))


class UndoInput(FileInput):
    redo: bool = Field(default=False, description=N_("Do again what was undone last."))
    all: bool = Field(default=False, description=N_("Drop every edit of the file."))
    seen_version: int | None = Field(
        default=None,
        ge=0,
        le=MOST_ROWS,
        description=N_("The version of the edits that you saw; anything done since refuses."),
    )


class UndoOutput(Output):
    """`what` is undone, redone, dropped or nothing; who made the edit that is meant, and the record
    before and after it was taken back or done again."""

    as_is: ClassVar[frozenset[str]] = frozenset({"line"})

    file: str = Field(title=N_("File"))
    what: str = Field(title=N_("What happened"))
    line: int | None = Field(default=None, title=N_("Line"))
    edited_by: str | None = Field(default=None, title=N_("Edited by"))
    edited_at: datetime | None = Field(default=None, title=N_("Edited at"))
    before: str | None = Field(default=None, title=N_("Before"))
    after: str | None = Field(default=None, title=N_("After"))
    edits: EditsView = Field(title=N_("Edits"))


class SaveInput(FileInput):
    to: str | None = Field(
        default=None, description=N_("Write a new file of this name; the original stays.")
    )
    replace: bool = Field(
        default=False,
        description=N_("Put the edited file in the original's place; a copy of that is kept."),
    )


class SaveOutput(Output):
    """`kept` is where the original is kept, where it was replaced."""

    file: str = Field(title=N_("File"))
    saved_as: str = Field(title=N_("Saved as"))
    records: int = Field(title=N_("Edited records"))
    kept: str | None = Field(default=None, title=N_("Original"))
