"""Edits one record as JSON, over the browser; the file itself is not touched."""

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from textual.content import Content
from textual.widget import Widget
from textual.widgets import TextArea

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.services.browse_views import RecordView
from sophia_tui.textsafe import HOSTILE, visible
from sophia_tui.tui import keys
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.screens.confirm import QuestionScreen
from sophia_tui.tui.widgets.field import Area
from sophia_tui.tui.widgets.plate import Plate, error_text

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

#: Characters of the longest record that is edited on a terminal.
LONGEST = 200_000
_DRAFT = "prepare.edit"


class Browser(Protocol):
    """What takes note of an edit."""

    def edited(self, told: str) -> None: ...


class EditorScreen(SophiaScreen):
    """F2 takes the edit, esc leaves it; what was typed and not taken is kept as a draft."""

    CSS_PATH = "editor.tcss"
    scopes: tuple[str, ...] = ("editor",)

    def __init__(
        self, sophia: "Console", browser: Browser, file: str, record: RecordView, version: int
    ) -> None:
        super().__init__(sophia)
        self._browser = browser
        self._file = file
        self._record = record
        self._version = version
        draft = sophia.state.draft(_DRAFT)
        self._start = editable(record.text)
        mine = draft.get("file") == file and str(draft.get("line")) == str(record.line)
        self._draft = str(draft["record"]) if mine and draft.get("record") else ""

    def heading(self) -> str:
        return _("Line {line}").format(line=self._record.line)

    def body(self) -> Iterable[Widget]:
        yield Plate(
            _("The record as JSON. The file changes only when the edits are saved."), id="about"
        )
        area = Area(
            self._draft or self._start,
            id="record",
            classes="body",
            theme="css",
            show_line_numbers=False,
            soft_wrap=True,
            compact=True,
        )
        area.cursor_blink = False
        yield area
        yield Plate(id="outcome")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#record", TextArea).focus()
        if self._draft:
            self.say(_("Your draft from before is here."))

    def footer(self) -> list[keys.Key]:
        return keys.while_typing(super().footer())

    @property
    def typed(self) -> str:
        return self.query_one("#record", TextArea).text

    @property
    def dirty(self) -> bool:
        return bool(self.query("#record")) and self.typed != self._start

    def keep_draft(self) -> None:
        if self.dirty:
            kept = {"file": self._file, "line": str(self._record.line), "record": self.typed}
            self.sophia.state.keep_draft(_DRAFT, kept)

    def on_text_area_changed(self) -> None:
        self.query_one("#outcome", Plate).draw("")  # it was of what stood there before

    def act(self, name: str) -> bool:
        if name == "run":
            work: Any = self._take
            self.run_worker(work, name="edit", group="edit", exclusive=True)
            return True
        if name == "back" and self.dirty:
            self._ask_to_leave()
            return True
        return False

    def copied(self) -> str:
        return self.typed

    def _ask_to_leave(self) -> None:
        def answered(leave: bool | None) -> None:
            if leave:
                self.sophia.state.drop_draft(_DRAFT)
                self._start = self.typed
                self.sophia.go("act.back", self)

        question = Content(_("What you typed was not taken over (F2 does). Leave it?"))
        self.app.push_screen(QuestionScreen(question, _("Leave")), answered)

    async def _take(self) -> None:
        outcome = self.query_one("#outcome", Plate)
        outcome.draw("")
        if not self.dirty:
            self.say(_("Nothing was changed."))
            return
        asked = {
            "file": self._file,
            "line": self._record.line,
            "record": self.typed,
            "seen_version": self._version,
        }
        declared = self.sophia.dispatcher.registry.get(_DRAFT)
        refused = await self.sophia.refusal(declared, False)
        if refused is not None:
            outcome.draw(error_text(refused))
            return
        try:
            done: Any = await self.sophia.call(_DRAFT, asked)
        except SophiaError as problem:
            self.keep_draft()
            outcome.draw(error_text(problem, self.sophia.log_path))
            return
        self.sophia.state.drop_draft(_DRAFT)
        self._start = self.typed
        told = _("Line {line} is edited; u takes it back, s saves.").format(line=done.line)
        if not done.usable:
            reasons = " ".join(each.reason for each in done.issues)
            told = _("Line {line} is edited, but can't be used: {why}").format(
                line=done.line, why=reasons
            )
        self.sophia.go("act.back", self)
        self._browser.edited(visible(told))


def editable(text: str) -> str:
    """The record to type in: laid out, and signs that a terminal acts on as JSON's escapes."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _escaped(text)
    return _escaped(json.dumps(value, ensure_ascii=False, indent=2))


def _escaped(text: str) -> str:
    def escape(found: re.Match[str]) -> str:
        return found.group() if found.group() == "\n" else json.dumps(found.group())[1:-1]

    return HOSTILE.sub(escape, text)
