"""A live screen around one list: rows by key, at most 500 at a time, looked through by `/`.

Where an operation lists them, the store filters, sorts and cuts: what is asked for goes to all
rows, not to those that are in sight. Marks stay with their rows through all of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from textual import events
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input

from sophia_tui.i18n import _, ngettext, number
from sophia_tui.services.lists import ListPage
from sophia_tui.tui import keys
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.live import LiveScreen
from sophia_tui.tui.widgets.chooser import Chooser
from sophia_tui.tui.widgets.field import Field
from sophia_tui.tui.widgets.plate import Plate
from sophia_tui.tui.widgets.rows import Row, Rows

if TYPE_CHECKING:
    from sophia_tui.domain.operations import Operation
    from sophia_tui.tui.host import Console
    from sophia_tui.tui.screens.bulk import BulkScreen, Target

__all__ = ["MOST_ROWS", "Row", "Rows", "TableScreen", "empty_text"]

MOST_ROWS = 500
#: Rows that are asked for at first; the rest of a page comes as the cursor nears it.
FIRST_ROWS = 100
#: So many rows before the last one that is here, the rest is asked for.
_NEAR = 30
#: The rank of what an empty list asks for: after commands and help.
_FIRST = 3
#: What they act upon is no row of the list that has their key.
_OF_NO_ROW = frozenset({"schedules.add"})
#: Seconds without a further letter after which the store is asked for what is typed.
_TYPED_SECONDS = 0.25


class TableScreen(LiveScreen):
    """Subclasses name columns with widths in cells, and turn data into rows."""

    CSS_PATH: ClassVar[StylePath] = "table.tcss"
    scopes: tuple[str, ...] = ("table",)
    name_of_screen = ""
    #: The operation that lists the rows; empty where they come in another way, all at once.
    listing = ""
    #: How many rows match the filter, and how many there are without it.
    total = 0
    unfiltered = 0

    def __init__(self, sophia: "Console") -> None:
        super().__init__(sophia)
        self.rows: dict[str, Row] = {}
        self._filter = ""
        self._sort = ""
        self._offset = 0
        #: Rows by key in the order they were marked, as they were seen last; None: not yet.
        self._marked: dict[str, Row | None] = {}
        #: The filter that the data were asked with.
        self._looked_for = ""
        self._rows_made: tuple[Any, list[Row]] | None = None
        self._awaited: str | None = None
        self._typing: Timer | None = None
        self._to_first = False
        self._room_for = FIRST_ROWS
        self._mark_page = False
        #: Asked at each step of the cursor, many times: not sought in the screen each time.
        self._table: Rows | None = None

    def columns(self) -> Sequence[tuple[str, int]]:
        """(title, width) of each column."""
        raise NotImplementedError

    def sorts(self) -> Sequence[tuple[str, str]]:
        """(name, title) of what it can be sorted by; the name is the operation's where one lists
        the rows, else `sort_value` knows it."""
        return ()

    def sort_value(self, row: Row, name: str) -> Any:
        """What a row that no operation sorts is sorted by; None comes last."""
        return getattr(row.data, name, None)

    def places(self, text: str, column: int) -> Sequence[tuple[int, int]]:
        """What is to be seen in the text of a cell: from where to where."""
        return ()

    def to_rows(self, data: Any) -> list[Row]:
        raise NotImplementedError

    def body(self) -> Iterable[Widget]:
        yield Plate(id="state", classes="body")
        # which keys make sense depends on the row
        self._table = Rows(self.sophia.glyphs, self.places, self.redraw, id="table", classes="body")
        yield self._table
        yield Plate(id="found")
        yield Chooser(self.sophia.glyphs, id="sorts")
        find = Field(id="filter", compact=True, placeholder=_("filter"), select_on_focus=False)
        find.cursor_blink = False
        yield find

    @property
    def table(self) -> Rows:
        return self.query_one("#table", Rows)

    # -- what is asked for

    @property
    def by_store(self) -> bool:
        """Whether the rows are filtered, sorted and cut where they are kept."""
        registry = self.sophia.dispatcher.registry
        if not self.listing or self.listing not in registry:
            return False
        return issubclass(registry.get(self.listing).input, ListPage)

    async def listed(self, **more: Any) -> list[Any]:
        """The rows that are wanted, by the operation that lists them. Raises SophiaError."""
        asked: dict[str, Any] = {"limit": self._room_for if self.by_store else MOST_ROWS, **more}
        if not self.by_store:
            found: Any = await self.sophia.call(self.listing, asked)
            self.noted(found)
            return list(found.items)
        wanted = {"match": self._filter, "sort": self._sort, "offset": self._offset}
        found = await self.sophia.call(
            self.listing, {**asked, **{name: value for name, value in wanted.items() if value}}
        )
        if self._offset and not found.items:  # they went away meanwhile
            self._offset = 0
            return await self.listed(**more)
        self.noted(found)
        self._looked_for = str(wanted["match"])
        self.total = max(found.total, self._offset + len(found.items))
        self.unfiltered = max(found.unfiltered, self.total)
        return list(found.items)

    def noted(self, found: Any) -> None:
        """Take note of what else a list said."""

    def has_nothing(self, data: Any) -> bool:
        if self.by_store:
            return not self.unfiltered
        return not self.to_rows(data)

    def empty_text(self) -> str:
        """What an empty list says: that it is, and the key or command that fills it."""
        return empty_text(self.sophia, self.name_of_screen)

    # -- drawing

    def draw(self) -> None:
        waiting = self.placeholder(self.empty_text())
        state = self.query_one("#state", Plate)
        state.draw(waiting or "")
        state.display = waiting is not None
        state.remove_class("-note")
        self.table.display = waiting is None
        if waiting is None:
            self._fill(self._rows_of(self.data))
            if not self.rows:
                text = _("Nothing matches; esc clears.")
                if self._filter.startswith("re:"):
                    text += "\n" + _("Lists take plain text; re: holds for events and the log.")
                state.draw(text)
                state.add_class("-note")
                state.display = True
            if self.focused is None:
                self.table.focus()
        self._draw_found()

    def made_rows(self, data: Any) -> list[Row]:
        """The rows of fresh data, kept until they are drawn."""
        self._rows_made = (data, self.to_rows(data))
        return self._rows_made[1]

    def _rows_of(self, data: Any) -> list[Row]:
        made, self._rows_made = self._rows_made, None
        rows = made[1] if made is not None and made[0] is data else self.to_rows(data)
        if self.by_store and (self._filter == self._looked_for or self.state != "stale"):
            return rows[:MOST_ROWS]
        # where the store can't be asked, what is there is looked through
        wanted = self._filter.casefold()
        found = [each for each in rows if wanted in "\n".join(each.cells).casefold()]
        if self.by_store:
            return found
        self.unfiltered, self.total, self._looked_for = len(rows), len(found), self._filter
        return self._sorted(found)[self._offset : self._offset + MOST_ROWS]

    def _sorted(self, rows: list[Row]) -> list[Row]:
        if not self._sort:
            return rows
        name = self._sort.removeprefix("-")
        values = [(self.sort_value(each, name), each) for each in rows]
        some = [each for each in values if each[0] is not None]
        some.sort(key=lambda each: each[0], reverse=self._sort.startswith("-"))
        return [row for _value, row in some] + [row for value, row in values if value is None]

    def _fill(self, rows: list[Row]) -> None:
        self.rows = {each.key: each for each in rows}
        for key in self._marked:
            if key in self.rows:
                self._marked[key] = self.rows[key]
        if self._mark_page and not self.more_to_come:
            self._mark_page = False
            self._marked.update(self.rows)
        follow, self._to_first = not self._to_first, False
        self.table.show(self._titled(), list(self.rows.values()), self._marked, follow)
        if self._awaited in self.rows:
            awaited, self._awaited = str(self._awaited), None
            self.table.move_cursor(row=list(self.rows).index(awaited))
        self.drawn()

    def _titled(self) -> list[tuple[str, int]]:
        """The columns that have room for their titles, of a narrow window the first ones; the one
        that the list is sorted by has the direction behind its title."""
        sorted_by = dict(self.sorts()).get(self._sort.removeprefix("-"))
        glyphs, titled = self.sophia.glyphs, []
        for title, width in self.columns():
            if width < max(1, cell_len(title)):
                break
            shown = title
            if title and title == sorted_by:
                shown = f"{glyphs.fit(title, min(len(title), width - 1))}{glyphs.order(self._sort)}"
            titled.append((shown, width))
        return titled

    def drawn(self) -> None:
        """The table holds the newest rows."""

    def _draw_found(self) -> None:
        plate = self.query_one("#found", Plate)
        text = "  ".join(self._found_texts()) if self.data is not None else ""
        plate.draw(text)
        plate.set_class(bool(text), "-shown")

    def _found_texts(self) -> Iterator[str]:
        """How many match, which of them are here, how many are marked, what they are sorted by."""
        if self._filter and self._filter == self._looked_for:
            yield _("{total} of {all} match").format(
                total=number(self.total), all=number(self.unfiltered)
            )
        if self.total > MOST_ROWS or self._offset:
            yield _("{first}-{last} of {total}").format(
                first=number(self._offset + 1),
                last=number(min(self._offset + MOST_ROWS, self.total)),
                total=number(self.total),
            )
        if self._marked:
            count = len(self._marked)
            told = ngettext("{count} marked", "{count} marked", count).format(count=number(count))
            hidden = sum(key not in self.rows for key in self._marked)
            if hidden:
                told += ", " + ngettext(
                    "{count} of them not shown", "{count} of them not shown", hidden
                ).format(count=number(hidden))
            yield told
        if self._sort:
            title = dict(self.sorts()).get(self._sort.removeprefix("-"), "")
            yield _("by {column} {sign}").format(
                column=title, sign=self.sophia.glyphs.order(self._sort)
            )

    def footer(self) -> list[keys.Key]:
        """An empty list has nothing to open or to filter; the key that fills it comes first."""
        found = super().footer()
        if self.rows:
            return found
        filler = keys.FILLED_BY.get(self.name_of_screen) if self.state == "empty" else None
        gone = ("act.open", "act.filter", "act.mark", "act.sort")
        return [
            replace(each, rank=_FIRST) if each.target == filler else each
            for each in found
            if each.target not in gone
        ]

    def not_now(self, operation: str) -> str:
        """What acts upon a row needs one."""
        if not self.sophia.painted.is_set() or self.to_mark() is not None:
            return ""
        registry = self.sophia.dispatcher.registry
        if operation not in registry or operation in _OF_NO_ROW:
            return ""
        declared = registry.get(operation)
        target = declared.input.model_fields.get(declared.target or "")
        if target is None or not target.is_required() or self.bulk(operation) is not None:
            return ""
        return (
            "" if self.prefill(operation).get(declared.target or "") else _("Nothing is selected.")
        )

    # -- what people do

    def on_rows_highlighted(self, event: Rows.Highlighted) -> None:
        if self.more_to_come and self.table.cursor_row >= len(self.rows) - _NEAR:
            self._ask_for_page()

    @property
    def more_to_come(self) -> bool:
        """Whether this page has rows that were not asked for yet."""
        there = min(MOST_ROWS, self.total - self._offset)
        return self.by_store and len(self.rows) < there and self._room_for < MOST_ROWS

    def lacks_rows(self, count: int) -> bool:
        """Whether the page has more than these; then all of it is asked for from now on."""
        lacks = self.by_store and self._room_for < MOST_ROWS and self.total > self._offset + count
        if lacks:
            self._room_for = MOST_ROWS
        return lacks

    def _ask_for_page(self) -> None:
        self._room_for = MOST_ROWS
        self.refresh_now()

    def on_rows_selected(self, event: Rows.Selected) -> None:
        event.stop()
        self.act("open")

    @property
    def selected_key(self) -> str | None:
        if not self.rows or self._table is None:
            return None  # there is no table yet
        key = self._table.key
        return key if key in self.rows else None

    @property
    def selected(self) -> Row | None:
        key = self.selected_key
        return self.rows.get(key) if key else None

    @property
    def marked(self) -> list[str]:
        """The keys of the marked rows, in the order they were marked."""
        return list(self._marked)

    def act(self, name: str) -> bool:
        if name == "filter":
            find = self.query_one("#filter", Input)
            find.add_class("-shown")
            find.focus()
            find.select_all()  # what is typed takes its place; an arrow or end keeps it
        elif name == "open":
            if self.selected:
                self.open_row(self.selected)
        elif name == "back" and self._filter:
            self._filter_by("")
        elif name == "back" and self._marked and len(self.app.screen_stack) <= 2:
            self.unmark(self.marked)
            self.say(_("Marks cleared."))
        elif name in ("mark", "mark_all"):
            self._mark() if name == "mark" else self._mark_all()
        elif name == "sort":
            self._offer_sorts()
        elif name in ("next_rows", "previous_rows"):
            self._turn(1 if name == "next_rows" else -1)
        else:
            return False
        return True

    def open_row(self, row: Row) -> None:
        """Show one row in full."""

    # -- marks

    def row_of(self, key: str) -> Row | None:
        """A row that is here or was marked elsewhere."""
        return self.rows.get(key) or self._marked.get(key)

    def to_mark(self) -> Row | None:
        """The row that a mark goes to."""
        return self.selected

    def _mark(self) -> None:
        row = self.to_mark()
        if row is None:
            return
        if row.key in self._marked:
            del self._marked[row.key]
        else:
            self._marked[row.key] = row
        self._marks_changed()

    def _mark_all(self) -> None:
        """All rows of the page, or none where all of them are marked already."""
        if self.more_to_come:
            self._mark_page = True
            self._ask_for_page()
            return
        if self.rows and all(key in self._marked for key in self.rows):
            self._marked.clear()
        else:
            self._marked.update(self.rows)
        self._marks_changed()

    def unmark(self, marked: Iterable[str]) -> None:
        """Take marks away."""
        for key in marked:
            self._marked.pop(key, None)
        if self.is_mounted:
            self._marks_changed()

    def _marks_changed(self) -> None:
        if self.data is not None:
            self._draw_all()

    def targets(self, operation: "Operation") -> "list[Target]":
        """What the operation would be asked with for each marked row."""
        return []

    def bulk(self, target: str) -> "Operation | None":
        """The operation that goes to all marked rows, where `target` names such a one: it writes,
        its declaration says what it acts upon, and that is another thing for each row."""
        registry = self.sophia.dispatcher.registry
        if not self._marked or target not in registry or not self.sophia.may(target):
            return None
        declared = registry.get(target)
        if not declared.writes or not declared.target or declared.one_only:
            return None
        found = [each for each in self.targets(declared) if not each.left_out]
        different = {str(each.request[declared.target]) for each in found}
        return declared if found and len(different) == len(found) else None

    def bulk_form(self, target: str) -> "BulkScreen | None":
        """The form for all marked rows, where `target` names what goes to them."""
        declared = self.bulk(target)
        if declared is None:
            return None
        from sophia_tui.tui.screens.bulk import BulkScreen

        targets = self.targets(declared)
        return BulkScreen(self.sophia, declared, targets, self.unmark, self.name_of_screen)

    def act_on_marked(self, target: str) -> bool:
        form = self.bulk_form(target)
        if form is not None:
            self.sophia.show(form)
        return form is not None

    def mark_again(self, keys: Iterable[str]) -> None:
        """These rows are marked, and no others."""
        self._marked = {key: self.row_of(key) for key in keys}
        self._marks_changed()

    def action_go(self, target: str) -> None:
        # what makes no sense on the row under the cursor may do so on the marked ones
        if not self.act_on_marked(target):
            super().action_go(target)

    # -- order and pages

    def _offer_sorts(self) -> None:
        offered = self.sorts()
        if not offered:
            self.say(_("This list has its own order."))
            return
        chooser = self.query_one("#sorts", Chooser)
        chooser.offer(offered, self._sort)
        chooser.add_class("-shown")
        chooser.focus()

    def on_chooser_chosen(self, event: Chooser.Chosen) -> None:
        chooser = self.query_one("#sorts", Chooser)
        if not chooser.has_class("-shown"):
            return
        chooser.remove_class("-shown")
        if chooser.has_focus:
            self.table.focus()
        if event.column is not None:
            self.sort_by(event.column)

    def sort_by(self, column: str) -> None:
        """Another order: times begin with the newest; the same column again turns it round."""
        down = column.endswith("at")
        if column and column == self._sort.removeprefix("-"):
            down = not self._sort.startswith("-")
        self._sort = f"-{column}" if column and down else column
        self._ask_anew()

    def _turn(self, step: int) -> None:
        offset = self._offset + step * MOST_ROWS
        if not 0 <= offset < self.total:
            self.say(_("There are no more rows that way."))
            return
        self._ask_anew(offset)

    def _ask_anew(self, offset: int = 0) -> None:
        """Other rows are wanted: from the first one on."""
        self._offset, self._room_for = offset, FIRST_ROWS
        self._to_first = True
        if self.by_store:
            self.refresh_now()
        elif self.data is not None:
            self._draw_all()

    # -- the filter

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id != "filter" or event.value == self._filter:
            return
        self._filter = event.value
        if self._typing is not None:
            self._typing.stop()
        if self.by_store and self.state != "stale":
            self._typing = self.set_timer(_TYPED_SECONDS if self._filter else 0.01, self._ask_anew)
        elif self.data is not None:
            self._draw_all()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "filter":
            self.table.focus()

    def on_key(self, event: events.Key) -> None:
        find = self.query_one("#filter", Input)
        if event.key == "escape" and find.has_focus:
            event.stop()
            self._filter_by("")

    def _filter_by(self, text: str) -> None:
        find = self.query_one("#filter", Input)
        find.value = text
        find.set_class(bool(text), "-shown")
        self.table.focus()

    def copied(self) -> str:
        return "\n".join(self._marked) or self.selected_key or ""

    # -- what brings it back

    def memory(self) -> dict[str, Any]:
        kept = {
            "filter": self._filter,
            "sort": self._sort,
            "offset": self._offset,
            "row": self.selected_key if self.is_mounted else self._awaited,
            "marked": self.marked,
        }
        return {name: value for name, value in kept.items() if value}

    def recall(self, kept: dict[str, Any]) -> None:
        told = {name: kept[name] for name in ("filter", "sort", "row") if name in kept}
        told = {name: value for name, value in told.items() if isinstance(value, str)}
        self._filter = told.get("filter", self._filter)[:200]
        if told.get("sort", "").removeprefix("-") in dict(self.sorts()):
            self._sort = told["sort"]
        if isinstance(kept.get("offset"), int):
            self._offset = max(0, kept["offset"])
        if isinstance(kept.get("marked"), list):
            self._marked = dict.fromkeys(str(each) for each in kept["marked"])
        if "row" in told:
            self._awaited = told["row"]
            self._room_for = MOST_ROWS  # it may be further down
        if self.is_mounted:
            self._show_filter()
            self.refresh_now()

    def on_mount(self) -> None:
        self._show_filter()  # the handlers of the classes above are called besides

    def _show_filter(self) -> None:
        if self._filter:
            find = self.query_one("#filter", Input)
            find.value = self._filter
            find.add_class("-shown")


def empty_text(sophia: "Console", screen: str) -> str:
    """That a list is empty, and the key that fills it; the command, where this person has no right
    to it or no key leads there."""
    operation = keys.FILLED_BY.get(screen, "")
    found = next(
        (each for each in sophia.keys if each.scope == screen and each.target == operation), None
    )
    if found is not None and sophia.offers(found):
        return _("Nothing here yet. {key}: {what}").format(key=found.shown, what=_(found.text))
    if operation not in sophia.dispatcher.registry:
        return _("Nothing here yet.")
    command = sophia.dispatcher.registry.get(operation).command
    if sophia.may(operation):
        return _("Nothing here yet. In a shell: {command}").format(command=command)
    told = _("Nothing here yet. Who has the right to it fills it: {command}")
    return told.format(command=command)
