"""Edits one record as JSON, over the browser; the file itself is not touched."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from textual.content import Content
from textual.widget import Widget
from textual.widgets import TextArea

from sophia_tui.errors import ConflictError, SophiaError
from sophia_tui.i18n import _
from sophia_tui.services.browse_views import EditOutput, RecordView
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.diff_text import difference
from sophia_tui.tui.editing import Mistake, editable, mistake, what_differs
from sophia_tui.tui.parts import Part
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.screens.confirm import QuestionScreen
from sophia_tui.tui.widgets.field import Area
from sophia_tui.tui.widgets.plate import Plate, error_text

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

#: Characters of the longest record that is edited on a terminal.
LONGEST = 200_000
_EDIT = "prepare.edit"
_DRAFT_SECONDS = 0.2
#: Somebody edited the record meanwhile; the file is another one by now.
_FASTER, _OTHER_FILE = "SOPHIA-D569", ("SOPHIA-D561", "SOPHIA-D563")


class Browser(Protocol):
    """What takes note of an edit."""

    def edited(self, told: str) -> None: ...


class EditorScreen(SophiaScreen):
    """F2 takes the edit, F3 tells what it changes, esc leaves it.

    What is typed and not taken is kept as a draft of this record as it is typed: the editor comes
    back with it when the record is opened again, after a dropped line, too.
    """

    CSS_PATH = "editor.tcss"
    scopes: tuple[str, ...] = ("editor",)
    holds_work = True

    def __init__(
        self, sophia: "Console", browser: Browser, file: str, record: RecordView, version: int
    ) -> None:
        super().__init__(sophia)
        self._browser = browser
        self._file = file
        self._record = record
        self._version = version
        self._target = f"{file}:{record.line}"
        draft = sophia.state.whole_draft(_EDIT, self._target)
        self._start = editable(record.text)
        self._draft = str(draft.get("record") or "")
        #: Whether the record is no longer the one that the draft was begun with.
        self._moved_on = bool(self._draft) and draft.get("start") not in (None, self._start)
        #: What was typed when a person was told that it makes the record unusable, or of another's
        #: edit: the same once more is meant so.
        self._insisted: str | None = None

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
        yield Plate(id="verdict")
        yield Plate(id="outcome")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#record", TextArea).focus()
        self._judge()
        if self._moved_on:
            self.say(_("Your draft is here; the record changed since you began it (F3 shows how)."))
        elif self._draft:
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
            kept = {"record": self.typed, "start": self._start}
            # from the list of drafts the operation's own form opens with the same
            form = {"file": self._file, "line": self._record.line, "record": self.typed}
            self.sophia.state.keep_draft(_EDIT, kept, self._target, form)

    def _drop_draft(self) -> None:
        self.sophia.state.drop_draft(_EDIT, self._target)
        self._start = self.typed

    def on_text_area_changed(self) -> None:
        self.query_one("#outcome", Plate).draw("")  # it was of what stood there before
        self._judge()
        self.set_timer(_DRAFT_SECONDS, self.keep_draft)

    def _judge(self) -> Mistake | None:
        """What is wrong with what is typed, and where; else what it changes."""
        wrong = mistake(self.typed)
        health = self.sophia.glyphs.health
        if wrong is not None:
            told: Part = (f"{health['problem']} {wrong}", "$error")
        elif not self.dirty:
            told = (_("as it is in the file"), "dim") if not self._record.edited else ""
        else:
            differs = what_differs(self._start, self.typed) or _("nothing but the layout")
            told = f"{health['ok']} JSON   " + _("changed: {what}").format(what=differs)
        self.query_one("#verdict", Plate).draw(Content.assemble(told))
        return wrong

    def act(self, name: str) -> bool:
        if name in ("run", "changes"):
            work: Any = self._take if name == "run" else self._show_changes
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
                self._drop_draft()
                self.sophia.go("act.back", self)

        question = Content(_("What you typed was not taken over (F2 does). Leave it?"))
        self.app.push_screen(QuestionScreen(question, _("Leave")), answered)

    # -- what comes of it

    @property
    def _asked(self) -> dict[str, Any]:
        return {
            "file": self._file,
            "line": self._record.line,
            "record": self.typed,
            "seen_version": self._version,
        }

    async def _would_be(self) -> EditOutput | None:
        """What the record would be like; None where it can't be, which is said."""
        outcome = self.query_one("#outcome", Plate)
        outcome.draw("")
        if not self.dirty:
            self.say(_("Nothing was changed."))
            return None
        wrong = self._judge()
        if wrong is not None:
            self.say(_("This is no record yet: {why}").format(why=wrong))
            if wrong.line:
                place = (wrong.line - 1, wrong.column - 1)
                self.query_one("#record", TextArea).move_cursor(place)
            return None
        try:
            told: Any = await self.sophia.call(_EDIT, self._asked, dry_run=True)
        except SophiaError as problem:
            await self._refused(problem)
            return None
        return told if isinstance(told, EditOutput) else None

    async def _show_changes(self) -> None:
        told = await self._would_be()
        if told is not None:
            self.query_one("#outcome", Plate).draw(Content.assemble(*self._of(told)))

    def _of(self, told: EditOutput) -> list[Part]:
        """What changes, word by word, and whether the record can be used then."""
        parts: list[Part] = list(difference(editable(told.before), editable(told.after)))
        health = self.sophia.glyphs.health
        for each in told.issues:
            style = words.STYLES["attention" if told.usable else "problem"]
            sign = health["attention" if told.usable else "problem"]
            parts += [(f"{sign} {visible(each.code)}", style), f"  {visible(each.reason)}\n"]
        if not told.issues:
            parts.append((f"{health['ok']} " + _("It can be used.") + "\n", "$success"))
        return parts

    async def _take(self) -> None:
        told = await self._would_be()
        if told is None:
            return
        outcome = self.query_one("#outcome", Plate)
        if not told.usable and self._record.usable and self._insisted != self.typed:
            self._insisted = self.typed
            outcome.draw(Content.assemble(*self._of(told)))
            self.say(_("The record could not be used then. F2 once more takes it all the same."))
            return
        declared = self.sophia.dispatcher.registry.get(_EDIT)
        refused = await self.sophia.refusal(declared, False)
        if refused is not None:
            self.keep_draft()
            outcome.draw(error_text(refused))
            return
        try:
            done: Any = await self.sophia.call(_EDIT, self._asked)
        except SophiaError as problem:
            await self._refused(problem)
            return
        self._drop_draft()
        text = _("Line {line} is edited; u takes it back, s saves.").format(line=done.line)
        if not done.usable:
            reasons = " ".join(each.reason for each in done.issues)
            text = _("Line {line} is edited, but can't be used: {why}").format(
                line=done.line, why=reasons
            )
        self.sophia.go("act.back", self)
        self._browser.edited(visible(text))

    async def _refused(self, problem: SophiaError) -> None:
        """Nothing typed is lost; where the record is another one by now, both are shown."""
        self.keep_draft()
        shown = error_text(problem, self.sophia.log_path)
        if isinstance(problem, ConflictError):
            both = await self._both(problem)
            if both:
                shown = Content.assemble(*both, "\n", shown)
        outcome = self.query("#outcome").results(Plate)
        for each in outcome:
            each.draw(shown)

    async def _both(self, problem: SophiaError) -> list[Part]:
        """The record as it stands by now, and what was typed here, word by word."""
        asked = {"file": self._file, "line": self._record.line, "count": 1, "chars": 0}
        try:
            found: Any = await self.sophia.call("prepare.browse", {**asked, "exact": True})
        except SophiaError:
            return []  # the first refusal says enough
        if not found.items:
            return []
        record: RecordView = found.items[0]
        if problem.code == _FASTER:
            # who has seen what the other did may put this in its place; undo brings that back
            self._version = found.edits.version if found.edits else 0
            who = _("{who}, {when}").format(
                who=record.edited_by or "?", when=words.age(self.sophia.now(), record.edited_at)
            )
            head = _("Changed by another operator ({who}). - theirs, + yours:").format(who=who)
            self.say(_("F2 once more puts yours in place of theirs; undo brings that back."))
        elif problem.code in _OTHER_FILE:
            head = _("The file has another record here by now. - there, + yours:")
        else:
            return []
        parts: list[Part] = [(visible(head) + "\n", "bold $warning")]
        return [*parts, *difference(editable(record.text), self.typed)]
