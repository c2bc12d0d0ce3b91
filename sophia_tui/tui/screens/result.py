"""Any operation's result in full: titles and values as text, searched; copied and saved as JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from rich.cells import cell_len
from textual import events
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input

from sophia_tui.domain.context import CancelSignal
from sophia_tui.domain.operations import as_data
from sophia_tui.errors import CancelledError, SophiaError
from sophia_tui.i18n import _, number
from sophia_tui.services.views import key_word, worded
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import keys, words
from sophia_tui.tui.finding import Wanted
from sophia_tui.tui.record_text import Marks
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.training_text import told_otherwise
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

Part = str | tuple[str, str]


class ResultScreen(SophiaScreen):
    """Shows one pydantic object, below a note where there is one."""

    CSS_PATH = "result.tcss"
    scopes: tuple[str, ...] = ("result",)

    def __init__(self, sophia: "Console", title: str, result: BaseModel, note: str = "") -> None:
        super().__init__(sophia)
        self.note = note
        self.title_text = title
        self.result = result
        self.wanted = Wanted()
        #: Whether only lines that have it are shown; the places of hits, and which one was gone to.
        self.only = False
        self._places: list[tuple[int, int]] = []
        self._at = 0

    def heading(self) -> str:
        return visible(self.title_text)

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body", id="whole"):
            yield Plate(self._content(), id="result")
        find = Input(id="find", compact=True, placeholder=_("search"), select_on_focus=False)
        find.cursor_blink = False
        yield find

    def on_resize(self) -> None:
        super().on_resize()
        if self.query("#result"):
            self._draw()  # columns depend on the width

    def lay_out(self, width: int) -> Content:
        """All that is shown, for `width` cells."""
        shown = result_text(self.result, width)
        if self.note:
            shown = Content.assemble((self.note, "bold $warning"), "\n\n", shown)
        return shown

    def show_anew(self) -> None:
        """Draw another page of it, from its beginning."""
        self._draw()
        self._at = 0
        self.query_one("#whole", VerticalScroll).scroll_home(animate=False)
        self.redraw()

    def memory(self) -> dict[str, Any]:
        return {"search": self.wanted.asked, "only": self.only}

    def recall(self, kept: dict[str, Any]) -> None:
        self.wanted = Wanted.recalled(kept.get("search"))
        self.only = kept.get("only") is True and bool(self.wanted.text)
        if self.query("#result"):
            self._draw()

    # -- what is searched for

    def _content(self) -> Content:
        """What is shown, hits with their marks."""
        whole = self.lay_out(max(30, self.app.size.width - 2))
        if not self.wanted.text:
            self._places = []
            return whole
        if self.only:
            lines = [each for each in whole.split("\n") if self.wanted.places(each.plain)]
            whole = Content("\n").join(lines)
        sign = ">" if self.sophia.glyphs.ascii_only else "»"
        marked = Marks(self.wanted.places, sign).over(whole)
        self._places = list(self.wanted.places(marked.plain))
        return marked

    def _draw(self) -> None:
        self.query_one("#result", Plate).draw(self._content())

    def _look(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._draw()
        self._to_hit(0)

    def _to_hit(self, at: int) -> None:
        """Scroll to a hit; beyond the last one comes the first, which is said."""
        if not self.wanted.text:
            self.say("")
            return
        if not self._places:
            wrong = self.wanted.wrong
            self.say("\n".join(filter(None, (self._told(_("nowhere")), visible(wrong)))))
            return
        self._at = at % len(self._places)
        around = ""
        if at != self._at:
            around = "  " + (_("from the beginning again") if at > 0 else _("from the end again"))
        where = _("{n} of {total}").format(n=number(self._at + 1), total=number(len(self._places)))
        self.say(self._told(where + around))
        plate = self.query_one("#result", Plate)
        before = Content(plate.text[: self._places[self._at][0]])
        row = len(before.wrap(max(1, plate.content_size.width or self.app.size.width - 2))) - 1
        scroll = self.query_one("#whole", VerticalScroll)
        scroll.scroll_to(y=max(0, row - 2), animate=False)

    def _told(self, where: str) -> str:
        return f"{self.wanted.shown}  {where}"

    def _ask(self, shown: bool) -> None:
        find = self.query_one("#find", Input)
        find.set_class(shown, "-shown")
        find.display = shown  # the class counts only at the next update of styles
        if shown:
            find.value = ""
            self.set_focus(find)
        else:
            self.query_one("#whole", VerticalScroll).focus()

    @property
    def asking(self) -> bool:
        """Whether the line at the bottom is open."""
        found = self.query("#find")
        return bool(found) and found.first().has_class("-shown")

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "find" and self.asking:
            self._look(self.wanted.typed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "find":
            self._ask(False)

    def on_key(self, event: events.Key) -> None:
        """The key that opens the line does so here, so that what follows at once is put into it."""
        opens = [each for each in self.known_keys() if event.key in (each.key, *each.others)]
        if not self.asking and opens and opens[0].target == "act.find":
            event.stop()
            self._ask(True)
        elif self.asking and event.key == "escape":
            event.stop()
            self._ask(False)
            self._look(replace(self.wanted, text=""))
        elif self.asking and event.is_printable and event.character:
            event.stop()
            find = self.query_one("#find", Input)
            find.replace(event.character, *find.selection)

    def footer(self) -> list[keys.Key]:
        searched = ("act.next_hit", "act.previous_hit", "act.only")
        found = super().footer()
        return [each for each in found if self.wanted.text or each.target not in searched]

    async def asked_here(self, operation: str, asked: dict[str, Any]) -> Any:
        """The answer to more of what is shown; None where it was stopped or refused, which is said,
        or where the screen was taken down meanwhile."""
        self.say(_("Loading..."))
        self.awaited = waiting = CancelSignal()
        try:
            found = await self.sophia.call(operation, asked, cancel=waiting)
        except SophiaError as problem:
            stopped = isinstance(problem, CancelledError)
            self.say(_("Stopped.") if stopped else visible(str(problem)))
            return None
        finally:
            if self.awaited is waiting:
                self.awaited = None
        return found if self.query("#result") else None

    def copied(self) -> str:
        return json.dumps(as_data(self.result), ensure_ascii=False, indent=2)

    def act(self, name: str) -> bool:
        if name in ("next_hit", "previous_hit") and self.wanted.text:
            self._to_hit(self._at + (1 if name == "next_hit" else -1))
            return True
        if name in ("find", "next_hit", "previous_hit"):
            self._ask(True)
            return True
        if name in ("regex", "match_case"):
            self._look(self.wanted.otherwise(name))
            self.say(self._told("") if self.wanted.text else self.wanted.mode)
            return True
        if name == "only":
            self.only = not self.only
            self._draw()
            self._to_hit(0)
            return True
        if name == "back" and self.wanted.text:
            self.only = False
            self._look(replace(self.wanted, text=""))
            return True
        if name != "save":
            return False
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        safe = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in self.title_text)
        try:
            path = self.sophia.state.save(f"{safe[:60]}-{stamp}.json", self.copied())
        except (SophiaError, OSError) as problem:
            self.say(_("Not saved: {why}").format(why=visible(str(problem))))
        else:
            self.say(_("Saved to {path}").format(path=visible(str(path))))
        return True


def result_text(result: BaseModel, width: int = 78) -> Content:
    """Titles and values, one below the other; nothing is cut, nothing is interpreted.

    Rows that fit into `width` cells stand as a table.
    """
    told = told_otherwise(result, width) or _of_its_own(result, width)
    if told is not None:
        return told
    parts = list(_parts(result, "", width))
    return Content.assemble(*parts) if parts else Content(_("Nothing there."))


def _of_its_own(result: BaseModel, width: int) -> Content | None:
    """What is told as a lineage or a difference, by modules of their own, on use."""
    name = type(result).__name__
    if name in ("LineageView", "ProductionView"):
        from sophia_tui.tui import model_text

        of_models = {"LineageView": model_text.lineage_text}
        return of_models.get(name, model_text.production_text)(result, width)
    if name not in ("VersionDiff", "PreviewOutput"):
        return None
    from sophia_tui.tui import diff_text

    found: Any = result
    if name == "VersionDiff":
        return diff_text.versions_text(found)
    return diff_text.preview_text(found)


def plain_parts(value: Any, width: int) -> list[Part]:
    """Plain data (a section of a report, say) as titles and values."""
    return list(_value(value, "", width))


def _parts(value: BaseModel, indent: str, width: int) -> Iterator[Part]:
    hidden = getattr(type(value), "machine_only", ())
    for name, info in type(value).model_fields.items():
        if name in hidden:
            continue
        each = getattr(value, name)
        if each in (None, "", [], {}, ()):
            continue
        yield (f"{indent}{_(info.title or name)}: ", "bold")
        if name in getattr(type(value), "as_is", ()) or worded(name, each) != each:
            yield f"{words.shown_field(value, name)}\n"
        else:
            yield from _value(each, indent, width)


def _value(each: Any, indent: str, width: int) -> Iterator[Part]:
    deeper = indent + "  "
    if isinstance(each, BaseModel):
        yield "\n"
        yield from _parts(each, deeper, width)
    elif isinstance(each, list | tuple) and (table := _table(each, width - len(deeper))):
        yield "\n"
        yield (f"{deeper}{table[0]}\n", "dim")
        for line in table[1:]:
            yield f"{deeper}{line}\n"
    elif isinstance(each, list | tuple):
        yield "\n"
        for item in each:
            if isinstance(item, BaseModel):
                yield from _parts(item, deeper, width)
                yield "\n"
            else:
                yield f"{deeper}{words.shown(item)}\n"
    elif isinstance(each, dict):
        yield "\n"
        for key, item in each.items():
            yield f"{deeper}{key_word(key)}: "
            yield from _value(item, deeper, width)
    elif isinstance(each, str) and "\n" in each:
        yield "\n"
        for line in visible_lines(each).split("\n"):
            yield f"{deeper}{line}\n"
    else:
        yield f"{words.shown(each)}\n"


def _table(items: Sequence[Any], width: int) -> list[str]:
    """Rows of one kind as aligned lines under their titles; empty where that would not fit.

    What is only a little too wide has its first column on lines of its own.
    """
    if len(items) < 2 or not all(type(each) is type(items[0]) for each in items):
        return []
    if not isinstance(items[0], BaseModel):
        return []
    kind = type(items[0])
    names = list(getattr(kind, "table_columns", ()) or kind.model_fields)
    if any(
        isinstance(getattr(each, name), dict | list | BaseModel) for each in items for name in names
    ):
        return []
    lines = [[_(kind.model_fields[name].title or name) for name in names]]
    lines += [[words.shown_field(each, name) for name in names] for each in items]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(lines[0]))]
    if sum(widths) + 2 * len(widths) <= width:
        return [_aligned(line, widths) for line in lines]
    if len(names) < 3 or sum(widths[1:]) + 2 * len(widths) > width:
        return []
    return [part for line in lines for part in (line[0], "  " + _aligned(line[1:], widths[1:]))]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell + " " * (space - cell_len(cell)) for cell, space in zip(cells, widths, strict=True)
    ).rstrip()
