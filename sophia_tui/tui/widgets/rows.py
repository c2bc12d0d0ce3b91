"""A list of whole rows: only what is in sight is made, and only lines that changed are sent.

Ten rows or ten thousand cost the same to fill and to draw; a new row on top moves the others
without being built anew.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from sophia_tui.tui.words import Glyphs


@dataclass(frozen=True)
class Row:
    """One row: its key, one text for each column, and what lies behind it."""

    key: str
    cells: tuple[str, ...]
    data: Any


@dataclass(frozen=True)
class Line:
    """A line of the screen: how it is drawn (head, cursor, or plainly), and what is to be seen in
    it, from where to where."""

    text: str = ""
    kind: str = ""
    seen: tuple[tuple[int, int], ...] = ()


class Rows(ScrollView, can_focus=True):
    """A cursor on one row, a head line above, and a sign before each marked row."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--cursor", "rows--head"}
    DEFAULT_CSS = """
    Rows > .rows--cursor { text-style: reverse; }
    Rows > .rows--head { text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,ctrl+home", "end(False)", show=False),
        Binding("end,ctrl+end", "end(True)", show=False),
        Binding("enter", "select", show=False),
    ]

    class Highlighted(Message):
        """Another row is under the cursor now."""

    class Selected(Message):
        """A person opens the row under the cursor."""

    def __init__(
        self,
        glyphs: Glyphs,
        places: Callable[[str, int], Sequence[tuple[int, int]]] = lambda _text, _column: (),
        moved: Callable[[], None] = lambda: None,
        id: str = "",
        classes: str = "",
    ) -> None:
        """`places` are parts of a cell's text, by its column, that are to be seen. `moved` draws
        at once what depends on the row under the cursor: then both are sent as one picture, which
        a message would be too late for."""
        super().__init__(id=id, classes=classes)
        self._glyphs = glyphs
        self._places = places
        self._moved = moved
        self._columns: Sequence[tuple[str, int]] = ()
        self._rows: Sequence[Row] = ()
        self._marked: Collection[str] = frozenset()
        self._highlighted: str | None = None
        #: Whether the person went to the end, which may still move away.
        self.to_end = False
        self.cursor_row = 0
        self.show_horizontal_scrollbar = False

    @property
    def row_count(self) -> int:
        return len(self._rows)

    @property
    def key(self) -> str | None:
        """The key of the row under the cursor."""
        inside = 0 <= self.cursor_row < len(self._rows)
        return self._rows[self.cursor_row].key if inside else None

    def show(
        self,
        columns: Sequence[tuple[str, int]],
        rows: Sequence[Row],
        marked: Collection[str] = (),
        follow: bool = True,
    ) -> None:
        """Show these rows under titles of so many cells. The cursor stays on its row where that is
        still there, and on its line of the screen; without `follow` it goes to the first one."""
        before, key, top = self._lines(), self.key, round(self.scroll_y)
        place = next((at for at, each in enumerate(rows) if each.key == key), None)
        line, before_rows = self.cursor_row - top, self._rows
        self._columns, self._rows, self._marked = columns, rows, frozenset(marked)
        if not follow:
            self.cursor_row = top = 0
            self.to_end = False
        elif self.to_end and len(rows) > len(before_rows):
            self.cursor_row = len(rows) - 1
        elif place is not None:
            top = max(0, place - line) if top else 0
            self.cursor_row = place
        else:
            self.cursor_row = max(0, min(self.cursor_row, len(rows) - 1))
        self._fit_height()
        self._scroll(top)
        self._send(before)
        self._tell()

    def move_cursor(self, row: int) -> None:
        """Put the cursor on a row, counted from 0, and bring it in sight."""
        row = max(0, min(row, len(self._rows) - 1))
        self.to_end = False
        if row == self.cursor_row:
            return
        before, self.cursor_row = self._lines(), row
        self._scroll(round(self.scroll_y))
        self._send(before)
        self._tell()

    def _tell(self) -> None:
        if self.key != self._highlighted:
            self._highlighted = self.key
            self._moved()
            self.post_message(self.Highlighted())

    # -- what is in sight

    @property
    def _room(self) -> int:
        """Lines for rows."""
        return max(1, self.size.height - 1)

    def _fit_height(self) -> None:
        size = Size(self.size.width, len(self._rows) + 1)
        if size == self.virtual_size:
            return
        # no new layout, which would send the whole screen: only the scrollbar may come or go
        self.set_reactive(Widget.virtual_size, size)
        if self.is_mounted and self.size:
            self._refresh_scrollbars()
            self._scroll_update(size)

    def _scroll(self, top: int) -> None:
        """Scroll so that `top` is the first row, as far as the cursor stays in sight."""
        if not self.size:
            return
        top = min(top, max(0, len(self._rows) - self._room))
        top = min(max(top, self.cursor_row - self._room + 1), self.cursor_row)
        if top != round(self.scroll_y):
            self.scroll_to(y=top, animate=False, force=True)

    def _lines(self) -> list[Line]:
        return [self._line(y) for y in range(self.size.height)]

    def _line(self, y: int) -> Line:
        """One line of the screen."""
        if y == 0:
            return Line("".join(self._cells([title for title, _width in self._columns])), "head")
        place = round(self.scroll_y) + y - 1
        if place >= len(self._rows):
            return Line()
        row = self._rows[place]
        cells, seen, begins = list(self._cells(row.cells)), [], 0
        for column, cell in enumerate(cells):
            seen += [(begins + at, begins + to) for at, to in self._places(cell, column)]
            begins += len(cell)
        text = "".join(cells)
        if row.key in self._marked:
            text = self._glyphs.mark + text[1:]
        return Line(text, "cursor" if place == self.cursor_row else "", tuple(seen))

    def _cells(self, cells: Sequence[str]) -> Iterator[str]:
        for cell, (_title, width) in zip(cells, self._columns, strict=False):
            yield f" {self._glyphs.fit(cell, width)} "

    def _send(self, before: list[Line]) -> None:
        """Draw the lines that differ."""
        after = self._lines()
        if len(after) != len(before):
            self.refresh()
            return
        width = self.size.width
        regions = [
            Region(0, y, width, 1)
            for y, (old, new) in enumerate(zip(before, after, strict=True))
            if old != new
        ]
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        line, plain = self._line(y), self.rich_style
        style = self._style(line.kind) if line.kind else plain
        # what is to be seen stands out from the cursor, too
        bright = style + Style(bold=True, reverse=line.kind != "cursor")
        segments, begins = [], 0
        for at, to in line.seen:
            segments += [Segment(line.text[begins:at], style), Segment(line.text[at:to], bright)]
            begins = to
        strip = Strip([*segments, Segment(line.text[begins:], style)])
        # the cursor goes as far as the line
        return strip.adjust_cell_length(self.size.width, style if line.kind == "cursor" else plain)

    def _style(self, kind: str) -> Style:
        return self.get_component_rich_style(f"rows--{kind}")

    # -- what people do

    def on_resize(self, event: events.Resize) -> None:
        self._fit_height()
        self._scroll(round(self.scroll_y))

    def on_click(self, event: events.Click) -> None:
        place = round(self.scroll_y) + event.y - 1
        if event.y == 0 or place >= len(self._rows):
            return
        event.stop()
        if place == self.cursor_row:
            self.action_select()
        else:
            self.move_cursor(place)

    def action_move(self, step: int) -> None:
        self.move_cursor(self.cursor_row + step)

    def action_page(self, step: int) -> None:
        self.move_cursor(self.cursor_row + step * self._room)

    def action_end(self, last: bool) -> None:
        self.move_cursor(len(self._rows) - 1 if last else 0)
        self.to_end = last

    def action_select(self) -> None:
        if self._rows:
            self.post_message(self.Selected())
