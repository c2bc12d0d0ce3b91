"""What goes over the line: of each picture only the cells that differ from what the terminal has.

Textual paints a whole screen whenever one is opened, and whole widgets when they change. On a slow
line that is seconds, so this keeps what was sent, as terminals' own libraries (curses) do.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from rich.cells import cached_cell_len, get_character_cell_size
from rich.color import ColorSystem
from rich.segment import ControlType, Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.events import Resize
from textual.screen import Screen

#: A sign and how it is drawn (the numbers of an SGR sequence). The cell beside a sign of two cells
#: holds no sign.
Cell = tuple[str, str]
BLANK: Cell = (" ", "")
#: So many cells that did not change are sent again rather than jumped over.
_GAP = 5
#: So many blanks at a line's end are worth the sequence that erases them.
_ERASED = 4
_ALONE = ("39", "49")  # what is drawn so is drawn as nothing is
#: Of a blank only these are seen: underlined, reversed, struck out, a line above, backgrounds.
_SEEN_OF_A_BLANK = frozenset(
    map(str, (4, 5, 7, 9, 21, 38, 48, 53, *range(40, 48), *range(100, 108)))
)
#: Pictures of so many bytes are held back by the terminal until they are whole.
_WHOLE = 256


class Wire:
    """The cells that the terminal shows, and what has to be sent for others."""

    def __init__(self) -> None:
        self.width = self.height = 0
        self._rows: list[list[Cell | None]] = []
        self._place: tuple[int, int] | None = None
        self._drawn = ""

    def forget(self) -> None:
        """The terminal may show anything: the next picture is sent in full."""
        self.width = self.height = 0

    def sent(
        self,
        picture: Iterable[Segment],
        size: tuple[int, int],
        cursor: tuple[int, int],
        colors: ColorSystem | None,
    ) -> str:
        """What brings `picture` to the terminal, with its cursor at (column, row); empty where it
        shows that already. `size` is (columns, rows)."""
        if size != (self.width, self.height):
            self.width, self.height = size
            self._rows = [[None] * self.width for _row in range(self.height)]
            self._place = None
        found: list[str] = []
        for row, cells in _cells(picture, colors, *size).items():
            found += self._row(row, cells)
        if self._drawn:
            found.append("\x1b[m")
            self._drawn = ""
        if found or self._place != cursor:
            found.append(self._to(cursor[1], cursor[0]))
        return "".join(found)

    def _row(self, row: int, fresh: dict[int, Cell]) -> list[str]:
        """Bring one row up to date."""
        shown = self._rows[row]
        changed = sorted(column for column, cell in fresh.items() if shown[column] != cell)
        if not changed:
            return []
        shown_after = list(shown)
        for column in changed:
            shown_after[column] = fresh[column]
        self._rows[row] = shown_after
        end = self.width
        while end and shown_after[end - 1] == BLANK:
            end -= 1
        erased = [column for column in changed if column >= end]
        found: list[str] = []
        if len(erased) >= _ERASED:
            changed = changed[: len(changed) - len(erased)]
        for start, stop in _runs(changed, shown_after):
            found += self._run(row, start, stop, shown_after)
        if len(erased) >= _ERASED:
            found += [self._to(row, end), self._as(""), "\x1b[K"]
        return found

    def _run(self, row: int, start: int, stop: int, cells: list[Cell | None]) -> list[str]:
        found = [self._to(row, start)]
        plain = True
        for cell in cells[start:stop]:
            sign, drawn = cell or BLANK
            if cell == BLANK and not _seen_of_a_blank(self._drawn):
                found.append(sign)  # as it is drawn now it looks the same
            elif sign:
                found += [self._as(drawn), sign]
                plain = plain and sign.isascii()
        # terminals differ on how wide some signs are, and on where they stand after the last column
        self._place = (stop, row) if plain and stop < self.width else None
        return found

    def _to(self, row: int, column: int) -> str:
        """Go there, in the shortest way that does not depend on what was drawn before."""
        before, self._place = self._place, (column, row)
        if before == (column, row):
            return ""
        if before is not None and before[1] == row:
            return f"\x1b[{column + 1}G"
        return f"\x1b[{row + 1};{column + 1}H" if column else f"\x1b[{row + 1}H"

    def _as(self, drawn: str) -> str:
        """Draw so from here on."""
        before, self._drawn = self._drawn, drawn
        if drawn == before:
            return ""
        return f"\x1b[0;{drawn}m" if before and drawn else f"\x1b[{drawn}m"


def _runs(changed: list[int], cells: list[Cell | None]) -> list[tuple[int, int]]:
    """Columns that changed as (start, stop), those near each other in one."""
    found: list[tuple[int, int]] = []
    for column in changed:
        # a sign of two cells is sent whole
        start = column - 1 if column and (cells[column] or BLANK)[0] == "" else column
        if found and start - found[-1][1] <= _GAP and None not in cells[found[-1][1] : start]:
            found[-1] = (found[-1][0], max(found[-1][1], column + 1))
        else:
            found.append((start, column + 1))
    return found


def _cells(
    picture: Iterable[Segment], colors: ColorSystem | None, width: int, height: int
) -> dict[int, dict[int, Cell]]:
    """A picture's cells by row and column; what lies outside of the window is left out."""
    rows: dict[int, dict[int, Cell]] = {}
    x = y = 0
    for text, style, control in picture:
        if control:
            for code in control:
                if code[0] is ControlType.CURSOR_MOVE_TO:
                    x, y = int(code[1]), int(code[2])  # type: ignore[misc]
            continue
        if text == "\n" or not 0 <= y < height:
            continue  # each line says where it begins
        drawn, blank = ("", BLANK) if style is None else _codes(style, colors)
        row = rows.setdefault(y, {})
        wide = not text.isascii() and cached_cell_len(text) != len(text)
        for sign in text:
            taken = get_character_cell_size(sign) if wide else 1
            if taken == 0:
                if (before := row.get(x - 1)) is not None and before[0]:
                    row[x - 1] = (before[0] + sign, before[1])
                continue
            if 0 <= x < width:
                row[x] = blank if sign == " " or x + taken > width else (sign, drawn)
                if taken == 2 and x + 1 < width:
                    row[x + 1] = ("", drawn)
            x += taken
    return rows


