"""Columns to sort by, each with the sign that chooses it; there only while a person chooses."""

import string
from collections.abc import Sequence

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message

from sophia_tui.i18n import _
from sophia_tui.tui.widgets.plate import Plate
from sophia_tui.tui.words import Glyphs

#: The signs in the order of the columns; 0 is the list's own order.
_SIGNS = string.digits[1:] + string.ascii_lowercase


class Chooser(Plate, can_focus=True):
    """`offer` shows the columns; what is pressed then comes as `Chosen`."""

    class Chosen(Message):
        """A column's name, empty for the list's own order, None for no choice."""

        def __init__(self, column: str | None) -> None:
            super().__init__()
            self.column = column

    def __init__(self, glyphs: Glyphs, id: str) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._signs: dict[str, str] = {}

    def offer(self, columns: Sequence[tuple[str, str]], sort: str) -> None:
        """Columns as (name, title); `sort` is what holds now."""
        self._signs = {
            "0": "",
            **dict(zip(_SIGNS, (name for name, _title in columns), strict=False)),
        }
        titles = [_("its own order"), *(title for _name, title in columns)]
        room, taken = getattr(self.parent, "size", self.app.size).width, 0
        parts: list[str | tuple[str, str]] = []
        for (sign, name), title in zip(self._signs.items(), titles, strict=False):
            chosen = name == sort.removeprefix("-")
            arrow = f" {self._glyphs.order(sort)}" if name and chosen else ""
            # sign and title stay on one line
            width = cell_len(title) + cell_len(arrow) + 4
            if taken and taken + width > room:
                parts, taken = [*parts, "\n"], 0
            parts += [(sign, "bold $accent"), f" {title}{arrow}  "]
            taken += width
        parts += [(_("esc: as it is"), "dim")] if taken + 16 <= room else []
        self.draw(Content.assemble((_("Sort by") + "\n", "bold"), *parts))

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return True

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        if event.key == "escape" or event.character in self._signs:
            self.post_message(self.Chosen(self._signs.get(event.character or "")))

    def on_blur(self) -> None:
        self.post_message(self.Chosen(None))
