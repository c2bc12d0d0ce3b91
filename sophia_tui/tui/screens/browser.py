"""The record browser: one page of a file of any size; jumps, issues, search, edits with their undo.

What takes long runs beside the screen: esc stops it, and the page stays as it was.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input
from textual.widgets.input import Selection

from sophia_tui.domain.context import CancelSignal, Progress
from sophia_tui.errors import CancelledError, SophiaError
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.browse_views import BrowseOutput, RecordView
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import keys, words
from sophia_tui.tui.parts import Part, pairs, title
from sophia_tui.tui.progress import ProgressText
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import Row
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

#: Records on one page, and characters of each that a list needs.
PAGE = 100
_LISTED_CHARS = 400
#: Characters of an opened record; what is longer is said to be.
_OPENED_CHARS = 20_000

#: Seconds between two looks at a file that is read from its beginning for each.
_SELDOM = 86_400.0

#: What the line at the bottom asks for, by act.
_ASKED = {
    "search": N_("search for text, or re: and a pattern; enter goes to the next record"),
    "line": N_("go to line"),
    "code": N_("only issues with this code; empty: any that keeps a record from being used"),
}
#: Acts that open it.
_OPENS = {"act.search": "search", "act.go_to_line": "line", "act.code": "code"}


class BrowserScreen(DetailScreen):
    """Opened over another screen, which esc leads back to. `request` names file and part."""

    CSS_PATH: ClassVar[StylePath] = ["table.tcss", "detail.tcss", "browser.tcss"]
    scopes: tuple[str, ...] = ("browser",)
    name_of_screen = "browser"
    interval = 30.0  # a file seldom changes while it is looked at

    def __init__(
        self, sophia: "Console", request: Mapping[str, Any], first: BrowseOutput | None = None
    ) -> None:
        super().__init__(sophia)
        self.of = {name: request[name] for name in ("file", "part") if request.get(name)}
        self._shape = {
            "count": int(request.get("count") or PAGE),
            "chars": int(request.get("chars") or _LISTED_CHARS),
        }
        self.code: str = str(request.get("code") or "")
        self.wanted = ""
        #: Where the page begins, and where the pages before it did.
        self._place: dict[str, Any] = {"line": int(request.get("line") or 1)}
        if request.get("exact"):
            self._place["exact"] = True
        self._before: list[dict[str, Any]] = []
        self._first = first
        self._asking = ""
        #: Stops the reading of the page that is shown.
        self.looking = CancelSignal()

    # -- what is shown

    def heading(self) -> str:
        part = f" {self.of['part']}" if "part" in self.of else ""
        name = str(self.of["file"]).rsplit("/", 1)[-1]
        return self.sophia.glyphs.fit(f"{name}{part}", 30).rstrip()

    def body(self) -> Iterable[Widget]:
        yield Plate(id="where")
        yield from super().body()

    def columns(self) -> Sequence[tuple[str, int]]:
        if self.wide:
            return [(_("Line"), 9), (_("Issues"), 11), (_("Question"), self.room - 20 - 4)]
        rest = self.room - 9 - 12 - 6
        asked = max(12, rest // 2)
        return [
            (_("Line"), 9),
            (_("Issues"), 12),
            (_("Question"), asked),
            (_("Answer"), max(8, rest - asked)),
        ]

    async def rows_of(self) -> BrowseOutput:
        if self._first is not None:
            kept: BrowseOutput = self._first
            self._first = None
            return kept
        self.looking = CancelSignal()
        found = await self._page(self._place, cancel=self.looking, progress=self._progress())
        if found.compression:
            self.interval = _SELDOM
        return found

    async def _page(self, place: Mapping[str, Any], **given: Any) -> BrowseOutput:
        asked = {**self.of, **self._shape, **place}
        answer: Any = await self.sophia.call("prepare.browse", asked, **given)
        found: BrowseOutput = answer
        return found

    def has_nothing(self, data: BrowseOutput) -> bool:
        return not data.items

    def empty_text(self) -> str:
        return _("The file has no lines. esc leads back.")

    def to_rows(self, data: BrowseOutput) -> list[Row]:
        return [Row(str(each.line), self._cells(each, data.exact), each) for each in data.items]

    def _cells(self, record: RecordView, exact: bool) -> tuple[str, ...]:
        about = "" if exact else "~"
        mark = "* " if record.edited else ""
        issues = mark + " ".join(record.codes)
        asked = record.question or record.text
        return (f"{about}{record.line}", issues, asked, record.answer)[: 3 if self.wide else 4]

    def draw(self) -> None:
        super().draw()
        self.query_one("#where", Plate).draw(self._where())

    def _where(self) -> str:
        data: BrowseOutput | None = self.data
        if data is None or not data.items:
            return ""
        first, last = number(data.items[0].line), number(data.items[-1].line)
        total = _("about {lines}").format(lines=number(data.lines_about or 0))
        if data.lines is not None:
            total = number(data.lines)
        elif data.lines_about is None:
            total = "?"
        told = [_("lines {first} to {last} of {total}").format(first=first, last=last, total=total)]
        if not data.exact:
            told.append(_("estimated: x makes it exact"))
        if data.compression:
            told.append(_("compressed or a table: no jumps, no edits"))
        if data.edits and data.edits.stale:
            told.append(_("edits of an earlier state of the file are not shown"))
        elif data.edits and data.edits.records:
            edited = ngettext("{n} record edited", "{n} records edited", data.edits.records)
            told.append(edited.format(n=number(data.edits.records)))
        if data.inspection_outdated:
            told.append(_("changed since the inspection: inspect again (3, then i)"))
        if self.code:
            told.append(_("only {code}").format(code=visible(self.code)))
        return "   ".join(told)

    async def tell(self, row: Row) -> Any:
        record: RecordView = row.data
        if record.chars <= len(record.text):
            return record
        asked = {**self.of, "line": record.line, "at": record.at, "count": 1}
        found: Any = await self.sophia.call("prepare.browse", {**asked, "chars": _OPENED_CHARS})
        return found.items[0] if found.items else record

    def detail(self, row: Row, told: RecordView, width: int) -> Content:
        about = "" if self.data.exact else "~"
        parts: list[Part] = [(_("Line {line}").format(line=f"{about}{told.line}"), "bold")]
        if told.edited:
            who = _("edited by {who}, {when}").format(
                who=told.edited_by, when=words.age(self.sophia.now(), told.edited_at)
            )
            parts.append((f"  {visible(who)}", "$warning"))
        parts.append("\n")
        health = self.sophia.glyphs.health
        for each in told.issues:
            style = words.STYLES["attention" if told.usable else "problem"]
            sign = health["attention" if told.usable else "problem"]
            parts += [(f"{sign} {visible(each.code)}", style), f"  {visible(each.reason)}\n"]
        parts += record_parts(told.text)
        if told.chars > len(told.text):
            rest = number(told.chars - len(told.text))
            more = _("… {n} characters more") if not self.sophia.glyphs.ascii_only else ""
            more = more or _("... {n} characters more")
            parts.append((more.format(n=rest) + "\n", "dim"))
        return Content.assemble(*parts)

    # -- keys

    def footer(self) -> list[keys.Key]:
        """Keys of edits stand where there are some. The screens' digits count, but give their room
        to what is done here."""
        data: BrowseOutput | None = self.data
        edits = data.edits if data else None
        able = {
            "act.undo": bool(edits and edits.can_undo),
            "act.redo": bool(edits and edits.can_redo),
            "prepare.save": bool(edits and edits.records),
            "act.exact": bool(data and not data.exact),
        }
        found = [each for each in super().footer() if able.get(each.target, True)]
        return [
            each
            for each in found
            if not each.target.startswith("screen.") and each.target != "act.refresh"
        ]

    def prefill(self, operation: str) -> dict[str, Any]:
        declared = self.sophia.dispatcher.registry.get(operation)
        return {"file": self.of["file"]} if "file" in declared.input.model_fields else {}

    def act(self, name: str) -> bool:
        if name == "back" and self.running is not None:
            self.running.request()
            return True
        if name == "back" and self._asking:
            self._ask("")
            return True
        if self.running is not None and name in _BUSY:
            self.say(_("Something is running here; esc stops it."))
            return True
        acts: dict[str, Callable[[], None]] = {
            "next_page": self._next_page,
            "previous_page": self._previous_page,
            "go_to_line": partial(self._ask, "line"),
            "search": partial(self._ask, "search"),
            "code": partial(self._ask, "code"),
            "next_hit": self._next_hit,
            "next_issue": partial(self._go_to_issue, "next"),
            "previous_issue": partial(self._go_to_issue, "previous"),
            "exact": self._make_exact,
            "edit": self._edit,
            "undo": partial(self._take_back, redo=False),
            "redo": partial(self._take_back, redo=True),
        }
        if name in acts:
            acts[name]()
            return True
        return super().act(name)

    def copied(self) -> str:
        row = self.shown
        if row is None:
            return ""
        told = self.told if self.told_of == row.key else row.data
        return str(getattr(told, "text", ""))

    # -- the line at the bottom

    def _ask(self, what: str) -> None:
        find = self.query_one("#filter", Input)
        self._asking = what
        find.placeholder = _(_ASKED[what]) if what else ""
        find.value = {"search": self.wanted, "code": self.code}.get(what, "")
        find.selection = Selection(0, len(find.value))  # what is typed takes its place
        find.set_class(bool(what), "-shown")
        find.display = bool(what)  # the class counts only at the next update of styles
        if what:
            self.set_focus(find)  # at once: the next key may be here already
        elif self.rows:
            self.table.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Nothing is looked for before enter, nor does what is typed filter the page."""
        event.prevent_default()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.prevent_default()
        self._answered(event.value.strip())

    def _answered(self, text: str) -> None:
        what = self._asking
        self._ask("")
        if what == "line" and text:
            self._go_to_line(text)
        elif what == "search" and text:
            self.wanted = text
            self._next_hit(here=True)
        elif what == "code":
            self.code = text
            self._draw_all()
            if text:
                self._go_to_issue("next", here=True)

    def on_key(self, event: events.Key) -> None:
        """Keys that open the line do so here, and what follows at once is put into it: by way of
        the app's bindings they would come later than the first letters typed."""
        if not self._asking:
            opens = [each for each in self.known_keys() if event.key in (each.key, *each.others)]
            if opens and opens[0].target in _OPENS and self.running is None:
                event.stop()
                self._ask(_OPENS[opens[0].target])
            return
        find = self.query_one("#filter", Input)
        if event.key == "escape":
            event.stop()
            self._ask("")
        elif event.key == "enter":
            event.stop()
            self._answered(find.value.strip())
        elif event.is_printable and event.character:
            event.stop()
            find.replace(event.character, *find.selection)

    # -- where to

    @property
    def line(self) -> int:
        """The line under the cursor."""
        row = self.selected
        return row.data.line if row else int(self._place["line"])

    def _next_page(self) -> None:
        data: BrowseOutput | None = self.data
        if data is None or data.next_line is None:
            self.say(_("There is no other page."))
            return
        place: dict[str, Any] = {"line": data.next_line}
        if not data.compression:
            place["at"] = data.next_at
        elif data.next_line > 1:
            place["exact"] = True  # what was read up to here may be read again
        self._work("page", self._shown_at(place, way=[*self._before, self._place]))

    def _previous_page(self) -> None:
        if self._before:
            before = self._before.pop()
            self._work("page", self._shown_at(before, way=[*self._before]))
            return
        line = int(self._place["line"])
        if line <= 1:
            self.say(_("There is no other page."))
            return
        self._go(
            {
                "line": max(1, line - self._shape["count"]),
                "exact": bool(self.data and self.data.exact),
            }
        )

    def _go_to_line(self, text: str) -> None:
        try:
            line = int("".join(sign for sign in text if sign not in ".,_ "))
        except ValueError:
            line = 0
        if line < 1:
            self.say(_("A line is a whole number from 1 on."))
            return
        self._go({"line": line})

    def _go(self, place: dict[str, Any]) -> None:
        self._work("page", self._shown_at(place))

    def _make_exact(self) -> None:
        self._work("exact", self._shown_at({"line": self.line, "exact": True}))

    def _go_to_issue(self, way: str, here: bool = False) -> None:
        line = self.line + (1 if way == "next" and not here else 0)
        place: dict[str, Any] = {"line": line, "issue": way}
        if self.code:
            place["code"] = self.code
        if self.data is not None and self.data.exact:
            place["exact"] = True
        self._work("issue", self._shown_at(place))

    def _next_hit(self, here: bool = False) -> None:
        if not self.wanted:
            self._ask("search")
            return
        self._work("search", self._search(self.line + (0 if here else 1)))

    async def _search(self, line: int) -> None:
        asked = {**self.of, "text": self.wanted, "line": line, "limit": 1}
        if self.wanted.startswith("re:"):
            asked |= {"text": self.wanted.removeprefix("re:"), "regex": True}
        found: Any = await self.sophia.call("prepare.search", asked, **self._given())
        if not found.items:
            self.say(_("Nothing from here on has it."))
            return
        hit = found.items[0]
        await self._shown_at({"line": hit.line, "exact": True})
        self.say(visible(f"{hit.before}{hit.found}{hit.after}"))

    async def _shown_at(self, place: dict[str, Any], way: Sequence[dict[str, Any]] = ()) -> None:
        """Show the page there; the cursor goes to its first line. `way` are the pages that led
        there one after the other."""
        found = await self._page(place, **self._given())
        if not found.found:
            self.say(_("There is no such issue from here on."))
            return
        if not found.items:
            self.say(_("There is no such line."))
            return
        first = found.items[0]
        kept: dict[str, Any] = {"line": first.line}
        if found.compression:
            kept["exact"] = True
        else:
            kept["at"] = first.at
        self._place, self._before, self.data = kept, list(way), found
        self.opened = None
        self.state = "full"
        self._draw_all()
        self.table.move_cursor(row=0)
        self.refresh_now()

    # -- work beside the screen

    def _given(self) -> dict[str, Any]:
        return {"cancel": self.running, "progress": self._progress()}

    def _progress(self) -> Callable[[Progress], None]:
        told = ProgressText(self.sophia.glyphs)

        def progress(step: Progress) -> None:
            text = told(step)
            if text is not None:
                self.say(text)

        return progress

    def _work(self, name: str, work: Any) -> None:
        if self.running is not None:
            work.close()
            self.say(_("Something is running here; esc stops it."))
            return
        self.running = CancelSignal()
        self.say("")
        self.run_worker(self._worked(work), name=name, group="work")

    async def _worked(self, work: Any) -> None:
        try:
            await work
        except CancelledError:
            self.say(_("Stopped."))
        except SophiaError as problem:
            self.say(visible(str(problem)))
        finally:
            self.running = None
            if self.is_mounted:
                self.redraw()

    def on_unmount(self) -> None:
        self.looking.request()
        if self.running is not None:
            self.running.request()

    # -- edits

    def _edit(self) -> None:
        row = self.shown
        if row is None:
            return
        if "part" in self.of or self.data.compression:
            self.say(
                _("A version never changes: edit the file it was made of.")
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

    async def _open_editor(self, record: RecordView) -> None:
        from sophia_tui.tui.screens.editor import LONGEST, EditorScreen

        if record.chars > LONGEST:
            self.say(_("The record is too long to be edited here."))
            return
        asked = {**self.of, "line": record.line, "at": record.at, "count": 1, "chars": 0}
        found: Any = await self.sophia.call("prepare.browse", asked)
        if found.items:
            version = found.edits.version if found.edits else 0
            self.sophia.show(
                EditorScreen(self.sophia, self, str(self.of["file"]), found.items[0], version)
            )

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
        self.edited(told.format(line=done.line))


_BUSY = frozenset(
    {"next_page", "previous_page", "next_hit", "next_issue", "previous_issue", "exact", "edit"}
)


def record_parts(text: str) -> list[Part]:
    """A record for people: its fields one below the other, messages by role; what is no JSON as it
    stands."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return ["\n", visible_lines(text) + "\n"]
    if not isinstance(record, dict):
        return ["\n", visible_lines(text) + "\n"]
    parts: list[Part] = []
    simple: list[tuple[str, str]] = []
    for name, value in record.items():
        if isinstance(value, list) and value and all(_is_message(each) for each in value):
            parts += _messages(name, value)
        elif isinstance(value, str):
            parts += [*title(visible(name)), visible_lines(value) + "\n"]
        else:
            simple.append((visible(name), json.dumps(value, ensure_ascii=False)))
    if simple:
        parts += ["\n", *pairs(simple)]
    return parts


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str)


def _messages(name: str, messages: Iterable[Mapping[str, Any]]) -> list[Part]:
    parts: list[Part] = title(visible(name))
    for each in messages:
        content = each.get("content")
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        rest = {key: value for key, value in each.items() if key not in ("role", "content")}
        more = f"  {json.dumps(rest, ensure_ascii=False)}" if rest else ""
        parts += [(visible(each["role"]), "bold $accent"), (visible(more) + "\n", "dim")]
        parts.append(visible_lines(text) + "\n")
    return parts