@lru_cache(maxsize=4096)
def _codes(style: Style, colors: ColorSystem | None) -> tuple[str, Cell]:
    """The SGR numbers of a style, and a blank in it; links of Textual's own are no matter of the
    terminal's."""
    alone = style.update_link(None) if style.link else style
    told = alone.render("x", color_system=colors).partition("x")[0]
    numbers = [each for each in told.removeprefix("\x1b[").removesuffix("m").split(";") if each]
    if not {"38", "48"} & set(numbers):  # their own numbers are not to be taken for others
        numbers = [each for each in numbers if each not in _ALONE]
    drawn = ";".join(numbers)
    return drawn, (" ", drawn) if _seen_of_a_blank(drawn) else BLANK


@lru_cache(maxsize=4096)
def _seen_of_a_blank(drawn: str) -> bool:
    return not _SEEN_OF_A_BLANK.isdisjoint(drawn.split(";"))


class Wired(App[None]):
    """The part of an app that sends its pictures so."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        #: How many pictures were sent; the same number later says that nothing has changed.
        self.pictures = 0

    def on_resize(self, event: Resize) -> None:
        self.wire.forget()  # a terminal moves what it shows when it changes its size

    def send_all(self) -> None:
        """Send the whole picture once more: somebody else has written to the terminal, maybe."""
        self.wire.forget()
        self.screen.refresh()

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """As Textual's, which sends all of `renderable`."""
        driver = self._driver
        waits = self._batch_count or self._closed or not self._running
        if driver is None or waits or self.is_headless or driver.is_inline:
            super()._display(screen, renderable)
        elif not isinstance(renderable, LayoutUpdate | ChopsUpdate):
            if renderable is not None:
                self.wire.forget()
            super()._display(screen, renderable)
        else:
            self._send(renderable)
            self.post_display_hook()

    def _send(self, picture: LayoutUpdate | ChopsUpdate) -> None:
        assert self._driver is not None
        text = self.changes(picture)
        if not text:
            return
        self.pictures += 1
        whole = len(text) > _WHOLE
        if whole:
            self._begin_update()
        self._driver.write(text)
        if whole:
            self._end_update()
        self._driver.flush()

    def changes(self, picture: LayoutUpdate | ChopsUpdate) -> str:
        """What has to be sent for a picture."""
        size = self.screen.outer_size
        cursor = size.clamp_offset(self.cursor_position)
        segments: Any = picture.__rich_console__(self.console, self.console.options)
        return self.wire.sent(
            segments, (size.width, size.height), (cursor.x, cursor.y), self.console._color_system
        )
