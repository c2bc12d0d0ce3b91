"""The record browser: one page of a file of any size; jumps, issues, search, edits with their undo.

A record is shown laid out or raw, page by page where it is long.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input
from textual.widgets.input import Selection

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.browse_views import BrowseOutput, RecordView
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.finding import Wanted
from sophia_tui.tui.parts import Part
from sophia_tui.tui.record_text import (
    LAID_OUT,
    NAMES,
    PAGE,
    VIEWS,
    Marks,
    View,
    page_of,
    parsed,
    record_text,
)
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.browser_edits import EditsScreen
from sophia_tui.tui.screens.table import Row
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

#: Seconds between two looks at a file that is read from its beginning for each.
_SELDOM = 86_400.0

#: What the line at the bottom asks for, by act.
_ASKED = {
    "search": N_("search; enter goes to the next record that has it"),
    "line": N_("go to line"),
    "code": N_("only issues with this code; empty: any that keeps a record from being used"),
}
#: Acts that open it.
_OPENS = {"act.search": "search", "act.go_to_line": "line", "act.code": "code"}


class BrowserScreen(EditsScreen):
    """Opened over another screen, which esc leads back to.

    It is made again from plain data: `BrowserScreen(sophia, request)` with the `request` that its
    origin holds (file, part, line, exact, code, count, chars, as `prepare.browse` is asked), then
    `recall` with what `memory` told (page, line, record that was opened and how, issue
    code, search, and whether it was edited: then the editor opens again, with its draft).
    """

    CSS_PATH: ClassVar[StylePath] = ["table.tcss", "detail.tcss", "browser.tcss"]
    scopes: tuple[str, ...] = ("browser",)
    name_of_screen = "browser"
    interval = 30.0  # a file seldom changes while it is looked at

    def __init__(
        self, sophia: "Console", request: Mapping[str, Any], first: BrowseOutput | None = None
    ) -> None:
        super().__init__(sophia, request, first)
        self.view: View = VIEWS[0]
        self._asking = ""
        #: Whether the editor is to be opened again.
        self._to_edit = False
        #: Pages of the record that is shown.
        self._pages = 1
        #: File, line and source row that records of a version come from, by their own line.
        self._origins: dict[int, tuple[str, int, dict[str, Any] | None]] = {}
        #: The text of the record that was drawn last, and of what it was made.
        self._text_made: tuple[Any, Content] | None = None

    def memory(self) -> dict[str, Any]:
        return {
            "place": dict(self._place),
            "row": self.line,
            "opened": self.opened is not None and not self.wide,
            "part": self.part,
            "view": self.view,
            "code": self.code,
            "search": self.wanted.asked,
            "editing": self.editor is not None and self.editor.is_attached,
        }

    def recall(self, kept: dict[str, Any]) -> None:
        self._first = None  # the page that it was opened with is another one
        place = kept.get("place")
        if isinstance(place, dict) and _whole(place.get("line"), 1):
            if place["line"] != self._place["line"]:
                self._first = None  # a page of another place
            self._place = {"line": place["line"]}
            if _whole(place.get("at"), 0):
                self._place["at"] = place["at"]
            if place.get("exact") is True:
                self._place["exact"] = True
        if _whole(kept.get("row"), 1):
            self._awaited = str(kept["row"])
            self.opened = self._awaited if kept.get("opened") is True else None
        self.part = kept["part"] if _whole(kept.get("part"), 0) else 0
        self.view = next((each for each in VIEWS if each == kept.get("view")), VIEWS[0])
        self.code = kept["code"] if isinstance(kept.get("code"), str) else ""
        self.wanted = Wanted.recalled(kept.get("search"))
        self._to_edit = kept.get("editing") is True
        if self.is_mounted:
            self.refresh_now()

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
        found = await super().rows_of()
        if found.compression:
            self.interval = _SELDOM
        return found

    def has_nothing(self, data: BrowseOutput) -> bool:
        return not data.items

    def empty_text(self) -> str:
        return _("The file has no lines. esc leads back.")

    def to_rows(self, data: BrowseOutput) -> list[Row]:
        return [Row(str(each.line), self._cells(each, data.exact), each) for each in data.items]

    def _cells(self, record: RecordView, exact: bool) -> tuple[str, ...]:
        about = "" if exact else "~"
        texts = (record.question, record.answer, record.text)
        if self.hit == record.line or any(map(self.wanted.places, texts)):
            about = self._sign + about
        mark = "* " if record.edited else ""
        issues = mark + " ".join(record.codes)
        asked = record.question or record.text
        return (f"{about}{record.line}", issues, asked, record.answer)[: 3 if self.wide else 4]

    @property
    def _sign(self) -> str:
        """What stands before a place that has what is searched for."""
        return ">" if self.sophia.glyphs.ascii_only else "»"

    def places(self, text: str, column: int) -> Sequence[tuple[int, int]]:
        return self.wanted.places(text) if column > 1 else ()

    def drawn(self) -> None:
        super().drawn()
        if self._to_edit and self.data is not None and self._awaited is None:
            self._to_edit = False
            self.edit()  # its draft is kept: nothing typed is lost with the line

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
        if self.wanted.text:
            told.append("  ".join(filter(None, (self.wanted.shown, self.counted_text()))))
        return "   ".join(told)

    async def tell(self, row: Row) -> Any:
        """The record whole; of one too long to be laid out only as far as it is shown."""
        record: RecordView = row.data
        if self.of.get("part") in _KEPT and record.line not in self._origins:
            await self._learn_origin(record.line)
        wanted = 0 if record.chars <= LAID_OUT else PAGE * (self.part + 1)
        if len(record.text) >= (wanted or record.chars):
            self._learn_rejected(record)
            return record
        asked = {**self.of, "line": record.line, "at": record.at, "count": 1, "chars": wanted}
        found: Any = await self.sophia.call("prepare.browse", asked)
        told: RecordView = found.items[0] if found.items else record
        self._learn_rejected(told)
        return told

    def _learn_rejected(self, record: RecordView) -> None:
        """What was turned away says itself where it stood."""
        told = parsed(record.text) if self.of.get("part") == "rejected" else None
        if told is not None and isinstance(told.get("file"), str) and _whole(told.get("line"), 1):
            self._origins[record.line] = (told["file"], told["line"], None)

    async def _learn_origin(self, line: int) -> None:
        """Where a record of a version comes from: provenance has the order of the part's lines."""
        if not self.sophia.may("datasets.rows"):
            return
        asked = {"dataset": self.of["file"], "part": self.of["part"], "offset": line - 1}
        found: Any = await self.sophia.call("datasets.rows", {**asked, "limit": 1})
        if found.items:
            row = found.items[0]
            self._origins[line] = (row.file, row.line, row.source)

    def detail(self, row: Row, told: RecordView, width: int) -> Content:
        parts = self._head(told)
        text, pages = self._page_of_record(told, width)
        if self.seek_hit and pages > 1 and self.hit == told.line:
            text = self._page_with_hit(told, width, pages) or text
        self.seek_hit = False
        self._pages = pages
        self.part = min(self.part, pages - 1)
        if pages > 1:
            where = _("page {page} of {pages} of this record; m goes on, k back")
            parts.append(
                (where.format(page=number(self.part + 1), pages=number(pages)) + "\n", "$accent")
            )
        parts.append(text)
        return Content.assemble(*parts)

    def _head(self, told: RecordView) -> list[Part]:
        about = "" if self.data.exact else "~"
        view_name = "exact" if told.chars > LAID_OUT else self.view
        # as it stands the text has no signs in it: one stands before its line
        sign = f"{self._sign} " if view_name == "exact" and self.wanted.places(told.text) else ""
        line = _("Line {line}").format(line=f"{about}{told.line}")
        parts: list[Part] = [(f"{sign}{line}", "bold")]
        size = ngettext("{n} character", "{n} characters", told.chars)
        view = _(NAMES[view_name])
        parts.append((f"  {size.format(n=number(told.chars))}, {view}", "dim"))
        if told.edited:
            who = _("edited by {who}, {when}").format(
                who=told.edited_by, when=words.age(self.sophia.now(), told.edited_at)
            )
            parts.append((f"  {visible(who)}", "$warning"))
        parts.append("\n")
        if "too_long" in told.codes and told.bytes is not None:
            only = _("The line has {bytes} bytes; only its beginning is read.")
            parts.append((only.format(bytes=number(told.bytes)) + "\n", "$warning"))
        health = self.sophia.glyphs.health
        for each in told.issues:
            style = words.STYLES["attention" if told.usable else "problem"]
            sign = health["attention" if told.usable else "problem"]
            parts += [(f"{sign} {visible(each.code)}", style), f"  {visible(each.reason)}\n"]
        origin = self._origins.get(told.line)
        if origin is not None:
            file, line_there, source = origin
            place = f"{visible(file)}:{line_there}"
            parts += [(_("made of {place}").format(place=place), "$accent")]
            if source:
                parts.append(("  " + words.shown(source), "dim"))
            parts.append("\n")
        return parts

    def _page_with_hit(self, told: RecordView, width: int, pages: int) -> Content | None:
        """Turn a long record to the page that has what was searched for."""
        if told.chars > LAID_OUT:
            return None  # of such a record only the page that is shown is here
        for page in range(pages):
            self.part = page
            text, _pages = self._page_of_record(told, width)
            if self.wanted.places(text.plain):
                return text
        self.part = 0
        return None

    def _page_of_record(self, told: RecordView, width: int) -> tuple[Content, int]:
        marks = Marks(self.wanted.places, self._sign)
        if told.chars > LAID_OUT:  # of such a record only what is shown was asked for
            begin = PAGE * self.part
            shown = record_text(told.text[begin : begin + PAGE], "exact", width, marks)
            return shown, -(-told.chars // PAGE)
        key = (told.line, told.text, self.view, width, self.wanted)
        if self._text_made is None or self._text_made[0] != key:
            around = _BOM if "bom" in told.codes else "", "\r" if "crlf" in told.codes else ""
            self._text_made = key, record_text(told.text, self.view, width, marks, around)
        return page_of(self._text_made[1], self.part)

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
            "act.next_hit": bool(self.wanted.text),
            "act.more": self._pages > 1,
            "act.source": bool(self.shown and self.shown.data.line in self._origins),
        }
        found = [each for each in super().footer() if able.get(each.target, True)]
        kept = [
            each
            for each in found
            if not each.target.startswith("screen.") and each.target != "act.refresh"
        ]
        if self.opened is None or self.wide:
            return kept
        # one record takes the list's place: its own keys do, too
        back = {"act.less": next(each.rank for each in keys.KEYS if each.target == "act.more")}
        return [
            replace(each, rank=back[each.target])
            if each.target in back and self._pages > 1
            else each
            for each in kept
            if each.target not in _OF_THE_LIST
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
        ways = self.ways()
        if self.running is not None and (name in ways or name == "edit"):
            self.say(_("Something is running here; esc stops it."))
            return True
        if name in ("next_hit", "previous_hit") and not self.wanted.text:
            name = "search"
        acts: dict[str, Callable[[], None]] = {
            **ways,
            "go_to_line": partial(self._ask, "line"),
            "search": partial(self._ask, "search"),
            "code": partial(self._ask, "code"),
            "regex": partial(self._look_otherwise, "regex"),
            "match_case": partial(self._look_otherwise, "match_case"),
            "view": self._other_view,
            "more": partial(self._turn_record, 1),
            "less": partial(self._turn_record, -1),
            "source": self._source,
            **self.edits(),
        }
        if name in acts:
            acts[name]()
            return True
        return super().act(name)

    def follow(self, key: str | None) -> None:
        if key != self.opened:
            self.part = 0
        super().follow(key)

    def _other_view(self) -> None:
        self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
        self.part = 0
        if self.opened is None and not self.wide and self.selected:
            self.open_row(self.selected)
        self._draw_all()
        self.to_start()

    def _turn_record(self, by: int) -> None:
        """To the next or the previous page of a long record; after the last one comes the first."""
        row = self.shown
        if row is None or self.told_of != row.key or isinstance(self.told, SophiaError):
            return
        _shown, pages = self._page_of_record(self.told, self.detail_width)
        if pages == 1:
            self.say(_("The record is shown whole."))
            return
        self.part = (self.part + by) % pages
        self.to_start()
        if self.told.chars > LAID_OUT:
            self.told_of = None  # it is read as far as that page
            self.refresh_now()
        self._draw_all()

    def _source(self) -> None:
        """The record of a version in the file that it was made of."""
        row = self.shown
        origin = self._origins.get(row.data.line) if row else None
        if origin is not None:
            place: dict[str, Any] = {"file": origin[0], "line": origin[1], "exact": True}
            self.sophia.show(BrowserScreen(self.sophia, place))
        elif "part" not in self.of:
            self.say(_("Only a record of a data set version was made of another."))
        else:
            self.say(_("Where this record comes from is not known; enter opens it and asks."))

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
        find.value = {"search": self.wanted.text, "code": self.code}.get(what, "")
        find.selection = Selection(0, len(find.value))  # what is typed takes its place
        find.set_class(bool(what), "-shown")
        find.display = bool(what)  # the class counts only at the next update of styles
        if what:
            self.set_focus(find)  # at once: the next key may be here already
        elif self.rows:
            self.table.focus()
        self.say(self._mode() if what == "search" else "")

    def _mode(self) -> str:
        """How what is typed will be looked for, the keys that change it, and what is wrong."""
        wanted = self.wanted.typed(self.query_one("#filter", Input).value)
        told = [f"{wanted.mode}   {self._key_of('regex')} {_('text or pattern')}"]
        told.append(f"{self._key_of('match_case')} {_('capitals')}")
        wrong = wanted.wrong if wanted.regex and wanted.text else ""
        return "\n".join(filter(None, ("  ".join(told), visible(wrong))))

    def _key_of(self, act: str) -> str:
        found = (each.shown for each in self.known_keys() if each.target == f"act.{act}")
        return next(found, "")

    def _look_otherwise(self, what: str) -> None:
        """Another way to look counts for what is typed now, or from the next step on."""
        self.wanted, self.counted = self.wanted.otherwise(what), None
        if self._asking == "search":
            self.say(self._mode())
            return
        self._mark_anew()
        self.say(self.wanted.mode)

    def _mark_anew(self) -> None:
        if self.data is not None:
            self._draw_all()
        self.table.refresh()  # lines of the same text are marked otherwise now

    def on_input_changed(self, event: Input.Changed) -> None:
        """Nothing is looked for before enter, nor does what is typed filter the page."""
        event.prevent_default()
        if self._asking == "search":
            self.say(self._mode())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.prevent_default()
        self._answered(event.value.strip())

    def _answered(self, text: str) -> None:
        what = self._asking
        wanted = self.wanted.typed(text)
        if what == "search" and wanted.regex and wanted.text and wanted.wrong:
            self.say(self._mode())  # the line stays, to be corrected
            return
        self._ask("")
        if what == "line" and text:
            self.go_to_line(text)
        elif what == "search":
            self.wanted, self.counted, self.hit = wanted, None, None
            self._mark_anew()
            if wanted.text:
                self.search(True, here=True)
        elif what == "code":
            self.code = text
            self._draw_all()
            if text:
                self.go_to_issue("next", here=True)

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


#: Ways through the list, which stand in no footer while one record is shown in its place.
_OF_THE_LIST = frozenset(
    f"act.{name}" for name in ("next_page", "previous_page", "go_to_line", "search", "code")
)
#: Parts of a version whose records have a source.
_KEPT = ("train", "valid", "test")
_BOM = "\ufeff"


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least
