"""A live screen around one table: rows by key, fixed widths, at most 500, filtered by `/`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import DataTable, Input

from sophia_tui.i18n import _
from sophia_tui.services.views import Page
from sophia_tui.tui import keys
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.live import LiveScreen
from sophia_tui.tui.widgets.field import Field
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

MOST_ROWS = 500
#: The rank of what an empty list asks for: after commands and help.
_FIRST = 3


class Rows(DataTable[Text]):
    """A table of whole rows: home and end lead to the first and the last one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "scroll_top", show=False),
        Binding("end", "scroll_bottom", show=False),
    ]


@dataclass(frozen=True)
class Row:
    """One row: its key, one text for each column, and what lies behind it."""

    key: str
    cells: tuple[str, ...]
    data: Any


class TableScreen(LiveScreen):
    """Subclasses name columns with widths in cells, and turn data into rows."""

    CSS_PATH: ClassVar[StylePath] = "table.tcss"
    scopes: tuple[str, ...] = ("table",)
    name_of_screen = ""

    def __init__(self, sophia: "Console") -> None:
        super().__init__(sophia)
        self.rows: dict[str, Row] = {}
        self._columns: tuple[tuple[str, int], ...] = ()
        self._filter = ""

    def columns(self) -> Sequence[tuple[str, int]]:
        """(title, width) of each column."""
        raise NotImplementedError

    def to_rows(self, data: Any) -> list[Row]:
        raise NotImplementedError

    def body(self) -> Iterable[Widget]:
        yield Plate(id="state", classes="body")
        table = Rows(id="table", cursor_type="row", classes="body")
        table.show_horizontal_scrollbar = False
        yield table
        find = Field(id="filter", compact=True, placeholder=_("filter"), select_on_focus=False)
        find.cursor_blink = False
        yield find

    @property
    def table(self) -> Rows:
        return self.query_one("#table", Rows)

    def has_nothing(self, data: Any) -> bool:
        return not self.to_rows(data)

    def empty_text(self) -> str:
        """What an empty list says: that it is, and the key or command that fills it."""
        return empty_text(self.sophia, self.name_of_screen)

    def draw(self) -> None:
        waiting = self.placeholder(self.empty_text())
        state = self.query_one("#state", Plate)
        state.draw(waiting or "")
        state.display = waiting is not None
        state.remove_class("-note")
        self.table.display = waiting is None
        if waiting is None:
            self._fill(self.to_rows(self.data)[:MOST_ROWS])
            if not self.rows:
                state.draw(_("Nothing matches; esc clears."))
                state.add_class("-note")
                state.display = True
            if self.focused is None:
                self.table.focus()

    def _fill(self, rows: list[Row]) -> None:
        wanted = self._filter.casefold()
        rows = [each for each in rows if wanted in "\n".join(each.cells).casefold()]
        columns = tuple(self.columns())
        fresh = {each.key: each for each in rows}
        if columns != self._columns:
            self._columns, self.rows = columns, {}
            self.table.clear(columns=True)
            for index, (title, width) in enumerate(columns):
                self.table.add_column(Text(title), width=width, key=str(index))
        if list(fresh) != list(self.rows):
            self._replace(fresh)
        else:
            self._update(fresh)
        self.rows = fresh
        self.drawn()

    def drawn(self) -> None:
        """The table holds the newest rows."""

    def _cell(self, text: str, column: int) -> Text:
        return Text(self.sophia.glyphs.fit(text, self._columns[column][1]), no_wrap=True)

    def _replace(self, fresh: dict[str, Row]) -> None:
        selected = self.selected_key
        self.table.clear()
        for key, row in fresh.items():
            cells = [self._cell(text, column) for column, text in enumerate(row.cells)]
            self.table.add_row(*cells, key=key)
        if selected in fresh:
            self.table.move_cursor(row=list(fresh).index(selected))

    def _update(self, fresh: dict[str, Row]) -> None:
        for key, row in fresh.items():
            before = self.rows[key].cells
            for column, text in enumerate(row.cells):
                if text != before[column]:
                    self.table.update_cell(
                        key, str(column), self._cell(text, column), update_width=False
                    )

    def footer(self) -> list[keys.Key]:
        """An empty list has nothing to open or to filter; the key that fills it comes first."""
        found = super().footer()
        if self.rows:
            return found
        filler = keys.FILLED_BY.get(self.name_of_screen) if self.state == "empty" else None
        return [
            replace(each, rank=_FIRST) if each.target == filler else each
            for each in found
            if each.target not in ("act.open", "act.filter")
        ]

    def on_data_table_row_highlighted(self, event: "DataTable.RowHighlighted") -> None:
        self.redraw()  # which keys make sense depends on the row

    @property
    def selected_key(self) -> str | None:
        if not self.rows:
            return None  # there may be no table yet
        position = self.table.cursor_row
        known = list(self.rows)
        return known[position] if 0 <= position < len(known) else None

    @property
    def selected(self) -> Row | None:
        key = self.selected_key
        return self.rows.get(key) if key else None

    def on_data_table_row_selected(self, event: "DataTable.RowSelected") -> None:
        event.stop()
        self.act("open")

    def act(self, name: str) -> bool:
        if name == "filter":
            find = self.query_one("#filter", Input)
            find.add_class("-shown")
            find.focus()
        elif name == "open":
            if self.selected:
                self.open_row(self.selected)
        elif name == "back" and self._filter:
            self._filter_by("")
        else:
            return False
        return True

    def open_row(self, row: Row) -> None:
        """Show one row in full."""

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "filter":
            self._filter = event.value
            if self.data is not None:
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
        return self.selected_key or ""


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


PAGE = Page(limit=MOST_ROWS)
