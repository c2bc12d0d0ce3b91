"""Edits of single records beside a data file: the editor opened, an edit taken or taken back."""

from collections.abc import Callable
from functools import partial
from typing import Any

from sophia_tui.i18n import _
from sophia_tui.services.browse_views import RecordView, UndoOutput
from sophia_tui.textsafe import visible_lines
from sophia_tui.tui import words
from sophia_tui.tui.diff_text import compared
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.screens.browser_ways import WaysScreen

#: Characters of what was edited that the line of news has.
_TOLD = 60


class EditsScreen(WaysScreen):
    """A browser whose records can be edited."""

    #: What was opened last to edit a record.
    editor: SophiaScreen | None = None

    def edits(self) -> dict[str, Callable[[], None]]:
        """The acts that edit, by name."""
        return {
            "edit": self.edit,
            "undo": partial(self._take_back, redo=False),
            "redo": partial(self._take_back, redo=True),
        }

    def edit(self) -> None:
        row = self.shown
        if row is None:
            return
        if "part" in self.of or self.data.compression:
            self.say(
                _(
                    "A version never changes: {key} goes to the file it was made of; edit it there."
                ).format(key=self._source_key())
                if "part" in self.of
                else _("This is no plain file: convert it first to edit it.")
            )
            return
        if not self.data.exact:
            self.say(_("The line is an estimate: x makes it exact, then edit."))
            return
        if not self.sophia.may("prepare.edit"):
            self.say(_("You may not edit."))
            return
        self._work("edit", self._open_editor(row.data))

    def _source_key(self) -> str:
        """The key that leads to the file, however it is bound."""
        return next(each.shown for each in self.known_keys() if each.target == "act.source")

    async def _open_editor(self, record: RecordView) -> None:
        from sophia_tui.tui.screens.editor import LONGEST, EditorScreen

        if record.chars > LONGEST:
            self.say(_("The record is too long to be edited here."))
            return
        asked = {**self.of, "line": record.line, "at": record.at, "count": 1, "chars": 0}
        found: Any = await self.sophia.call("prepare.browse", asked)
        if found.items:
            version = found.edits.version if found.edits else 0
            self.editor = EditorScreen(
                self.sophia, self, str(self.of["file"]), found.items[0], version
            )
            self.sophia.show(self.editor)

    def edited(self, told: str) -> None:
        """An edit was taken: look again, and say so."""
        self.told_of = None
        self.refresh_now()
        self.say(told)

    def _take_back(self, redo: bool) -> None:
        if not self.sophia.may("prepare.undo"):
            self.say(_("You may not edit."))
            return
        self._work("undo", self._undo(redo))

    async def _undo(self, redo: bool) -> None:
        asked: dict[str, Any] = {"file": self.of["file"], "redo": redo}
        if self.data and self.data.edits:
            asked["seen_version"] = self.data.edits.version
        done: Any = await self.sophia.call("prepare.undo", asked)
        told = {
            "undone": _("The edit of line {line} is undone."),
            "redone": _("The edit of line {line} is done again."),
        }.get(done.what, _("There is nothing to take back or to do again."))
        self.edited(self._taken_back(done, told.format(line=done.line)))

    def _taken_back(self, done: UndoOutput, told: str) -> str:
        """What an undo took back: whose it was, and what the record says now in place of what."""
        if done.edited_by is not None:
            when = words.age(self.sophia.now(), done.edited_at)
            told += " " + _("It was made by {who}, {when}.").format(who=done.edited_by, when=when)
        cut = self.sophia.glyphs.cut
        if changed := _first_words(done.before or "", done.after or "", cut):
            told += f"\n{changed}"
        return visible_lines(told)


def _first_words(before: str, after: str, cut: str) -> str:
    """The first place in which words differ, which tells the edit; blanks alone where no word
    does. A side that has nothing there is left out."""
    places = [(old, new) for same, old, new in compared(before, after) if not same]
    chosen = next((each for each in places if "".join(each).strip()), places[0] if places else None)
    if chosen is None:
        return ""
    was, now = (each if len(each) <= _TOLD else each[:_TOLD] + cut for each in chosen)
    return " ".join(filter(None, (was and f"[-{was}-]", now and f"{{+{now}+}}")))
